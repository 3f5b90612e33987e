"""One connection to the app's database, for one thread. What engines do differently is in their dialects."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep
from typing import Any

import peewee

from reconciler.database import postgres, sqlite
from reconciler.database.dialect import Dialect, Kind
from reconciler.database.errors import DatabaseError
from reconciler.database.postgres import LIMITS, Limits
from reconciler.database.statements import Answer, Question, Statement

BUSY_TIMEOUT_S = 10.0
BREATH_S = 0.02

AS_EXPECTED = timedelta(seconds=1)
"""Nothing that is read alone needs the time more exactly: whatever costs money looks again under the gate's lock."""

Now = Callable[[], datetime]
TimeHeard = Callable[[datetime, timedelta], None]


class Connection:
    """A peewee database with our kind of transactions. Everything raises DatabaseError and nothing of the driver's.

    `now`: the time; None: the server's, or this machine's where the database has no server. `heard` is told the
    server's time, and how long it took to come.
    """

    def __init__(self, db: Any, place: str, dialect: Dialect, now: Now | None, *, readonly: bool) -> None:
        self.db, self.place, self.dialect, self._now, self._readonly = db, place, dialect, now, readonly
        self.heard: TimeHeard = lambda *_: None
        self._in_transaction = self._is_over = False
        self._told: datetime | None = None
        """What the server's clock showed when this machine's steady one began."""

    @contextmanager
    def reading(self, *, own: bool = False) -> Iterator[None]:
        """Errors translated. Whether several queries see the same instant is up to the database."""
        if self.dialect.tells_time and not self._in_transaction:
            with self.snapshot(own=own):
                yield
            return
        with self.translating():
            self._revive()
            yield

    @contextmanager
    def snapshot(self, *, own: bool = False) -> Iterator[datetime]:
        """Several queries that see the same instant; yields the time."""
        with self._transaction(Kind.READING, own=own) as (now, _):
            yield now

    def asking(self, asked: Callable[[datetime], Sequence[Question]]) -> tuple[datetime, list[Answer]]:
        """Questions alone, about the time that it is, all of which see the same instant; returns the time.

        Where there is a server they are asked in one message: about the time that it can be expected to have, and once
        more where it has another.
        """
        expected = self._expected()
        if expected is not None:
            with self._transaction(Kind.READING, asked(expected), alone=True) as (now, answers):
                pass
            if abs(now - expected) < AS_EXPECTED:
                return expected, answers
        with self.snapshot() as now:
            return now, self.ask(*asked(now), last=True)

    def ask_alone(self, *questions: Question) -> list[Answer]:
        """Questions that want no rows of the app's, and that nothing follows: in one message where there is a
        server."""
        with self._transaction(Kind.READING, questions, alone=True, own=True) as (_, answers):
            return answers

    def _expected(self) -> datetime | None:
        if self._now is not None:
            return self._now()
        if not self.dialect.tells_time:
            return _utc_now()
        return self._told + timedelta(seconds=monotonic()) if self._told else None

    @contextmanager
    def writing(self, *, gate: bool = False, own: bool = False) -> Iterator[datetime]:
        """One transaction that may write; yields the time, read after the lock.

        `gate`: no other such transaction runs meanwhile, in any process. A connection that may only read cannot write.
        `own`: nothing is asked of the app's table, which may be out of reach then.
        """
        with self.opening(gate=gate, own=own) as (now, _):
            yield now

    @contextmanager
    def opening(
        self, *questions: Question, gate: bool = False, own: bool = False
    ) -> Iterator[tuple[datetime, list[Answer]]]:
        """`writing`, of which the first questions are asked in the same message as it begins."""
        kind = Kind.READING if self._readonly else Kind.GATE if gate else Kind.WRITING
        with self._transaction(kind, questions, own=own) as begun:
            yield begun

    @contextmanager
    def _transaction(
        self, kind: Kind, first: Sequence[Question] = (), *, alone: bool = False, own: bool = False
    ) -> Iterator[tuple[datetime, list[Answer]]]:
        """`alone`: nothing is asked after the first questions."""
        with self.translating():
            self._revive()
            try:
                begun = self._begin(kind, first, alone=alone, own=own)
                self._in_transaction, self._is_over = True, alone
                yield begun
                if not self._is_over:
                    self.db.commit()
            except BaseException:
                with suppress(Exception):
                    self.dialect.abandon(self.db)
                raise
            finally:
                self._in_transaction = False

    def _begin(self, kind: Kind, first: Sequence[Question], *, alone: bool, own: bool) -> tuple[datetime, list[Answer]]:
        try:
            return self._begun(kind, first, alone=alone, own=own)
        except Exception as error:
            # Who was kept waiting once is not to wait twice.
            if not self.dialect.is_lost(self.db) or isinstance(error, TimeoutError):
                raise
        self._revive()
        return self._begun(kind, first, alone=alone, own=own)

    def _begun(self, kind: Kind, first: Sequence[Question], *, alone: bool, own: bool) -> tuple[datetime, list[Answer]]:
        asked = monotonic()
        server, answers = self.dialect.begin(self.db, kind, _spelled(first), commit=alone, own=own)
        if server is not None:
            came = monotonic()
            self._told = server - timedelta(seconds=came)
            self.heard(server, timedelta(seconds=came - asked))
        now = self._now() if self._now is not None else server or _utc_now()
        return now, _read(first, answers)

    def _revive(self) -> None:
        """A connection that was lost between transactions, or as one began, took nothing with it."""
        if not self._in_transaction and self.dialect.is_lost(self.db):
            self.db.close()
            self.db.connect()

    @contextmanager
    def translating(self) -> Iterator[None]:
        """The driver's errors become ours."""
        try:
            with self.dialect.using(self.db):
                yield
        except peewee.PeeweeException as error:
            raise self.dialect.translated(error, self.place) from error
        except Exception as error:
            if not self.dialect.is_fault(error):
                raise
            raise self.dialect.translated(error, self.place) from error

    def statement(self, query: Any, *result: Any) -> Statement:
        return Statement(self, query, result)

    def ask(self, *questions: Question, last: bool = False) -> list[Answer]:
        """Carry out statements in order, in one message where there is a server. `last`: the transaction is committed
        in the same message."""
        answers = self.dialect.ask(self.db, _spelled(questions), commit=last)
        self._is_over = last
        return _read(questions, answers)

    def run(self, query: Any) -> int:
        """How many rows were written."""
        return self.statement(query).run()

    def delete(self, model: Any, where: Any) -> int:
        """How many rows are gone."""
        return self.run(model.delete().where(where))

    def one(self, query: Any) -> Any:
        """The first row as a tuple, or None."""
        return next(iter(self.rows(query)), None)

    def rows(self, query: Any) -> list[Any]:
        return list(query.tuples().execute(self.db))

    def close(self) -> None:
        with suppress(peewee.PeeweeException):
            self.db.close()


