"""Why the database could not be used. Nothing of a failed transaction is kept, so all of it may be tried again.

DatabaseError           what is wrong, where, what to do
├── DatabaseUnfit       it stays so until a person mends it
│   ├── DatabaseMissing no such file, or one that may not be opened; the server refused the login
│   ├── DatabaseDenied  a right is missing
│   └── SchemaError     a table or column is missing or unfit, or the tables are newer than the program
├── DatabaseLocked      somebody else held the lock for longer than the busy timeout, or it took too long otherwise
├── DatabaseFull        no space is left
├── DatabaseReadOnly    the file, its directory or its device may not be written; the server is a replica
├── DatabaseGone        the server cannot be reached, or the connection was lost; what was lost at the very end of a
│                       transaction may have been kept: nobody was told
├── RowRefused          the app's table takes no such row: a constraint, a trigger, an index
└── DatabaseBroken      a damaged one, or the device failed
"""

from collections.abc import Sequence

from reconciler.ports import DatabaseError, DatabaseLocked

__all__ = [
    "DatabaseBroken",
    "DatabaseDenied",
    "DatabaseError",
    "DatabaseFull",
    "DatabaseGone",
    "DatabaseLocked",
    "DatabaseMissing",
    "DatabaseReadOnly",
    "DatabaseUnfit",
    "RowRefused",
    "SchemaError",
]


class DatabaseUnfit(DatabaseError):
    pass


class DatabaseMissing(DatabaseUnfit):
    pass


class DatabaseFull(DatabaseError):
    pass


class DatabaseReadOnly(DatabaseError):
    pass


class DatabaseBroken(DatabaseError):
    pass


class DatabaseDenied(DatabaseUnfit):
    pass


class DatabaseGone(DatabaseError):
    pass


class RowRefused(DatabaseError):
    pass


class SchemaError(DatabaseUnfit):
    """All that is wrong with the tables, at once."""

    def __init__(self, problems: Sequence[str], where: str, todo: str) -> None:
        super().__init__("; ".join(problems), where, todo)
