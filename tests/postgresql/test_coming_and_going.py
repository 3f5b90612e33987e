"""Connections come and go: what was lost is told, nothing is half done, nobody waits for ever, and it goes on."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Barrier, Event, Thread
from typing import Any

import pytest
from freezegun import freeze_time

from reconciler.database import (
    DatabaseBroken,
    DatabaseDenied,
    DatabaseError,
    DatabaseFull,
    DatabaseGone,
    DatabaseLocked,
    DatabaseMissing,
    DatabaseReadOnly,
    Where,
    open_database,
    open_reader,
)
from reconciler.database import connection as connecting
from reconciler.database.connection import Connection, connect
from reconciler.database.errors import RowRefused
from reconciler.database.postgres import Limits
from reconciler.domain.actions import Buy
from reconciler.domain.attempts import Attempt
from reconciler.domain.model import Purchase
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing
from reconciler.ports import Change, Commit
from tests.postgres import HOST, Bouncer, Server, eventually
from tests.postgresql.ways import LOSSES, Way, database_on, say, transact, utter, way_to
from tests.proxy import Proxy

pytestmark = pytest.mark.slow


@pytest.fixture(params=["server", "pooler"])
def way(request: pytest.FixtureRequest, postgres: Server) -> Iterator[Way]:
    bouncer = request.getfixturevalue("bouncer") if request.param == "pooler" else None
    with way_to(postgres, bouncer) as made:
        yield made


@pytest.fixture
def direct(postgres: Server) -> Iterator[Way]:
    with way_to(postgres, None) as made:
        yield made


# -- lost ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_a_connection_that_was_lost_while_idle_is_replaced(way: Way, loss: str) -> None:
    connection = way.connect()
    say(connection, "before")
    LOSSES[loss](way)
    say(connection, "after")
    assert way.words() == ["before", "after"]
    assert way.network.open == 1


def test_reading_goes_on_after_a_loss(way: Way) -> None:
    connection = way.connect()
    way.network.cut()
    with connection.reading():
        assert connection.db.execute_sql("SELECT count(*) FROM said").fetchone() == (0,)


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "restarted in front"])
def test_nothing_is_kept_of_a_transaction_that_was_lost(way: Way, loss: str) -> None:
    connection = way.connect()
    with pytest.raises(DatabaseGone, match="a daemon tries again"):
        transact(connection, "half", partial(LOSSES[loss], way), "done")
    say(connection, "again")
    assert way.words() == ["again"]
    assert way.network.open == 1


def test_a_transaction_lost_before_its_end_is_not_taken_for_committed(direct: Way) -> None:
    connection = direct.connect()
    with pytest.raises(DatabaseGone):
        transact(connection, "half", partial(direct.server.terminate, direct.database))
    assert direct.words() == []


@contextmanager
def unheard(network: Proxy, kept: Callable[[], object]) -> Iterator[None]:
    """The network is slow, and cut as soon as something is kept: the answer is on its way then for half a second."""
    network.latency = 1.0

    def watch() -> None:
        eventually(kept)
        network.cut()

    cut = Thread(target=watch)
    cut.start()
    yield
    cut.join()
    network.latency = 0.0


def test_a_transaction_whose_end_is_not_answered_counts_as_failed_though_it_may_be_kept(direct: Way) -> None:
    connection = direct.connect(limits=Limits())
    with unheard(direct.network, direct.words), pytest.raises(DatabaseGone):
        say(connection, "kept")
    say(connection, "after")
    assert direct.words() == ["kept", "after"]


def test_what_was_kept_unheard_is_not_kept_twice(postgres: Server) -> None:
    with database_on(postgres) as name, Proxy(HOST, postgres.port) as network:
        ((row,),) = postgres.sql(name, "INSERT INTO tracks (title, prompt) VALUES ('T', 'P') RETURNING id::text")
        url = f"postgresql://postgres@{HOST}:{network.port}/{name}"
        with closing(open_database(Where(url), Policy())) as database:
            held = database.leases.lease(row)
            assert held is not None
            change = Change(held.memory, Standing(None, None, None), (Attempt("look", "", "done"),))
            free = "SELECT 1 FROM reconciler.reconciler_memory WHERE lease_owner IS NULL"
            with unheard(network, lambda: postgres.sql(name, free)), pytest.raises(DatabaseGone):
                database.leases.commit(held.lease, change)
            assert database.leases.commit(held.lease, change) is Commit.LEASE_LOST
        assert postgres.sql(name, "SELECT times FROM reconciler.reconciler_attempt") == [(1,)]


def test_while_the_server_is_away_every_transaction_says_so(way: Way) -> None:
    connection = way.connect(busy_timeout_s=0.1)
    way.server.stop()
    for _ in range(3):
        with pytest.raises(DatabaseGone, match=r"^postgresql://.*See whether the server runs"):
            say(connection, "lost")
    way.server.start()
    eventually(lambda: said(connection, "found"))  # a pooler may take a while to see it
    assert way.words() == ["found"]
    assert way.network.open == 1


def said(connection: Connection, word: str) -> bool:
    with suppress(DatabaseGone):
        say(connection, word)
        return True
    return False


def test_who_comes_while_the_server_is_away_is_told(way: Way) -> None:
    way.server.stop()
    with pytest.raises(DatabaseGone):
        way.connect()
    way.server.start()
    eventually(lambda: came(way))


def came(way: Way) -> bool:
    with suppress(DatabaseGone):
        say(way.connect(), "hello")
        return True
    return False


def test_nothing_listens_there(direct: Way) -> None:
    direct.network.refuse = True
    with pytest.raises(DatabaseGone, match="the connection failed"):
        direct.connect()


# -- silent ------------------------------------------------------------------------------------------------------------


def test_a_connection_that_is_never_answered_is_given_up(way: Way) -> None:
    way.network.freeze()
    with pytest.raises(DatabaseGone, match="timeout expired"):
        way.connect()
    way.network.thaw()
    say(way.connect(), "after")


@pytest.mark.parametrize("asked", ["BEGIN", "statement", "COMMIT"])
def test_a_network_that_swallows_everything_ends_the_wait(way: Way, asked: str) -> None:
    connection = way.connect(busy_timeout_s=0.1, limits=Limits(answer_s=1, statement_s=0.2))
    if asked == "BEGIN":
        way.network.freeze()
    steps = {"BEGIN": (), "statement": (way.network.freeze, "lost"), "COMMIT": ("lost", way.network.freeze)}
    with pytest.raises(DatabaseGone, match=r"no answer within 1\.[12] s"):
        transact(connection, *steps[asked])
    way.network.cut()  # else what is held goes on, and COMMIT with it
    way.network.thaw()
    say(connection, "after")
    assert way.words() == ["after"]


def test_a_statement_may_take_longer_than_it_takes_to_begin(direct: Way) -> None:
    connection = direct.connect(busy_timeout_s=0.1, limits=Limits(answer_s=1, statement_s=10))
    with connection.writing():
        assert connection.db.execute_sql("SELECT pg_sleep(1.5), 'done'").fetchone()[1] == "done"


def test_an_answer_that_keeps_coming_is_waited_for(direct: Way) -> None:
    connection = direct.connect()
    with connection.writing():
        connection.db.connection().silence_s = 1.0
        parts = "SELECT repeat('x', 20000), pg_sleep(0.2) FROM generate_series(1, 8)"
        assert len(connection.db.execute_sql(parts).fetchall()) == 8


def dripping(connection: Connection, silence_s: float) -> None:
    connection.db.connection().silence_s = silence_s
    connection.db.execute_sql("SELECT repeat('x', 20000), pg_sleep(0.1) FROM generate_series(1, 100)").fetchall()


def test_an_answer_that_drips_for_ever_is_left(direct: Way) -> None:
    connection = direct.connect()
    with pytest.raises(DatabaseGone, match=r"no whole answer within 1\.8 s"), connection.writing():
        dripping(connection, silence_s=0.3)
    say(connection, "after")
    assert direct.words() == ["after"]


def test_an_idle_connection_is_kept_alive(direct: Way) -> None:
    connection = direct.connect()
    with socket.socket(fileno=os.dup(connection.db.connection().fileno())) as wire:
        assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 20


# -- in each other's way -----------------------------------------------------------------------------------------------


def test_a_row_that_is_locked_for_too_long_is_told(way: Way) -> None:
    holder, waiter = way.connect(), way.connect(busy_timeout_s=0.1)
    say(holder, "word")
    with holder.writing():
        holder.db.execute_sql("UPDATE said SET word = 'mine'")
        with pytest.raises(DatabaseLocked, match="the database is busy"), waiter.writing():
            waiter.db.execute_sql("UPDATE said SET word = 'yours'")
    assert way.words() == ["mine"]
    say(waiter, "after")


def test_the_gate_is_waited_for_and_not_for_ever(bouncer: Bouncer, postgres: Server) -> None:
    with database_on(postgres) as name:
        where = Where(bouncer.url(name))
        with (
            closing(open_database(where, Policy())) as holder,
            closing(open_database(where, Policy(), busy_timeout_s=0.1)) as waiter,
        ):
            with holder.connection.writing(gate=True):
                with pytest.raises(DatabaseLocked):
                    waiter.gate.balance(1, datetime.now(UTC))
                waiter.notes.put("meanwhile", "other work goes on")
            waiter.gate.balance(1, datetime.now(UTC))


def test_a_statement_that_takes_too_long_is_told(way: Way) -> None:
    connection = way.connect(limits=Limits(statement_s=0.1))
    with pytest.raises(DatabaseLocked, match="statement timeout"), connection.writing():
        connection.db.execute_sql("SELECT pg_sleep(60)")
    say(connection, "after")


def test_of_two_who_wait_for_each_other_one_is_told_and_may_try_again(way: Way) -> None:
    way.server.sql("postgres", f"ALTER DATABASE {way.database} SET deadlock_timeout = '20ms'")
    connection = way.connect()
    say(connection, "a")
    say(connection, "b")
    both_hold_one, other_is_done = Barrier(2), Event()
    with ThreadPoolExecutor(2) as threads:
        crossing = [threads.submit(crossed, way, words, both_hold_one, other_is_done) for words in ("ab", "ba")]
    (told,) = [error for each in crossing if (error := each.result()) is not None]
    assert "deadlock" in str(told)
    assert way.words() == ["a", "b", "crossed", "crossed"]


def crossed(way: Way, words: str, both_hold_one: Barrier, other_is_done: Event) -> DatabaseLocked | None:
    """Locks two words, one after the other. If that is refused, tries again once it is free, and returns how it was."""
    with closing(connect(way.url, None)) as connection:
        try:
            lock(connection, words, both_hold_one.wait)
        except DatabaseLocked as error:
            assert other_is_done.wait(60)
            lock(connection, words)
            return error
        other_is_done.set()
        return None


def lock(connection: Connection, words: str, between: Callable[[], object] = lambda: None) -> None:
    with connection.writing():
        for word in words:
            connection.db.execute_sql("SELECT 1 FROM said WHERE word = %s FOR UPDATE", (word,))
            between()
            between = bool
        utter(connection, "crossed")


def test_the_level_of_isolation_is_ours_whatever_is_usual_there(way: Way) -> None:
    way.server.sql("postgres", f"ALTER DATABASE {way.database} SET default_transaction_isolation = 'serializable'")
    one, other = way.connect(), way.connect()
    say(one, "word")
    with one.writing():
        one.db.execute_sql("SELECT * FROM said").fetchall()
        say(other, "another")
        other_updates(other)
        one.db.execute_sql("UPDATE said SET word = 'last'")
    assert way.words() == ["last", "last"]


def other_updates(other: Connection) -> None:
    with other.writing():
        other.db.execute_sql("UPDATE said SET word = 'first'")


def test_several_queries_see_the_same_instant(way: Way) -> None:
    one, other = way.connect(readonly=True), way.connect()
    say(other, "before")
    with one.snapshot():
        seen = [one.db.execute_sql("SELECT word FROM said").fetchall()]
        say(other, "since")
        seen.append(one.db.execute_sql("SELECT word FROM said").fetchall())
    assert seen == [[("before",)]] * 2


STOPPED = """
import os, signal, sys
from reconciler.database import DatabaseGone, Where, open_database
from reconciler.database.connection import connect
from reconciler.database.postgres import Limits
from reconciler.database.migrations import migrate
connection = connect(sys.argv[1], None, limits=Limits(idle_s=0.5))
migrate(connection)
try:
    with connection.writing(gate=True):
        os.kill(os.getpid(), signal.SIGSTOP)
        connection.db.execute_sql("UPDATE said SET word = 'late'")
