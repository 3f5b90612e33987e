"""Rung by rung: what is done first for the picture that the row shows."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from reconciler.domain.actions import (
    Action,
    AskTask,
    Buy,
    Fetch,
    GiveUp,
    Measure,
    RowImage,
    StoredKey,
    TaskResult,
    Wait,
    Write,
)
from reconciler.domain.model import Ailment, Kept, TaskState, Verdict, Written
from reconciler.domain.plan import farewell
from reconciler.domain.states import Flaw, How, Reason, State
from tests.domain.builders import (
    COVER,
    DAY,
    DURABLE,
    HOUR,
    INLINE,
    KEY,
    MINUTE,
    NOW,
    OTHER_TASK,
    OURS,
    POLICY,
    RESULT,
    SONG,
    TASK,
    accepted,
    done_task,
    faulty,
    kept,
    lost,
    memory,
    planned,
    purchase,
    seen,
    task,
    tasks,
    track,
)

IN_GRACE = {"updated_at": NOW}
ROW = RowImage(DURABLE, identity=DURABLE)
BIG: dict[str, Any] = {"width": 2560, "height": 1440}


# -- measure -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [DURABLE, COVER, INLINE, OURS])
def test_a_picture_is_measured_before_anything_else(url: str) -> None:
    action = planned(track(url), memory(kept=(kept("tracks/t1/b.jpg"),)))
    assert isinstance(action, Measure)


def test_measuring_goes_on_in_grace() -> None:
    assert planned(track(DURABLE, **IN_GRACE)) == Measure(ROW)


def test_a_measurement_that_failed_is_repeated_in_time() -> None:
    waits = planned(track(DURABLE), memory(ailments={DURABLE: faulty()}))
    assert waits == Wait(NOW + MINUTE, State.BACKING_OFF, Reason.DOWNLOAD_FAILED)
    for late in (0 * MINUTE, MINUTE):
        assert planned(track(DURABLE), memory(ailments={DURABLE: faulty(wait=-late)})) == Measure(ROW)


def test_seven_days_of_nothing_but_faults_are_given_up_with_the_faults_reason() -> None:
    ill = memory(ailments={DURABLE: faulty(7 * DAY, why=Reason.HOST_REFUSED)})
    assert planned(track(DURABLE), ill) == GiveUp(Reason.HOST_REFUSED)


def test_a_store_that_fails_is_waited_for_however_long() -> None:
    ill = memory(ailments={f"store:{KEY}": faulty(70 * DAY, why=Reason.STORAGE_FAILED)})
    assert planned(track(OURS), ill) == Wait(NOW + MINUTE, State.BACKING_OFF, Reason.STORAGE_FAILED)


def test_a_good_picture_that_could_not_be_measured_again_for_seven_days_is_not_called_good_for_ever() -> None:
    due = seen(DURABLE, at=NOW - 40 * DAY, first_at=NOW - 50 * DAY)
    ill = memory(sighting=due, ailments={DURABLE: faulty(7 * DAY)})
    assert planned(track(DURABLE, resolution="2048x1152"), ill) == GiveUp(Reason.DOWNLOAD_FAILED)


# -- keep ----------------------------------------------------------------------------------------------------------


def test_a_good_picture_is_left_alone_until_it_is_measured_again() -> None:
    action = planned(track(DURABLE, resolution="2048x1152"), memory(sighting=seen(DURABLE)))
    assert action == Wait(NOW - HOUR + POLICY.reverify_after)


def test_a_good_picture_is_measured_again_when_its_time_comes() -> None:
    due = memory(sighting=seen(DURABLE, at=NOW - 31 * DAY, first_at=NOW - 40 * DAY))
    assert planned(track(DURABLE, resolution="2048x1152"), due) == Measure(ROW)
    later = replace(due, ailments={DURABLE: faulty()})
    assert planned(track(DURABLE, resolution="2048x1152"), later) == Wait(NOW + MINUTE)


@pytest.mark.parametrize("claimed", [None, "unknown", "2K", "2049x1153", "1024x576"])
def test_a_wrong_resolution_of_a_good_picture_is_set_right(claimed: str | None) -> None:
    good = memory(sighting=seen(DURABLE))
    assert planned(track(DURABLE, resolution=claimed), good) == Write(None, "2048x1152", None)
    assert planned(track(DURABLE, resolution=claimed, updated_at=NOW), good) == Wait(NOW + POLICY.grace)


def test_a_table_without_the_column_needs_no_resolution() -> None:
    action = planned(track(DURABLE, has_resolution=False), memory(sighting=seen(DURABLE)))
    assert isinstance(action, Wait)


def test_a_resolution_that_others_fight_for_is_written_later() -> None:
    fought = memory(sighting=seen(DURABLE), conflicts=1, ailments={"write": Ailment(retry_at=NOW + MINUTE)})
    assert planned(track(DURABLE), fought) == Wait(NOW + MINUTE)
    assert planned(track(DURABLE), replace(fought, conflicts=6)) == Wait(NOW + MINUTE + 7 * DAY)


# -- rehost --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("url", "inline"), [(RESULT, False), (INLINE, True), (COVER, False)])
def test_a_picture_of_the_right_size_that_dies_or_is_inline_is_rehosted(url: str, inline: bool) -> None:
    known = memory(sighting=seen(url))
    row = RowImage(url, inline, url)
    assert planned(track(url), known) == Fetch(row)
    assert planned(track(url), replace(known, kept=(kept(origin=DURABLE),))) == Fetch(row), "the copy of another"
    stored = replace(known, kept=(kept(origin=url),))
    assert planned(track(url), stored) == Write(OURS, "2048x1152", How.REHOSTED, key=KEY)


def test_it_is_fetched_in_grace_and_written_after() -> None:
    known = memory(sighting=seen(RESULT))
    assert isinstance(planned(track(RESULT, **IN_GRACE), known), Fetch)
    stored = replace(known, kept=(kept(origin=RESULT),))
    waits = planned(track(RESULT, **IN_GRACE), stored)
    assert waits == Wait(NOW + POLICY.grace, State.FETCHING, Reason.IN_FLIGHT)


def test_a_good_picture_that_cannot_be_fetched_just_now_is_not_replaced() -> None:
    assert planned(track(RESULT), memory(sighting=seen(RESULT), ailments={RESULT: faulty()})) == Wait(NOW + MINUTE)


def test_a_larger_picture_is_fitted_for_free() -> None:
    known = memory(sighting=seen(DURABLE, 4096, 2304))
    assert planned(track(DURABLE), known) == Fetch(ROW)
    stored = replace(known, kept=(kept(origin=DURABLE),))
    assert planned(track(DURABLE), stored) == Write(OURS, "2048x1152", How.REHOSTED, key=KEY)


def test_what_was_fitted_to_a_smaller_target_is_got_anew_before_one_is_bought() -> None:
    """A larger target than before: the row's own picture, and one that was paid for, may well meet it."""
    small = kept("tracks/t1/small.jpg", 1344, 768, origin=DURABLE)
    known = memory(sighting=seen(DURABLE, 4096, 2304), kept=(small,))
    assert planned(track(DURABLE), known) == Fetch(ROW)
    paid = memory(tasks=tasks(done_task(RESULT)), purchases=(accepted(),), kept=(replace(small, origin=RESULT),))
    assert planned(track(), paid) == Fetch(TaskResult(RESULT, TASK, How.GENERATED, SONG))
    tried = replace(paid, ailments={RESULT: Ailment(flaw=Flaw.TOO_SMALL)})
    assert isinstance(planned(track(), tried), Buy)


