"""When the breaker opens and closes is told, and orders of which nothing came are no purchases."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from reconciler.domain.breaker import Stage
from reconciler.engine.events import BreakerMoved
from reconciler.kie.simulated import DROPPED
from reconciler.testing.world import World


@pytest.mark.slow
def test_an_outage_is_told_with_when_it_is_tried_again_and_its_end(make_world: Callable[..., World]) -> None:
    world = make_world(8)
    world.run(timedelta(seconds=30), only=("t000",))
    world.kie.script.when(DROPPED)
    world.run(timedelta(minutes=10))
    opened = [event for event in world.events if isinstance(event, BreakerMoved)]
    assert [event.breaker.stage for event in opened][:1] == [Stage.OPEN]
    assert opened[0].breaker.retry_at is not None
    world.kie.script.clear()
    world.run(timedelta(hours=3))
    stages = [event.breaker.stage for event in world.events if isinstance(event, BreakerMoved)]
    assert stages[-3:] == [Stage.PROBING, Stage.RAMPING, Stage.CLOSED]
