"""PostgreSQL, as a guest and through any pooler: every transaction carries what it needs, nothing is left in a session.

One transaction asks in few messages, since the server may be far away: statements are put together on this side
(`ClientCursor`), so that many go in one message and none is prepared on the server.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import peewee
from peewee import SQL, Case, Column, Expression, Value, fn

from reconciler.database import datetimes, guests, rights
from reconciler.database.dialect import GENERATED, Answers, Dialect, Key, Kind, Placed, Questions
from reconciler.database.errors import (
    DatabaseBroken,
    DatabaseDenied,
    DatabaseError,
    DatabaseFull,
    DatabaseGone,
    DatabaseLocked,
    DatabaseMissing,
    DatabaseReadOnly,
    RowRefused,
    SchemaError,
)
from reconciler.database.tables import HAND_OVER, OWN
from reconciler.domain.urls import redact

SCHEMES = ("postgresql://", "postgres://")


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds."""

    answer_s: float = 10.0
    """To connect, for a pooler to find a session, and for an answer to come, beyond what its statement may take."""
    statement_s: float = 60.0
    idle_s: float = 20.0
    """A process that is stopped in the middle of a transaction keeps the others waiting for so long at most."""


LIMITS = Limits()

_BEGIN = {
    Kind.READING: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    # Whether it may write is left to the server, which says best why not.
    Kind.WRITING: "BEGIN ISOLATION LEVEL READ COMMITTED",
    Kind.GATE: "BEGIN ISOLATION LEVEL READ COMMITTED",
}
_TEXTS = frozenset({"text", "character varying"})
_TIMES = {"timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp", "date": "date"}
_TIME_FIELDS = ("created_at", "updated_at")
_FORM = 'YYYY-MM-DD"T"HH24:MI:SS.US'
FIELD_TYPES = {"INSTANT": "TIMESTAMPTZ", "FLOAT": "DOUBLE PRECISION"}
ASK_CHECK = "Run `reconciler check`: it prints the statement that helps"
_FOR_OTHERS = frozenset({"pgbouncer"})
"""Parameters of a URL that are meant for another driver; what they ask for is kept anyway."""
_KEPT_ALIVE = {"keepalives_idle": 20, "keepalives_interval": 5, "keepalives_count": 3}
"""What stands between forgets a connection that is silent for some minutes, and swallows what comes later."""


_DURABLE = "replace(current_setting('synchronous_commit'), 'off', 'local')"
"""An order that is sent must be known after a crash of the server, too."""


