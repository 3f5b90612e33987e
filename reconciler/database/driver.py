"""psycopg with patience that ends: a network may swallow what is sent, and then nobody else ends the wait. An extra."""

from collections.abc import Generator
from datetime import datetime
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader

T = TypeVar("T")

SILENCES = 6
"""An answer that comes in drips is waited for as long as so many silences."""


class Silence(psycopg.OperationalError, TimeoutError):
    """Nothing came. What was asked may have been done."""


class Patient(psycopg.Connection[tuple[Any, ...]]):
    silence_s = 10.0
    """Longer than this the server is not waited for: the connection is closed, whatever is still in the network."""

    def wait(self, gen: Generator[Any, Any, T], *arguments: Any, **options: Any) -> T:
        return super().wait(self._limited(gen), *arguments, **options)

    def _limited(self, waiting: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        """`waiting` goes on when its socket is ready, and is asked every now and then when it is not."""
        begun = heard = monotonic()
        try:
            wanted = next(waiting)
            while True:
                ready = yield wanted
                now = monotonic()
                heard = now if ready else heard
                if now - heard > self.silence_s:
                    raise self._left(f"no answer within {self.silence_s:g} s")
                if now - begun > SILENCES * self.silence_s:
                    raise self._left(f"no whole answer within {SILENCES * self.silence_s:g} s")
                wanted = waiting.send(ready)
        except StopIteration as ended:
            result: T = ended.value
            return result

    def _left(self, why: str) -> Silence:
        self.pgconn.finish()
        return Silence(why)


class Instants(Loader):
    """Times as their transaction had them written, which ended in the same message: the session has its own style again
    by the time they are read."""

    def load(self, data: Buffer) -> datetime:
        return datetime.fromisoformat(bytes(data).decode())
