"""A real file in the app's form, a clock set by hand, and everything that works on them."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from reconciler.database.connection import Connection, connect
from reconciler.database.finder import SqlFinder
from reconciler.database.gate import SqlGate
from reconciler.database.leases import SqlLeases
from reconciler.database.migrations import migrate
from reconciler.database.schema import probe
from reconciler.domain.policy import Policy

UNHURRIED = "PRAGMA synchronous = OFF"
"""Not waiting for the disk: nothing here loses power."""

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
APP_SCHEMA = files("reconciler").joinpath("demo/app-schema-sqlite.sql").read_text()


@dataclass
class HandClock:
    at: datetime = START

    def __call__(self) -> datetime:
        return self.at

    def on(self, **length: float) -> datetime:
        self.at += timedelta(**length)
        return self.at


@dataclass
class App:
    """The app's side: its file, and rows put and read with a connection of its own."""

    path: Path
    clock: HandClock
    opened: list[Connection] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def sql(self, statement: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(UNHURRIED)
            return connection.execute(statement, values).fetchall()

    def put(self, track_id: Any = "a", **columns: Any) -> None:
        row = {"id": track_id, "title": "T", "prompt": "P", "status": "completed", **columns}
        row = {"created_at": "2026-06-01T00:00:00+00:00", "updated_at": "2026-06-01 00:00:00", **row}
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        self.sql(f"INSERT INTO tracks ({names}) VALUES ({marks})", *row.values())

    def row(self, track_id: Any = "a") -> dict[str, Any]:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.row_factory = sqlite3.Row
            return dict(connection.execute("SELECT * FROM tracks WHERE id = ?", (track_id,)).fetchone())

    def connect(self, **options: Any) -> Connection:
        connection = connect(self.url, self.clock, **options)
        connection.db.execute_sql(UNHURRIED)
        self.opened.append(connection)
        return connection

    def ready(self, **options: Any) -> Connection:
        connection = self.connect(**options)
        migrate(connection)
        return connection

    def leases(self, owner: str = "one", policy: Policy | None = None) -> SqlLeases:
        connection = self.ready()
        return SqlLeases(connection, probe(connection, "tracks"), policy or Policy(), owner)

    def finder(self, policy: Policy | None = None) -> SqlFinder:
        connection = self.ready()
        return SqlFinder(connection, probe(connection, "tracks"), policy or Policy())

    def gate(self, policy: Policy | None = None) -> SqlGate:
        return SqlGate(self.ready(), policy or Policy())


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def make_app(tmp_path: Path, clock: HandClock) -> Iterator[Callable[[str], App]]:
    """Makes the app's database by its DDL."""
    made: list[App] = []

    def make(schema: str = APP_SCHEMA) -> App:
        app = App(tmp_path / f"app-{len(made)}.db", clock)
        with closing(sqlite3.connect(app.path)) as connection:
            connection.executescript(f"{UNHURRIED}; {schema}")
        made.append(app)
        return app

    yield make
    for app in made:
        for connection in app.opened:
            connection.close()


@pytest.fixture
def app(make_app: Callable[..., App]) -> App:
    return make_app()
