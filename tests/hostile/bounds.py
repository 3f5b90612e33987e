"""How much a piece of work may take of the machine: going beyond is an error, not a measurement."""

import math
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


@contextmanager
def memory(size: int) -> Iterator[None]:
    """`size` bytes beyond what the process holds now; to ask for more raises MemoryError there."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def processor_time(seconds: float) -> Iterator[None]:
    """Of the whole process, however long it waits for its turn. Only in the main thread."""

    def over(signum: int, frame: FrameType | None) -> None:
        raise AssertionError(f"took over {seconds} seconds of the processor")

    before = signal.signal(signal.SIGPROF, over)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def processor_time_or_death(seconds: float) -> Iterator[None]:
    """As `processor_time`, of code that no exception can leave: the process is killed."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    before = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(usage.ru_utime + usage.ru_stime + seconds), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, before)
