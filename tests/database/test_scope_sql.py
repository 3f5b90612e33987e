"""The database finds exactly the rows that the core works."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peewee import JOIN

from reconciler.database.datetimes import own
from reconciler.database.leases import SqlLeases
from reconciler.database.schema import probe
from reconciler.database.scope_sql import in_scope
from reconciler.database.tables import Remembered
from reconciler.domain import scope
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing
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


def test_without_the_optional_columns_only_the_status_counts(make_app: Any) -> None:
    app = make_app("CREATE TABLE tracks (id TEXT PRIMARY KEY, status TEXT, image_url TEXT)")
    app.sql("INSERT INTO tracks VALUES ('a', 'completed', NULL), ('b', 'pending', NULL), ('c', 'archived', NULL)")
    assert app.finder(Policy(restore_archived=True)).due(9) == ("a",)
    assert app.finder().page(None, 9).work == ("a",)
