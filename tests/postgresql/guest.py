"""The app's database on a server, and roles that are guests in it."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from reconciler.cli import app as command_line
from reconciler.commands.checking.database import check_database
from reconciler.commands.checking.lines import Line, Outcome
from reconciler.config import Settings
from reconciler.database import Database, Reader, Where, open_database, open_reader
from reconciler.domain.actions import Write
from reconciler.domain.case import Case
from reconciler.domain.learn import after_write, notice
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing
from reconciler.domain.states import How, Reason, State
from reconciler.ports import Change, Commit, DatabaseError, Ending, Held, Lease, RowWrite
from tests.postgres import SUPERUSER, Bouncer, Server

ROOT = Path(__file__).parents[2]
APP_SCHEMA = (ROOT / "tests" / "schema" / "app-schema.sql").read_text()
SECTION = re.compile(r"^## On PostgreSQL and Supabase\n(.*?)^## ", re.DOTALL | re.MULTILINE)
TRACK = "5f0c2b3e-0000-4000-8000-000000000001"
PASSWORD = "p@:w/?#% word"
URL = "https://covers.example/new.jpg"
STUCK = Standing(State.MISSING, Reason.DUE, None)
OLD = datetime.now(UTC) - timedelta(days=3)


def readme_sql() -> list[str]:
    """The statements for an admin: role, Supabase, archived tracks, row security, uninstalling."""
    found = SECTION.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found is not None
    return re.findall(r"^```sql\n(.*?)^```$", found[1], re.DOTALL | re.MULTILINE)


@dataclass
class Home:
    """A database with the app's table. Roles that are made here end with it."""

    server: Server
    name: str
    bouncer: Bouncer | None = None
    roles: list[str] = field(default_factory=list)
    passwords: dict[str, str | None] = field(default_factory=lambda: {SUPERUSER: None})

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.server.sql(self.name, statement, *values)

    def role(self, name: str, options: str = f"LOGIN PASSWORD '{PASSWORD}'") -> str:
        self.sql(f'CREATE ROLE "{name}" {options}')
        self.roles.append(name)
        return name

    def guest(self) -> str:
        """A role with all that it needs, and the schema of our tables made for it."""
        role = self.role("guest")
        self.sql(
            f"GRANT SELECT, UPDATE (image_url, resolution, updated_at) ON tracks TO {role}; "
            f"CREATE SCHEMA reconciler; GRANT CREATE, USAGE ON SCHEMA reconciler, public TO {role}"
        )
        return role

    def url(self, role: str) -> str:
        password = self.passwords.get(role, PASSWORD)
        if self.bouncer is None:
            return self.server.url(self.name, role, password)
        self.bouncer.admit(role, str(password))
        return self.bouncer.url(self.name, role, password)

    def put(self, track_id: Any = TRACK, **columns: Any) -> None:
        row = {"id": track_id, "title": "T", "prompt": "P", "status": "completed", "created_at": OLD, "updated_at": OLD}
        row |= columns
        names, marks = ", ".join(f'"{name}"' for name in row), ", ".join(["%s"] * len(row))
        self.sql(f"INSERT INTO tracks ({names}) VALUES ({marks})", *row.values())

    def check(self, role: str, **database: Any) -> list[Line]:
        settings = Settings.model_validate({"database": {"url": self.url(role), **database}})
        return list(check_database(settings))

    def reader(self, role: str, **where: Any) -> Reader:
        return open_reader(Where(self.url(role), **where), Policy())

    def database(self, role: str, *, works: bool = True, **where: Any) -> Database:
        return open_database(Where(self.url(role), **where), Policy(), works=works)

    def tables(self) -> set[str]:
        """Ours."""
        sql = "SELECT schemaname || '.' || tablename FROM pg_tables WHERE tablename LIKE 'reconciler_%'"
        return {name for (name,) in self.sql(sql)}


@contextmanager
def home_on(server: Server, bouncer: Bouncer | None = None, schema: str = APP_SCHEMA) -> Iterator[Home]:
    home = Home(server, server.create(), bouncer)
    try:
        if schema:
            home.sql(schema)
        yield home
    finally:
        server.drop(home.name)
        for role in home.roles:
            server.sql(SUPERUSER, f'DROP ROLE IF EXISTS "{role}"')


@pytest.fixture
def home(postgres: Server) -> Iterator[Home]:
    with home_on(postgres) as made:
        yield made


def called(tmp_path: Path, url: str, *arguments: str) -> Result:
    config = tmp_path / "config.toml"
    kie, storage = 'allow_insecure_hosts = ["127.0.0.1"]', f'path = "{tmp_path}/images"'
    config.write_text(f'[database]\nurl = "{url}"\n[kie]\n{kie}\n[storage]\n{storage}\n')
    return CliRunner().invoke(command_line, ["--config", str(config), *arguments])


def said(lines: Sequence[Line], outcome: Outcome, what: str | None = None) -> list[str]:
    return [line.said for line in lines if line.outcome is outcome and what in (None, line.what)]


def statements(lines: Sequence[Line]) -> list[str]:
    """What is to be run, as `check` tells it."""
    return [line.said.partition(". Run: ")[2] for line in lines if ". Run: " in line.said]


def held_by(database: Database, track_id: str = TRACK) -> Held:
    held = database.leases.lease(track_id)
    assert held is not None
    return held


def ending(held: Held, url: str = URL, *, revive: bool = False) -> Ending:
    """A step that ends with a write to the row."""
    assert held.track is not None
    case = Case(held.track, notice(held.memory, held.track, Policy(), held.now), Policy(), held.now)
    write = Write(url, "2048x1152", How.GENERATED, revive=revive)
    written = Change(replace(after_write(case, write), seen=url), STUCK)
    return Ending(held.lease, written, RowWrite(write, held.track, held.now, Change(case.memory, STUCK)))


def worked(database: Database, track_id: str = TRACK, url: str = URL) -> Commit | Lease | DatabaseError:
    (outcome,) = database.leases.commit_all([ending(held_by(database, track_id), url)])
    return outcome
