"""An operator's word is taken in under the track's lease, and what it does not concern stays as it was."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from reconciler.database import Database
from reconciler.domain.amending import orders_left, reopened
from reconciler.domain.case import Case
from reconciler.domain.model import Memory
from reconciler.domain.standing import Standing
from reconciler.domain.states import Reason, State
from reconciler.engine.amend import AGAIN_S, Amended, Busy, amend
from reconciler.kie.simulated import LOST, Succeed
from reconciler.ports import Change, Commit, Held
from reconciler.testing.world import World
from tests.engine.conftest import MakeWorld, leased

Asleep = Callable[[float], None]


def ignored(case: Case, _: Standing) -> Memory:
    return replace(case.memory, ignored=True)


def no_sleep(_: float) -> None:
    pytest.fail("nothing is to be waited for")


@contextmanager
def opened(world: World, owner: str = "operator") -> Iterator[Database]:
    database = world.open(owner)
    try:
        yield database
    finally:
        database.close()


def amended(world: World, change: Any = ignored, sleep: Asleep = no_sleep, track_id: str = "t000") -> Amended | None:
    with opened(world) as database:
        return amend(database.leases, database.gate, world.policy, track_id, change, sleep)


def memory(world: World) -> list[dict[str, Any]]:
    return world.sql("SELECT state, reason, due_at, ignored, doc FROM reconciler_memory")


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world(1)


def test_the_memory_is_changed_and_the_track_stands_anew(world: World) -> None:
    done = amended(world)
    assert done is not None
    assert (done.before.state, done.before.reason) == (State.MISSING, Reason.DUE)
    assert done.after.state is None
    assert [(row["state"], row["ignored"]) for row in memory(world)] == [(None, 1)]
    assert leased(world) == []
    assert world.run().states == {}


def test_the_change_is_told_where_the_track_stands(world: World) -> None:
    told: list[tuple[str, State | None]] = []

    def change(case: Case, before: Standing) -> Memory:
        told.append((case.track.id, before.state))
        return case.memory

    amended(world, change)
    assert told == [("t000", State.MISSING)]


def test_what_a_change_raises_leaves_the_track_as_it_stood_and_free(make_world: MakeWorld) -> None:
    world = make_world(1, per_day=0)
    world.run()
    before = memory(world)

    def change(case: Case, before: Standing) -> Memory:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        amended(world, change)
    assert memory(world) == before
    assert leased(world) == []
    assert world.run().states == {(State.MISSING, Reason.BUDGET): 1}


def test_a_row_that_is_gone_is_told_and_not_changed(world: World) -> None:
    world.run()
    world.sql("DELETE FROM tracks")
    assert amended(world, change=no_sleep) is None
    assert leased(world) == []


def test_an_id_that_nobody_knows_is_not_remembered(world: World) -> None:
    assert amended(world, change=no_sleep, track_id="nobody") is None
    assert world.sql("SELECT * FROM reconciler_memory") == []


def held_by(database: Database) -> Held:
    held = database.leases.lease("t000")
    assert held is not None
    return held


def test_who_works_the_track_is_waited_for_and_what_was_done_is_built_on(world: World) -> None:
    with opened(world, "other") as other:
        held = held_by(other)
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            world.clock.advance(timedelta(seconds=seconds))
            if len(slept) == 4:
                change = Change(replace(held.memory, listed=True), Standing(State.MISSING, Reason.DUE, held.now))
                assert other.leases.commit(held.lease, change) is Commit.COMMITTED

        assert amended(world, sleep=sleep) is not None
        left = other.leases.peek("t000").memory
    assert slept == [AGAIN_S] * 4
    assert (left.listed, left.ignored) == (True, True)


def test_after_a_leases_time_it_is_taken_over(world: World) -> None:
    """Whoever held it died, and the one who waits is not busy."""
    with opened(world, "dead") as dead:
        held_by(dead)
    assert amended(world, sleep=lambda seconds: world.clock.advance(timedelta(seconds=seconds))) is not None


def test_it_is_busy_when_others_take_turns_for_longer_than_a_lease(world: World) -> None:
    with opened(world, "other") as other:
        held_by(other)
        slept: list[float] = []
        with pytest.raises(Busy, match="t000 is being worked for longer than a step may take"):
            amended(world, sleep=slept.append)
    assert world.policy.lease <= timedelta(seconds=sum(slept)) <= world.policy.lease + timedelta(seconds=1)
    assert leased(world) == ["t000"]


def test_it_is_busy_when_the_lease_is_lost_meanwhile(world: World) -> None:
    """The process was stopped for longer than its lease: nothing of it is saved."""

    def change(case: Case, before: Standing) -> Memory:
        world.clock.advance(world.policy.lease + timedelta(seconds=1))
        with opened(world, "other") as other:
            held_by(other)
        return ignored(case, before)

    with pytest.raises(Busy, match="taken over by another process; say it again"):
        amended(world, change)
    assert [row["ignored"] for row in memory(world)] == [0]


def test_as_many_orders_are_made_as_were_told_where_an_answer_is_lost(make_world: MakeWorld) -> None:
    world = make_world(1, per_track=1)
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=16, height=9))
    assert world.run(timedelta(hours=5)).states == {(State.FAILED, Reason.IMAGE_REJECTED): 1}
    told, before = [], len(world.kie.book.purchases)

    def again(case: Case, _: Standing) -> Memory:
        told.append(orders_left(case))
        return reopened(case)

    amended(world, again)
    world.kie.script.when(LOST)
    world.run(timedelta(days=1))
    assert told == [len(world.kie.book.purchases) - before]
