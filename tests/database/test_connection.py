"""Connecting as a guest: nothing is created, no setting is changed, and every failure says what to do."""

import hashlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfile
from threading import Thread
from typing import Any

import psycopg
import pytest

from reconciler.database import (
    DatabaseError,
    DatabaseFull,
    DatabaseLocked,
    DatabaseMissing,
    DatabaseReadOnly,
    SchemaError,
    Where,
    migrations,
    open_database,
    open_reader,
    printed_schema,
)
from reconciler.database.connection import Connection, connect
from reconciler.database.migrations import VERSION, migrate, version
from reconciler.database.tables import SchemaVersion
from reconciler.domain.actions import Buy
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing
from reconciler.ports import Change
from tests.rights import shut


def now() -> datetime:
    return datetime(2026, 11, 1, tzinfo=UTC)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_missing_file_is_named_and_not_created(tmp_path: Path) -> None:
    path = tmp_path / "no" / "app.db"
    with pytest.raises(DatabaseMissing, match="there is no such file") as caught:
        connect(f"sqlite:///{path}", now)
    assert str(path) in str(caught.value)
    assert not path.exists()


def test_of_a_relative_path_it_is_told_where_it_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatabaseMissing) as caught:
        connect("sqlite:///data/app.db", now)
    assert str(caught.value).startswith(f"data/app.db (that is {tmp_path}/data/app.db): there is no such file. Check")
    tmp_path.rmdir()
    with pytest.raises(DatabaseMissing, match=r"^data/app\.db: there is no such file"):
        connect("sqlite:///data/app.db", now)


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(DatabaseMissing, match="is a directory, and no file"):
        connect(f"sqlite:///{tmp_path}", now)


def test_a_file_that_cannot_be_looked_at_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = f"{tmp_path}/{'a' * 300}/app.db"
    with pytest.raises(DatabaseMissing, match=r"cannot be looked at \(File name too long\)\. Check database\.url"):
        connect(f"sqlite:///{long}", now)
    shut(monkeypatch, tmp_path)
    with pytest.raises(DatabaseMissing, match=r"cannot be looked at \(Permission denied\)\. Let .* search its"):
        connect(f"sqlite:///{tmp_path}/app.db", now)


def test_another_kind_of_file_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, however long it may be" * 100)
    with pytest.raises(DatabaseMissing, match="no SQLite database"):
        connect(f"sqlite:///{path}", now)


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
@pytest.mark.parametrize("readonly", [False, True])
def test_a_database_that_does_not_keep_utf_8_is_refused(tmp_path: Path, encoding: str, readonly: bool) -> None:
    """Compared byte by byte, its texts are others."""
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA encoding = '{encoding}'")
        other.execute("CREATE TABLE tracks (id TEXT)")
    with pytest.raises(DatabaseMissing, match=f"its encoding is {encoding}. Move the app to a database of encoding"):
        connect(f"sqlite:///{path}", now, readonly=readonly)


def test_another_kind_of_database_is_refused_without_its_password() -> None:
    with pytest.raises(DatabaseError) as caught:
        connect("postgresql://me:secret@host/db", now)
    assert "secret" not in str(caught.value)


def test_a_path_with_odd_letters_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "täglich ?mode=memory#1 %41.db"
    with closing(sqlite3.connect(path)) as plain:
        plain.execute("CREATE TABLE tracks (id, status, image_url)")
    connection = connect(f"sqlite:///{path}", now)
    assert connection.db.get_tables() == ["tracks"]
    connection.close()


@pytest.mark.sqlite
@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_the_journal_mode_stays(app: Any, mode: str) -> None:
    app.sql(f"PRAGMA journal_mode = {mode}")
    app.put("a")
    leases = app.leases()
    held = leases.lease("a")
    leases.commit(held.lease, Change(held.memory, Standing(None, None, None)))
    leases.connection.close()
    assert app.sql("PRAGMA journal_mode") == [(mode,)]


@pytest.mark.sqlite
def test_what_was_committed_is_known_after_a_power_cut(app: Any) -> None:
    """A journal that is deleted is gone for good only once its folder is synced, which is what "extra" is."""
    extra = 3
    with closing(connect(app.url, now)) as connection:
        for _ in range(2):  # one that was closed is made anew as it was
            with connection.writing():
                assert connection.db.execute_sql("PRAGMA synchronous").fetchone() == (extra,)
            connection.db.close()


