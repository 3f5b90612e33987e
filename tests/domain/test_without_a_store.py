"""storage.kind = none: what was fetched and verified stays where it lies, and is bought again when it died."""

from dataclasses import replace
from typing import Any

from reconciler.domain.actions import Buy, Fetch, Measure, StoredKey, TaskResult, Wait, Write
from reconciler.domain.case import Case
from reconciler.domain.findings import Fault, Flawed, Refused, Sized, Stored
from reconciler.domain.gate import GateView
from reconciler.domain.learn import after_write, learn
from reconciler.domain.look import Dying, Good
from reconciler.domain.model import Ailment, Kept, Memory, Track, Written
from reconciler.domain.plan import plan
from reconciler.domain.policy import Fit, Policy, Target
from reconciler.domain.standing import classify
from reconciler.domain.states import Flaw, How, Reason, State
from tests.domain.builders import (
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
    done_task,
    kept,
    memory,
    seen,
    tasks,
    track,
)

NONE = replace(POLICY, keeps=False, target=Target(fit=Fit.KEEP))
LEFT = kept(RESULT, 2560, 1440, origin=RESULT, at=NOW - HOUR)
"""A result that was verified at its URL just now."""


READY = GateView(NOW, balance=1000, balance_at=NOW)


def case(the_track: Track, the_memory: Memory, policy: Policy = NONE) -> Case:
    return Case(the_track, the_memory, policy, NOW)


def shown(**changes: Any) -> Track:
    """Since an hour the row shows the result."""
    return track(RESULT, **{"resolution": "2560x1440", "updated_at": NOW - HOUR, **changes})


def bought(**changes: Any) -> Memory:
    known: dict[str, Any] = {
        "purchases": (accepted(),),
        "tasks": tasks(done_task(RESULT)),
        "kept": (LEFT,),
        "seen": RESULT,
        "sighting": seen(RESULT, 2560, 1440, first_at=NOW - HOUR),
        "written": Written(RESULT, RESULT, NOW - HOUR, NOW - HOUR),
    }
    return memory(**{**known, **changes})


def test_a_result_is_verified_where_it_lies_and_its_own_url_is_written() -> None:
    here = case(track(), bought(kept=(), sighting=None, written=None, seen=None))
    fetch = plan(here)
    assert isinstance(fetch, Fetch)
    assert fetch.source == TaskResult(RESULT, TASK, How.GENERATED, SONG)
    found = learn(here, fetch, Stored(RESULT, 2560, 1440, "aa" * 32))
    write = plan(case(track(), found))
    assert write == Write(RESULT, "2560x1440", How.GENERATED, key=RESULT)
    after = after_write(case(track(), found), write)
    assert plan(case(shown(), after)) == Wait(after.sighting.at + 23 * HOUR if after.sighting else None)


def test_it_stands_as_expiring_and_is_measured_every_day_and_when_it_is_said_to_end() -> None:
    here = case(shown(updated_at=NOW - DAY + MINUTE), bought())
    assert here.look == Dying(here.look.source, NOW + MINUTE, here.look.good)  # type: ignore[union-attr]
    where = classify(here, READY)
    assert (where.state, where.expires_at, where.due_at) == (State.EXPIRING, NOW + MINUTE, NOW + MINUTE)
    ended = case(shown(updated_at=NOW - DAY - HOUR), bought(sighting=seen(RESULT, 2560, 1440, first_at=NOW - DAY)))
    assert plan(ended) == Wait(NOW - HOUR + DAY), "it did not end when it was said to"
    later = case(
        shown(updated_at=LONG_AGO), bought(sighting=seen(RESULT, 2560, 1440, at=NOW - DAY + MINUTE, first_at=LONG_AGO))
    )
    assert plan(later) == Wait(NOW + MINUTE)
    due = case(shown(updated_at=LONG_AGO), bought(sighting=seen(RESULT, 2560, 1440, at=NOW - DAY, first_at=LONG_AGO)))
    assert isinstance(plan(due), Measure)


def test_a_wrong_resolution_is_set_right_and_a_larger_picture_left() -> None:
    here = case(shown(resolution="2048x1152", updated_at=LONG_AGO), bought())
    assert plan(here) == Write(None, "2560x1440", None)
    inline = case(track(INLINE, resolution="2048x1152"), memory(sighting=seen(INLINE), seen=INLINE))
    assert plan(inline) == Wait(NOW - HOUR + DAY)


