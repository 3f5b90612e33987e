"""A whole install in a directory: the app's database, a configuration, a store to be, and Kie simulated over HTTP."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import pytest
from typer.testing import CliRunner, Result

from reconciler.cli import app as command_line
from reconciler.kie.simulated import API_KEY, KieServer, Settings, SimulatedKie

APP_SCHEMA = files("reconciler").joinpath("demo/app-schema-sqlite.sql").read_text()
PROGRAM = (sys.executable, "-m", "reconciler")


@dataclass
class Install:
    folder: Path
    kie: SimulatedKie
    base_url: str

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def database(self) -> Path:
        return self.folder / "app.db"

    @property
    def store(self) -> Path:
        return self.folder / "images"

    def configure(self, **changes: Any) -> None:
        """Keys are `section__key`; values are TOML literals."""
        keys = {
            "database__url": f'"sqlite:///{self.database}"',
            "kie__base_url": f'"{self.base_url}"',
            "kie__api_key": f'"{API_KEY}"',
            "kie__allow_insecure_hosts": '["127.0.0.1"]',
            "kie__request_timeout": '"5s"',
            "schedule__retry_min": '"200ms"',
            "schedule__retry_max": '"1s"',
            "storage__path": f'"{self.store}"',
            "storage__public_url": '"http://127.0.0.1:1/images"',
            **changes,
        }
        sections: dict[str, list[str]] = {}
        for name, value in keys.items():
            section, _, key = name.partition("__")
            sections.setdefault(section, []).append(f"{key} = {value}")
        text = "\n".join(f"[{section}]\n" + "\n".join(lines) + "\n" for section, lines in sections.items())
        self.config.write_text(text, encoding="utf-8")

    def add(self, track_id: str, **columns: Any) -> None:
        born = datetime.now(UTC) - timedelta(days=2)
        row = {
            "id": track_id,
            "title": f"Song {track_id}",
            "prompt": "Generated Vibe",
            "status": "completed",
            "created_at": born.isoformat(),
            "updated_at": born.replace(tzinfo=None).isoformat(" "),
            "extended_prompt_image": f"a lighthouse called {track_id} in morning mist",
            **columns,
        }
        self.sql(f"INSERT INTO tracks ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", *row.values())

    def sql(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(statement, values)]

    def rows(self) -> list[dict[str, Any]]:
        return self.sql("SELECT * FROM tracks ORDER BY id")

    def pictures(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.store)): path.read_bytes() for path in self.store.rglob("*.jpg")}

    def call(self, *arguments: str) -> Result:
        """In this process."""
        return CliRunner().invoke(command_line, ["--config", str(self.config), *arguments])

    def program(
        self, *arguments: str, by: tuple[str, ...] = (), stdout: IO[str] | int = subprocess.PIPE, **environ: str
    ) -> "subprocess.CompletedProcess[str]":
        """In a process of its own, begun by another if given."""
        return subprocess.run(
            [*by, *PROGRAM, "--config", str(self.config), *arguments],
            cwd=self.folder,
            env=clean_environment() | environ,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )


def run(install: Install, *options: str) -> Any:
    result = install.call("run", "--once", "--timeout", "20s", "--json", *options)
    assert result.exit_code in (0, 3), result.output
    return json.loads(result.stdout)


def decided(install: Install, *words: str) -> tuple[str, str | None, str]:
    """Where the track stands now, and what was said."""
    result = install.call(*words, "--json")
    assert result.exit_code == 0, result.output
    (told,) = json.loads(result.stdout)["tracks"]
    return told["after"]["state"], told["after"]["reason"], told["said"]


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RECONCILER_")} | {"COLUMNS": "80"}


@contextmanager
def installed(folder: Path, **kie: Any) -> Iterator[Install]:
    quick = {"min_run": timedelta(milliseconds=100), "max_run": timedelta(milliseconds=300)}
    simulated = SimulatedKie(lambda: datetime.now(UTC), seed=1, settings=Settings(**{**quick, **kie}))
    with KieServer(simulated) as server:
        install = Install(folder, simulated, server.base_url)
        with closing(sqlite3.connect(install.database)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.executescript(APP_SCHEMA)
        install.configure()
        yield install


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RECONCILER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    with installed(tmp_path) as made:
        yield made


@pytest.fixture
def make_install(tmp_path: Path) -> Iterator[Callable[..., Install]]:
    """An install whose simulated Kie has these settings."""
    with_ = []

    def make(**kie: Any) -> Install:
        manager = installed(tmp_path, **kie)
        with_.append(manager)
        return manager.__enter__()

    yield make
    for manager in with_:
        manager.__exit__(None, None, None)
