"""One worker that works at once, on a clock that moves only by waiting: weeks pass in milliseconds."""

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from reconciler.engine.crew import Answer, Done, done

BEGINS = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class VirtualClock:
    """A clock that stands still until it is moved. `true` is the time on everybody else's."""

    def __init__(self) -> None:
        self.time = BEGINS
        self._ahead = timedelta(0)

    def __call__(self) -> datetime:
        return self.time

    def true(self) -> datetime:
        return self.time - self._ahead

    def steady(self) -> timedelta:
        return self.true() - BEGINS

    def advance(self, length: timedelta) -> None:
        self.time += length

    def jump(self, length: timedelta) -> None:
        """It is set forward, or back where `length` is negative; nothing took that long."""
        self.time += length
        self._ahead += length


class World(Protocol):
    """What happens while a crew waits."""

    def next_at(self) -> datetime | None:
        """When something happens next, by the true time; None: nothing is known to."""
        ...

    def happen(self) -> None:
        """What has come due happens now."""
        ...


class Quiet:
    def next_at(self) -> datetime | None:
        return None

    def happen(self) -> None:
        pass


class InlineCrew:
    """A crew of one, without threads; waiting moves the clock, and no further than to what happens meanwhile."""

    def __init__(self, clock: VirtualClock, size: int = 8) -> None:
        self.size = size
        self.world: World = Quiet()
        self._clock = clock
        self._done: deque[Done] = deque()

    def submit(self, tag: str, job: Callable[[], Answer]) -> None:
        self._done.append(done(tag, job))

    def finished(self, wait: timedelta) -> Done | None:
        if self._done:
            return self._done.popleft()
        at = self.world.next_at()
        soonest = wait if at is None else min(wait, at - self._clock.true())
        self._clock.advance(max(soonest, timedelta(milliseconds=1)))
        self.world.happen()
        return None

    def others(self) -> list[Done]:
        found = list(self._done)
        self._done.clear()
        return found

    def wake(self) -> None:
        pass

    def close(self) -> None:
        self._done.clear()
