"""The way of callbacks into the database: a thread of its own, with a connection of its own, that serves all pages."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread

from reconciler.app.kept_open import KeptOpen
from reconciler.database import Database
from reconciler.domain.model import Callback

PATIENCE_S = 10.0
"""Kie waits 15 s for an answer, and calls again where it gets none."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    callback: Callback
    is_known: "Future[bool]" = field(default_factory=Future)


class Calling:
    """`woken`: after callbacks were committed. `opening`, `place`: of the database, as `KeptOpen` has them."""

    def __init__(
        self,
        opening: Callable[[], AbstractContextManager[Database]],
        place: Callable[[], object],
        woken: Callable[[], None],
    ) -> None:
        self._kept, self._woken = KeptOpen(opening, place), woken
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="callbacks", daemon=True)
        self._thread.start()

    def hint(self, token: str, task_id: str) -> bool:
        """Safe in any thread. True once the callback is committed; False: there is no such order. Raises where that
        cannot be told, or takes too long."""
        waiting = _Waiting(Callback(token, task_id))
        self._queue.put(waiting)
        return waiting.is_known.result(timeout=PATIENCE_S)

    def close(self) -> None:
        """Does not wait for a database that is slow."""
        self._queue.put(None)
        self._thread.join(timeout=1)

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            self._take([first, *self._others()])
        self._kept.drop()

    def _others(self) -> Iterator[_Waiting]:
        """Whoever waits by now shares the transaction."""
        while True:
            try:
                waiting = self._queue.get_nowait()
            except Empty:
                return
            if waiting is None:
                self._queue.put(None)
                return
            yield waiting

    def _take(self, several: list[_Waiting]) -> None:
        try:
            known = self._kept.get().callbacks.take([waiting.callback for waiting in several])
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            self._kept.drop()
            for waiting in several:
                waiting.is_known.set_exception(error)
            return
        for waiting in several:
            waiting.is_known.set_result(waiting.callback.token in known)
        if known:
            self._woken()
