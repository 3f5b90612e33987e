"""What the gate knows, drawn from the purchases themselves: nothing is counted twice or forgotten in a restart."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from peewee import JOIN, fn

from reconciler.database import codec
from reconciler.database.connection import Connection
from reconciler.database.dialect import flag
from reconciler.database.statements import Answer, Question, Slot
from reconciler.database.tables import Bought, Closed, GateRow, Polled, Shape
from reconciler.domain.gate import Closure, GateName, GateView, Proof, Usage
from reconciler.domain.model import Outcome, Task, TaskState, Verdict
from reconciler.domain.policy import Policy
from reconciler.domain.purchases import overdue

_GATE = (GateRow.paused, GateRow.balance, GateRow.balance_at, GateRow.breaker)
_CLOSURE = (Closed.name, Closed.at, Closed.until, Closed.detail, Closed.trial, Closed.shape)
_PENDING = (
    *(Bought.shape, Bought.outcome, Bought.deadline, Bought.task_id, Bought.at),
    *(Polled.state, Polled.first_seen, Polled.created_at),
)
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)

Rows = list[tuple[Any, ...]]
_NO_GATE: tuple[Any, ...] = (False, None, None, None, None, 0, None, 0, None)

_SENT = Bought.sent == True  # noqa: E712


class GateReader:
    """Works inside the caller's transaction."""

    def __init__(self, connection: Connection, policy: Policy) -> None:
        self.connection, self.policy = connection, policy
        count, first, total = fn.count(Bought.token), fn.min(Bought.over_at), fn.sum(Bought.price)
        # The price of every intent that the balance may not know of: those under way when it was asked included.
        unaccounted = _SENT & (Bought.outcome != Outcome.NOTHING) & (Bought.over_at >= GateRow.balance_at)
        used = (Bought.select(each).where(_since(period)) for period in ("hour", "day") for each in (count, first))
        gate = GateRow.select(*_GATE, Bought.select(total).where(unaccounted), *used)
        by_index = connection.dialect.by_index
        good, rejected = (_judged(by_index(Bought.verdict == verdict)) for verdict in (Verdict.GOOD, Verdict.REJECTED))
        shapes = (Shape.shape, Shape.granted, flag(fn.exists(good)), rejected.select(fn.count(Bought.token)))
        recent = Bought.select(Bought.over_at).where(_since("window")).order_by(Bought.over_at)
        usage = (None, Bought.over_at)
        self._gate = connection.statement(gate, *_GATE, Bought.price, *usage, *usage)
        self._closed = connection.statement(Closed.select(*_CLOSURE).order_by(Closed.at), *_CLOSURE)
        self._recent = connection.statement(recent, Bought.over_at)
        self._pending = connection.statement(_pending(by_index(Bought.verdict == Verdict.PENDING)), *_PENDING)
        self._shapes = connection.statement(Shape.select(*shapes), *[None] * len(shapes))

    def view(self, now: datetime) -> GateView:
        return self.read(self.connection.ask(*self.asked(now)), now)

    def asked(self, now: datetime) -> list[Question]:
        """What `read` needs, to be asked together with whatever else is wanted."""
        return [
            self._gate.given(hour=now - _HOUR, day=now - _DAY),
            self._closed.given(),
            self._recent.given(window=now - self.policy.purchase_window),
            self._pending.given(held=now - self.policy.hold_unknown),
            self._shapes.given(),
        ]

    def read(self, answers: Sequence[Answer], now: datetime) -> GateView:
        gate, closed, recent, pending, shapes = (answer.rows for answer in answers)
        paused, balance, balance_at, breaker, spent, *used = gate[0] if gate else _NO_GATE
        running, unanswered, out = self._outstanding(pending, now)
        return GateView(
            now,
            paused=paused,
            closures=self._closures(closed, now),
            breaker=codec.load_breaker(breaker),
            balance=balance,
            balance_at=balance_at,
            spent_since=float(spent or 0.0),
            window=tuple(over_at + self.policy.purchase_window for (over_at,) in recent),
            hour=_usage(used[:2], _HOUR),
            day=_usage(used[2:], _DAY),
            running=running,
            open=unanswered,
            proofs={shape: Proof(bool(proven), out[shape], bad, granted) for shape, granted, proven, bad in shapes},
        )

    def _closures(self, rows: Rows, now: datetime) -> tuple[Closure, ...]:
        """Those that hold, and the last rate limit: the next is measured by it."""
        named = (self._closed.named(row) for row in rows)
        found = (Closure(**{**row, "shape": row["shape"] or None}) for row in named)
        return tuple(c for c in found if c.active(now) or c.name is GateName.RATE_LIMIT)

    def _outstanding(self, rows: Rows, now: datetime) -> tuple[int, int, Counter[str]]:
        """How many tasks run or may run, how many answers are awaited, how many purchases are out by shape."""
        running = unanswered = 0
        out: Counter[str] = Counter()
        for shape, outcome, deadline, *task in rows:
            if outcome is Outcome.ACCEPTED:
                state = _task_state(task, self.policy, now)
                running += state is TaskState.RUNNING
                out[shape] += state is not None
            else:
                awaited = outcome is Outcome.OPEN and now <= deadline
                running, unanswered = running + awaited, unanswered + awaited
                out[shape] += 1
        return running, unanswered, out


def _judged(so: Any) -> Any:
    """Purchases of a shape whose results were judged so."""
    return Bought.select(Bought.token).where((Bought.shape == Shape.shape) & so)


def _since(name: str) -> Any:
    return _SENT & (Bought.over_at > Slot(name))


def _usage(found: Sequence[Any], period: timedelta) -> Usage:
    """A request may have arrived as late as its answer, so it counts from then: no period ever holds more."""
    used, oldest = found
    return Usage(used, None if oldest is None else oldest + period)


def _pending(pending: Any) -> Any:
    """Accepted ones, and those without an answer that are still held."""
    query = Bought.select(*_PENDING).join(Polled, JOIN.LEFT_OUTER, on=(Bought.task_id == Polled.id))
    held = Bought.outcome.in_([Outcome.OPEN, Outcome.UNKNOWN]) & (Bought.deadline > Slot("held"))
    return query.where(pending & ((Bought.outcome == Outcome.ACCEPTED) | held))


def _task_state(row: list[Any], policy: Policy, now: datetime) -> TaskState | None:
    """None: overdue, so it holds no slot. A purchase whose answer was a result has no task to wait for."""
    task_id, at, state, first_seen, created_at = row
    if task_id is None:
        return TaskState.SUCCEEDED
    task = Task(task_id, first_seen or at, created_at, state or TaskState.RUNNING)
    return None if overdue(task, policy, now) else task.state
