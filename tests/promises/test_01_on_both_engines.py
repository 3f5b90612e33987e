"""Promise 1 on PostgreSQL behind a pooler, where one run is cut at every call of every port; and on both engines, where
real processes are killed."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.domain.policy import Policy, Target
from reconciler.kie.simulated import Settings, Succeed, belongs_to
from reconciler.testing.cutting import Scissors
from reconciler.testing.store import MemoryStore
from reconciler.testing.world import PUBLIC_URL, World
from tests.postgres import Bouncer, Server
from tests.postgresql.worlds import AppServer
from tests.promises.test_01_never_pays_twice import _leaves_a_trace, bought, run_cut

pytestmark = pytest.mark.slow

SHARDS = 4
SIZE = (160, 90)
PICTURES = {"buy": "a lighthouse called buy in morning mist", "adopt": "adopted picture", "rehost": "dying picture"}


# -- every call of every port ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app(postgres: Server, bouncer: Bouncer) -> Iterator[AppServer]:
    made = AppServer(postgres, bouncer)
    yield made
    made.close()


def world_with_every_way(app: AppServer, folder: Path) -> World:
    """One track to be bought for, one whose paid task is known, one whose own picture dies."""
    app.empty()
    policy = Policy(public_url=PUBLIC_URL, target=Target(*SIZE))
    quick = Settings(credits=100_000, min_run=timedelta(seconds=1), max_run=timedelta(seconds=2))
    world = World(folder, policy=policy, kie=quick, app=app)
    world.store = MemoryStore()
    good = Succeed(width=160, height=90)
    world.kie.script.when(good)
    world.add("buy")
    world.kie.add_task("a" * 32, prompt=PICTURES["adopt"], created_at=world.clock(), behaviour=good)
    world.add("adopt", extended_prompt=f"calm | Visual: x | image_task_id: {'a' * 32}")
    dying = world.kie.add_file("/p/dying.jpg", text=PICTURES["rehost"], size=SIZE)
    world.add("rehost", image_url=dying, resolution="160x90")
    return world


@pytest.fixture(scope="module")
def places(app: AppServer, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, str]]:
    """Where a death leaves a state behind that none before did."""
    scissors = Scissors()
    world_with_every_way(app, tmp_path_factory.mktemp("whole")).run(wrap=scissors.wrap)
    return [(number, place) for number, place in enumerate(scissors.places) if not number or _leaves_a_trace(place)]


@pytest.mark.parametrize("shard", range(SHARDS))
def test_cut_at_every_call_of_every_port_each_attempt_is_bought_once(
    app: AppServer, tmp_path: Path, places: list[tuple[int, str]], shard: int
) -> None:
    assert len(places) > 40
    for number, name in places[shard::SHARDS]:
        world = world_with_every_way(app, tmp_path)
        assert run_cut(world, number) == name
        world.pass_time(timedelta(seconds=1))
        world.settle()
        check_end(world, f"cut {number}: {name}")


def check_end(world: World, where: str) -> None:
    repeats = world.sql("SELECT count(*) AS n FROM reconciler_purchase WHERE repeat_of IS NOT NULL")[0]["n"]
    counts = bought(world)
    assert set(counts) == {PICTURES["buy"]}, where
    assert counts.total() <= 1 + repeats <= 2, where
    for row in world.rows():
        assert row["resolution"] == "160x90", (where, row)
        assert belongs_to(world.picture(row["id"]) or b"", PICTURES[row["id"]]), (where, row)
