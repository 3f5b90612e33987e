"""Why the database could not be used. Nothing of a failed transaction is kept, so all of it may be tried again.

DatabaseError           what is wrong, where, what to do
├── DatabaseMissing     no such file, or one that may not be opened
├── DatabaseLocked      somebody else held the lock for longer than the busy timeout
├── DatabaseFull        no space is left
├── DatabaseReadOnly    the file, its directory or its device may not be written
├── DatabaseBroken      no database, a damaged one, or the device failed
└── SchemaError         a table or column is missing or unfit, or the tables are newer than the program
"""

import sqlite3
from collections.abc import Sequence

from reconciler.ports import DatabaseError, DatabaseLocked

__all__ = [
    "DatabaseBroken",
    "DatabaseError",
    "DatabaseFull",
    "DatabaseLocked",
    "DatabaseMissing",
    "DatabaseReadOnly",
    "SchemaError",
    "translated",
]


class DatabaseMissing(DatabaseError):
    pass


class DatabaseFull(DatabaseError):
    pass


class DatabaseReadOnly(DatabaseError):
    pass


class DatabaseBroken(DatabaseError):
    pass


class SchemaError(DatabaseError):
    """All that is wrong with the tables, at once."""

    def __init__(self, problems: Sequence[str], where: str, todo: str) -> None:
        super().__init__("; ".join(problems), where, todo)
        self.problems = tuple(problems)


_LOCKED = (DatabaseLocked, "the database is locked by another program", "Try again, or end what holds its lock")
_READ_ONLY = (DatabaseReadOnly, "the database may not be written", "Check the rights to the file and its directory")
_BROKEN = (DatabaseBroken, "the database is damaged or its device failed", "Check it with PRAGMA integrity_check")
_BY_CODE = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_PROTOCOL: _LOCKED,
    sqlite3.SQLITE_FULL: (DatabaseFull, "no space is left", "Make space; nothing was changed"),
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: (DatabaseMissing, "cannot be opened", "Check the path and the rights to it"),
    sqlite3.SQLITE_NOTADB: (DatabaseBroken, "is no SQLite database", "Check database.url"),
    sqlite3.SQLITE_CORRUPT: _BROKEN,
    sqlite3.SQLITE_IOERR: _BROKEN,
}


def translated(error: Exception, where: str) -> DatabaseError:
    """The driver's error, or peewee's wrapper around it, as one of ours."""
    source = error if isinstance(error, sqlite3.Error) else error.__context__
    code = getattr(source, "sqlite_errorcode", None) or 0
    kind, what, todo = _BY_CODE.get(code & 0xFF, (DatabaseError, "the database refused", "Check its log"))
    return kind(f"{what} ({source or error})", where, todo)