def test_faults_are_waited_out_for_a_week() -> None:
    old = seen(RESULT, 2560, 1440, at=NOW - 2 * DAY, first_at=LONG_AGO)
    for since, expected in ((DAY, State.EXPIRING), (7 * DAY, State.FAILED)):
        ill = {RESULT: Ailment(faults=9, first_fault=NOW - since, retry_at=NOW + HOUR, reason=Reason.DOWNLOAD_FAILED)}
        known = bought(sighting=old, ailments=ill)
        assert classify(case(shown(updated_at=LONG_AGO), known), READY).state is expected


def test_when_it_died_the_next_is_bought() -> None:
    old = bought(sighting=seen(RESULT, 2560, 1440, at=NOW - 2 * DAY, first_at=LONG_AGO))
    here = case(shown(updated_at=LONG_AGO), old)
    measure = plan(here)
    assert isinstance(measure, Measure)
    dead = learn(here, measure, Refused("404"))
    assert isinstance(plan(case(shown(updated_at=LONG_AGO), dead)), Buy)
    cleared = track(updated_at=LONG_AGO)
    assert isinstance(plan(case(cleared, dead)), Buy), "what a row told to be dead is not put back"


def test_a_row_that_lost_it_gets_it_back_if_it_still_lives() -> None:
    stale = replace(LEFT, checked_at=NOW - HOUR, was_written=True)
    here = case(track(updated_at=LONG_AGO), bought(kept=(stale,)))
    look = plan(here)
    assert look == Fetch(StoredKey(RESULT, SONG))
    again = learn(here, look, Stored(RESULT, 2560, 1440, "aa" * 32))
    assert plan(case(here.track, again)) == Write(RESULT, "2560x1440", How.RESTORED, key=RESULT, restore=True)


def test_one_that_died_past_its_known_life_is_not_waited_for() -> None:
    stale = replace(LEFT, checked_at=NOW - HOUR, at=NOW - 15 * DAY)
    here = case(track(updated_at=LONG_AGO), bought(kept=(stale,)))
    refused = learn(here, Fetch(StoredKey(RESULT, SONG)), Refused("404"))
    ailment = refused.ailing(RESULT)
    assert (ailment.dead, ailment.reason) == (True, Reason.DOWNLOAD_FAILED)
    assert isinstance(plan(case(here.track, refused)), Buy)
    young = case(here.track, bought(kept=(replace(stale, at=NOW - DAY),)))
    for living in (young, case(here.track, bought(kept=()))):
        assert not learn(living, Fetch(StoredKey(RESULT, SONG)), Refused("404")).ailing(RESULT).dead


def test_one_that_is_damaged_is_given_up() -> None:
    stale = replace(LEFT, checked_at=NOW - HOUR)
    here = case(track(updated_at=LONG_AGO), bought(kept=(stale,)))
    flawed = learn(here, Fetch(StoredKey(RESULT, SONG)), Flawed(Flaw.TOO_SMALL, ""))
    assert isinstance(plan(case(here.track, flawed)), Buy)
    faulty = learn(here, Fetch(StoredKey(RESULT, SONG)), Fault(Reason.DOWNLOAD_FAILED, "time-out"))
    assert isinstance(plan(case(here.track, faulty)), Wait)


# -- changing one's mind -------------------------------------------------------------------------------------------


def test_with_a_store_again_the_rows_picture_is_taken_into_it_while_it_lives() -> None:
    """The URL that was left is no key of the store, and nothing is bought for that."""
    here = case(shown(updated_at=NOW - HOUR), bought(), POLICY)
    action = plan(here)
    assert isinstance(action, Fetch)
    assert action.source.name == RESULT
    assert plan(case(track(), bought(seen=None), POLICY)) == Fetch(TaskResult(RESULT, TASK, How.GENERATED, SONG))


def test_what_lies_in_a_store_that_is_no_more_used_is_neither_read_nor_written() -> None:
    stored: Kept = kept(origin=OTHER_RESULT, was_written=True)
    here = case(track(), memory(kept=(stored,)))
    assert isinstance(plan(here), Buy)
    ours = case(track(DURABLE), memory(kept=(stored,), written=Written(DURABLE, KEY, NOW, NOW), sighting=seen(DURABLE)))
    assert isinstance(ours.look, Good)
    assert ours.look.source.name == DURABLE
    assert NONE.key_of(OURS) is None


def test_a_measurement_keeps_it_as_it_is() -> None:
    old = bought(sighting=seen(RESULT, 2560, 1440, at=NOW - 2 * DAY, first_at=LONG_AGO))
    here = case(shown(updated_at=LONG_AGO), old)
    measure = plan(here)
    assert isinstance(measure, Measure)
    again = learn(here, measure, Sized(2560, 1440))
    assert plan(case(here.track, again)) == Wait(NOW + DAY)
