"""Until when a track stands where it does: no moment at which time alone changes its place is overlooked."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from reconciler.domain.backoff import GIVE_UP_AFTER, delay, spin_of
from reconciler.domain.case import Case
from reconciler.domain.gate import GateView
from reconciler.domain.horizon import stands_until
from reconciler.domain.look import SECOND_LOOK
from reconciler.domain.model import Memory, Song, Track
from reconciler.domain.plan import plan
from reconciler.domain.policy import Policy
from reconciler.domain.standing import classify
from reconciler.domain.states import Reason, State
from tests.domain.builders import (
    DAY,
    DURABLE,
    HOUR,
    LONG_AGO,
    MINUTE,
    NOW,
    OURS,
    POLICY,
    SECOND,
    SONG,
    TASK,
    accepted,
    case,
    faulty,
    kept,
    lost,
    memory,
    nothing,
    purchase,
    seen,
    task,
    tasks,
    track,
)
from tests.domain.strategies import gates, known
from tests.domain.test_standing import GATE

INSTANT = timedelta(microseconds=1)
FAR = NOW + 400 * DAY


def until(one: Case) -> datetime | None:
    return stands_until(one, plan(one))


def place(one: Case, gate: GateView) -> tuple[State | None, Reason | None]:
    where = classify(one, gate)
    return where.state, where.reason


# -- whatever is known --------------------------------------------------------------------------------------------


def dates(value: object) -> Iterator[datetime]:
    """Every time that is said anywhere in it."""
    match value:
        case datetime():
            yield value
        case dict():
            for one in value.values():
                yield from dates(one)
        case tuple():
            for one in value:
                yield from dates(one)
        case _ if is_dataclass(value):
            for field in fields(value):
                yield from dates(getattr(value, field.name))
        case _:
            return


def thresholds(track_: Track, memory_: Memory, policy: Policy) -> list[datetime]:
    """Times to come that some decision may compare with the clock: one that is known, and some length after it."""
    lengths = {value for field in fields(policy) if isinstance(value := getattr(policy, field.name), timedelta)}
    lengths |= {timedelta(0), GIVE_UP_AFTER, SECOND_LOOK, policy.step_deadline, policy.hold_unknown + 45 * SECOND}
    found = {at + length for at in (NOW, *dates((track_, memory_))) for length in lengths}
    return sorted(at for at in found if NOW < at < FAR)


def _within(first: datetime, last: datetime) -> st.SearchStrategy[datetime]:
    span = (last - first) // INSTANT
    return st.integers(0, span).map(lambda n: first + n * INSTANT)


@st.composite
def moments(draw: st.DrawFn, given_: tuple[Track, Memory, Policy], horizon: datetime | None) -> datetime:
    """After NOW and before the horizon: its last instant, about a threshold, or anywhere."""
    last = FAR if horizon is None else horizon - INSTANT
    about = (at + n * INSTANT for at in thresholds(*given_) for n in (-1, 0, 1))
    inside = [last, *(at for at in about if NOW < at <= last)]
    anywhere = st.one_of(st.just(last), st.sampled_from(inside), _within(NOW + INSTANT, last))
    then: datetime = draw(anywhere)
    return then


@pytest.mark.slow
@settings(max_examples=100)
@given(known(), gates, st.data())
def test_nothing_but_time_passes_and_the_track_stands_where_it_does(
    given_: tuple[Track, Memory, Policy], gate: GateView, data: st.DataObject
) -> None:
    now = Case(*given_, NOW)
    horizon = until(now)
    event("for ever" if horizon is None else "for a while")
    assert horizon is None or horizon > NOW
    if horizon is None or horizon > NOW + INSTANT:
        then = data.draw(moments(given_, horizon))
        assert place(Case(*given_, then), gate) == place(now, gate), f"from {NOW} to {then}: {horizon}"


# -- each moment ---------------------------------------------------------------------------------------------------

ASKED = task(created_at=LONG_AGO, first_fault=NOW - DAY, faults=3, next_poll=NOW + MINUTE)
SUNG = Song(SONG, next_ask=NOW + 3 * DAY, faults=1, first_fault=NOW - 6 * DAY)
READ = kept(checked_at=NOW - HOUR, was_written=True)
NEVER = tuple(nothing(f"p{at}", Reason.PROVIDER_FAILED, NOW - at * HOUR) for at in (7 * 24 - 1, 2))
FAILED = nothing("p1", Reason.PROVIDER_FAILED, NOW)
PAUSE = delay(1, POLICY.retry_min, POLICY.retry_max, spin_of("t1", 1))
PENDING: dict[str, Any] = {"status": "pending", "created_at": NOW - HOUR, "updated_at": LONG_AGO}
MOMENTS: dict[str, tuple[Case, datetime]] = {
    "grace ends": (case(track(updated_at=NOW)), NOW + POLICY.grace),
    "grace ends while a picture is measured": (case(track(DURABLE, updated_at=NOW)), NOW + POLICY.grace),
    "an unfinished row counts as left behind while its task is asked": (
        case(
            track(**PENDING),
            memory(first_seen=NOW - HOUR, tasks=tasks(task(next_poll=None)), purchases=(accepted(at=NOW - 8 * DAY),)),
            grace=timedelta(0),
            task_timeout=9 * DAY,
        ),
        NOW + 23 * HOUR,
    ),
    "an unfinished row counts as left behind": (
        case(track(**PENDING), memory(first_seen=NOW - HOUR), grace=timedelta(0)),
        NOW + 23 * HOUR,
    ),
    "a pause after a fault ends": (case(track(DURABLE), memory(ailments={DURABLE: faulty()})), NOW + MINUTE),
    "seven days of faults": (
        case(track(DURABLE), memory(ailments={DURABLE: faulty(6 * DAY, wait=3 * DAY)})),
        NOW + DAY,
    ),
    "a week after a row was fought over": (
        case(track(), memory(kept=(READ,), conflicts=6, ailments={"write": faulty(wait=-6 * DAY)})),
        NOW + DAY,
    ),
    "a task is overdue": (
        case(
            track(),
            memory(
                tasks=tasks(task(created_at=NOW - 5 * HOUR, next_poll=NOW + 2 * HOUR)),
                purchases=(accepted(at=NOW - 5 * HOUR),),
            ),
        ),
        NOW + HOUR,
    ),
    "seven days without a word of a task": (
        case(track(TASK), memory(tasks=tasks(replace(ASKED, first_fault=NOW - 6 * DAY, next_poll=NOW + 3 * DAY)))),
        NOW + DAY,
    ),
    "the music is asked for": (
        case(track(), memory(song=replace(SUNG, next_ask=NOW + HOUR, first_fault=NOW - HOUR))),
        NOW + HOUR,
    ),
    "seven days without a word of the music": (case(track(), memory(song=SUNG)), NOW + DAY),
    "a pause after a failed order ends": (case(track(), memory(purchases=(FAILED,))), NOW + PAUSE),
    "an answer is lost a moment from now": (
        case(track(), memory(purchases=(purchase(at=NOW - 45 * SECOND),))),
        NOW + INSTANT,
    ),
    "an answer is lost": (case(track(), memory(purchases=(purchase(at=NOW),))), NOW + 45 * SECOND),
    "a lost order may be repeated": (case(track(), memory(purchases=(lost(at=NOW - HOUR),))), NOW + 45 * SECOND),
    "seven days in which nothing was made": (
        case(track(), memory(purchases=NEVER), retry_min=DAY, retry_max=9 * DAY),
        NOW + HOUR,
    ),
    "one of three restores is a week old": (
        case(track(), memory(kept=(READ,), restores=(NOW - 6 * DAY, NOW - 5 * DAY, NOW - 4 * DAY))),
        NOW + DAY,
    ),
    "one restore less makes the pause shorter": (
        case(
            track(), memory(kept=(READ,), restores=(NOW - 7 * DAY + HOUR, NOW)), retry_min=2 * HOUR, retry_max=9 * DAY
        ),
        NOW + HOUR,
    ),
    "a restore may be made again, and a task is asked until then": (
        case(
            track(),
            memory(
                kept=(READ,),
                restores=(NOW,),
                tasks=tasks(task(next_poll=None)),
                purchases=(accepted(at=NOW - 2 * HOUR),),
            ),
        ),
        NOW + PAUSE,
    ),
    "a copy is compared anew": (case(track(), memory(kept=(kept(was_written=True),))), NOW + POLICY.step_deadline),
}


@pytest.mark.parametrize(("one", "moment"), MOMENTS.values(), ids=MOMENTS)
def test_each_moment_is_foreseen(one: Case, moment: datetime) -> None:
    horizon = until(one)
    assert horizon in (moment, moment + INSTANT)
    assert place(replace(one, now=horizon - INSTANT), GATE) == place(one, GATE)


@pytest.mark.parametrize("url", [DURABLE, OURS])
def test_a_good_picture_stands_until_it_is_measured_again(url: str) -> None:
    good = case(track(url, resolution="2048x1152"), memory(needy_since=None, sighting=seen(url)))
    assert until(good) == NOW - HOUR + POLICY.reverify_after


def test_where_nothing_comes_by_itself_there_is_no_end() -> None:
    assert until(case(track(flaw="id"), memory(first_seen=LONG_AGO))) is None
    assert until(case(track(), memory(first_seen=LONG_AGO, host_suspect=True))) is None
