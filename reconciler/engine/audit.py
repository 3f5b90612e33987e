"""How an audit is spread over its interval: a slice at a time, so that no host and no database feels it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

_LONGEST_TICK = timedelta(minutes=1)
_SHORTEST_TICK = timedelta(seconds=1)
_TICKS = 100


def tick_of(interval: timedelta) -> timedelta:
    """How often a slice is walked."""
    return max(_SHORTEST_TICK, min(_LONGEST_TICK, interval / _TICKS))


@dataclass(frozen=True, slots=True)
class Pass:
    """One walk over the table. `reached`: the last key that was walked; None before the first."""

    began: datetime
    reached: str | None


def pass_at(now: datetime, interval: timedelta, began: datetime | None, reached: str | None) -> Pass | None:
    """The walk that is to go on now; None: the last one is over, and the next one not due.

    `began` and `reached` are what was noted last: None where nothing ever began, and where the walk is over. One that
    is not over in its time is given as much again for what is left. So is one whose date is ahead, from before the
    clock was set back.
    """
    if began is None or not began <= now < began + interval:
        return Pass(now, reached)
    return Pass(began, reached) if reached is not None else None


def rows_due(left: int, time_left: timedelta, tick: timedelta) -> int:
    """How many of the `left` rows to walk in this tick, so that all are walked when the time is over. One at least."""
    ticks = max(1, time_left // tick)
    return max(1, ceil(left / ticks))
