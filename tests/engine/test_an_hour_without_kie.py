"""Kie fails for an hour, or the credits run out: nobody is given up, no limit is used up, and all goes on by itself."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest

from reconciler.database import codec
from reconciler.domain.breaker import Stage
from reconciler.domain.states import Reason, State
from reconciler.engine.events import Moved
from reconciler.kie.simulated import DROPPED, NO_CREDITS, SERVER_ERROR, Break, Fault, Refuse, Reply, Succeed, page
from reconciler.testing.world import World
from tests.engine.conftest import MakeWorld
from tests.living import CREDITS, Living, living, watch

pytestmark = pytest.mark.slow

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
WINDOW = 10 * SECOND
OUTAGES: tuple[Refuse | Reply | Break, ...] = (DROPPED, page(502), SERVER_ERROR, Break(Fault.HANG))


@contextmanager
def watched(world: World) -> Iterator[tuple[Living, list[bool]]]:
    """A daemon, and what the gauge of the breaker has shown, one after the other."""
    closed = [False]

    def seen() -> None:
        (row,) = world.sql("SELECT breaker FROM reconciler_gate")
        shown = codec.load_breaker(row["breaker"]).stage in (Stage.OPEN, Stage.PROBING)
        if shown is not closed[-1]:
            closed.append(shown)

    with living(world, sweep_interval=10 * MINUTE, audit_interval=None, seen=seen) as daemon:
        yield daemon, closed


def proven(make_world: MakeWorld, tracks: int) -> World:
    """So many tracks to buy for, the first of which has got its picture; tasks take twenty seconds."""
    world = make_world(1)
    world.run()
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=160, height=90, run=20 * SECOND))
    for number in range(1, tracks):
        world.add(f"t{number:03}")
    world.events.clear()
    return world


def bought(world: World) -> list[datetime]:
    """Orders that Kie carried out."""
    return [purchase.arrived_at for purchase in world.kie.book.purchases]


def states(world: World) -> Counter[State]:
    found = Counter[State]()
    for (state, _), tracks in world.overview().tracks.items():
        found[state] += tracks
    return found


def in_windows(times: Sequence[datetime]) -> list[int]:
    """How many fell into each window, from the first one on."""
    return list(Counter((time - times[0]) // WINDOW for time in times).values())


def test_nobody_is_given_up_while_kie_fails_and_purchases_come_back_step_by_step(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = proven(make_world, 50)
    fails = world.clock() + 12 * SECOND
    for number, answer in enumerate(OUTAGES):
        part = HOUR / len(OUTAGES)
        world.kie.script.outage(fails + number * part, fails + (number + 1) * part, answer)
    with watched(world) as (daemon, closed):
        daemon.live(12 * SECOND)
        before = len(bought(world))
        assert before > 10, "some were bought, and not all of these were fetched yet"

        asked = watch(world, monkeypatch)
        daemon.live(HOUR)
        assert closed == [False, True]
        assert asked[CREDITS] <= 20, "six times by the schedule, and at longer and longer intervals by the breaker"
        assert len(bought(world)) == before
        assert len(world.kie.book.creations) - before <= 15, "it was left alone"
        stood = states(world)
        assert stood[State.MISSING] + stood[State.UNKNOWN] + stood[State.BACKING_OFF] == 50 - before
        assert stood[State.AWAITING] + stood[State.OK] == before

        daemon.live(2 * HOUR)
        assert closed == [False, True, False]
    assert world.overview().tracks == {(State.OK, None): 50}
    after = in_windows(bought(world)[before:])
    assert after[:3] == [1, 2, 4], after
    assert max(after) <= world.policy.purchase_limit
    assert not [event for event in world.events if isinstance(event, Moved) and event.state is State.FAILED]
    assert {len(world.kie.book.purchases_for(f"called t{number:03} in")) for number in range(50)} == {1}


def out_of_credits(world: World) -> None:
    """What is left does for ten pictures, the last of which is bought at what is to be kept."""
    world.kie.top_up(world.policy.min_credits + 9 * 5 - world.kie.balance)


def refused(world: World) -> None:
    """Kie says so itself, whatever it tells of the balance."""
    world.kie.script.when(NO_CREDITS, operation="create", skip=10)


def paid_again(world: World) -> None:
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=160, height=90, run=20 * SECOND))
    world.kie.top_up(1000)


@pytest.mark.parametrize("happens", [out_of_credits, refused])
def test_without_credits_purchases_stop_and_what_was_bought_is_fetched_and_then_it_goes_on(
    make_world: MakeWorld, happens: Callable[[World], None]
) -> None:
    world = proven(make_world, 40)
    with watched(world) as (daemon, closed):
        happens(world)
        daemon.live(30 * MINUTE)
        assert len(bought(world)) == 1 + 10
        assert world.overview().tracks == {(State.OK, None): 11, (State.MISSING, Reason.OUT_OF_CREDITS): 29}
        assert len(world.kie.book.creations) <= 1 + 10 + 3 * world.policy.purchase_limit, "it is hardly tried"
        paid_again(world)
        daemon.live(30 * MINUTE)
        assert world.overview().tracks == {(State.OK, None): 40}
        assert closed == [False], "the provider did not fail"
    assert len(bought(world)) == 40
    assert not [event for event in world.events if isinstance(event, Moved) and event.state is State.FAILED]
