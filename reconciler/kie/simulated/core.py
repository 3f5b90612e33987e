"""The simulated Kie without its sockets: requests in, answers out, time by the clock that it is given."""

import threading
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Final

from reconciler.kie.simulated.answers import carries_out, created, dressed
from reconciler.kie.simulated.behaviour import Answer, AnswerPicture, Outcome, Refuse, Succeed
from reconciler.kie.simulated.book import Book, Creation, Money, Visit
from reconciler.kie.simulated.desk import DESK, answer_at_desk
from reconciler.kie.simulated.files import Painting, Shelf, StoredFile, serve
from reconciler.kie.simulated.models import MODELS
from reconciler.kie.simulated.painter import CONTENT_TYPES, Format
from reconciler.kie.simulated.queries import Queries, urls_of
from reconciler.kie.simulated.rules import Call, Operation, Script
from reconciler.kie.simulated.settings import Settings
from reconciler.kie.simulated.shop import Order, Shop
from reconciler.kie.simulated.songs import Song, song_files
from reconciler.kie.simulated.tasks import Task
from reconciler.kie.simulated.wire import Request, Response

DEFAULT_INPUT: Final = {"image_size": "landscape_16_9", "image_resolution": "2K", "max_images": 1}
DEFAULT_MODEL: Final = "bytedance/seedream-v4-text-to-image"
_DEFAULT_FILES_URL: Final = "https://tempfile.aiquickdraw.com"
_OPERATIONS: Final = {
    ("POST", "/api/v1/jobs/createTask"): Operation.CREATE,
    ("GET", "/api/v1/jobs/recordInfo"): Operation.RECORD,
    ("GET", "/api/v1/generate/record-info"): Operation.SUNO_RECORD,
    ("GET", "/api/v1/chat/credit"): Operation.CREDIT,
}


class SimulatedKie:
    """One account at Kie. Thread-safe, never sleeps; equal seeds and prompts give equal ids, sizes and run times."""

    def __init__(self, clock: Callable[[], datetime], *, seed: int = 0, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.script = Script()
        self.files_url = self.settings.files_url or _DEFAULT_FILES_URL
        self._clock, self._lock, self._book, self._shelf = clock, threading.RLock(), Book(), Shelf()
        self._shop = Shop(self.settings, seed, self.script, self._shelf, self._book)
        self._queries = Queries(self.settings, self._shop)

    # -- what a test or a demo puts there and looks at

    @property
    def book(self) -> Book:
        """The book, with all that has ended by now charged or refunded."""
        with self._lock:
            self._shop.settle(self._clock())
            return self._book

    @property
    def balance(self) -> float:
        """Credits that are neither held nor spent."""
        with self._lock:
            self._shop.settle(self._clock())
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
        self,
        task_id: str,
        *,
        prompt: str,
        behaviour: Outcome | None = None,
        model: str = DEFAULT_MODEL,
        created_at: datetime | None = None,
    ) -> None:
        """A task that somebody else bought, now or earlier: it costs nothing here and is no purchase in the book."""
        order = Order(model, prompt, {"prompt": prompt, **DEFAULT_INPUT}, None)
        with self._lock:
            at = created_at or self._clock()
            self._shop.place(order, MODELS[model], at, behaviour or Succeed(), task_id, task_id)

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

    # -- what clients see

    def handle(self, request: Request) -> Response:
        """Answers one request, at the clock's now."""
        if request.url_path.startswith(DESK):
            return answer_at_desk(request, self.book, self.script)
        with self._lock:
            now = self._clock()
            self._shop.settle(now)
            self._book.writes += request.method not in {"GET", "HEAD"}
            call = self._identify(request, now)
            scripted = self.script.answer_for(call)
            if call.operation is Operation.CREATE:
                return self._create(request, call, scripted)
            if call.operation is not Operation.FILE:
                return self._noted(
                    request, call, dressed(lambda: self._queries.answer(request.bearer, call, self.files_url), scripted)
                )
        # Painting takes long: the lock is not held for it.
        return self._noted(request, call, dressed(lambda: self._file(request, call), scripted))

    def _identify(self, request: Request, now: datetime) -> Call:
        path = request.url_path
        operation = _OPERATIONS.get((request.method, path), Operation.UNKNOWN)
        if operation is Operation.CREATE:
            return Call(operation, now, path, prompt=Order.read(request).prompt)
        if operation is Operation.UNKNOWN and self._shelf.owns(path):
            file = self._shelf.find(path)
            return Call(Operation.FILE, now, path, *((file.task_id, file.prompt) if file else ()))
        task_id = request.query.get("taskId")
        return Call(operation, now, path, task_id, self._queries.prompt_of(operation, task_id or ""))

    def _noted(self, request: Request, call: Call, response: Response) -> Response:
        visit = Visit(
            at=call.at,
            operation=call.operation.value,
            method=request.method,
            path=call.path,
            task_id=call.task_id,
            answer=response.outcome,
        )
        self._book.enter_visit(visit)
        return response

    def _create(self, request: Request, call: Call, scripted: Answer | None) -> Response:
        order, number = Order.read(request), len(self._book.creations) + 1
        made: Task | Refuse | None = None
        if carries_out(scripted):
            at_once = isinstance(scripted, AnswerPicture)
            made = self._shop.buy(order, call, request.bearer, number, at_once=at_once)
        task = made if isinstance(made, Task) else None
        response = created(made, urls_of(task, self.files_url, self.settings) if task else (), scripted)
        entry = Creation(
            number=number,
            arrived_at=call.at,
            answer=response.outcome,
            task_id=task.task_id if task else None,
            price=task.price if task else 0.0,
            money=Money.HELD if task else Money.NONE,
            **asdict(order),
        )
        self._book.enter(entry)
        return response

    def _file(self, request: Request, call: Call) -> Response:
        if "authorization" in request.headers:
            self.report(f"an API key was sent to the file host: {call.path}")
        return serve(self._shelf.find(call.path), request, call.at, self.settings)