@pytest.mark.sqlite
def test_a_locked_database_is_an_error_after_the_timeout(app: Any) -> None:
    connection = app.ready(busy_timeout_s=0.01)
    with closing(sqlite3.connect(app.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseLocked, match="locked"), connection.writing():
            pass
    with connection.writing():
        pass


@pytest.mark.sqlite
def test_a_full_disk_leaves_nothing_half_written(app: Any) -> None:
    app.put("a")
    leases = app.leases()
    held = leases.lease("a")
    pages = leases.connection.db.execute_sql("PRAGMA page_count").fetchone()[0]
    leases.connection.db.execute_sql(f"PRAGMA max_page_count = {pages}")
    before = app.sql("SELECT * FROM reconciler_memory")
    large = replace(held.memory, restores=(held.now,) * 20_000)
    with pytest.raises(DatabaseFull, match="no space"):
        leases.commit(held.lease, Change(large, Standing(None, None, None)))
    assert app.sql("SELECT * FROM reconciler_memory") == before
    leases.commit(held.lease, Change(held.memory, Standing(None, None, None)))


class Interrupted:
    """The state of a connection; between the first look at whether it is closed and what is done then comes another."""

    def __init__(self, state: Any, other: Callable[[], None]) -> None:
        self.state, self.others = state, [other]

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.state, name)
        if name == "closed" and self.others:
            thread = Thread(target=self.others.pop())
            thread.start()
            thread.join()
        return found


def test_a_file_may_be_closed_by_two_threads_at_once(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "app.db").close()
    connection = connect(f"sqlite:///{tmp_path / 'app.db'}", now)
    file = connection.db
    file._state = Interrupted(file._state, file.close_unused)
    connection.close()
    assert file.is_closed()


def test_an_error_within_a_transaction_undoes_it(app: Any) -> None:
    connection = app.ready()
    with pytest.raises(DatabaseError, match="refused"):
        add_a_version(connection, twice=True)
    assert version(connection) == VERSION


def test_a_reader_cannot_write(app: Any) -> None:
    app.ready()
    connection = app.connect(readonly=True)
    with pytest.raises(DatabaseReadOnly, match="may not be written"):
        add_a_version(connection)


@pytest.mark.sqlite
def test_what_a_program_left_half_done_is_undone_by_who_may_write(tmp_path: Path) -> None:
    whole, left = tmp_path / "whole.db", tmp_path / "left.db"
    with closing(sqlite3.connect(whole)) as plain:
        plain.executescript("PRAGMA cache_size = 5; CREATE TABLE t (x); BEGIN")
        plain.executemany("INSERT INTO t VALUES (?)", [("x" * 300,)] * 3000)
        for beside in ("", "-journal"):
            copyfile(f"{whole}{beside}", f"{left}{beside}")
    with pytest.raises(DatabaseReadOnly, match=r"half done, .*Start the app, or `reconciler run --once`"):
        connect(f"sqlite:///{left}", now, readonly=True)
    connect(f"sqlite:///{left}", now).close()
    reader = connect(f"sqlite:///{left}", now, readonly=True)
    assert reader.db.execute_sql("SELECT count(*) FROM t").fetchone() == (0,)
    reader.close()


@pytest.mark.sqlite
def test_a_file_that_another_one_took_the_place_of_is_not_written(app: Any) -> None:
    connection = app.ready()
    add_a_version(connection)
    copyfile(app.path, f"{app.path}-other")
    Path(f"{app.path}-other").rename(app.path)
    with pytest.raises(DatabaseReadOnly, match=r"was moved, .*next sweep opens"), connection.writing():
        connection.delete(SchemaVersion, SchemaVersion.version == 99)
    connection.close()
    with connection.writing():
        assert connection.delete(SchemaVersion, SchemaVersion.version == 99) == 1


def add_a_version(connection: Connection, *, twice: bool = False) -> None:
    with connection.writing():
        for _ in range(1 + twice):
            connection.run(SchemaVersion.insert(version=99, applied_at=now()))


@pytest.mark.sqlite
@pytest.mark.parametrize("ours", [True, False])
def test_a_reader_leaves_the_file_as_it_is(app: Any, ours: bool) -> None:
    app.put("a", image_url=None)
    app.put("b", image_url="data:image/png;base64," + "A" * 5000)
    if ours:
        app.ready()
    before = digest(app.path)
    reader = open_reader(Where(app.url), Policy(), app.clock)
    assert reader.remembers is ours
    assert reader.finder.due(10) == ("a",)
    assert reader.finder.page(None, 10).work == ("a", "b")
    assert reader.finder.tally() == {}
    assert reader.finder.held_back("any", 10) == ()
    assert reader.finder.next_due() is None
    assert reader.peek("a").memory.first_seen == app.clock()
    assert reader.inline_image("b") == "data:image/png;base64," + "A" * 5000
    assert reader.view().window == ()
    assert reader.known_store() is None
    reader.close()
    assert digest(app.path) == before
    assert sorted(p.name for p in app.path.parent.iterdir()) == [app.path.name]


@pytest.mark.sqlite
def test_migrating_twice_changes_nothing(app: Any) -> None:
    app.ready().close()
    before = digest(app.path)
    app.ready()
    assert digest(app.path) == before


