"""The clock ran ahead and was set right: nobody waits until the wrong time comes again."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from reconciler.domain.backoff import LONGEST_POLL
from reconciler.domain.states import Reason, State
from reconciler.kie.simulated import SERVER_ERROR, Succeed
from reconciler.testing.world import World

DAYS = timedelta(days=1)


@pytest.mark.parametrize("ahead", [timedelta(hours=2), 3650 * DAYS], ids=["two hours", "ten years"])
def test_a_running_task_is_asked_for_soon(make_world: Callable[..., World], ahead: timedelta) -> None:
    world = make_world(1)
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=160, height=90, run=timedelta(minutes=20)))
    world.pass_time(ahead)
    world.add("later")
    assert world.run(timedelta(minutes=1)).states == {(State.AWAITING, Reason.IN_FLIGHT): 2}
    world.clock.time -= ahead
    asked = len(world.kie.book.visits_of("record"))
    world.run(LONGEST_POLL + timedelta(minutes=1))
    assert len(world.kie.book.visits_of("record")) > asked


def test_a_pause_ends_after_its_own_length(make_world: Callable[..., World]) -> None:
    world = make_world(1, retry_max=timedelta(hours=1))
    world.pass_time(3650 * DAYS)
    world.kie.script.when(SERVER_ERROR, operation="create")
    result = world.run(timedelta(minutes=5), audit=False)
    assert result.purchases > 0
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=160, height=90, run=timedelta(seconds=2)))
    world.clock.time -= 3650 * DAYS
    assert world.run(timedelta(hours=8)).states == {(State.OK, None): 1}
