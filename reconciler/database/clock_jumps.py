"""After the clock was set back, times that lie ahead count as now: they must not block the gate until they come."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from peewee import Case, Value

from reconciler.database import codec
from reconciler.database.changes import change
from reconciler.database.connection import Connection
from reconciler.database.memories import Memories
from reconciler.database.statements import Answer, Question, Slot
from reconciler.database.tables import Bought, Closed, GateRow, Remembered
from reconciler.domain.breaker import Breaker
from reconciler.domain.model import Purchase
from reconciler.domain.policy import Policy

_CLOSURE = (Closed.name, Closed.shape, Closed.at, Closed.until)
_GATE = (GateRow.balance_at, GateRow.breaker)


class ClockJumps:
    """Works inside the caller's transaction."""

    def __init__(self, connection: Connection, policy: Policy, memories: Memories) -> None:
        self.connection, self.policy, self.memories = connection, policy, memories
        bought_ahead = _bought_ahead(Slot("now"), Slot("latest"))
        bought = Bought.select(*codec.PURCHASE_COLUMNS).where(bought_ahead).order_by(Bought.token)
        closed = Closed.select(*_CLOSURE).where(Closed.at > Slot("now"))
        too_long = Remembered.lease_until > Slot("far")
        this = (Closed.name == Slot("name")) & (Closed.shape == Slot("shape"))
        shifted = {Closed.at: Slot("at"), Closed.until: Slot("until")}
        gate = {GateRow.balance_at: Slot("balance_at"), GateRow.breaker: Slot("breaker")}
        # In order, since a database that has counted nothing yet would read whole tables to see that there is none.
        first = (
            Bought.select(Bought.over_at).where(bought_ahead).order_by(Bought.over_at.desc()),
            Closed.select(Closed.at).where(Closed.at > Slot("now")),
            Remembered.select(Remembered.lease_until).where(too_long).order_by(Remembered.lease_until.desc()),
        )
        ahead = (each.limit(1) for each in first)
        self._ahead = connection.statement(GateRow.select(*_GATE, *ahead), *_GATE, None, None, None)
        self._bought = connection.statement(connection.dialect.locked(bought), *codec.PURCHASE_COLUMNS)
        self._closed = connection.statement(closed, *_CLOSURE)
        self._shift = connection.statement(Closed.update(shifted).where(this))
        self._save_gate = connection.statement(GateRow.update(gate))

    def asked(self, now: datetime) -> Question:
        """What `found` and `mend` need, to be asked together with whatever else is wanted."""
        return self._ahead.given(**self._beyond(now), far=self._far(now))

    def found(self, answer: Answer, now: datetime) -> bool:
        """Something lies further ahead than it could."""
        (*gate, bought, closed, leased) = (answer.rows or [(None,) * 5])[0]
        return bool(bought or closed or leased) or self._gate_ahead(gate, now) is not None

    def mend(self, answer: Answer, now: datetime) -> None:
        """Set it right, where something was found: tracks first, as whoever works them locks them, and saves what was
        learned of their orders."""
        too_long = Remembered.lease_until > self._far(now)
        ordered = Remembered.track_id.in_(Bought.select(Bought.track_id).where(_bought_ahead(**self._beyond(now))))
        until = Case(None, [(too_long, Value(now, Remembered.lease_until.db_value))], Remembered.lease_until)
        change(self.connection, too_long | ordered, {Remembered.lease_until: until})
        bought, closed = self.connection.ask(self._bought.given(**self._beyond(now)), self._closed.given(now=now))
        asked = [self.memories.purchase_saved(_purchase(codec.purchase(row), self.policy, now)) for row in bought.rows]
        for name, shape, at, until in closed.rows:
            asked.append(self._shift.given(name=name, shape=shape, at=now, until=now + (until - at) if until else None))
        ahead = self._gate_ahead(answer.rows[0][:2], now)
        if ahead is not None:
            asked.append(self._save_gate.given(balance_at=ahead[0], breaker=codec.dump_breaker(ahead[1])))
        self.connection.ask(*asked)

    def _beyond(self, now: datetime) -> dict[str, datetime]:
        return {"now": now, "latest": now + self.policy.send_within + self.policy.request_timeout}

    def _far(self, now: datetime) -> datetime:
        """No lease reaches so far, be it of a process with other settings."""
        return now + 10 * self.policy.lease

    def _gate_ahead(self, found: Sequence[Any], now: datetime) -> tuple[datetime | None, Breaker] | None:
        """The gate's row as it should be, or None if it is."""
        balance_at, doc = found
        before = balance_at, codec.load_breaker(doc)
        after = min(balance_at, now) if balance_at else None, _breaker(before[1], self.policy, now)
        return None if before == after else after


def _bought_ahead(now: Any, latest: Any) -> Any:
    return (Bought.over_at > now) & ((Bought.at > now) | (Bought.over_at > latest))


def _purchase(purchase: Purchase, policy: Policy, now: datetime) -> Purchase:
    send_before = min(purchase.send_before, now + policy.send_within)
    return replace(
        purchase,
        at=min(purchase.at, now),
        send_before=send_before,
        deadline=min(purchase.deadline, send_before + policy.request_timeout),
        answered_at=min(purchase.answered_at, now) if purchase.answered_at else None,
    )


def _breaker(breaker: Breaker, policy: Policy, now: datetime) -> Breaker:
    retry_at, waits_since, ramp_since = breaker.retry_at, breaker.waits_since, breaker.ramp_since
    pause = retry_at - waits_since if retry_at and waits_since else policy.retry_max
    return replace(
        breaker,
        waits_since=min(waits_since, now) if waits_since else None,
        retry_at=min(retry_at, now + pause) if retry_at else None,
        ramp_since=min(ramp_since, now) if ramp_since else None,
    )
