"""The database finds exactly the rows that the core works."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peewee import JOIN, fn

from reconciler.database.app_tracks import stamp, stamp_differs
from reconciler.database.datetimes import own
from reconciler.database.leases import SqlLeases
from reconciler.database.overview import SqlOverview
from reconciler.database.schema import probe
from reconciler.database.scope_sql import has_flaw, in_scope
from reconciler.database.tables import Remembered
from reconciler.domain import scope
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing
from reconciler.domain.states import Reason, State
from reconciler.ports import Change

START = datetime.fromisoformat("2026-11-01T12:00:00+00:00")

words = st.sampled_from([None, "", "completed", "pending", "processing", "archived", "failed", "odd", b"blob"])
texts = st.sampled_from([None, "", "https://x/a.mp3"])
titles = st.sampled_from(["T", b"blob"])
times = st.sampled_from(
    [None, "never", "2026-10-30 12:00:00", "2026-10-31T12:00:00Z", "2026-10-31 12:00:01", "2027-01-01"]
)
statuses = st.lists(st.sampled_from(["completed", "pending", "archived", "odd", "failed"]), unique=True).map(tuple)
policies = st.builds(Policy, statuses=statuses, excluded_statuses=statuses, restore_archived=st.booleans())
ages = st.sampled_from([None, timedelta(0), timedelta(hours=23), timedelta(days=1), timedelta(days=2)])


@pytest.fixture
def leases(app: Any) -> SqlLeases:
    return app.leases()  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.sqlite
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.tuples(words, texts, titles, times), policies, ages, st.booleans())
def test_sql_and_core_agree(
    app: Any,
    leases: SqlLeases,
    row: tuple[Any, ...],
    policy: Policy,
    age: timedelta | None,
    ignored: bool,
) -> None:
    """`age`: since when the track is remembered; None: it is not."""
    db = leases.connection.db
    db.execute_sql("DELETE FROM tracks")
    db.execute_sql("DELETE FROM reconciler_memory")
    db.execute_sql(
        "INSERT INTO tracks (id, prompt, status, audio_url, title, created_at) VALUES ('a', '', ?, ?, ?, ?)", row
    )
    if age is not None:
        app.clock.at = START - age
        held = leases.lease("a")
        assert held is not None
        leases.commit(held.lease, Change(replace(held.memory, ignored=ignored), Standing(None, None, None)))
    app.clock.at = START
    seen = leases.peek("a")
    assert seen.track is not None
    assert found(leases, policy) == scope.in_scope(seen.track, seen.memory, policy, START)


def found(leases: SqlLeases, policy: Policy) -> bool:
    table = probe(leases.connection, "tracks")
    joined = table.table.select(table.id).join(
        Remembered, JOIN.LEFT_OUTER, on=Remembered.track_id == table.dialect.as_text(table.id)
    )
    return bool(leases.connection.rows(joined.where(in_scope(table, policy, own(START - policy.stale_after)))))


@pytest.mark.sqlite
@pytest.mark.parametrize("declared", ["INTEGER", "DATETIME", "REAL", "TEXT", ""])
@pytest.mark.parametrize(
    "time",
    [
        0,
        20240101,
        99999999,
        1793534400,
        1793534400.5,
        1793534400000,
        1793534400000000.0,
        "20261101",
        "\u30002026-11-01",
        b"2026-01-01",
    ],
)
def test_sql_and_core_read_the_same_time(make_app: Any, declared: str, time: object) -> None:
    app = make_app(f"CREATE TABLE tracks (id TEXT PRIMARY KEY, status TEXT, image_url TEXT, created_at {declared})")
    app.sql("INSERT INTO tracks VALUES ('a', 'completed', NULL, ?)", time)
    leases = app.leases()
    track, table = leases.peek("a").track, probe(leases.connection, "tracks")
    with leases.connection.reading():
        read = leases.connection.one(table.table.select(table.dialect.instant(table.column("created_at"))))
    assert track is not None
    assert read == (track.created_at and own(track.created_at),)


def test_without_the_optional_columns_only_the_status_counts(make_app: Any) -> None:
    app = make_app("CREATE TABLE tracks (id TEXT PRIMARY KEY, status TEXT, image_url TEXT)")
    app.sql("INSERT INTO tracks VALUES ('a', 'completed', NULL), ('b', 'pending', NULL), ('c', 'archived', NULL)")
    assert app.finder(Policy(restore_archived=True)).due(9) == ("a",)
    assert app.finder().page(None, 9).work == ("a",)
    assert counted(app) == {(State.SETTLING, None): 1}, "nothing tells how old it is"


@pytest.mark.parametrize("more", ["", ", updated_at TIMESTAMP", ", task_id TEXT"])
def test_a_change_shows_in_the_numbers_whatever_columns_tell_of_it(make_app: Any, more: str) -> None:
    app = make_app(f"CREATE TABLE tracks (id TEXT PRIMARY KEY, status TEXT, image_url TEXT{more})")
    app.sql("INSERT INTO tracks (id, status) VALUES ('a', 'completed')")
    stands(app, "a", State.FAILED, Reason.NO_PROMPT)
    assert counted(app) == {(State.FAILED, Reason.NO_PROMPT): 1}
    if more:
        app.sql(f"UPDATE tracks SET {more.split()[1]} = '2026-11-01'")
        assert counted(app) != {(State.FAILED, Reason.NO_PROMPT): 1}


@pytest.mark.sqlite
@pytest.mark.parametrize("declared", ["TEXT", "", "BLOB", "NUMERIC", "uuid"])
def test_of_two_ids_that_read_alike_one_is_counted_as_ours(make_app: Any, declared: str) -> None:
    app = make_app(f"CREATE TABLE tracks (id {declared}, status TEXT, image_url TEXT)")
    app.sql("INSERT INTO tracks VALUES (7, 'completed', NULL), (x'37', 'completed', NULL)")
    stands(app, "7", State.MISSING, Reason.NO_PROMPT)
    assert counted(app) == {(State.MISSING, Reason.NO_PROMPT): 1, (State.INVALID, Reason.INVALID_ROW): 1}


def stands(app: Any, track_id: str, state: State, reason: Reason) -> None:
    leases = app.leases()
    held = leases.lease(track_id)
    memory = replace(held.memory, seen=held.track.image.identity, stamp=held.track.stamp)
    leases.commit(held.lease, Change(memory, Standing(state, reason, None)))


def counted(app: Any) -> Mapping[tuple[State, Reason | None], int]:
    connection = app.ready()
    return SqlOverview(connection, probe(connection, "tracks"), Policy()).overview().tracks


VALUES = ("NULL", "''", "'x'", "'7'", "1", "1.5", "x''", "x'ff'", "x'41'", "CAST(x'ff' AS TEXT)", "9e999")
DECLARED = ("TEXT", "VARCHAR(9)", "", "BLOB", "NUMERIC", "INTEGER", "CHARINT", "timestamp")


@pytest.mark.sqlite
@pytest.mark.parametrize("declared", DECLARED)
def test_what_is_no_text_is_found_however_the_column_was_declared(make_app: Any, declared: str) -> None:
    app = make_app(f"CREATE TABLE tracks (id TEXT PRIMARY KEY, status TEXT, image_url TEXT, mood {declared})")
    for number, value in enumerate(VALUES):
        app.sql(f"INSERT INTO tracks VALUES ('{number}', 'completed', NULL, {value})")
    connection = app.connect()
    table = probe(connection, "tracks")
    with connection.reading():
        rows = connection.rows(table.table.select(fn.typeof(table.column("mood")), has_flaw(table)))
    assert len(rows) == len(VALUES)
    assert all(wrong == (kind not in ("text", "null")) for kind, wrong in rows), rows


@pytest.mark.sqlite
@pytest.mark.parametrize("declared", DECLARED)
def test_a_stamp_differs_where_what_it_tells_of_does(make_app: Any, declared: str) -> None:
    """Whatever is found out first. A blob tells nothing, though its bytes may be those of a text."""
    app = make_app(
        f"CREATE TABLE tracks (id TEXT PRIMARY KEY, status TEXT, image_url TEXT, updated_at {declared}, task_id TEXT)"
    )
    for number, value in enumerate((*VALUES, "'2026-11-01'", "CAST('2026-11-01' AS BLOB)", f"'{'9' * 70}'")):
        for letter, task_id in zip("abcd", ("NULL", "''", "'t'", "CAST('t' AS BLOB)"), strict=True):
            app.sql(f"INSERT INTO tracks VALUES ('{letter}{number}', 'completed', NULL, {value}, {task_id})")
    connection = app.ready()
    table = probe(connection, "tracks")
    with connection.reading():
        stamps = {text for (text,) in connection.rows(table.table.select(stamp(table))) if "\udcff" not in text}
        assert len(stamps) > 4
        for known in stamps:
            app.sql("DELETE FROM reconciler_memory")
            app.sql(
                "INSERT INTO reconciler_memory (track_id, repeats, first_seen, ignored, generation, doc, stamp) "
                "SELECT id, 0, '', 0, 0, '', ? FROM tracks",
                known,
            )
            query = table.table.select(stamp(table) != known, stamp_differs(table, Remembered.stamp))
            rows = connection.rows(query.join(Remembered, on=Remembered.track_id == table.id))
            assert all(differs == found for differs, found in rows)
