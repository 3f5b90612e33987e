"""A real file in the app's form, a clock set by hand, and everything that works on them."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from reconciler.database.connection import Connection, connect
from reconciler.database.finder import SqlFinder
from reconciler.database.gate import SqlGate
from reconciler.database.leases import SqlLeases
from reconciler.database.migrations import migrate
from reconciler.database.schema import probe
from reconciler.domain.policy import Policy
from tests.postgres import Bouncer, Server, bouncer, postgres
from tests.postgresql.worlds import as_in_a_file

__all__ = ["bouncer", "postgres"]

UNHURRIED = "PRAGMA synchronous = OFF"
"""Not waiting for the disk: nothing here loses power."""

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
APP_SCHEMA = files("reconciler").joinpath("demo/app-schema-sqlite.sql").read_text()
POSTGRES_SCHEMA = (
    (Path(__file__).parents[1] / "schema" / "app-schema.sql")
    .read_text()
    .replace("uuid PRIMARY KEY DEFAULT gen_random_uuid()", "text PRIMARY KEY")
)


@dataclass
class HandClock:
    at: datetime = START

    def __call__(self) -> datetime:
        return self.at

    def on(self, **length: float) -> datetime:
        self.at += timedelta(**length)
        return self.at


class App:
    """The app's side: its database, and rows put and read with a connection of its own. SQLite, unless it says else."""

    template: str | None = None

    def __init__(self, place: Path, clock: HandClock, schema: str) -> None:
        self.path, self.clock = place, clock
        self.opened: list[Connection] = []
        with closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(f"{UNHURRIED}; {schema}")

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def sql(self, statement: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(UNHURRIED)
            return connection.execute(statement, values).fetchall()

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(statement, values)]

    def put(self, track_id: Any = "a", **columns: Any) -> None:
        row = {"id": track_id, "title": "T", "prompt": "P", "status": "completed", **columns}
        row = {"created_at": "2026-06-01T00:00:00+00:00", "updated_at": "2026-06-01 00:00:00", **row}
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        self.sql(f"INSERT INTO tracks ({names}) VALUES ({marks})", *row.values())

    def row(self, track_id: Any = "a") -> dict[str, Any]:
        return self.rows("SELECT * FROM tracks WHERE id = ?", track_id)[0]

    def refuse(self, track_id: str, how: str = "rule") -> None:
        """From now on this row's picture can be changed by nobody. `how`: of `REFUSALS`."""
        fails = "json_extract('{', '$.a')" if how == "mistake" else "RAISE(ABORT, 'not this one')"
        self.sql(
            f"CREATE TRIGGER refusing BEFORE UPDATE OF image_url ON tracks WHEN NEW.id = '{track_id}' "
            f"BEGIN SELECT {fails}; END"
        )

    def undo(self, track_id: str, kept: str = "OLD.image_url", **others: str) -> None:
        """From now on this row holds `kept` instead of the picture that is written, and nothing is said of it."""
        values = ", ".join(f"{name} = {value}" for name, value in {"image_url": kept, **others}.items())
        self.sql(
            f"CREATE TRIGGER undoing AFTER UPDATE OF image_url ON tracks WHEN NEW.id = '{track_id}' "
            f"BEGIN UPDATE tracks SET {values} WHERE id = NEW.id; END"
        )

    def connect(self, **options: Any) -> Connection:
        connection = connect(self.url, self.clock, **options)
        self.unhurried(connection)
        self.opened.append(connection)
        return connection

    def unhurried(self, connection: Connection) -> None:
        connection.db.execute_sql(UNHURRIED)

    def ready(self, **options: Any) -> Connection:
        connection = self.connect(**options)
        probe(connection, "tracks")  # by which it is known where tasks are handed over
        migrate(connection)
        return connection

    def leases(self, owner: str = "one", policy: Policy | None = None) -> SqlLeases:
        connection = self.ready()
        return SqlLeases(connection, probe(connection, "tracks"), policy or Policy(), owner)

    def finder(self, policy: Policy | None = None) -> SqlFinder:
        connection = self.ready()
        return SqlFinder(connection, probe(connection, "tracks"), policy or Policy())

    def gate(self, policy: Policy | None = None) -> SqlGate:
        connection = self.ready()
        return SqlGate(connection, probe(connection, "tracks"), policy or Policy())

    def close(self) -> None:
        for connection in self.opened:
            connection.close()


