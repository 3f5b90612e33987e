"""Whoever changes many tracks at once locks them in the order of those who work them: nobody waits for each other."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pytest

from reconciler.database import Database, DatabaseLocked, Where, open_database
from reconciler.domain.policy import Policy
from tests.postgres import Server, eventually
from tests.postgresql.ways import database_on

pytestmark = pytest.mark.slow

POLICY = Policy()
REMEMBERED = """
    INSERT INTO reconciler.reconciler_memory
        (track_id, state, reason, held, lease_until, repeats, first_seen, ignored, generation, doc)
    VALUES (%s, 'missing', 'host_suspect', 'paused', now() + interval '1 year', FALSE, now(), FALSE, 1, '{}')
"""
BOUGHT = """
    INSERT INTO reconciler.reconciler_purchase (token, track_id, model, shape, prompt, price, at, send_before, deadline,
        outcome, sent, urls, detail, verdict, over_at)
    SELECT 'of ' || %s, %s, 'm', 's', 'p', 5, ahead, ahead, ahead, 'unknown', TRUE, '[]', '', 'pending', ahead
    FROM (VALUES (now() + interval '1 day')) AS later (ahead)
"""
DEEDS: dict[str, Callable[[Database], object]] = {
    "pause": lambda database: database.gate.pause(paused=True),
    "resume": lambda database: database.gate.pause(paused=False),
    "hosts are released": lambda database: database.release_suspects(),
    "a clock that was set back": lambda database: database.gate.view(),
}


@pytest.fixture
def name(postgres: Server) -> Iterator[str]:
    """The later track is the first that is come across."""
    with database_on(postgres) as made:
        open_database(Where(postgres.url(made)), POLICY).close()
        for track_id in "za":
            postgres.sql(made, REMEMBERED, track_id)
        yield made


@pytest.mark.parametrize("deed", DEEDS)
def test_nobody_waits_for_who_works_the_same_tracks_while_that_one_waits(
    postgres: Server, name: str, deed: str
) -> None:
    with ThreadPoolExecutor(1) as thread, psycopg.connect(postgres.url(name)) as worker:
        lock(worker, "a")
        doing = thread.submit(done, Where(postgres.url(name)), DEEDS[deed])
        eventually(lambda: doing.done() or waits(postgres, name))
        lock(worker, "z")
        worker.commit()
        doing.result()


def test_nor_for_who_works_one_that_is_to_be_paused_since(postgres: Server, name: str) -> None:
    postgres.sql(name, REMEMBERED, "m")
    postgres.sql(name, "UPDATE reconciler.reconciler_memory SET state = 'ok' WHERE track_id = 'm'")
    with (
        ThreadPoolExecutor(1) as thread,
        psycopg.connect(postgres.url(name)) as worker,
        psycopg.connect(postgres.url(name)) as other,
    ):
        lock(worker, "a")
        doing = thread.submit(done, Where(postgres.url(name)), DEEDS["pause"])
        eventually(lambda: doing.done() or waits(postgres, name))
        postgres.sql(name, "UPDATE reconciler.reconciler_memory SET state = 'missing' WHERE track_id = 'm'")
        lock(other, "m")
        worker.commit()
        lock(other, "z")
        other.commit()
        doing.result()


@pytest.mark.parametrize("leased", ["z", "nobody"])
def test_nor_is_what_that_one_learns_of_an_order_undone_as_the_clock_is_set_back(
    postgres: Server, name: str, leased: str
) -> None:
    postgres.sql(name, "UPDATE reconciler.reconciler_memory SET lease_until = NULL WHERE track_id <> %s", leased)
    postgres.sql(name, BOUGHT, "a", "a")
    with ThreadPoolExecutor(1) as thread, psycopg.connect(postgres.url(name)) as worker:
        lock(worker, "a")
        worker.execute("UPDATE reconciler.reconciler_purchase SET outcome = 'accepted', task_id = 'paid'")
        doing = thread.submit(done, Where(postgres.url(name)), DEEDS["a clock that was set back"])
        eventually(lambda: doing.done() or waits(postgres, name))
        lock(worker, "z")
        worker.commit()
        doing.result()
    told = "SELECT outcome, task_id, at <= now() FROM reconciler.reconciler_purchase"
    assert postgres.sql(name, told) == [("accepted", "paid", True)]
    far = "SELECT 1 FROM reconciler.reconciler_memory WHERE lease_until > now()"
    assert postgres.sql(name, far) == []


def test_a_pause_holds_though_the_rest_of_it_has_to_wait_too_long(postgres: Server, name: str) -> None:
    where = Where(postgres.url(name))
    with closing(open_database(where, POLICY, busy_timeout_s=0.1)) as database, psycopg.connect(where.url) as worker:
        lock(worker, "a")
        with pytest.raises(DatabaseLocked):
            database.gate.pause(paused=True)
        worker.rollback()
        assert database.gate.view().paused
        assert not database.gate.pause(paused=True), "it was so already"


def done(where: Where, deed: Callable[[Database], object]) -> None:
    with closing(open_database(where, POLICY)) as database:
        deed(database)


def lock(worker: "psycopg.Connection[Any]", track_id: str) -> None:
    worker.execute("SELECT 1 FROM reconciler.reconciler_memory WHERE track_id = %s FOR UPDATE", (track_id,))


def waits(server: Server, name: str) -> bool:
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    return bool(server.sql("postgres", waiting, name))
