"""The time that leases and purchases go by: the database server's where there is one, however wrong this machine's."""

from datetime import datetime, timedelta

from reconciler.app.inside import utc_now
from reconciler.ports import Clock

_Bounds = tuple[timedelta, timedelta]


class ServerClock:
    """This machine's clock, set right by what the server was heard to say. One for all threads of a process.

    How far the server is ahead lies within bounds that each answer narrows; where they contradict each other a clock
    was set, and the newest counts. The latest that it may be is taken: a purchase is rather not sent than sent late.
    """

    def __init__(self, here: Clock = utc_now) -> None:
        self._here = here
        self._bounds: _Bounds | None = None

    def __call__(self) -> datetime:
        return self._here() + self._ahead

    def heard(self, server: datetime, asked: datetime, came: datetime) -> None:
        """The server's time, which was asked for and came at these times of this machine."""
        least, most = server - came, server - asked
        bounds = self._bounds or (least, most)
        narrowed = max(bounds[0], least), min(bounds[1], most)
        self._bounds = narrowed if narrowed[0] <= narrowed[1] else (least, most)

    def here(self, at: datetime) -> datetime:
        """When that is by this machine's clock."""
        return at - self._ahead

    @property
    def _ahead(self) -> timedelta:
        return self._bounds[1] if self._bounds else timedelta(0)
