"""What an operator's word changes in the memory of a track."""

from dataclasses import replace
from datetime import datetime

from reconciler.domain import purchases
from reconciler.domain.actions import GiveUp
from reconciler.domain.case import Case
from reconciler.domain.model import Ailment, Memory, Outcome, Purchase, Song, Task, TaskState, Verdict
from reconciler.domain.plan import plan


def reopened(case: Case) -> Memory:
    """Everything may be tried again, and one purchase be made, beyond the limits if need be.

    What gave nothing but faults for seven days counts as dead, and a lost order as lost for good.
    """
    memory = replace(case.memory, granted=_granted(case), song=_final(case, case.memory.song), ailments=_dead(case))
    memory = replace(memory, reopened_at=case.now, interruptions=0, conflicts=0, restores=())
    for task in case.memory.tasks.values():
        memory = memory.with_task(_gone(case, task))
    for purchase in lost_orders(memory, case.now):
        memory = memory.with_purchase(replace(purchase, verdict=Verdict.LOST, ended_at=case.now))
    return memory


def stays_given_up(case: Case) -> bool:
    """Re-opened too: it is the row that must be mended."""
    return isinstance(plan(replace(case, memory=reopened(case))), GiveUp)


def orders_left(case: Case) -> int:
    """How many purchases may be made for the track once it is re-opened, the repeat of a lost one among them."""
    mine, policy = case.memory.purchases, case.policy
    left = min(policy.per_track - purchases.spent(mine), policy.attempts_per_track - purchases.attempts(mine))
    return _granted(case) + left + (0 if purchases.repeated(mine) else 1)


def _granted(case: Case) -> int:
    """So much that one purchase is within the limits: saying it twice grants no more."""
    mine, policy = case.memory.purchases, case.policy
    spent, tried = purchases.spent(mine) + 1, purchases.attempts(mine) + 1
    return max(case.memory.granted, spent - policy.per_track, tried - policy.attempts_per_track)


def _dead(case: Case) -> dict[str, Ailment]:
    return {name: _if_hopeless(case, found) for name, found in case.memory.ailments.items() if name != "write"}


def _if_hopeless(case: Case, ailment: Ailment) -> Ailment:
    """A picture that came and was not taken is there."""
    faulty = ailment.flaw is None and case.hopeless(ailment)
    if not faulty:
        return ailment
    return Ailment(reason=ailment.reason, detail=ailment.detail, dead=True, hosts=ailment.hosts)


def _gone(case: Case, task: Task) -> Task:
    faulty = task.state is TaskState.RUNNING and case.long_faulty(task.first_fault, task.next_poll)
    return replace(task, state=TaskState.GONE, next_poll=None) if faulty else task


def _final(case: Case, song: Song | None) -> Song | None:
    if song is None or song.final or not case.long_faulty(song.first_fault, song.next_ask):
        return song
    return replace(song, final=True, next_ask=None)


def lost_orders(memory: Memory, now: datetime) -> tuple[Purchase, ...]:
    """Orders whose answer was lost and that nobody settled, oldest first."""
    return tuple(p for p in memory.purchases if p.lost(now) and p.verdict is Verdict.PENDING)


def not_created(memory: Memory, now: datetime) -> Memory:
    """None of the lost orders was taken by Kie: they count against no limit of the track."""
    for purchase in lost_orders(memory, now):
        nothing = replace(purchase, outcome=Outcome.NOTHING, detail="an operator: nothing was created", ended_at=now)
        memory = memory.with_purchase(nothing)
    return memory


def created(memory: Memory, task_id: str, now: datetime) -> Memory:
    """The oldest lost order is this task. There must be one."""
    purchase = lost_orders(memory, now)[0]
    found = replace(purchase, outcome=Outcome.ACCEPTED, task_id=task_id, detail="an operator named its task")
    memory = memory.with_purchase(found)
    return memory.with_task(memory.task(task_id, now))


def same_prompt(recorded: str, wanted: str) -> bool:
    """Equal but for white space and letter case."""
    one, other = (" ".join(text.split()).casefold() for text in (recorded, wanted))
    return one == other
