"""After a run of faults money is risked again only step by step."""

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from reconciler.domain.breaker import FAULTS_TO_OPEN, FREE_CALL_PAUSE, Breaker, Stage, heard
from tests.domain.builders import HOUR, MINUTE, NOW, POLICY, SECOND

WINDOW = POLICY.purchase_window


def after(breaker: Breaker, *calls: tuple[bool, bool], at: datetime = NOW) -> Breaker:
    """`calls`: (healthy, bought), all at one time."""
    for healthy, bought in calls:
        breaker = heard(breaker, healthy=healthy, bought=bought, now=at, policy=POLICY)
    return breaker


FAULT, LOST_ORDER, ANSWER, ORDER = (False, False), (False, True), (True, False), (True, True)
OPEN = after(Breaker(), *[FAULT] * FAULTS_TO_OPEN)


def test_a_run_of_faults_opens_it() -> None:
    assert after(Breaker(), *[FAULT] * (FAULTS_TO_OPEN - 1)).stage is Stage.CLOSED
    opened = after(Breaker(), *[FAULT] * FAULTS_TO_OPEN)
    assert opened == Breaker(Stage.OPEN, faults=FAULTS_TO_OPEN, trips=1, waits_since=NOW, retry_at=NOW + 45 * SECOND)


def test_an_answer_ends_a_run() -> None:
    assert after(Breaker(), *[FAULT] * 4, ANSWER, *[FAULT] * 4).stage is Stage.CLOSED
    assert after(Breaker(), *[FAULT] * 4, ANSWER) == Breaker()
    assert after(Breaker(), *[LOST_ORDER] * 4, ORDER) == Breaker()


def test_a_run_of_lost_orders_opens_it_even_if_questions_are_answered() -> None:
    between = [LOST_ORDER, ANSWER, ANSWER] * FAULTS_TO_OPEN
    assert after(Breaker(), *between).stage is Stage.OPEN
    assert after(Breaker(), *between[:-3], ORDER, LOST_ORDER).stage is Stage.CLOSED


def test_calls_that_were_under_way_when_it_opened_say_nothing_new() -> None:
    busy = after(OPEN, *[FAULT] * 50)
    assert (busy.stage, busy.trips, busy.retry_at) == (Stage.OPEN, 1, OPEN.retry_at)
    assert after(OPEN, ANSWER) == OPEN


def test_it_is_tried_by_a_free_call_when_its_time_has_come() -> None:
    assert OPEN.retry_at is not None
    assert not OPEN.wants_free_call(NOW)
    assert OPEN.wants_free_call(OPEN.retry_at)
    assert not Breaker().wants_free_call(NOW)
    assert after(OPEN, ANSWER, at=OPEN.retry_at) == Breaker(
        Stage.PROBING, trips=1, waits_since=OPEN.retry_at, retry_at=OPEN.retry_at + POLICY.hold_unknown
    )


def test_pauses_grow_while_it_does_not_close_in_between() -> None:
    """Free calls cost nothing, so they are never left out for long."""
    breaker, at, pauses = OPEN, NOW, []
    for _ in range(12):
        assert breaker.retry_at is not None
        pauses.append(breaker.retry_at - at)
        at = breaker.retry_at
        breaker = after(breaker, FAULT, at=at)
    assert pauses == sorted(pauses)
    assert pauses[-1] == FREE_CALL_PAUSE * 0.75


def test_pauses_grow_further_where_it_is_purchases_that_fail() -> None:
    breaker, at, pauses = OPEN, NOW, []
    for _ in range(12):
        assert breaker.retry_at is not None
        pauses.append(breaker.retry_at - at)
        at = breaker.retry_at
        breaker = after(after(breaker, ANSWER, at=at), FAULT, at=at)
    assert pauses == sorted(pauses)
    assert pauses[-1] == POLICY.retry_max * 0.75


def test_then_by_one_purchase_then_by_a_ramp() -> None:
    probing = after(OPEN, ANSWER, at=NOW + HOUR)
    assert probing.allowance(NOW, POLICY) == 1
    assert after(probing, ANSWER) == probing, "only a purchase tells of purchases"
    ramping = after(probing, ORDER)
    assert ramping == Breaker(Stage.RAMPING, trips=1, ramp_since=NOW)
    assert [ramping.allowance(NOW + n * WINDOW, POLICY) for n in range(6)] == [1, 2, 4, 8, 10, 10]
    assert ramping.allowance(NOW - HOUR, POLICY) == 1, "a clock that jumped back"
    assert replace(ramping, ramp_since=None).allowance(NOW, POLICY) == 1
    assert after(ramping, ORDER, at=NOW + 3 * WINDOW) == ramping
    assert after(ramping, ORDER, at=NOW + 4 * WINDOW) == Breaker()


@pytest.mark.parametrize("stage", [Stage.PROBING, Stage.RAMPING])
def test_one_fault_while_it_is_tried_opens_it_again(stage: Stage) -> None:
    again = after(Breaker(stage, trips=1, ramp_since=NOW), FAULT)
    assert (again.stage, again.trips) == (Stage.OPEN, 2)


def test_when_repeats_may_go() -> None:
    assert Breaker().lets_repeats(NOW, POLICY)
    assert not OPEN.lets_repeats(NOW + HOUR, POLICY)
    probing = after(OPEN, ANSWER, at=NOW + HOUR)
    assert not probing.lets_repeats(NOW + HOUR, POLICY)
    assert probing.lets_repeats(NOW + HOUR + POLICY.hold_unknown, POLICY)


def test_allowances_of_the_other_stages() -> None:
    assert Breaker().allowance(NOW, POLICY) == POLICY.purchase_limit
    assert OPEN.allowance(NOW, POLICY) == 0


calls = st.tuples(st.sampled_from((True, False, False)), st.booleans(), st.sampled_from((0, 1, 30, 100, 9000)))
steps = st.lists(calls, min_size=10, max_size=40)


@given(steps)
def test_whatever_happens_health_closes_it_again_within_bounded_time(
    history: list[tuple[bool, bool, int]],
) -> None:
    breaker, now = Breaker(), NOW
    for healthy, bought, pause in history:
        now += pause * SECOND
        breaker = after(breaker, (healthy, bought), at=now)
        event(breaker.stage)
        assert 0 <= breaker.allowance(now, POLICY) <= POLICY.purchase_limit
        waits = breaker.stage in (Stage.OPEN, Stage.PROBING)
        assert (breaker.waits_since is not None) == (breaker.retry_at is not None) == waits
    for _ in range(3):
        now += POLICY.retry_max + MINUTE
        breaker = after(breaker, ORDER, at=now)
    assert breaker == Breaker()
