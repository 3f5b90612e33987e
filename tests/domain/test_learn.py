"""What a look at the row, a write and a conflict leave behind."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from reconciler.domain.actions import AskSong, AskTask, Fetch, ListStore, Measure, RowImage, SunoCover, Write
from reconciler.domain.backoff import delay, spin_of
from reconciler.domain.case import NOBODY_KNOWS
from reconciler.domain.findings import Fault, Listing, Refused, Running, Sized, SongFinal, Stored
from reconciler.domain.learn import after_conflict, after_lock, after_write, learn, notice, noticed
from reconciler.domain.model import Ailment, Cell, Memory, Sighting, Song, Verdict, Written
from reconciler.domain.plan import plan
from reconciler.domain.policy import Target
from reconciler.domain.sources import paid_results, task_results
from reconciler.domain.states import Flaw, How, Reason
from tests.domain.builders import (
    COVER,
    DAY,
    DURABLE,
    HOUR,
    INLINE,
    KEY,
    LONG_AGO,
    MINUTE,
    NOW,
    OTHER_RESULT,
    OURS,
    POLICY,
    RESULT,
    SONG,
    TASK,
    accepted,
    case,
    done_task,
    kept,
    memory,
    planned,
    seen,
    tasks,
    track,
)

FRESH = Write(OURS, "2048x1152", How.GENERATED, key=KEY)

# -- notice --------------------------------------------------------------------------------------------------------


def test_need_is_counted_from_its_first_sight_and_ends_with_a_good_picture() -> None:
    needy = notice(memory(needy_since=None), track(), POLICY, NOW)
    assert needy.needy_since == NOW
    assert notice(needy, track(), POLICY, NOW + HOUR).needy_since == NOW
    assert notice(memory(sighting=seen(DURABLE)), track(DURABLE), POLICY, NOW).needy_since is None
    assert notice(memory(sighting=seen(RESULT)), track(RESULT), POLICY, NOW).needy_since is None


def test_another_music_task_is_another_song_and_purchases_are_kept() -> None:
    before = memory(
        kept=(kept(),),
        written=Written(OURS, KEY, NOW, NOW),
        restores=(NOW,),
        purchases=(accepted(),),
        listed=False,
        listed_at=NOW - HOUR,
    )
    after = notice(before, track(task_id="6" * 32), POLICY, NOW)
    assert (after.song, after.kept, after.written, after.restores) == (None, (), None, ())
    assert after.listed_at is None
    assert after.song_id == "6" * 32
    assert after.purchases == before.purchases
    assert after.listed, "the store holds what was made for the song before"


@pytest.mark.parametrize(("before", "now"), [(None, SONG), (SONG, None), (SONG, SONG)])
def test_a_music_task_that_is_not_known_yet_or_no_more_is_no_other_song(before: str | None, now: str | None) -> None:
    after = notice(memory(song_id=before, kept=(kept(),)), track(task_id=now), POLICY, NOW)
    assert after.kept
    assert after.song_id == SONG


def test_another_picture_in_the_row_ends_the_count_of_interruptions() -> None:
    assert notice(memory(seen=DURABLE, interruptions=3), track(COVER), POLICY, NOW).interruptions == 0
    assert notice(memory(seen=DURABLE, interruptions=2), track(DURABLE), POLICY, NOW).interruptions == 2
    assert notice(memory(seen=None, interruptions=1), track(DURABLE), POLICY, NOW).interruptions == 1


def test_a_look_is_remembered_and_a_row_that_came_back_is_not_gone() -> None:
    after = notice(memory(gone_since=NOW - DAY), track(DURABLE, stamp="x"), POLICY, NOW)
    assert after == memory(seen=DURABLE, stamp="x", created_at=LONG_AGO)


BORN = NOW - MINUTE
OF_THE_ROW_BEFORE: dict[str, Any] = {
    "first_seen": NOW - 9 * DAY,
    "needy_since": NOW - 9 * DAY,
    "created_at": LONG_AGO,
    "kept": (kept(),),
    "written": Written(OURS, KEY, NOW - DAY, NOW - DAY),
    "restores": (NOW - DAY,),
    "conflicts": 6,
    "ailments": {"write": Ailment(retry_at=NOW + HOUR, reason=Reason.WRITE_CONFLICT)},
    "interruptions": 3,
    "purchases": (accepted(at=NOW - DAY),),
}


@pytest.mark.parametrize("song", ["6" * 32, None])
def test_a_row_born_after_the_one_that_was_seen_is_another_and_only_purchases_are_kept(song: str | None) -> None:
    before = memory(**OF_THE_ROW_BEFORE)
    after = notice(before, track(task_id=song, created_at=BORN), POLICY, NOW)
    fresh = memory(song_id=song, song=None, needy_since=NOW, first_seen=NOW, created_at=BORN, seen="")
    assert after == replace(fresh, orders_before=("p1",), purchases=before.purchases)


def test_a_row_of_the_same_song_is_the_same_however_often_its_date_of_birth_is_moved() -> None:
    before = memory(**OF_THE_ROW_BEFORE)
    assert notice(before, track(created_at=BORN), POLICY, NOW) == replace(before, created_at=BORN, seen="")


@pytest.mark.parametrize(
    ("born", "known"),
    [
        (None, LONG_AGO),
        (NOW - 10 * MINUTE, LONG_AGO),
        (BORN, None),
        (NOW + DAY, NOW + DAY),
        (NOW + DAY, None),
    ],
    ids=["unreadable", "seen at its birth", "not known yet", "ahead and known", "ahead"],
)
def test_a_row_is_the_same_while_its_date_says_nothing_else(born: datetime | None, known: datetime | None) -> None:
    first_seen = NOW - HOUR / 4 if known == LONG_AGO else NOW - 9 * DAY
    before = memory(**OF_THE_ROW_BEFORE | {"first_seen": first_seen, "created_at": known})
    after = notice(before, track(task_id=None, created_at=born), POLICY, NOW)
    assert (after.first_seen, after.kept, after.created_at) == (before.first_seen, before.kept, born or known)


@pytest.mark.parametrize("set_back", [timedelta(0), DAY], ids=str)
def test_a_picture_of_which_nobody_knows_the_song_is_not_given_to_another_row(set_back: timedelta) -> None:
    bought, immediate = (accepted("p1", song=None), accepted("p2", None, song=None, urls=(OTHER_RESULT,)))
    known = memory(purchases=(bought, immediate), tasks=tasks(done_task(RESULT)), song_id=None)
    before = noticed(track(task_id=None), known, POLICY, NOW)
    assert [result.url for result in task_results(before)] == [RESULT, OTHER_RESULT]
    remade = track(task_id=None, created_at=NOW)
    after = notice(before.memory, remade, POLICY, NOW)
    later = noticed(remade, after, POLICY, NOW - set_back)
    assert task_results(later) == []
    assert {result.song for result in paid_results(later)} == {NOBODY_KNOWS}


BLANK = Ailment(faults=1, first_fault=NOW - 9 * DAY, reason=Reason.IMAGE_REJECTED, flaw=Flaw.BLANK)
SMALLER = replace(POLICY, target=Target(1280, 720))
MEDIUM = Ailment(faults=1, reason=Reason.IMAGE_REJECTED, flaw=Flaw.TOO_SMALL, size=(1344, 756))
TINY = replace(MEDIUM, size=(360, 360))
UNTOLD = replace(MEDIUM, size=None)
"""As it was remembered once."""


def refused(**ailments: Ailment) -> Memory:
    """Two purchases that were, for these flaws of the results."""
    bought = (
        accepted("p1", TASK, verdict=Verdict.REJECTED, ended_at=NOW - HOUR),
        accepted("p2", None, urls=(OTHER_RESULT,), verdict=Verdict.REJECTED, ended_at=NOW - HOUR),
    )
    first, other = ailments.values()
    ill = {RESULT: first, OTHER_RESULT: other}
    return memory(purchases=bought, tasks=tasks(done_task(RESULT)), ailments=ill)


def test_a_result_that_fits_todays_target_is_fetched_though_it_was_refused_by_another() -> None:
    before = refused(first=MEDIUM, other=MEDIUM)
    after = notice(before, track(), SMALLER, NOW)
    assert after.ailments == {}
    assert {(p.verdict, p.ended_at) for p in after.purchases} == {(Verdict.PENDING, None)}
    fetched = planned(track(), after, target=SMALLER.target)
    assert isinstance(fetched, Fetch)
    assert fetched.source.name == RESULT


@pytest.mark.parametrize("flaw", [TINY, UNTOLD, BLANK], ids=["too small still", "of no known size", "blank"])
def test_what_is_flawed_by_any_target_stays_refused(flaw: Ailment) -> None:
    after = notice(refused(first=MEDIUM, other=flaw), track(), SMALLER, NOW)
    assert after.ailments == {OTHER_RESULT: flaw}
    assert [p.verdict for p in after.purchases] == [Verdict.PENDING, Verdict.REJECTED]


DEAD = Ailment(refusals=3, first_refused=NOW - 2 * DAY, retry_at=NOW + HOUR, reason=Reason.DOWNLOAD_FAILED, dead=True)
ELSEWHERE = RowImage(DURABLE, identity=DURABLE)


def wanting(url: str, **found: Any) -> Memory:
    """Looked at with the stamp `before`, and found wanting for what is given."""
    return memory(seen=url, stamp="before", **found)


@pytest.mark.parametrize(
    "found",
    [
        {"sighting": seen(DURABLE, 360, 360)},
        {"ailments": {DURABLE: BLANK}},
        {"ailments": {DURABLE: replace(BLANK, flaw=Flaw.TOO_LARGE)}},
        {"ailments": {DURABLE: DEAD}},
    ],
    ids=["small", "flawed", "huge", "dead"],
)
def test_a_picture_that_was_found_wanting_is_measured_again_once_the_row_changed(found: dict[str, Any]) -> None:
    before, row = wanting(DURABLE, **found), track(DURABLE, stamp="after")
    assert planned(row, notice(before, replace(row, stamp="before"), POLICY, NOW)) != Measure(ELSEWHERE)
    assert planned(row, notice(before, row, POLICY, NOW)) == Measure(ELSEWHERE)


def test_a_picture_that_is_dead_still_is_so_at_one_refusal_more_and_alive_at_the_first_measure() -> None:
    row = track(DURABLE, stamp="after")
    anew = case(row, notice(wanting(DURABLE, ailments={DURABLE: DEAD}), row, POLICY, NOW))
    assert learn(anew, Measure(ELSEWHERE), Refused("HTTP 404")).ailing(DURABLE).dead
    assert learn(anew, Measure(ELSEWHERE), Sized(2048, 1152)).ailments == {}


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (DURABLE, {"sighting": seen(DURABLE)}),
        (INLINE, {"sighting": seen(INLINE, 360, 360)}),
        (OURS, {"sighting": seen(OURS, 360, 360)}),
        (None, {}),
    ],
    ids=["good", "in the row itself", "in our store", "none"],
)
def test_what_cannot_be_another_picture_or_is_good_is_not_measured_again_for_a_change(
    url: str | None, found: dict[str, Any]
) -> None:
    before = wanting(url or "", **found)
    assert notice(before, track(url, stamp="after"), POLICY, NOW).sighting == before.sighting


def test_a_look_judges_purchases() -> None:
    before = memory(purchases=(accepted(),), tasks=tasks(done_task(RESULT)), kept=(kept(origin=RESULT),))
    judged = notice(before, track(), POLICY, NOW).purchases[0]
    assert (judged.verdict, judged.ended_at) == (Verdict.GOOD, NOW)


# -- learn ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("done", "finding", "left"),
    [
        (Measure(RowImage(DURABLE, identity=DURABLE)), Sized(1, 1), 0),
        (Fetch(SunoCover(COVER, SONG)), Fault(Reason.DOWNLOAD_FAILED, ""), 0),
        (AskTask(TASK), Running(), 2),
        (AskSong(SONG), SongFinal(), 2),
        (ListStore(), Listing(()), 2),
    ],
)
def test_a_picture_that_came_back_ends_the_count_of_interruptions(done: object, finding: object, left: int) -> None:
    """No other step tells whether a picture takes the process down."""
    known = case(track(DURABLE), memory(interruptions=2))
    assert learn(known, done, finding).interruptions == left  # type: ignore[arg-type]


@pytest.mark.parametrize("done", [Fetch(SunoCover(COVER, SONG)), AskTask(TASK), AskSong(SONG), ListStore(), accepted()])
def test_an_answer_to_another_question_is_a_mistake(done: object) -> None:
    wrong = SongFinal() if not isinstance(done, AskSong) else Sized(1, 1)
    with pytest.raises(TypeError, match=f"cannot come back with {type(wrong).__name__}$"):
        learn(case(), done, wrong)  # type: ignore[arg-type]


def test_a_stored_result_judges_its_purchase_at_once() -> None:
    known = memory(purchases=(accepted(),), tasks=tasks(done_task(RESULT)))
    action = planned(track(), known)
    assert isinstance(action, Fetch)
    after = learn(case(track(), known), action, Stored(KEY, 2048, 1152, "ab"))
    assert after.purchases[0].verdict is Verdict.GOOD
    assert after.purchases[0].ended_at == NOW


# -- after a write -------------------------------------------------------------------------------------------------


def test_a_written_picture_counts_as_measured_and_ends_the_need() -> None:
    before = memory(
        kept=(kept(), kept("tracks/t1/other.jpg")), conflicts=2, ailments={"write": Ailment(), "x": Ailment()}
    )
    after = after_write(case(track(), before), FRESH)
    assert after.written == Written(OURS, KEY, NOW, NOW)
    assert after.sighting == Sighting(OURS, 2048, 1152, NOW, NOW, KEY)
    assert (after.seen, after.needy_since, after.conflicts) == (OURS, None, 0)
    assert set(after.ailments) == {"x"}
    assert [k.was_written for k in after.kept] == [True, False]
    assert after.restores == ()


def test_a_written_picture_that_is_kept_no_more_was_written_all_the_same() -> None:
    after = after_write(case(), FRESH)
    assert (after.written, after.sighting) == (Written(OURS, KEY, NOW, NOW), None)


def test_what_was_written_is_good_and_measured_again_a_day_later() -> None:
    after = after_write(case(track(), memory(kept=(kept(),))), FRESH)
    row = track(OURS, resolution="2048x1152", updated_at=NOW)
    assert plan(case(row, after)) == plan(replace(case(row, after), memory=notice(after, row, POLICY, NOW)))
    assert case(row, after).settles_at is None
    assert getattr(plan(case(row, after)), "until", None) == NOW + DAY


def test_a_restore_is_remembered() -> None:
    before = memory(kept=(kept(was_written=True),), restores=tuple(NOW - n * HOUR for n in range(12)))
    assert after_write(case(track(), before), replace(FRESH, restore=True)).restores[-1] == NOW
    assert len(after_write(case(track(), before), replace(FRESH, restore=True)).restores) == 10


def test_a_stand_in_does_not_end_the_need() -> None:
    stand_in = kept(width=360, height=360, interim=True)
    after = after_write(case(track(), memory(kept=(stand_in,))), Write(OURS, None, None, key=KEY))
    assert after.needy_since == NOW - HOUR
    assert after.kept[0].was_written


@pytest.mark.parametrize(("url", "key"), [(DURABLE, None), (OURS, KEY)])
def test_a_resolution_set_right_is_our_write_too(url: str, key: str | None) -> None:
    before = memory(sighting=seen(url))
    after = after_write(case(track(url), before), Write(None, "2048x1152", None))
    assert after.written == Written(url, key, NOW, NOW)
    assert after.sighting == before.sighting
    assert case(track(url, updated_at=NOW), after).settles_at is None


def test_a_row_without_a_picture_can_be_written_too() -> None:
    assert after_write(case(replace(track(), image=Cell(None))), Write(None, None, None)).written == Written(
        "", None, NOW, NOW
    )


def test_conflicts_are_met_with_growing_pauses() -> None:
    once = after_conflict(case())
    assert once.conflicts == 1
    often = after_conflict(case(track(), memory(conflicts=5)))
    first, sixth = once.ailments["write"].retry_at, often.ailments["write"].retry_at
    assert first is not None
    assert sixth is not None
    assert NOW < first <= NOW + MINUTE < sixth
    spun = delay(1, POLICY.retry_min, POLICY.retry_max, spin_of("t1", 1))
    assert once.ailments["write"] == Ailment(retry_at=NOW + spun, reason=Reason.WRITE_CONFLICT)


@pytest.mark.parametrize("conflicts", [0, 5])
def test_a_lock_is_met_with_the_same_short_pause_each_time(conflicts: int) -> None:
    once = after_lock(case(track(), memory(conflicts=conflicts)))
    assert once == after_lock(case(track(), once))
    spun = delay(1, POLICY.retry_min, POLICY.retry_max, spin_of("t1", 1))
    assert once.ailments["write"] == Ailment(retry_at=NOW + spun, reason=Reason.WRITE_CONFLICT)
    assert once.conflicts == conflicts


def test_songs_are_told_apart_when_learning() -> None:
    after = learn(case(track(), memory(song=Song("6" * 32, final=True))), AskSong(SONG), SongFinal((COVER,)))
    assert after.song is not None
    assert (after.song.id, after.song.final, after.song.urls) == (SONG, True, (COVER,))
