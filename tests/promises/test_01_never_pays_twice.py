"""Promise 1: a crash at any instruction causes at most one purchase per attempt.

One run is cut before and after every call of every port, begun anew and run to its end. The simulated Kie's book is the
judge: each track's prompt is its own, so it tells how often each was bought.
"""

from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from reconciler.domain.policy import Policy, Target
from reconciler.domain.states import State
from reconciler.kie.simulated import Settings, Succeed, belongs_to
from reconciler.testing.cutting import Killed, Scissors
from reconciler.testing.world import PUBLIC_URL, World

READS = (
    "finder.",
    "gate.view",
    "kie.task",
    "kie.song",
    "kie.credit",
    "pictures.",
    "store.get",
    "store.keys",
    "store.check",
)
SHARDS = 8
SIZE = (640, 360)


def world_with_every_way(folder: Path) -> World:
    """One track to be bought for, one whose paid task is known, one whose own picture dies."""
    quick = Settings(credits=100_000, min_run=timedelta(seconds=5), max_run=timedelta(seconds=12))
    policy = Policy(public_url=PUBLIC_URL, per_hour=10_000, per_day=10_000, target=Target(*SIZE))
    world = World(folder, policy=policy, kie=quick)
    good = Succeed(width=640, height=360)
    world.kie.script.when(good)
    world.add("buy")
    world.kie.add_task("a" * 32, prompt="adopted picture", created_at=world.clock(), behaviour=good)
    world.add("adopt", extended_prompt=f"calm | Visual: x | image_task_id: {'a' * 32}")
    dying = world.kie.add_file("/p/dying.jpg", text="dying picture", size=SIZE)
    world.add("rehost", image_url=dying, resolution="640x360")
    return world


def distinct_places() -> list[tuple[int, str]]:
    """Where a death leaves a state behind that none before did: dying between two reads is like dying before both."""
    with TemporaryDirectory() as folder:
        scissors = Scissors()
        world_with_every_way(Path(folder)).run(wrap=scissors.wrap)
    numbered = list(enumerate(scissors.places))
    return numbered[:1] + [(number, place) for number, place in numbered if _leaves_a_trace(place)]


def _leaves_a_trace(place: str) -> bool:
    moment, call = place.split()
    return moment == "after" and not call.startswith(READS)


@pytest.fixture(scope="module")
def all_places() -> list[tuple[int, str]]:
    return distinct_places()


def bought(world: World) -> Counter[str]:
    return Counter(each.prompt for each in world.kie.book.purchases)


def run_cut(world: World, cut_at: int) -> str | None:
    scissors = Scissors(cut_at)
    with suppress(Killed):
        world.run(wrap=scissors.wrap)
        return None
    return scissors.places[-1]


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_cut_at_every_call_of_every_port_each_attempt_is_bought_once(
    tmp_path: Path, all_places: list[tuple[int, str]], shard: int
) -> None:
    assert len(all_places) > 40
    for number, name in all_places[shard::SHARDS]:
        folder = tmp_path / str(number)
        folder.mkdir()
        world = world_with_every_way(folder)
        assert run_cut(world, number) == name
        world.pass_time(timedelta(seconds=1))
        world.settle()
        check_end(world, f"cut {number}: {name}")


def check_end(world: World, where: str) -> None:
    counts = bought(world)
    repeats = world.sql("SELECT count(*) AS n FROM reconciler_purchase WHERE repeat_of IS NOT NULL")[0]["n"]
    assert len(counts) <= 1, where
    assert sum(counts.values()) <= 1 + repeats, where
    assert repeats <= 1, where
    for row in world.rows():
        picture = world.picture(row["id"])
        assert row["resolution"] == "640x360", (where, row)
        assert picture is not None, (where, row)
    assert belongs_to(world.picture("rehost") or b"", "dying picture"), where
    assert belongs_to(world.picture("adopt") or b"", "adopted picture"), where
    assert belongs_to(world.picture("buy") or b"", "a lighthouse called buy in morning mist"), where


@pytest.mark.slow
def test_an_order_whose_answer_died_with_the_process_is_held_then_repeated_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add("buy")
    scissors = Scissors()
    World.run(world_copy(tmp_path), wrap=scissors.wrap)
    place = run_cut(world, scissors.places.index("after kie.create"))
    assert place == "after kie.create"

    soon = world.run(timedelta(minutes=50))
    assert soon.states == {(State.UNKNOWN, "unknown_purchase"): 1}
    assert sum(bought(world).values()) == 1

    world.pass_time(world.policy.hold_unknown)
    later = world.run()
    assert later.states == {(State.OK, None): 1}
    assert later.repeats == 1
    assert sum(bought(world).values()) == 2


def world_copy(folder: Path) -> World:
    other = folder / "other"
    other.mkdir()
    world = World(other)
    world.add("buy")
    return world
