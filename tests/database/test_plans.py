"""What a sweep asks costs what is stuck, not what there is: everything is found by an index."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from reconciler.database.app_tracks import stamp
from reconciler.database.connection import Connection
from reconciler.database.finder import SqlFinder
from reconciler.database.gate import SqlGate
from reconciler.database.overview import SqlOverview
from reconciler.database.postgres import PostgresDialect
from reconciler.database.pruning import prune
from reconciler.database.schema import probe
from reconciler.database.sqlite import SqliteDialect
from reconciler.database.tables import Remembered
from reconciler.domain.gate import GateName
from reconciler.domain.policy import Policy
from reconciler.domain.states import State
from tests.database.conftest import APP_SCHEMA, App

Asked = list[tuple[str, list[Any]]]

FEW, MANY = 2_000, 20_000
GROWING = {"tracks", "reconciler_memory"}
"""And the tasks handed over, which nothing but their rows tells apart: see `HANDED`."""
OPTIONAL = "CREATE INDEX reconciler_without_image ON tracks (image_url) WHERE image_url IS NULL OR image_url = ''"
FILLED = """
    INSERT INTO tracks (id, title, prompt, status, image_url, created_at, updated_at)
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
    SELECT 't' || i, 'T', 'P', 'completed', CASE WHEN i NOT IN (100, 200, 300) THEN 'https://covers.example/' || i END,
        '2025-11-01 00:00:00', '2025-11-01 00:00:00' FROM n;
    INSERT INTO reconciler_memory
        (track_id, state, repeats, first_seen, seen, ignored, generation, doc, tried_at, due_at)
    SELECT id, 'ok', FALSE, '2026-10-01T00:00:00+00:00', coalesce(image_url, ''), FALSE, 1, '{{}}',
        '2026-10-31T12:00:00+00:00', '2026-11-02T12:00:00+00:00' FROM tracks;
    INSERT INTO reconciler_image_task (track_id, task_id) SELECT id, 'of ' || id FROM tracks ORDER BY id LIMIT 50;
    INSERT INTO reconciler_task (id, first_seen, state, urls, detail, polls, not_found, faults)
    SELECT 'of ' || id, '2026-10-01T00:00:00+00:00', 'succeeded', '[]', '', 1, 0, 0 FROM tracks WHERE id <> 't1';
    INSERT INTO reconciler_purchase (token, track_id, model, shape, prompt, price, at, send_before, deadline, outcome,
        sent, task_id, urls, detail, verdict, over_at)
    SELECT id, id, 'm', 's', 'P', 5, '2026-10-01T00:00:00+00:00', '2026-10-01T00:00:00+00:00',
        '2026-10-01T00:00:00+00:00', 'accepted', TRUE, 'of ' || id, '[]', '', 'good', '2026-10-01T00:00:00+00:00'
    FROM tracks;
    INSERT INTO reconciler_shape (shape, granted) VALUES ('s', 0);
    UPDATE reconciler_gate SET balance = 100, balance_at = '2026-11-01T11:00:00+00:00'
"""
"""Very many tracks, all of them good, remembered and once bought, but for a few."""


def filled(app: App, rows: int, *more: str, full: str = FILLED) -> Connection:
    connection = app.ready()
    for statement in full.format(rows=rows).split(";"):
        app.sql(statement)
    for statement in more:
        connection.db.execute_sql(statement)
    return connection


@contextmanager
def noting(connection: Connection, part: str = '"t1"') -> Iterator[Asked]:
    """What is asked meanwhile, by what is in it: at least a look at a table."""
    asked, dialect = Asked(), connection.dialect

    def noted(db: Any, questions: Asked, **more: Any) -> Any:
        asked.extend((sql, values) for sql, values in questions if part in sql)
        return type(dialect).ask(dialect, db, questions, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dialect, "ask", noted)
        yield asked


def empty_sweep(connection: Connection) -> Asked:
    """All that it asks."""
    policy, app = Policy(), probe(connection, "tracks")
    finder = SqlFinder(connection, app, policy)
    with noting(connection) as asked:
        SqlGate(connection, app, policy).view()
        assert finder.due(200) == ("t1",)
        finder.ahead((GateName.KEY, "s"))
        finder.held_back("s", 200)
    return asked


def turn(connection: Connection) -> Asked:
    """What is asked to find who has waited longest."""
    finder = SqlFinder(connection, probe(connection, "tracks"), Policy())
    with noting(connection) as asked:
        assert finder.held_back("s", 3) == ("t7", "t8", "t1")
    return asked


@pytest.mark.parametrize("more", [(), (OPTIONAL,)], ids=["the app's own indexes", "the optional one"])
def test_a_sweep_reads_no_table_that_grows_from_end_to_end(app: App, more: tuple[str, ...]) -> None:
    connection = filled(app, MANY, *more, "ANALYZE")
    asked = empty_sweep(connection)
    assert len(asked) >= 8
    for sql, values in asked:
        assert not read_whole(connection, sql, values) & GROWING, sql


@pytest.mark.slow
def test_what_a_sweep_reads_does_not_grow_with_the_table(make_app: Callable[..., App]) -> None:
    few, many = (filled(make_app(), rows, "ANALYZE") for rows in (FEW, MANY))
    assert work(many, empty_sweep(many)) <= 1.2 * work(few, empty_sweep(few))


@pytest.mark.slow
@pytest.mark.sqlite
def test_nor_does_it_where_nobody_ever_analysed_the_table(make_app: Callable[..., App]) -> None:
    few, many = (filled(make_app(), rows) for rows in (FEW, MANY))
    assert work(many, empty_sweep(many)) <= 1.2 * work(few, empty_sweep(few))


@pytest.mark.slow
@pytest.mark.sqlite
@pytest.mark.parametrize(("declared", "unit"), [("INTEGER", 1_000), ("DATETIME", 1_000), ("TEXT", 1_000), ("", 1)])
def test_nor_does_it_where_times_are_numbers(make_app: Callable[..., App], declared: str, unit: int) -> None:
    schema = re.sub(r"(created_at +)TEXT DEFAULT .*", rf"\1{declared},", APP_SCHEMA)
    times = FILLED.replace("'2025-11-01 00:00:00',", f"{1761955200 * unit},", 1)
    few, many = (filled(make_app(schema), rows, "ANALYZE", full=times) for rows in (FEW, MANY))
    assert work(many, empty_sweep(many)) <= 1.2 * work(few, empty_sweep(few))


HANDED = f"""{FILLED};
    INSERT INTO reconciler_image_task (track_id, task_id) SELECT id, 'of ' || id FROM tracks WHERE TRUE
        ON CONFLICT DO NOTHING
