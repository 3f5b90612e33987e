"""Callbacks are remembered with the order they are about, and wake its track, whoever works it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from reconciler.database.callbacks import TOLD_AT_MOST, Callbacks
from reconciler.database.migrations import VERSION
from reconciler.domain.model import Callback, Memory, Outcome, Purchase
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing
from reconciler.domain.states import Reason, State
from reconciler.ports import Change, Commit, Held

POLICY = Policy(callback_url="https://ops.example")
HOUR = timedelta(hours=1)
TOLD = Callback("token-a", "task")
LATER = "reconciler_callback", "reconciler_purchase", "reconciler_memory"


class Line:
    """Tracks whose order's answer was lost, and that are looked at again in an hour."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.leases = app.leases(policy=POLICY)
        self.finder = app.finder(POLICY)
        self.callbacks = Callbacks(app.ready())

    def lease(self, track_id: str = "a") -> Held:
        held: Held | None = self.leases.lease(track_id)
        assert held is not None
        return held

    def put_by(self, held: Held, memory: Memory | None = None, line: str | None = None) -> Commit:
        stands = Standing(State.UNKNOWN, Reason.UNKNOWN_PURCHASE, self.app.clock() + HOUR, held=line)
        outcome: Commit = self.leases.commit(held.lease, Change(memory or held.memory, stands))
        return outcome

    def order(self, track_id: str = "a") -> None:
        self.app.put(track_id)
        held, now = self.lease(track_id), self.app.clock()
        token = f"token-{track_id}"
        lost = Purchase(token, track_id, "m", "s", "p", 5, now, now, now, outcome=Outcome.UNKNOWN)
        assert self.put_by(held, held.memory.with_purchase(lost)) is Commit.COMMITTED

    def told(self) -> list[Any]:
        return list(self.app.sql("SELECT token, task_id, track_id FROM reconciler_callback ORDER BY token, task_id"))

    def due(self) -> tuple[str, ...]:
        return tuple(self.finder.due(9))


@pytest.fixture
def line(app: Any) -> Line:
    found = Line(app)
    found.order()
    assert found.due() == ()
    return found


def test_a_callback_wakes_its_track_and_is_told_to_whoever_works_it(line: Line) -> None:
    assert line.callbacks.take([TOLD]) == {"token-a"}
    assert line.told() == [("token-a", "task", "a")]
    assert line.due() == ("a",)
    assert line.lease().memory.callbacks == (TOLD,)


def test_who_is_called_stands_in_no_line_any_more(line: Line) -> None:
    line.put_by(line.lease(), line="shape")
    assert line.finder.held_back("shape", 9) == ("a",)
    line.callbacks.take([TOLD])
    assert line.finder.held_back("shape", 9) == ()


def test_of_a_token_that_is_not_ours_nothing_is_remembered(line: Line) -> None:
    assert line.callbacks.take([Callback("token-b", "task")]) == frozenset()
    assert (line.told(), line.due()) == ([], ())


def test_several_are_taken_together_each_for_its_own_track(line: Line) -> None:
    line.order("b")
    line.order("c")
    came = [TOLD, Callback("foreign", "x"), Callback("token-b", ""), TOLD, Callback("token-b", "late")]
    assert line.callbacks.take(came) == {"token-a", "token-b"}
    assert line.told() == [("token-a", "task", "a"), ("token-b", "", "b"), ("token-b", "late", "b")]
    assert set(line.due()) == {"a", "b"}
    assert line.lease("b").memory.callbacks == (Callback("token-b", ""), Callback("token-b", "late"))
    assert line.lease("c").memory.callbacks == ()


def test_one_that_comes_again_wakes_nobody_again(line: Line) -> None:
    line.callbacks.take([TOLD])
    line.put_by(line.lease())
    assert line.callbacks.take([TOLD]) == {"token-a"}
    assert (len(line.told()), line.due()) == (1, ())
    line.callbacks.take([replace(TOLD, task_id="another")])
    assert line.due() == ("a",)


def test_who_makes_tasks_up_fills_no_table(line: Line) -> None:
    for number in range(TOLD_AT_MOST + 2):
        assert line.callbacks.take([replace(TOLD, task_id=f"{number}")]) == {"token-a"}
    line.callbacks.take([replace(TOLD, task_id=f"more {number}") for number in range(9)])
    assert len(line.told()) == TOLD_AT_MOST


def test_one_that_comes_while_its_track_is_worked_has_it_looked_at_again(line: Line) -> None:
    held = line.lease()
    line.callbacks.take([TOLD])
    assert line.due() == ()
    assert line.put_by(held) is Commit.COMMITTED
    assert line.due() == ("a",)
    line.put_by(line.lease())
    assert line.due() == (), "once it is known"


def test_where_no_callbacks_are_to_come_none_is_asked_for(line: Line) -> None:
    line.callbacks.take([TOLD])
    assert line.app.leases().lease("a").memory.callbacks == ()


def test_what_was_heeded_is_remembered(line: Line) -> None:
    line.callbacks.take([TOLD])
    held = line.lease()
    line.put_by(held, replace(held.memory, heeded=(TOLD,)))
    assert line.lease().memory.heeded == (TOLD,)


def test_a_database_of_the_second_version_takes_them_too(app: Any) -> None:
    app.ready()
    before = layout(app)
    app.sql("DROP TABLE reconciler_callback")
    app.sql("DROP INDEX reconciler_purchase_over_at_sent_outcome_price")
    for columns in ("lease_until", "gone_since", "held, tried_at"):
        name = f"reconciler_memory_{columns.replace(', ', '_')}"
        app.sql(f"DROP INDEX {name}")
        # Spelled so that no schema is put before it.
        app.sql(f"CREATE INDEX {name.upper()} ON reconciler_memory ({columns})")
    assert layout(app) != before
    app.sql("UPDATE reconciler_schema SET version = 2")
    line = Line(app)
    line.order()
    assert line.callbacks.take([TOLD]) == {"token-a"}
    assert layout(app) == before
    assert app.sql("SELECT version FROM reconciler_schema ORDER BY version") == [(2,), (VERSION,)]


def layout(app: Any) -> list[Any]:
    """Of the tables that later versions brought or changed: columns and indexes, and on a server who may see them."""
    if not hasattr(app, "server"):
        made = "SELECT type, name, sql FROM sqlite_master WHERE tbl_name IN (?, ?, ?) ORDER BY name"
        return [(kind, name, sql and (sql.count(","), " WHERE " in sql)) for kind, name, sql in app.sql(made, *LATER)]
    columns = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_name IN (?, ?, ?)"
    indexes = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN (?, ?, ?)"
    secured = "SELECT relname, relrowsecurity, relacl::text FROM pg_class WHERE relname IN (?, ?, ?)"
    return [sorted(app.sql(query, *LATER)) for query in (columns, indexes, secured)]
