"""Whether pictures can be stored, as far as is known."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from reconciler.ports import StoreError

LARGE = 4 << 20
"""Bytes; more than nearly all pictures have."""


class StoreProof:
    """Given by a trial, it holds until it lapses or storing a picture fails, also where that happens during the trial.

    For many threads: who comes while a trial is under way waits for it, and is told how it ended.
    """

    def __init__(self) -> None:
        self._failure = object()
        """Another one for each failure."""
        self._proven: object = None
        self._largest_failed = 0
        self._trying, self._trials = Lock(), 0
        self._found: StoreError | None = None

    def renew(self, trial: Callable[[int], object]) -> None:
        """Raises the StoreError of `trial`, which is called only where nothing is proven, with the size in bytes of the
        largest picture that could not be stored since one was: a store may take small files and not large ones."""
        before = self._trials
        with self._trying:
            if self._proven is self._failure:
                return
            if self._trials == before or self._found is None:
                self._try(trial)
            else:
                raise self._found

    def _try(self, trial: Callable[[int], object]) -> None:
        failure, self._found = self._failure, None
        try:
            trial(self._largest_failed)
        except StoreError as error:
            self._found = error
            raise
        finally:
            self._trials += 1
        self._proven = failure

    def lapse(self) -> None:
        self._proven = None

    @contextmanager
    def needed(self, size: int) -> Iterator[None]:
        """Around what stores a picture of so many bytes. One that is stored tells that others of its size can be."""
        try:
            yield
        except Exception:
            self._failure, self._largest_failed = object(), max(self._largest_failed, size)
            raise
        self._largest_failed = min(self._largest_failed, size)
