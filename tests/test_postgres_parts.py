"""The parts that tests against PostgreSQL rest upon do what they say."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import psycopg
import pytest

from tests import postgres as parts
from tests.postgres import Bouncer, Server, eventually
from tests.proxy import Proxy

pytestmark = pytest.mark.slow

postgres, postgres15, bouncer = parts.postgres, parts.postgres15, parts.bouncer


@pytest.fixture
def database(postgres: Server) -> Iterator[str]:
    name = postgres.create()
    yield name
    postgres.drop(name)


@pytest.fixture
def proxy(postgres: Server) -> Iterator[Proxy]:
    with Proxy(parts.HOST, postgres.port) as network:
        yield network


def connected(url: str) -> "closing[psycopg.Connection]":
    return closing(psycopg.connect(url, autocommit=True, prepare_threshold=None))


def through(proxy: Proxy) -> "closing[psycopg.Connection]":
    return connected(f"postgresql://postgres@{proxy.host}:{proxy.port}/postgres?sslmode=disable")


# -- PostgreSQL --------------------------------------------------------------------------------------------------------


def test_version_17_runs(postgres: Server) -> None:
    assert postgres.sql("postgres", "SHOW server_version")[0][0].startswith("17.")


def test_version_15_runs(postgres15: Server) -> None:
    assert postgres15.sql("postgres", "SHOW server_version")[0][0].startswith("15.")


def test_a_database_is_a_copy_of_its_template_and_gone_when_dropped(postgres: Server) -> None:
    template = postgres.create()
    postgres.sql(template, "CREATE TABLE said AS SELECT 'so' AS word")
    copy = postgres.create(template)
    assert postgres.sql(copy, "SELECT word FROM said WHERE word = %s", "so") == [("so",)]
    with connected(postgres.url(copy)):
        postgres.drop(copy)
    postgres.drop(template)
    assert postgres.sql("postgres", "SELECT 1 FROM pg_database WHERE datname IN (%s, %s)", copy, template) == []


def test_the_socket_leads_to_the_same_database(postgres: Server, database: str) -> None:
    with connected(postgres.url(database, socket=True)) as connection:
        row = connection.execute("SELECT current_database(), inet_server_addr() IS NULL").fetchone()
    assert row == (database, True)


def test_sessions_are_counted_and_ended(postgres: Server, database: str) -> None:
    with connected(postgres.url(database)) as one, connected(postgres.url(database)):
        assert postgres.connections(database) == 2
        assert postgres.terminate(database) == 2
        assert postgres.connections(database) == 0
        with pytest.raises(psycopg.OperationalError):
            one.execute("SELECT 1")


def test_what_was_committed_outlives_a_fall_of_the_server() -> None:
    with Server(synchronous_commit="on") as server:
        server.sql("postgres", "CREATE TABLE said AS SELECT 'so' AS word")
        with connected(server.url("postgres")) as connection:
            server.restart("immediate")
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        assert server.sql("postgres", "TABLE said") == [("so",)]


ORPHANED = """
import sys, threading, time
from tests.postgres import Server
server = Server()
thread = threading.Thread(target=server.__enter__)
thread.start()
thread.join()
server.sql("postgres", "SELECT 1")
print(server.port, server.folder, flush=True)
time.sleep(600)
"""


def test_a_server_ends_with_the_process_that_started_it_and_not_with_its_thread() -> None:
    path = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])}
    program = [sys.executable, "-c", ORPHANED]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env={**os.environ, **path}) as child:
        try:
            assert child.stdout is not None
            port, folder = child.stdout.readline().split()
            assert listens(int(port))
        finally:
            child.kill()
    eventually(lambda: not listens(int(port)))
    eventually(lambda: not [*Path(folder).rglob("postmaster.pid")])  # the last that it takes away
    shutil.rmtree(folder)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((parts.HOST, port)) == 0


# -- PgBouncer ---------------------------------------------------------------------------------------------------------


def test_two_clients_of_the_bouncer_share_one_session(postgres: Server, bouncer: Bouncer, database: str) -> None:
    url = bouncer.url(database)
    with connected(url) as one, connected(url) as other:
        served = [client.execute("SELECT pg_backend_pid()").fetchone() for client in (one, other, one)]
        assert len(set(served)) == 1
        assert (bouncer.connections(database), postgres.connections(database)) == (2, 1)
        assert [pool["pool_mode"] for pool in bouncer.pools(database)] == ["transaction"]


def test_what_one_client_leaves_in_a_session_reaches_the_next(bouncer: Bouncer, database: str) -> None:
    with connected(bouncer.url(database)) as one, connected(bouncer.url(database)) as other:
        one.execute("SET work_mem = '123kB'")
        assert other.execute("SHOW work_mem").fetchone() == ("123kB",)


def test_more_clients_than_sessions_wait_for_their_turn(bouncer: Bouncer, postgres: Server, database: str) -> None:
    def work() -> None:
        with connected(bouncer.url(database)) as client:
            client.execute("SELECT pg_sleep(0.02)")

    clients = [Thread(target=work) for _ in range(20)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert postgres.connections(database) == 5


def test_a_role_gets_through_the_bouncer_by_its_password_alone(
    postgres: Server, bouncer: Bouncer, database: str
) -> None:
    role, password = f"role_{database}", "p:w/@ %"
    postgres.sql("postgres", f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
    bouncer.admit(role, password)
    for way in (postgres, bouncer):
        with connected(way.url(database, role, password)) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (role,)
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            psycopg.connect(way.url(database, role, "wrong"))
    postgres.sql("postgres", f"DROP ROLE {role}")


def test_a_setting_at_the_start_of_a_session_is_refused_by_the_bouncer(bouncer: Bouncer, database: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="unsupported startup parameter"):
        psycopg.connect(bouncer.url(database), options="-c search_path=elsewhere")


# -- the network -------------------------------------------------------------------------------------------------------


def test_a_statement_is_one_round_trip(proxy: Proxy) -> None:
    with through(proxy) as connection:
        before = proxy.round_trips
        connection.execute("SELECT 1")
        assert proxy.round_trips - before == 1
        connection.execute("SELECT repeat('x', 1000000)")
        assert proxy.round_trips - before == 2
        with connection.pipeline():
            for _ in range(10):
                connection.execute("SELECT 1")
        assert proxy.round_trips - before == 3
    assert proxy.connections == 1


def test_latency_is_that_of_a_round_trip(proxy: Proxy) -> None:
    with through(proxy) as connection:
        proxy.latency = 0.05
        began = time.monotonic()
        connection.execute("SELECT 1")
        assert time.monotonic() - began >= 0.05


def test_latency_delays_and_does_not_throttle(proxy: Proxy) -> None:
    with through(proxy) as connection:
        proxy.latency = 1.0
        began = time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute("SELECT repeat('x', 20000000)")
        assert proxy.round_trips < 5
        assert time.monotonic() - began < 60, "300 pieces, half a second each and one after the other"


def test_cutting_ends_what_is_open_and_leaves_the_way_free(proxy: Proxy) -> None:
    with through(proxy) as connection:
        proxy.cut()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with through(proxy) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert proxy.connections == 2
    eventually(lambda: proxy.open == 0)


def test_who_is_refused_comes_too_late_and_who_is_in_stays(proxy: Proxy) -> None:
    with through(proxy) as connection:
        proxy.refuse = True
        with pytest.raises(psycopg.OperationalError):
            through(proxy)
        assert connection.execute("SELECT 1").fetchone() == (1,)
    proxy.refuse = False
    with through(proxy) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_nothing_goes_on_while_frozen_and_nothing_is_lost(proxy: Proxy) -> None:
    answers = list[object]()
    with through(proxy) as connection:
        proxy.freeze()
        client = Thread(target=lambda: answers.append(connection.execute("SELECT 1").fetchone()))
        client.start()
        client.join(0.1)
        assert answers == []
        proxy.thaw()
        client.join()
    assert answers == [(1,)]


def test_a_target_that_is_not_there_closes_the_connection() -> None:
    with Proxy(parts.HOST, parts.free_port()) as proxy, pytest.raises(psycopg.OperationalError):
        through(proxy)
