"""When what the operator decided has changed, every track is looked at once more: where each stands rests on that.

Otherwise a track that waits for a model that is no more configured would wait for ever, and a new target or a moved
`public_url` would be noticed only when each picture is next measured. A look costs no request.

Tracks are called a stretch of keys at a time, each in a transaction of its own, since nobody else can write meanwhile,
the app neither. What was reached is kept with the stretch: who is killed goes on there, and who begins beside it helps.
"""

import hashlib

from reconciler.database.connection import Connection, breathe
from reconciler.database.notes import Notes
from reconciler.database.scope_sql import TRUE
from reconciler.database.tables import Remembered
from reconciler.domain.models import shapes
from reconciler.domain.policy import Policy

R = Remembered

DECIDED = "decided"
"""A digest; while tracks are called, the last one's id behind it."""
STRETCH = 2000
"""Tracks that are called at once: some hundredths of a second."""


def look_again_if_changed(connection: Connection, policy: Policy) -> None:
    notes, decided = Notes(connection), hashlib.sha256(repr((policy, shapes(policy))).encode()).hexdigest()
    if notes.get(DECIDED) == decided:
        return
    while not _all_called(connection, notes, decided):
        breathe()


def _all_called(connection: Connection, notes: Notes, decided: str) -> bool:
    """Call the next stretch. Rows are locked in the order of those who work them."""
    with connection.writing(gate=True) as now:
        whose, is_under_way, reached = (notes.kept(DECIDED) or "").partition(" ")
        if whose == decided and not is_under_way:
            return True
        rest = R.state.is_null(False) & (R.track_id > reached if whose == decided else TRUE)
        some = R.select(R.track_id).where(rest).order_by(R.track_id).limit(STRETCH)
        called = [track_id for (track_id,) in connection.rows(connection.dialect.locked(some))]
        if called:
            again = {R.due_at: now, R.held: None, R.stands_until: now}
            connection.run(R.update(again).where(rest & (R.track_id <= called[-1])))
        is_last = len(called) < STRETCH
        notes.keep(DECIDED, decided if is_last else f"{decided} {called[-1]}")
        return is_last
