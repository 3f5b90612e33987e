"""`adopt` and `resolve`: an operator names an image task that exists already, or settles a purchase that was lost."""

from collections.abc import Callable, Iterator

from reconciler.app import provider
from reconciler.database import Handing, usable_task_id
from reconciler.deciding import Decided, Decisions, Declined
from reconciler.domain.amending import created, lost_orders, not_created, same_prompt
from reconciler.domain.case import Case
from reconciler.domain.findings import Failed, NotFound, Running, Succeeded, TaskAnswer, Trouble
from reconciler.domain.model import Memory, TaskState, Track
from reconciler.domain.policy import Policy
from reconciler.domain.prompts import ladder, original
from reconciler.domain.standing import Standing


def adopt(decisions: Decisions, track_id: str, task_id: str, *, force: bool) -> Decided:
    """Hand a task over, as the app would. Declined where it is doubtful that it is this track's, unless forced."""
    handing = _handing(decisions, track_id, task_id)
    held = decisions.database.leases.peek(track_id)
    doubts = [*_owned(handing, track_id, task_id), *_doubts(ask(decisions, task_id), _prompts(held.track, decisions))]
    if doubts and not force:
        raise Declined(f"{'; '.join(doubts)}. Nothing was changed; --force hands it over all the same")
    known = held.memory.tasks.get(task_id)
    if known is not None and known.state in (TaskState.GONE, TaskState.FAILED):
        handing.forget(task_id)
    handing.hand_over(track_id, task_id)
    amended = decisions.amend(track_id, lambda case, _: case.memory)
    said = f"task {task_id} is followed to its end before anything is bought"
    return Decided(track_id, amended.before, amended.after, said)


def resolve_as(decisions: Decisions, track_id: str, task_id: str) -> Decided:
    """The oldest purchase of this track whose answer was lost is this task."""
    handing = _handing(decisions, track_id, task_id)
    held = decisions.database.leases.peek(track_id)
    orders = lost_orders(held.memory, held.now)
    ordered = {order.prompt for order in orders}
    doubts = [*_owned(handing, track_id, task_id), *_doubts(ask(decisions, task_id), ordered)] if orders else []
    if doubts:
        raise Declined(f"{'; '.join(doubts)}. Nothing was changed; `adopt --force` hands it over all the same")
    said = f"the lost purchase is task {task_id}, which is followed to its end"
    return _resolve(decisions, track_id, lambda case: created(case.memory, task_id, case.now), said)


def resolve_as_nothing(decisions: Decisions, track_id: str) -> Decided:
    """No task was made of the purchases of this track whose answer was lost."""
    said = "nothing was created, so it counts against no limit of the track"
    return _resolve(decisions, track_id, lambda case: not_created(case.memory, case.now), said)


def _resolve(decisions: Decisions, track_id: str, settled: Callable[[Case], Memory], said: str) -> Decided:
    def change(case: Case, _: Standing) -> Memory:
        if not lost_orders(case.memory, case.now):
            raise Declined(f"no purchase of track {track_id} has lost its answer; see `reconciler explain {track_id}`")
        return settled(case)

    amended = decisions.amend(track_id, change)
    return Decided(track_id, amended.before, amended.after, said)


# -- whose a task is -----------------------------------------------------------------------------------------------


def _handing(decisions: Decisions, track_id: str, task_id: str) -> Handing:
    decisions.known([track_id])
    if not usable_task_id(task_id):
        raise Declined(f"{task_id[:80]!r} is no id of an image task")
    return Handing(decisions.database.connection, decisions.database.app)


def _owned(handing: Handing, track_id: str, task_id: str) -> Iterator[str]:
    others = [owner for owner in handing.owners(task_id) if owner != track_id]
    if others:
        yield f"task {task_id} belongs to track {', '.join(others[:3])}"


def ask(decisions: Decisions, task_id: str) -> TaskAnswer:
    with provider(decisions.settings) as outside:
        return outside.reader().task(task_id)


def _doubts(answer: TaskAnswer, prompts: set[str]) -> Iterator[str]:
    """What Kie's record says against the task. Running ones do not tell their prompt."""
    match answer:
        case Succeeded(prompt=str() as recorded) if not any(same_prompt(recorded, wanted) for wanted in prompts):
            yield f"its recorded prompt is another one ({_short(recorded)}) than this track's ({_short(*prompts)})"
        case NotFound():
            yield "Kie knows no such image task; ids of music tasks and of other accounts look so too"
        case Failed(detail=detail):
            yield f"Kie ended the task without a picture ({_short(detail)})"
        case Trouble(call=call, detail=detail):
            yield f"Kie could not be asked about it ({call}: {_short(detail)})"
        case Succeeded() | Running():
            pass


def _prompts(track: Track | None, decisions: Decisions) -> set[str]:
    """All that this track's picture may have been asked for with."""
    if track is None:
        return set()
    policy: Policy = decisions.policy
    own = {prompt for _, prompt in ladder(track, policy)} | {original(track) or ""}
    return own - {""}


def _short(text: str = "none", *_: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"
