"""`adopt` and `resolve`: an operator names an image task that exists already, or settles a purchase that was lost."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from shlex import join

from reconciler.app.outside import provider
from reconciler.commands.deciding import Decided, Decisions, Declined
from reconciler.database import Handing, usable_task_id
from reconciler.domain.amending import created, lost_orders, not_created, same_prompt
from reconciler.domain.case import Case
from reconciler.domain.findings import Failed, NotFound, Running, Succeeded, TaskAnswer, Trouble
from reconciler.domain.model import Memory, Purchase, Task, TaskState, Track
from reconciler.domain.policy import Policy
from reconciler.domain.prompts import ladder, original
from reconciler.domain.standing import Standing
from reconciler.domain.states import State


def adopt(decisions: Decisions, track_id: str, task_id: str, *, force: bool) -> Decided:
    """Hand a task over, as the app would. Declined where it is doubtful that it is this track's, unless forced."""
    (track_id,) = decisions.known([track_id])
    task_id, handing = _meant(task_id), _handing(decisions)
    held = decisions.database.leases.peek(track_id)
    prompts = (*_prompts(held.track, decisions.policy), *(purchase.prompt for purchase in held.memory.purchases))
    answer = ask(decisions, task_id)
    doubts = [*_owned(handing, track_id, task_id), *_doubts(answer, prompts), *_fruitless(answer, held.memory)]
    if doubts and not force:
        raise Declined(f"{'; '.join(doubts)}. Nothing was changed; --force hands it over all the same")

    def change(case: Case, _: Standing) -> Memory:
        handing.hand_over(track_id, task_id)
        memory = _asked_anew(handing, case, task_id)
        return replace(memory, handed=tuple(dict.fromkeys((task_id, *memory.handed))))

    amended = decisions.amend(track_id, change)
    return Decided(track_id, amended.before, amended.after, _handed_over(task_id, amended.after.state))


def resolve_as(decisions: Decisions, track_id: str, task_id: str) -> Decided:
    """The oldest purchase of this track whose answer was lost is this task, whatever became of it."""
    (track_id,) = decisions.known([track_id])
    task_id, handing = _meant(task_id), _handing(decisions)
    held = decisions.database.leases.peek(track_id)
    if any(purchase.task_id == task_id for purchase in held.memory.purchases):
        raise Declined(f"task {task_id} came of another purchase of track {track_id}; nothing was changed")
    ordered = tuple(order.prompt for order in _lost(track_id, held.memory, held.now))
    doubts = [*_owned(handing, track_id, task_id), *_doubts(ask(decisions, task_id), ordered)]
    if doubts:
        todo = f"`reconciler adopt --force {_typed(track_id, task_id)}` hands it over all the same"
        raise Declined(f"{'; '.join(doubts)}. Nothing was changed; {todo}")
    said = f"the lost purchase is task {task_id}, which is followed to its end"
    return _resolve(
        decisions, track_id, lambda case: created(_asked_anew(handing, case, task_id), task_id, case.now), said
    )


def resolve_as_nothing(decisions: Decisions, track_id: str) -> Decided:
    """No task was made of the purchases of this track whose answer was lost."""
    (track_id,) = decisions.known([track_id])
    held = decisions.database.leases.peek(track_id)
    _lost(track_id, held.memory, held.now)
    said = "nothing was created, so it counts against no limit of the track"
    return _resolve(decisions, track_id, lambda case: not_created(case.memory, case.now), said)


def _resolve(decisions: Decisions, track_id: str, settled: Callable[[Case], Memory], said: str) -> Decided:
    def change(case: Case, _: Standing) -> Memory:
        _lost(track_id, case.memory, case.now)
        return settled(case)

    amended = decisions.amend(track_id, change)
    return Decided(track_id, amended.before, amended.after, said)


def _lost(track_id: str, memory: Memory, now: datetime) -> Sequence[Purchase]:
    """Looked for before the track is waited for too: what is lost until then is not what was meant."""
    orders = lost_orders(memory, now)
    if not orders:
        see = f"see `reconciler explain {_typed(track_id)}`"
        raise Declined(f"no purchase of track {track_id} has lost its answer; {see}")
    return orders


def _typed(*ids: str) -> str:
    """At the end of a command."""
    words = ("--", *ids) if any(each.startswith("-") for each in ids) else ids
    return join(words)


def _asked_anew(handing: Handing, case: Case, task_id: str) -> Memory:
    """The memory without what Kie once said against the task, and what was found wanting in its pictures. Under the
    lease: nobody else saves it for this track."""
    handing.forget_end(task_id)
    task = case.memory.task(task_id, case.now)
    if task.urls or task.state is TaskState.RUNNING:
        return case.memory.without_ailments(*task.urls)
    return case.memory.with_task(Task(task_id, first_seen=case.now))


def _handed_over(task_id: str, state: State | None) -> str:
    match state:
        case None:
            then = "followed once the track is in scope"
        case State.FAILED:
            then = "of no use yet: `reconciler retry` re-opens the track"
        case State.OK:
            then = "of no use now: the track has a good picture"
        case _:
            then = "followed to its end before anything is bought"
    return f"task {task_id} is handed over, and {then}"


# -- whose a task is -----------------------------------------------------------------------------------------------


def _meant(task_id: str) -> str:
    """Without the blanks that were pasted with it."""
    meant = task_id.strip()
    if not usable_task_id(meant):
        raise Declined(f"{task_id[:80]!r} is no id of an image task")
    return meant


def _handing(decisions: Decisions) -> Handing:
    return Handing(decisions.database.connection, decisions.database.app)


def _owned(handing: Handing, track_id: str, task_id: str) -> Iterator[str]:
    others = [owner for owner in handing.owners(task_id) if owner != track_id]
    if others:
        yield f"task {task_id} belongs to track {', '.join(others[:3])}"


def ask(decisions: Decisions, task_id: str) -> TaskAnswer:
    with provider(decisions.settings) as outside:
        return outside.reader().task(task_id)


def _doubts(answer: TaskAnswer, prompts: Sequence[str]) -> Iterator[str]:
    """What Kie's record says against the task. Running ones do not tell their prompt."""
    match answer:
        case Succeeded(prompt=str() as recorded) if not any(same_prompt(recorded, wanted) for wanted in prompts):
            yield f"its recorded prompt is another one ({_short(recorded)}) than this track's ({_short(*prompts)})"
        case NotFound():
            yield "Kie knows no such image task; ids of music tasks and of other accounts look so too"
        case Trouble(call=call, detail=detail):
            yield f"Kie could not be asked about it ({call}: {detail})"
        case Succeeded() | Running() | Failed():
            pass


def _fruitless(answer: TaskAnswer, memory: Memory) -> Iterator[str]:
    match answer:
        case Failed(detail=detail):
            yield f"Kie ended the task without a picture ({_short(detail)})"
        case Succeeded(urls=()):
            yield "Kie ended the task without a picture"
        case Succeeded(urls=urls):
            found = [memory.ailing(url) for url in urls]
            if all(ailment.dead or ailment.flaw is not None for ailment in found):
                yield f"its picture was not taken ({_short(found[0].detail)})"
        case _:
            pass


def _prompts(track: Track | None, policy: Policy) -> Sequence[str]:
    """All that this track's picture may have been asked for with, as its row stands; the app's own words first."""
    if track is None:
        return ()
    own = (original(track) or "", *(prompt for _, prompt in ladder(track, policy)))
    return tuple(filter(None, own))


def _short(text: str = "none", *_: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"
