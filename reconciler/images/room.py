"""How many pictures are decoded at once: as there are processors, and no more pixels together than one may have."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition, Lock
from typing import TypeVar

from PIL import _imaging as pillow

T = TypeVar("T")

BLOCK = 32 * 1024
"""Bytes. Of such blocks Pillow makes each picture, and it cuts some that it kept: to rows of another width, to the end
of a picture, to a thumbnail. Where they are of a megabyte, that leaves holes into which none fits, and memory grows."""
KEPT = 1200
"""So many blocks of its pixels Pillow keeps for each seat from one picture to the next, while more are waiting: handed
to the system and taken again, their pages cost a tenth of the processor's time that a picture takes. As many as one of
2560x1440 needs at once: itself, fitted in one direction, and in both."""


class Room:
    """`pixels`: of all that are worked together; a larger one is worked alone."""

    def __init__(self, pixels: int, seats: int | None = None) -> None:
        self._pixels, self._left, self._seats = pixels, pixels, seats or os.cpu_count() or 1
        self._changed, self._turn = Condition(), Lock()
        self._counted = Lock()
        pillow.set_block_size(BLOCK)
        pillow.set_blocks_max(KEPT * self._seats)
        self._open()
        os.register_at_fork(after_in_child=self._open)  # threads do not come along

    def _open(self) -> None:
        self._threads = ThreadPoolExecutor(self._seats, thread_name_prefix="pictures")
        self._coming = 0

    def work(self, pixels: int, job: Callable[[], T]) -> T:
        """Done by a thread for each seat, which goes from one picture to the next by itself: what it frees is kept for
        that, and a dozen workers would hold on to the memory of a dozen."""
        with self._present():
            return self._threads.submit(self._seated, pixels, job).result()

    @contextmanager
    def _present(self) -> Iterator[None]:
        """Who leaves nobody behind hands the memory back."""
        with self._counted:
            self._coming += 1
        try:
            yield
        finally:
            with self._counted:
                self._coming -= 1
                if not self._coming:
                    pillow.clear_cache()

    def _seated(self, pixels: int, job: Callable[[], T]) -> T:
        with self._taken(pixels):
            return job()

    @contextmanager
    def _taken(self, pixels: int) -> Iterator[None]:
        """In the order of coming: a large one is not kept waiting by small ones for ever."""
        needed = min(pixels, self._pixels)
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._left >= needed)
            self._left -= needed
        try:
            yield
        finally:
            with self._changed:
                self._left += needed
                self._changed.notify_all()