def connect(
    url: str,
    now: Now | None,
    *,
    schema: str = "reconciler",
    readonly: bool = False,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    limits: Limits = LIMITS,
) -> Connection:
    """Open `sqlite:///path` or `postgresql://…`. A file must exist; no setting of the database is changed.

    `limits`: of what is done on a server.
    """
    if url.startswith(sqlite.SCHEME):
        return _sqlite(url, now, readonly=readonly, busy_timeout_s=busy_timeout_s)
    if url.startswith(postgres.SCHEMES):
        dialect = postgres.PostgresDialect(schema, busy_timeout_s, limits)
        return _postgres(url, now, dialect, limits, readonly=readonly)
    what, todo = "this kind of database is not supported", "Use sqlite:/// or postgresql://"
    raise DatabaseError(what, url.partition(":")[0], todo)


def _sqlite(url: str, now: Now | None, *, readonly: bool, busy_timeout_s: float) -> Connection:
    db, place = sqlite.open_sqlite(url, readonly=readonly, busy_timeout_s=busy_timeout_s)
    connection = Connection(db, place, sqlite.SqliteDialect(), now, readonly=readonly)
    try:
        with connection.translating():
            db.connect()
            sqlite.refuse_encoding(db, place)
    except BaseException:
        connection.close()
        raise
    return connection


def _postgres(
    url: str, now: Now | None, dialect: postgres.PostgresDialect, limits: Limits, *, readonly: bool
) -> Connection:
    db, place = postgres.open_postgres(url, dialect.schema, limits)
    connection = Connection(db, place, dialect, now, readonly=readonly)
    try:
        with connection.reading():
            postgres.refuse_encoding(db, place)
            if not readonly:
                postgres.refuse_unwritable(db, place)
    except BaseException:
        connection.close()
        raise
    return connection


def breathe() -> None:
    """Between transactions that follow one another: whoever waits for SQLite's lock is not in line for it, but asks for
    it now and then."""
    sleep(BREATH_S)


def _spelled(questions: Sequence[Question]) -> list[tuple[str, list[Any]]]:
    return [(question.statement.sql, question.values) for question in questions]


def _read(questions: Sequence[Question], answers: Sequence[tuple[list[Any], int]]) -> list[Answer]:
    return [question.statement.answer(*found) for question, found in zip(questions, answers, strict=True)]


def _utc_now() -> datetime:
    return datetime.now(UTC)
