"""Single values that outlive the process: the store's marker, the key that an audit reached."""

from reconciler.database.connection import Connection
from reconciler.database.tables import Note

MARKER = "store_marker"
AUDIT_REACHED = "audit_reached"
AUDIT_BEGAN = "audit_began"


class Notes:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def get(self, name: str) -> str | None:
        with self.connection.reading():
            row = self.connection.one(Note.select(Note.value).where(Note.name == name))
            return None if row is None else str(row[0])

    def put(self, name: str, value: str | None) -> None:
        """None forgets it."""
        with self.connection.writing():
            if value is None:
                self.connection.delete(Note, Note.name == name)
                return
            row = {Note.name: name, Note.value: value}
            self.connection.run(Note.insert(row).on_conflict(conflict_target=[Note.name], update=row))
