"""The workers: jobs go in as values, findings come out as values. The work in front of them is bounded by the sweep."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Protocol

from reconciler.domain.findings import Credits, Finding, Trouble

Answer = Finding | Credits | Trouble


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

    def wake(self) -> None: ...

    def close(self) -> None: ...


class Threads:
    """A pool of threads. `wake` is safe in a signal handler."""

    def __init__(self, size: int = 12) -> None:
        self.size = size
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="worker")
        self._done: SimpleQueue[Done | None] = SimpleQueue()

    def submit(self, tag: str, job: Callable[[], Answer]) -> None:
        self._pool.submit(lambda: self._done.put(done(tag, job)))

    def finished(self, wait: timedelta) -> Done | None:
        try:
            return self._done.get(timeout=max(wait.total_seconds(), 0.0))
        except Empty:
            return None

    def wake(self) -> None:
        self._done.put(None)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def done(tag: str, job: Callable[[], Answer]) -> Done:
    """Run the job; what it raises is a mistake of ours and costs its track a step, nobody else."""
    try:
        return Done(tag, job())
    except Exception as error:  # noqa: BLE001 - whatever it is, the sweep goes on and says so
        return Done(tag, error)
