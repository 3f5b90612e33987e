"""Promise 5: never more than N purchases in any window, nor over the hourly, daily and per-track budgets, across
restarts and across processes.

The judge is the simulated Kie's book, by brute force: each window that begins with a request is counted. Workers are
slow, so that orders arrive late and answers later; runs are short, and die at random places.
"""

import random
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.domain.states import Reason, State
from reconciler.engine.events import GateClosed
from reconciler.kie.simulated import (
    KEY_CAPPED,
    LOST,
    NO_CREDITS,
    Break,
    Fail,
    Fault,
    Settings,
    Stall,
    Succeed,
    page,
)
from reconciler.testing.cutting import Killed, Scissors
from reconciler.testing.delayed import DelayedCrew, Stage
from reconciler.testing.store import MemoryStore
from reconciler.testing.world import World
from tests.cli.conftest import PROGRAM, clean_environment, installed
from tests.daemons import small
from tests.promises.witnesses import most

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SMALL = {"width": 640, "height": 360}
MakeWorld = Callable[..., World]


@pytest.fixture
def filled(make_world: MakeWorld) -> MakeWorld:
    """A world of so many tracks, of which one was bought for already: the model is proven."""

    def make(tracks: int, **given: Any) -> World:
        world = make_world(**given)
        world.store = MemoryStore()
        for number in range(tracks):
            world.add(f"t{number:03}")
        assert world.run(only=("t000",)).states == {(State.OK, None): 1}
        world.pass_time(2 * DAY)
        return world

    return make


def arrivals(world: World) -> list[datetime]:
    """Of every order, refused ones too."""
    return sorted(creation.arrived_at for creation in world.kie.book.creations)


def test_the_judge_counts_half_open_spans() -> None:
    noon = datetime(2026, 11, 22, 12).astimezone()
    assert most([noon, noon + SECOND, noon + 9 * SECOND, noon + 10 * SECOND], 10 * SECOND) == 3
    assert most([], SECOND) == 0


# -- windows and budgets, however slow the way and whatever dies ---------------------------------------------------


def crew(world: World, chance: random.Random, stage: Stage | None = None, actor: int = 0) -> DelayedCrew:
    """Workers and answers that take up to eighteen seconds; an order is not sent later than fifteen."""

    def delay(_: str) -> tuple[timedelta, timedelta]:
        return chance.choice((0, 1, 5, 18)) * chance.random() * SECOND, chance.choice(
            (0, 1, 10)
        ) * chance.random() * SECOND

    return DelayedCrew(stage or Stage(world.clock), delay, actor=actor)


def run_and_die(world: World, chance: random.Random, length: timedelta) -> None:
    world.crew = lambda: crew(world, chance)
    scissors = Scissors(chance.choice((None, chance.randrange(400), chance.randrange(60))))
    with suppress(Killed):
        world.run(length, wrap=scissors.wrap)


def check(world: World) -> None:
    times, policy = arrivals(world), world.policy
    assert most(times, policy.purchase_window) <= policy.purchase_limit
    assert most(times, HOUR) <= policy.per_hour
    assert most(times, DAY) <= policy.per_day
    for prompt, bought in Counter(purchase.prompt for purchase in world.kie.book.purchases).items():
        assert bought <= policy.attempts_per_track + 1, prompt


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_across_restarts_and_deaths_with_slow_ways(filled: MakeWorld, seed: int) -> None:
    chance = random.Random(seed)
    world = filled(30, purchase_limit=4, per_hour=12, per_day=20)
    for _ in range(32):  # a death leaves several tracks leased
        run_and_die(world, chance, chance.random() * 5 * MINUTE)
        world.pass_time(chance.choice((SECOND, 30 * SECOND, 10 * MINUTE)))
    check(world)
    assert len(arrivals(world)) >= 12


@pytest.mark.slow
@pytest.mark.parametrize("window", [2, 10, 60])
def test_the_window_is_full_but_never_fuller(filled: MakeWorld, window: int) -> None:
    world = filled(25, purchase_limit=3, purchase_window=window * SECOND)
    world.crew = lambda: crew(world, random.Random(window))
    assert world.run(HOUR).states == {(State.OK, None): 25}
    assert most(arrivals(world), window * SECOND) <= 3
    world.pass_time(DAY)
    assert len(arrivals(world)) == 25