class PostgresDialect(Dialect):
    has_affinity = False
    tells_time = True
    stretch = 2_000_000

    def __init__(self, schema: str, lock_timeout_s: float, limits: Limits = LIMITS) -> None:
        self.schema = schema
        self._begins_within_s = lock_timeout_s + limits.answer_s
        self._answers_within_s = limits.statement_s + limits.answer_s
        self.locks_rows, self.table = False, ""
        self.hiding = "false"
        """Whether row security keeps rows of the app's table from us, in SQL: such a read is refused."""
        self._settings = (
            f"SELECT set_config('lock_timeout', '{_ms(lock_timeout_s)}', true), "
            f"set_config('statement_timeout', '{_ms(limits.statement_s)}', true), "
            f"set_config('idle_in_transaction_session_timeout', '{_ms(limits.idle_s)}', true), "
            "set_config('DateStyle', 'ISO', true), "
            "set_config('transform_null_equals', 'off', true), "
            f"set_config('synchronous_commit', {_DURABLE}, true)"
        )

    # -- connections ---------------------------------------------------------------------------------------------

    def begin(
        self, db: Any, kind: Kind, first: Questions, *, commit: bool = False, own: bool = False
    ) -> tuple[datetime, Answers]:
        seen = f"clock_timestamp(), {'false' if own else self.hiding}"
        locking = [self._settings, 'SELECT 1 FROM "reconciler_gate" FOR UPDATE', f"SELECT {seen}"]
        beginning = [_BEGIN[kind], *(locking if kind is Kind.GATE else [f"{self._settings}, {seen}"])]
        db.connection().silence_s = self._answers_within_s if commit else self._begins_within_s
        answers = self.ask(db, [*((sql, []) for sql in beginning), *first], commit=commit)
        ((*_, now, is_hiding),) = answers[len(beginning) - 1][0]
        db.connection().silence_s = self._answers_within_s
        if is_hiding:
            raise hidden_rows(self.table)
        began: datetime = now
        return began.astimezone(UTC), answers[len(beginning) :]

    def abandon(self, db: Any) -> None:
        if self.is_lost(db):
            return
        try:
            db.rollback()
        except Exception:
            db.connection().close()
            raise

    def ask(self, db: Any, questions: Questions, *, commit: bool = False) -> Answers:
        if not questions and not commit:
            return []
        cursor = db.connection().cursor()
        spelled = [cursor.mogrify(db.placed(sql), values or None) for sql, values in questions]
        cursor.execute(";".join([*spelled, "COMMIT"] if commit else spelled))
        answers = [_answer(cursor)]
        while cursor.nextset():
            answers.append(_answer(cursor))
        return answers[: len(questions)]

    def is_lost(self, db: Any) -> bool:
        return db.is_closed() or bool(db.connection().closed)

    def translated(self, error: Exception, place: str) -> DatabaseError:
        import psycopg  # noqa: PLC0415 - an extra

        source = error if isinstance(error, psycopg.Error) else error.__context__
        state = getattr(source, "sqlstate", None) or ""
        said = str(source or error).strip().partition("\n")[0]
        pooler = _STATEMENT_MODE if "statement pooling mode" in said else None
        kind, what, todo = pooler or _BY_STATE.get(state) or _BY_CLASS.get(state[:2]) or _otherwise(source, said)
        return kind(f"{what} ({said})", place, todo)

    def is_fault(self, error: Exception) -> bool:
        import psycopg  # noqa: PLC0415 - an extra

        return isinstance(error, psycopg.Error)

    # -- the app's table -----------------------------------------------------------------------------------------

    def home_of(self, db: Any, schema: str | None, table: str) -> str:
        """By the search path, where no schema is given."""
        found = guests.located(db, schema, table)
        if found is not None and not found.in_reach:
            raise DatabaseDenied(f"this role may not use schema {found.schema}", f"{found.schema}.{table}", ASK_CHECK)
        return found.schema if found else ""

    def form(self, schema: str | None, table: str) -> tuple[str, Sequence[str]]:
        return guests.form(schema, table, HAND_OVER, self.schema)

    def unfit(self, types: Mapping[str, str]) -> frozenset[str]:
        return frozenset(field for field, declared in types.items() if not _fits(field, declared))

    def key(self, declared: str) -> Key:
        return _ID_TYPES[_behind(declared)]

    def lacking(
        self, db: Any, schema: str | None, table: str, read: Sequence[str], written: Sequence[str]
    ) -> Sequence[str]:
        wish = rights.Wish(schema, table, read, written, self.schema)
        return [problem.what for problem in rights.missing(db, wish) if problem.fatal]

    def is_short(self, db: Any, qualified: str, rows: int) -> bool:
        """By what the server noted when it last looked through the table."""
        found = f"SELECT reltuples BETWEEN 1 AND {rows} FROM pg_class WHERE oid = {guests.literal(qualified)}::regclass"
        return bool(guests.one(db, found))

    # -- our own tables ------------------------------------------------------------------------------------------

    def exists(self, db: Any, table: str) -> bool:
        return _exists(db, db.placed(f'"{table}"'))

    def stranger_who_owns(self, db: Any, table: str) -> str | None:
        return guests.stranger_who_owns(db, f'"{table}"')

    def before_tables(self) -> Sequence[str]:
        """Locked, so that of several processes that start one makes them. A schema that is there may be another's."""
        return guests.before(self.schema)

    def after_tables(self, tables: Sequence[str]) -> Sequence[str]:
        return guests.after([f'"{table}"' for table in tables])

    def settle(self, db: Any, table: str, home: str | None) -> None:
        """Beside the app's table, if it is there or may be made there; else among our own, until somebody makes it."""
        beside, ours = f'"{home}"."{HAND_OVER}"', f'"{self.schema}"."{HAND_OVER}"'
        if _exists(db, beside) or (not _exists(db, ours) and guests.may_create_in(db, str(home))):
            db.place({HAND_OVER: beside})
        problem = guests.hides_rows(db, str(home), table)
        if problem is not None:
            raise SchemaError([problem.what], f"{home}.{table}", problem.statement)
        is_plain = guests.is_plain(db, str(home), table)
        # Where policies let all rows through, they are looked at each time, which takes longer.
        is_filtered = guests.one(db, f"SELECT {guests.filtered(str(home), table, is_plain=is_plain)}")
        hiding = guests.hiding if is_filtered else guests.filtered
        self.table, self.hiding = f"{home}.{table}", hiding(str(home), table, is_plain=is_plain)
        # Of a view rows cannot always be locked, and not by everybody who may write them.
        self.locks_rows = is_plain

    # -- expressions ---------------------------------------------------------------------------------------------

    def same(self, left: Any, right: Any) -> Any:
        return Expression(left, "IS NOT DISTINCT FROM", right)

    def by_index(self, condition: Any) -> Any:
        """The server counts how often values occur."""
        return condition

    def differ(self, left: Any, right: Any) -> Any:
        return Expression(left, "IS DISTINCT FROM", right)

    def is_text(self, value: Any) -> Any:
        """Columns have types here, and every one that is read as a text is."""
        return value.is_null(False)

    def is_wrong(self, value: Any, declared: str) -> Any:  # noqa: ARG002
        return SQL("FALSE")

    def is_printable(self, value: Any, longest: int) -> Any:
        """A counted form would take the server many times as long."""
        return fn.length(value).between(1, longest) & Expression(value, "!~", "[^ -~]")

    def usable_id(self, value: Any) -> Any:
        return value.is_null(False) & (self.as_text(value) != "")

    def is_named(self, value: Any, key: str, track_id: Any) -> Any:  # noqa: ARG002
        return track_id == self.as_text(value)

    def as_key(self, track_id: Any, key: str) -> Any:
        if key not in _KEYS:
            return track_id
        form, kind = _KEYS[key]
        return Case(None, [(Expression(track_id, "~", form), track_id.cast(kind))], None)

    def spellings(self, track_id: str, key: str) -> tuple[str, ...]:
        if key != Key.UUID:
            return (track_id,)
        bare = track_id.replace("-", "")
        return (track_id, track_id.upper(), bare, bare.upper())

    def spelled(self, value: Any, key: str) -> Any:
        if key != Key.UUID:
            return value
        return Case(None, [(Expression(value, "~", _SPELLED_UUID), self.as_text(value.cast("UUID")))], None)

    def capped(self, value: Any, length: int) -> Any:
        return fn.substr(value, 1, length)

    def shown(self, image: Any) -> Any:
        return self.cut(image)

    def digest(self, value: Any) -> Any:
        return fn.encode(fn.sha256(fn.convert_to(value, "UTF8")), "hex")

    def contains(self, text: Any, part: Any) -> Any:
        return fn.strpos(text, part) > 0

    def least(self, left: Any, right: Any) -> Any:
        return fn.least(left, right)

    def readable(self, column: Column, field: str, declared: str) -> Any:
        """Times as naive UTC, whatever they are kept as; words of an enum and the like as text."""
        if field == "id" or declared in _TEXTS:
            return column
        if field not in _TIME_FIELDS:
            return column.cast("TEXT")
        return fn.timezone("UTC", column) if _TIMES[_behind(declared)] == "timestamptz" else column.cast("TIMESTAMP")

    def absent(self, field: str) -> Any:
        return Value(None).cast("TIMESTAMP" if field in _TIME_FIELDS else "TEXT")

    def instant(self, value: Any) -> Any:
        return fn.timezone("UTC", value)

    def timestamp(self, value: Any) -> Any:
        """As text: not every time that the server knows is one in Python."""
        return fn.to_char(value, _FORM)

    def like(self, value: datetime, sample: object, declared: str) -> str:  # noqa: ARG002
        """A column without time zone leaves the offset out."""
        return datetimes.own(value)

    def locked(self, query: Any, *, skip: bool = False, key: bool = True) -> Any:
        return query.for_update(f"FOR {'' if key else 'NO KEY '}UPDATE{' SKIP LOCKED' if skip else ''}")

    def locked_first(self, key: Any, among: Any) -> Any:
        """An array is made whole before it is compared with, whatever the plan. Were they locked by a statement before,
        this one would find others among them by now, and wait for them."""
        return key == fn.ANY(fn.ARRAY(self.locked(key.model.select(key).where(among).order_by(key))))


