"""Image tasks: their life by the clock, the files they leave, and their records on the wire."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, assert_never

from reconciler.kie.simulated.behaviour import Fail, Outcome, ResultForm, Stall, Succeed
from reconciler.kie.simulated.files import Painting, StoredFile
from reconciler.kie.simulated.models import Input, Size
from reconciler.kie.simulated.painter import CONTENT_TYPES
from reconciler.kie.simulated.settings import Settings

_EXTENSIONS: Final = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}


class Phase(StrEnum):
    RUNNING = "running"
    SUCCESS = "success"
    FAIL = "fail"


@dataclass(slots=True, kw_only=True)
class Task:
    """One image task. `number` is its line in the book; none for tasks that somebody else bought."""

    task_id: str
    model: str
    prompt: str
    input: Input
    call_back_url: str | None
    created_at: datetime
    outcome: Outcome
    drawn_run: timedelta
    natural_size: Size
    price: float
    serial: int
    number: int | None = None

    @property
    def ends_at(self) -> datetime | None:
        if isinstance(self.outcome, Stall):
            return None
        return self.created_at + (self.drawn_run if self.outcome.run is None else self.outcome.run)

    def phase(self, now: datetime) -> Phase:
        if self.ends_at is None or now < self.ends_at:
            return Phase.RUNNING
        return Phase.FAIL if isinstance(self.outcome, Fail) else Phase.SUCCESS

    def files(self, life: timedelta) -> Sequence[StoredFile]:
        """What lies at the task's URLs; nothing for a failure."""
        match self.outcome:
            case Succeed() as done:
                return [self._file(done, index, life) for index in range(done.count)]
            case Stall(with_url=True):
                return [self._file(Succeed(), 0, life)]
            case Stall() | Fail():
                return []
            case _ as unreachable:
                assert_never(unreachable)

    def _file(self, done: Succeed, index: int, life: timedelta) -> StoredFile:
        ready_at = self.ends_at or self.created_at
        extension = _EXTENSIONS[done.format] if done.extension is None else done.extension
        width, height = done.width or self.natural_size[0], done.height or self.natural_size[1]
        return StoredFile(
            path=f"/p/{self.task_id}_{index + 1}_{int(ready_at.timestamp())}_{self.serial}{extension}",
            content=Painting(self.prompt, width, height, done.format, index) if done.content is None else done.content,
            content_type=CONTENT_TYPES[done.format],
            ready_at=ready_at,
            dies_at=ready_at + life,
            task_id=self.task_id,
            prompt=self.prompt,
        )


def record(task: Task, now: datetime, urls: Sequence[str], settings: Settings) -> dict[str, object]:
    """The `data` of recordInfo."""
    phase, param = task.phase(now), _param(task)
    fields: dict[str, object] = {
        "taskId": task.task_id,
        "model": task.model,
        "state": _state(task, phase, settings),
        "param": param,
        "resultJson": _result_json(task, phase, urls),
        "failCode": task.outcome.code if phase is Phase.FAIL and isinstance(task.outcome, Fail) else None,
        "failMsg": task.outcome.message if phase is Phase.FAIL and isinstance(task.outcome, Fail) else None,
        **_times(task, phase),
    }
    if settings.newer_records:
        success_flag = {Phase.RUNNING: 0, Phase.SUCCESS: 1, Phase.FAIL: 3}[phase]
        consumed = 0.0 if phase is Phase.FAIL else task.price
        fields |= {"creditsConsumed": consumed, "operationType": "generate", "successFlag": success_flag}
        fields |= {"paramJson": param, "response": None}
    return fields


def _param(task: Task) -> str:
    """JSON text whose `input` is again JSON text, as recorded."""
    param: dict[str, object] = {"input": json.dumps(task.input), "model": task.model}
    if task.call_back_url is not None:
        param["callBackUrl"] = task.call_back_url
    return json.dumps(param)


def _state(task: Task, phase: Phase, settings: Settings) -> str:
    if phase is not Phase.RUNNING:
        return phase.value
    own = task.outcome.state if isinstance(task.outcome, Stall) else task.outcome.running_state
    return own or settings.running_state


def _times(task: Task, phase: Phase) -> dict[str, int | None]:
    created = _epoch_ms(task.created_at)
    timed = not isinstance(task.outcome, Fail) or task.outcome.timed
    if phase is Phase.RUNNING or task.ends_at is None or not timed:
        return {"costTime": None, "completeTime": None, "createTime": created}
    seconds = int((task.ends_at - task.created_at).total_seconds())
    return {"costTime": seconds, "completeTime": _epoch_ms(task.ends_at), "createTime": created}


def _epoch_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _result_json(task: Task, phase: Phase, urls: Sequence[str]) -> object:
    match phase, task.outcome:
        case Phase.SUCCESS, Succeed(result=form):
            return _formed(form, urls)
        case Phase.RUNNING, Stall(with_url=True):
            return _formed(ResultForm.TEXT, urls)
        case _:
            return ""


def _formed(form: ResultForm, urls: Sequence[str]) -> object:
    listed = {"resultUrls": list(urls)}
    match form:
        case ResultForm.TEXT:
            return json.dumps(listed)
        case ResultForm.OBJECT:
            return listed
        case ResultForm.RESULT_OBJECT:
            return json.dumps({"resultObject": listed})
        case ResultForm.MUSIC:
            return json.dumps({"data": [{"image_url": url} for url in urls]})
        case ResultForm.NULL:
            return None
        case ResultForm.EMPTY_TEXT:
            return ""
        case ResultForm.EMPTY_OBJECT:
            return "{}"
        case ResultForm.EMPTY_LIST:
            return json.dumps({"resultUrls": []})
        case _ as unreachable:
            assert_never(unreachable)
