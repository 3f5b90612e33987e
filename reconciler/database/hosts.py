"""Hosts that lose many pictures at once: more likely broken than emptied."""

from datetime import timedelta

from reconciler.database.changes import change
from reconciler.database.connection import Connection
from reconciler.database.tables import ANEW, LosingHost, Remembered
from reconciler.domain.states import Reason

H = LosingHost

SUSPECT_AFTER = 20

SUSPECT = H.lost > SUSPECT_AFTER


def count_lost(connection: Connection, host: str, period: timedelta) -> None:
    """A count that stayed harmless begins anew after `period`, or once the clock was set back before it began; a
    suspicion stays until it is lifted."""
    with connection.writing(gate=True, own=True) as now:
        is_of_another_time = (H.since < now - period) | (H.since > now)
        connection.delete(H, (H.host == host) & is_of_another_time & ~SUSPECT)
        first = {H.host: host, H.since: now, H.lost: 1}
        connection.run(H.insert(first).on_conflict(conflict_target=[H.host], update={H.lost: H.lost + 1}))


def release_suspects(connection: Connection) -> int:
    """Lift every suspicion: what is dead there may be replaced. How many tracks waited for that."""
    with connection.writing(gate=True, own=True) as now:
        connection.delete(H, SUSPECT)
        again = {Remembered.due_at: now, Remembered.stands_until: ANEW}
        return change(connection, Remembered.reason == Reason.HOST_SUSPECT, again)
