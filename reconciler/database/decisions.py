"""When what the operator decided has changed, every track is looked at once more: where each stands rests on that.

Otherwise a track that waits for a model that is no more configured would wait for ever, and a new target or a moved
`public_url` would be noticed only when each picture is next measured. A look costs no request.
"""

import hashlib

from reconciler.database.connection import Connection
from reconciler.database.notes import Notes
from reconciler.database.tables import Remembered
from reconciler.domain.models import shapes
from reconciler.domain.policy import Policy

DECIDED = "decided"


def look_again_if_changed(connection: Connection, policy: Policy) -> None:
    """Of several processes that begin together one does so; rows are locked in the order of those who work them."""
    notes, decided = Notes(connection), hashlib.sha256(repr((policy, shapes(policy))).encode()).hexdigest()
    if notes.get(DECIDED) == decided:
        return
    with connection.writing(gate=True) as now:
        if notes.kept(DECIDED) == decided:
            return
        looked_at = Remembered.state.is_null(False)
        ids = Remembered.select(Remembered.track_id).where(looked_at).order_by(Remembered.track_id)
        connection.rows(connection.dialect.locked(ids))
        again = {Remembered.due_at: now, Remembered.held: None, Remembered.stands_until: now}
        connection.run(Remembered.update(again).where(looked_at))
        notes.keep(DECIDED, decided)
