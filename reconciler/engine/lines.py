"""Who waits for the gate to open, line by line. The database is asked rarely: mostly nobody does, or somebody still."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from reconciler.ports import Clock, Finder

FRESH_FOR = timedelta(seconds=1)
"""Other processes may put somebody in line, or take the last one out."""

Only = Sequence[str] | None


class Lines:
    """A line is named by the shape, or the part of the gate, that is waited for; `lines` are all that are asked about.
    `only`: which tracks may be worked."""

    def __init__(self, finder: Finder, clock: Clock, only: Callable[[], Only], lines: Sequence[str]) -> None:
        self._finder, self._clock, self._only, self._lines = finder, clock, only, lines
        self._known: dict[tuple[str, Only], tuple[bool, datetime]] = {}
        self.is_used = False
        """Somebody asked about the lines before, or was put in one."""

    def next_due(self) -> datetime | None:
        """When somebody will be due. Who waits in which of the lines is learned with it."""
        only, self.is_used = self._only(), True
        ahead, now = self._finder.ahead(self._lines, only), self._clock()
        self._known |= {(line, only): (line in ahead.waiting, now) for line in self._lines}
        return ahead.due_at

    def waits(self, line: str) -> bool:
        """Whether anybody waits there."""
        known = self._fresh(line)
        return known if known is not None else bool(self._ask(line, 1))

    def take(self, line: str, limit: int) -> Sequence[str]:
        """Those who have waited longest, to be leased now."""
        return self._ask(line, limit + 1, taken=limit)[:limit]

    def is_empty(self, line: str) -> bool:
        """Surely nobody waits there."""
        return self._fresh(line) is False

    def entered(self, line: str) -> None:
        self.is_used = True
        self._known = {key: value for key, value in self._known.items() if key[0] != line}

    def forget(self) -> None:
        """What others did meanwhile is to be known."""
        self._known.clear()

    def _ask(self, line: str, limit: int, taken: int = 0) -> Sequence[str]:
        key, self.is_used = (line, self._only()), True
        found = self._finder.held_back(line, limit, key[1])
        if 0 < len(found) <= taken:
            self._known.pop(key, None)  # they may be back in line at once, or be had by somebody else
        else:
            self._known[key] = bool(found), self._clock()
        return found

    def _fresh(self, line: str) -> bool | None:
        waits, at = self._known.get((line, self._only()), (None, None))
        return waits if at is not None and timedelta(0) <= self._clock() - at < FRESH_FOR else None
