"""The app's database and our tables in it. Opened either to read, or to work."""

import os
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from reconciler.database import without_driver  # noqa: F401 - before the others, who import peewee

# isort: split
from reconciler.database import migrations, postgres, row_counts, sqlite
from reconciler.database.callbacks import Callbacks
from reconciler.database.changed_policy import look_again_if_changed, would_look_again
from reconciler.database.connection import BUSY_TIMEOUT_S, Connection, Now, TimeHeard, connect
from reconciler.database.dialect import Key
from reconciler.database.errors import (
    DatabaseBroken,
    DatabaseDenied,
    DatabaseError,
    DatabaseFull,
    DatabaseGone,
    DatabaseLocked,
    DatabaseMissing,
    DatabaseReadOnly,
    DatabaseUnfit,
    SchemaError,
)
from reconciler.database.finder import SqlFinder
from reconciler.database.gate import SqlGate
from reconciler.database.gate_view import GateReader
from reconciler.database.handing import Handing
from reconciler.database.history import History, Told
from reconciler.database.hosts import release_suspects
from reconciler.database.leases import Peek, SqlLeases
from reconciler.database.memories import usable_task_id
from reconciler.database.notes import AUDIT_BEGAN, AUDIT_REACHED, FORGOT_AT, MARKER, ONCE_REACHED, Notes
from reconciler.database.overview import SqlOverview
from reconciler.database.pruning import Pruned, prune
from reconciler.database.schema import AppTable, probe, refuse_missing_rights
from reconciler.database.showing import BoughtLast, Showing, WroteLast
from reconciler.database.tables import SchemaVersion
from reconciler.domain.gate import GateView
from reconciler.domain.policy import Policy
from reconciler.ports import Held, Overview

__all__ = [
    "AUDIT_BEGAN",
    "AUDIT_REACHED",
    "FORGOT_AT",
    "MARKER",
    "ONCE_REACHED",
    "AppTable",
    "BoughtLast",
    "Database",
    "DatabaseBroken",
    "DatabaseDenied",
    "DatabaseError",
    "DatabaseFull",
    "DatabaseGone",
    "DatabaseLocked",
    "DatabaseMissing",
    "DatabaseReadOnly",
    "DatabaseUnfit",
    "Handing",
    "Key",
    "Pruned",
    "Reader",
    "SchemaError",
    "TimeHeard",
    "Told",
    "Where",
    "WroteLast",
    "open_database",
    "open_reader",
    "printed_schema",
    "usable_task_id",
]


@dataclass(frozen=True)
class Reader:
    """Nothing here is able to write: the file itself is opened read-only. `lacks`: those of our tables that are not in
    it; nothing stands for each."""

    connection: Connection
    app: AppTable
    finder: SqlFinder
    lacks: frozenset[str]
    showing: Showing
    _peek: Peek
    _gate: GateReader
    _overview: SqlOverview
    _history: History

    @property
    def remembers(self) -> bool:
        return SchemaVersion.table_name() not in self.lacks

    def peek(self, track_id: str) -> Held:
        return self._peek.peek(track_id)

    def peek_all(self, track_ids: Sequence[str]) -> Mapping[str, Held | Exception]:
        return self._peek.peek_all(track_ids)

    def inline_image(self, track_id: str) -> str | None:
        return self._peek.inline_image(track_id)

    def view(self) -> GateView:
        with self.connection.snapshot() as now:
            return self._gate.view(now)

    def overview(self) -> Overview:
        return self._overview.overview()

    def would_look_again(self) -> bool:
        """The policy is another than tracks were last looked at by: who opens the database to work makes all due."""
        return self.remembers and would_look_again(self.connection, self.finder.policy)

    def history(self, track_id: str, limit: int) -> Sequence[Told]:
        with self.connection.reading():
            return self._history.of(track_id, limit)

    def rows_by_status(self) -> Mapping[object, int]:
        return row_counts.by_status(self.connection, self.app)

    def nameless_rows(self) -> int:
        """Those without a usable id."""
        return row_counts.nameless(self.connection, self.app)

    def known_store(self) -> str | None:
        """Its marker's id; None before the first run that stored."""
        return Notes(self.connection).get(MARKER)

    def is_as_found(self) -> bool:
        """The app's table is what it was when this was opened: else it is to be opened anew."""
        return self.app.form.is_kept()

    def close(self) -> None:
        self.connection.close()


