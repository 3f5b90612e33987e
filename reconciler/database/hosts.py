"""Hosts that lose many pictures at once: more likely broken than emptied."""

from datetime import timedelta

from reconciler.database.connection import Connection
from reconciler.database.tables import LosingHost

H = LosingHost

SUSPECT_AFTER = 20

SUSPECT = H.lost > SUSPECT_AFTER


def count_lost(connection: Connection, host: str, period: timedelta) -> None:
    """A count that stayed harmless begins anew after `period`; a suspicion stays until it is lifted."""
    with connection.writing() as now:
        over = (H.since < now - period) & ~SUSPECT
        connection.delete(H, (H.host == host) & over)
        first = {H.host: host, H.since: now, H.lost: 1}
        connection.run(H.insert(first).on_conflict(conflict_target=[H.host], update={H.lost: H.lost + 1}))
