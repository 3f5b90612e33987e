"""What is saved is what is loaded."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from reconciler.database.codec import dump_breaker, dump_memory, load_breaker, load_memory
from reconciler.domain.breaker import Breaker
from reconciler.domain.model import Memory, Purchase, Task
from reconciler.domain.standing import Standing
from reconciler.ports import Change

# Hypothesis takes its bounds naive.
st.register_type_strategy(datetime, st.datetimes(min_value=datetime(1, 1, 3), timezones=st.just(UTC)))  # noqa: DTZ001
elsewhere: dict[str, Any] = {
    "purchases": st.just(()),
    "tasks": st.just({}),
    "handed": st.just(()),
    "host_suspect": st.just(False),
}


@given(st.builds(Memory, **elsewhere))
def test_memories(memory: Memory) -> None:
    assert load_memory(dump_memory(memory)) == memory


@given(st.builds(Breaker))
def test_breakers(breaker: Breaker) -> None:
    assert load_breaker(dump_breaker(breaker)) == breaker


def test_no_breaker_yet() -> None:
    assert load_breaker(None) == Breaker()


def test_tables_of_their_own_are_not_in_the_document() -> None:
    start = datetime(2026, 11, 1, tzinfo=UTC)
    memory = Memory("a", start, handed=("t",), tasks={"t": Task("t", start)}, host_suspect=True)
    assert load_memory(dump_memory(memory)) == Memory("a", start)


def test_what_is_not_remembered_any_more_is_passed_over() -> None:
    start = datetime(2026, 11, 1, tzinfo=UTC)
    doc = '{"track_id": "a", "first_seen": "2026-11-01T00:00:00Z", "remade_at": "2026-11-01T00:00:00Z"}'
    assert load_memory(doc) == Memory("a", start)


@pytest.fixture
def leases(app: Any) -> Any:
    app.put("a")
    return app.leases()


def through(leases: Any, memory: Memory) -> Memory:
    held = leases.lease("a")
    leases.commit(held.lease, Change(replace(held.memory, **vars_of(memory)), Standing(None, None, None)))
    return leases.peek("a").memory  # type: ignore[no-any-return]


def vars_of(memory: Memory) -> dict[str, Any]:
    return {"purchases": memory.purchases, "tasks": memory.tasks}


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@pytest.mark.sqlite
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(purchase=st.builds(Purchase, track_id=st.just("a"), token=texts, price=st.floats(0, 1000)), task=st.builds(Task))
def test_purchases_and_tasks(leases: Any, purchase: Purchase, task: Task) -> None:
    leases.connection.db.execute_sql("DELETE FROM reconciler_purchase")
    leases.connection.db.execute_sql("DELETE FROM reconciler_task")
    assume("\\x00" not in f"{purchase}{task}")
    purchase = replace(purchase, task_id=task.id)
    found = through(
        leases, Memory("a", datetime(2026, 11, 1, tzinfo=UTC), purchases=(purchase,), tasks={task.id: task})
    )
    assert found.purchases == (purchase,)
    assert found.tasks == ({task.id: task} if task.id else {})


def test_what_no_database_takes_is_replaced(app: Any, leases: Any) -> None:
    task = Task("t", app.clock(), detail="half \ud83d of a\0 smile")
    purchase = Purchase("k", "a", "m", "s", "p\udfff", 1, *(app.clock(),) * 3, task_id="t")
    found = through(leases, Memory("a", app.clock(), purchases=(purchase,), tasks={"t": task}))
    assert found.tasks["t"].detail == "half ? of a� smile"
    assert found.purchases[0].prompt == "p?"