def test_a_stand_in_does_not_hide_the_better_picture_that_is_at_its_address_by_now() -> None:
    known = memory(sighting=seen(COVER), kept=(kept("tracks/t1/small.jpg", 360, 360, origin=COVER, interim=True),))
    assert planned(track(COVER), known) == Fetch(RowImage(COVER, identity=COVER))
    assert isinstance(planned(track(COVER), replace(known, ailments={COVER: Ailment(flaw=Flaw.TOO_SMALL)})), Buy)


def test_what_was_a_stand_in_under_a_larger_target_is_none_under_todays() -> None:
    whole = kept(interim=True)
    assert planned(track(), memory(kept=(whole,))) == Write(OURS, "2048x1152", How.GENERATED, key=KEY)
    assert planned(track(), memory(kept=(replace(whole, **BIG),))) == Fetch(StoredKey(KEY, SONG))
    known = memory(sighting=seen(RESULT), kept=(replace(whole, origin=RESULT),))
    assert planned(track(RESULT), known) == Write(OURS, "2048x1152", How.REHOSTED, key=KEY)


def test_our_own_pictures_are_fitted_anew_when_the_target_shrinks() -> None:
    known = memory(sighting=seen(OURS, **BIG), kept=(kept(**BIG, was_written=True),))
    assert planned(track(OURS), known) == Fetch(StoredKey(KEY, known.song_id))
    fitted = replace(known, kept=(*known.kept, kept("tracks/t1/fit.jpg", origin=f"store:{KEY}")))
    written = planned(track(OURS), fitted)
    assert written == Write(POLICY.url_of("tracks/t1/fit.jpg"), "2048x1152", How.RESTORED, key="tracks/t1/fit.jpg")


