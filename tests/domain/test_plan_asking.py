"""Known image tasks and the music task are asked before anything is bought."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from reconciler.domain.actions import AskSong, AskTask, Buy, Fetch, GiveUp, SunoCover, TaskResult, Wait
from reconciler.domain.model import Ailment, Memory, Outcome, Song, TaskState, Track
from reconciler.domain.sources import task_results
from reconciler.domain.states import Flaw, How, Reason, State
from tests.domain.builders import (
    COVER,
    DAY,
    DURABLE,
    HOUR,
    KEY,
    MINUTE,
    NOW,
    OTHER_RESULT,
    OTHER_TASK,
    POLICY,
    RESULT,
    SONG,
    TASK,
    accepted,
    case,
    done_task,
    faulty,
    kept,
    memory,
    planned,
    purchase,
    seen,
    task,
    tasks,
    track,
)

AWAITING = Wait(NOW + MINUTE, State.AWAITING, Reason.IN_FLIGHT)
NOTED = track(extended_prompt=f"dreamy | Music: x | Visual: y | image_task_id: {TASK} | image_task_id: {OTHER_TASK}")
ADOPTED = TaskResult(RESULT, TASK, How.ADOPTED)


# -- image tasks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("the_track", "the_memory"),
    [
        (track(TASK), memory()),
        (track(extended_prompt=f"x | image_task_id: {TASK}"), memory()),
        (track(), memory(handed=(TASK,))),
        (track(), memory(purchases=(accepted(),))),
    ],
    ids=["saved as a URL", "noted in extended_prompt", "handed over", "our own"],
)
def test_every_known_task_is_asked_before_buying(the_track: Track, the_memory: Memory) -> None:
    assert planned(the_track, the_memory) == AskTask(TASK)
    assert planned(replace(the_track, updated_at=NOW), the_memory) == AskTask(TASK)


def test_ids_in_extended_prompt_are_asked_newest_first() -> None:
    assert planned(NOTED) == AskTask(OTHER_TASK)


def test_a_running_task_is_waited_for() -> None:
    assert planned(track(TASK), memory(tasks=tasks(task()))) == AWAITING
    for minutes in (1, 2):
        other = task(OTHER_TASK, next_poll=NOW + minutes * MINUTE)
        assert planned(NOTED, memory(tasks=tasks(task(), other))) == AWAITING
        assert planned(NOTED, memory(tasks=tasks(other, task()))) == AWAITING


def test_a_finished_task_is_fetched_also_in_grace() -> None:
    known = memory(tasks=tasks(done_task(RESULT)))
    assert planned(track(TASK), known) == Fetch(ADOPTED)
    assert planned(track(TASK, updated_at=NOW), known) == Fetch(ADOPTED)


def test_what_we_bought_is_generated_what_others_bought_is_adopted() -> None:
    known = memory(purchases=(accepted(),), tasks=tasks(done_task(RESULT)))
    assert planned(track(), known) == Fetch(TaskResult(RESULT, TASK, How.GENERATED, SONG))


def test_results_that_came_with_the_order_are_fetched_without_asking() -> None:
    at_once = memory(purchases=(accepted(task_id=None, urls=(RESULT,)),))
    assert planned(track(), at_once) == Fetch(TaskResult(RESULT, "p1", How.GENERATED, SONG))


def test_results_of_every_task_and_order_are_known_but_for_those_of_another_song() -> None:
    ordered = (accepted(task_id=None, urls=(COVER,)), accepted("p2", None, urls=(DURABLE,), song="6" * 32))
    ended = tasks(done_task(RESULT), done_task(OTHER_RESULT, name=OTHER_TASK))
    found = task_results(case(track(), memory(handed=(TASK, OTHER_TASK), tasks=ended, purchases=ordered)))
    assert [(one.url, one.task_id) for one in found] == [(RESULT, TASK), (OTHER_RESULT, OTHER_TASK), (COVER, "p1")]


def test_several_results_are_tried_in_turn() -> None:
    known = memory(tasks=tasks(done_task(RESULT, OTHER_RESULT)), ailments={RESULT: Ailment(flaw=Flaw.ASPECT)})
    assert planned(track(TASK), known) == Fetch(replace(ADOPTED, url=OTHER_RESULT))


@pytest.mark.parametrize("ailment", [Ailment(dead=True), Ailment(flaw=Flaw.TOO_SMALL)])
def test_hopeless_results_end_in_a_purchase(ailment: Ailment) -> None:
    known = memory(tasks=tasks(done_task(RESULT)), ailments={RESULT: ailment})
    assert isinstance(planned(track(TASK), known), Buy)


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.GONE])
def test_tasks_that_ended_without_a_result_end_in_a_purchase(state: TaskState) -> None:
    assert isinstance(planned(track(TASK), memory(tasks=tasks(task(state=state)))), Buy)


@pytest.mark.parametrize(
    ("why", "state"),
    [
        (Reason.DOWNLOAD_FAILED, State.FETCHING),
        (Reason.STORAGE_FAILED, State.FETCHING),
        (Reason.IMAGE_REJECTED, State.BACKING_OFF),
        (Reason.HOST_REFUSED, State.BACKING_OFF),
    ],
)
def test_a_known_result_that_cannot_be_had_now_is_waited_for(why: Reason, state: State) -> None:
    known = memory(tasks=tasks(done_task(RESULT)), ailments={RESULT: faulty(why=why)})
    assert planned(track(TASK), known) == Wait(NOW + MINUTE, state, why)


def test_seven_days_of_faults_of_a_result_are_given_up() -> None:
    known = memory(tasks=tasks(done_task(RESULT)), ailments={RESULT: faulty(7 * DAY)})
    assert planned(track(TASK), known) == GiveUp(Reason.DOWNLOAD_FAILED)
    full = replace(known, ailments={RESULT: faulty(7 * DAY, why=Reason.STORAGE_FAILED)})
    assert planned(track(TASK), full) == Wait(NOW + MINUTE, State.FETCHING, Reason.STORAGE_FAILED)


def test_what_can_be_done_comes_before_what_must_wait_and_that_before_giving_up() -> None:
    hopeless = {RESULT: faulty(7 * DAY)}
    mixed = tasks(done_task(RESULT), task(OTHER_TASK))
    assert planned(NOTED, memory(tasks=mixed, ailments=hopeless)) == AWAITING
    assert planned(NOTED, memory(tasks=tasks(done_task(RESULT)), ailments=hopeless)) == AskTask(OTHER_TASK)
    assert planned(NOTED, memory(tasks=mixed)) == Fetch(ADOPTED)
    waits = Wait(NOW + MINUTE, State.FETCHING, Reason.DOWNLOAD_FAILED)
    assert planned(NOTED, memory(tasks=mixed, ailments={RESULT: faulty()})) == waits, "as soon, and nearer"


def test_a_result_that_our_store_lost_is_fetched_again_not_bought_again() -> None:
    known = memory(tasks=tasks(done_task(RESULT)), kept=(kept(origin=RESULT),))
    lost = replace(known, ailments={f"store:{KEY}": Ailment(dead=True)})
    assert planned(track(TASK), lost) == Fetch(ADOPTED)


def test_a_task_that_could_not_be_asked_for_seven_days_is_given_up_and_asked_on() -> None:
    deaf = task(first_fault=NOW - 7 * DAY, faults=40, created_at=NOW - 8 * DAY)
    assert planned(track(TASK), memory(tasks=tasks(deaf))) == GiveUp(Reason.PROVIDER_FAILED, recheck=NOW + MINUTE)
    assert planned(track(TASK), memory(tasks=tasks(replace(deaf, next_poll=NOW)))) == AskTask(TASK)


# -- overdue -------------------------------------------------------------------------------------------------------

LATE = task(created_at=NOW - 7 * HOUR)
LATE_TOO = task(OTHER_TASK, created_at=NOW - 7 * HOUR, next_poll=NOW + 2 * MINUTE)


def test_an_overdue_task_may_be_replaced_once() -> None:
    mine = accepted(at=NOW - 7 * HOUR)
    assert isinstance(planned(track(), memory(purchases=(mine,), tasks=tasks(LATE))), Buy)
    both = (mine, accepted("p2", OTHER_TASK, at=NOW - 7 * HOUR))
    overdue = planned(track(), memory(purchases=both, tasks=tasks(LATE, LATE_TOO)))
    assert overdue == Wait(NOW + MINUTE, State.AWAITING, Reason.OVERDUE)


def test_an_overdue_task_of_somebody_else_may_be_replaced_once_too() -> None:
    assert isinstance(planned(track(TASK), memory(tasks=tasks(LATE))), Buy)
    assert isinstance(planned(NOTED, memory(tasks=tasks(LATE, LATE_TOO))), Buy)
    replaced = memory(purchases=(accepted("p2", OTHER_TASK, at=NOW - 7 * HOUR),), tasks=tasks(LATE, LATE_TOO))
    assert planned(track(TASK), replaced) == Wait(NOW + MINUTE, State.AWAITING, Reason.OVERDUE)


def test_an_overdue_task_is_asked_on() -> None:
    assert planned(track(TASK), memory(tasks=tasks(replace(LATE, next_poll=NOW)))) == AskTask(TASK)


# -- the music task ------------------------------------------------------------------------------------------------


def with_song(**changes: Any) -> Memory:
    return memory(song=replace(Song(SONG, asked=1, first_asked=NOW - MINUTE), **changes))


def test_the_music_task_is_asked_while_the_row_is_empty() -> None:
    assert planned(track(), memory(song=None)) == AskSong(SONG)
    assert planned(track(updated_at=NOW), memory(song=None)) == AskSong(SONG)
    assert planned(track(), memory(song=Song("6" * 32, final=True))) == AskSong(SONG)


def test_it_is_not_asked_for_a_row_that_has_a_picture_or_no_music_task() -> None:
    assert isinstance(planned(track(COVER), memory(song=None, sighting=seen(COVER, 360, 360))), Buy)
    assert isinstance(planned(track(task_id=None), memory(song=None)), Buy)


def test_it_is_asked_until_its_record_is_final() -> None:
    assert planned(track(), with_song(next_ask=NOW)) == AskSong(SONG)
    assert planned(track(), with_song(next_ask=NOW + MINUTE)) == Wait(NOW + MINUTE)
    faulty_now = with_song(next_ask=NOW + MINUTE, faults=1, first_fault=NOW)
    assert planned(track(), faulty_now) == Wait(NOW + MINUTE, State.BACKING_OFF, Reason.PROVIDER_FAILED)


def test_seven_days_of_faults_of_the_music_record_are_given_up_and_asked_on() -> None:
    deaf = with_song(next_ask=NOW + MINUTE, faults=40, first_fault=NOW - timedelta(days=7))
    assert planned(track(), deaf) == GiveUp(Reason.PROVIDER_FAILED, recheck=NOW + MINUTE)
    assert planned(track(), with_song(next_ask=NOW, faults=40, first_fault=NOW - 7 * DAY)) == AskSong(SONG)


def test_its_covers_are_tried_once_each() -> None:
    final = with_song(final=True, urls=(COVER, DURABLE))
    assert planned(track(), final) == Fetch(SunoCover(COVER, SONG))
    assert planned(track(), final, interim_thumbnail=True) == Fetch(SunoCover(COVER, SONG), interim=True)
    first_small = replace(final, ailments={COVER: Ailment(flaw=Flaw.TOO_SMALL)})
    assert planned(track(), first_small) == Fetch(SunoCover(DURABLE, SONG))
    both_small = replace(first_small, ailments={url: Ailment(flaw=Flaw.TOO_SMALL) for url in (COVER, DURABLE)})
    assert isinstance(planned(track(), both_small), Buy)


@pytest.mark.parametrize("since", [HOUR, 7 * DAY])
def test_a_cover_that_cannot_be_fetched_does_not_hide_the_other(since: timedelta) -> None:
    final = with_song(final=True, urls=(COVER, DURABLE))
    ill = {COVER: faulty(since)}
    assert planned(track(), replace(final, ailments=ill)) == Fetch(SunoCover(DURABLE, SONG))
    both_ill = replace(final, ailments={**ill, DURABLE: faulty(HOUR)})
    assert planned(track(), both_ill) == Wait(NOW + MINUTE, State.BACKING_OFF, Reason.DOWNLOAD_FAILED)
    hopeless = replace(final, ailments={**ill, DURABLE: Ailment(flaw=Flaw.TOO_SMALL)})
    assert isinstance(planned(track(), hopeless), Wait if since == HOUR else GiveUp)


def test_an_answer_outstanding_keeps_nobody_from_asking() -> None:
    waiting = memory(song=None, purchases=(purchase(at=NOW),))
    assert planned(track(), waiting) == AskSong(SONG)
    assert waiting.purchases[0].outcome is Outcome.OPEN
    assert POLICY.per_track == 3
