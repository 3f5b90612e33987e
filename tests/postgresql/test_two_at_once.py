"""Who comes second waits, and then sees what the first did, whatever is usual on that server."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from threading import Event
from typing import Any

import pytest

from reconciler.database import Database, Where, migrations, open_database
from reconciler.database.connection import Connection
from reconciler.domain.actions import Buy
from reconciler.domain.gate import GateName, NotNow
from reconciler.domain.model import Purchase
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing
from reconciler.domain.states import Reason, State
from reconciler.ports import Change
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


LIFTED: Mapping[Reason, Callable[[Database], object]] = {
    Reason.PAUSED: lambda database: database.gate.pause(paused=False),
    Reason.HOST_SUSPECT: lambda database: database.release_suspects(),
}


@pytest.mark.parametrize("reason", LIFTED)
def test_who_begins_to_wait_as_what_it_waits_for_is_lifted_is_woken(
    postgres: Server, name: str, reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.sql(name, "INSERT INTO tracks (title, prompt, status) VALUES ('T', 'P', 'pending')")
    where = Where(postgres.url(name))
    ((track_id,),) = postgres.sql(name, "SELECT id::text FROM tracks")
    waiting = Standing(State.MISSING, reason, None, GateName.PAUSED if reason is Reason.PAUSED else None)

    def lift() -> None:
        with closing(open_database(where, Policy())) as database:
            LIFTED[reason](database)

    with ThreadPoolExecutor(1) as thread, closing(open_database(where, Policy())) as database:
        database.gate.pause(paused=reason is Reason.PAUSED)
        for _ in range(21 if reason is Reason.HOST_SUSPECT else 0):
            database.leases.host_lost("bad.example")
        held, end, lifting = database.leases.lease(track_id), database.leases._end, list["Future[None]"]()
        assert held is not None

        def slow(*arguments: Any) -> Any:
            lifting.append(thread.submit(lift))
            eventually(lambda: lifting[0].done() or waits(postgres, name))
            return end(*arguments)

        monkeypatch.setattr(database.leases, "_end", slow)
        database.leases.commit(held.lease, Change(held.memory, waiting))
        lifting[0].result()
        assert database.finder.due(9) == (track_id,)
    assert postgres.sql(name, "SELECT held FROM reconciler.reconciler_memory") == [(None,)]
