"""The only door to money: every check and the intent in one transaction, under the database's write lock."""

import secrets
from datetime import datetime
from typing import Any

from reconciler.database import codec
from reconciler.database.app_tracks import AppTracks
from reconciler.database.changes import change
from reconciler.database.clock_jumps import ClockJumps
from reconciler.database.connection import Connection
from reconciler.database.gate_view import GateReader
from reconciler.database.leases import MINE, named
from reconciler.database.memories import Memories
from reconciler.database.schema import AppTable
from reconciler.database.statements import Answer, Slot, slots
from reconciler.database.tables import ANEW, Closed, GateRow, Remembered, Shape
from reconciler.domain import purchases
from reconciler.domain.actions import Buy
from reconciler.domain.breaker import heard
from reconciler.domain.closing import key_taken, lengthened, order_taken
from reconciler.domain.gate import Closure, GateName, GateView, NotNow, refusal
from reconciler.domain.model import Memory, Outcome, Purchase, TaskState
from reconciler.domain.policy import Policy
from reconciler.domain.states import Reason, State
from reconciler.ports import Held, Lease

_LEASED = Remembered.select(Remembered.doc).where(MINE & (Remembered.lease_until > Slot("now")))


class SqlGate:
    def __init__(self, connection: Connection, app: AppTable, policy: Policy) -> None:
        self.connection, self.policy = connection, policy
        self.tracks = AppTracks(connection, app)
        self.memories = Memories(connection, app, policy)
        self.reader = GateReader(connection, policy)
        self.jumps = ClockJumps(connection, policy, self.memories)
        self._leased = connection.statement(_LEASED, Remembered.doc)
        trial = (Closed.shape == Slot("shape")) & (Closed.trial == True)  # noqa: E712
        self._end_trial = connection.statement(Closed.update({Closed.trial: False}).where(trial))
        shape: Any = Shape.insert(slots((Shape.shape, Shape.granted)))
        self._know_shape = connection.statement(shape.on_conflict(conflict_target=[Shape.shape], action="NOTHING"))
        self._breaker = connection.statement(GateRow.select(GateRow.breaker), GateRow.breaker)

    def reserve(self, held: Held, order: Buy) -> Purchase | NotNow:
        with self.connection.writing(gate=True) as now:
            view, found = self._look(held.lease, now)
            if found is None:
                return NotNow(Reason.IN_FLIGHT, None, "somebody else works this track now")
            refused = (
                _changed(held, found)
                or _track_refuses(found.memory, order, self.policy, now)
                or refusal(view, order.shape, order.price, self.policy, repeat=order.repeat_of is not None)
            )
            return refused or self._intend(held.lease, order, view, now)

    def view(self) -> GateView:
        now, (ahead, *gate) = self.connection.asking(lambda now: [self.jumps.asked(now), *self.reader.asked(now)])
        if self.jumps.found(ahead, now):
            with self.connection.writing(gate=True) as now:
                return self._view(now)
        view = self.reader.read(gate, now)
        if not view.overspent(self.policy):
            return view
        with self.connection.snapshot() as now:
            return self.reader.view(now)

    def _view(self, now: datetime) -> GateView:
        """Under the gate's lock."""
        (ahead,) = self.connection.ask(self.jumps.asked(now))
        self._mend(ahead, now)
        return self.reader.view(now)

    def _look(self, lease: Lease, now: datetime) -> tuple[GateView, Held | None]:
        """The gate; and the track as it is now, if the lease holds."""
        mine, jumps, row = (
            self._leased.given(**named(lease), now=now),
            self.jumps.asked(now),
            self.tracks.of([lease.track_id]),
        )
        of_track, gate = self.memories.of([lease.track_id]), self.reader.asked(now)
        leased, ahead, rows, *rest = self.connection.ask(mine, jumps, row, *of_track, *gate)
        if self._mend(ahead, now):
            return self._look(lease, now)
        view = self.reader.exact(self.reader.read(rest[len(of_track) :], now))
        if not leased.rows:
            return view, None
        docs, tracks = {lease.track_id: leased.rows[0][0]}, self.tracks.tracks(rows)
        memory = self.memories.load(docs, tracks, rest[: len(of_track)], now)[lease.track_id]
        if isinstance(memory, Exception):
            raise memory
        return view, Held(lease, tracks.get(lease.track_id), memory, now)

    def _mend(self, ahead: Answer, now: datetime) -> bool:
        """What lies further ahead than it could counts as now. True: there was such."""
        is_ahead = self.jumps.found(ahead, now)
        if is_ahead:
            self.jumps.mend(ahead, now)
        return is_ahead

    def balance(self, credits: float, asked_at: datetime) -> None:
        """Of an older answer that comes late the credits are not taken."""
        with self.connection.writing(gate=True, own=True) as now:
            newer = GateRow.balance_at.is_null() | (GateRow.balance_at <= asked_at)
            self.connection.run(GateRow.update(balance=credits, balance_at=asked_at).where(newer))
            for closure in self._view(now).closures:
                if (left := key_taken(closure, now)) != closure:
                    self._put(left)

    def close(self, closure: Closure, *, ordered: bool = False) -> Closure:
        with self.connection.writing(gate=True, own=True) as now:
            same = (c for c in self._view(now).closures if (c.name, c.shape) == (closure.name, closure.shape))
            holds = lengthened(closure, next(same, None), ordered=ordered)
            self._put(holds)
        return holds

    def order_taken(self, order: Purchase) -> None:
        with self.connection.writing(gate=True, own=True) as now:
            for closure in self._view(now).closures:
                left = order_taken(closure, order)
                if left is None:
                    self.connection.delete(Closed, _rejected(order.shape))
                elif left != closure:
                    self._put(left)

    def _put(self, closure: Closure) -> None:
        row = {
            Closed.name: closure.name,
            Closed.shape: closure.shape or "",
            Closed.at: closure.at,
            Closed.until: closure.until,
            Closed.detail: closure.detail,
            Closed.trial: closure.trial,
        }
        self.connection.run(Closed.insert(row).on_conflict(conflict_target=[Closed.name, Closed.shape], update=row))

    def heard(self, *, healthy: bool, bought: bool) -> None:
        """Most calls change nothing, and then nothing is written."""
        with self.connection.snapshot(own=True) as now:
            if self._breaker_after(now, healthy=healthy, bought=bought) is None:
                return
        with self.connection.writing(gate=True, own=True) as now:
            doc = self._breaker_after(now, healthy=healthy, bought=bought)
            if doc is not None:
                self.connection.run(GateRow.update(breaker=doc))

    # -- an operator's word --------------------------------------------------------------------------------------

    def pause(self, *, paused: bool) -> bool:
        """Stop purchases and writes to rows, or let them go on. False: it was so already.

        To stop comes first and alone: it holds though the rest takes long or fails, which is done when said again.
        """
        with self.connection.writing(gate=True, own=True) as now:
            before = self._flagged(paused=paused)
            if not paused:
                self._stand_anew()
                again = {Remembered.due_at: now, Remembered.held: None}
                change(self.connection, Remembered.held == GateName.PAUSED, again)
        if paused:
            with self.connection.writing(gate=True, own=True):
                self._stand_anew()
        return before != paused

    def _flagged(self, *, paused: bool) -> bool:
        """How it was before."""
        before = self.memories.paused()
        self.connection.run(GateRow.update(paused=paused))
        return before

    def _stand_anew(self) -> None:
        unwritten = Remembered.state.is_null(False) & (Remembered.state != State.OK)
        change(self.connection, unwritten, {Remembered.stands_until: ANEW})

    def grant(self, shape: str) -> None:
        """Allow one more try of a shape that gave no usable picture."""
        with self.connection.writing(gate=True, own=True):
            row = {Shape.shape: shape, Shape.granted: 1}
            more = {Shape.granted: Shape.granted + 1}
            self.connection.run(Shape.insert(row).on_conflict(conflict_target=[Shape.shape], update=more))

    def try_once(self, shape: str) -> None:
        with self.connection.writing(gate=True, own=True):
            self.connection.run(Closed.update({Closed.trial: True}).where(_rejected(shape)))

    def _breaker_after(self, now: datetime, *, healthy: bool, bought: bool) -> str | None:
        before = codec.load_breaker((self._breaker.one() or (None,))[0])
        after = heard(before, healthy=healthy, bought=bought, now=now, policy=self.policy)
        return None if after == before else codec.dump_breaker(after)

    def _intend(self, lease: Lease, order: Buy, view: GateView, now: datetime) -> Purchase:
        send_before = now + self.policy.send_within
        purchase = Purchase(
            token=secrets.token_urlsafe(24),
            track_id=lease.track_id,
            model=order.model,
            shape=order.shape,
            prompt=order.prompt,
            price=order.price,
            at=now,
            send_before=send_before,
            deadline=send_before + self.policy.request_timeout,
            repeat_of=order.repeat_of,
            song=order.song,
        )
        is_new = order.shape not in view.proofs
        self.connection.ask(
            self.memories.purchase_saved(purchase),
            *([self._know_shape.given(shape=order.shape, granted=0)] if is_new else []),
            self._end_trial.given(shape=order.shape),
            last=True,
        )
        return purchase


