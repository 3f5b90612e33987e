"""What the gate knows, drawn from the purchases themselves: nothing is counted twice or forgotten in a restart."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from peewee import JOIN, fn

from reconciler.database import codec
from reconciler.database.connection import Connection
from reconciler.database.statements import Slot
from reconciler.database.tables import Bought, Closed, GateRow, Polled, Shape
from reconciler.domain.gate import Closure, GateView, Proof, Usage
from reconciler.domain.model import Outcome, Task, TaskState, Verdict
from reconciler.domain.policy import Policy
from reconciler.domain.purchases import overdue

_GATE = (GateRow.paused, GateRow.balance, GateRow.balance_at, GateRow.breaker)
_CLOSURE = (Closed.name, Closed.at, Closed.until, Closed.detail, Closed.trial, Closed.shape)
_PENDING = (
    *(Bought.shape, Bought.outcome, Bought.deadline, Bought.task_id, Bought.at),
    *(Polled.state, Polled.first_seen, Polled.created_at),
)
_SENT = Bought.sent == True  # noqa: E712


class GateReader:
    """Works inside the caller's transaction."""

    def __init__(self, connection: Connection, policy: Policy) -> None:
        self.policy = policy
        recent = _SENT & (Bought.over_at > Slot("after"))
        count, first, total = fn.count(Bought.token), fn.min(Bought.over_at), fn.sum(Bought.price)
        unaccounted = _SENT & (Bought.outcome != Outcome.NOTHING) & (Bought.over_at >= Slot("since"))
        judged = (Bought.shape == Slot("shape")) & (Bought.verdict == Slot("verdict"))
        shapes = (Shape.shape, Shape.granted)
        self._gate = connection.statement(GateRow.select(*_GATE), *_GATE)
        self._closed = connection.statement(Closed.select(*_CLOSURE).order_by(Closed.at), *_CLOSURE)
        self._unaccounted = connection.statement(Bought.select(total).where(unaccounted), Bought.price)
        self._recent = connection.statement(
            Bought.select(Bought.over_at).where(recent).order_by(Bought.over_at), Bought.over_at
        )
        self._used = connection.statement(Bought.select(count, first).where(recent), None, Bought.over_at)
        self._pending = connection.statement(_pending(), *_PENDING)
        self._shapes = connection.statement(Shape.select(*shapes), *shapes)
        self._any = connection.statement(Bought.select(Bought.token).where(judged).limit(1), Bought.token)
        self._count = connection.statement(Bought.select(count).where(judged), None)

    def view(self, now: datetime) -> GateView:
        paused, balance, balance_at, breaker = self._gate.one() or (False, None, None, None)
        running, unanswered, out = self._outstanding(now)
        return GateView(
            now,
            paused=paused,
            closures=self._closures(now),
            breaker=codec.load_breaker(breaker),
            balance=balance,
            balance_at=balance_at,
            spent_since=self._spent(balance_at),
            window=self._window(now),
            hour=self._usage(now, timedelta(hours=1)),
            day=self._usage(now, timedelta(days=1)),
            running=running,
            open=unanswered,
            proofs=self._proofs(out),
        )

    def _closures(self, now: datetime) -> tuple[Closure, ...]:
        rows = self._closed.dicts()
        found = (Closure(**{**row, "shape": row["shape"] or None}) for row in rows)
        return tuple(closure for closure in found if closure.active(now))

    def _spent(self, since: datetime | None) -> float:
        """The price of every intent that the balance may not know of: those under way when it was asked included."""
        row = self._unaccounted.one(since=since) if since else None
        return float(row[0] or 0.0) if row else 0.0

    def _window(self, now: datetime) -> tuple[datetime, ...]:
        window = self.policy.purchase_window
        return tuple(over_at + window for (over_at,) in self._recent.rows(after=now - window))

    def _usage(self, now: datetime, period: timedelta) -> Usage:
        """A request may have arrived as late as its answer, so it counts from then: no period ever holds more."""
        used, oldest = self._used.one(after=now - period) or (0, None)
        return Usage(used, None if oldest is None else oldest + period)

    def _outstanding(self, now: datetime) -> tuple[int, int, Counter[str]]:
        """How many tasks run or may run, how many answers are awaited, how many purchases are out by shape."""
        running = unanswered = 0
        out: Counter[str] = Counter()
        for shape, outcome, deadline, *task in self._pending.rows(held=now - self.policy.hold_unknown):
            if outcome is Outcome.ACCEPTED:
                state = _task_state(task, self.policy, now)
                running += state is TaskState.RUNNING
                out[shape] += state is not None
            else:
                awaited = outcome is Outcome.OPEN and now <= deadline
                running, unanswered = running + awaited, unanswered + awaited
                out[shape] += 1
        return running, unanswered, out

    def _proofs(self, out: Counter[str]) -> dict[str, Proof]:
        return {shape: self._proof(shape, out[shape], granted) for shape, granted in self._shapes.rows()}

    def _proof(self, shape: str, out: int, granted: int) -> Proof:
        proven = self._any.one(shape=shape, verdict=Verdict.GOOD) is not None
        (refused,) = self._count.one(shape=shape, verdict=Verdict.REJECTED) or (0,)
        return Proof(proven, out, refused, granted)


def _pending() -> Any:
    """Accepted ones, and those without an answer that are still held."""
    query = Bought.select(*_PENDING).join(Polled, JOIN.LEFT_OUTER, on=(Bought.task_id == Polled.id))
    held = Bought.outcome.in_([Outcome.OPEN, Outcome.UNKNOWN]) & (Bought.deadline > Slot("held"))
    return query.where((Bought.verdict == Verdict.PENDING) & ((Bought.outcome == Outcome.ACCEPTED) | held))


def _task_state(row: list[Any], policy: Policy, now: datetime) -> TaskState | None:
    """None: overdue, so it holds no slot. A purchase whose answer was a result has no task to wait for."""
    task_id, at, state, first_seen, created_at = row
    if task_id is None:
        return TaskState.SUCCEEDED
    task = Task(task_id, first_seen or at, created_at, state or TaskState.RUNNING)
    return None if overdue(task, policy, now) else task.state
