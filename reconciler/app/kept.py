"""Connections that outlive the runs of a job."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Opened when first wanted, and anew after it was dropped. For one thread."""

    def __init__(self, opening: Callable[[], AbstractContextManager[T]]) -> None:
        self._opening, self._stack = opening, ExitStack()
        self._values: list[T] = []

    def get(self) -> T:
        if not self._values:
            self._values.append(self._stack.enter_context(self._opening()))
        return self._values[0]

    def drop(self) -> None:
        """Close it, whatever state it is in."""
        self._values.clear()
        self._stack.close()
