"""Whether pictures can be stored, as far as is known."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Proof:
    """Given by a trial, it holds until storing a picture fails, also where that happens during the trial.

    For many threads; those that want it at once may each make a trial.
    """

    def __init__(self) -> None:
        self._failure = object()
        """Another one for each failure."""
        self._proven: object = None

    def renew(self, trial: Callable[[], object]) -> None:
        """Raises what `trial` raises; it is called only where nothing is proven."""
        failure = self._failure
        if self._proven is not failure:
            trial()
            self._proven = failure

    @contextmanager
    def needed(self) -> Iterator[None]:
        """Around what stores a picture."""
        try:
            yield
        except Exception:
            self._failure = object()
            raise
