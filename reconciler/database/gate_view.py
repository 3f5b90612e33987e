"""What the gate knows, drawn from the purchases themselves: nothing is counted twice or forgotten in a restart."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from peewee import JOIN, SQL, fn

from reconciler.database import codec
from reconciler.database.connection import Connection
from reconciler.database.dialect import flag
from reconciler.database.statements import Answer, Question, Slot
from reconciler.database.tables import Bought, Closed, GateRow, Polled, Shape
from reconciler.domain.gate import Closure, GateView, Proof, Usage
from reconciler.domain.model import Outcome, TaskState, Verdict
from reconciler.domain.policy import Policy

_GATE = (GateRow.paused, GateRow.balance, GateRow.balance_at, GateRow.breaker)
_CLOSURE = (Closed.name, Closed.at, Closed.until, Closed.detail, Closed.trial, Closed.shape)
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)

MANY = 10_000
"""So many purchases of a day are not counted at each look, but what came and left since they were."""
COUNTED_FOR = timedelta(minutes=10)
"""For so long: an answer that is saved very late changes what was counted."""
NEAR = 100
"""Where the day's budget has room for fewer, all are counted at each look."""

Rows = list[tuple[Any, ...]]
_NO_GATE: tuple[Any, ...] = (False, None, None, None, None, 0, None, 0, None, 0)

_SENT = Bought.sent == True  # noqa: E712


class _Counted(NamedTuple):
    """Purchases between the beginnings of a day and of its last hour; first counted `at`."""

    at: datetime
    day: datetime
    hour: datetime
    used: int


class GateReader:
    """Works inside the caller's transaction."""

    def __init__(self, connection: Connection, policy: Policy) -> None:
        self.connection, self.policy = connection, policy
        count, first, total = fn.count(SQL("*")), fn.min(Bought.over_at), fn.sum(Bought.price)
        # The price of every intent that the balance may not know of: those under way when it was asked included.
        unaccounted = _SENT & (Bought.outcome != Outcome.NOTHING) & (Bought.over_at >= GateRow.balance_at)
        # Nothing is counted twice: the day begins where the hour ends.
        hour, older = _since("hour"), Bought.over_at <= Slot("hour")
        used = (
            (hour, count),
            (hour, first),
            (_since("counted") & older, count),
            (_since("day") & older, first),
            (_since("began") & (Bought.over_at <= Slot("day")), count),
        )
        sums = (Bought.select(each).where(period) for period, each in used)
        gate = GateRow.select(*_GATE, Bought.select(total).where(unaccounted), *sums)
        by_index = connection.dialect.by_index
        good, rejected = (_judged(by_index(Bought.verdict == verdict)) for verdict in (Verdict.GOOD, Verdict.REJECTED))
        shapes = (Shape.shape, Shape.granted, flag(fn.exists(good)), rejected.select(fn.count(Bought.token)))
        # So many fill the window; who came before them leaves it sooner.
        recent = Bought.select(Bought.over_at).where(_since("window")).order_by(Bought.over_at.desc())
        recent = recent.limit(Slot("places"))
        usage = (None, Bought.over_at)
        self._gate = connection.statement(gate, *_GATE, Bought.price, *usage, *usage, None)
        self._counted: _Counted | None = None
        self._closed = connection.statement(Closed.select(*_CLOSURE).order_by(Closed.at), *_CLOSURE)
        self._recent = connection.statement(recent, Bought.over_at)
        leaving = Bought.select(Bought.over_at).where(_since("begin")).order_by(Bought.over_at)
        self._leaving = connection.statement(leaving.limit(1).offset(Slot("before")), Bought.over_at)
        self._pending = connection.statement(_pending(by_index(Bought.verdict == Verdict.PENDING)), *[None] * 4)
        self._shapes = connection.statement(Shape.select(*shapes), *[None] * len(shapes))

    def view(self, now: datetime) -> GateView:
        return self.exact(self.read(self.connection.ask(*self.asked(now)), now))

    def asked(self, now: datetime) -> list[Question]:
        """What `read` needs, to be asked together with whatever else is wanted."""
        known = self._known(now)
        return [
            self._gate.given(hour=now - _HOUR, counted=known.hour, day=now - _DAY, began=known.day),
            self._closed.given(),
            self._recent.given(window=now - self.policy.purchase_window, places=self.policy.purchase_limit),
            self._pending.given(now=now, held=now - self.policy.hold_unknown, overdue=now - self.policy.task_timeout),
            self._shapes.given(),
        ]

    def exact(self, view: GateView) -> GateView:
        """With when a budget that was lowered has room again, for which more than the oldest has to leave."""
        if not view.overspent(self.policy):
            return view
        hour = self._room(view.hour, self.policy.per_hour, view.now, _HOUR)
        return replace(view, hour=hour, day=self._room(view.day, self.policy.per_day, view.now, _DAY))

    def read(self, answers: Sequence[Answer], now: datetime) -> GateView:
        gate, closed, recent, pending, shapes = (answer.rows for answer in answers)
        paused, balance, balance_at, breaker, spent, *used = gate[0] if gate else _NO_GATE
        last_hour, last_hours_first, came, days_first, left = used
        older = self._count(now, came - left, last_hour)
        out = {shape: count for shape, _, _, count in pending}
        return GateView(
            now,
            paused=paused,
            closures=tuple(map(self._closure, closed)),
            breaker=codec.load_breaker(breaker),
            balance=balance,
            balance_at=balance_at,
            spent_since=float(spent or 0.0),
            window=tuple(over_at + self.policy.purchase_window for (over_at,) in reversed(recent)),
            hour=_usage(last_hour, last_hours_first, _HOUR),
            day=_usage(last_hour + older, days_first or last_hours_first, _DAY),
            running=sum(running for _, running, _, _ in pending),
            open=sum(awaited for _, _, awaited, _ in pending),
            proofs={s: Proof(bool(proven), out.get(s, 0), bad, granted) for s, granted, proven, bad in shapes},
        )

    def _room(self, usage: Usage, limit: int, now: datetime, period: timedelta) -> Usage:
        if limit == 0:
            return Usage(usage.used)
        last = self._leaving.one(begin=now - period, before=usage.used - limit) if usage.used > limit else None
        return usage if last is None else _usage(usage.used, last[0], period)

    def _known(self, now: datetime) -> _Counted:
        """Nothing, where all is to be counted anew."""
        counted, day = self._counted, now - _DAY
        if counted is None or counted.hour > now - _HOUR or now - counted.at > COUNTED_FOR:
            return _Counted(now, day, day, 0)
        return counted

    def _count(self, now: datetime, more: int, last_hour: int) -> int:
        known = self._known(now)
        counted = _Counted(known.at, now - _DAY, now - _HOUR, known.used + more)
        is_far = counted.used + last_hour < self.policy.per_day - NEAR
        self._counted = counted if counted.used >= MANY and is_far else None
        return counted.used

    def _closure(self, row: tuple[Any, ...]) -> Closure:
        named = self._closed.named(row)
        return Closure(**{**named, "shape": named["shape"] or None})