@pytest.mark.slow
def test_at_once_where_nothing_is_slow_the_budgets_are_used_up_to_the_last(filled: MakeWorld) -> None:
    world = filled(16, purchase_limit=5, per_hour=7, per_day=12)
    world.run(3 * HOUR)
    check(world)
    assert (most(arrivals(world), 10 * SECOND), most(arrivals(world), HOUR), most(arrivals(world), DAY)) == (5, 7, 12)
    assert world.run(2 * DAY).states == {(State.OK, None): 16}
    check(world)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_two_processes_at_once(filled: MakeWorld, seed: int) -> None:
    """Two engines over one file, with connections, leases and workers of their own, on one clock."""
    world = filled(30, purchase_limit=4, per_hour=15, per_day=25, max_concurrent_tasks=6)
    for round_ in range(3):
        chance, stage = random.Random(10 * seed + round_), Stage(world.clock)
        crews = iter([crew(world, chance, stage, actor) for actor in (0, 1)])
        world.crew = lambda crews=crews: next(crews)  # type: ignore[misc]
        stage.play(lambda: world.run(10 * MINUTE, owner="one"), lambda: world.run(12 * MINUTE, owner="two"))
        world.pass_time(MINUTE)
    check(world)
    bought = Counter(purchase.prompt for purchase in world.kie.book.purchases)
    assert max(bought.values()) == 1
    assert len(arrivals(world)) >= 15


@pytest.mark.slow
def test_two_real_processes_over_http(tmp_path: Path) -> None:
    with installed(tmp_path) as install:
        small(install, kie__purchase_limit="2", kie__purchase_window='"1s"', budget__per_hour="5")
        for number in range(8):
            install.add(f"t{number:02}")
        command = [*PROGRAM, "--config", str(install.config), "run", "--once", "--timeout", "30s"]
        both = [
            subprocess.Popen(
                command, cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            for _ in range(2)
        ]
        said = [process.communicate(timeout=60) for process in both]
        assert [process.returncode for process in both] == [3, 3], said
        times = sorted(creation.arrived_at for creation in install.kie.book.creations)
        assert len(times) == 5
        assert most(times, SECOND) <= 2
        assert max(Counter(purchase.prompt for purchase in install.kie.book.purchases).values()) == 1
        assert sum(row["resolution"] == "160x90" for row in install.rows()) == 5


# -- per track -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 2, 4])
def test_a_track_whose_results_never_fit_is_bought_for_as_often_as_per_track_says(
    filled: MakeWorld, limit: int
) -> None:
    world = filled(2, per_track=limit)
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=320, height=180, run=2 * SECOND))
    for _ in range(8):
        world.run(12 * HOUR)
        world.pass_time(DAY)
    assert len(world.kie.book.purchases_for("t001")) == limit
    assert world.run().states == {(State.OK, None): 1, (State.FAILED, Reason.IMAGE_REJECTED): 1}


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 3, 6])
def test_a_track_whose_tasks_all_fail_is_tried_as_often_as_attempts_per_track_says(
    filled: MakeWorld, limit: int
) -> None:
    world = filled(2, per_track=1, attempts_per_track=limit)
    world.kie.script.clear()
    world.kie.script.when(Fail(code="500", message="internal error, please try again later.", run=5 * SECOND))
    for _ in range(8):
        world.run(12 * HOUR)
        world.pass_time(DAY)
    assert len(world.kie.book.purchases_for("t001")) == limit
    assert world.run().states == {(State.OK, None): 1, (State.FAILED, Reason.PROVIDER_FAILED): 1}


# -- tasks at once, credits, and what one run may spend ------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_tasks_run_at_once_than_configured(filled: MakeWorld, limit: int) -> None:
    world = filled(12, max_concurrent_tasks=limit)
    world.kie.script.clear()
    world.kie.script.when(Succeed(**SMALL, run=50 * SECOND))  # type: ignore[arg-type]
    world.crew = lambda: crew(world, random.Random(limit))
    assert world.run(3 * HOUR).states == {(State.OK, None): 12}
    assert most(arrivals(world), 50 * SECOND) == limit