_ID_TYPES = {
    "bigint": Key.INTEGER,
    "integer": Key.INTEGER,
    "smallint": Key.INTEGER,
    "uuid": Key.UUID,
    **dict.fromkeys((*_TEXTS, "character"), Key.TEXT),
}
_NO_TEXTS = frozenset({"bytea", "ARRAY", "json", "jsonb", "xml", guests.UNREADABLE})


def _fits(field: str, declared: str) -> bool:
    match field:
        case "id":
            return _behind(declared) in _ID_TYPES
        case "created_at":
            return _behind(declared) in _TIMES
        case "updated_at":
            return declared in _TIMES
        case "image_url" | "resolution":
            return declared in _TEXTS
        case _:
            return _behind(declared) not in _NO_TEXTS


def _behind(declared: str) -> str:
    """What is generated is not written, and read as any other."""
    return declared.removeprefix(GENERATED)


_DIGITS = ("[0-9a-f]", "[0-9A-F]")
_SPELLED_UUID = "|".join(f"^({x}{{8}}(-{x}{{4}}){{3}}-{x}{{12}}|{x}{{32}})$" for x in _DIGITS)
_KEYS = {
    "uuid": ("^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", "UUID"),
    "integer": ("^(0|-?([1-9][0-9]{0,17}|[1-8][0-9]{18}|9[01][0-9]{17}))$", "BIGINT"),  # but for those beyond 9.2e18
}


