"""Behind a pooler in transaction mode: each transaction may run in another session, and leaves that as it was."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from reconciler.commands.checking.database import check_database
from reconciler.config import Settings
from reconciler.database import (
    Database,
    DatabaseError,
    DatabaseGone,
    DatabaseMissing,
    Where,
    open_database,
    open_reader,
)
from reconciler.database.connection import connect
from reconciler.database.postgres import Limits
from reconciler.domain.actions import Buy, Write
from reconciler.domain.model import Purchase
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing
from reconciler.domain.states import How, Reason, State
from reconciler.ports import Change, Commit, Ending, Lease, RowWrite, Step
from tests.postgres import Bouncer, Server
from tests.postgresql.ways import database_on

pytestmark = pytest.mark.slow

POLICY = Policy()
STUCK = Standing(State.MISSING, Reason.DUE, None)
ORDER = Buy("model", "prompt", "shape", 5.0, "song")
OF_THE_POOLER = r"statement: SET application_name='"
"""Which it makes the session's own for whoever is lent it."""
SETTINGS = (
    "lock_timeout",
    "statement_timeout",
    "idle_in_transaction_session_timeout",
    "DateStyle",
    "default_transaction_read_only",
    "default_transaction_isolation",
    "search_path",
    "role",
)


@pytest.fixture
def name(postgres: Server) -> Iterator[str]:
    with database_on(postgres) as made:
        yield made


@pytest.fixture(scope="module")
def narrow(postgres: Server) -> Iterator[Bouncer]:
    """It lends one session."""
    with Bouncer(postgres, default_pool_size="1") as made:
        yield made


@pytest.fixture(params=["narrow", "bouncer"])
def pooler(request: pytest.FixtureRequest) -> Bouncer:
    """It lends one session, or five."""
    found: Bouncer = request.getfixturevalue(request.param)
    return found


def put(server: Server, name: str, count: int) -> list[str]:
    rows = server.sql(
        name,
        "INSERT INTO tracks (title, prompt, status, created_at, updated_at) SELECT 'T', 'P', 'completed', "
        "now() - interval '2 days', now() - interval '2 days' FROM generate_series(1, %s) RETURNING id::text",
        count,
    )
    return [row for (row,) in rows]


def work(database: Database, track_id: str) -> Commit:
    """All that is done to a track that is bought a picture for, and whatever goes on around."""
    database.gate.balance(1000, datetime.now(UTC))
    database.finder.due(10)
    assert database.gate.view().balance_at is not None
    held = database.leases.lease(track_id)
    assert held is not None
    assert held.track is not None
    bought = database.gate.reserve(held, ORDER)
    assert isinstance(bought, Purchase)
    (begun,) = database.leases.commit_all([Ending(held.lease, None, then=Step.PICTURE)])
    assert isinstance(begun, Lease)
    database.gate.heard(healthy=False, bought=True)
    memory = replace(held.memory, purchases=(bought,))
    write = Write("https://covers.example/new.jpg", "2048x1152", How.GENERATED)
    row = RowWrite(write, held.track, held.now, Change(memory, STUCK))
    (outcome,) = database.leases.commit_all([Ending(held.lease, Change(memory, STUCK), row)])
    database.gate.pause(paused=True)
    database.gate.pause(paused=False)
    database.notes.put("word", "given")
    database.finder.page(None, 10)
    database.release_suspects()
    database.prune()
    assert isinstance(outcome, Commit)
    return outcome


@contextmanager
def logged(server: Server, name: str) -> Iterator[list[str]]:
    """All that was sent to a database meanwhile, as its log tells."""
    server.sql("postgres", f"ALTER DATABASE {name} SET log_statement = 'all'")
    before, told = len(server.log), list[str]()
    yield told
    told += re.split(r"\n(?=\d{4}-\d\d-\d\d )", server.log[before:])


