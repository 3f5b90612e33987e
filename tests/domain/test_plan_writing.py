"""What our store holds is written when the row is worse: once when new, a few times when undone."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from reconciler.domain.actions import AskTask, Buy, Fetch, GiveUp, ListStore, Measure, RowImage, StoredKey, Wait, Write
from reconciler.domain.backoff import delay, spin_of
from reconciler.domain.case import Case
from reconciler.domain.learn import after_lock
from reconciler.domain.model import Ailment, Kept, Memory, Song
from reconciler.domain.policy import Fit, Target
from reconciler.domain.states import Flaw, How, Reason, State
from tests.domain.builders import (
    COVER,
    DAY,
    DURABLE,
    HOUR,
    KEY,
    MINUTE,
    NOW,
    OURS,
    POLICY,
    RESULT,
    SONG,
    faulty,
    kept,
    memory,
    planned,
    seen,
    task,
    tasks,
    track,
)

FRESH = Write(OURS, "2048x1152", How.GENERATED, key=KEY)
RESTORE = Write(OURS, "2048x1152", How.RESTORED, key=KEY, restore=True)
UNREAD = kept(width=0, height=0, sha256="", how=How.RESTORED, checked_at=None)


def holding(*pictures: Kept, **changes: Any) -> Memory:
    return memory(kept=pictures, **changes)


# -- write ---------------------------------------------------------------------------------------------------------


def test_a_new_picture_is_written_over_nothing() -> None:
    assert planned(track(), holding(kept())) == FRESH


def test_over_a_dead_url_and_over_one_below_the_target() -> None:
    assert planned(track(DURABLE), holding(kept(), ailments={DURABLE: Ailment(dead=True)})) == FRESH
    assert planned(track(COVER), holding(kept(), sighting=seen(COVER, 360, 360))) == FRESH


def test_a_new_good_picture_by_somebody_else_is_kept() -> None:
    action = planned(track(DURABLE, resolution="2048x1152"), holding(kept(), sighting=seen(DURABLE)))
    assert isinstance(action, Wait)


def test_nothing_is_written_in_grace() -> None:
    assert planned(track(updated_at=NOW), holding(kept())) == Wait(NOW + POLICY.grace, State.FETCHING, Reason.IN_FLIGHT)
    assert planned(track(updated_at=NOW), holding(kept(was_written=True))) == Wait(NOW + POLICY.grace)


def test_its_bytes_are_compared_before_its_url_is_written() -> None:
    assert planned(track(), holding(kept(checked_at=NOW - POLICY.step_deadline))) == FRESH
    stale = kept(checked_at=NOW - POLICY.step_deadline - MINUTE)
    assert planned(track(), holding(stale)) == Fetch(StoredKey(KEY, SONG))
    assert planned(track(), holding(UNREAD)) == Fetch(StoredKey(KEY, SONG))
    waits = planned(track(), holding(UNREAD, ailments={f"store:{KEY}": faulty(why=Reason.STORAGE_FAILED)}))
    assert waits == Wait(NOW + MINUTE, State.BACKING_OFF, Reason.STORAGE_FAILED)


def unread(key: str, **wait: timedelta) -> dict[str, Ailment]:
    return {f"store:{key}": faulty(why=Reason.STORAGE_FAILED, **wait)}


@pytest.mark.parametrize("first", [UNREAD, kept(width=2560, height=1440)])
def test_a_copy_that_cannot_be_read_keeps_nobody_from_the_next(first: Kept) -> None:
    both = (first, replace(UNREAD, key="next"))
    assert planned(track(), holding(*both, ailments=unread(KEY))) == Fetch(StoredKey("next", SONG))
    neither = {**unread(KEY, wait=HOUR), **unread("next", wait=MINUTE)}
    waits = planned(track(), holding(*both, ailments=neither))
    assert waits == Wait(NOW + MINUTE, State.BACKING_OFF, Reason.STORAGE_FAILED)
    compared = planned(track(), holding(first, kept("next"), ailments=unread(KEY)))
    assert compared == replace(FRESH, url=POLICY.url_of("next"), key="next")


def test_another_copy_is_no_way_around_the_pause_between_restores() -> None:
    undone = holding(kept(was_written=True), kept("next"), restores=(NOW - MINUTE,) * 2, ailments=unread(KEY))
    action = planned(track(), undone)
    assert isinstance(action, Wait)
    assert action.reason is Reason.WRITE_CONFLICT


@pytest.mark.parametrize("ailment", [Ailment(dead=True), Ailment(flaw=Flaw.UNDECODABLE)])
def test_a_stored_picture_that_is_lost_or_broken_is_not_written(ailment: Ailment) -> None:
    known = holding(kept(origin=RESULT), ailments={f"store:{KEY}": ailment})
    assert isinstance(planned(track(), known), Buy)
    assert isinstance(planned(track(RESULT), replace(known, sighting=seen(RESULT))), Fetch)


def test_a_stored_picture_that_is_too_small_is_not_written() -> None:
    assert isinstance(planned(track(), holding(kept(width=1344, height=768))), Buy)


def test_a_stored_picture_larger_than_the_exact_target_is_fitted_first() -> None:
    large = kept(width=2560, height=1440)
    assert planned(track(), holding(large)) == Fetch(StoredKey(KEY, SONG))
    assert planned(track(), holding(large), target=Target(fit=Fit.KEEP)) == replace(FRESH, resolution="2560x1440")
    fitted = kept(origin="store:large")
    assert planned(track(), holding(replace(large, key="large"), fitted)) == FRESH


def test_a_picture_made_for_another_song_is_not_written() -> None:
    other = kept(song="6" * 32)
    assert isinstance(planned(track(), holding(other)), Buy)
    assert isinstance(planned(track(task_id=None), holding(other)), Buy)
    assert planned(track(task_id=None), holding(kept())) == FRESH, "the song whose id was there last"
    assert planned(track(), holding(kept(song=None))) == FRESH


def test_an_archived_row_is_completed_together_with_its_picture() -> None:
    assert planned(track(status="archived"), holding(kept()), restore_archived=True) == replace(FRESH, revive=True)


@pytest.mark.parametrize(("restores", "audio_url"), [(False, "https://x/a.mp3"), (True, None)])
def test_an_archived_row_that_is_in_scope_by_its_status_stays_archived(restores: bool, audio_url: str | None) -> None:
    row = track(status="archived", audio_url=audio_url)
    action = planned(row, holding(kept()), statuses=("completed", "archived"), restore_archived=restores)
    assert action == FRESH


@pytest.mark.parametrize("behind", ["", "?v=17", "#cover"])
def test_the_url_that_the_row_shows_already_is_not_written_again(behind: str) -> None:
    url = OURS + behind
    contradicted = holding(kept(was_written=True), sighting=seen(url, 360, 360))
    assert isinstance(planned(track(url), contradicted), Buy)


def test_our_url_is_written_over_one_of_it_that_dies() -> None:
    lasting = f"https://covers.example/{KEY}"
    signed = f"{lasting}?Expires=1790000000&Signature=ab"
    known = holding(kept(was_written=True, also_from=(signed,)), sighting=seen(signed))
    action = planned(track(signed), known, public_url="https://covers.example")
    assert action == replace(RESTORE, url=lasting)


# -- restore -------------------------------------------------------------------------------------------------------


def test_a_write_that_was_undone_is_restored_for_free() -> None:
    assert planned(track(), holding(kept(was_written=True))) == RESTORE
    thumbnail = holding(kept(was_written=True), sighting=seen(COVER, 360, 360))
    assert planned(track(COVER), thumbnail) == RESTORE


AWAY = {RESULT: faulty()}


def test_a_write_undone_by_the_very_url_that_it_came_from_is_restored_though_that_host_is_away() -> None:
    known = kept(was_written=True, origin=RESULT)
    assert planned(track(RESULT), holding(known)) == Measure(RowImage(RESULT, identity=RESULT))
    assert planned(track(RESULT), holding(known, ailments=AWAY)) == RESTORE
    for_long = {RESULT: faulty(since=8 * DAY)}
    assert planned(track(RESULT), holding(known, ailments=for_long)) == RESTORE
    other = replace(known, origin=COVER)
    assert planned(track(RESULT), holding(other, ailments=AWAY)) == Wait(
        NOW + MINUTE, State.BACKING_OFF, Reason.DOWNLOAD_FAILED
    )
    assert planned(track(RESULT), holding(other, ailments=for_long)) == GiveUp(Reason.DOWNLOAD_FAILED)


def test_a_host_that_is_away_is_asked_again_while_the_write_that_was_undone_must_wait() -> None:
    known, asks_again = kept(was_written=True, origin=RESULT), NOW + MINUTE
    in_grace = planned(track(RESULT, updated_at=NOW), holding(known, ailments=AWAY))
    assert in_grace == Wait(asks_again, State.BACKING_OFF, Reason.DOWNLOAD_FAILED)
    fought = holding(known, ailments=AWAY, restores=(NOW - DAY,) * 3)
    assert planned(track(RESULT), fought) == Wait(asks_again, State.BACKING_OFF, Reason.DOWNLOAD_FAILED)
    hopeless = replace(fought, ailments={RESULT: faulty(since=8 * DAY)})
    assert planned(track(RESULT), hopeless) == GiveUp(Reason.WRITE_CONFLICT, recheck=NOW + 6 * DAY)


def test_restores_back_off() -> None:
    pause = delay(2, POLICY.retry_min, POLICY.retry_max, spin_of("t1", 2))
    for since, action in (
        (MINUTE / 2, Wait(NOW - MINUTE / 2 + pause, State.BACKING_OFF, Reason.WRITE_CONFLICT)),
        (pause, RESTORE),
    ):
        assert planned(track(), holding(kept(was_written=True), restores=(NOW - HOUR, NOW - since))) == action
    assert planned(track(), holding(kept(was_written=True), restores=(NOW - HOUR,))) == RESTORE


def test_the_fourth_restore_in_seven_days_is_not_fought() -> None:
    week = timedelta(days=7)
    thrice = (NOW - week + HOUR, NOW - DAY, NOW - HOUR)
    gives_up = planned(track(), holding(kept(was_written=True), restores=thrice))
    assert gives_up == GiveUp(Reason.WRITE_CONFLICT, recheck=NOW + HOUR)
    for poll, recheck in ((NOW, HOUR), (NOW + MINUTE, MINUTE), (NOW + 2 * HOUR, HOUR)):
        asked = {"handed": ("h",), "tasks": tasks(task("h", next_poll=poll))}
        known = holding(kept(was_written=True), restores=thrice, **asked)
        assert planned(track(), known) == GiveUp(Reason.WRITE_CONFLICT, recheck=NOW + recheck)
    earlier = (NOW - week, NOW - DAY, NOW - HOUR)
    assert planned(track(), holding(kept(was_written=True), restores=earlier)) == RESTORE


def test_a_write_that_met_a_conflict_waits_and_in_the_end_waits_a_week() -> None:
    fought = {"write": Ailment(retry_at=NOW + MINUTE, reason=Reason.WRITE_CONFLICT)}
    waits = planned(track(), holding(kept(), conflicts=5, ailments=fought))
    assert waits == Wait(NOW + MINUTE, State.BACKING_OFF, Reason.WRITE_CONFLICT)
    given_up = planned(track(), holding(kept(), conflicts=6, ailments=fought))
    assert given_up == GiveUp(Reason.WRITE_CONFLICT, recheck=NOW + MINUTE + timedelta(days=7))
    week_old = {"write": Ailment(retry_at=NOW - timedelta(days=7), reason=Reason.WRITE_CONFLICT)}
    assert planned(track(), holding(kept(), conflicts=6, ailments=week_old)) == FRESH


def test_a_locked_row_is_tried_again_soon_however_often_it_was_fought_for() -> None:
    case = Case(track(), holding(kept(), conflicts=6), POLICY, NOW)
    pause = delay(1, POLICY.retry_min, POLICY.retry_max, spin_of("t1", 1))
    waits = planned(track(), after_lock(case))
    assert waits == Wait(NOW + pause, State.BACKING_OFF, Reason.WRITE_CONFLICT)


# -- interim -------------------------------------------------------------------------------------------------------

STAND_IN = kept("tracks/t1/cover.jpg", 360, 360, interim=True, how=How.SUNO, origin=COVER)
INTERIM = Write(POLICY.url_of(STAND_IN.key), None, None, key=STAND_IN.key)


def test_a_cover_stands_in_where_that_is_wanted_and_counts_as_no_resolution() -> None:
    assert planned(track(), holding(STAND_IN), interim_thumbnail=True) == INTERIM
    assert isinstance(planned(track(), holding(STAND_IN)), Buy)


def test_a_stand_in_is_written_over_nothing_only_and_never_restored() -> None:
    thumbnail = holding(STAND_IN, sighting=seen(COVER, 360, 360))
    assert isinstance(planned(track(COVER), thumbnail, interim_thumbnail=True), Buy)
    written = holding(replace(STAND_IN, was_written=True))
    assert isinstance(planned(track(), written, interim_thumbnail=True), Buy)
    shown = POLICY.url_of(STAND_IN.key)
    assert isinstance(planned(track(shown), holding(STAND_IN, sighting=seen(shown, 360, 360))), Buy)


def test_a_good_picture_comes_before_a_stand_in() -> None:
    assert planned(track(), holding(STAND_IN, kept()), interim_thumbnail=True) == FRESH


def test_a_stand_in_that_waits_for_the_end_of_grace_keeps_nobody_from_asking() -> None:
    known = holding(STAND_IN, handed=("h",), tasks=tasks(task("h", next_poll=NOW)))
    assert planned(track(updated_at=NOW), known, interim_thumbnail=True) == AskTask("h")


def test_a_cover_that_was_refused_as_too_small_may_stand_in_later() -> None:
    song = Song(SONG, final=True, urls=(COVER,))
    small = memory(song=song, ailments={COVER: Ailment(flaw=Flaw.TOO_SMALL)})
    assert isinstance(planned(track(), small, interim_thumbnail=True), Fetch)
    assert isinstance(planned(track(), small), Buy)
    blank = memory(song=song, ailments={COVER: Ailment(flaw=Flaw.BLANK)})
    assert isinstance(planned(track(), blank, interim_thumbnail=True), Buy)


# -- the store is listed before anything is bought ------------------------------------------------------------------


def test_if_memory_was_lost_the_store_is_listed() -> None:
    assert planned(track(), memory(listed=False)) == ListStore()
    waits = planned(track(), memory(listed=False, ailments={"store": faulty(70 * DAY, why=Reason.STORAGE_FAILED)}))
    assert waits == Wait(NOW + MINUTE, State.BACKING_OFF, Reason.STORAGE_FAILED)
