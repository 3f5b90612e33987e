"""The workers: jobs go in as values, findings come out as values. The work in front of them is bounded by the sweep."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Protocol

from reconciler.domain.findings import Credits, Finding

WORKERS = 12
LOOK_UP_S = 1.0
"""A signal that comes in the instant before a wait begins does not end it, and is seen to only after it."""

Answer = Finding | Credits


@dataclass(frozen=True, slots=True)
class Done:
    """`tag` names the job; `answer` is what it came back with, or the exception that a worker must never raise."""

    tag: str
    answer: Answer | Exception


class Crew(Protocol):
    size: int

    def submit(self, tag: str, job: Callable[[], Answer]) -> None: ...

    def finished(self, wait: timedelta) -> Done | None:
        """The next finished job; None when `wait` passed or `wake` was called."""
        ...

    def others(self) -> list[Done]:
        """Whatever else is finished by now."""
        ...

    def wake(self) -> None: ...

    def close(self) -> None: ...


class Threads:
    """A pool of threads. `wake` is safe in a signal handler. `watch` is around each job, and gets its tag."""

    def __init__(self, size: int = WORKERS, watch: Callable[[str], AbstractContextManager[None]] | None = None) -> None:
        self.size, self._watch = size, watch or (lambda _: nullcontext())
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="worker")
        self._done: SimpleQueue[Done | None] = SimpleQueue()
        self._out = 0

    def submit(self, tag: str, job: Callable[[], Answer]) -> None:
        self._out += 1
        self._pool.submit(self._work, tag, job)

    def finished(self, wait: timedelta) -> Done | None:
        ends = monotonic() + wait.total_seconds()
        while (left := ends - monotonic()) > LOOK_UP_S:
            with suppress(Empty):
                return self._came(LOOK_UP_S)
        with suppress(Empty):
            return self._came(max(left, 0.0))
        return None

    def _came(self, within_s: float) -> Done | None:
        found = self._done.get(timeout=within_s)
        self._out -= found is not None
        return found

    def others(self) -> list[Done]:
        found: list[Done] = []
        with suppress(Empty):
            while len(found) < self.size and (done := self._done.get_nowait()) is not None:
                found.append(done)
        self._out -= len(found)
        return found

    def wake(self) -> None:
        self._done.put(None)

    def close(self) -> None:
        """Whoever still hangs in a call is not waited for."""
        self._pool.shutdown(wait=self._out == 0, cancel_futures=True)

    def _work(self, tag: str, job: Callable[[], Answer]) -> None:
        try:
            with self._watch(tag):
                finished = done(tag, job)
            self._done.put(finished)
        except BaseException as error:  # noqa: BLE001 - a panic of native code is no Exception, and must be answered too
            self._done.put(Done(tag, RuntimeError(f"{type(error).__name__}: {error}")))


def done(tag: str, job: Callable[[], Answer]) -> Done:
    """Run the job; what it raises is a mistake of ours and costs its track a step, nobody else."""
    try:
        return Done(tag, job())
    except Exception as error:  # noqa: BLE001 - whatever it is, the sweep goes on and says so
        return Done(tag, error)
