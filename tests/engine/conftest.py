"""Small worlds for the engine: pictures of a few pixels, a store in memory, tasks of two seconds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from reconciler.database import Database
from reconciler.domain.policy import Policy, Target
from reconciler.engine.sweep import Bounds, Sweep
from reconciler.kie.simulated import Settings, Succeed
from reconciler.testing.delayed import DelayedCrew, Stage
from reconciler.testing.store import MemoryStore
from reconciler.testing.world import PUBLIC_URL, World, Wrap

SMALL = Succeed(width=160, height=90, run=timedelta(seconds=2))
MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(tmp_path: Path) -> MakeWorld:
    """A new small world of `tracks` tracks to buy for; further arguments are the policy's, but for `kie`."""
    numbers = count()

    def make(tracks: int = 0, *, kie: Settings | None = None, **policy: Any) -> World:
        folder = tmp_path / f"world-{next(numbers)}"
        folder.mkdir()
        given = {"public_url": PUBLIC_URL, "per_hour": 10_000, "per_day": 10_000, "target": Target(160, 90), **policy}
        world = World(folder, policy=Policy(**given), kie=kie or Settings(credits=100_000))
        world.store = MemoryStore()
        world.kie.script.when(SMALL)
        for number in range(tracks):
            world.add(f"t{number:03}")
        return world

    return make


@pytest.fixture
def database(world: World) -> Iterator[Database]:
    opened = world.open()
    yield opened
    opened.close()


def slow_crew(world: World, seconds: float = 0.3, *, size: int = 8) -> DelayedCrew:
    """From now on the world's workers take this long."""
    half = timedelta(seconds=seconds / 2)
    crew = DelayedCrew(Stage(world.clock), lambda tag: (half, half), size=size)
    world.crew = lambda: crew
    return crew


@contextmanager
def sweeping(world: World, length: timedelta, wrap: Wrap = lambda _, port: port, **bounds: Any) -> Iterator[Sweep]:
    """A sweep to look at while it runs and afterwards."""
    database = world.open()
    try:
        world.store.adopt(None)
        yield Sweep(world.parts(database, wrap), Bounds(world.clock.steady() + length, **bounds), world.events.append)
    finally:
        database.close()


def leased(world: World) -> list[str]:
    rows = world.sql("SELECT track_id FROM reconciler_memory WHERE lease_owner IS NOT NULL ORDER BY track_id")
    return [row["track_id"] for row in rows]


def lose_leases(world: World) -> None:
    """Somebody else takes the tracks over."""
    world.sql("UPDATE reconciler_memory SET lease_owner = 'other', generation = generation + 1")
