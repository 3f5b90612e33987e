"""What came back while the database was locked is saved once it is free: it may have been paid for."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from reconciler.database import DatabaseError, DatabaseGone, DatabaseLocked
from reconciler.domain.model import Purchase
from reconciler.domain.states import State
from reconciler.engine.events import Found, Ordered
from reconciler.testing.delayed import DelayedCrew, Stage
from reconciler.testing.world import World
from tests.engine.conftest import leased, slow_crew, sweeping

MakeWorld = Callable[..., World]
HOUR = timedelta(hours=1)
LOCKED = DatabaseLocked("the database is locked by another program", "app.db", "Try again")


class Locked:
    """A port whose `methods` fail so many times, once `begins` says so."""

    def __init__(
        self, port: Any, methods: set[str], times: int, begins: Callable[[], bool], error: DatabaseError = LOCKED
    ) -> None:
        self._port, self._methods, self.times, self._begins, self._error = port, methods, times, begins, error

    def __getattr__(self, name: str) -> Any:
        if name in self._methods and self.times > 0 and self._begins():
            self.times -= 1
            raise self._error
        return getattr(self._port, name)


@pytest.mark.parametrize("port", ["leases", "gate"])
@pytest.mark.parametrize("times", [1, 4, 10])
def test_a_task_that_was_bought_is_known(make_world: MakeWorld, port: str, times: int) -> None:
    world = make_world(1)

    def ordered() -> bool:
        return any(isinstance(event, Ordered) for event in world.events)

    def wrap(name: str, part: Any) -> Any:
        return Locked(part, {"commit_all", "view"}, times, ordered) if name == port else part

    with sweeping(world, timedelta(minutes=5), wrap) as sweep:
        try:
            sweep.run()
        except DatabaseLocked:
            assert times > 1
    world.run(timedelta(hours=4))
    assert world.run().states == {(State.OK, None): 1}
    assert len(world.kie.book.creations) == 1
    bought = [e for e in world.events if isinstance(e, Found) and type(e.job).__name__ == "Purchase"]
    assert len(bought) == 1, "told once, however often it was tried to be saved"


@pytest.mark.parametrize("error", [LOCKED, DatabaseGone("the connection failed", "db", "It is tried again")])
@pytest.mark.parametrize("method", ["view", "heard", "commit_all"])
def test_of_answers_that_came_together_none_is_lost(make_world: MakeWorld, method: str, error: DatabaseError) -> None:
    world = make_world(6)
    world.run(only=("t000",))
    slow_crew(world, 4)  # by then what was known of the gate is old
    together = 0

    def hearing() -> bool:
        return together > 1

    wrapped = sweeping(world, HOUR, lambda _, part: Locked(part, {method}, 2, hearing, error))
    with wrapped as sweep, suppress(DatabaseError):
        finish = sweep._steps.finish

        def watched(answers: Any) -> None:
            nonlocal together
            ordered = any(isinstance(sweep._steps.flights[name].job, Purchase) for name, _ in answers)
            together = len(answers) if ordered else 0
            try:
                finish(answers)
            finally:
                together = 0

        sweep._steps.finish = watched  # type: ignore[method-assign]
        sweep.run()
    rows = world.sql("SELECT task_id FROM reconciler_purchase WHERE task_id IS NOT NULL")
    assert {row["task_id"] for row in rows} == {purchase.task_id for purchase in world.kie.book.purchases}
    world.settle()
    assert len(world.kie.book.creations) == 6


def in_time_for_the_orders(tag: str) -> tuple[timedelta, timedelta]:
    """The credit call, which has no track's tag, comes back with them: before each the store is looked into."""
    half = timedelta(seconds=1 if tag else 2)
    return half, half


@pytest.mark.parametrize("error", [LOCKED, DatabaseGone("the connection failed", "db", "It is tried again")])
def test_orders_whose_answers_came_with_that_of_the_credit_call_are_not_lost(
    make_world: MakeWorld, error: DatabaseError
) -> None:
    world = make_world(6)
    world.run(only=("t000",))
    world.pass_time(HOUR)  # the balance is to be asked for, and nobody waits for it
    world.crew = lambda: DelayedCrew(Stage(world.clock), in_time_for_the_orders, size=8)
    wrapped = sweeping(world, HOUR, lambda _, part: Locked(part, {"balance"}, 1, lambda: True, error))
    with wrapped as sweep, pytest.raises(type(error)):
        sweep.run()
    rows = world.sql("SELECT task_id FROM reconciler_purchase WHERE task_id IS NOT NULL")
    assert {row["task_id"] for row in rows} == {purchase.task_id for purchase in world.kie.book.purchases}
    world.settle()
    assert len(world.kie.book.creations) == 6


def test_who_was_leased_when_the_database_failed_is_free_again(make_world: MakeWorld) -> None:
    world = make_world(6)
    gone = DatabaseGone("the connection failed", "db", "It is tried again")
    wrapped = sweeping(world, HOUR, lambda _, part: Locked(part, {"reserve"}, 1, lambda: True, gone))
    with wrapped as sweep, pytest.raises(DatabaseGone):
        sweep.run()
    assert leased(world) == []
    assert world.run(timedelta(minutes=1)).states == {(State.OK, None): 6}


def test_a_picture_that_came_back_is_no_interruption(make_world: MakeWorld) -> None:
    world = make_world(0)
    url = world.kie.add_file("/p/a.jpg", text="a", size=(160, 90), life=timedelta(days=400))
    world.add("t", image_url=url)
    for _ in range(3):
        with sweeping(world, timedelta(minutes=1), _locked_commits) as sweep, pytest.raises(DatabaseLocked):
            sweep.run()
        world.pass_time(timedelta(minutes=5))
    assert world.run().states == {(State.OK, None): 1}


def _locked_commits(name: str, part: Any) -> Any:
    return Locked(part, {"commit_all"}, 10_000, lambda: True) if name == "leases" else part


@pytest.mark.parametrize("healthy", [True, False])
def test_a_credit_call_that_fails_is_left_alone_by_the_next_sweep_too(make_world: MakeWorld, healthy: bool) -> None:
    from reconciler.engine.lately import Lately
    from reconciler.engine.purse import Purse
    from reconciler.kie.simulated import SERVER_ERROR

    world = make_world(1)
    if not healthy:
        world.kie.script.when(SERVER_ERROR, operation="credit")
    database = world.open()
    lately = Lately()
    kie = world.parts(database).hands.kie
    asked = 0
    for _ in range(30):
        purse = Purse(database.gate, world.policy, world.clock, world.events.append, lately=lately)
        if purse.wants_credit_call():
            asked += 1
            purse.credit_answer(kie.credit(), world.clock())
        world.pass_time(timedelta(seconds=1))
    database.close()
    assert asked == 1