def test_nothing_rests_on_a_session(postgres: Server, pooler: Bouncer, name: str) -> None:
    (track,) = put(postgres, name, 1)
    where = Where(pooler.url(name))
    with logged(postgres, name) as told:
        with closing(open_database(where, POLICY)) as database:
            assert work(database, track) is Commit.COMMITTED
        with closing(open_reader(where, POLICY)) as reader:
            reader.overview()
            reader.history(track, 5)
        sessions = postgres.sql("postgres", "SELECT pid FROM pg_stat_activity WHERE datname = %s", name)
        with psycopg.connect(pooler.url(name), autocommit=True, prepare_threshold=None) as session:
            assert session.execute(b"SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
            assert session.execute(b"SELECT count(*) FROM pg_class WHERE relpersistence = 't'").fetchone() == (0,)
    text = "\n".join(line for line in told if not re.search(OF_THE_POOLER, line))
    assert sessions
    assert "FOR UPDATE" in text, "the log tells nothing"
    assert "pg_advisory_xact_lock(" in text
    assert not re.search(r"LOG:  (execute|parse|bind)", text), "a statement was prepared"
    assert not re.search(r"\b(LISTEN|NOTIFY|PREPARE|CURSOR|TEMP|TEMPORARY|DISCARD|RESET)\b", text)
    assert not re.search(r"pg_(try_)?advisory_lock", text)
    assert not re.search(r"(statement: |;\s*)SET\b(?! LOCAL)", text)
    assert set(re.findall(r"set_config\([^()]*, (\w+)\)", text)) == {"true"}, "a setting outlasts its transaction"


def test_a_session_is_given_back_as_it_was_lent(postgres: Server, narrow: Bouncer, name: str) -> None:
    postgres.sql("postgres", f"ALTER DATABASE {name} SET DateStyle = 'SQL, DMY'")
    (track,) = put(postgres, name, 1)
    with other(narrow, name) as session:
        before = shown(session)
        with closing(open_database(Where(narrow.url(name)), POLICY)) as database:
            work(database, track)
            assert shown(session) == before
            with pytest.raises(DatabaseError), database.connection.writing(gate=True):
                database.connection.db.execute_sql("SELECT 1 / 0")
            assert shown(session) == before
        with closing(open_reader(Where(narrow.url(name)), POLICY)) as reader:
            reader.overview()
        assert shown(session) == before
    assert "DMY" in before["DateStyle"]


@contextmanager
def other(pooler: Bouncer, name: str) -> "Iterator[psycopg.Connection[Any]]":
    """Somebody else who is lent the same session."""
    with psycopg.connect(pooler.url(name), autocommit=True, prepare_threshold=None) as session:
        yield session


def shown(session: "psycopg.Connection[Any]") -> dict[str, Any]:
    """The session, and how it is set."""
    asked = ", ".join(f"current_setting('{setting}')" for setting in SETTINGS)
    row = session.execute(f"SELECT pg_backend_pid(), {asked}".encode()).fetchone()
    assert row is not None
    return dict(zip(("pid", *SETTINGS), row, strict=True))


def test_what_others_left_in_a_session_does_not_matter(postgres: Server, narrow: Bouncer, name: str) -> None:
    (track,) = put(postgres, name, 1)
    with other(narrow, name) as session:
        for left in (
            "search_path = pg_catalog",
            "DateStyle = 'German, DMY'",
            "TimeZone = 'Asia/Tokyo'",
            "IntervalStyle = 'sql_standard'",
            "lock_timeout = '1ms'",
            "statement_timeout = '1s'",
            "default_transaction_isolation = 'serializable'",
            "extra_float_digits = 0",
        ):
            session.execute(f"SET SESSION {left}".encode())
        with closing(open_database(Where(narrow.url(name), "public.tracks"), POLICY)) as database:
            assert work(database, track) is Commit.COMMITTED
            assert database.notes.get("word") == "given"
            with database.connection.writing():
                row = database.connection.db.execute_sql("SELECT current_setting('statement_timeout')").fetchone()
                assert row == ("1min",)


@pytest.mark.parametrize(("theirs", "ours"), [("off", "local"), ("on", "on"), ("remote_write", "remote_write")])
def test_what_was_committed_is_known_after_a_crash(postgres: Server, name: str, theirs: str, ours: str) -> None:
    postgres.sql("postgres", f"ALTER DATABASE {name} SET synchronous_commit = {theirs}")
    with closing(open_database(Where(postgres.url(name), "public.tracks"), POLICY)) as database:
        for begun in (database.connection.writing(), database.connection.writing(gate=True)):
            with begun:
                row = database.connection.db.execute_sql("SELECT current_setting('synchronous_commit')").fetchone()
            assert row == (ours,)


def test_two_who_share_one_session_take_turns(postgres: Server, pooler: Bouncer, name: str) -> None:
    tracks = put(postgres, name, 8)
    where = Where(pooler.url(name))
    open_database(where, POLICY).close()

    def all_of(mine: list[str]) -> list[Commit]:
        with closing(open_database(where, POLICY)) as database:
            return [work_quietly(database, track) for track in mine]

    with ThreadPoolExecutor(2) as threads:
        done = list(threads.map(all_of, (tracks[:4], tracks[4:])))
    assert done == [[Commit.COMMITTED] * 4] * 2
    assert postgres.sql(name, "SELECT count(DISTINCT track_id) FROM reconciler.reconciler_purchase") == [(8,)]
    assert pooler.connections(name) == 0


def work_quietly(database: Database, track_id: str) -> Commit:
    held = database.leases.lease(track_id)
    assert held is not None
    database.gate.balance(1000, held.now)
    bought = database.gate.reserve(held, replace(ORDER, shape=track_id))
    assert isinstance(bought, Purchase)
    return database.leases.commit(held.lease, Change(replace(held.memory, purchases=(bought,)), STUCK))


def test_many_transactions_wait_for_few_sessions(narrow: Bouncer, name: str) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(closing(connect(narrow.url(name), None))) for _ in range(5)]
        pids = set()
        for connection in connections * 3:
            with connection.writing():
                pids.add(connection.db.execute_sql("SELECT pg_backend_pid()").fetchone()[0])
        assert len(pids) == 1
        assert narrow.connections(name) == 5


@pytest.fixture(scope="module")
def in_statement_mode(postgres: Server) -> Iterator[Bouncer]:
    with Bouncer(postgres, pool_mode="statement") as made:
        yield made


def test_a_pooler_that_lends_for_one_statement_is_none_to_wait_for(in_statement_mode: Bouncer, name: str) -> None:
    url = in_statement_mode.url(name)
    for opening in (open_database, open_reader):
        with pytest.raises(DatabaseMissing, match=r"statement pooling mode.*\. Set pool_mode = transaction"):
            opening(Where(url), POLICY)
    (told,) = check_database(Settings.model_validate({"database": {"url": url}}))
    assert told.is_unfit


def test_who_gets_no_session_is_not_kept_waiting_for_ever(narrow: Bouncer, name: str) -> None:
    url, limits = narrow.url(name), Limits(answer_s=1)
    with (
        closing(connect(url, None)) as holder,
        closing(connect(url, None, busy_timeout_s=0.1, limits=limits)) as waiter,
    ):
        with holder.writing(), pytest.raises(DatabaseGone, match=r"no answer within 1\.1 s"), waiter.writing():
            pass
        with waiter.writing():
            pass
