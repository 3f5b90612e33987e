"""The workers: whatever a job does, it is answered."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from queue import Empty

import pytest

from reconciler.domain.findings import Credits, Listing
from reconciler.engine import crew as module
from reconciler.engine.crew import Answer, Done, Threads

LONG, NOT_AT_ALL = timedelta(seconds=20), timedelta(0)


@pytest.fixture
def crew() -> Iterator[Threads]:
    threads = Threads(2)
    yield threads
    threads.close()


def raising(error: BaseException) -> Callable[[], Answer]:
    def job() -> Answer:
        raise error

    return job


def test_an_answer_comes_back_under_its_tag(crew: Threads) -> None:
    crew.submit("t", lambda: Listing(("key",)))
    assert crew.finished(LONG) == Done("t", Listing(("key",)))


@pytest.mark.parametrize("error", [ValueError("bad"), MemoryError(), RecursionError("deep")])
def test_what_a_job_raises_is_its_answer(crew: Threads, error: Exception) -> None:
    crew.submit("t", raising(error))
    assert crew.finished(LONG) == Done("t", error)


class Panic(BaseException):
    """As native code raises it: no Exception."""


@pytest.mark.parametrize("error", [Panic("native"), SystemExit(3), KeyboardInterrupt()])
def test_even_what_is_no_exception_is_answered(crew: Threads, error: BaseException) -> None:
    crew.submit("t", raising(error))
    done = crew.finished(LONG)
    assert done is not None
    assert isinstance(done.answer, RuntimeError)
    assert type(error).__name__ in str(done.answer)
    crew.submit("u", lambda: Credits(1))
    assert crew.finished(LONG) == Done("u", Credits(1))


def test_waiting_ends_with_the_time_and_with_a_call(crew: Threads) -> None:
    assert crew.finished(NOT_AT_ALL) is None
    assert crew.finished(-LONG) is None
    crew.wake()
    assert crew.finished(LONG) is None


def test_jobs_beyond_the_size_wait_for_a_worker(crew: Threads) -> None:
    go = threading.Event()

    def wait() -> Answer:
        go.wait(20)
        return Credits(0)

    for tag in "abc":
        crew.submit(tag, wait)
    assert crew.finished(NOT_AT_ALL) is None
    go.set()
    tags = {done.tag for _ in "abc" if (done := crew.finished(LONG)) is not None}
    assert tags == set("abc")


def test_closing_waits_for_nobody_who_hangs() -> None:
    crew, go, began = Threads(1), threading.Event(), threading.Event()

    def hang() -> Answer:
        began.set()
        go.wait(20)
        return Credits(0)

    crew.submit("t", hang)
    assert began.wait(20)
    crew.close()
    assert not go.is_set()
    go.set()
    assert crew.finished(LONG) == Done("t", Credits(0))


def test_closing_leaves_no_thread_that_has_nothing_to_do() -> None:
    crew = Threads(3)
    crew.submit("t", lambda: Credits(0))
    assert crew.finished(LONG) is not None
    crew.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("worker")]


def test_a_long_wait_is_made_of_short_ones_so_that_no_signal_waits_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    class Never:
        def get(self, timeout: float) -> None:
            waited.append(timeout)
            raise Empty

    crew, steps = Threads(1), count()
    monkeypatch.setattr(module, "monotonic", lambda: 0.4 * next(steps))
    monkeypatch.setattr(crew, "_done", Never())
    assert crew.finished(timedelta(seconds=2.5)) is None
    assert waited[:-1] == [1.0] * 3
    assert waited[-1] <= 1.0
    crew.close()
