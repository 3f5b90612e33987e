"""Forgetting: tracks that the app deleted long ago, and attempts that nobody will ask for any more."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from reconciler.database.connection import Connection, breathe
from reconciler.database.schema import AppTable
from reconciler.database.tables import Bought, CalledBack, HandedOver, Polled, Remembered, Tried

R = Remembered

KEPT_FOR = timedelta(days=90)
AT_ONCE = 500
"""Rows per transaction: nobody waits long for the lock."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many were forgotten."""

    tracks: int = 0
    attempts: int = 0


def prune(connection: Connection, app: AppTable, may_go_on: Callable[[], bool] = lambda: True) -> Pruned:
    """Purchases, unknown ones included, live as long as their track, and 90 days longer. `may_go_on`: asked now and
    then; what is left is left to the next time."""
    tracks = attempts = 0
    while may_go_on() and (found := _forget_tracks(connection, app)):
        tracks += found
        breathe()
    while may_go_on() and (found := _forget_attempts(connection)):
        attempts += found
        breathe()
    return Pruned(tracks, attempts)


def _forget_tracks(connection: Connection, app: AppTable) -> int:
    with connection.writing() as now:
        gone = [
            str(name) for (name,) in connection.rows(connection.dialect.locked(_gone(app, now - KEPT_FOR), skip=True))
        ]
        tasks = _tasks(connection, Bought, Bought.track_id.in_(gone))
        connection.delete(Bought, Bought.track_id.in_(gone))
        connection.delete(CalledBack, CalledBack.track_id.in_(gone))
        connection.delete(Tried, Tried.track_id.in_(gone))
        connection.delete(R, R.track_id.in_(gone))
        # One that is handed over stays: else it would count as one that nobody looked at, for ever.
        for others in (Bought, HandedOver):
            tasks -= _tasks(connection, others, others.task_id.in_(tasks))
        connection.delete(Polled, Polled.id.in_(tasks))
        return len(gone)


def _tasks(connection: Connection, model: Any, where: Any) -> set[str]:
    return {str(name) for (name,) in connection.rows(model.select(model.task_id).where(where)) if name}


def _gone(app: AppTable, before: datetime) -> Any:
    """Deleted so long ago, with no task of theirs under way."""
    idle = R.due_at.is_null() & R.lease_owner.is_null()
    return R.select(R.track_id).where((R.gone_since < before) & idle & ~app.has_row(R.track_id)).limit(AT_ONCE)


def _forget_attempts(connection: Connection) -> int:
    with connection.writing() as now:
        old = Tried.select(Tried.id).where(Tried.at < now - KEPT_FOR).limit(AT_ONCE)
        return connection.delete(Tried, Tried.id.in_(old))
