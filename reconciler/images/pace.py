"""No host is asked more often than it should mind."""

import time
from collections.abc import Callable
from threading import Lock

FORGET_AFTER = 1000
"""Hosts; their turns of long ago need not be known."""


class HostPace:
    """Returns when the host may be asked, `per_second` times a second at most. For several threads."""

    def __init__(
        self,
        per_second: float,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._gap, self._monotonic, self._sleep = 1 / per_second, monotonic, sleep
        self._next: dict[str, float] = {}
        self._lock = Lock()

    def __call__(self, host: str) -> None:
        wait = self._turn(host)
        if wait > 0:
            self._sleep(wait)

    def _turn(self, host: str) -> float:
        """Seconds until this caller's turn, which is taken by asking."""
        with self._lock:
            now = self._monotonic()
            if len(self._next) > FORGET_AFTER:
                self._next = {name: at for name, at in self._next.items() if at > now}
            turn = max(now, self._next.get(host, now))
            self._next[host] = turn + self._gap
            return turn - now
