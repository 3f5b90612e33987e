"""The time that leases and purchases go by: the database server's where there is one, whatever this machine's says."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from reconciler.ports import Clock

_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the process is stopped or the machine asleep, and is set by nobody."""


def utc_now() -> datetime:
    return datetime.now(UTC)


def steady() -> timedelta:
    return timedelta(seconds=time.clock_gettime(_STEADY))


class ServerClock:
    """What the server was heard to say, carried on by a clock that nobody sets. One for all threads of a process.

    What the server's clock showed when the steady one began lies within bounds that each answer narrows; where they
    contradict each other the server's was set, and the newest counts. The latest that it may be is taken: a purchase is
    rather not sent than sent late. Until something was heard it is this machine's clock.
    """

    def __init__(self, here: Clock = utc_now, steady: Callable[[], timedelta] = steady) -> None:
        self._here, self._steady = here, steady
        self._began: tuple[datetime, datetime] | None = None

    def __call__(self) -> datetime:
        return self._began[1] + self._steady() if self._began else self._here()

    def heard(self, server: datetime, took: timedelta) -> None:
        """The server's time, which came just now, so long after it was asked for."""
        came = self._steady()
        least, most = server - came, server - (came - took)
        bounds = self._began or (least, most)
        narrowed = max(bounds[0], least), min(bounds[1], most)
        self._began = narrowed if narrowed[0] <= narrowed[1] else (least, most)

    def here(self, at: datetime) -> datetime:
        """When that is by this machine's clock."""
        return at - (self() - self._here())