def test_a_copy_that_is_larger_than_the_target_is_fitted_from_the_store() -> None:
    for url, size in ((RESULT, (2048, 1152)), (DURABLE, (4096, 2304))):
        known = memory(sighting=seen(url, *size), kept=(kept(**BIG, origin=url),))
        assert planned(track(url), known) == Fetch(StoredKey(KEY, known.song_id))


@pytest.mark.parametrize("home", ["https://old.example/images", f"{POLICY.public_url}/covers"])
def test_when_public_url_moves_rows_are_rewritten_for_free_and_that_is_no_restore(home: str) -> None:
    old = f"{home}/{KEY}"
    known = memory(sighting=seen(old), written=Written(old, KEY, NOW - DAY, NOW - DAY), restores=(NOW,) * 3)
    assert planned(track(old), known) == Fetch(StoredKey(KEY, known.song_id))
    held = replace(known, kept=(kept(was_written=True),))
    assert planned(track(old), held) == Write(OURS, "2048x1152", How.RESTORED, key=KEY)


@pytest.mark.parametrize("stand_in", [True, False])
def test_when_public_url_moves_rows_are_rewritten_though_the_picture_is_below_the_target_of_today(
    stand_in: bool,
) -> None:
    old = "https://old.example/images/" + KEY
    mine = kept(width=360, height=360, interim=stand_in, was_written=True)
    known = memory(sighting=seen(old, 360, 360), written=Written(old, KEY, NOW - DAY, NOW - DAY), kept=(mine,))
    assert planned(track(old), known, per_day=0) == Write(OURS, None if stand_in else "360x360", None, key=KEY)
    assert isinstance(planned(track(OURS), replace(known, sighting=seen(OURS, 360, 360)), per_day=0), Buy)


def test_somebody_who_puts_the_dying_url_back_each_time_is_not_fought_for_ever() -> None:
    back = memory(sighting=seen(RESULT), kept=(kept(origin=RESULT, was_written=True),))
    assert planned(track(RESULT), back) == Write(OURS, "2048x1152", How.RESTORED, key=KEY, restore=True)
    tired = replace(back, restores=(NOW - 3 * DAY, NOW - 2 * DAY, NOW - DAY))
    assert planned(track(RESULT), tired) == GiveUp(Reason.WRITE_CONFLICT, recheck=NOW + 4 * DAY)
    for days, recheck in ((3, 3), (5, 4)):
        bought = {"purchases": (accepted(),), "tasks": tasks(task(next_poll=NOW + days * DAY))}
        later = planned(track(RESULT), replace(tired, **bought))  # type: ignore[arg-type]
        assert later == GiveUp(Reason.WRITE_CONFLICT, recheck=NOW + recheck * DAY)


# -- what stops everything -----------------------------------------------------------------------------------------