class PostgresApp(App):
    """The same on a real server, through a pooler in transaction mode. Ids are texts, so that tests may choose them."""

    def __init__(self, server: Server, bouncer: Bouncer, clock: HandClock, schema: str) -> None:
        self.server, self.bouncer, self.clock = server, bouncer, clock
        self.opened = []
        self.usual = schema == APP_SCHEMA and not _TAKEN.get(server.version)
        self.name = _usual(server) if self.usual else server.create()
        _TAKEN[server.version] = _TAKEN.get(server.version) or self.usual
        if not self.usual:
            server.sql(self.name, POSTGRES_SCHEMA if schema == APP_SCHEMA else schema)

    @property
    def url(self) -> str:
        return self.bouncer.url(self.name)

    def sql(self, statement: str, *values: Any) -> list[Any]:
        rows = self.server.sql(self.name, self._theirs(statement), *values)
        return [tuple(map(as_in_a_file, row)) for row in rows]

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.server.url(self.name), autocommit=True, row_factory=dict_row) as connection:
            found = connection.execute(self._theirs(statement), values).fetchall()
        return [{name: as_in_a_file(value) for name, value in row.items()} for row in found]

    def refuse(self, track_id: str, how: str = "rule") -> None:
        self.sql(f"""
            CREATE FUNCTION refusing() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'not this one' USING ERRCODE = '{REFUSALS[how]}'; END $$;
            CREATE TRIGGER refusing BEFORE UPDATE OF image_url ON tracks FOR EACH ROW
            WHEN (NEW.id = '{track_id}') EXECUTE FUNCTION refusing()
        """)

    def undo(self, track_id: str, kept: str = "OLD.image_url", **others: str) -> None:
        values = "; ".join(f"NEW.{name} := {value}" for name, value in {"image_url": kept, **others}.items())
        self.sql(f"""
            CREATE FUNCTION undoing() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN {values}; RETURN NEW; END $$;
            CREATE TRIGGER undoing BEFORE UPDATE ON tracks FOR EACH ROW
            WHEN (NEW.id = '{track_id}') EXECUTE FUNCTION undoing()
        """)

    def unhurried(self, connection: Connection) -> None:
        """As the server is."""

    def close(self) -> None:
        super().close()
        if self.usual:
            self.sql(EMPTIED)
            _TAKEN[self.server.version] = False
        else:
            self.server.drop(self.name)

    def _theirs(self, statement: str) -> str:
        """Our tables where they are, and `%s` for values."""
        return re.sub(r"\breconciler_(?!image_task)(\w+)", r"reconciler.reconciler_\1", statement).replace("?", "%s")


REFUSALS = {"rule": "23514", "mistake": "P0002", "right": "42501"}
"""By whose trigger the app's table refuses a row, and the server's code for it: a constraint; a look-up that finds
nothing; a table beside it that we may not write."""
EMPTIED = """
    DROP SCHEMA IF EXISTS reconciler CASCADE;
    DROP TABLE IF EXISTS reconciler_image_task;
    DROP FUNCTION IF EXISTS refusing, undoing CASCADE;
    TRUNCATE tracks
"""
_USUAL: dict[int, str] = {}
"""By version, the database that tests use one after the other: emptied in a moment, unlike a new one."""
_TAKEN: dict[int, bool] = {}


def _usual(server: Server) -> str:
    if server.version not in _USUAL:
        _USUAL[server.version] = server.create()
        server.sql(_USUAL[server.version], POSTGRES_SCHEMA)
    return _USUAL[server.version]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is about an engine's own ways is not asked of the other."""
    others = {"sqlite": "postgres", "postgres": "sqlite", None: ""}
    senseless = [item for item in items if item.get_closest_marker(others[_engine_of(item)])]
    config.hook.pytest_deselected(items=senseless)
    items[:] = [item for item in items if item not in senseless]


def _engine_of(item: pytest.Item) -> str | None:
    return getattr(item, "callspec", None) and item.callspec.params.get("engine")  # type: ignore[attr-defined]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=[pytest.mark.slow, pytest.mark.server])])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def make_app(
    engine: str, tmp_path: Path, clock: HandClock, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], App]]:
    """Makes the app's database by its DDL."""
    made: list[App] = []

    def make(schema: str = APP_SCHEMA) -> App:
        if engine == "sqlite":
            made.append(App(tmp_path / f"app-{len(made)}.db", clock, schema))
        else:
            server, bouncer = (request.getfixturevalue(name) for name in ("postgres", "bouncer"))
            made.append(PostgresApp(server, bouncer, clock, schema))
        return made[-1]

    yield make
    for app in made:
        app.close()


@pytest.fixture
def app(make_app: Callable[..., App]) -> App:
    return make_app()
