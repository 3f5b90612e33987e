"""Promise 1: The same for a second death during the recovery, and for deaths inside the store and the database.

Pairs are sampled, the same ones each time. Inside the store each step of `put` is a place to die, inside the database
each commit, before it and after it.
"""

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from reconciler.database import Database
from reconciler.domain.policy import Policy, Target
from reconciler.images.local_store import LocalStore
from reconciler.kie.simulated import Settings, Succeed, belongs_to
from reconciler.ports import Prepared
from reconciler.testing.cutting import Killed, Scissors
from reconciler.testing.store import MemoryStore
from reconciler.testing.world import PUBLIC_URL, World

SIZE, SECOND = (640, 360), timedelta(seconds=1)
ENDS = {("ok", None), ("failed", "unknown_purchase"), ("failed", "image_rejected")}
"""Where many deaths can lead: among them three in picture steps of one track."""
PICTURES = {"buy": "a lighthouse called buy in morning mist", "adopt": "adopted picture", "rehost": "dying picture"}


class CuttingStore(LocalStore):
    """Every step of storing a picture is a place to die."""

    scissors = Scissors()

    def make_folder(self, folder: Path) -> None:
        self._cut("make_folder", lambda: super(CuttingStore, self).make_folder(folder))

    def write(self, part: Path, picture: Prepared) -> None:
        self.scissors.at("before store.write")
        half = picture.data[: len(picture.data) // 2]
        if len(self.scissors.places) == self.scissors._cut_at:
            part.write_bytes(half)  # the death comes in the middle
        self.scissors.at("within store.write")
        super().write(part, picture)
        self.scissors.at("after store.write")

    def rename(self, part: Path, path: Path) -> None:
        self._cut("rename", lambda: super(CuttingStore, self).rename(part, path))

    def settle(self, folder: Path) -> None:
        self._cut("settle", lambda: super(CuttingStore, self).settle(folder))

    def compare(self, path: Path, picture: Prepared) -> None:
        self._cut("compare", lambda: super(CuttingStore, self).compare(path, picture))

    def _cut(self, step: str, do: Callable[[], None]) -> None:
        self.scissors.at(f"before store.{step}")
        do()
        self.scissors.at(f"after store.{step}")


class DyingWorld(World):
    """One track to buy for, one whose paid task is known, one whose own picture dies."""

    def __init__(self, folder: Path) -> None:
        policy = Policy(public_url=PUBLIC_URL, per_hour=10_000, per_day=10_000, target=Target(*SIZE))
        folder.mkdir()
        super().__init__(folder, policy=policy, kie=Settings(credits=100_000))
        self.commits = Scissors()
        good = Succeed(width=640, height=360, run=2 * SECOND)
        self.kie.script.when(good)
        self.add("buy")
        self.kie.add_task("a" * 32, prompt=PICTURES["adopt"], created_at=self.clock(), behaviour=good)
        self.add("adopt", extended_prompt=f"calm | Visual: x | image_task_id: {'a' * 32}")
        dying = self.kie.add_file("/p/dying.jpg", text=PICTURES["rehost"], size=SIZE)
        self.add("rehost", image_url=dying, resolution="640x360")

    def open(self, owner: str = "one") -> Database:
        database = super().open(owner)
        db = database.connection.db
        commit = db.commit

        def cut() -> Any:
            self.commits.at("before database.commit")
            commit()
            self.commits.at("after database.commit")

        db.commit = cut
        return database

    def bought_once_and_repeated_once_at_most(self, where: str) -> int:
        bought = Counter(purchase.prompt for purchase in self.kie.book.purchases)
        repeats = self.sql("SELECT count(*) AS n FROM reconciler_purchase WHERE repeat_of IS NOT NULL")[0]["n"]
        assert set(bought) <= {PICTURES["buy"]}, where
        assert bought.total() <= 1 + repeats <= 2, where
        return bought.total()

    def check(self, where: str) -> None:
        bought = self.bought_once_and_repeated_once_at_most(where)
        given_up = self.sql("SELECT track_id, reason FROM reconciler_memory WHERE state = 'failed'")
        if (
            given_up
        ):  # a process died with the answer to the order, or before that was sent, and one with that to its repeat
            intents = self.sql("SELECT count(*) AS n FROM reconciler_purchase")[0]["n"]
            assert (given_up, intents) == ([{"track_id": "buy", "reason": "unknown_purchase"}], 2), where
            assert bought == 2 or "after gate.reserve" in where, where
        for row in self.rows():
            if row["id"] in {each["track_id"] for each in given_up}:
                continue
            assert row["resolution"] == "640x360", (where, row)
            assert belongs_to(self.picture(row["id"]) or b"", PICTURES[row["id"]]), (where, row["id"])
        open_ = "SELECT 1 FROM reconciler_memory WHERE state NOT IN ('ok', 'failed') OR lease_owner IS NOT NULL"
        assert not self.sql(open_), where


def run_cut(world: World, scissors: Scissors) -> str:
    with suppress(Killed):
        world.run(wrap=scissors.wrap)
        return "the end"
    return scissors.places[-1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_second_death_during_the_recovery_changes_nothing(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(10):
        world = DyingWorld(tmp_path / str(number))
        world.store = MemoryStore()
        first = run_cut(world, Scissors(chance.randrange(160)))
        world.pass_time(chance.choice((SECOND, 160 * SECOND, timedelta(hours=2))))
        second = run_cut(world, Scissors(chance.randrange(60)))
        world.pass_time(chance.choice((SECOND, 160 * SECOND)))
        world.settle()
        world.check(f"{first}, then {second}")


@pytest.mark.slow
def test_deaths_in_many_runs_end_well(tmp_path: Path) -> None:
    chance = random.Random(7)
    for number in range(6):
        world = DyingWorld(tmp_path / str(number))
        world.store = MemoryStore()
        places = []
        for _ in range(8):
            places.append(run_cut(world, Scissors(chance.randrange(5, 90))))
            world.pass_time(chance.choice((SECOND, 160 * SECOND, timedelta(hours=2))))
        world.settle()
        world.bought_once_and_repeated_once_at_most(", ".join(places))
        ends = world.sql("SELECT state, reason FROM reconciler_memory")
        assert {(end["state"], end["reason"]) for end in ends} <= ENDS, places


@pytest.mark.slow
def test_a_death_at_any_step_of_storing_leaves_no_half_picture(tmp_path: Path) -> None:
    place, number = "", 0
    while place != "the end":
        world = DyingWorld(tmp_path / str(number))
        store = CuttingStore(tmp_path / f"images-{number}", now=world.clock)
        world.store, store.scissors = store, Scissors(number)
        place = run_cut(world, Scissors())
        if place != "the end":
            place = store.scissors.places[-1]
        for path in store.root.glob("tracks/*/*.jpg"):
            assert sha256(path.read_bytes()).hexdigest().startswith(path.stem), (
                f"{number}: {place}: {path} is not whole"
            )
        store.scissors = Scissors()
        world.pass_time(SECOND)
        world.settle()
        world.check(f"{number}: {place}")
        number += 1
    assert number > 3 * 10


@pytest.mark.slow
def test_a_death_before_or_after_any_commit(tmp_path: Path) -> None:
    whole = DyingWorld(tmp_path / "whole")
    whole.store = MemoryStore()
    whole.run()
    places = len(whole.commits.places)
    assert places > 60
    for number in range(0, places, 8):
        world = DyingWorld(tmp_path / str(number))
        world.store = MemoryStore()
        world.commits = Scissors(number)
        with suppress(Killed):
            world.run()
        world.commits = Scissors()
        world.pass_time(SECOND)
        world.settle()
        world.check(f"commit {number}")


def test_a_death_between_two_deaths_of_the_same_order(tmp_path: Path) -> None:
    """The answer is lost with the process, and the repeat's answer too: then nobody buys a third time."""
    world = DyingWorld(tmp_path / "world")
    world.store = MemoryStore()
    for _ in range(2):
        scissors = _Here("after kie.create")
        with suppress(Killed):
            world.run(timedelta(hours=3), wrap=scissors.wrap)
        world.pass_time(timedelta(hours=2))
    assert len(world.kie.book.purchases) == 2
    world.settle()
    assert len(world.kie.book.purchases) == 2
    states = {row["track_id"]: row["state"] for row in world.sql("SELECT track_id, state FROM reconciler_memory")}
    assert states == {"buy": "failed", "adopt": "ok", "rehost": "ok"}


class _Here(Scissors):
    """Cuts at the first place of this name."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self._place = place

    def at(self, place: str) -> None:
        super().at(place)
        if place == self._place:
            raise Killed(place)