def _judged(so: Any) -> Any:
    """Purchases of a shape whose results were judged so."""
    return Bought.select(Bought.token).where((Bought.shape == Shape.shape) & so)


def _since(name: str) -> Any:
    return _SENT & (Bought.over_at > Slot(name))


def _usage(used: int, oldest: datetime | None, period: timedelta) -> Usage:
    """A request may have arrived as late as its answer, so it counts from then: no period ever holds more."""
    return Usage(used, None if oldest is None else oldest + period)


def _pending(pending: Any) -> Any:
    """By shape, of those accepted and those without an answer that are still held: how many tasks run or may run, how
    many answers are awaited, how many purchases are out. A task that is overdue counts nowhere."""
    accepted, awaited = Bought.outcome == Outcome.ACCEPTED, Bought.outcome.in_([Outcome.OPEN, Outcome.UNKNOWN])
    began = fn.coalesce(Polled.created_at, Polled.first_seen, Bought.at)
    unended = Bought.task_id.is_null(False) & (fn.coalesce(Polled.state, TaskState.RUNNING) == TaskState.RUNNING)
    overdue = accepted & unended & (began < Slot("overdue"))
    answers = (Bought.outcome == Outcome.OPEN) & (Bought.deadline >= Slot("now"))
    runs = answers | (accepted & unended & (began >= Slot("overdue")))
    counts = (fn.sum(flag(each)) for each in (runs, answers, ~overdue))
    shape = Bought.shape.concat("")  # no index: SQLite would read that of shapes from end to end
    query = Bought.select(shape, *counts).join(Polled, JOIN.LEFT_OUTER, on=(Bought.task_id == Polled.id))
    held = awaited & (Bought.deadline > Slot("held"))
    return query.where(pending & (accepted | held)).group_by(shape)
