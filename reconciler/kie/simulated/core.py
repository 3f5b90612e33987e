"""The simulated Kie without its sockets: requests in, answers out, time by the clock that it is given."""

from dataclasses import asdict
from datetime import datetime

from reconciler.kie.simulated.answers import carries_out, created, dressed
from reconciler.kie.simulated.behaviour import Answer, AnswerPicture, Refuse
from reconciler.kie.simulated.book import Creation, Money, Visit
from reconciler.kie.simulated.callbacks import Callback
from reconciler.kie.simulated.desk import DESK, answer_at_desk
from reconciler.kie.simulated.files import serve
from reconciler.kie.simulated.queries import operation_of, urls_of
from reconciler.kie.simulated.rules import Call, Operation
from reconciler.kie.simulated.shop import Order
from reconciler.kie.simulated.stage import Stage
from reconciler.kie.simulated.tasks import Task
from reconciler.kie.simulated.wire import Request, Response


class SimulatedKie(Stage):
    """One account at Kie. Thread-safe, never sleeps; equal seeds and prompts give equal ids, sizes and run times."""

    # -- whom Kie calls

    def next_callback_at(self) -> datetime | None:
        """When `due_callbacks` is next worth asking; None: nobody waits for one."""
        with self._lock:
            return min(filter(None, (self._callbacks.next_at, self._shop.next_end)), default=None)

    def due_callbacks(self) -> list[Callback]:
        """Those that are due by now and were not handed out yet, in order; tell what came of each by `answered`."""
        if self.next_callback_at() is None:
            return []
        with self._lock:
            now = self._clock()
            self._settle(now)
            return self._callbacks.due(now)

    def answered(self, callback: Callback, status: int) -> None:
        """The HTTP status, NOBODY where none came. All but 200 are tried again later."""
        with self._lock:
            self._callbacks.answered(callback, status, self._clock())

    # -- what clients see

    def handle(self, request: Request) -> Response:
        """Answers one request, at the clock's now."""
        if request.url_path.startswith(DESK):
            return answer_at_desk(request, self.book, self.script)
        with self._lock:
            now = self._clock()
            self._settle(now)
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
        operation = operation_of(request)
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
        order, number = Order.read(request), self._book.next_number
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
