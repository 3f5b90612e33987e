"""An audit is spread over its interval: every row is walked in time, and no slice is larger than it need be."""

from datetime import UTC, datetime, timedelta
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.audit import Pass, pass_at, rows_due, tick_of

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
BEGAN = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
INTERVALS = st.timedeltas(5 * SECOND, 8 * HOUR)
ROWS = st.integers(0, 20_000)


# -- slices ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "tick"),
    [(6 * HOUR, MINUTE), (30 * DAY, MINUTE), (HOUR, 36 * SECOND), (10 * SECOND, SECOND), (SECOND, SECOND)],
)
def test_slices_are_a_minute_apart_and_sooner_where_the_interval_is_short(interval: timedelta, tick: timedelta) -> None:
    assert tick_of(interval) == tick


@given(left=ROWS, interval=INTERVALS)
def test_all_rows_are_walked_in_time_in_slices_that_are_as_even_as_can_be(left: int, interval: timedelta) -> None:
    rows, tick = left, tick_of(interval)
    slices, now = [], timedelta(0)
    while left > 0:
        slices.append(min(rows_due(left, interval - now, tick), left))
        left -= slices[-1]
        now += tick
    assert now <= interval
    assert max(slices, default=0) <= ceil(rows / (interval // tick))
    assert max(slices, default=0) - min(slices[:-1], default=max(slices, default=0)) <= 1


@given(left=ROWS, interval=INTERVALS, skipped=st.data())
def test_after_a_time_in_which_nothing_was_walked_the_rest_is_spread_anew(
    left: int, interval: timedelta, skipped: st.DataObject
) -> None:
    tick = tick_of(interval)
    ticks = interval // tick
    now = skipped.draw(st.integers(0, ticks - 1)) * tick
    largest = ceil(left / ((interval - now) // tick))
    while left > 0:
        due = rows_due(left, interval - now, tick)
        assert due <= largest
        left -= due
        now += tick
    assert now <= interval


@given(time_left=st.timedeltas(-DAY, DAY), left=ROWS)
def test_a_slice_is_never_empty_so_that_an_audit_of_nothing_ends_too(time_left: timedelta, left: int) -> None:
    assert rows_due(left, time_left, MINUTE) >= 1


def test_what_is_left_when_the_time_is_over_is_one_slice() -> None:
    assert [rows_due(9, left, MINUTE) for left in (2 * MINUTE, MINUTE, SECOND, timedelta(0), -DAY)] == [5, 9, 9, 9, 9]


# -- from one walk to the next -----------------------------------------------------------------------------------------


def test_the_first_one_begins_at_once() -> None:
    assert pass_at(BEGAN, HOUR, None, None) == Pass(BEGAN, None)


def test_one_that_is_not_over_goes_on_where_it_was() -> None:
    assert pass_at(BEGAN + MINUTE, HOUR, BEGAN, "a") == Pass(BEGAN, "a")
    assert pass_at(BEGAN + HOUR - SECOND, HOUR, BEGAN, "a") == Pass(BEGAN, "a")


def test_one_that_is_over_is_begun_again_after_the_interval() -> None:
    assert pass_at(BEGAN, HOUR, BEGAN, None) is None
    assert pass_at(BEGAN + HOUR - SECOND, HOUR, BEGAN, None) is None
    assert pass_at(BEGAN + HOUR, HOUR, BEGAN, None) == Pass(BEGAN + HOUR, None)


def test_one_that_another_command_began_is_given_the_whole_interval_from_now_on() -> None:
    """`run --once` notes how far it came, and not when it began."""
    assert pass_at(BEGAN, HOUR, None, "a") == Pass(BEGAN, "a")


@pytest.mark.parametrize("reached", [None, "a"])
@pytest.mark.parametrize("later", [HOUR, 400 * DAY])
def test_one_that_is_not_over_in_time_does_not_end_in_a_burst(reached: str | None, later: timedelta) -> None:
    """The program may have been off for days."""
    assert pass_at(BEGAN + later, HOUR, BEGAN, reached) == Pass(BEGAN + later, reached)


@pytest.mark.parametrize("reached", [None, "a"])
@pytest.mark.parametrize("back", [SECOND, HOUR, 400 * DAY])
def test_a_clock_that_was_set_back_stops_nothing(reached: str | None, back: timedelta) -> None:
    assert pass_at(BEGAN - back, HOUR, BEGAN, reached) == Pass(BEGAN - back, reached)


@pytest.mark.slow
@given(
    interval=st.timedeltas(MINUTE, 10 * DAY),
    rows=st.integers(1, 2000),
    steps=st.lists(st.sampled_from((0, 0, 0, 1, 3)), max_size=30),
    back=st.booleans(),
)
def test_every_row_is_walked_within_the_interval_through_restarts_and_jumps(
    interval: timedelta, rows: int, steps: list[int], back: bool
) -> None:
    """What is noted between slices is all that a walk knows. `steps`: ticks that nobody was there for."""
    tick, now = tick_of(interval), BEGAN
    began: datetime | None = None
    reached: str | None = None
    walked, ticks = 0, 0
    pauses = iter(steps)
    while walked < rows:
        if back and ticks == 3:
            now -= 30 * DAY
        walk = pass_at(now, interval, began, reached)
        assert walk is not None
        walked += rows_due(rows - walked, walk.began + interval - now, tick)
        began, reached = walk.began, str(walked) if walked < rows else None
        away = next(pauses, 0)
        now += tick * (1 + away)
        ticks += 1 + away
    assert ticks * tick <= interval * (2 if back else 1) + tick * (1 + sum(steps))
    assert pass_at(now, interval, began, reached) is None or now - (began or now) >= interval