@pytest.mark.sqlite
def test_the_tables_are_created_all_or_nothing(app: Any) -> None:
    connection = app.connect()
    connection.db.execute_sql("PRAGMA max_page_count = 20")
    with pytest.raises(DatabaseFull):
        migrate(connection)
    assert not [t for t in connection.db.get_tables() if t.startswith("reconciler_")]


@pytest.mark.parametrize("opener", [open_database, open_reader])
def test_newer_tables_are_refused(app: Any, opener: Callable[..., Any]) -> None:
    app.ready()
    app.sql("INSERT INTO reconciler_schema VALUES (?, '2027-01-01')", VERSION + 1)
    with pytest.raises(SchemaError, match="Install the newer program"):
        opener(Where(app.url), Policy(), app.clock)


def test_older_tables_are_brought_up_to_date_and_refused_by_readers(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app.ready()
    app.sql("INSERT INTO reconciler_note VALUES ('kept', 'as it is')")

    def step(connection: Connection) -> None:
        connection.db.execute_sql('ALTER TABLE "reconciler_note" ADD COLUMN extra TEXT')

    monkeypatch.setattr(migrations, "VERSION", VERSION + 1)
    monkeypatch.setattr(migrations, "STEPS", {VERSION + 1: step})
    with pytest.raises(SchemaError, match="schema --apply"):
        open_reader(Where(app.url), Policy(), app.clock)
    assert version(app.ready()) == VERSION + 1
    assert app.sql("SELECT * FROM reconciler_note") == [("kept", "as it is", None)]
    open_reader(Where(app.url), Policy(), app.clock).close()


@pytest.mark.sqlite
def test_the_printed_statements_make_the_same_tables(app: Any, make_app: Callable[..., Any]) -> None:
    other = make_app()
    app.ready()
    with closing(sqlite3.connect(other.path)) as connection:
        connection.executescript(printed_schema(Where("sqlite:///nowhere.db"), "sqlite"))
    listing = "SELECT type, name, sql FROM sqlite_master WHERE name LIKE '%reconciler%' AND sql <> '' ORDER BY name"
    assert normal(other.sql(listing)) == normal(app.sql(listing))


def normal(rows: list[Any]) -> list[Any]:
    return [(kind, name, sql.replace("IF NOT EXISTS ", "")) for kind, name, sql in rows]


def test_the_hand_over_table_is_as_promised(app: Any) -> None:
    app.ready()
    app.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('a', 't')")
    assert app.sql("SELECT created_at IS NOT NULL FROM reconciler_image_task") == [(1,)]
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
        app.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('a', 't')")
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
        app.sql("INSERT INTO reconciler_image_task (track_id) VALUES ('b')")


def test_a_hand_over_table_that_was_lost_is_made_anew(app: Any) -> None:
    app.ready()
    app.put("a")
    app.sql("DROP TABLE reconciler_image_task")
    where = Where(app.url)
    with closing(open_reader(where, Policy(), app.clock)) as reader:
        assert reader.finder.due(9) == ("a",)
        assert reader.overview().tracks
        assert (reader.remembers, set(reader.lacks)) == (True, {"reconciler_image_task"})
    for _ in range(2):
        with closing(open_database(where, Policy(), app.clock)) as database:
            assert database.finder.due(9) == ("a",)
    app.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('a', 't')")
    assert app.leases().peek("a").memory.handed == ("t",)
    assert app.sql("SELECT count(*) FROM reconciler_schema") == [(1,)], "it is no other version"
    with closing(open_reader(where, Policy(), app.clock)) as reader:
        assert reader.lacks == frozenset()


def test_a_process_leases_by_one_name_and_its_child_by_another(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(open_database(Where(app.url), Policy(), app.clock)) as one:
        mine = one.leases.owner
    with closing(open_database(Where(app.url), Policy(), app.clock)) as other:
        assert other.leases.owner == mine
    monkeypatch.setattr("os.getpid", lambda: 1)
    with closing(open_database(Where(app.url), Policy(), app.clock)) as child:
        assert child.leases.owner != mine


def test_opening_makes_the_tables_and_closes_when_it_fails(app: Any) -> None:
    database = open_database(Where(app.url), Policy(), app.clock)
    app.put("a")
    held = database.leases.lease("a")
    assert held is not None
    assert str(held.lease.owner).count(":") == 2
    database.gate.reserve(held, Buy("m", "p", "s", 1))
    database.notes.put("name", "one")
    database.notes.put("name", "two")
    assert database.notes.get("name") == "two"
    database.notes.put("name", None)
    assert database.notes.get("name") is None
    database.close()
    with pytest.raises(SchemaError, match="no table songs"):
        open_database(Where(app.url, "songs"), Policy(), app.clock)
    with pytest.raises(SchemaError, match="no table songs"):
        open_reader(Where(app.url, "songs"), Policy(), app.clock)
