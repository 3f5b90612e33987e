"""psycopg with patience that ends: a network may swallow what is sent, and then nobody else ends the wait. An extra."""

from collections.abc import Generator
from time import monotonic
from typing import Any, TypeVar

import psycopg

T = TypeVar("T")


class Silence(psycopg.OperationalError, TimeoutError):
    """Nothing came. What was asked may have been done."""


class Patient(psycopg.Connection[tuple[Any, ...]]):
    silence_s = 10.0
    """Longer than this the server is not waited for: the connection is closed, whatever is still in the network."""

    def wait(self, gen: Generator[Any, Any, T], *arguments: Any, **options: Any) -> T:
        return super().wait(self._limited(gen), *arguments, **options)

    def _limited(self, waiting: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        """`waiting` goes on when its socket is ready, and is asked every now and then when it is not."""
        heard = monotonic()
        try:
            wanted = next(waiting)
            while True:
                ready = yield wanted
                if ready:
                    heard = monotonic()
                elif monotonic() - heard > self.silence_s:
                    self.pgconn.finish()
                    raise Silence(f"no answer within {self.silence_s:g} s")
                wanted = waiting.send(ready)
        except StopIteration as ended:
            result: T = ended.value
            return result