def _rejected(shape: str) -> Any:
    return (Closed.name == GateName.REQUEST_REJECTED) & (Closed.shape == shape)


def _changed(before: Held, found: Held) -> NotNow | None:
    """What the order was decided on is no more."""
    if found.track is not None and _told(found) == _told(before):
        return None
    return NotNow(Reason.IN_FLIGHT, None, "the row was changed since it was looked at")


def _told(held: Held) -> tuple[object, ...]:
    """What others say of a track, at any time."""
    return held.track, held.memory.handed, held.memory.callbacks


def _track_refuses(memory: Memory, order: Buy, policy: Policy, now: datetime) -> NotNow | None:
    """What the plan should have seen, checked again where it cannot be stale."""
    waiting = purchases.unanswered(memory.purchases, now)
    if waiting is not None:
        return NotNow(Reason.IN_FLIGHT, waiting.deadline, "a purchase for this track waits for its answer")
    return _running(memory, policy, now) or _lost(memory, order, policy, now) or _spent(memory, order, policy)


def _running(memory: Memory, policy: Policy, now: datetime) -> NotNow | None:
    own = (memory.tasks.get(p.task_id or "") for p in memory.purchases if p.outcome is Outcome.ACCEPTED)
    live = (t for t in own if t is not None and t.state is TaskState.RUNNING and not purchases.overdue(t, policy, now))
    task = next(live, None)
    return None if task is None else NotNow(Reason.IN_FLIGHT, task.next_poll, f"task {task.id} of this track runs")


def _lost(memory: Memory, order: Buy, policy: Policy, now: datetime) -> NotNow | None:
    lost = purchases.lost_attempt(memory.purchases, now)
    if not lost:
        return NotNow(Reason.IN_FLIGHT, now, "there is nothing to repeat") if order.repeat_of else None
    until = lost[0].held_until(policy.hold_unknown)
    repeated = purchases.repeated(memory.purchases)
    if not repeated and order.repeat_of == lost[0].token and until <= now:
        return None
    text = "the answer to a purchase of this track was lost"
    return NotNow(Reason.UNKNOWN_PURCHASE, until if until > now and not repeated else None, text)


def _spent(memory: Memory, order: Buy, policy: Policy) -> NotNow | None:
    """A repeat is no new attempt."""
    if order.repeat_of is not None:
        return None
    mine, granted = memory.purchases, memory.granted
    if purchases.spent(mine) >= policy.per_track + granted:
        return NotNow(Reason.ATTEMPTS_SPENT, None, f"budget.per_track = {policy.per_track} is spent")
    if purchases.attempts(mine) >= policy.attempts_per_track + granted:
        return NotNow(Reason.ATTEMPTS_SPENT, None, f"budget.attempts_per_track = {policy.attempts_per_track} is spent")
    return None
