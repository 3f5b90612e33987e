"""One connection to the app's database, for one thread. What engines do differently is here and in `dialect`."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import peewee

from reconciler.database import datetimes
from reconciler.database.errors import DatabaseError, DatabaseMissing, translated
from reconciler.database.statements import Statement

BUSY_TIMEOUT_S = 10.0

Now = Callable[[], datetime]


class Connection:
    """A peewee database with our kind of transactions. Everything raises DatabaseError and nothing of the driver's."""

    def __init__(self, db: peewee.Database, place: str, now: Now) -> None:
        self.db: Any = db
        self.place, self.now = place, now

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Errors translated; each query sees the database as it is then."""
        try:
            yield
        except (peewee.PeeweeException, sqlite3.Error) as error:
            raise translated(error, self.place) from error

    @contextmanager
    def snapshot(self) -> Iterator[datetime]:
        """Several queries that see the same instant; yields the time."""
        with self._transaction("DEFERRED") as now:
            yield now

    @contextmanager
    def writing(self) -> Iterator[datetime]:
        """One transaction that takes the write lock at once; yields the time, read after the lock.

        A deferred transaction that reads first and writes then fails at once where another one wrote in between.
        """
        with self._transaction("IMMEDIATE") as now:
            yield now

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[datetime]:
        with self.reading():
            self.db.begin(kind)
            try:
                yield self.now()
                self.db.commit()
            except BaseException:
                self._abandon()
                raise

    def _abandon(self) -> None:
        """SQLite ends the transaction by itself when the disk is full."""
        connection = self.db.connection()
        if connection.in_transaction:
            connection.rollback()

    def define(self, name: str, function: Callable[[str | None], Any]) -> None:
        """A function of one text for queries. Its text is decoded here: the driver would fail on what is no UTF-8."""

        def decoded(raw: bytes | None) -> Any:
            return function(None if raw is None else raw.decode("utf-8", "replace"))

        self.db.register_function(decoded, name, 1, deterministic=True)

    def statement(self, query: Any, *result: Any) -> Statement:
        return Statement(self.db, query, result)

    def run(self, query: Any) -> Any:
        return query.execute(self.db)

    def delete(self, model: Any, where: Any) -> int:
        """How many rows are gone."""
        return int(self.run(model.delete().where(where)))

    def one(self, query: Any) -> Any:
        """The first row as a tuple, or None."""
        return next(iter(query.tuples().execute(self.db)), None)

    def rows(self, query: Any) -> list[Any]:
        return list(query.tuples().execute(self.db))

    def close(self) -> None:
        self.db.close()


def connect(url: str, now: Now, *, readonly: bool = False, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Connection:
    """Open `sqlite:///path`. The file must exist; none of its settings is changed."""
    if not url.startswith("sqlite:///"):
        raise DatabaseError("this kind of database is not supported", url.partition(":")[0], "Use sqlite:///")
    path = Path(url.removeprefix("sqlite:///"))
    if not path.is_file():
        raise DatabaseMissing("there is no such file", str(path), "Check database.url; it is never created")
    db = peewee.SqliteDatabase(
        f"file:{quote(str(path.absolute()))}?mode={'ro' if readonly else 'rw'}",
        uri=True,
        timeout=busy_timeout_s,
        autoconnect=False,
        field_types={"INSTANT": "TEXT"},
    )
    _register(db)
    connection = Connection(db, str(path), now)
    with connection.reading():
        connection.db.connect()
        connection.db.connection().text_factory = _text
        connection.db.execute_sql("SELECT count(*) FROM sqlite_master")
    return connection


def _register(db: peewee.SqliteDatabase) -> None:
    """Functions for what SQLite lacks. They take bytes: the driver would fail on text that is no UTF-8."""
    db.register_function(_sha256, "reconciler_sha256", 1, deterministic=True)
    db.register_function(_instant, "reconciler_instant", 1, deterministic=True)
    db.register_function(_is_text, "reconciler_is_text", 1, deterministic=True)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _sha256(raw: bytes | None) -> str | None:
    return None if raw is None else hashlib.sha256(raw).hexdigest()


def _instant(raw: bytes | None) -> str | None:
    value = datetimes.parse(raw)
    return None if value is None else datetimes.own(value)


def _is_text(raw: bytes | None) -> bool:
    try:
        return bool(raw and raw.decode("utf-8"))
    except UnicodeDecodeError:
        return False