"""
"""An app may hand over every task, and all of them stay there."""
AT_MOST = 16
"""Steps of SQLite's machine."""


@pytest.mark.slow
def test_of_a_task_handed_over_no_more_is_asked_than_whether_it_was_looked_at(app: App) -> None:
    connection = filled(app, MANY, "ANALYZE", full=HANDED)
    handed = [(sql, values) for sql, values in empty_sweep(connection) if '"reconciler_image_task"' in sql]
    assert handed
    if isinstance(connection.dialect, SqliteDialect):
        assert work(connection, handed) <= AT_MOST * MANY
        return
    for each in handed:
        plan = nodes(explained(connection, "EXPLAIN (FORMAT JSON)", *each)[0]["Plan"])
        (read,) = (node for node in plan if node.get("Relation Name") == "reconciler_image_task")
        assert "Filter" not in read, "that would be asked of all"


def test_the_numbers_ask_once_whether_there_is_a_task_that_nobody_looked_at(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = filled(app, FEW, full=CHANGED)
    monkeypatch.setattr(type(connection.dialect), "stretch", 500)
    with noting(connection) as asked:
        SqlOverview(connection, probe(connection, "tracks"), Policy()).overview()
    assert sum('"tracks"' in sql for sql, _ in asked) >= 8
    assert sum('"reconciler_image_task"' in sql and '"reconciler_task"' in sql for sql, _ in asked) == 1


IN_LINE = f"""{FILLED};
    UPDATE reconciler_memory SET held = 's';
    UPDATE reconciler_memory SET tried_at = NULL WHERE track_id IN ('t7', 't8');
    UPDATE reconciler_memory SET tried_at = '2026-10-30T12:00:00+00:00' WHERE track_id = 't1'
"""


@pytest.mark.slow
def test_who_is_next_in_line_is_found_as_soon_in_a_long_one(make_app: Callable[..., App]) -> None:
    few, many = (filled(make_app(), rows, "ANALYZE", full=IN_LINE) for rows in (FEW, MANY))
    assert work(many, turn(many)) <= 1.2 * work(few, turn(few))


STUCK = f"""{FILLED};
    UPDATE tracks SET image_url = NULL, created_at = '2026-11-01 11:00:00';
    UPDATE reconciler_memory SET state = 'missing', seen = '', held = 's', due_at = NULL WHERE track_id <> 't9';
    UPDATE reconciler_memory SET due_at = '2026-11-01T11:00:00.000000+00:00' WHERE track_id = 't9'
"""


@pytest.mark.slow
def test_who_is_due_is_found_as_soon_where_very_many_are_stuck(make_app: Callable[..., App]) -> None:
    def asked(connection: Connection) -> Asked:
        finder = SqlFinder(connection, probe(connection, "tracks"), Policy())
        with noting(connection) as questions:
            assert finder.due(200, new=False) == ("t9",)
        return questions

    few, many = (filled(make_app(), rows, "ANALYZE", full=STUCK) for rows in (FEW, MANY))
    assert work(many, asked(many)) <= 1.2 * work(few, asked(few))


def test_times_that_lie_ahead_are_looked_for_by_an_index_where_nobody_ever_analysed_the_table(app: App) -> None:
    connection = filled(app, FEW)
    jumps = SqlGate(connection, probe(connection, "tracks"), Policy()).jumps
    with noting(connection) as asked, connection.writing() as now:
        connection.ask(jumps.asked(now))
    assert len(asked) == 1
    assert not read_whole(connection, *asked[0]) & {"reconciler_memory", "reconciler_purchase"}


LATELY = f"""{FILLED};
    UPDATE reconciler_purchase SET over_at = '2026-11-01T11:30:00+00:00' WHERE token LIKE 't111%'
"""


def test_when_a_budget_that_was_lowered_has_room_is_found_by_an_index(app: App) -> None:
    connection = filled(app, FEW, "ANALYZE", full=LATELY)
    with noting(connection) as asked:
        view = SqlGate(connection, probe(connection, "tracks"), Policy(per_hour=5, per_day=5)).view()
    assert (view.hour.used, view.day.used) == (11, 11)
    leaving = [(sql, values) for sql, values in asked if "OFFSET" in sql]
    assert len(leaving) == 2
    for sql, values in leaving:
        assert not read_whole(connection, sql, values), sql


CHANGED = f"""{FILLED};
    DELETE FROM reconciler_image_task;
    UPDATE tracks SET image_url = 'changed' WHERE id > 't99';
    UPDATE reconciler_memory SET doc = '{{{{"track_id": "' || track_id || '", "first_seen": "2026-10-01T00:00:00Z"}}}}'
"""
FREE = [f"SET {cost} = 0" for cost in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size")]


@pytest.mark.postgres
def test_the_numbers_are_told_by_two_readings_that_the_server_shares_among_its_processes(app: App) -> None:
    connection = filled(app, MANY, "ANALYZE", full=CHANGED)
    tracks = probe(connection, "tracks")
    with connection.writing():
        as_it_is = tracks.table.select(stamp(tracks)).where(tracks.id == Remembered.track_id)
        connection.run(Remembered.update(stamp=as_it_is))
    with noting(connection) as asked:
        shown = SqlOverview(connection, tracks, Policy()).overview().tracks
    assert sum(shown.values()) == MANY
    assert 0 < MANY - shown[State.OK, None] < 2000
    readings = [(sql, values) for sql, values in asked if "tracks" in read_whole(connection, sql, values)]
    assert len(readings) == 2
    for setting in FREE:
        connection.db.execute_sql(setting)
    for reading in readings:
        plan = list(nodes(explained(connection, "EXPLAIN (FORMAT JSON)", *reading)[0]["Plan"]))
        assert any("Gather" in node["Node Type"] for node in plan)
        assert not any(node.get("Parent Relationship") == "SubPlan" for node in plan), "which is not shared"


FORGOTTEN = f"""{FILLED};
    DELETE FROM tracks WHERE id LIKE 't1%';
    UPDATE reconciler_memory SET due_at = NULL, gone_since = '2026-01-01T00:00:00+00:00' WHERE track_id LIKE 't1%'
"""


@pytest.mark.postgres
def test_what_is_forgotten_is_not_looked_for_elsewhere_once_for_each_row(app: App) -> None:
    """As the server does where it has not the memory to keep what is elsewhere at hand."""
    connection = filled(app, FEW, "ANALYZE", full=FORGOTTEN)
    with noting(connection, "DELETE FROM") as asked:
        assert prune(connection, probe(connection, "tracks")).tracks == 1111
    assert app.sql("SELECT count(*) FROM reconciler_task WHERE id LIKE 'of t1%'") == [(49,)], "handed over"
    assert len(asked) >= 15
    for each in asked:
        plan = nodes(explained(connection, "EXPLAIN (FORMAT JSON)", *each)[0]["Plan"])
        assert not any(node.get("Parent Relationship") == "SubPlan" for node in plan), each[0]


# -- what the engines tell ---------------------------------------------------------------------------------------------


def read_whole(connection: Connection, sql: str, values: list[Any]) -> set[str]:
    """Tables that the statement reads from end to end, or may."""
    if isinstance(connection.dialect, PostgresDialect):
        plan = explained(connection, "EXPLAIN (FORMAT JSON)", sql, values)[0]["Plan"]
        return {node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"}
    rows = connection.db.execute_sql("SELECT rootpage, name FROM sqlite_master WHERE type = 'table'")
    roots, opened, whole = dict(rows.fetchall()), dict[int, str](), set[str]()
    for _, operation, cursor, root, *_ in connection.db.execute_sql(f"EXPLAIN {sql}", values).fetchall():
        if operation == "OpenRead" and root in roots:
            opened[cursor] = roots[root]
        elif operation in ("Rewind", "Last") and cursor in opened:
            whole.add(opened[cursor])
    return whole


def work(connection: Connection, asked: Asked) -> int:
    """Pages that a server touches; steps of SQLite's machine."""
    if isinstance(connection.dialect, PostgresDialect):
        plans = (explained(connection, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)", *each)[0]["Plan"] for each in asked)
        return sum(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in plans)
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    connection.db.connection().set_progress_handler(step, 1)
    for sql, values in asked:
        connection.db.execute_sql(sql, values).fetchall()
    connection.db.connection().set_progress_handler(None, 0)
    return steps


def explained(connection: Connection, how: str, sql: str, values: list[Any]) -> Any:
    with connection.reading():
        return connection.db.execute_sql(f"{how} {sql}", values).fetchone()[0]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)
