"""Callbacks: they wake the question for an order's task, and name the task where the answer to the order was lost.

Anybody may have sent one, so nothing in it is believed: Kie's own record decides.
"""

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from reconciler.domain.actions import AskTask, Wait
from reconciler.domain.altered import altered
from reconciler.domain.case import Case
from reconciler.domain.model import Callback, Memory, TaskState
from reconciler.domain.states import Reason, State


def woken(memory: Memory) -> Memory:
    """Tasks that a callback is about are asked at once."""
    for purchase in memory.purchases if unheeded(memory) else ():
        task = memory.tasks.get(purchase.task_id or "")
        is_called = any(callback.token == purchase.token for callback in unheeded(memory))
        if is_called and task is not None and task.state is TaskState.RUNNING:
            memory = memory.with_task(altered(task, next_poll=None))
    return memory


def unheeded(memory: Memory) -> tuple[Callback, ...]:
    return tuple(callback for callback in memory.callbacks if callback not in memory.heeded)


def heeding(memory: Memory, about: Callable[[Callback], bool]) -> Memory:
    """Kie was asked since these were known."""
    return altered(memory, heeded=(*memory.heeded, *filter(about, unheeded(memory))))


def announced(memory: Memory, task_id: str) -> bool | None:
    """Whether a callback came about this task; None: it is none of this track's orders."""
    tokens = {purchase.token for purchase in memory.purchases if purchase.task_id == task_id}
    return any(callback.token in tokens for callback in memory.callbacks) if tokens else None


def name_of(task_id: str) -> str:
    """By which the troubles of confirming this task are remembered."""
    return f"callback:{task_id}"


def confirmations(case: Case) -> Iterator[AskTask | Wait]:
    """Lost orders whose task may be known: that is found out before anything is repeated."""
    lost = {purchase.token for purchase in case.memory.purchases if purchase.lost(case.now)}
    for callback in unheeded(case.memory):
        ailment = case.memory.ailing(name_of(callback.task_id))
        in_vain = ailment.dead or case.long_faulty(ailment.first_fault, ailment.retry_at)
        if callback.token not in lost or not callback.task_id or in_vain:
            continue
        if ailment.retry_at is not None and ailment.retry_at > case.now:
            yield Wait(ailment.retry_at, State.UNKNOWN, Reason.UNKNOWN_PURCHASE)
        else:
            yield AskTask(callback.task_id, callback.token)


def confirms(call_back_url: str | None, token: str) -> bool:
    """The task was ordered with this token."""
    try:
        return urlsplit(call_back_url or "").path.endswith(f"/callback/{token}")
    except ValueError:
        return False
