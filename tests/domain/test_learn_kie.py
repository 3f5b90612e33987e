"""What Kie's answers about tasks, songs and orders teach."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from reconciler.domain import purchases
from reconciler.domain.actions import AskSong, AskTask, Wait
from reconciler.domain.amending import reopened
from reconciler.domain.backoff import delay, poll_after, spin_of
from reconciler.domain.case import Case
from reconciler.domain.findings import (
    Accepted,
    AnswerLost,
    Call,
    Creation,
    Failed,
    NotFound,
    NothingMade,
    Refusal,
    Running,
    SongAnswer,
    SongFinal,
    SongPending,
    Succeeded,
    TaskAnswer,
    Trouble,
)
from reconciler.domain.learn import learn
from reconciler.domain.model import Memory, Outcome, Purchase, Song, Task, TaskState, Verdict
from reconciler.domain.plan import plan
from reconciler.domain.states import Reason
from tests.domain.builders import (
    COVER,
    DAY,
    HOUR,
    MINUTE,
    NOW,
    POLICY,
    RESULT,
    SECOND,
    SONG,
    TASK,
    accepted,
    case,
    memory,
    purchase,
    task,
    tasks,
    track,
)

OUTAGE = Trouble(Call.SERVER_ERROR, "internal error")


def ask(finding: TaskAnswer, known: Task | None = None, at: datetime = NOW) -> Task:
    the_memory = memory(tasks=tasks(known) if known else {})
    return learn(Case(track(), the_memory, POLICY, at), AskTask(TASK), finding).tasks[TASK]


# -- tasks ---------------------------------------------------------------------------------------------------------


def test_a_running_task_is_asked_again_and_its_faults_are_forgotten() -> None:
    before = task(created_at=NOW - HOUR, faults=2, first_fault=NOW - HOUR)
    soon = NOW + poll_after(HOUR, 1, spin_of(TASK, 1))
    assert ask(Running(), before) == replace(before, polls=1, faults=0, first_fault=None, next_poll=soon)


def test_a_running_task_is_asked_ever_more_slowly() -> None:
    known, at, pauses = task(created_at=NOW), NOW, []
    for _ in range(40):
        known = ask(Running(), known, at)
        assert known.next_poll is not None
        pauses.append(known.next_poll - at)
        at = known.next_poll
    assert known.polls == 40
    assert pauses[0] >= 2 * SECOND
    assert pauses[-1] > 4 * MINUTE


def test_a_task_nobody_knew_is_new() -> None:
    fresh = ask(Running(created_at=NOW - HOUR))
    assert (fresh.first_seen, fresh.created_at, fresh.state) == (NOW, NOW - HOUR, TaskState.RUNNING)


@pytest.mark.parametrize("answer", [Running(created_at=NOW + DAY), Succeeded((RESULT,), NOW + DAY, NOW + DAY)])
def test_a_date_in_the_future_counts_as_now(answer: TaskAnswer) -> None:
    known = ask(answer)
    assert known.created_at == NOW
    assert known.completed_at in (None, NOW)


def test_our_own_date_of_creation_is_kept() -> None:
    assert ask(Running(created_at=NOW - HOUR), task(created_at=NOW - DAY)).created_at == NOW - DAY


def test_a_finished_task_holds_its_results() -> None:
    ended = ask(Succeeded((RESULT,), completed_at=NOW - HOUR), task())
    assert (ended.state, ended.urls, ended.completed_at) == (TaskState.SUCCEEDED, (RESULT,), NOW - HOUR)
    assert ended.next_poll is None
    assert ask(Succeeded((RESULT,)), task()).completed_at == NOW


@pytest.mark.parametrize(
    ("refusal", "why"),
    [
        (Refusal.CONTENT, Reason.CONTENT_REJECTED),
        (Refusal.REQUEST, Reason.REQUEST_REJECTED),
        *((other, Reason.PROVIDER_FAILED) for other in (Refusal.OUTAGE, Refusal.RATE, Refusal.CREDITS, None)),
    ],
)
def test_a_failed_task_says_how(refusal: Refusal | None, why: Reason) -> None:
    ended = ask(Failed(refusal, "sensitive"), task())
    assert ended == replace(
        task(state=TaskState.FAILED), failure=why, detail="sensitive", completed_at=NOW, polls=1, next_poll=None
    )


def test_trouble_is_a_fault_of_the_call_and_says_nothing_of_the_task() -> None:
    troubled = ask(OUTAGE, ask(OUTAGE, task(not_found=2, first_not_found=NOW - HOUR)), NOW + MINUTE)
    assert (troubled.state, troubled.faults, troubled.first_fault) == (TaskState.RUNNING, 2, NOW)
    assert troubled.not_found == 2
    assert ask(Running(), troubled).first_fault is None


def pause(*words: object, low: timedelta = POLICY.retry_min) -> timedelta:
    """After the first fault. Everybody else waits a little longer or less, so that nobody comes in a crowd."""
    return delay(1, low, POLICY.retry_max, spin_of("t1", *words, 1))


def test_after_trouble_each_waits_a_while_of_its_own() -> None:
    assert ask(OUTAGE, task()) == replace(
        task(), faults=1, first_fault=NOW, next_poll=NOW + pause(TASK), detail="internal error"
    )
    assert sing(OUTAGE, Song(SONG, asked=1, first_asked=NOW - HOUR)) == Song(
        SONG, asked=2, first_asked=NOW - HOUR, faults=1, first_fault=NOW, next_ask=NOW + pause(SONG)
    )
    hasty = case(track(), memory(tasks=tasks(task())), retry_min=SECOND)
    known = learn(hasty, AskTask(TASK), OUTAGE).tasks[TASK]
    assert known.next_poll == NOW + pause(TASK, low=SECOND) < NOW + SECOND


def test_time_in_which_nobody_asked_is_not_counted_as_trouble() -> None:
    for idle, since in ((POLICY.lull, NOW), (POLICY.lull + SECOND, NOW + POLICY.lull + SECOND)):
        assert sing(OUTAGE, Song(SONG, faults=1, first_fault=NOW, next_ask=NOW), NOW + idle).first_fault == since
        assert ask(OUTAGE, task(faults=1, first_fault=NOW, next_poll=NOW), NOW + idle).first_fault == since
    late = NOW + 8 * DAY
    assert ask(OUTAGE, task(next_poll=NOW), late).first_fault == late
    assert ask(NotFound(), task(next_poll=NOW), late).first_not_found == late


def test_a_paid_task_that_nobody_asked_for_long_is_not_given_up_for_one_fault() -> None:
    mine = memory(tasks=tasks(task(next_poll=NOW)), purchases=(accepted(),))
    later = Case(track(), mine, POLICY, NOW + 8 * DAY)
    known = replace(later, memory=learn(later, AskTask(TASK), OUTAGE))
    assert isinstance(plan(known), Wait)
    assert reopened(known).tasks[TASK].state is TaskState.RUNNING


def test_what_cannot_be_read_is_not_known_to_be_overdue() -> None:
    late = task(created_at=NOW - DAY)
    assert purchases.overdue(late, POLICY, NOW)
    for unread in (ask(OUTAGE, late), ask(NotFound(), late)):
        assert not purchases.overdue(unread, POLICY, NOW)
        assert purchases.overdue(ask(Running(), unread), POLICY, NOW)


@pytest.mark.parametrize("answer", [OUTAGE, NotFound()])
@pytest.mark.parametrize("before", [{}, {"faults": 1, "first_fault": NOW}, {"not_found": 1, "first_not_found": NOW}])
def test_time_in_which_nobody_asked_is_not_added_to_a_tasks(answer: TaskAnswer, before: dict[str, Any]) -> None:
    """It has ended meanwhile, most likely; another is not bought because that cannot be read just now."""
    later = NOW + POLICY.task_timeout + DAY
    known = task(created_at=NOW, next_poll=NOW + MINUTE, **before)
    assert not purchases.overdue(ask(answer, known, later), POLICY, later)
    assert purchases.overdue(ask(Running(NOW), known, later), POLICY, later)


def test_trouble_may_say_when_to_come_back() -> None:
    patient = replace(OUTAGE, retry_after_s=900.0)
    assert ask(patient, task()).next_poll == NOW + 900 * SECOND
    assert ask(replace(OUTAGE, retry_after_s=1e9), task()).next_poll == NOW + POLICY.retry_max


# -- not found -----------------------------------------------------------------------------------------------------


def not_founds(known: Task | None, count: int) -> tuple[Task, timedelta]:
    at = NOW
    for _ in range(count):
        known = ask(NotFound(), known, at)
        if known.next_poll is None:
            break
        at = known.next_poll
    assert known is not None
    return known, at - NOW


@pytest.mark.parametrize("created", [None, NOW - 2 * DAY])
def test_an_old_id_is_gone_after_three_not_founds_over_ten_minutes(created: datetime | None) -> None:
    known = task(created_at=created)
    assert not_founds(known, 2)[0].state is TaskState.RUNNING
    gone, took = not_founds(known, 3)
    assert gone.state is TaskState.GONE
    assert took >= 10 * MINUTE


def test_what_is_not_found_is_asked_for_again_the_last_time_after_ten_minutes() -> None:
    before = task(created_at=None, faults=1, first_fault=NOW - HOUR)
    first = replace(before, polls=1, faults=0, first_fault=None, not_found=1, first_not_found=NOW, detail="no record")
    assert ask(NotFound("no record"), before) == replace(first, next_poll=NOW + 5 * MINUTE)
    second = replace(first, not_found=2, first_not_found=NOW - 10 * MINUTE)
    third = replace(second, polls=2, not_found=3, state=TaskState.GONE, next_poll=None)
    assert ask(NotFound("no record"), second) == third
    young = ask(NotFound(), task(created_at=NOW - DAY))
    assert young.next_poll == NOW + poll_after(DAY, 1, 0.5)


def test_three_not_founds_within_ten_minutes_are_not_enough() -> None:
    known = task(created_at=None, not_found=5, first_not_found=NOW - 9 * MINUTE)
    assert ask(NotFound(), known).state is TaskState.RUNNING


def test_a_young_id_is_never_gone() -> None:
    known, took = not_founds(task(created_at=NOW), 60)
    assert known.state is TaskState.RUNNING
    assert took < DAY


def test_an_own_task_that_is_not_remembered_yet_is_as_old_as_its_order() -> None:
    """The answer was saved without it, by whom another had taken the track over from."""
    ours = case(None, memory(purchases=(accepted(),)))
    (new,) = ours.tasks
    assert new == Task(TASK, first_seen=NOW, created_at=NOW - 2 * MINUTE)
    asked = learn(ours, AskTask(TASK), NotFound()).tasks[TASK]
    assert (asked.created_at, asked.not_found) == (NOW - 2 * MINUTE, 1)


def test_being_found_again_ends_the_count() -> None:
    found = ask(Running(), task(not_found=2, first_not_found=NOW - HOUR))
    assert (found.not_found, found.first_not_found) == (0, None)


# -- the music task ------------------------------------------------------------------------------------------------


def sing(finding: SongAnswer, song: Song | None = None, at: datetime = NOW, **row: Any) -> Song:
    after = learn(Case(track(**row), memory(song=song), POLICY, at), AskSong(SONG), finding)
    assert after.song is not None
    return after.song


def test_a_final_record_is_kept() -> None:
    before = Song(SONG, asked=2, first_asked=NOW - HOUR, next_ask=NOW, faults=1, first_fault=NOW)
    after = Song(SONG, final=True, urls=(COVER,), asked=3, first_asked=NOW - HOUR)
    assert sing(SongFinal((COVER,)), before) == after


def test_a_pending_record_is_asked_again_for_stale_after_at_most() -> None:
    pending = sing(SongPending())
    soon = NOW + poll_after(timedelta(0), 1, spin_of(SONG, 1))
    assert pending == Song(SONG, asked=1, first_asked=NOW, next_ask=soon)
    later = replace(pending, asked=2, next_ask=NOW + HOUR + poll_after(HOUR, 2, spin_of(SONG, 2)))
    assert sing(SongPending(), pending, NOW + HOUR) == later
    assert not sing(SongPending(), pending, NOW + DAY - MINUTE).final
    assert sing(SongPending(), pending, NOW + DAY) == replace(pending, asked=2, final=True, next_ask=None)


def test_a_record_that_is_not_found_is_final_unless_the_row_is_fresh() -> None:
    assert sing(NotFound()).final
    assert sing(NotFound(), created_at=NOW - 90 * SECOND).final
    fresh = sing(NotFound(), created_at=NOW - MINUTE)
    assert not fresh.final
    assert sing(NotFound(), fresh, NOW + 2 * MINUTE, created_at=NOW - MINUTE).final


def test_trouble_with_the_music_record_is_no_answer() -> None:
    troubled = sing(OUTAGE)
    assert (troubled.final, troubled.faults, troubled.first_fault) == (False, 1, NOW)
    healed = sing(SongPending(), troubled)
    assert (healed.faults, healed.first_fault) == (0, None)


# -- orders --------------------------------------------------------------------------------------------------------


def order(finding: Creation, sent: Purchase | None = None, the_memory: Memory | None = None) -> Memory:
    return learn(case(track(), the_memory or memory(purchases=(purchase(),))), sent or purchase(), finding)


def test_an_accepted_order_is_a_running_task() -> None:
    after = order(Accepted(TASK))
    bought = after.purchases[0]
    assert (bought.outcome, bought.task_id, bought.answered_at) == (Outcome.ACCEPTED, TASK, NOW)
    soon = NOW + poll_after(timedelta(0), 0, spin_of(TASK, 0))
    assert after.tasks == tasks(Task(TASK, first_seen=NOW, created_at=NOW, next_poll=soon))


def test_a_result_in_the_answer_needs_no_asking() -> None:
    with_id, without = order(Accepted(TASK, (RESULT,))), order(Accepted(None, (RESULT,)))
    ended = Task(TASK, NOW, NOW, TaskState.SUCCEEDED, (RESULT,), completed_at=NOW)
    assert with_id.tasks == tasks(ended)
    assert without.tasks == {}
    assert with_id.purchases[0].urls == without.purchases[0].urls == (RESULT,)
    assert with_id.purchases[0].verdict is without.purchases[0].verdict is Verdict.PENDING


@pytest.mark.parametrize(
    ("refusal", "why"),
    [
        (Refusal.CONTENT, Reason.CONTENT_REJECTED),
        (Refusal.OUTAGE, Reason.PROVIDER_FAILED),
        (Refusal.STORE, Reason.STORAGE_FAILED),
        (Refusal.STOPPED, None),
        *[(r, None) for r in (Refusal.REQUEST, Refusal.CREDITS, Refusal.KEY_CAP, Refusal.KEY, Refusal.RATE)],
    ],
)
def test_an_order_of_which_nothing_was_made_is_closed(refusal: Refusal, why: Reason | None) -> None:
    closed = order(NothingMade(refusal, Call.REJECTED, "no", sent=False)).purchases[0]
    assert (closed.outcome, closed.refusal, closed.sent, closed.detail) == (Outcome.NOTHING, why, False, "no")
    assert closed.ended_at == NOW


def test_a_lost_answer_is_unknown_and_an_answer_only_where_something_was_heard() -> None:
    unknown = replace(purchase(), outcome=Outcome.UNKNOWN, detail="30 s")
    assert order(AnswerLost(Call.TIMEOUT, "30 s")).purchases == (unknown,)
    page = AnswerLost(Call.SERVER_ERROR, "502", heard=True)
    assert order(page).purchases == (replace(unknown, answered_at=NOW, detail="502"),)


def test_other_purchases_stay() -> None:
    after = order(Accepted(TASK), purchase("p2"), memory(purchases=(accepted("p1", "other"), purchase("p2"))))
    assert [p.token for p in after.purchases] == ["p1", "p2"]
