"""What a track's purchases amount to."""

from dataclasses import replace

import pytest

from reconciler.domain import purchases
from reconciler.domain.actions import Buy
from reconciler.domain.catalogue import judged_by
from reconciler.domain.model import Ailment, Memory, Outcome, Purchase, TaskState, Verdict
from reconciler.domain.policy import Target
from reconciler.domain.purchases import judged
from reconciler.domain.states import Flaw, Reason
from tests.domain.builders import (
    DAY,
    HOUR,
    KEY,
    MINUTE,
    NOW,
    OTHER_RESULT,
    POLICY,
    RESULT,
    SECOND,
    SHAPE,
    accepted,
    done_task,
    failed,
    faulty,
    kept,
    lost,
    memory,
    nothing,
    planned,
    purchase,
    task,
    tasks,
    track,
)


def verdict(the_memory: Memory) -> Verdict:
    return judged(the_memory, POLICY, NOW).purchases[0].verdict


# -- verdicts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "why", "expected"),
    [
        (TaskState.RUNNING, None, Verdict.PENDING),
        (TaskState.FAILED, Reason.PROVIDER_FAILED, Verdict.FAILED),
        (TaskState.FAILED, Reason.CONTENT_REJECTED, Verdict.CONTENT),
        (TaskState.FAILED, Reason.REQUEST_REJECTED, Verdict.FAILED),
        (TaskState.GONE, None, Verdict.LOST),
    ],
)
def test_the_verdict_follows_the_task(state: TaskState, why: Reason | None, expected: Verdict) -> None:
    assert verdict(memory(purchases=(accepted(),), tasks=tasks(task(state=state, failure=why)))) is expected


def test_a_request_that_was_wrong_is_no_fault_of_the_track_and_needs_no_pause() -> None:
    """The gate is closed for it, as after an order that is refused so."""
    why = Reason.REQUEST_REJECTED
    ended = task(state=TaskState.FAILED, failure=why)
    before, bought = failed("p0"), accepted(at=NOW - MINUTE)
    known = judged(memory(purchases=(before, bought), tasks=tasks(ended)), POLICY, NOW)
    wrong = replace(bought, verdict=Verdict.FAILED, refusal=why, ended_at=NOW)
    assert known.purchases == (before, wrong)
    assert (purchases.failure(wrong), purchases.spent((wrong,)), purchases.attempts((wrong,))) == (None, 0, 1)
    assert purchases.recent_failures(known.purchases, 2 * DAY) == (before,)
    assert purchases.why_spent((wrong,)) is Reason.ATTEMPTS_SPENT
    assert isinstance(planned(track(), replace(known, purchases=(wrong,))), Buy)


DEAD, SMALL = Ailment(dead=True), Ailment(flaw=Flaw.TOO_SMALL)


@pytest.mark.parametrize(
    ("ailments", "expected"),
    [
        ({}, Verdict.PENDING),
        ({RESULT: SMALL}, Verdict.PENDING),
        ({RESULT: SMALL, OTHER_RESULT: SMALL}, Verdict.REJECTED),
        ({RESULT: SMALL, OTHER_RESULT: DEAD}, Verdict.REJECTED),
        ({RESULT: DEAD, OTHER_RESULT: DEAD}, Verdict.REJECTED),
    ],
)
def test_the_verdict_follows_the_results(ailments: dict[str, Ailment], expected: Verdict) -> None:
    bought = memory(purchases=(accepted(),), tasks=tasks(done_task(RESULT, OTHER_RESULT)), ailments=ailments)
    assert verdict(bought) is expected


def test_one_good_result_is_enough() -> None:
    bought = {"purchases": (accepted(),), "tasks": tasks(done_task(RESULT, OTHER_RESULT)), "ailments": {RESULT: SMALL}}
    assert verdict(memory(**bought, kept=(kept(origin=OTHER_RESULT),))) is Verdict.GOOD
    assert verdict(memory(**bought, kept=(kept(KEY, 360, 360, origin=OTHER_RESULT),))) is Verdict.PENDING


def test_a_result_that_came_at_once_is_judged_without_a_task() -> None:
    at_once = accepted(task_id=None, urls=(RESULT,))
    assert verdict(memory(purchases=(at_once,))) is Verdict.PENDING
    assert verdict(memory(purchases=(at_once,), ailments={RESULT: SMALL})) is Verdict.REJECTED