def test_a_row_that_cannot_be_worked_waits() -> None:
    assert planned(track(DURABLE, flaw="id")) == Wait(None, State.INVALID, Reason.INVALID_ROW)


def test_a_picture_that_killed_the_process_three_times_is_not_touched_again() -> None:
    assert planned(track(DURABLE), memory(interruptions=2)) == Measure(ROW)
    assert planned(track(DURABLE), memory(interruptions=3)) == GiveUp(Reason.IMAGE_REJECTED)
    assert planned(track(DURABLE, status="failed"), memory(interruptions=3)) == Wait(None)


@pytest.mark.parametrize(
    ("status", "waiting"),
    [("completed", GiveUp(Reason.IMAGE_REJECTED, recheck=NOW + MINUTE)), ("failed", Wait(NOW + MINUTE))],
)
def test_what_was_paid_for_is_asked_on_where_no_picture_is_touched(status: str, waiting: Action) -> None:
    running, found = task(OTHER_TASK, next_poll=NOW), done_task(RESULT)
    known = memory(interruptions=3, purchases=(accepted(), accepted("p2", OTHER_TASK)), tasks=tasks(found, running))
    assert planned(track(status=status), known) == AskTask(OTHER_TASK)
    later = replace(known, tasks=tasks(found, replace(running, next_poll=NOW + MINUTE)))
    assert planned(track(status=status), later) == waiting


def test_a_week_later_it_is_tried_once_more() -> None:
    """It may have been the database that went away each time, and not the process."""

    def given_up(since: timedelta, times: int = 3) -> Action:
        return planned(track(DURABLE), memory(interruptions=times, interrupted_at=NOW - since))

    assert given_up(6 * DAY) == GiveUp(Reason.IMAGE_REJECTED, recheck=NOW + DAY)
    assert given_up(7 * DAY) == Measure(ROW)
    assert given_up(7 * DAY, 4) == GiveUp(Reason.IMAGE_REJECTED)


@pytest.mark.parametrize("status", ["failed", "callback_inserted", "archived"])
def test_nothing_is_done_for_rows_out_of_scope(status: str) -> None:
    assert planned(track(status=status)) == Wait(None)


def test_an_unfinished_row_with_audio_is_looked_at_when_it_is_old_enough() -> None:
    young = track(status="pending", created_at=NOW - HOUR)
    assert planned(young, memory(first_seen=NOW - HOUR)) == Wait(NOW + 23 * HOUR)
    assert planned(replace(young, audio_url=None)) == Wait(None)
    assert planned(track(status="failed", created_at=NOW - DAY)) == Wait(None), "never"


# -- what was paid for is never lost -------------------------------------------------------------------------------

PAID = {"purchases": (accepted(),), "tasks": tasks(done_task(RESULT))}
RUNNING = {"purchases": (accepted(),), "tasks": tasks(task())}
DUE = {"purchases": (accepted(),), "tasks": tasks(task(next_poll=NOW))}
GOOD = {"sighting": seen(DURABLE)}


@pytest.mark.parametrize("status", ["completed", "failed", "archived"])
def test_late_results_are_fetched_whatever_became_of_the_row(status: str) -> None:
    the_track = track(DURABLE, status=status, resolution="2048x1152")
    assert planned(the_track, memory(**GOOD, **DUE)) == AskTask(TASK)
    assert planned(the_track, memory(**GOOD, **RUNNING)) == Wait(NOW + MINUTE)
    assert planned(the_track, memory(**GOOD, **PAID)) == Fetch(
        TaskResult(RESULT, TASK, How.GENERATED, memory().song_id)
    )


def test_a_late_result_that_failed_to_arrive_is_tried_again() -> None:
    known = memory(**GOOD, **PAID, ailments={RESULT: faulty()})
    assert planned(track(DURABLE, resolution="2048x1152"), known) == Wait(NOW + MINUTE)


def test_late_results_are_fetched_while_the_rows_picture_cannot_be_measured() -> None:
    known = memory(**PAID, ailments={DURABLE: faulty(wait=HOUR)})
    assert isinstance(planned(track(DURABLE), known), Fetch)
    running = memory(**RUNNING, ailments={DURABLE: faulty(wait=HOUR)})
    assert planned(track(DURABLE), running) == Wait(NOW + MINUTE, State.BACKING_OFF, Reason.DOWNLOAD_FAILED)


