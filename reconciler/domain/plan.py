"""What to do next for a track: a total function of what is known.

The ladder, cheapest rung first: measure the row's picture; keep it if it is good, rehost it if it dies; write what our
store holds; follow known image tasks; ask the music task; buy; give up. Grace forbids writes and purchases only. So
does a pause: writes here, purchases at the gate. Nothing is asked of Kie that there is no key for.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from reconciler.domain.actions import Action, AskSong, AskTask, Buy, GiveUp, Measure, RowPicture, Wait, Write
from reconciler.domain.buying import buy, look_for_lost
from reconciler.domain.case import Case
from reconciler.domain.following import (
    any_of,
    confirm_callbacks,
    follow_music,
    follow_tasks,
    goes_on_at,
    late_answers,
    late_results,
    list_store,
    polls,
)
from reconciler.domain.look import Absent, Dying, Good, Huge, Larger, Small, Unmeasured
from reconciler.domain.model import INTERRUPTIONS, Ailment, Memory
from reconciler.domain.scope import enters_scope
from reconciler.domain.states import Reason, State
from reconciler.domain.writing import WEEK, write_moved, write_own_copy, write_resolution, write_stored

FOR_A_KEY = timedelta(days=1)
"""So long nobody looks whether there is one by now, for a row that is gone; the others wait in line."""

Rung = Callable[[Case], Action | None]


def plan(case: Case) -> Action:
    is_worked = case.in_scope and case.track.flaw is None
    given_up = _killed_too_often(case)
    if given_up is not None:
        return _meanwhile(case, given_up if is_worked else _stay_away(case), late_answers)
    return _meanwhile(case, _unless_paused(case, _climb(case)) if is_worked else _stay_away(case), late_results)


def _killed_too_often(case: Case) -> GiveUp | None:
    """Once more a week later: a database that was away each time looked like deaths, and a picture must not kill for
    ever."""
    times, last = case.memory.interruptions, case.memory.interrupted_at
    if not case.memory.deadly:
        return None
    again = last + WEEK if last is not None and times == INTERRUPTIONS else None
    return GiveUp(Reason.IMAGE_REJECTED, recheck=again) if again is None or again > case.now else None


def _unless_paused(case: Case, action: Action) -> Action:
    return Wait(None, None, Reason.PAUSED) if case.memory.paused and isinstance(action, Write) else action


def _climb(case: Case) -> Action:
    match case.look:
        case Unmeasured(source=source, ailment=ailment):
            return _get_to_see(case, source, ailment)
        case Good():
            return _keep(case, case.look)
        case Dying(good=Good() as good):
            return _keep(case, good)
        case Dying(source=source):
            return write_own_copy(case, source) or _rehost(case, source) or _replace(case)
        case Huge():
            return GiveUp(Reason.IMAGE_REJECTED)
        case Larger(source=source):
            return write_own_copy(case, source) or case.pursue(source) or _replace(case)
        case Small() | Absent():
            return _replace(case)
        case _:  # pragma: no cover
            assert_never(case.look)


def _get_to_see(case: Case, source: RowPicture, ailment: Ailment) -> Action:
    """While its place does not answer, what we stored from that very place is as good."""
    held_up = case.hopeless(ailment) or case.later(ailment)
    if held_up is None:
        return Measure(source)
    return any_of([write_own_copy(case, source), held_up]) or held_up


def farewell(memory: Memory, now: datetime, *, asks: bool) -> Action:
    """The row is gone: live tasks end unwritten, nothing is bought. `asks`: there is a key to ask for them with."""
    own = [memory.tasks[p.task_id] for p in memory.purchases if p.task_id in memory.tasks]
    action = polls(own, now) or Wait(None)
    return action if asks or not isinstance(action, AskTask) else Wait(now + FOR_A_KEY)


def _stay_away(case: Case) -> Wait:
    if case.in_scope:
        return Wait(None, State.INVALID, Reason.INVALID_ROW)
    enters = enters_scope(case.track, case.memory, case.policy)
    return Wait(enters if case.track.audio_url and enters > case.now else None)


def _meanwhile(case: Case, action: Action, awaited: Rung) -> Action:
    """Whatever holds the track up, what was paid for is asked for, and fetched before it dies where it may be: before
    more is bought too, since the gate may be shut until it is judged."""
    if not isinstance(action, Wait | GiveUp | Buy):
        return action
    late = awaited(case)
    if late is None or not _may_ask(case, late):
        return action
    if not isinstance(late, Wait):
        return late
    if isinstance(action, GiveUp):
        return replace(action, recheck=_sooner(action.recheck, late.until))
    return replace(action, until=_sooner(action.until, late.until)) if isinstance(action, Wait) else action


def _sooner(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((at for at in (one, other) if at is not None), default=None)


def _keep(case: Case, good: Good) -> Action:
    """Set the resolution right, look again in time."""
    if case.track.has_resolution and case.track.resolution != good.resolution:
        return write_resolution(case, good.resolution)
    if good.measure_at <= case.now:
        return case.hopeless(good.ailment) or case.later(good.ailment, None) or Measure(good.source)
    return Wait(good.measure_at)


def _rehost(case: Case, source: RowPicture) -> Action | None:
    """A good picture that cannot be fetched just now is still a good picture."""
    action = case.pursue(source)
    return Wait(action.until) if isinstance(action, Wait) else action


def _replace(case: Case) -> Action:
    """Whatever it is given up for, a task that still runs is asked on, since a late result re-opens the track; so does
    a picture that was dead by mistake."""
    again = look_for_lost(case)
    if isinstance(again, Measure):
        return again
    action = _cheapest(case)
    if not isinstance(action, GiveUp):
        return action
    return replace(action, recheck=_sooner(_sooner(action.recheck, goes_on_at(case)), again.until if again else None))


def _cheapest(case: Case) -> Action:
    """What cannot be asked for want of a key is passed over, but nothing is bought in its place."""
    unasked = None
    for rung in _RUNGS:
        action = rung(case)
        if action is not None and _may_ask(case, action):
            return action
        unasked = unasked or action
    return buy(case) if unasked is None else Wait(None, None, Reason.UNAUTHORIZED)


def _may_ask(case: Case, action: Action) -> bool:
    match action:
        case AskTask():
            return case.policy.asks_tasks
        case AskSong():
            return case.policy.asks_songs
        case _:
            return True


_RUNGS: tuple[Rung, ...] = (write_stored, write_moved, list_store, follow_tasks, confirm_callbacks, follow_music)
