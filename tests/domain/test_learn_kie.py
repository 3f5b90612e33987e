"""What Kie's answers about tasks, songs and orders teach."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from reconciler.domain.actions import AskSong, AskTask
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


@pytest.mark.parametrize(("content", "why"), [(True, Reason.CONTENT_REJECTED), (False, Reason.PROVIDER_FAILED)])
def test_a_failed_task_says_how(content: bool, why: Reason) -> None:
    ended = ask(Failed(content, "sensitive"), task())
    assert (ended.state, ended.failure, ended.detail, ended.next_poll) == (TaskState.FAILED, why, "sensitive", None)


def test_trouble_is_a_fault_of_the_call_and_says_nothing_of_the_task() -> None:
    troubled = ask(OUTAGE, ask(OUTAGE, task(not_found=2, first_not_found=NOW - HOUR)), NOW + MINUTE)
    assert (troubled.state, troubled.faults, troubled.first_fault) == (TaskState.RUNNING, 2, NOW)
    assert troubled.not_found == 2
    assert ask(Running(), troubled).first_fault is None


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


def test_three_not_founds_within_ten_minutes_are_not_enough() -> None:
    known = task(created_at=None, not_found=5, first_not_found=NOW - 9 * MINUTE)
    assert ask(NotFound(), known).state is TaskState.RUNNING


def test_a_young_id_is_never_gone() -> None:
    known, took = not_founds(task(created_at=NOW), 60)
    assert known.state is TaskState.RUNNING
    assert took < DAY


def test_being_found_again_ends_the_count() -> None:
    found = ask(Running(), task(not_found=2, first_not_found=NOW - HOUR))
    assert (found.not_found, found.first_not_found) == (0, None)


# -- the music task ------------------------------------------------------------------------------------------------


def sing(finding: SongAnswer, song: Song | None = None, at: datetime = NOW, **row: Any) -> Song:
    after = learn(Case(track(**row), memory(song=song), POLICY, at), AskSong(SONG), finding)
    assert after.song is not None
    return after.song


def test_a_final_record_is_kept() -> None:
    assert sing(SongFinal((COVER,)), Song(SONG, asked=2, first_asked=NOW - HOUR, faults=1, first_fault=NOW)) == Song(
        SONG, final=True, urls=(COVER,), asked=3, first_asked=NOW - HOUR
    )


def test_a_pending_record_is_asked_again_for_stale_after_at_most() -> None:
    pending = sing(SongPending())
    assert not pending.final
    assert pending.next_ask is not None
    assert pending.next_ask > NOW
    assert not sing(SongPending(), pending, NOW + DAY - MINUTE).final
    assert sing(SongPending(), pending, NOW + DAY).final


def test_a_record_that_is_not_found_is_final_unless_the_row_is_fresh() -> None:
    assert sing(NotFound()).final
    fresh = sing(NotFound(), created_at=NOW - MINUTE)
    assert not fresh.final
    assert sing(NotFound(), fresh, NOW + 2 * MINUTE, created_at=NOW - MINUTE).final


def test_trouble_with_the_music_record_is_no_answer() -> None:
    troubled = sing(OUTAGE)
    assert (troubled.final, troubled.faults, troubled.first_fault) == (False, 1, NOW)
    assert sing(SongPending(), troubled).faults == 0


# -- orders --------------------------------------------------------------------------------------------------------


def order(finding: Creation, sent: Purchase | None = None, the_memory: Memory | None = None) -> Memory:
    return learn(case(track(), the_memory or memory(purchases=(purchase(),))), sent or purchase(), finding)


def test_an_accepted_order_is_a_running_task() -> None:
    after = order(Accepted(TASK))
    bought = after.purchases[0]
    assert (bought.outcome, bought.task_id, bought.answered_at) == (Outcome.ACCEPTED, TASK, NOW)
    assert (after.tasks[TASK].state, after.tasks[TASK].created_at) == (TaskState.RUNNING, NOW)
    assert NOW < (after.tasks[TASK].next_poll or NOW) <= NOW + 5 * SECOND


def test_a_result_in_the_answer_needs_no_asking() -> None:
    with_id, without = order(Accepted(TASK, (RESULT,))), order(Accepted(None, (RESULT,)))
    assert (with_id.tasks[TASK].state, with_id.tasks[TASK].urls) == (TaskState.SUCCEEDED, (RESULT,))
    assert without.tasks == {}
    assert with_id.purchases[0].urls == without.purchases[0].urls == (RESULT,)
    assert with_id.purchases[0].verdict is without.purchases[0].verdict is Verdict.PENDING


@pytest.mark.parametrize(
    ("refusal", "why"),
    [
        (Refusal.CONTENT, Reason.CONTENT_REJECTED),
        (Refusal.OUTAGE, Reason.PROVIDER_FAILED),
        (Refusal.STORE, Reason.STORAGE_FAILED),
        *[(r, None) for r in (Refusal.REQUEST, Refusal.CREDITS, Refusal.KEY_CAP, Refusal.KEY, Refusal.RATE)],
    ],
)
def test_an_order_of_which_nothing_was_made_is_closed(refusal: Refusal, why: Reason | None) -> None:
    closed = order(NothingMade(refusal, Call.REJECTED, "no", sent=False)).purchases[0]
    assert (closed.outcome, closed.refusal, closed.sent, closed.detail) == (Outcome.NOTHING, why, False, "no")
    assert closed.ended_at == NOW


def test_a_lost_answer_is_unknown() -> None:
    assert order(AnswerLost(Call.TIMEOUT, "30 s")).purchases[0].outcome is Outcome.UNKNOWN


def test_other_purchases_stay() -> None:
    after = order(Accepted(TASK), purchase("p2"), memory(purchases=(accepted("p1", "other"), purchase("p2"))))
    assert [p.token for p in after.purchases] == ["p1", "p2"]
