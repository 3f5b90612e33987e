"""Single values that outlive the process: the store's marker, the keys that audits reached, what was decided last."""

from typing import Any

from reconciler.database.connection import Connection
from reconciler.database.statements import Slot, slots
from reconciler.database.tables import Note

MARKER = "store_marker"
AUDIT_REACHED = "audit_reached"
AUDIT_BEGAN = "audit_began"
ONCE_REACHED = "once_reached"
"""By a run of its own, whose walk and a daemon's slices do not end each other."""
DECIDED = "decided"
"""When all tracks were called since the operator had decided otherwise, as JSON, the newest first."""
FORGOT_AT = "forgot_at"
"""When all that is too old to matter was last forgotten."""


class Notes:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        note: Any = Note
        named, row = note.name == Slot("name"), slots((note.name, note.value))
        put = note.insert(row).on_conflict(conflict_target=[note.name], update=row)
        self._get = connection.statement(note.select(note.value).where(named), None)
        self._put = connection.statement(put)
        self._forget = connection.statement(note.delete().where(named))

    def get(self, name: str) -> str | None:
        with self.connection.reading():
            return self.kept(name)

    def put(self, name: str, value: str | None) -> None:
        """None forgets it."""
        with self.connection.writing():
            self.keep(name, value)

    # -- inside the caller's transaction

    def kept(self, name: str) -> str | None:
        row = self._get.one(name=name)
        return None if row is None else str(row[0])

    def keep(self, name: str, value: str | None) -> None:
        if value is None:
            self._forget.run(name=name)
        else:
            self._put.run(name=name, value=value)
