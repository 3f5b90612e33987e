"""Many remembered tracks changed at once, whoever works them meanwhile."""

from collections.abc import Mapping
from typing import Any

from reconciler.database.connection import Connection
from reconciler.database.tables import Remembered


def change(connection: Connection, among: Any, values: Mapping[Any, Any]) -> int:
    """Inside the caller's transaction. How many.

    They are locked in the order of those who work them, all before one is changed, and no other is: who leases a page
    skips what is locked, takes it for new, and waits for what is changed with the rest of the page in hand.
    """
    return connection.run(Remembered.update(values).where(connection.dialect.locked_first(Remembered.track_id, among)))
