"""Callbacks: they can only help. What they say is asked of Kie."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.actions import AskTask, Buy, Fetch, TaskResult, Wait
from reconciler.domain.amending import reopened
from reconciler.domain.attempts import attempt
from reconciler.domain.backoff import poll_called_after
from reconciler.domain.callbacks import announced, confirms, name_of, unheeded
from reconciler.domain.case import Case
from reconciler.domain.findings import (
    Accepted,
    Call,
    Failed,
    NotFound,
    Refusal,
    Running,
    Succeeded,
    TaskAnswer,
    Trouble,
)
from reconciler.domain.learn import learn, notice
from reconciler.domain.model import Callback, Memory, Outcome, TaskState, Track, Verdict
from reconciler.domain.plan import plan
from reconciler.domain.runs import Runs
from reconciler.domain.states import How, Reason, State
from tests.domain.builders import (
    DAY,
    DURABLE,
    HOUR,
    MINUTE,
    NOW,
    OTHER_TASK,
    POLICY,
    RESULT,
    SECOND,
    TASK,
    accepted,
    case,
    done_task,
    faulty,
    lost,
    memory,
    nothing,
    planned,
    purchase,
    seen,
    task,
    tasks,
    track,
)

URL = "https://ops.example/callback/p1"
CONFIRM = AskTask(TASK, "p1")
OUTAGE = Trouble(Call.SERVER_ERROR, "internal error")
ABSENT = NotFound("recordInfo is null")


def looked(the_memory: Memory) -> Memory:
    return notice(the_memory, track(), POLICY, NOW)


def called(task_id: str = TASK, token: str = "p1", **changes: Any) -> Memory:
    """The answer to an order was lost ten minutes ago, and a callback names a task."""
    bought = {"purchases": (lost(at=NOW - 10 * MINUTE),)}
    return memory(callbacks=(Callback(token, task_id),), **{**bought, **changes})


def confirmed(finding: TaskAnswer, the_memory: Memory | None = None, age: Any = 0 * SECOND) -> Memory:
    return learn(Case(track(), the_memory or called(), POLICY, NOW + age), CONFIRM, finding)


# -- of a task that is known -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", ["", TASK, OTHER_TASK])
def test_a_callback_has_the_orders_own_task_asked_at_once_whatever_it_says(told: str) -> None:
    waiting = memory(purchases=(accepted(),), tasks=tasks(task()))
    assert planned(track(), looked(waiting)) == Wait(NOW + MINUTE, State.AWAITING, Reason.IN_FLIGHT)
    assert planned(track(), looked(replace(waiting, callbacks=(Callback("p1", told),)))) == AskTask(TASK)


def test_it_does_so_once_whatever_the_answer() -> None:
    heard = memory(purchases=(accepted(),), tasks=tasks(task()), callbacks=(Callback("p1", TASK),))
    for finding in (Running(), OUTAGE, ABSENT):
        after = learn(case(the_memory=looked(heard)), AskTask(TASK), finding)
        assert unheeded(after) == ()
        assert isinstance(planned(track(), looked(after)), Wait)


def test_a_callback_that_came_since_has_it_asked_once_more() -> None:
    heard = memory(purchases=(accepted(),), tasks=tasks(task()), callbacks=(Callback("p1", ""),))
    after = learn(case(the_memory=looked(heard)), AskTask(TASK), Running())
    again = replace(after, callbacks=(*after.callbacks, Callback("p1", TASK)))
    assert planned(track(), looked(again)) == AskTask(TASK)


def test_a_callback_about_another_order_wakes_nothing() -> None:
    bought = (accepted(at=NOW - HOUR), accepted("p2", OTHER_TASK))
    known = tasks(done_task(RESULT), task(OTHER_TASK))
    heard = memory(purchases=bought, tasks=known, callbacks=(Callback("p1", TASK), Callback("gone", OTHER_TASK)))
    assert looked(heard).tasks == known


@pytest.mark.parametrize("one", [accepted(task_id=None, urls=(RESULT,)), nothing("p1", None), purchase(at=NOW)])
def test_without_a_task_there_is_none_to_wake(one: Any) -> None:
    assert looked(memory(purchases=(one,), callbacks=(Callback("p1", TASK),))).tasks == {}


# -- of an order whose answer was lost ---------------------------------------------------------------------------------


def test_a_task_that_a_callback_names_is_asked_for_its_record() -> None:
    assert planned(track(), called()) == CONFIRM


def test_it_is_asked_before_the_order_is_repeated() -> None:
    late = called(purchases=(lost(),))
    assert isinstance(planned(track(), replace(late, callbacks=())), Buy)
    assert planned(track(), late) == CONFIRM


def test_it_is_asked_though_the_track_was_given_up_meanwhile() -> None:
    both = (lost(), lost("p2", NOW - HOUR, repeat_of="p1"))
    assert planned(track(), called(purchases=both)) == CONFIRM


@pytest.mark.parametrize(
    "the_memory",
    [
        called(""),
        called(token="p2"),
        called(purchases=(purchase(at=NOW - SECOND),)),
        called(heeded=(Callback("p1", TASK),)),
    ],
    ids=["names none", "of another order", "the answer may still come", "was asked"],
)
def test_otherwise_nothing_is_asked_for(the_memory: Memory) -> None:
    assert not isinstance(planned(track(), the_memory), AskTask)


def test_nor_what_was_given_up_for_its_faults_and_tried_again_since() -> None:
    hopeless = called(ailments={name_of(TASK): faulty(8 * DAY, why=Reason.UNKNOWN_PURCHASE)})
    again = reopened(case(the_memory=hopeless))
    assert again.ailments[name_of(TASK)].dead
    assert not isinstance(planned(track(), again), AskTask)


@pytest.mark.parametrize(
    "the_track", [track(DURABLE, resolution="2048x1152"), track(status="failed")], ids=["good by now", "out of scope"]
)
def test_it_is_asked_though_the_track_needs_nothing_any_more(the_track: Track) -> None:
    """What was paid for goes into the store."""
    assert planned(the_track, called(sighting=seen(DURABLE))) == CONFIRM


def test_a_record_that_carries_the_token_makes_the_task_ours() -> None:
    after = confirmed(Succeeded((RESULT,), call_back_url=URL))
    (found,) = after.purchases
    assert (found.outcome, found.task_id, found.verdict) == (Outcome.ACCEPTED, TASK, Verdict.PENDING)
    assert (after.tasks[TASK].state, after.tasks[TASK].created_at) == (TaskState.SUCCEEDED, found.at)
    assert planned(track(), looked(after)) == Fetch(TaskResult(RESULT, TASK, How.GENERATED, found.song))


def test_one_that_still_runs_is_waited_for() -> None:
    after = looked(confirmed(Running(call_back_url=URL)))
    assert after.tasks[TASK].polls == 1
    assert planned(track(), after) == Wait(after.tasks[TASK].next_poll, State.AWAITING, Reason.IN_FLIGHT)


def test_one_that_failed_is_refunded() -> None:
    (found,) = confirmed(Failed(Refusal.CONTENT, "flagged", call_back_url=URL)).purchases
    assert found.verdict is Verdict.CONTENT


FOREIGN = [
    None,
    "",
    "https://ops.example/callback/p2",
    "https://ops.example/p1",
    "https://ops.example/?x=/callback/p1",
    "http://[",
]


@pytest.mark.parametrize("url", FOREIGN)
@pytest.mark.parametrize(
    "kind", [Running, lambda **more: Succeeded((RESULT,), **more), lambda **more: Failed(None, "", **more)]
)
def test_a_record_without_the_token_is_another_ones(kind: Any, url: str | None) -> None:
    after = confirmed(kind(call_back_url=url))
    assert (after.purchases, after.tasks, unheeded(after)) == (called().purchases, {}, ())
    assert planned(track(), looked(after)) != CONFIRM


def test_a_token_counts_wherever_kie_was_told_to_call() -> None:
    assert confirms("https://app.example/api/reconciler/callback/p1", "p1")


def test_one_that_is_not_found_is_asked_for_ten_minutes_and_nothing_is_repeated_meanwhile() -> None:
    known, age, asked = called(purchases=(lost(),)), 0 * SECOND, 0
    while unheeded(known):
        now = Case(track(), known, POLICY, NOW + age)
        match plan(now):
            case Wait(until=until, state=State.UNKNOWN, reason=Reason.UNKNOWN_PURCHASE):
                assert until is not None
                age = until - NOW
            case action:
                assert action == CONFIRM
                asked, known = asked + 1, confirmed(ABSENT, known, age)
    assert (asked >= 3, age >= 10 * MINUTE, age < 20 * MINUTE) == (True, True, True)
    assert isinstance(plan(Case(track(), known, POLICY, NOW + age)), Buy)


def test_while_it_cannot_be_asked_nothing_is_repeated_for_seven_days() -> None:
    known = confirmed(OUTAGE, called(purchases=(lost(),)))
    ailment = known.ailments[name_of(TASK)]
    assert (ailment.faults, ailment.first_fault) == (1, NOW)
    assert planned(track(), known) == Wait(ailment.retry_at, State.UNKNOWN, Reason.UNKNOWN_PURCHASE)
    assert plan(Case(track(), known, POLICY, NOW + HOUR)) == CONFIRM
    assert plan(Case(track(), known, POLICY, NOW + 9 * DAY)) == CONFIRM, "since then nobody asked"
    for day in range(1, 8):
        known = confirmed(OUTAGE, known, day * DAY)
    assert isinstance(plan(Case(track(), known, POLICY, NOW + 8 * DAY)), Buy)


def test_two_vain_questions_a_week_apart_are_no_week_of_them() -> None:
    known = confirmed(OUTAGE, confirmed(OUTAGE, called(purchases=(lost(),))), 8 * DAY)
    assert isinstance(plan(Case(track(), known, POLICY, NOW + 8 * DAY)), Wait)


def test_what_was_in_the_way_is_forgotten_with_the_answer() -> None:
    assert confirmed(Running(call_back_url=URL), confirmed(OUTAGE)).ailments == {}


def test_a_task_does_not_come_back_as_something_else() -> None:
    with pytest.raises(TypeError, match="a task cannot come back with Accepted"):
        learn(case(the_memory=called()), CONFIRM, Accepted(TASK))


def test_the_history_tells_that_it_was_asked_for_and_not_the_token() -> None:
    assert attempt(CONFIRM, ABSENT).step == "confirm_task"
    assert "p1" not in str(attempt(CONFIRM, ABSENT))


# -- when to ask where callbacks come ----------------------------------------------------------------------------------


def test_whether_a_callback_came_is_told_of_our_own_tasks_alone() -> None:
    mine = memory(purchases=(accepted(), accepted("p2", OTHER_TASK)), callbacks=(Callback("p1", ""),))
    assert [announced(mine, name) for name in (TASK, OTHER_TASK, "somebody else's")] == [True, False, None]


def test_an_order_of_our_own_is_left_alone_until_its_callback_must_have_been_lost() -> None:
    one = purchase(at=NOW)
    alone, usual = (
        learn(Case(track(), memory(purchases=(one,)), POLICY, NOW, Runs(called=called)), one, Accepted(TASK))
        for called in (True, False)
    )
    assert alone.tasks[TASK].next_poll >= NOW + 140 * SECOND  # type: ignore[operator]
    assert usual.tasks[TASK].next_poll == NOW + 2 * SECOND


@pytest.mark.parametrize("is_ours", [True, False])
def test_nobody_calls_about_tasks_of_others(is_ours: bool) -> None:
    known = memory(purchases=(accepted(),) if is_ours else (), tasks=tasks(task(created_at=NOW - 5 * SECOND)))
    after = learn(Case(track(TASK), known, POLICY, NOW, Runs(called=True)), AskTask(TASK), Running())
    assert (after.tasks[TASK].next_poll > NOW + MINUTE) is is_ours  # type: ignore[operator]


@given(
    st.timedeltas(-DAY, 90 * DAY),
    st.floats(0, 1, exclude_max=True),
    st.lists(st.timedeltas(0 * DAY, 60 * DAY), max_size=9),
)
def test_no_callback_is_waited_for_for_ever(age: Any, spin: float, lengths: list[Any]) -> None:
    runs = Runs()
    for length in lengths:
        runs = runs.with_one(length)
    longest = 5.5 * MINUTE if age < 6 * HOUR else 33 * MINUTE
    assert 54 * SECOND <= poll_called_after(age, spin, runs) <= longest
