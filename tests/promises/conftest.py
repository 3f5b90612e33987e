"""Small worlds: the target is 640x360 and tasks take seconds, so that weeks of runs take moments."""

from collections.abc import Callable
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from reconciler.domain.policy import Policy, Target
from reconciler.kie.simulated import Settings, Succeed
from reconciler.testing.world import PUBLIC_URL, World
from tests.postgres import bouncer, postgres

__all__ = ["bouncer", "postgres"]


@pytest.fixture
def make_world(tmp_path: Path) -> Callable[..., World]:
    """A new small world; named arguments are the policy's, but for `kie`, the simulated Kie's settings."""
    numbers = count()

    def make(*, kie: Settings | None = None, **policy: Any) -> World:
        folder = tmp_path / f"world-{next(numbers)}"
        folder.mkdir()
        given = {"public_url": PUBLIC_URL, "per_hour": 10_000, "per_day": 10_000, "target": Target(640, 360), **policy}
        world = World(folder, policy=Policy(**given), kie=kie or Settings(credits=100_000))
        world.kie.script.when(Succeed(width=640, height=360, run=timedelta(seconds=2)))
        return world

    return make


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()
