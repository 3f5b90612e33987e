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
    """One walk over the table. `began` None: none was ever begun. `reached` None: it is over, or not begun."""

    began: datetime | None
    reached: str | None

    def at(self, now: datetime, interval: timedelta) -> "Pass | None":
        """As it goes on now; None: it is over, and the next one is not due.

        One that is not over in its time is given as much again for what is left. So is one whose date is ahead, from
        before the clock was set back.
        """
        if self.began is None or not self.began <= now < self.began + interval:
            return Pass(now, self.reached)
        return self if self.reached is not None else None


def rows_due(left: int, time_left: timedelta, tick: timedelta) -> int:
    """How many of the `left` rows to walk in this tick, so that all are walked when the time is over. One at least."""
    ticks = max(1, time_left // tick)
    return max(1, ceil(left / ticks))
