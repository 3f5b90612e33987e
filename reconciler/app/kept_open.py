"""Connections that outlive the runs of a job."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class KeptOpen(Generic[T]):
    """Opened when first wanted, and anew after it was dropped, `place` tells of another one, or it `fits` no more. For
    one thread."""

    def __init__(
        self,
        opening: Callable[[], AbstractContextManager[T]],
        place: Callable[[], object],
        fits: Callable[[T], bool] = lambda _: True,
    ) -> None:
        self._opening, self._stack, self._place, self._fits = opening, ExitStack(), place, fits
        self._values: list[tuple[object, T]] = []

    def get(self) -> T:
        """Raises what opening it does, or looking whether it fits."""
        place = self._place()
        if any(opened != place or not self._fits(value) for opened, value in self._values):
            self.drop()
        if not self._values:
            self._values.append((place, self._stack.enter_context(self._opening())))
        return self._values[0][1]

    def drop(self) -> None:
        """Close it, whatever state it is in."""
        self._values.clear()
        with suppress(Exception):
            self._stack.close()
