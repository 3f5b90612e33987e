"""The simulated Kie as a test or a demo sets it up: its account, tasks, songs and files."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from reconciler.kie.simulated.behaviour import Outcome, Succeed
from reconciler.kie.simulated.book import Book
from reconciler.kie.simulated.callbacks import Callbacks
from reconciler.kie.simulated.files import Painting, Shelf, StoredFile
from reconciler.kie.simulated.models import MODELS
from reconciler.kie.simulated.painter import CONTENT_TYPES, Format
from reconciler.kie.simulated.queries import Queries, urls_of
from reconciler.kie.simulated.rules import Script
from reconciler.kie.simulated.settings import Settings
from reconciler.kie.simulated.shop import Order, Shop
from reconciler.kie.simulated.songs import Song, song_files
from reconciler.kie.simulated.tasks import Task, record

DEFAULT_INPUT: Final = {"image_size": "landscape_16_9", "image_resolution": "2K", "max_images": 1}
DEFAULT_MODEL: Final = "bytedance/seedream-v4-text-to-image"
_DEFAULT_FILES_URL: Final = "https://tempfile.aiquickdraw.com"


class Stage:
    """What a test or a demo puts there and looks at. Thread-safe."""

    def __init__(self, clock: Callable[[], datetime], *, seed: int = 0, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.script = Script(seed)
        self.files_url = self.settings.files_url or _DEFAULT_FILES_URL
        self._clock, self._lock, self._book, self._shelf = clock, threading.RLock(), Book(), Shelf()
        self._shop = Shop(self.settings, seed, self.script, self._shelf, self._book)
        self._queries = Queries(self.settings, self._shop)
        self._callbacks = Callbacks(self.settings, self.script, self._book, self._describe)

    @property
    def book(self) -> Book:
        """The book, with all that has ended by now charged or refunded."""
        with self._lock:
            self._settle(self._clock())
            return self._book

    @property
    def balance(self) -> float:
        """Credits that are neither held nor spent."""
        with self._lock:
            self._settle(self._clock())
            return self._shop.account.balance

    def top_up(self, credits_: float) -> None:
        """Adds credits; a negative number takes some."""
        with self._lock:
            self._shop.account.balance += credits_

    def crowd(self, creations: int) -> None:
        """Others spend from the same account's rate now."""
        with self._lock:
            for _ in range(creations):
                self._shop.account.arrive(self._clock())

    def add_task(
        self, task_id: str, *, prompt: str, behaviour: Outcome | None = None, created_at: datetime | None = None
    ) -> None:
        """A task that somebody else bought, now or earlier: it costs nothing here and is no purchase in the book."""
        order = Order(DEFAULT_MODEL, prompt, {"prompt": prompt, **DEFAULT_INPUT}, None)
        with self._lock:
            at = created_at or self._clock()
            self._shop.place(order, MODELS[DEFAULT_MODEL], at, behaviour or Succeed(), task_id, task_id)

    def add_song(self, task_id: str, song: Song | None = None, *, created_at: datetime | None = None) -> None:
        """A music task."""
        song = song or Song()
        with self._lock:
            at = created_at or self._clock()
            self._queries.songs[task_id] = (song, at)
            self._shelf.put(song_files(task_id, song, at, self.settings.file_life))

    def add_file(
        self,
        path: str,
        content: bytes | None = None,
        *,
        text: str = "",
        size: tuple[int, int] = (2048, 1152),
        format_: Format = "JPEG",
        life: timedelta | None = None,
    ) -> str:
        """A file, painted from `text` unless bytes are given; its URL. Lives for ever without `life`; zero is dead."""
        path, now = "/" + path.lstrip("/"), self._clock()
        painting = Painting(text or path, *size, format_)
        file = StoredFile(
            path=path,
            content=painting if content is None else content,
            content_type=CONTENT_TYPES[format_],
            ready_at=now,
            dies_at=None if life is None else now + life,
            prompt=text,
        )
        with self._lock:
            self._shelf.put([file])
        return self.files_url + path

    def ends_at(self, task_id: str) -> datetime | None:
        """When this task ends or has ended; None: never."""
        with self._lock:
            return self._shop.tasks[task_id].ends_at

    def report(self, error: str) -> None:
        """Puts an error of the server into the book."""
        self._book.errors.append(error)

    def _settle(self, now: datetime) -> None:
        for task in self._shop.settle(now):
            self._callbacks.owe(task)

    def _describe(self, task: Task, now: datetime) -> dict[str, object]:
        return record(task, now, urls_of(task, self.files_url, self.settings), self.settings)
