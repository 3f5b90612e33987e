"""Workers that take their time, on a clock that stands still while anybody works; several engines, one at a time.

The order of events rests on the times alone, so that whatever is found can be found again.
"""

import heapq
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from threading import Condition, Thread

from reconciler.engine.crew import Answer, Done, done
from reconciler.testing.inline import VirtualClock

AT_LEAST = timedelta(milliseconds=1)
"""Waiting moves the clock at least so far: an engine that spins shows in `DelayedCrew.turns`."""


class Stage:
    """The clock of all engines on it: it moves to the earliest time that any of them waits for."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self._times: dict[int, datetime] = {}
        self._turn: int | None = None
        self._changed = Condition()

    def wait(self, actor: int, until: datetime) -> None:
        """Let the others go first whose time comes before."""
        with self._changed:
            self._times[actor] = until
            self._pass_on()
            self._changed.wait_for(lambda: self._turn == actor)

    def play(self, *parts: Callable[[], object]) -> None:
        """Run each part in a thread of its own; parts built on crews of this stage take turns."""
        failed: list[BaseException] = []

        def act(actor: int, part: Callable[[], object]) -> None:
            try:
                with self._changed:
                    self._changed.wait_for(lambda: self._turn == actor)
                part()
            except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
                failed.append(error)
            finally:
                with self._changed:
                    del self._times[actor]
                    self._pass_on()

        threads = [Thread(target=act, args=each) for each in enumerate(parts)]
        self._times = {actor: self.clock() for actor, _ in enumerate(parts)}
        for thread in threads:
            thread.start()
        with self._changed:
            self._pass_on()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]

    def _pass_on(self) -> None:
        if self._times:
            self._turn = min(self._times, key=lambda actor: (self._times[actor], actor))
            self.clock.time = max(self.clock.time, self._times[self._turn])
            self._changed.notify_all()


Delay = Callable[[str], tuple[timedelta, timedelta]]
"""By the job's tag: how long until it is done, and how long its answer then takes to come back."""


class DelayedCrew:
    """A crew of `size`, without threads of its own."""

    def __init__(self, stage: Stage, delay: Delay, *, size: int = 8, actor: int = 0) -> None:
        self.size, self.turns, self.idle = size, 0, 0
        self._stage, self._delay, self._actor = stage, delay, actor
        self._numbers = count()
        self._jobs: list[tuple[datetime, int, str, Callable[[], Answer]]] = []
        self._answers: list[tuple[datetime, int, Done]] = []

    def submit(self, tag: str, job: Callable[[], Answer]) -> None:
        heapq.heappush(self._jobs, (self._stage.clock() + self._delay(tag)[0], next(self._numbers), tag, job))

    def finished(self, wait: timedelta) -> Done | None:
        """`turns` counts the calls, `idle` those that found nothing though they hardly waited."""
        self.turns += 1
        until = self._stage.clock() + max(wait, AT_LEAST)
        while True:
            times = [heap[0][0] for heap in (self._jobs, self._answers) if heap]
            self._stage.wait(self._actor, min([until, *times]))
            now = self._stage.clock()
            if self._answers and self._answers[0][0] <= now:
                return heapq.heappop(self._answers)[2]
            if self._jobs and self._jobs[0][0] <= now:
                _, number, tag, job = heapq.heappop(self._jobs)
                heapq.heappush(self._answers, (now + self._delay(tag)[1], number, done(tag, job)))
            elif now >= until:
                self.idle += wait <= AT_LEAST
                return None

    def others(self) -> list[Done]:
        found: list[Done] = []
        while self._answers and self._answers[0][0] <= self._stage.clock():
            found.append(heapq.heappop(self._answers)[2])
        return found

    def wake(self) -> None:
        pass

    def close(self) -> None:
        self._jobs.clear()
        self._answers.clear()
