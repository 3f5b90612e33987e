"""Which answers close the gate for all."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from reconciler.domain import closing
from reconciler.domain.closing import UNHEALTHY, closure_for, key_taken, order_taken
from reconciler.domain.findings import (
    Accepted,
    AnswerLost,
    Call,
    Failed,
    Finding,
    NothingMade,
    Refusal,
    Running,
    Trouble,
)
from reconciler.domain.gate import Closure, GateName
from tests.domain.builders import HOUR, MINUTE, NOW, POLICY, SECOND, SHAPE, purchase


@pytest.mark.parametrize(
    ("refusal", "name", "pause"),
    [
        (Refusal.RATE, GateName.RATE_LIMIT, POLICY.purchase_window),
        (Refusal.CREDITS, GateName.CREDITS, 10 * MINUTE),
        (Refusal.KEY_CAP, GateName.CREDITS, HOUR),
        (Refusal.KEY, GateName.KEY, 10 * MINUTE),
    ],
)
def test_what_concerns_the_account_closes_the_gate_for_a_while(
    refusal: Refusal, name: GateName, pause: timedelta
) -> None:
    for finding in (NothingMade(refusal, Call.REJECTED, "why"), Trouble(Call.REJECTED, "why", refusal)):
        closure = closure_for(finding, SHAPE, POLICY, NOW)
        assert closure is not None
        assert closure == Closure(name, NOW, NOW + pause, closure.detail)
        assert closure.detail.endswith(": why")


def test_a_rate_limit_may_say_for_how_long() -> None:
    def closed_for(after_s: float) -> timedelta | None:
        asked = closure_for(Trouble(Call.RATE_LIMITED, "", Refusal.RATE, after_s), None, POLICY, NOW)
        ordered = NothingMade(Refusal.RATE, Call.RATE_LIMITED, "", retry_after_s=after_s)
        assert closure_for(ordered, SHAPE, POLICY, NOW) == asked
        return asked.until - NOW if asked and asked.until else None

    assert closed_for(90) == 90 * SECOND
    hasty = replace(POLICY, purchase_window=SECOND / 10)
    closure = closure_for(Trouble(Call.RATE_LIMITED, "", Refusal.RATE), None, hasty, NOW)
    assert closure is not None
    assert closure.until == NOW + SECOND / 10
    assert closed_for(1) == POLICY.purchase_window
    assert closed_for(1e9) == HOUR


def lengthened(closure: Closure, before: Closure | None, *, ordered: bool = True) -> Closure:
    return closing.lengthened(closure, before, ordered=ordered)


def test_a_rate_limit_that_persists_is_left_alone_for_longer_each_time() -> None:
    first = Closure(GateName.RATE_LIMIT, NOW, NOW + 10 * SECOND)

    def again(at: datetime, before: Closure | None = first) -> timedelta:
        longer = lengthened(Closure(GateName.RATE_LIMIT, at, at + 10 * SECOND), before)
        assert longer.until is not None
        return longer.until - at

    assert again(NOW, None) == 10 * SECOND
    assert again(NOW + SECOND) == 10 * SECOND  # of the same burst
    assert again(NOW + 12 * SECOND) == 20 * SECOND
    assert [again(NOW + n * SECOND) for n in (9, 10, 30, 31)] == [n * SECOND for n in (10, 20, 20, 10)]
    assert again(NOW + HOUR) == 10 * SECOND
    long = Closure(GateName.RATE_LIMIT, NOW, NOW + 20 * MINUTE)
    assert again(NOW + 21 * MINUTE, long) == 30 * MINUTE
    told = Closure(GateName.RATE_LIMIT, NOW + MINUTE, NOW + HOUR)
    assert lengthened(told, first) == told
    for other in (Closure(GateName.RATE_LIMIT, NOW, None), Closure(GateName.KEY, NOW, None)):
        assert lengthened(other, other) == lengthened(other, first) == lengthened(other, None) == other
        assert lengthened(told, other) == told


@pytest.mark.parametrize("name", [GateName.CREDITS, GateName.KEY])
def test_an_account_whose_orders_are_refused_again_and_again_is_left_alone_for_longer_each_time(name: GateName) -> None:
    holds, lengths = None, []
    for _ in range(4):
        at = NOW if holds is None or holds.until is None else holds.until + MINUTE
        holds = lengthened(Closure(name, at, at + 10 * MINUTE), holds)
        assert holds.until is not None
        lengths.append(holds.until - at)
    assert lengths == [n * MINUTE for n in (10, 20, 30, 30)]


def test_an_account_that_is_capped_for_an_hour_stays_closed_for_an_hour() -> None:
    cap = Closure(GateName.CREDITS, NOW, NOW + HOUR)
    again = Closure(GateName.CREDITS, NOW + HOUR, NOW + 2 * HOUR)
    assert lengthened(again, cap) == again
    short = Closure(GateName.CREDITS, NOW + HOUR, NOW + HOUR + 10 * MINUTE)
    assert lengthened(short, cap).until == NOW + HOUR + 30 * MINUTE


@pytest.mark.parametrize("name", [GateName.KEY, GateName.RATE_LIMIT, GateName.CREDITS])
def test_free_calls_that_are_refused_keep_the_gate_closed_no_longer_than_the_first(name: GateName) -> None:
    first = Closure(name, NOW, NOW + 10 * MINUTE)
    for at in (NOW + 9 * MINUTE, NOW + 10 * MINUTE):
        again = Closure(name, at, at + 10 * MINUTE)
        assert lengthened(again, first, ordered=False) == again


def test_a_free_call_that_is_refused_between_keeps_orders_from_being_tried_as_often_as_at_first() -> None:
    holds, lengths = None, []
    at = NOW
    for number in range(6):
        holds = lengthened(Closure(GateName.RATE_LIMIT, at, at + 10 * SECOND), holds, ordered=number % 2 == 0)
        assert holds.until is not None
        lengths.append(holds.until - at)
        at = holds.until + SECOND
    assert lengths == [n * SECOND for n in (10, 10, 20, 10, 40, 10)]


def test_a_free_call_opens_the_gate_of_a_key_until_orders_are_refused_all_the_same() -> None:
    first = Closure(GateName.KEY, NOW, NOW + 10 * MINUTE)
    opened = key_taken(first, NOW + SECOND)
    assert opened == replace(first, until=NOW + SECOND)
    assert key_taken(opened, NOW + MINUTE) == opened, "it is over"
    again = lengthened(Closure(GateName.KEY, NOW + MINUTE, NOW + 11 * MINUTE), opened)
    assert again.until == NOW + 21 * MINUTE
    assert key_taken(again, NOW + 2 * MINUTE) == again
    endless = Closure(GateName.KEY, NOW)
    assert not key_taken(endless, NOW + SECOND).active(NOW + SECOND)
    of_the_account = Closure(GateName.CREDITS, NOW, NOW + HOUR)
    assert key_taken(of_the_account, NOW + SECOND) == of_the_account


def test_an_accepted_order_ends_what_its_request_was_refused_for_and_shortens_what_ran_out_before() -> None:
    order = purchase(at=NOW)
    rejected = Closure(GateName.REQUEST_REJECTED, NOW - HOUR, shape=order.shape)
    over = Closure(GateName.CREDITS, NOW - HOUR, NOW)
    assert order_taken(rejected, order) is None
    assert order_taken(over, order) == replace(over, at=NOW)
    for untouched in (
        replace(rejected, at=NOW + SECOND),
        replace(rejected, shape="other"),
        replace(over, until=NOW + SECOND),
        replace(over, until=None),
    ):
        assert order_taken(untouched, order) == untouched


@pytest.mark.parametrize("name", [GateName.RATE_LIMIT, GateName.CREDITS])
def test_an_answer_while_the_gate_is_closed_for_longer_does_not_open_it_sooner(name: GateName) -> None:
    long, short = Closure(name, NOW, NOW + HOUR, "for long"), Closure(name, NOW + SECOND, NOW + MINUTE)
    assert lengthened(short, long) == long
    assert lengthened(long, short) == long
    over = Closure(name, NOW + HOUR, NOW + HOUR + MINUTE)
    assert lengthened(over, long).at == over.at, "it is over by then"


def test_a_request_that_kie_calls_wrong_closes_its_model_until_somebody_looks() -> None:
    closure = closure_for(NothingMade(Refusal.REQUEST, Call.REJECTED, "not published"), SHAPE, POLICY, NOW)
    text = "Kie calls the request wrong: not published"
    assert closure == Closure(GateName.REQUEST_REJECTED, NOW, None, text, SHAPE)
    task = Failed(Refusal.REQUEST, "not published")
    assert closure_for(task, SHAPE, POLICY, NOW) == closure
    assert closure_for(task, None, POLICY, NOW) is None, "somebody else ordered it"


@pytest.mark.parametrize(
    "finding",
    [
        *[NothingMade(r, Call.REJECTED, "") for r in (Refusal.CONTENT, Refusal.OUTAGE, Refusal.STORE)],
        *[Trouble(Call.REJECTED, "", r) for r in (Refusal.REQUEST, Refusal.OUTAGE)],
        *[Failed(r, "") for r in (*Refusal, None) if r is not Refusal.REQUEST],
        *[Accepted("t"), AnswerLost(Call.TIMEOUT, ""), Running()],
    ],
)
def test_nothing_else_closes_it(finding: Finding) -> None:
    assert closure_for(finding, SHAPE, POLICY, NOW) is None


def test_refusals_are_answers_not_faults() -> None:
    assert UNHEALTHY.isdisjoint({Call.OK, Call.NOT_FOUND, Call.REJECTED, Call.RATE_LIMITED, Call.NO_CREDITS})
    assert Call.UNAUTHORIZED not in UNHEALTHY
