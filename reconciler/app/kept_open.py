"""Connections that outlive the runs of a job."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class KeptOpen(Generic[T]):
    """Opened when first wanted, and anew after it was dropped or `place` tells of another one. For one thread."""

    def __init__(self, opening: Callable[[], AbstractContextManager[T]], place: Callable[[], object]) -> None:
        self._opening, self._stack, self._place = opening, ExitStack(), place
        self._values: list[tuple[object, T]] = []

    def get(self) -> T:
        place = self._place()
        if self._values and self._values[0][0] != place:
            self.drop()
        if not self._values:
            self._values.append((place, self._stack.enter_context(self._opening())))
        return self._values[0][1]

    def drop(self) -> None:
        """Close it, whatever state it is in."""
        self._values.clear()
        with suppress(Exception):
            self._stack.close()
