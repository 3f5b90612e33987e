"""SQLite: the app's file, opened as it is. None of its settings is changed."""

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from threading import Lock, RLock
from typing import Any
from urllib.parse import quote
from weakref import WeakSet

import peewee
from peewee import SQL, Case, Column, Expression, Value, fn

from reconciler.database import datetimes
from reconciler.database.dialect import GENERATED, Answers, Dialect, Key, Kind, Placed, Questions
from reconciler.database.errors import (
    DatabaseBroken,
    DatabaseError,
    DatabaseFull,
    DatabaseLocked,
    DatabaseMissing,
    DatabaseReadOnly,
    RowRefused,
    SchemaError,
)

SCHEME = "sqlite:///"
FIELD_TYPES = {"INSTANT": "TEXT"}
_LONGEST_TIME = 64
"""Characters."""


class File(Placed, peewee.SqliteDatabase):
    """One connection. While nobody uses it any thread may close it: it is opened anew when it is next wanted."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options, autoconnect=False, thread_safe=False, check_same_thread=False)
        self._use, self._uses = RLock(), 0

    def connect(self, reuse_if_open: bool = False) -> bool:
        is_new = bool(super().connect(reuse_if_open))
        connection: sqlite3.Connection = super().connection()  # type: ignore[no-untyped-call]
        connection.text_factory = _text
        with _OPENING:
            _OPEN.add(self)
        return is_new

    @contextmanager
    def used(self) -> Iterator[None]:
        with self._use:
            self._uses += 1
            try:
                yield
            finally:
                self._uses -= 1

    def get_columns(self, table: str, schema: str | None = None) -> list[peewee.ColumnMetadata]:
        """Generated ones, too."""
        sql = 'SELECT name, type, "notnull", pk, dflt_value, hidden FROM pragma_table_xinfo(?, ?) WHERE hidden <> 1'
        return [
            peewee.ColumnMetadata(name, GENERATED + kind if hidden else kind, not is_set, bool(key), table, default)
            for name, kind, is_set, key, default, hidden in self.execute_sql(sql, (table, schema or "main")).fetchall()
        ]

    def close(self) -> bool:
        """Who else closes it is waited for: peewee looks at what is open and uses it after that."""
        with self._use:
            return bool(super().close())

    def close_unused(self) -> None:
        if self._use.acquire(blocking=False):
            try:
                if not self._uses:
                    self.close()
            finally:
                self._use.release()


_OPEN, _OPENING = WeakSet[File](), Lock()


def _let_go(db: File) -> None:
    """Close this connection, and all others that nobody uses just now.

    While somebody makes a file beside the database, for some microseconds others may only read it. SQLite shares what
    it opened then among all connections of a process: none of them could write as long as one of them is open.
    """
    db.close()
    with _OPENING:
        others = list(_OPEN)
    for other in others:
        other.close_unused()


_DURABLE = {"synchronous": "EXTRA"}
"""An order that is sent must be known after a power cut, too: by default, a journal that is deleted may come back, and
with it what was there before. It is a setting of the connection, not of the file."""

_BEGIN = {Kind.READING: "DEFERRED", Kind.WRITING: "IMMEDIATE", Kind.GATE: "IMMEDIATE"}
"""A deferred transaction that reads first and writes then fails at once where another one wrote in between."""


class SqliteDialect(Dialect):
    has_affinity = True
    tells_time = False
    locks_rows = False
    stretch = 5000

    def begin(
        self,
        db: Any,
        kind: Kind,
        first: Questions,
        *,
        commit: bool = False,
        own: bool = False,  # noqa: ARG002
    ) -> tuple[None, Answers]:
        try:
            db.begin(_BEGIN[kind])
        except peewee.OperationalError as error:
            if _code(error) & _KIND == sqlite3.SQLITE_READONLY:
                _let_go(db)
            raise
        return None, self.ask(db, first, commit=commit)

    def abandon(self, db: Any) -> None:
        """SQLite ends the transaction by itself when the disk is full."""
        connection = db.connection()
        if connection.in_transaction:
            connection.rollback()

    def is_lost(self, db: Any) -> bool:
        return bool(db.is_closed())

    def using(self, db: Any) -> AbstractContextManager[object]:
        used: AbstractContextManager[object] = db.used()
        return used

    def ask(self, db: Any, questions: Questions, *, commit: bool = False) -> Answers:
        execute = db.connection().execute
        cursors = (execute(db.placed(sql), values) for sql, values in questions)
        answers = [(cursor.fetchall(), cursor.rowcount) for cursor in cursors]
        if commit:
            db.commit()
        return answers

    def translated(self, error: Exception, place: str) -> DatabaseError:
        code = _code(error)
        kind, what, todo = _BY_CODE.get(code) or _BY_CODE.get(code & _KIND, _UNKNOWN)
        return kind(f"{what} ({_source(error) or error})", place, todo)

    def is_fault(self, error: Exception) -> bool:
        return isinstance(error, sqlite3.Error)

    def home_of(self, db: Any, schema: str | None, table: str) -> str | None:
        names = {name for _, name, _ in db.execute_sql("PRAGMA database_list")}
        if schema is not None and schema.lower() not in names:
            what, todo = f"there is no schema {schema} in SQLite", f"Set database.table to {table}"
            raise SchemaError([what], f"{schema}.{table}", todo)
        return schema

    def form(self, schema: str | None, table: str) -> tuple[str, Sequence[str]]:  # noqa: ARG002
        """It is counted how often tables of the file were changed."""
        return "PRAGMA schema_version", ()

    def unfit(self, types: Mapping[str, str]) -> frozenset[str]:
        """Any column may hold anything: each value is judged. Not all can be written."""
        written = ("image_url", "resolution", "updated_at")
        return frozenset(field for field in written if types.get(field, "").startswith(GENERATED))

    def key(self, declared: str) -> Key:
        """By the rules of affinity. A declared `uuid` makes a numeric column, which compares texts as they are."""
        declared = declared.removeprefix(GENERATED).upper()
        if "INT" in declared:
            return Key.INTEGER
        if any(word in declared for word in ("CHAR", "CLOB", "TEXT")):
            return Key.TEXT
        if not declared or "BLOB" in declared:
            return Key.UNTYPED
        return Key.UUID

    def lacking(
        self,
        db: Any,  # noqa: ARG002
        schema: str | None,  # noqa: ARG002
        table: str,  # noqa: ARG002
        read: Sequence[str],  # noqa: ARG002
        written: Sequence[str],  # noqa: ARG002
    ) -> Sequence[str]:
        """Rights to a file are found out by using it."""
        return ()

    def is_short(self, db: Any, qualified: str, rows: int) -> bool:  # noqa: ARG002
        """Nobody knows."""
        return False

    def exists(self, db: Any, table: str) -> bool:
        return bool(db.table_exists(table))

    def before_tables(self) -> Sequence[str]:
        return ()

    def after_tables(self, tables: Sequence[str]) -> Sequence[str]:  # noqa: ARG002
        return ()

    def settle(self, db: Any, table: str, home: str | None) -> None:
        """All tables are in one file."""

    def same(self, left: Any, right: Any) -> Any:
        return Expression(left, "IS", right)

    def by_index(self, condition: Any) -> Any:
        """Of values, ANALYZE notes no more than how often one occurs on average."""
        return fn.unlikely(condition)

    def differ(self, left: Any, right: Any) -> Any:
        return Expression(left, "IS NOT", right)

    def is_text(self, value: Any) -> Any:
        return fn.typeof(value) == "text"

    def is_wrong(self, value: Any, declared: str) -> Any:
        """A column for texts makes a text of all but NULL and blobs, which follow all texts."""
        if self.key(declared) is Key.TEXT:
            return (value >= SQL("x''")) & value.is_null(False)
        return ~self.is_text(value) & value.is_null(False)

    def is_printable(self, value: Any, longest: int) -> Any:
        return self.is_text(value) & (fn.length(value) <= longest) & _is_plain(value)

    def usable_id(self, value: Any) -> Any:
        # Most are plain, which is found out sooner.
        text = self.is_text(value) & (_is_plain(value) | (fn.reconciler_is_text(value.cast("BLOB")) == 1))
        return (fn.typeof(value) == "integer") | text

    def is_named(self, value: Any, key: str, track_id: Any) -> Any:
        """What reads like one of ours can be named, unless it is a fraction or a blob."""
        if key == Key.TEXT:
            return track_id == value
        return (track_id == self.as_text(value)) & (self.is_text(value) | (fn.typeof(value) == "integer"))

    def as_key(self, track_id: Any, key: str) -> Any:  # noqa: ARG002
        """By affinity."""
        return track_id

    def spellings(self, track_id: str, key: str) -> tuple[str, ...]:
        """Drivers for languages that know one kind of number give a column for texts `12.0`."""
        return (track_id, f"{track_id}.0") if key == Key.INTEGER else (track_id,)

    def spelled(self, value: Any, key: str) -> Any:
        if key != Key.INTEGER:
            return value
        whole = self.as_text(value.cast("INTEGER"))
        return Case(None, [(value == whole.concat(".0"), whole)], value)

    def capped(self, value: Any, length: int) -> Any:
        wrong = Case(None, [(value.is_null(), None)], SQL("x''"))
        return Case(None, [(self.is_text(value), fn.substr(value, 1, length))], wrong)

    def shown(self, image: Any) -> Any:
        return self.cut(image).cast("BLOB")

    def digest(self, value: Any) -> Any:
        return fn.reconciler_sha256(value.cast("BLOB"))

    def contains(self, text: Any, part: Any) -> Any:
        return fn.instr(text, part) > 0

    def least(self, left: Any, right: Any) -> Any:
        return fn.min(left, right)

    def readable(self, column: Column, field: str, declared: str) -> Any:  # noqa: ARG002
        return column

    def absent(self, field: str) -> Any:  # noqa: ARG002
        return Value(None)

    def instant(self, value: Any) -> Any:
        """In the form of our own tables."""
        return fn.reconciler_instant(_time(value, fn.substr(value, 1, _LONGEST_TIME).cast("BLOB")))

    def since(self, column: Any, declared: str, day: Any, second: Any) -> Sequence[Any]:
        """Numbers come before all texts, and digits are texts where the column makes no numbers of them."""
        key, found = self.key(declared), [column >= day]
        if key is not Key.TEXT:
            found += [(column >= second * unit) & (column < datetimes.NO_SECONDS * unit) for unit in datetimes.UNITS]
        if key in (Key.TEXT, Key.UNTYPED):
            # Of a smaller unit they begin as in seconds.
            found.append((column > (second - 1).concat(":")) & (column < fn.substr(second, 1, 1).concat(":")))
        return found

    def timestamp(self, value: Any) -> Any:
        return _time(value, fn.substr(value, 1, _LONGEST_TIME))

    def like(self, value: datetime, sample: object, declared: str) -> str | int:
        return datetimes.like(value, sample, declared)

    def locked(self, query: Any, *, skip: bool = False, key: bool = True) -> Any:  # noqa: ARG002
        """The whole database is."""
        return query

    def locked_first(self, key: Any, among: Any) -> Any:  # noqa: ARG002
        return among


def _time(value: Any, text: Any) -> Any:
    """A number, or `text` where it is one, and no blob."""
    return Case(None, [(fn.typeof(value) == "text", text), (fn.typeof(value) == "blob", None)], value)


def _is_plain(text: Any) -> Any:
    """All of it printable ASCII. GLOB looks no further than to a NUL, `length` neither."""
    is_whole = fn.length(text) == fn.length(text.cast("BLOB"))
    return (text != "") & ~Expression(text, "GLOB", "*[^ -~]*") & is_whole


def open_sqlite(url: str, *, readonly: bool, busy_timeout_s: float) -> tuple[File, str]:
    """The file must exist. Returns what is to be connected, and how its place is called."""
    path = Path(url.removeprefix(SCHEME))
    if unfit := _unfit(path):
        what, todo = unfit
        raise DatabaseMissing(what, _whole(path), todo)
    db = File(
        f"file:{quote(str(path.absolute()))}?mode={'ro' if readonly else 'rw'}",
        uri=True,
        timeout=busy_timeout_s,
        field_types=FIELD_TYPES,
        pragmas=_DURABLE,
    )
    for function, name in ((_sha256, "sha256"), (_instant, "instant"), (_is_text, "is_text")):
        db.register_function(function, f"reconciler_{name}", 1, deterministic=True)
    return db, str(path)


def _source(error: Exception) -> BaseException | None:
    """What the driver raised."""
    return error if isinstance(error, sqlite3.Error) else error.__context__


def _code(error: Exception) -> int:
    """Of the result, extended; 0 where SQLite gave none."""
    return getattr(_source(error), "sqlite_errorcode", None) or 0


def _unfit(path: Path) -> tuple[str, str] | None:
    """Why no database can be in it, and what to do."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return "there is no such file", "Check database.url; it is never created"
    except OSError as error:
        todo = _SEARCHED if isinstance(error, PermissionError) else "Check database.url"
        return f"cannot be looked at ({error.strerror})", todo
    if S_ISREG(mode):
        return None
    return f"is {'a directory' if S_ISDIR(mode) else 'something else'}, and no file", "Check database.url"


