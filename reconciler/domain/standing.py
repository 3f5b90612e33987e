"""Where a track stands: the one judge of states and reasons, for gauges, tables and commands alike."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, assert_never

from reconciler.domain.actions import (
    Action,
    AskSong,
    AskTask,
    Buy,
    Effect,
    Fetch,
    GiveUp,
    ListStore,
    Measure,
    TaskResult,
    Wait,
    Write,
)
from reconciler.domain.case import Case
from reconciler.domain.catalogue import offers
from reconciler.domain.following import goes_on_at
from reconciler.domain.gate import GateName, GateView, refusal
from reconciler.domain.horizon import stands_until
from reconciler.domain.look import Absent, Dying, Good, Huge, Larger, Small, Unmeasured
from reconciler.domain.plan import plan
from reconciler.domain.policy import Policy
from reconciler.domain.purchases import overdue
from reconciler.domain.states import Place, Reason, State


@dataclass(frozen=True, slots=True)
class Standing:
    """State None: not in scope. `due_at` None: nothing to do until the world changes.

    `held`: the shape whose gate must open before the track can go on, or the name of the gate itself. `expires_at`:
    when its picture may be gone. `stands_until`: until when state and reason hold if only time passes. `wants`: the
    shape that the next step would buy, as a repeat or not: the reason is then the gate's, see `reason_at`.
    """

    state: State | None
    reason: Reason | None
    due_at: datetime | None
    held: str | None = None
    settles_at: datetime | None = None
    expires_at: datetime | None = None
    stands_until: datetime | None = None
    wants: str | None = None
    repeats: bool = False


def classify(case: Case, gate: GateView) -> Standing:
    """Where the track stands, by what is planned for it."""
    return standing(case, plan(case), gate)


def standing(case: Case, action: Action, gate: GateView) -> Standing:
    """Where the track stands, given what will be done next."""
    state, reason = _place(case, action, gate)
    due_at, held = _when(case, action, gate)
    return Standing(
        state,
        reason,
        due_at,
        held,
        settles_at=case.settles_at,
        expires_at=case.look.expires_at if isinstance(case.look, Dying) else None,
        stands_until=stands_until(case, action),
        wants=action.shape if isinstance(action, Buy) else None,
        repeats=isinstance(action, Buy) and action.repeat_of is not None,
    )


def reason_at(gate: GateView, shape: str, price: float, policy: Policy, *, repeat: bool) -> Reason:
    """Why a track that would buy next has not bought yet."""
    refused = refusal(gate, shape, price, policy, repeat=repeat)
    return refused.reason if refused is not None else Reason.DUE


def is_waiting(state: State, reason: Reason | None) -> bool:
    """The next step need not wait for anything but somebody who takes it."""
    return state is State.UNVERIFIED or reason is Reason.DUE


class Stood(NamedTuple):
    """Where a track stood when it was last looked at, as far as that is kept."""

    state: State
    reason: Reason | None
    wants: str | None
    """The shape that it would buy next."""
    repeats: bool

    def stands(self, gate: GateView, policy: Policy) -> Place:
        """By the gate as it is now."""
        price = dict(offers(policy)).get(self.wants or "")
        if self.reason is None or self.wants is None or price is None:
            return self.state, self.reason
        return self.state, reason_at(gate, self.wants, price, policy, repeat=self.repeats)


def newcomer(*, flawed: bool, settles: bool, has_picture: bool) -> Place:
    """What `classify` says of a row in scope that nobody looked at yet."""
    if flawed:
        return State.INVALID, Reason.INVALID_ROW
    if settles:
        return State.SETTLING, None
    return (State.UNVERIFIED, None) if has_picture else (State.MISSING, Reason.DUE)


def _when(case: Case, action: Action, gate: GateView) -> tuple[datetime | None, str | None]:
    match action:
        case Wait(until=until, reason=Reason.PAUSED):
            return until, GateName.PAUSED
        case Wait(until=until, reason=Reason.UNAUTHORIZED):
            return until, GateName.KEY
        case Wait(until=until) | GiveUp(recheck=until):
            return until, None
        case Buy():
            refused = refusal(gate, action.shape, action.price, case.policy, repeat=action.repeat_of is not None)
            if refused is None:
                return case.now, None
            return (refused.until, None) if action.repeat_of and refused.until else (goes_on_at(case), action.shape)
        case AskTask() | AskSong() if gate.refuses_key():
            return None, GateName.KEY
        case Measure() | Fetch() | AskTask() | AskSong() | ListStore() | Write():
            return case.now, None
        case _:  # pragma: no cover
            assert_never(action)


def _place(case: Case, action: Action, gate: GateView) -> tuple[State | None, Reason | None]:
    if not case.in_scope:
        return None, None
    if case.track.flaw is not None:
        return State.INVALID, Reason.INVALID_ROW
    if isinstance(action, GiveUp):
        return State.FAILED, action.reason
    if isinstance(case.look, Good):
        return State.OK, None
    if isinstance(case.look, Dying):
        return (State.SETTLING if case.settles_at else State.EXPIRING), None
    return _stuck(case, action, gate)


def _stuck(case: Case, action: Effect | Write | Wait, gate: GateView) -> Place:
    match action:
        case Wait(state=State() as state, reason=reason):
            return state, reason
        case Wait(reason=reason):
            return _by_look(case, reason or Reason.DUE)
        case AskTask(task_id=task_id):
            return State.AWAITING, _running(case, task_id)
        case Fetch(source=TaskResult()):
            return State.FETCHING, Reason.IN_FLIGHT
        case Write(restore=False, key=str()):
            return State.FETCHING, Reason.IN_FLIGHT
        case Buy():
            repeat = action.repeat_of is not None
            return _by_look(case, reason_at(gate, action.shape, action.price, case.policy, repeat=repeat))
        case Measure() if isinstance(case.look, Absent):
            return _by_look(case, Reason.HOST_SUSPECT)  # only then is a dead picture looked for again
        case Fetch() | Measure() | AskSong() | ListStore() | Write():
            return _by_look(case, Reason.DUE)
        case _:  # pragma: no cover
            assert_never(action)


def _running(case: Case, task_id: str) -> Reason:
    task = case.memory.tasks.get(task_id)
    late = task is not None and overdue(task, case.policy, case.now)
    return Reason.OVERDUE if late else Reason.IN_FLIGHT


def _by_look(case: Case, reason: Reason) -> Place:
    if case.settles_at is not None:
        return State.SETTLING, None
    match case.look:
        case Unmeasured():
            return State.UNVERIFIED, None
        case Small() | Larger():
            return State.BELOW_TARGET, reason
        case Absent():
            return State.MISSING, reason
        case Good() | Dying() | Huge():  # pragma: no cover
            raise AssertionError("what is good or given up is judged before")
        case _:  # pragma: no cover
            assert_never(case.look)
