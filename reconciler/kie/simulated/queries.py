"""The endpoints that only read: the records of both families, and the balance."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from reconciler.kie.simulated.answers import not_found, refusal
from reconciler.kie.simulated.behaviour import Face, Refuse, Succeed
from reconciler.kie.simulated.rules import Call, Operation
from reconciler.kie.simulated.settings import Settings
from reconciler.kie.simulated.shop import Shop
from reconciler.kie.simulated.songs import Song, song_record
from reconciler.kie.simulated.tasks import Task, record
from reconciler.kie.simulated.wire import Request, Response, envelope, spring_not_found

_OPERATIONS: Final = {
    ("POST", "/api/v1/jobs/createTask"): Operation.CREATE,
    ("GET", "/api/v1/jobs/recordInfo"): Operation.RECORD,
    ("GET", "/api/v1/generate/record-info"): Operation.SUNO_RECORD,
    ("GET", "/api/v1/chat/credit"): Operation.CREDIT,
}
_MISSING: Final = Refuse(500, "This field is required")


def operation_of(request: Request) -> Operation:
    return _OPERATIONS.get((request.method, request.url_path), Operation.UNKNOWN)


class Queries:
    """Not thread-safe by itself: the core holds its lock."""

    def __init__(self, settings: Settings, shop: Shop) -> None:
        self._settings, self._shop = settings, shop
        self.songs: dict[str, tuple[Song, datetime]] = {}

    def prompt_of(self, operation: Operation, task_id: str) -> str:
        """The text that rules match: a task's prompt, a song's title."""
        if operation is Operation.SUNO_RECORD and task_id in self.songs:
            return self.songs[task_id][0].title
        task = self._shop.tasks.get(task_id)
        return task.prompt if operation is Operation.RECORD and task is not None else ""

    def answer(self, key: str, call: Call, files_url: str) -> Response:
        if call.operation is Operation.UNKNOWN:
            return spring_not_found(call.path, call.at)
        refused = self._shop.account.refuses_key(key)
        if refused is None and call.operation is not Operation.CREDIT:
            refused = self._shop.account.query(call.task_id, call.at) if call.task_id else _MISSING
        if refused is not None:
            return refusal(refused)
        match call.operation:
            case Operation.RECORD:
                return self._task_record(call, files_url)
            case Operation.SUNO_RECORD:
                return self._song_record(key, call, files_url)
            case _:
                return envelope(200, "success", self._shop.account.balance)

    def _task_record(self, call: Call, files_url: str) -> Response:
        task = self._shop.tasks.get(call.task_id or "")
        if task is None or not self._settings.visible_after <= call.at - task.created_at < self._settings.record_life:
            return not_found(self._settings.not_found)
        urls = urls_of(task, files_url, self._settings)
        return envelope(200, "success", record(task, call.at, urls, self._settings))

    def _song_record(self, key: str, call: Call, files_url: str) -> Response:
        song, created_at = self.songs.get(call.task_id or "", (None, call.at))
        if song is None or song.api_key not in {None, key} or call.at - created_at >= self._settings.record_life:
            return not_found(Face.NULL_DATA)
        data = song_record(call.task_id or "", song, created_at, call.at, files_url)
        return envelope(200, "success", data)


def urls_of(task: Task, files_url: str, settings: Settings) -> Sequence[str]:
    """Where the task says that its results lie."""
    given = task.outcome.urls if isinstance(task.outcome, Succeed) else ()
    return given or [files_url + file.path for file in task.files(settings.file_life)]