def _whole(path: Path) -> str:
    """As it was given, and where that leads."""
    with suppress(FileNotFoundError):  # the working directory is gone
        return str(path) if path.is_absolute() else f"{path} (that is {path.absolute()})"
    return str(path)


def refuse_encoding(db: Any, place: str) -> None:
    """Unless its texts are the bytes that ours are compared with. Fails too if it is no database."""
    db.execute_sql("SELECT count(*) FROM sqlite_master")
    ((encoding,),) = db.execute_sql("PRAGMA encoding")
    if encoding != "UTF-8":
        raise DatabaseMissing(f"its encoding is {encoding}", place, "Move the app to a database of encoding UTF-8")


# Functions for what SQLite lacks. They take texts as bytes: the driver would fail on text that is no UTF-8.


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _sha256(raw: bytes | None) -> str | None:
    return None if raw is None else hashlib.sha256(raw).hexdigest()


def _instant(raw: bytes | float | None) -> str | None:
    value = datetimes.parse(raw)
    return None if value is None else datetimes.own(value)


def _is_text(raw: bytes | None) -> bool:
    try:
        return bool(raw and raw.decode("utf-8"))
    except UnicodeDecodeError:
        return False


_SEARCHED = (
    "Let the reconciler's user search its directory and those above; under systemd see SupplementaryGroups= and "
    "ProtectHome="
)
_KIND = 0xFF
"""The part of an extended code that is the plain one."""
_UNKNOWN = (DatabaseError, "the database refused", "Check its log")
_LOCKED = (DatabaseLocked, "the database is locked by another program", "Try again, or end what holds its lock")
_READ_ONLY = (
    DatabaseReadOnly,
    "the database may not be written",
    "Check the rights to the file, its directory, and the -wal and -shm beside it",
)
_HALF_DONE = (
    DatabaseReadOnly,
    "a program ended with its transaction half done, which has to be undone first",
    "Start the app, or `reconciler run --once`, as a user who may write the file: that undoes it",
)
_MOVED = (
    DatabaseReadOnly,
    "the file was moved, or another was put in its place",
    "The next sweep opens what is there then; give a command again",
)
_BROKEN = (DatabaseBroken, "the database is damaged or its device failed", "Check it with PRAGMA integrity_check")
_REFUSED = (RowRefused, "the row was refused", "See the table's constraints and triggers")
_BY_CODE = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_PROTOCOL: _LOCKED,
    sqlite3.SQLITE_FULL: (DatabaseFull, "no space is left", "Make space; nothing was changed"),
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_READONLY_ROLLBACK: _HALF_DONE,
    sqlite3.SQLITE_READONLY_DBMOVED: _MOVED,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: (DatabaseMissing, "cannot be opened", "Check the path and the rights to it"),
    sqlite3.SQLITE_NOTADB: (DatabaseMissing, "is no SQLite database", "Check database.url"),
    sqlite3.SQLITE_CORRUPT: _BROKEN,
    sqlite3.SQLITE_IOERR: _BROKEN,
    sqlite3.SQLITE_CONSTRAINT: _REFUSED,
    sqlite3.SQLITE_TOOBIG: _REFUSED,
    sqlite3.SQLITE_MISMATCH: _REFUSED,
}