@dataclass(frozen=True)
class Database:
    """For one thread."""

    connection: Connection
    app: AppTable
    finder: SqlFinder
    leases: SqlLeases
    gate: SqlGate
    notes: Notes
    callbacks: Callbacks

    def release_suspects(self) -> int:
        return release_suspects(self.connection)

    def prune(self, may_go_on: Callable[[], bool] = lambda: True) -> Pruned:
        return prune(self.connection, self.app, may_go_on)

    def is_as_found(self) -> bool:
        """See Reader."""
        return self.app.form.is_kept()

    def close(self) -> None:
        self.connection.close()


@dataclass(frozen=True)
class Where:
    """The app's table, and where ours are. `columns`: our names to the table's, where they differ; `schema`: of our
    tables, where the database has schemas."""

    url: str = field(repr=False)
    table: str = "tracks"
    columns: Mapping[str, str] = field(default_factory=dict)
    schema: str = "reconciler"


def open_reader(
    where: Where, policy: Policy, now: Now | None = None, *, busy_timeout_s: float = BUSY_TIMEOUT_S
) -> Reader:
    """`now`: see Connection."""
    connection = connect(where.url, now, schema=where.schema, readonly=True, busy_timeout_s=busy_timeout_s)
    try:
        migrations.refuse_other(connection)
        app = probe(connection, where.table, where.columns, revives=policy.restore_archived)
        lacks = migrations.pretend(connection)
        finder, peek = SqlFinder(connection, app, policy), Peek(connection, app, policy)
        gate, overview = GateReader(connection, policy), SqlOverview(connection, app, policy)
        showing, history = Showing(connection), History(connection)
        return Reader(connection, app, finder, lacks, showing, peek, gate, overview, history)
    except BaseException:
        connection.close()
        raise


def open_database(
    where: Where,
    policy: Policy,
    now: Now | None = None,
    *,
    owner: str | None = None,
    heard: TimeHeard | None = None,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    works: bool = True,
) -> Database:
    """Creates or updates our tables. `owner`: by what name tracks are leased; by default one of this process. `heard`:
    see Connection; it is told the time before this returns. `works`: False for whoever leaves the app's rows alone, and
    need not have the right to write them nor take note of a changed configuration."""
    connection = connect(where.url, now, schema=where.schema, busy_timeout_s=busy_timeout_s)
    connection.heard = heard or connection.heard
    try:
        app = probe(connection, where.table, where.columns, revives=policy.restore_archived)
        if works:
            refuse_missing_rights(connection, app, revives=policy.restore_archived)
        migrations.migrate(connection)
        if works:
            look_again_if_changed(connection, policy)
        leases = SqlLeases(connection, app, policy, owner or _owner(os.getpid()))
        gate, finder = SqlGate(connection, app, policy), SqlFinder(connection, app, policy)
        return Database(connection, app, finder, leases, gate, Notes(connection), Callbacks(connection))
    except BaseException:
        connection.close()
        raise


def printed_schema(where: Where, engine: str) -> str:
    """The SQL that makes our tables, without asking the database. `engine`: sqlite or postgres."""
    if engine == "sqlite":
        return migrations.schema_sql(sqlite.File(None, field_types=sqlite.FIELD_TYPES), sqlite.SqliteDialect())
    home = where.table.rpartition(".")[0] or "public"
    return migrations.schema_sql(*postgres.unconnected(where.schema, home))


@cache
def _owner(pid: int) -> str:
    """One name as long as the process lives: what it left behind itself is no sign of a death."""
    return f"{socket.gethostname()}:{pid}:{secrets.token_hex(4)}"
