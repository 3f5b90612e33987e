"""Ways to a server that may be cut, and a word or two to be kept there."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.database.connection import Connection, connect
from reconciler.database.postgres import Limits
from tests.postgres import HOST, Bouncer, Server
from tests.proxy import Proxy

APP_SCHEMA = (Path(__file__).parents[1] / "schema" / "app-schema.sql").read_text()
HASTY = Limits(answer_s=2, statement_s=2, idle_s=1)
"""Two seconds are the shortest that the driver waits for a connection."""


@contextmanager
def database_on(server: Server, schema: str = APP_SCHEMA) -> Iterator[str]:
    """What was committed there survives a server that falls over."""
    name = server.create()
    server.sql("postgres", f"ALTER DATABASE {name} SET synchronous_commit = on")
    server.sql(name, schema)
    yield name
    server.drop(name)


@dataclass
class Way:
    """Through a network to a server, or to a pooler in front of it."""

    server: Server
    bouncer: Bouncer | None
    network: Proxy
    database: str
    opened: list[Connection] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{self.network.host}:{self.network.port}/{self.database}?sslmode=disable"

    def connect(self, **options: Any) -> Connection:
        self.opened.append(connect(self.url, None, **{"limits": HASTY, **options}))
        return self.opened[-1]

    def words(self) -> list[str]:
        return [word for (word,) in self.server.sql(self.database, "SELECT word FROM said ORDER BY at")]


def say(connection: Connection, word: str) -> None:
    transact(connection, word)


def transact(connection: Connection, *steps: str | Callable[[], object]) -> None:
    """In one transaction: words are said, anything else is called."""
    with connection.writing():
        for step in steps:
            if isinstance(step, str):
                utter(connection, step)
            else:
                step()


def utter(connection: Connection, word: str) -> None:
    connection.db.execute_sql("INSERT INTO said VALUES (%s)", (word,))


@contextmanager
def way_to(server: Server, bouncer: Bouncer | None) -> Iterator[Way]:
    said = "CREATE TABLE said (word text, at timestamptz DEFAULT clock_timestamp())"
    with database_on(server, said) as database, Proxy(HOST, (bouncer or server).port) as network:
        way = Way(server, bouncer, network, database)
        yield way
        for connection in way.opened:
            connection.close()


LOSSES: Mapping[str, Callable[[Way], int | None]] = {
    "ended": lambda way: way.server.terminate(way.database),
    "shut down": lambda way: way.server.restart("fast"),
    "crashed": lambda way: way.server.restart("immediate"),
    "cut": lambda way: way.network.cut(),
    "restarted in front": lambda way: (way.bouncer or way.server).restart(),
}
