"""When the target changes, what was paid for is judged anew, in the store and at Kie, and nothing is bought for what
fits now."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.domain.policy import Fit, Target
from reconciler.domain.states import Reason, State
from reconciler.kie.simulated import Settings, Succeed, TwoK
from reconciler.testing.world import World
from tests.engine.conftest import MakeWorld

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
SMALL, LARGE = Target(160, 90), Target(320, 180)


def verdicts(world: World) -> set[str]:
    return {row["verdict"] for row in world.sql("SELECT verdict FROM reconciler_purchase")}


def test_a_larger_picture_kept_as_it_came_is_fitted_when_exact_is_wanted(tmp_path: Path) -> None:
    world = World(tmp_path, kie=Settings(credits=1000, two_k=TwoK.MAKER))
    world.with_policy(target=Target(fit=Fit.KEEP))
    world.add("kept")
    assert world.run().states == {(State.OK, None): 1}
    assert world.row("kept")["resolution"] == "2560x1440"
    before = world.row("kept")["image_url"]

    world.with_policy(target=Target(fit=Fit.EXACT))
    again = world.run()

    assert again.states == {(State.OK, None): 1}
    assert again.purchases == 0
    assert world.row("kept")["resolution"] == "2048x1152"
    assert world.row("kept")["image_url"] != before


def test_results_that_were_too_small_are_fetched_once_they_fit(make_world: MakeWorld) -> None:
    world = make_world(3, target=LARGE)
    assert world.run(DAY).states == {(State.MISSING, Reason.MODEL_UNPROVEN): 3}
    assert verdicts(world) == {"rejected"}
    world.with_policy(target=SMALL)
    again = world.run()
    assert again.states == {(State.OK, None): 3}
    assert again.purchases == 0
    assert verdicts(world) == {"good"}


def test_so_are_those_of_a_track_that_may_buy_no_more(make_world: MakeWorld) -> None:
    world = make_world(1, target=LARGE, per_track=1)
    assert world.run(DAY).states == {(State.FAILED, Reason.IMAGE_REJECTED): 1}
    world.with_policy(target=SMALL)
    assert world.run().states == {(State.OK, None): 1}
    assert len(world.kie.book.purchases) == 1


def test_results_of_another_shape_are_fetched_and_prove_their_model_once_that_is_allowed(
    make_world: MakeWorld,
) -> None:
    world = make_world(3)
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=168, height=90, run=timedelta(seconds=2)))
    assert world.run(DAY).states == {(State.MISSING, Reason.MODEL_UNPROVEN): 3}
    world.with_policy(target=Target(160, 90, aspect_tolerance=0.1))
    assert world.run().states == {(State.OK, None): 3}
    assert len(world.kie.book.purchases) == 3
    world.add("another")
    assert world.run().states == {(State.OK, None): 4}


def test_a_target_set_wrong_for_a_while_costs_nothing_that_was_paid_for_before(make_world: MakeWorld) -> None:
    world = make_world(3, per_track=1)
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=160, height=90, run=10 * MINUTE))
    world.run(MINUTE)
    world.with_policy(target=LARGE)
    world.pass_time(15 * MINUTE)
    world.run(MINUTE)
    assert verdicts(world) == {"rejected"}
    world.with_policy(target=SMALL)
    assert world.run(DAY).states == {(State.OK, None): 3}
    assert len(world.kie.book.purchases) == 3
    assert verdicts(world) == {"good"}


@pytest.mark.parametrize("target", [LARGE, Target(160, 120)])
def test_what_fits_no_target_is_not_fetched_again(make_world: MakeWorld, target: Any) -> None:
    world = make_world(1, target=LARGE, per_track=1)
    world.run(DAY)
    before = len(world.kie.book.visits_of("file"))
    world.with_policy(target=target, stale_after=2 * DAY)
    assert world.run(DAY).states == {(State.FAILED, Reason.IMAGE_REJECTED): 1}
    assert len(world.kie.book.visits_of("file")) == before
