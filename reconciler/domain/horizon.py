"""Until when a track stands where it does, if nothing happens but that time passes."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from reconciler.domain.actions import Action, GiveUp, Wait
from reconciler.domain.backoff import GIVE_UP_AFTER
from reconciler.domain.case import Case
from reconciler.domain.look import Good
from reconciler.domain.model import TaskState
from reconciler.domain.scope import enters_scope
from reconciler.domain.writing import WEEK, restored_again_at

_INSTANT = timedelta(microseconds=1)


def stands_until(case: Case, action: Action) -> datetime | None:
    """The next moment at which `classify` may say something else by time alone; None: there is none.

    May be too early, never too late. Some decisions turn at the moment itself and some just after it, so both count.
    """
    moments = (later for at in _moments(case, action) if at is not None for later in (at, at + _INSTANT))
    return min((at for at in moments if at > case.now), default=None)


def _moments(case: Case, action: Action) -> Iterator[datetime | None]:
    """Every moment that a decision about this track compares with the clock."""
    match action:
        case Wait(until=until) | GiveUp(recheck=until):
            yield until
        case _:
            pass
    yield case.settles_at
    yield enters_scope(case.track, case.memory, case.policy)
    if isinstance(case.look, Good):
        yield case.look.measure_at
    yield from _of_troubles(case)
    yield from _of_tasks(case)
    yield from _of_purchases(case)
    yield restored_again_at(case)
    yield from (at + WEEK for at in case.memory.restores)
    yield from (kept.checked_at + case.policy.step_deadline for kept in case.memory.kept if kept.checked_at is not None)


def _of_troubles(case: Case) -> Iterator[datetime | None]:
    for name, ailment in case.memory.ailments.items():
        yield ailment.retry_at
        yield _long_after(ailment.first_fault)
        if name == "write" and ailment.retry_at is not None:
            yield ailment.retry_at + WEEK


def _of_tasks(case: Case) -> Iterator[datetime | None]:
    for task in case.tasks:
        if task.state is TaskState.RUNNING:
            yield task.next_poll
            yield task.since() + case.policy.task_timeout
            yield _long_after(task.first_fault)
    if case.memory.song is not None:
        yield case.memory.song.next_ask
        yield _long_after(case.memory.song.first_fault)


def _of_purchases(case: Case) -> Iterator[datetime | None]:
    for purchase in case.memory.purchases:
        yield purchase.deadline
        yield purchase.held_until(case.policy.hold_unknown)
        yield _long_after(purchase.at)


def _long_after(since: datetime | None) -> datetime | None:
    return None if since is None else since + GIVE_UP_AFTER