@pytest.mark.parametrize(
    ("why", "days", "expected"),
    [
        (Reason.HOST_REFUSED, 7, Verdict.REJECTED),
        (Reason.DOWNLOAD_FAILED, 7, Verdict.REJECTED),
        (Reason.DOWNLOAD_FAILED, 6, Verdict.PENDING),
        (Reason.STORAGE_FAILED, 7, Verdict.PENDING),
    ],
)
def test_a_result_that_cannot_be_had_for_seven_days_is_one_refused(why: Reason, days: int, expected: Verdict) -> None:
    ill = {RESULT: faulty(days * DAY, why=why)}
    assert verdict(memory(purchases=(accepted(),), tasks=tasks(done_task(RESULT)), ailments=ill)) is expected


def test_a_result_is_one_refused_where_no_picture_of_the_track_is_touched() -> None:
    deadly = memory(purchases=(accepted(),), tasks=tasks(done_task(RESULT)), interruptions=2)
    assert verdict(deadly) is Verdict.PENDING
    assert verdict(replace(deadly, interruptions=3)) is Verdict.REJECTED
    assert verdict(memory(purchases=(accepted(),), tasks=tasks(task()), interruptions=3)) is Verdict.PENDING


def test_what_was_refused_is_good_once_it_could_be_had_after_all() -> None:
    refused = accepted(verdict=Verdict.REJECTED, ended_at=NOW - DAY)
    again = memory(purchases=(refused,), tasks=tasks(done_task(RESULT)))
    assert judged(again, POLICY, NOW).purchases == (refused,), "until then it stays refused"
    had = judged(replace(again, kept=(kept(origin=RESULT),)), POLICY, NOW)
    assert had.purchases == (replace(refused, verdict=Verdict.GOOD, ended_at=NOW),)


def test_a_task_that_was_not_asked_yet_is_not_lost() -> None:
    assert verdict(memory(purchases=(accepted(),))) is Verdict.PENDING


def test_a_success_without_any_result_is_one_refused() -> None:
    assert verdict(memory(purchases=(accepted(),), tasks=tasks(done_task()))) is Verdict.REJECTED


def test_a_result_counts_for_the_target_that_judged_it() -> None:
    other = judged_by(Target(640, 360), SHAPE)
    for ailments, copies in (({RESULT: SMALL}, ()), ({}, (kept(origin=RESULT),))):
        bought = memory(purchases=(accepted(shape=other),), tasks=tasks(done_task(RESULT)))
        found = replace(bought, ailments=ailments, kept=copies)
        assert judged(found, POLICY, NOW).purchases[0].shape == SHAPE
    for state in (TaskState.FAILED, TaskState.GONE):
        ended = memory(purchases=(accepted(shape=other),), tasks=tasks(task(state=state)))
        assert judged(ended, POLICY, NOW).purchases[0].shape == other


@pytest.mark.parametrize("final", [verdict for verdict in Verdict if verdict is not Verdict.PENDING])
def test_a_verdict_is_final(final: Verdict) -> None:
    ended = failed("p1", final)
    assert judged(memory(purchases=(ended,)), POLICY, NOW).purchases == (ended,)


def test_a_verdict_is_dated() -> None:
    ended = judged(memory(purchases=(accepted(),), tasks=tasks(task(state=TaskState.GONE))), POLICY, NOW)
    assert ended.purchases[0].ended_at == NOW
    assert judged(ended, POLICY, NOW + DAY) == ended


@pytest.mark.parametrize("one", [purchase(), lost(), nothing("p1", None)])
def test_only_accepted_purchases_are_judged(one: Purchase) -> None:
    assert verdict(memory(purchases=(one,))) is Verdict.PENDING


# -- what is out, what is lost -------------------------------------------------------------------------------------


def test_an_open_purchase_is_lost_after_its_deadline() -> None:
    one = purchase(at=NOW)
    assert purchases.unanswered((one,), NOW + 45 * SECOND) == one
    assert purchases.lost_attempt((one,), NOW + 45 * SECOND) == ()
    assert purchases.unanswered((one,), NOW + 46 * SECOND) is None
    assert purchases.lost_attempt((one,), NOW + 46 * SECOND) == (one,)


