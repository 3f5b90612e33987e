"""After Kie refused the account's orders, one at a time is tried, each time after a longer pause: a day of refusals is
not to spend the budget of the next."""

from datetime import timedelta
from itertools import pairwise

import pytest

from reconciler.domain.policy import Policy
from reconciler.domain.states import State
from reconciler.kie.simulated import (
    KEY_CAPPED,
    NO_CREDITS,
    RATE_LIMITED,
    TOO_FREQUENT,
    UNAUTHORIZED,
    Operation,
    Refuse,
    Rule,
)
from reconciler.testing.world import World
from tests.engine.conftest import MakeWorld, slow_crew
from tests.living import living

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
ROUND_TRIP = timedelta(seconds=0.3)


def proven_world(make_world: MakeWorld, tracks: int, **policy: object) -> World:
    """Its model has given a good picture; so many tracks more are to be bought for."""
    world = make_world(**policy)
    world.add("proof")
    assert world.run().states == {(State.OK, None): 1}
    for number in range(tracks):
        world.add(f"t{number:02}")
    return world


def refuse_orders(world: World, answer: Refuse, length: timedelta) -> None:
    world.kie.script.add(Rule(operation=Operation.CREATE, behaviour=answer, until=world.clock.true() + length))


@pytest.mark.slow
@pytest.mark.parametrize("answer", [NO_CREDITS, TOO_FREQUENT, RATE_LIMITED, UNAUTHORIZED, KEY_CAPPED], ids=str)
def test_a_day_of_refusals_leaves_a_budget_for_the_next(make_world: MakeWorld, answer: Refuse) -> None:
    usual = Policy()
    world = proven_world(make_world, 60, per_hour=usual.per_hour, per_day=usual.per_day)
    refuse_orders(world, answer, 24 * HOUR)
    with living(world, audit_interval=None) as daemon:
        daemon.live(24 * HOUR)
        refused = len(world.kie.book.creations) - 1
        assert usual.per_day - refused > usual.per_hour
        daemon.live(HOUR)
        assert len(world.kie.book.purchases) - 1 == usual.per_hour


@pytest.mark.parametrize("answer", [NO_CREDITS, RATE_LIMITED, UNAUTHORIZED], ids=str)
def test_one_order_at_a_time_is_refused_again(make_world: MakeWorld, answer: Refuse) -> None:
    world = proven_world(make_world, 30)
    slow_crew(world)
    refuse_orders(world, answer, HOUR)
    world.run(SECOND)
    first = len(world.kie.book.creations)
    world.run(HOUR)
    sent = [creation.arrived_at for creation in world.kie.book.creations[first:]]
    assert all(later - earlier > 9 * SECOND for earlier, later in pairwise(sent))


def test_orders_follow_each_other_at_once_while_they_are_taken_and_nobody_loses_its_place(
    make_world: MakeWorld,
) -> None:
    world = proven_world(make_world, 30, purchase_limit=20)
    refuse_orders(world, NO_CREDITS, MINUTE)
    world.run(MINUTE)
    world.pass_time(10 * MINUTE)
    first = len(world.kie.book.creations)
    crew = slow_crew(world, ROUND_TRIP.total_seconds())
    result = world.run(3 * MINUTE)
    assert result.states == {(State.OK, None): 31}
    creations = world.kie.book.creations[first:]
    assert [creation.prompt for creation in creations] == sorted(creation.prompt for creation in creations)
    assert all(later.arrived_at - earlier.arrived_at >= ROUND_TRIP for earlier, later in pairwise(creations))
    assert creations[-1].arrived_at - creations[0].arrived_at < MINUTE
    assert crew.idle < 5