except DatabaseGone as error:
    print(error)
with connection.writing(gate=True):
    connection.db.execute_sql("INSERT INTO said VALUES ('after')")
"""


def test_who_is_stopped_at_the_gate_keeps_the_others_waiting_no_longer_than_is_allowed(way: Way) -> None:
    command = [sys.executable, "-c", STOPPED, way.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        other = way.connect()
        with other.writing(gate=True):
            utter(other, "meanwhile")
        process.send_signal(signal.SIGCONT)
        told, _ = process.communicate(timeout=60)
    assert "the connection failed" in told
    assert way.words() == ["meanwhile", "after"]


# -- refused -----------------------------------------------------------------------------------------------------------


ROLE = "guest"


@pytest.fixture
def role(postgres: Server) -> Iterator[str]:
    postgres.sql("postgres", f"CREATE ROLE {ROLE} LOGIN PASSWORD 'right'")
    yield ROLE
    postgres.sql("postgres", f"DROP ROLE {ROLE}")


@pytest.mark.parametrize("limit", ["ROLE {role} CONNECTION LIMIT", "DATABASE {database} CONNECTION LIMIT ="])
def test_a_server_that_has_no_connection_left_says_so(postgres: Server, direct: Way, role: str, limit: str) -> None:
    url = postgres.url(direct.database, role, "right")
    with closing(connect(url, None)):
        statement = "ALTER " + limit.format(role=role, database=direct.database).removesuffix(" =") + " 1"
        postgres.sql("postgres", statement)
        with pytest.raises(DatabaseGone, match=r"no connection is left \(.*too many connections"):
            connect(url, None)


def test_a_pooler_that_has_no_connection_left_says_so(postgres: Server) -> None:
    with (
        Bouncer(postgres, max_client_conn="1") as small,
        closing(connect(small.url("postgres"), None)),
        pytest.raises(DatabaseGone, match=r"no connection is left \(.*no more connections allowed"),
    ):
        connect(small.url("postgres"), None)


@pytest.mark.parametrize(
    ("database", "user", "password"),
    [
        ("postgres", ROLE, "wrong"),
        ("postgres", ROLE, None),
        ("postgres", "nobody", "right"),
        ("nowhere", ROLE, "right"),
    ],
)
def test_a_login_that_is_refused_is_no_loss_of_connection(
    postgres: Server, role: str, database: str, user: str, password: str | None
) -> None:
    with pytest.raises(DatabaseMissing, match=r"the login was refused .*Check database\.url") as caught:
        connect(postgres.url(database, user, password), None)
    assert "wrong" not in str(caught.value)
    assert "right" not in str(caught.value)


KINDS: Mapping[str, type[DatabaseError]] = {
    "08006": DatabaseGone,
    "23514": RowRefused,
    "25006": DatabaseReadOnly,
    "40001": DatabaseLocked,
    "42501": DatabaseDenied,
    "42703": DatabaseError,
    "53100": DatabaseFull,
    "53200": DatabaseLocked,
    "53300": DatabaseGone,
    "54000": RowRefused,
    "57P01": DatabaseGone,
    "58030": DatabaseBroken,
    "P0001": RowRefused,
    "XX001": DatabaseBroken,
}


def test_what_the_server_refuses_is_told_by_kind(direct: Way) -> None:
    connection = direct.connect()
    assert {state: type(refusal(connection, state)) for state in KINDS} == KINDS
    say(connection, "after")


def refusal(connection: Connection, state: str) -> DatabaseError:
    raised = f"DO $$ BEGIN RAISE EXCEPTION 'so it is' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(DatabaseError, match="so it is") as caught:
        transact(connection, lambda: connection.db.execute_sql(raised))
    return caught.value


def test_after_a_transaction_that_cannot_even_be_undone_comes_a_sound_one(direct: Way) -> None:
    connection = direct.connect()
    with pytest.raises(ZeroDivisionError):
        transact(connection, "half", lambda: break_off(connection))
    say(connection, "after")
    assert direct.words() == ["after"]


def break_off(connection: Connection) -> None:
    """Nobody waits for the answer."""
    connection.db.connection().pgconn.send_query(b"SELECT pg_sleep(0.1)")
    raise ZeroDivisionError


def test_a_connection_that_is_refused_after_login_is_closed(direct: Way) -> None:
    direct.server.sql("postgres", f"ALTER DATABASE {direct.database} SET default_transaction_read_only = on")
    with pytest.raises(DatabaseReadOnly):
        direct.connect()
    eventually(lambda: direct.network.open == 0)


# -- read-only ---------------------------------------------------------------------------------------------------------


class Turncoat(Server):
    """A primary that may become a standby, and be promoted again."""

    def _answers(self) -> bool:
        try:
            status = (self.folder / "data/postmaster.pid").read_text().split()[-1]
        except (FileNotFoundError, IndexError):
            return False
        return status in ("ready", "standby")

    def demote(self) -> None:
        self.stop()
        (self.folder / "data/standby.signal").touch()
        self.start()

    def promote(self) -> None:
        self.sql("postgres", "SELECT pg_promote()")


@pytest.fixture(scope="module")
def turncoat() -> Iterator[Turncoat]:
    with Turncoat() as server:
        yield server


@pytest.fixture
def stage(turncoat: Turncoat) -> Iterator[Where]:
    """A database that was worked in."""
    with database_on(turncoat) as name:
        where = Where(turncoat.url(name))
        open_database(where, Policy()).close()
        yield where


def test_a_replica_is_refused_by_who_would_write_and_read_by_who_looks(turncoat: Turncoat, stage: Where) -> None:
    turncoat.demote()
    with pytest.raises(DatabaseReadOnly, match=r"a read-only replica\. Use the address of the primary server"):
        open_database(stage, Policy())
    with closing(open_reader(stage, Policy())) as reader:
        assert reader.remembers
        assert reader.overview().tracks == {}
        assert reader.finder.due(10) == ()
    turncoat.promote()


def test_who_finds_a_replica_behind_the_address_works_again_once_it_is_promoted(
    turncoat: Turncoat, stage: Where
) -> None:
    with closing(open_database(stage, Policy())) as database:
        turncoat.demote()
        with pytest.raises(DatabaseReadOnly, match=r"may not be written .*Use the address of the primary"):
            database.notes.put("a", "b")
        with pytest.raises(DatabaseReadOnly, match=r"may not be written .*Use the address of the primary"):
            database.gate.balance(1, datetime.now(UTC))
        turncoat.promote()
        database.notes.put("a", "b")
        assert database.notes.get("a") == "b"


def test_a_server_that_was_made_read_only_is_left_as_it_is(turncoat: Turncoat, stage: Where) -> None:
    """As some providers do before their disk is full; they let through who insists."""
    with closing(open_database(stage, Policy())) as database:
        with read_only(turncoat, stage):
            with pytest.raises(DatabaseReadOnly, match="if it is that, run `reconciler check`"):
                database.notes.put("a", "b")
            with pytest.raises(DatabaseReadOnly, match=r"allows no writing by default\. End that: .*make space"):
                open_database(stage, Policy())
            open_reader(stage, Policy()).close()
        database.notes.put("a", "b")


@contextmanager
def read_only(server: Server, where: Where) -> Iterator[None]:
    database = where.url.rpartition("/")[2]
    for value in ("on", "off"):
        server.sql("postgres", f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        server.sql("postgres", "SELECT pg_reload_conf()")
        eventually(partial(shows, server, database, value))
        if value == "on":
            yield


def shows(server: Server, database: str, value: str) -> bool:
    return server.sql(database, "SHOW default_transaction_read_only") == [(value,)]


# -- whose time counts -------------------------------------------------------------------------------------------------


def test_the_servers_time_is_told_and_how_long_it_took(direct: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = direct.connect()
    heard: list[tuple[datetime, timedelta]] = []
    connection.heard = lambda *told: heard.append(told)
    ours = iter([100.0, 101.5])
    monkeypatch.setattr(connecting, "monotonic", lambda: next(ours))
    with connection.writing() as now:
        pass
    ((server, took),) = heard
    assert took == timedelta(seconds=1.5)
    assert server == now
    ((theirs,),) = direct.server.sql("postgres", "SELECT clock_timestamp()")
    assert theirs - timedelta(minutes=5) < server < theirs


@pytest.mark.parametrize("off", [timedelta(hours=-7), timedelta(hours=7)])
def test_leases_and_purchases_go_by_the_servers_clock(postgres: Server, off: timedelta) -> None:
    policy = Policy(grace=timedelta(0))
    with database_on(postgres) as name:
        ((row,),) = postgres.sql(name, "INSERT INTO tracks (title, prompt) VALUES ('T', 'P') RETURNING id::text")
        ((began,),) = postgres.sql(name, "SELECT clock_timestamp()")
        with freeze_time(datetime.now(UTC) + off), closing(open_database(Where(postgres.url(name)), policy)) as here:
            here.gate.balance(1000, began)
            held = here.leases.lease(row)
            assert held is not None
            bought = here.gate.reserve(held, Buy("model", "prompt", "shape", 5.0, "song"))
            assert isinstance(bought, Purchase)
            here.leases.commit(held.lease, Change(held.memory, Standing(None, None, None)))
        ((ended,),) = postgres.sql(name, "SELECT clock_timestamp()")
        ((tried_at, noted),) = postgres.sql(
            name, "SELECT tried_at, p.at FROM reconciler.reconciler_memory, reconciler.reconciler_purchase p"
        )
    times: dict[str, Any] = {
        "now": held.now,
        "lease": held.lease.until - policy.lease,
        "at": bought.at,
        "send_before": bought.send_before - policy.send_within,
        "deadline": bought.deadline - policy.send_within - policy.request_timeout,
        "tried": tried_at,
        "noted": noted,
    }
    assert [what for what, at in times.items() if not began <= at <= ended] == []