class Server(Placed, peewee.PostgresqlDatabase):
    psycopg2_adapter = peewee.Psycopg3Adapter  # taken where peewee did not see the driver; `_connect` does without it

    def get_columns(self, table: str, schema: str | None = None) -> list[peewee.ColumnMetadata]:
        """All, whatever this role may do with them."""
        found = guests.located(self, schema, table)
        rows = self.execute_sql(guests.COLUMNS, (found.oid,)).fetchall() if found else []
        return [peewee.ColumnMetadata(name, kind, null, False, table, None) for name, null, kind in rows]

    def _connect(self) -> Any:
        from psycopg import ClientCursor  # noqa: PLC0415 - an extra

        from reconciler.database.driver import Instants, Patient  # noqa: PLC0415 - needs it

        given = Patient.connect(self.database, autocommit=True, prepare_threshold=None, cursor_factory=ClientCursor)
        given.adapters.register_loader("timestamptz", Instants)
        return given


def open_postgres(url: str, schema: str, limits: Limits) -> tuple[Server, str]:
    """Not connected yet. Returns it, and how its place is called."""
    try:
        from psycopg import ProgrammingError, conninfo  # noqa: PLC0415 - an extra
    except ImportError as error:
        todo = "Install it with the extra: pip install 'reconciler[postgres]'"
        raise DatabaseMissing("PostgreSQL needs psycopg, which is not installed", redact(url), todo) from error
    address = _conninfo(url, limits)
    try:
        conninfo.conninfo_to_dict(address)
    except ProgrammingError:  # it quotes what may be a piece of a password
        what = "the address has a parameter that PostgreSQL's library does not know"
        todo = "Mend what follows the ? in database.url; a & within a value is written as %26"
        raise DatabaseMissing(what, redact(url), todo) from None
    server = Server(address, autoconnect=False, prefer_psycopg3=True, field_types=FIELD_TYPES)
    server.place(homes(schema))
    return server, redact(url)


def unconnected(schema: str, home: str) -> tuple[Server, PostgresDialect]:
    """To spell statements with. `home`: the schema of the app's table."""
    server = Server(None, prefer_psycopg3=True, field_types=FIELD_TYPES)
    server.place(homes(schema) | {HAND_OVER: f'"{home}"."{HAND_OVER}"'})
    return server, PostgresDialect(schema, 0)


def homes(schema: str) -> dict[str, str]:
    """Where our tables are."""
    return {name: f'"{schema}"."{name}"' for name in OWN}


def _exists(db: Any, qualified: str) -> bool:
    """Even if it lies in a schema that this role may not use."""
    schema, table = qualified.strip('"').split('"."')
    return guests.located(db, schema, table) is not None


def refuse_encoding(db: Any, place: str) -> None:
    """Unless every text can be kept, and what is kept is text."""
    encoding = db.connection().info.parameter_status("server_encoding")
    if encoding not in (None, "UTF8"):
        raise DatabaseMissing(f"its encoding is {encoding}", place, "Move the app to a database of encoding UTF8")


def refuse_unwritable(db: Any, place: str) -> None:
    """For those who are to write."""
    found = guests.unwritable(db)
    if found is not None:
        raise DatabaseReadOnly(found.why, place, found.todo)


def hidden_rows(table: str) -> SchemaError:
    problem = f"row level security hides rows of {table} from this role by now; what is not seen would count as deleted"
    return SchemaError([problem], table, ASK_CHECK)


