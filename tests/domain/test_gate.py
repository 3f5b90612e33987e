"""May one more purchase be made now, and if not, why and until when."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.breaker import Breaker, Stage
from reconciler.domain.gate import Closure, GateName, GateView, NotNow, Proof, Usage, closed, places, refusal
from reconciler.domain.policy import Policy
from reconciler.domain.states import Reason
from tests.domain.builders import HOUR, MINUTE, NOW, POLICY, SECOND, SHAPE, purchase

PROVEN = {SHAPE: Proof(proven=True)}
READY = GateView(NOW, balance=1000, balance_at=NOW, proofs=PROVEN)


def refused(view: GateView = READY, *, repeat: bool = False, price: float = 5, **policy: Any) -> NotNow | None:
    return refusal(view, SHAPE, price, replace(POLICY, **policy), repeat=repeat)


def why(view: GateView = READY, **more: Any) -> Reason | None:
    answer = refused(view, **more)
    return answer.reason if answer else None


def test_nothing_stands_in_the_way() -> None:
    assert refused() is None
    assert refused(repeat=True) is None


@pytest.mark.parametrize(
    ("changes", "refusal_"),
    [
        (
            {"paused": True},
            NotNow(Reason.PAUSED, None, "paused by an operator; `reconciler resume` ends it", GateName.PAUSED),
        ),
        (
            {"proofs": {SHAPE: Proof(out=1, refused=4)}},
            NotNow(
                Reason.MODEL_UNPROVEN,
                None,
                f"4 tasks of {SHAPE} succeeded without a usable picture and none with one",
                GateName.MODEL_UNPROVEN,
            ),
        ),
        (
            {"proofs": {SHAPE: Proof(out=3)}},
            NotNow(Reason.GATE_CLOSED, None, f"waiting for the first good result of {SHAPE}"),
        ),
        (
            {"balance": None},
            NotNow(Reason.GATE_CLOSED, None, "Kie has not told the balance yet"),
        ),
        (
            {"balance": 49.5},
            NotNow(Reason.OUT_OF_CREDITS, None, "49.5 credits left, budget.min_credits = 50", GateName.CREDITS),
        ),
        (
            {"breaker": Breaker(Stage.OPEN, retry_at=NOW + HOUR)},
            NotNow(Reason.GATE_CLOSED, NOW + HOUR, "the provider failed; breaker open", GateName.BREAKER),
        ),
        ({"running": 50}, NotNow(Reason.GATE_CLOSED, None, "50 tasks run, kie.max_concurrent_tasks = 50")),
        (
            {"window": (NOW + SECOND,) * 10},
            NotNow(Reason.GATE_CLOSED, NOW + SECOND, "10 purchases per window"),
        ),
    ],
)
def test_a_refusal_says_why_and_until_when(changes: dict[str, Any], refusal_: NotNow) -> None:
    assert refused(replace(READY, **changes)) == refusal_


def test_too_few_credits_for_a_dear_picture_are_told_by_its_price() -> None:
    found = refusal(replace(READY, balance=4), SHAPE, 5, replace(POLICY, min_credits=0), repeat=False)
    assert found == NotNow(Reason.OUT_OF_CREDITS, None, "4 credits left, a picture costs 5", GateName.CREDITS)


def test_what_an_order_that_is_let_through_takes_from_the_next() -> None:
    leaving = NOW + 5 * SECOND
    before = replace(READY, window=(leaving, NOW + HOUR), hour=Usage(1, leaving), spent_since=3, running=1, open=1)
    bought = purchase(at=NOW)
    after = before.with_intent(bought, POLICY)
    assert after == replace(
        before,
        spent_since=8,
        window=(leaving, bought.deadline + POLICY.purchase_window, NOW + HOUR),
        hour=Usage(2, leaving),
        day=Usage(1, bought.deadline + timedelta(days=1)),
        running=2,
        open=2,
        proofs={SHAPE: Proof(proven=True, out=1)},
    )
    another = after.with_intent(replace(bought, shape="another"), POLICY)
    assert another.proofs == {SHAPE: Proof(proven=True, out=1), "another": Proof(out=1)}
    assert Usage(1, NOW + HOUR).with_one_more(NOW) == Usage(2, NOW)
    assert READY.with_intent(bought, POLICY).hour == Usage(1, bought.deadline + HOUR)


@pytest.mark.parametrize(
    ("changes", "policy", "expected"),
    [
        ({}, {}, 7),
        ({"window": (NOW + SECOND,) * 18}, {"purchase_limit": 20}, 2),
        ({"running": 47}, {"max_concurrent_tasks": 50}, 3),
        ({"balance": 61}, {"min_credits": 50}, 3),
        ({"hour": Usage(9, NOW)}, {"per_hour": 10}, 1),
        ({"day": Usage(9, NOW)}, {"per_day": 10}, 1),
        ({"proofs": {}}, {}, 3),
        ({"proofs": {SHAPE: Proof(out=1)}}, {}, 2),
        ({"paused": True}, {}, 0),
        ({"breaker": Breaker(Stage.PROBING)}, {}, 1),
    ],
)
def test_how_many_orders_would_be_let_through(changes: dict[str, Any], policy: dict[str, Any], expected: int) -> None:
    view = replace(READY, **changes)
    assert places(
        view, SHAPE, 5, replace(POLICY, purchase_limit=20) if not policy else replace(POLICY, **policy), 7
    ) == (expected)
    assert places(view, SHAPE, 5, replace(POLICY, **policy), 0) == 0


# -- closed --------------------------------------------------------------------------------------------------------


def test_paused() -> None:
    assert why(replace(READY, paused=True)) is Reason.PAUSED


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (GateName.RATE_LIMIT, Reason.GATE_CLOSED),
        (GateName.CREDITS, Reason.OUT_OF_CREDITS),
        (GateName.KEY, Reason.UNAUTHORIZED),
        (GateName.BREAKER, Reason.GATE_CLOSED),
        (GateName.REQUEST_REJECTED, Reason.REQUEST_REJECTED),
        (GateName.MODEL_UNPROVEN, Reason.MODEL_UNPROVEN),
        (GateName.PAUSED, Reason.PAUSED),
    ],
)
def test_each_closure_has_its_reason_until_it_ends(name: GateName, reason: Reason) -> None:
    closed = replace(READY, closures=(Closure(name, NOW, NOW + MINUTE, "why"),))
    assert refused(closed) == NotNow(reason, NOW + MINUTE, "why", name)
    assert refused(replace(closed, now=NOW + MINUTE)) is None


def test_a_closure_may_be_for_one_shape_and_for_ever() -> None:
    for shape, expected in ((SHAPE, Reason.REQUEST_REJECTED), ("another", None)):
        closure = Closure(GateName.REQUEST_REJECTED, NOW, shape=shape)
        assert why(replace(READY, closures=(closure,), now=NOW + 1000 * HOUR)) is expected


def test_a_closure_that_an_operator_lets_one_order_through_is_not_active() -> None:
    closure = Closure(GateName.REQUEST_REJECTED, NOW, shape=SHAPE)
    assert closure.active(NOW)
    assert not replace(closure, trial=True).active(NOW)
    assert refused(replace(READY, closures=(replace(closure, trial=True),))) is None


OFFERS = ((SHAPE, 5.0), ("another", 12.0))


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, set()),
        ({"paused": True}, {GateName.PAUSED}),
        ({"closures": (Closure(GateName.KEY, NOW, NOW + MINUTE),)}, {GateName.KEY}),
        ({"closures": (Closure(GateName.KEY, NOW - HOUR, NOW),)}, set()),
        ({"closures": (Closure(GateName.REQUEST_REJECTED, NOW, shape="another"),)}, {GateName.REQUEST_REJECTED}),
        ({"closures": (Closure(GateName.REQUEST_REJECTED, NOW, shape="another", trial=True),)}, set()),
        ({"closures": (Closure(GateName.REQUEST_REJECTED, NOW, shape="configured no more"),)}, set()),
        ({"breaker": Breaker(Stage.OPEN)}, {GateName.BREAKER}),
        ({"breaker": Breaker(Stage.PROBING)}, {GateName.BREAKER}),
        ({"breaker": Breaker(Stage.RAMPING)}, set()),
        ({"proofs": {"another": Proof(refused=3)}}, {GateName.MODEL_UNPROVEN}),
        ({"proofs": {"another": Proof(refused=3, granted=1)}}, set()),
        ({"proofs": {"configured no more": Proof(refused=3)}}, set()),
        ({"proofs": {SHAPE: Proof(out=3)}}, set()),
        ({"balance": 49}, {GateName.CREDITS}),
        ({"balance": None}, set()),
        ({"paused": True, "balance": 0}, {GateName.PAUSED, GateName.CREDITS}),
        ({"window": (NOW + SECOND,) * 10, "hour": Usage(30), "running": 50}, set()),
    ],
)
def test_which_gates_are_closed_for_what_may_be_ordered(changes: dict[str, Any], names: set[GateName]) -> None:
    assert closed(replace(READY, **changes), OFFERS, POLICY) == names


def test_a_price_beyond_the_credits_closes_the_gate_for_all_to_see() -> None:
    assert closed(replace(READY, balance=8), OFFERS, replace(POLICY, min_credits=0)) == {GateName.CREDITS}


# -- after a refusal -----------------------------------------------------------------------------------------------


LATELY = replace(READY, closures=(Closure(GateName.CREDITS, NOW - HOUR, NOW - MINUTE, "Kie: no credits"),))


def test_after_a_refusal_one_order_at_a_time_is_tried() -> None:
    assert refused(LATELY) is None
    text = "refused not long ago, so that one order at a time is tried; Kie: no credits"
    for repeat in (False, True):
        assert refused(replace(LATELY, open=1), repeat=repeat) == NotNow(Reason.GATE_CLOSED, NOW + 10 * SECOND, text)
    assert closed(replace(LATELY, open=1), OFFERS, POLICY) == set()
    assert places(LATELY, SHAPE, 5, POLICY, 7) == 1
    assert why(replace(LATELY, open=1, day=Usage(100, NOW)), per_day=100) is Reason.BUDGET, "that holds for longer"


@pytest.mark.parametrize("since", [timedelta(0), 10 * MINUTE - SECOND, 10 * MINUTE])
def test_so_it_is_for_a_while(since: timedelta) -> None:
    closure = Closure(GateName.RATE_LIMIT, NOW - HOUR, NOW - since)
    is_wary = refused(replace(READY, closures=(closure,), open=1)) is not None
    assert is_wary is (since < 10 * MINUTE)


def test_a_request_that_was_called_wrong_is_tried_as_an_operator_says() -> None:
    trial = Closure(GateName.REQUEST_REJECTED, NOW - MINUTE, shape=SHAPE, trial=True)
    assert refused(replace(READY, closures=(trial,), open=1)) is None


# -- unproven ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proof", "expected"),
    [
        (Proof(out=2), None),
        (Proof(out=3), Reason.GATE_CLOSED),
        (Proof(out=1, refused=2), Reason.GATE_CLOSED),
        (Proof(refused=2), None),
        (Proof(refused=3), Reason.MODEL_UNPROVEN),
        (Proof(refused=3, granted=1), None),
        (Proof(out=1, refused=3, granted=1), Reason.GATE_CLOSED),
        (Proof(refused=4, granted=1), Reason.MODEL_UNPROVEN),
        (Proof(proven=True, out=50, refused=50), None),
    ],
)
def test_until_one_result_was_good_at_most_three_are_risked(proof: Proof, expected: Reason | None) -> None:
    assert why(replace(READY, proofs={SHAPE: proof})) is expected


def test_a_shape_nobody_tried_may_be_tried() -> None:
    assert refused(replace(READY, proofs={})) is None


# -- credits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("balance", "spent", "expected"),
    [
        *[(50, 0, None), (49.9, 0, Reason.OUT_OF_CREDITS), (100, 50, None), (100, 50.5, Reason.OUT_OF_CREDITS)],
        (None, 0, Reason.GATE_CLOSED),
    ],
)
def test_the_balance_minus_what_was_ordered_since_must_suffice(
    balance: float | None, spent: float, expected: Reason | None
) -> None:
    assert why(replace(READY, balance=balance, spent_since=spent)) is expected


def test_with_no_reserve_the_price_must_be_there() -> None:
    assert why(replace(READY, balance=4), min_credits=0) is Reason.OUT_OF_CREDITS
    assert why(replace(READY, balance=5), min_credits=0) is None


@pytest.mark.parametrize(
    ("balance", "age", "expected"),
    [
        (None, None, True),
        (1000, timedelta(0), False),
        (1000, 10 * MINUTE, False),
        (1000, 11 * MINUTE, True),
        (50, 2 * MINUTE, False),
        (10, MINUTE, True),
        (10, 59 * SECOND, False),
        (0, 2 * MINUTE, True),
        (None, 2 * MINUTE, True),
    ],
)
def test_when_the_balance_is_asked_for(balance: float | None, age: timedelta | None, expected: bool) -> None:
    view = replace(READY, balance=balance, balance_at=None if age is None else NOW - age)
    assert view.wants_balance(POLICY) is expected
    assert replace(view, balance=balance and balance / 50).wants_balance(replace(POLICY, min_credits=1)) is expected


# -- budgets -------------------------------------------------------------------------------------------------------


def test_a_budget_of_0_never_buys() -> None:
    for view in (READY, replace(READY, paused=True)):
        assert refused(view, per_day=0) == NotNow(Reason.BUDGET, None, "budget.per_day = 0: nothing is ever bought")
        assert refused(view, per_hour=0) == NotNow(Reason.BUDGET, None, "budget.per_hour = 0: nothing is ever bought")


def test_hourly_and_daily_budgets() -> None:
    full_hour = replace(READY, hour=Usage(30, NOW + MINUTE))
    full_day = replace(full_hour, day=Usage(100, NOW + HOUR))
    assert refused(full_hour) == NotNow(Reason.BUDGET, NOW + MINUTE, "budget.per_hour = 30 is spent")
    assert refused(full_day) == NotNow(Reason.BUDGET, NOW + HOUR, "budget.per_day = 100 is spent")
    assert refused(replace(READY, hour=Usage(29), day=Usage(99))) is None


def test_so_many_tasks_at_once() -> None:
    assert why(replace(READY, running=49)) is None
    assert why(replace(READY, running=50)) is Reason.GATE_CLOSED


# -- the window ----------------------------------------------------------------------------------------------------


def test_the_window_opens_when_enough_have_left_it() -> None:
    leaving = tuple(NOW + n * SECOND for n in range(1, 13))
    assert refused(replace(READY, window=leaving[:9])) is None
    for count, opens in ((10, leaving[0]), (12, leaving[2])):
        answer = refused(replace(READY, window=leaving[:count]))
        assert answer is not None
        assert answer.until == opens


calls = st.lists(
    st.tuples(st.floats(0, 8), st.one_of(st.none(), st.floats(0, 20)), st.floats(0, 1)), min_size=10, max_size=80
)


@pytest.mark.slow
@given(calls, st.integers(1, 5), st.integers(1, 20))
def test_no_window_holds_more_than_the_limit_however_late_requests_arrive(
    history: list[tuple[float, float | None, float]], limit: int, seconds: int
) -> None:
    """Each buyer comes after a pause; its answer takes a while or never comes; its request arrives in between."""
    policy = replace(POLICY, purchase_limit=limit, purchase_window=timedelta(seconds=seconds))
    log: list[tuple[datetime, datetime, datetime]] = []
    now = NOW
    for pause, answer_after, arrives_at in history:
        now += timedelta(seconds=pause)
        over = now + min(timedelta(seconds=answer_after or 45.0), 45 * SECOND)
        if refusal(_view(now, log, policy), SHAPE, 5, policy, repeat=False) is None:
            log.append((now, over, now + (over - now) * arrives_at))
    arrivals = sorted(at for _, _, at in log)
    starts = arrivals + [at - policy.purchase_window for at in arrivals]
    for start in starts:
        assert sum(start <= at < start + policy.purchase_window for at in arrivals) <= limit


@pytest.mark.slow
@given(calls, st.integers(1, 5))
def test_a_window_that_is_full_says_when_it_opens(history: list[tuple[float, float | None, float]], limit: int) -> None:
    policy = replace(POLICY, purchase_limit=limit)
    log: list[tuple[datetime, datetime, datetime]] = []
    now = NOW
    for pause, _, _ in history:
        now += timedelta(seconds=pause / 8)
        answer = refusal(_view(now, log, policy), SHAPE, 5, policy, repeat=False)
        if answer is not None:
            assert answer.until is not None
            assert answer.until > now
            now = answer.until
            assert refusal(_view(now, log, policy), SHAPE, 5, policy, repeat=False) is None
        log.append((now, now, now))


def _view(now: datetime, log: Iterable[tuple[datetime, datetime, datetime]], policy: Policy) -> GateView:
    """An order occupies the window until its answer, or its deadline, plus the window."""
    leaves = (over + policy.purchase_window for _, over, _ in log)
    return replace(READY, now=now, window=tuple(sorted(at for at in leaves if at > now)))


# -- the breaker's part --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [Stage.OPEN, Stage.PROBING, Stage.RAMPING])
def test_no_hold_ends_while_the_breaker_is_not_closed(stage: Stage) -> None:
    answer = refused(replace(READY, breaker=Breaker(stage, ramp_since=NOW)), repeat=True)
    assert answer is not None
    assert answer.gate is GateName.BREAKER


def test_a_repeat_may_probe_when_nothing_else_came_for_as_long_as_an_answer_is_held() -> None:
    probing = Breaker(Stage.PROBING, retry_at=NOW + HOUR)
    waits = refused(replace(READY, breaker=probing), repeat=True)
    assert waits is not None
    assert waits.until == NOW + HOUR
    assert refused(replace(READY, breaker=probing, now=NOW + HOUR), repeat=True) is None
    busy = refused(replace(READY, breaker=probing, now=NOW + HOUR, open=1), repeat=True)
    assert busy is not None
    assert busy.until == NOW + HOUR + POLICY.purchase_window


def test_a_repeat_may_go_when_the_ramp_is_at_its_top() -> None:
    ramping = Breaker(Stage.RAMPING, ramp_since=NOW)
    assert refused(replace(READY, breaker=ramping, now=NOW + 3 * POLICY.purchase_window), repeat=True)
    assert refused(replace(READY, breaker=ramping, now=NOW + 4 * POLICY.purchase_window), repeat=True) is None


def test_an_open_breaker_lets_nothing_through_and_names_a_time_to_come() -> None:
    for retry_at, until in ((NOW + HOUR, NOW + HOUR), (NOW - HOUR, NOW + 10 * SECOND), (None, NOW + 10 * SECOND)):
        answer = refused(replace(READY, breaker=Breaker(Stage.OPEN, retry_at=retry_at)))
        assert answer is not None
        assert (answer.reason, answer.until) == (Reason.GATE_CLOSED, until)


def test_a_probing_breaker_lets_one_through() -> None:
    probing = replace(READY, breaker=Breaker(Stage.PROBING, retry_at=NOW + HOUR))
    assert refused(probing) is None
    second = refused(replace(probing, open=1))
    assert second is not None
    assert (second.reason, second.until) == (Reason.GATE_CLOSED, NOW + POLICY.purchase_window)
    assert why(replace(probing, window=(NOW + SECOND,))) is Reason.GATE_CLOSED


def test_a_ramping_breaker_lets_ever_more_through() -> None:
    for windows, allowed in ((0, 1), (1, 2), (2, 4), (3, 8), (4, 10)):
        since = NOW - windows * POLICY.purchase_window
        view = replace(READY, breaker=Breaker(Stage.RAMPING, ramp_since=since))
        leaving = tuple(NOW + n * SECOND for n in range(1, allowed + 1))
        assert refused(replace(view, window=leaving[:-1])) is None
        assert why(replace(view, window=leaving)) is Reason.GATE_CLOSED