@pytest.mark.slow
def test_tasks_that_never_end_fill_their_places_until_they_are_overdue(filled: MakeWorld) -> None:
    world = filled(9, max_concurrent_tasks=3, task_timeout=HOUR)
    world.kie.script.clear()
    world.kie.script.when(Stall())
    for _ in range(4):
        world.run(14 * MINUTE)
    assert len(arrivals(world)) == 1 + 3
    world.run(15 * MINUTE)
    assert len(arrivals(world)) == 1 + 6


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_nothing_is_bought_at_a_balance_below_what_is_to_be_kept(filled: MakeWorld, seed: int) -> None:
    world = filled(20, min_credits=50, kie=Settings(credits=105))
    stage, chance = Stage(world.clock), random.Random(seed)
    crews = iter([crew(world, chance, stage, actor) for actor in (0, 1)])
    world.crew = lambda: next(crews)
    stage.play(lambda: world.run(30 * MINUTE, owner="one"), lambda: world.run(30 * MINUTE, owner="two"))
    assert world.kie.balance == 45, "bought at 50, and at nothing less"
    assert len(arrivals(world)) == 1 + 11


@pytest.mark.parametrize("limit", [0, 1, 4])
def test_a_run_orders_no_more_than_it_may(filled: MakeWorld, limit: int) -> None:
    world = filled(9)
    for runs in (1, 2):
        world.crew = lambda: crew(world, random.Random(limit))
        assert world.run(30 * MINUTE, max_purchases=limit).purchases == limit
        assert len(arrivals(world)) == 1 + runs * limit


def test_per_day_0_buys_nothing_at_all(make_world: MakeWorld) -> None:
    world = make_world(per_day=0)
    world.add("a")
    assert world.run().states == {(State.MISSING, Reason.BUDGET): 1}
    assert not world.kie.book.creations


# -- Kie's own limits ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("code", [429, 430])
def test_a_rejection_for_the_rate_closes_the_gate_and_nothing_bursts_after(filled: MakeWorld, code: int) -> None:
    """The app spends most of the account's rate."""
    world = filled(20, kie=Settings(credits=10_000, creation_limit=4, limit_code=code))
    world.kie.crowd(3)
    assert world.run(HOUR).states == {(State.OK, None): 20}
    times = arrivals(world)
    rejected = [c.arrived_at for c in world.kie.book.creations if c.answer == str(code)]
    assert rejected
    for at in rejected:
        assert not [time for time in times if at < time < at + world.policy.purchase_window]
    assert most(times, world.policy.purchase_window) <= world.policy.purchase_limit
    assert any(isinstance(event, GateClosed) for event in world.events)


@pytest.mark.slow
def test_rejections_with_orders_still_on_their_way_count_in_the_window_too(filled: MakeWorld) -> None:
    world = filled(20, purchase_limit=6, kie=Settings(credits=10_000, creation_limit=3))
    world.crew = lambda: crew(world, random.Random(5))
    assert world.run(2 * HOUR).states == {(State.OK, None): 20}
    assert most(arrivals(world), 10 * SECOND) <= 6
    assert len(world.kie.book.purchases) == 20


@pytest.mark.parametrize("refusal", [NO_CREDITS, KEY_CAPPED])
def test_a_refusal_for_money_is_not_tried_again_soon(filled: MakeWorld, refusal: Any) -> None:
    world = filled(20)
    world.kie.script.when(refusal, operation="create")
    world.run(MINUTE)
    assert len(arrivals(world)) <= 1 + world.policy.purchase_limit
    before = len(arrivals(world))
    world.run(8 * MINUTE)
    assert len(arrivals(world)) == before


@pytest.mark.parametrize(
    ("answer", "heard"), [(LOST, False), (Break(Fault.HANG, done=True), False), (page(502, done=True), True)]
)
def test_an_order_without_an_answer_keeps_its_place_in_the_window_until_none_can_come(
    filled: MakeWorld, answer: Any, heard: bool
) -> None:
    world = filled(3, purchase_limit=1)
    world.kie.script.next("create", answer)
    world.run(5 * MINUTE)
    (lost,) = world.sql("SELECT over_at, deadline FROM reconciler_purchase WHERE outcome = 'unknown'")
    assert (lost["over_at"] < lost["deadline"]) is heard
    _, first, second, *_ = arrivals(world)
    longest = world.policy.send_within + world.policy.request_timeout + world.policy.purchase_window
    assert (second - first >= longest) is not heard
