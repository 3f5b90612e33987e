"""What a sweep asks a server costs what is stuck, not what there is: everything is found by an index."""

from collections.abc import Iterator

import pytest

from reconciler.database.connection import Connection, connect
from reconciler.database.finder import SqlFinder
from reconciler.database.migrations import migrate
from reconciler.database.schema import probe
from reconciler.domain.policy import Policy
from tests.postgres import Bouncer, Server
from tests.postgresql.worlds import AppServer

pytestmark = pytest.mark.slow

ROWS = 20_000


@pytest.fixture
def settled(postgres: Server, bouncer: Bouncer) -> Iterator[Connection]:
    """Very many tracks, all of them good and remembered, but for a few."""
    app = AppServer(postgres, bouncer)
    connection = connect(app.where.url, None)
    probe(connection, "tracks")
    migrate(connection)
    postgres.sql(
        app.name,
        f"""
        INSERT INTO tracks (id, title, prompt, status, image_url, created_at, updated_at)
        SELECT 't' || n, 'T', 'P', 'completed',
            CASE WHEN n % 1000 = 0 THEN NULL ELSE 'https://covers.example/' || n END,
            now() - interval '1 year', now() - interval '1 year' FROM generate_series(1, {ROWS}) AS n;
        INSERT INTO reconciler.reconciler_memory
            (track_id, state, repeats, first_seen, seen, ignored, generation, doc, tried_at, due_at)
        SELECT id, 'ok', false, now(), coalesce(image_url, ''), false, 1, '{{}}', now() - interval '1 day',
            now() + interval '1 day' FROM tracks;
        INSERT INTO reconciler_image_task SELECT 't' || n, 'task-' || n FROM generate_series(1, 2000) AS n;
        INSERT INTO reconciler.reconciler_task (id, first_seen, state, urls, detail, polls, not_found, faults)
        SELECT task_id, now(), 'succeeded', '[]', '', 1, 0, 0 FROM reconciler_image_task WHERE track_id <> 't7';
        ANALYZE
        """,
    )
    yield connection
    connection.close()
    app.close()


def test_a_sweep_never_reads_the_whole_table(settled: Connection) -> None:
    finder = SqlFinder(settled, probe(settled, "tracks"), Policy())
    with settled.snapshot() as now:
        given = finder._times(now) | {"now": now, "limit": 200}
        asked = [statement.given(**given) for statement in finder._urgent(None)]
    assert len(asked) == 8
    for question in asked:
        plan = explained(settled, question.statement.sql, question.values)
        assert "Seq Scan on tracks" not in plan, plan
        assert "Seq Scan on reconciler_memory" not in plan, plan


def explained(connection: Connection, sql: str, values: list[object]) -> str:
    with connection.reading():
        return "\n".join(line for (line,) in connection.db.execute_sql(f"EXPLAIN {sql}", values).fetchall())
