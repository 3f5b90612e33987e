"""What hangs: work that does not end, and work that does not begin."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock


@dataclass(frozen=True, slots=True)
class _Begun:
    """`at`: monotonic seconds."""

    what: str
    at: float
    allowed_s: float


class Vitals:
    """Safe to share between threads. Judges by monotonic time, so that jumps of the wall clock mean nothing."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = Lock()
        self._begun: dict[object, _Begun] = {}
        self._promised: dict[str, float] = {}

    @contextmanager
    def within(self, what: str, allowed: timedelta) -> Iterator[None]:
        """Something is under way that must end within `allowed`. Several may bear the same name."""
        token = object()
        with self._lock:
            self._begun[token] = _Begun(what, self._monotonic(), allowed.total_seconds())
        try:
            yield
        finally:
            with self._lock:
                del self._begun[token]

    def expect(self, what: str, again_within: timedelta) -> None:
        """`what` will begin again within that time, and then say so by another `expect`."""
        with self._lock:
            self._promised[what] = self._monotonic() + again_within.total_seconds()

    def release(self, what: str) -> None:
        """`what` is not promised any more."""
        with self._lock:
            self._promised.pop(what, None)

    def complaints(self) -> tuple[str, ...]:
        """One line for each thing that is past its time, in the order they were begun and promised."""
        with self._lock:
            now = self._monotonic()
            begun, promised = tuple(self._begun.values()), tuple(self._promised.items())
        hanging = (
            f"{it.what} is under way for {_seconds(now - it.at)}, allowed are {_seconds(it.allowed_s)}"
            for it in begun
            if now - it.at > it.allowed_s
        )
        overdue = (f"{what} was to begin {_seconds(now - due)} ago" for what, due in promised if now > due)
        return (*hanging, *overdue)


def _seconds(number: float) -> str:
    """Rounded up, so that what is past its time never reads as if it were just in time."""
    return f"{math.ceil(number)}s"
