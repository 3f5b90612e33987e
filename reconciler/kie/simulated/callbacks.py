"""Kie's calls to `callBackUrl`: one for each task that has ended, signed with the webhook key, tried again."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import Final

from reconciler.kie.simulated.behaviour import Notify
from reconciler.kie.simulated.book import Book, Telling
from reconciler.kie.simulated.rules import Call, Operation, Script
from reconciler.kie.simulated.settings import IdPlace, Settings
from reconciler.kie.simulated.tasks import Phase, Task
from reconciler.kie.simulated.wire import JSON_TYPE

_WORDS: Final = {
    Phase.SUCCESS: (200, "Playground task completed successfully."),
    Phase.FAIL: (501, "Playground task failed."),
}
NOBODY: Final = 0
"""In place of a status: nobody answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """One POST. `number` is its line in the book, `attempt` counts from 1."""

    number: int
    task_id: str
    attempt: int
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Owed:
    task: Task
    url: str
    due_at: datetime
    attempt: int = 1


class Callbacks:
    """Not thread-safe by itself: the core holds its lock.

    `describe`: the `data` of a task's record at a time.
    """

    def __init__(
        self, settings: Settings, script: Script, book: Book, describe: Callable[[Task, datetime], dict[str, object]]
    ) -> None:
        self._settings, self._script, self._book, self._describe = settings, script, book, describe
        self._owed: list[_Owed] = []
        self._handed_out: dict[int, _Owed] = {}

    @property
    def next_at(self) -> datetime | None:
        """When the first of those that are owed is due."""
        return min((owed.due_at for owed in self._owed), default=None)

    def owe(self, task: Task) -> None:
        """The task has ended."""
        if task.call_back_url is None or task.ends_at is None:
            return
        call = Call(Operation.CALLBACK, task.ends_at, "", task.task_id, task.prompt)
        notify = self._script.notice_for(call) or Notify()
        if not notify.times:
            self._enter(task, task.call_back_url, task.ends_at, 1, "lost")
        self._owed += notify.times * [_Owed(task, task.call_back_url, task.ends_at + notify.late)]

    def due(self, now: datetime) -> list[Callback]:
        """Each once, in the order in which they were due."""
        ready = sorted((owed for owed in self._owed if owed.due_at <= now), key=lambda owed: owed.due_at)
        self._owed = [owed for owed in self._owed if owed.due_at > now]
        return [self._hand_out(owed, now) for owed in ready]

    def answered(self, callback: Callback, status: int, now: datetime) -> None:
        """Whatever is not answered with 200 is tried again, until the retries are spent."""
        self._book.tell(callback.number, "nobody" if status == NOBODY else str(status))
        owed = self._handed_out.pop(callback.number)
        if status != HTTPStatus.OK and owed.attempt <= self._settings.callback_retries:
            due_at = now + self._settings.callback_spacing
            self._owed.append(replace(owed, due_at=due_at, attempt=owed.attempt + 1))

    def _hand_out(self, owed: _Owed, now: datetime) -> Callback:
        task = owed.task
        number = self._enter(task, owed.url, now, owed.attempt, None)
        self._handed_out[number] = owed
        return Callback(
            number=number,
            task_id=task.task_id,
            attempt=owed.attempt,
            url=owed.url,
            headers={"content-type": JSON_TYPE, **_signature(task.task_id, self._settings.webhook_key, now)},
            body=self._body(task, now),
        )

    def _enter(self, task: Task, url: str, now: datetime, attempt: int, answer: str | None) -> int:
        number = len(self._book.callbacks) + 1
        entry = Telling(number=number, at=now, task_id=task.task_id, url=url, attempt=attempt, answer=answer)
        self._book.enter_telling(entry)
        return number

    def _body(self, task: Task, now: datetime) -> bytes:
        code, message = _WORDS[task.phase(now)]
        data = self._describe(task, now)
        told = {"taskId": data.pop("taskId")}
        body: dict[str, object] = {"code": code, "msg": message, "data": data}
        match self._settings.callback_id:
            case IdPlace.TOP:
                body |= told
            case IdPlace.DATA_SNAKE:
                body["data"] = {"task_id": task.task_id, **data}
            case IdPlace.DATA:
                body["data"] = told | data
        return json.dumps(body).encode()


def _signature(task_id: str, key: str, now: datetime) -> dict[str, str]:
    if not key:
        return {}
    timestamp = str(int(now.timestamp()))
    digest = hmac.new(key.encode(), f"{task_id}.{timestamp}".encode(), hashlib.sha256).digest()
    return {"x-webhook-timestamp": timestamp, "x-webhook-signature": base64.b64encode(digest).decode()}
