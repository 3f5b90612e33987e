"""More of promise 7: the same for every order of their calls. Two engines over one database take turns, each call of a
port is a place where the other may come between; the order rests on a seed alone, so that whatever is found is found
again."""

import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.domain.policy import Policy, Target
from reconciler.domain.states import State
from reconciler.engine.events import Mistake
from reconciler.kie.simulated import Settings, Succeed, belongs_to
from reconciler.testing.cutting import Scissors
from reconciler.testing.delayed import DelayedCrew, Stage
from reconciler.testing.inline import InlineCrew
from reconciler.testing.store import MemoryStore
from reconciler.testing.world import PUBLIC_URL, World
from tests.promises.witnesses import MoneyWitness, RowWitness

pytestmark = pytest.mark.slow

NOTHING, SECOND, MINUTE = timedelta(0), timedelta(seconds=1), timedelta(minutes=1)
SIZE = (160, 90)
PAUSES = 60 * (NOTHING,) + 20 * (timedelta(milliseconds=1), SECOND) + (20 * SECOND, 4 * MINUTE)
"""Of a call: mostly none, seldom beyond a lease, never as long as a lost order is held."""

Pause = Callable[[], timedelta]


class Hesitant(Scissors):
    """Before and after each call of a port its engine waits, and the other may go on."""

    def __init__(self, stage: Stage, actor: int, pause: Pause) -> None:
        super().__init__()
        self._stage, self._actor, self._pause = stage, actor, pause

    def at(self, place: str) -> None:
        super().at(place)
        self._stage.wait(self._actor, self._stage.clock() + self._pause())


class Both:
    """Two engines, and work of every kind for them: to buy, to follow, to adopt from the song, to move, to measure."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        policy = Policy(public_url=PUBLIC_URL, per_hour=10_000, per_day=10_000, target=Target(*SIZE))
        self.world = World(folder, policy=policy, kie=Settings(credits=100_000))
        self.world.store = store = MemoryStore()
        kie, good = self.world.kie, Succeed(width=160, height=90, run=7 * SECOND)
        kie.script.when(good)
        kie.add_task("a" * 32, prompt="a known task", behaviour=good)
        self.texts = {"adopt": "a known task", "rehost": "a picture that dies"}
        for name in ("buy", "buy too"):
            self.world.add(name)
            self.texts[name] = f"a lighthouse called {name} in morning mist"
        self.world.add("adopt", extended_prompt=f"calm | image_task_id: {'a' * 32}")
        self.world.add("rehost", image_url=kie.add_file("/p/1.jpg", text=self.texts["rehost"], size=SIZE))
        self.world.open().close()
        self.rows, self.money = RowWitness(self.world, store), MoneyWitness(self.world)

    def play(self, *pauses: Pause) -> list[list[str]]:
        """The places that each of them met. What they leave is done by a third, before a lost order is repeated."""
        stage = Stage(self.world.clock)
        actors = [Hesitant(stage, actor, pause) for actor, pause in enumerate(pauses)]
        crews = iter([DelayedCrew(stage, lambda _: (NOTHING, NOTHING), actor=actor) for actor in range(len(actors))])
        self.world.crew = lambda: next(crews)
        stage.play(*(self._engine(f"engine {number}", actor) for number, actor in enumerate(actors)))
        self.world.crew = lambda: InlineCrew(self.world.clock)
        self.world.run(30 * MINUTE)
        return [actor.places for actor in actors]

    def _engine(self, owner: str, actor: Hesitant) -> Callable[[], object]:
        return lambda: self.world.run(25 * MINUTE, owner=owner, wrap=actor.wrap)

    def check(self, where: str) -> None:
        """Together they did what one would have done."""
        world = self.world
        assert not [event for event in world.events if isinstance(event, Mistake)], where
        self.rows.look()
        self.money.look()
        bought = sorted(purchase.prompt for purchase in world.kie.book.purchases)
        assert bought == sorted(self.texts[name] for name in ("buy", "buy too")), where
        for name, text in self.texts.items():
            picture = world.picture(name)
            assert picture is not None, (where, name)
            assert belongs_to(picture, text), (where, name)
        ends = world.sql("SELECT DISTINCT state, reason, lease_owner FROM reconciler_memory")
        assert ends == [{"state": State.OK, "reason": None, "lease_owner": None}], where


def never() -> timedelta:
    return NOTHING


def once(at: int, length: timedelta) -> Pause:
    """At the place of this number."""
    numbers = iter(range(at + 1))

    def pause() -> timedelta:
        return length if next(numbers, None) == at else NOTHING

    return pause


def by_chance(seed: int) -> Pause:
    """Beyond a lease twice at most: a picture at which three leases ran out is taken for one that kills who looks."""
    chance, beyond = random.Random(seed), iter(range(2))

    def pause() -> timedelta:
        length = chance.choice(PAUSES)
        return length if length < MINUTE or next(beyond, None) is not None else NOTHING

    return pause


def first_and_last(places: list[str]) -> list[int]:
    """Of each call. Between the end of one and the beginning of the next nothing happens."""
    calls = [(number, place) for number, place in enumerate(places) if place.startswith("before")]
    return sorted({*{place: number for number, place in calls}.values(), *{p: n for n, p in reversed(calls)}.values()})


@pytest.mark.parametrize(("length", "step"), [(20 * SECOND, 3), (20 * MINUTE, 2)], ids=["within its lease", "past it"])
def test_one_is_held_up_at_any_call_while_the_other_goes_on(tmp_path: Path, length: timedelta, step: int) -> None:
    places = Both(tmp_path / "alone").play(never, once(0, 30 * MINUTE))[0]
    numbers = first_and_last(places)
    assert len(numbers) > 25
    for number in numbers[::step]:
        both = Both(tmp_path / str(number))
        met = both.play(once(number, length), never)[0]
        both.check(f"{number}: {met[number]}")


@pytest.mark.parametrize("shard", range(2))
def test_they_take_turns_in_orders_made_by_chance(tmp_path: Path, shard: int) -> None:
    for seed in range(6 * shard, 6 * shard + 6):
        both = Both(tmp_path / str(seed))
        both.play(*[by_chance(seed)] * 2)
        both.check(f"seed {seed}")
