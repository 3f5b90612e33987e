"""A whole install on PostgreSQL: the app's database behind a pooler, a store, and Kie simulated over HTTP."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import psycopg
import pytest
from psycopg.rows import dict_row

from reconciler.kie.simulated import KieServer, Settings, SimulatedKie
from reconciler.kie.simulated.wire import Request, Response
from tests.cli.conftest import Install
from tests.postgres import Bouncer, Server
from tests.postgresql.ways import database_on


def id_of(name: str) -> str:
    return str(uuid5(NAMESPACE_URL, name))


@dataclass
class PostgresInstall(Install):
    server: Server
    bouncer: Bouncer
    name: str

    def configure(self, **changes: Any) -> None:
        super().configure(**{"database__url": f'"{self.bouncer.url(self.name)}"', **changes})

    def add(self, track_id: str, **columns: Any) -> None:
        """Its id is made of `track_id`, its prompt names it."""
        image_prompt = f"a lighthouse called {track_id} in morning mist"
        super().add(id_of(track_id), **{"extended_prompt_image": image_prompt, **columns})

    def sql(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.server.url(self.name), autocommit=True, row_factory=dict_row) as connection:
            cursor = connection.execute(statement.replace("?", "%s").encode(), values)
            return cursor.fetchall() if cursor.description else []

    def bouncer_answers(self) -> bool:
        """It may take a while to see that the server is back."""
        try:
            with psycopg.connect(self.bouncer.url(self.name)) as connection:
                connection.execute("SELECT 1")  # a client is let in before there is a server
        except psycopg.OperationalError:
            return False
        return True

    def when(self, operation: str, happens: Callable[[], object]) -> None:
        """Once, when Kie has done what the first such call asks for, and before it answers."""
        answer, lock, paths = self.kie.handle, Lock(), list[str]()

        def handle(request: Request) -> Response:
            response = answer(request)
            with lock:
                first = operation in request.url_path and not paths
                paths.append(request.url_path) if operation in request.url_path else None
            if first:
                happens()
            return response

        self.kie.handle = handle  # type: ignore[method-assign]


@contextmanager
def installed_on(server: Server, bouncer: Bouncer, folder: Path) -> Iterator[PostgresInstall]:
    quick = Settings(min_run=timedelta(milliseconds=100), max_run=timedelta(milliseconds=300))
    simulated = SimulatedKie(lambda: datetime.now(UTC), seed=1, settings=quick)
    with KieServer(simulated) as kie, database_on(server) as name:
        install = PostgresInstall(folder, simulated, kie.base_url, server, bouncer, name)
        install.configure()
        yield install


@pytest.fixture
def install(postgres: Server, bouncer: Bouncer, tmp_path: Path) -> Iterator[PostgresInstall]:
    with installed_on(postgres, bouncer, tmp_path) as made:
        yield made
