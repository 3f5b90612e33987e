"""Signals: the first asks for an orderly end, the second ends at once (exit code 128 + its number: 130, 143).

SIGHUP asks too, unless it was ignored at the start, as by nohup. It never ends at once: of one lost terminal both the
kernel and the shell send it.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """What is given to `on_stop`, in any thread, is called once, in the signal handler, or at once where the signal
    came before."""

    def __init__(self) -> None:
        self.asked = False
        self._stops: tuple[Callable[[], None], ...] = ()

    def on_stop(self, *stops: Callable[[], None]) -> None:
        self._stops = stops
        if self.asked:
            self._run()

    def handle(self, number: int, _frame: FrameType | None) -> None:
        if not self.asked:
            self.asked = True
            self._run()
        elif number != signal.SIGHUP:
            os._exit(128 + number)

    def _run(self) -> None:
        stops, self._stops = self._stops, ()
        for stop in stops:
            stop()


@contextmanager
def stopping() -> Iterator[Stopping]:
    found = Stopping()
    with _hearing(found.handle):
        yield found


@contextmanager
def unwinding() -> Iterator[None]:
    """Any signal ends what is under way as an error does: it leaves nothing behind that it would take away. One that
    comes in the instant before a call of the system begins is heard once that is over."""

    def handle(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    with _hearing(handle):
        yield


@contextmanager
def _hearing(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    heard = SIGNALS if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (*SIGNALS, signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(code: int) -> None:
    """End the process, without waiting for a worker that still hangs in a call.

    A pool's threads are waited for by the interpreter even where they are daemons, as those of a daemon's thread are.
    """
    heard = [_flushed(stream) for stream in (sys.stdout, sys.stderr) if stream is not None]
    if not all(heard) or any(thread is not threading.main_thread() for thread in threading.enumerate()):
        os._exit(code)
    sys.exit(code)


def _flushed(stream: TextIO) -> bool:
    """False: the interpreter would try it again, and complain."""
    try:
        stream.flush()
    except OSError:
        return False
    return True