def test_what_is_given_up_still_asks_after_a_paid_task() -> None:
    known = memory(**RUNNING, ailments={DURABLE: faulty(7 * DAY)})
    assert planned(track(DURABLE), known) == GiveUp(Reason.DOWNLOAD_FAILED, recheck=NOW + MINUTE)


OTHER_SONG: dict[str, Any] = {**PAID, "purchases": (accepted(song="6" * 32),)}


def test_a_result_bought_for_another_song_is_kept_but_not_used() -> None:
    result = TaskResult(RESULT, TASK, How.GENERATED, "6" * 32)
    assert planned(track(DURABLE, resolution="2048x1152"), memory(**GOOD, **OTHER_SONG)) == Fetch(result)
    assert planned(track(), memory(**OTHER_SONG)) == Fetch(result)
    judged = (accepted(song="6" * 32, verdict=Verdict.GOOD),)
    copy = kept(song="6" * 32, origin=RESULT)
    assert isinstance(planned(track(), memory(**{**OTHER_SONG, "purchases": judged}, kept=(copy,))), Buy)


@pytest.mark.parametrize("paused", [False, True])
def test_a_result_bought_for_another_song_holds_up_no_order_while_it_cannot_be_had(paused: bool) -> None:
    ill = {"ailments": {RESULT: faulty()}}
    assert isinstance(planned(track(), memory(**OTHER_SONG, **ill, paused=paused)), Buy)
    ill = {"ailments": {RESULT: faulty(wait=-MINUTE)}}
    assert isinstance(planned(track(), memory(**OTHER_SONG, **ill, paused=paused)), Fetch)
    ill = {"ailments": {RESULT: faulty(7 * DAY)}}
    assert isinstance(planned(track(), memory(**OTHER_SONG, **ill, paused=paused)), Buy)


def test_a_second_result_of_a_judged_purchase_is_not_fetched() -> None:
    paid = {**PAID, "purchases": (accepted(verdict=Verdict.GOOD),)}
    action = planned(track(DURABLE, resolution="2048x1152"), memory(**GOOD, **paid))
    assert action == Wait(NOW - HOUR + POLICY.reverify_after)


def test_when_the_row_is_gone_live_tasks_end_unwritten_and_nothing_is_bought() -> None:
    assert farewell(memory(), NOW, asks=True) == Wait(None)
    assert farewell(memory(**DUE), NOW, asks=True) == AskTask(TASK)
    assert farewell(memory(**RUNNING), NOW, asks=True) == Wait(NOW + MINUTE)
    assert farewell(memory(**PAID), NOW, asks=True) == Wait(None)
    assert farewell(memory(purchases=(purchase(), lost("p2"))), NOW, asks=True) == Wait(None)


def test_a_flawed_row_picture_is_replaced() -> None:
    broken = memory(ailments={DURABLE: Ailment(flaw=Flaw.UNDECODABLE)}, tasks=tasks(task(state=TaskState.FAILED)))
    assert isinstance(planned(track(DURABLE), broken), Buy)


HUGE = Ailment(faults=1, first_fault=NOW - DAY, reason=Reason.IMAGE_REJECTED, flaw=Flaw.TOO_LARGE)


@pytest.mark.parametrize("url", [DURABLE, INLINE])
@pytest.mark.parametrize("mine", [(), (kept(was_written=True),)])
def test_a_row_picture_that_is_more_than_we_take_is_left_as_it_is(url: str, mine: tuple[Kept, ...]) -> None:
    assert planned(track(url), memory(ailments={url: HUGE}, kept=mine)) == GiveUp(Reason.IMAGE_REJECTED)


def test_it_is_replaced_where_files_are_lost_anyway() -> None:
    broken = memory(ailments={RESULT: HUGE}, tasks=tasks(task(state=TaskState.FAILED)))
    assert isinstance(planned(track(RESULT), broken), Buy)