def _conninfo(url: str, limits: Limits) -> str:
    parts = urlsplit(url)
    usual = {"connect_timeout": ceil(limits.answer_s), "application_name": "reconciler", **_KEPT_ALIVE}
    # The server's library takes + for itself, Python for a space.
    parameters = parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True)
    given = [pair for pair in parameters if pair[0] not in _FOR_OTHERS]
    query = urlencode([*usual.items(), *given, ("client_encoding", "UTF8")], quote_via=quote)
    return f"postgresql://{parts.netloc}{parts.path}?{query}"


def _ms(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def _answer(cursor: Any) -> tuple[list[Any], int]:
    return (cursor.fetchall() if cursor.description else []), cursor.rowcount


_Kind = tuple[type[DatabaseError], str, str]

_SEE_PRIMARY = f"{guests.USE_PRIMARY}; if it is that, run `reconciler check`: it tells what allows writing again"
_LOCKED = (DatabaseLocked, "the database is busy", "Try again, or end what holds its lock")
_SHORT = (DatabaseLocked, "the server is short of means", "See the server's log; a daemon tries again")
_CROWDED = (
    DatabaseGone,
    "no connection is left",
    "Raise the limit, or end what holds the others; a daemon tries again",
)
_GONE = (DatabaseGone, "the connection failed", "See whether the server runs and can be reached; a daemon tries again")
_LOGIN = (DatabaseMissing, "the login was refused", "Check database.url: user, password and name of the database")
_REFUSED = (RowRefused, "the row was refused", "See the table's constraints, triggers and indexes")
_BROKEN = (DatabaseBroken, "the database is damaged", "See the server's log")
_STATEMENT_MODE = (
    DatabaseMissing,
    "the pooler lends a session for one statement alone",
    "Set pool_mode = transaction in PgBouncer, or give database.url the address of a pooler in transaction mode",
)
"""A pooler's own faults all have the state of a connection that failed."""
_BY_STATE: Mapping[str, _Kind] = {
    "25006": (DatabaseReadOnly, "the database may not be written", _SEE_PRIMARY),
    "25P03": _GONE,  # idle in a transaction for too long
    "25P04": _GONE,  # a transaction that took too long
    "3D000": _LOGIN,
    "40001": _LOCKED,
    "40P01": _LOCKED,
    "42501": (DatabaseDenied, "a right is missing", ASK_CHECK),
    "53100": (DatabaseFull, "no space is left", "Make space; nothing was changed"),
    "53300": _CROWDED,
    "55P03": _LOCKED,
    "57014": _LOCKED,
    "P0001": _REFUSED,
    "XX001": _BROKEN,
    "XX002": _BROKEN,
}
_BY_CLASS: Mapping[str, _Kind] = {
    "08": _GONE,
    "22": _REFUSED,
    "23": _REFUSED,
    "28": _LOGIN,
    "53": _SHORT,
    "54": _REFUSED,  # a value too long for an index
    "57": _GONE,  # shut down, or starting
    "58": (DatabaseBroken, "the server's device failed", "See the server's log"),
}
_UNFIT = (DatabaseMissing, "the address cannot be used", "Mend database.url")
_PLAIN = (DatabaseMissing, "server and address disagree about encryption", "Set sslmode in database.url")
_BY_TEXT: Mapping[str, _Kind] = {
    "invalid integer value": _UNFIT,
    "invalid sslmode value": _UNFIT,
    "does not support SSL": _PLAIN,
    "certificate": _PLAIN,
    "authentication failed": _LOGIN,
    "no password supplied": _LOGIN,
    "does not exist": _LOGIN,
    "not permitted to log in": _LOGIN,
    "permission denied for database": _LOGIN,
    "no pg_hba.conf entry": _LOGIN,
    "no such database": _LOGIN,
    "too many clients": _CROWDED,
    "too many connections": _CROWDED,
    "connection slots are reserved": _CROWDED,
    "no more connections allowed": _CROWDED,
}


def _otherwise(source: Any, said: str) -> _Kind:
    """Of connections that did not come about the driver has the text alone, in English or not."""
    import psycopg  # noqa: PLC0415 - an extra

    known = next((kind for text, kind in _BY_TEXT.items() if text in said), None)
    if known is not None and getattr(source, "sqlstate", None) is None:
        return known
    if isinstance(source, psycopg.OperationalError | psycopg.InterfaceError):
        return _GONE
    return DatabaseError, "the database refused", "See the server's log"