def test_an_attempt_is_lost_while_none_of_its_orders_was_answered() -> None:
    first, repeat = lost(), lost("p2", NOW - HOUR, repeat_of="p1")
    assert purchases.lost_attempt((first, repeat), NOW) == (first, repeat)
    assert purchases.lost_attempt((first, accepted("p2", repeat_of="p1")), NOW) == ()
    assert purchases.lost_attempt((first, failed("p2", Verdict.REJECTED, repeat_of="p1")), NOW) == ()
    assert purchases.lost_attempt((nothing("p0", None), first), NOW) == (first,)
    assert purchases.lost_attempt((lost("p0", verdict=Verdict.LOST),), NOW) == ()


def test_a_task_is_overdue_after_task_timeout() -> None:
    running = task(created_at=NOW - POLICY.task_timeout)
    assert not purchases.overdue(running, POLICY, NOW)
    assert purchases.overdue(running, POLICY, NOW + SECOND)
    assert purchases.overdue(task(created_at=None, first_seen=NOW - DAY), POLICY, NOW)
    assert not purchases.overdue(task(state=TaskState.GONE, created_at=NOW - DAY), POLICY, NOW)


# -- what counts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "spent", "attempts"),
    [
        (purchase(), 1, 1),
        (lost(), 1, 1),
        (accepted(), 1, 1),
        (failed("p", Verdict.GOOD), 1, 1),
        (failed("p", Verdict.REJECTED), 1, 1),
        (failed("p", Verdict.LOST), 1, 1),
        (failed("p", Verdict.FAILED), 0, 1),
        (failed("p", Verdict.CONTENT), 0, 1),
        (nothing("p", Reason.PROVIDER_FAILED), 0, 0),
    ],
)
def test_what_counts_in_the_tracks_limits(one: Purchase, spent: int, attempts: int) -> None:
    assert purchases.spent((one,)) == spent
    assert purchases.attempts((one,)) == attempts


def test_an_unknown_purchase_and_its_repeat_count_once() -> None:
    both = (lost(), accepted("p2", repeat_of="p1"))
    assert (purchases.spent(both), purchases.attempts(both)) == (1, 1)


# -- failures ------------------------------------------------------------------------------------------------------


def test_failures_are_counted_since_the_last_success_and_content_needs_no_pause() -> None:
    row = (
        failed("p1"),
        failed("p2", Verdict.GOOD),
        failed("p3", Verdict.REJECTED),
        nothing("p4", None),
        failed("p5", Verdict.CONTENT),
        nothing("p6", Reason.PROVIDER_FAILED),
    )
    assert [p.token for p in purchases.recent_failures(row, 2 * DAY)] == ["p3", "p6"]


def test_failures_before_a_lull_do_not_count() -> None:
    lull = 2 * DAY
    for gap, known in ((lull, ["p1", "p2"]), (lull + SECOND, ["p2"])):
        row = nothing("p1", Reason.PROVIDER_FAILED, NOW - gap), nothing("p2", Reason.PROVIDER_FAILED, NOW)
        assert [p.token for p in purchases.recent_failures(row, lull)] == known


def test_refused_prompts_are_those_of_orders_and_of_tasks() -> None:
    row = (
        nothing("p1", Reason.CONTENT_REJECTED),
        failed("p2", Verdict.CONTENT, prompt="b"),
        failed("p3", Verdict.FAILED, prompt="c"),
    )
    assert purchases.refused_prompts(row) == {(POLICY.model, row[0].prompt), (POLICY.model, "b")}


def test_results_are_those_of_the_answer_and_of_the_task() -> None:
    bought = accepted(urls=(RESULT,))
    assert purchases.results_of(bought, memory(tasks=tasks(done_task(RESULT, OTHER_RESULT)))) == (RESULT, OTHER_RESULT)


def test_why_attempts_are_spent() -> None:
    assert purchases.why_spent((failed("p1"), failed("p2"), nothing("p3", None))) is Reason.PROVIDER_FAILED
    assert purchases.why_spent((failed("p1"), failed("p2", Verdict.REJECTED))) is Reason.ATTEMPTS_SPENT
    assert purchases.why_spent((accepted(),)) is Reason.ATTEMPTS_SPENT
    assert purchases.why_spent(()) is Reason.ATTEMPTS_SPENT


def test_held_from_the_deadline_on() -> None:
    one = lost(at=NOW)
    assert one.held_until(POLICY.hold_unknown) == NOW + 45 * SECOND + HOUR
    assert one.outcome is Outcome.UNKNOWN
    assert one.deadline < NOW + MINUTE
