"""Kie fails for an hour, or the credits run out: nobody is given up, no limit is used up, and all goes on by itself."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from reconciler.database import codec
from reconciler.domain.breaker import Stage
from reconciler.domain.states import Reason, State
from reconciler.engine.events import Moved
from reconciler.kie.simulated import DROPPED, NO_CREDITS, SERVER_ERROR, Break, Fault, Refuse, Settings, Succeed, page
from reconciler.testing.living import Living
from reconciler.testing.world import World
from tests.engine.conftest import MakeWorld

pytestmark = pytest.mark.slow

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
WINDOW = 10 * SECOND
OUTAGES = {"connections that break": DROPPED, "time-outs": Break(Fault.HANG), "502": page(502), "500": SERVER_ERROR}
ALL_GOOD = {(State.OK, None): 100}


class Watched:
    """A daemon in a world. `closed`: what the gauge of the breaker has shown, one after the other."""

    def __init__(self, world: World) -> None:
        self.world, self.closed = world, [False]
        self._daemon = Living(world, sweep_interval=10 * MINUTE, audit_interval=None, seen=self._seen)

    def _seen(self) -> None:
        (row,) = self.world.sql("SELECT breaker FROM reconciler_gate")
        closed = codec.load_breaker(row["breaker"]).stage in (Stage.OPEN, Stage.PROBING)
        if closed is not self.closed[-1]:
            self.closed.append(closed)

    def live(self, length: timedelta) -> None:
        self._daemon.live(length)


def proven(make_world: MakeWorld, **given: object) -> World:
    """A hundred tracks to buy for, the first of which has got its picture; tasks take twenty seconds."""
    world = make_world(1, **given)
    world.run()
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=160, height=90, run=20 * SECOND))
    for number in range(1, 100):
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


@pytest.mark.parametrize("kind", OUTAGES)
def test_nobody_is_given_up_while_kie_fails_and_purchases_come_back_step_by_step(
    make_world: MakeWorld, kind: str
) -> None:
    world = proven(make_world)
    watched = Watched(world)
    began = world.clock()
    fails = began + 12 * SECOND
    world.kie.script.outage(fails, fails + HOUR, OUTAGES[kind])
    watched.live(12 * SECOND)
    before = len(bought(world))
    assert before > 10, "some were bought, and the first were not fetched yet"

    watched.live(HOUR)
    assert len(bought(world)) == before
    assert watched.closed == [False, True]
    stood = states(world)
    assert stood[State.FAILED] == 0
    assert stood[State.MISSING] + stood[State.UNKNOWN] + stood[State.BACKING_OFF] == 100 - before
    assert stood[State.AWAITING] + stood[State.OK] == before
    assert len(world.kie.book.creations) - before <= 15, "it was left alone"

    watched.live(2 * HOUR)
    assert watched.closed == [False, True, False]
    assert world.overview().tracks == ALL_GOOD
    after = in_windows(bought(world)[before:])
    assert after[:3] == [1, 2, 4], after
    assert max(after) <= world.policy.purchase_limit
    assert not [event for event in world.events if isinstance(event, Moved) and event.state is State.FAILED]
    assert Counter(p.prompt for p in world.kie.book.purchases).most_common(1)[0][1] == 1, "no limit of a track was used"
