"""Who comes second waits, and then sees what the first did, whatever is usual on that server."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from threading import Event
from typing import Any

import pytest

from reconciler.database import Database, Where, migrations, open_database
from reconciler.database.connection import Connection
from reconciler.domain.actions import Buy
from reconciler.domain.gate import NotNow
from reconciler.domain.model import Purchase
from reconciler.domain.policy import Policy
from reconciler.domain.states import Reason
from tests.postgres import Server, eventually
from tests.postgresql.test_order_of_locks import waits
from tests.postgresql.ways import database_on

pytestmark = pytest.mark.slow

ORDER = Buy("model", "prompt", "shape", 5.0, "song")


@pytest.fixture
def name(postgres: Server) -> Iterator[str]:
    with database_on(postgres) as made:
        yield made


@pytest.mark.parametrize("usual", ["read committed", "repeatable read", "serializable"])
def test_an_order_counts_for_who_waited_at_the_gate_meanwhile(
    postgres: Server, name: str, usual: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.sql("postgres", f"ALTER DATABASE {name} SET default_transaction_isolation = '{usual}'")
    postgres.sql(name, "INSERT INTO tracks (title, prompt, status) VALUES ('T', 'P', 'pending'), ('T', 'P', 'pending')")
    where, policy = Where(postgres.url(name)), Policy(per_hour=1)
    mine, others = (track_id for (track_id,) in postgres.sql(name, "SELECT id::text FROM tracks"))

    def ordered(database: Database, track_id: str) -> Purchase | NotNow:
        held = database.leases.lease(track_id)
        assert held is not None
        return database.gate.reserve(held, ORDER)

    def elsewhere() -> Purchase | NotNow:
        with closing(open_database(where, policy)) as database:
            return ordered(database, others)

    with ThreadPoolExecutor(1) as thread, closing(open_database(where, policy)) as database:
        database.gate.balance(1000, datetime.now(UTC))
        intend, second = database.gate._intend, list["Future[Purchase | NotNow]"]()

        def slow(*arguments: Any) -> Purchase:
            second.append(thread.submit(elsewhere))
            eventually(lambda: second[0].done() or waits(postgres, name))
            return intend(*arguments)

        monkeypatch.setattr(database.gate, "_intend", slow)
        assert isinstance(ordered(database, mine), Purchase)
        refused = second[0].result()
    assert isinstance(refused, NotNow)
    assert refused.reason is Reason.BUDGET
    assert postgres.sql(name, "SELECT count(*) FROM reconciler.reconciler_purchase") == [(1,)]


def test_of_two_that_start_one_makes_our_tables(postgres: Server, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, execute, is_second = Where(postgres.url(name)), migrations._execute, Event()
    second: list[Future[None]] = []

    def slow(connection: Connection, statements: Sequence[str]) -> None:
        execute(connection, statements)
        if not is_second.is_set():
            is_second.set()
            second.append(thread.submit(start))
            eventually(lambda: second[0].done() or waits(postgres, name))

    def start() -> None:
        open_database(where, Policy()).close()

    monkeypatch.setattr(migrations, "_execute", slow)
    with ThreadPoolExecutor(1) as thread:
        start()
        second[0].result()
    assert postgres.sql(name, "SELECT count(*) FROM reconciler.reconciler_schema") == [(1,)]
