"""What the operator decides anew is found in every track, whatever it waited for until then."""

from contextlib import closing
from copy import copy
from datetime import timedelta
from typing import Any

import pytest

from reconciler.domain.catalogue import MODELS
from reconciler.domain.policy import Target
from reconciler.domain.states import Reason, State
from reconciler.engine.events import Moved
from reconciler.engine.sweep import Bounds, Sweep
from reconciler.kie.simulated import LOST, Succeed
from reconciler.testing.world import World
from tests.engine.conftest import MakeWorld

OTHER_MODEL = {"model": "seedream/4.5-text-to-image", "fallback_models": ()}
STRANGE_MODEL: dict[str, Any] = {"model": "nano-banana-2", "fallback_models": ()}


def world_that_waits_for_the_budget(make_world: MakeWorld) -> World:
    world = make_world(4, per_hour=2)
    assert world.run().states == {(State.OK, None): 2, (State.MISSING, Reason.BUDGET): 2}
    world.pass_time(timedelta(hours=2))
    return world


@pytest.mark.parametrize("decision", [STRANGE_MODEL, {"target": Target(128, 72)}])
def test_those_whom_somebody_who_decided_otherwise_held_back_are_found_by_an_audit(
    make_world: MakeWorld, decision: dict[str, Any]
) -> None:
    world = make_world(4, per_hour=2)
    job = copy(world)
    job.with_policy(**decision)
    with closing(world.open("daemon")) as daemon:
        for _ in range(2):
            sweep = Sweep(
                world.parts(daemon), Bounds(world.clock.steady() + timedelta(minutes=10)), world.events.append
            )
            states = sweep.run().states
            job.run(owner="job", waits=False)
            world.pass_time(timedelta(hours=2))
    assert states == {(State.OK, None): 4}


def test_where_they_stand_is_told_by_what_is_decided_here(make_world: MakeWorld) -> None:
    world = world_that_waits_for_the_budget(make_world)
    job = copy(world)
    job.with_policy(**STRANGE_MODEL, per_hour=0)
    job.run(owner="job", waits=False)
    strange = MODELS[STRANGE_MODEL["model"]].shape(world.policy.target)
    assert len(world.sql("SELECT 1 FROM reconciler_memory WHERE held = ?", strange)) == 2
    told = world.overview()
    assert told.tracks == {(State.OK, None): 2, (State.MISSING, Reason.DUE): 2}
    assert (told.for_audit, told.work_due, told.sweep_due == told.at) == (2, told.at, False)


@pytest.mark.parametrize("decision", [OTHER_MODEL, {"target": Target(320, 180)}, {"fallback_models": ()}, {}])
def test_tracks_held_back_go_on(make_world: MakeWorld, decision: dict[str, Any]) -> None:
    world = world_that_waits_for_the_budget(make_world)
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=320, height=180, run=timedelta(seconds=2)))
    world.with_policy(**decision)
    result = world.run(timedelta(hours=3), audit=False)
    assert result.purchases >= 2
    assert world.run(timedelta(hours=3)).states == {(State.OK, None): 4}


def test_good_pictures_are_judged_by_the_new_target(make_world: MakeWorld) -> None:
    world = make_world(2)
    world.run()
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=320, height=180, run=timedelta(seconds=2)))
    world.with_policy(target=Target(320, 180))
    assert world.run().states == {(State.OK, None): 2}
    assert {row["resolution"] for row in world.rows()} == {"320x180"}


def test_rows_follow_the_public_url_for_free(make_world: MakeWorld) -> None:
    world = make_world(2)
    world.run()
    world.with_policy(public_url="https://elsewhere.example/p")
    world.run()
    assert all(row["image_url"].startswith("https://elsewhere.example/p/tracks/") for row in world.rows())
    assert len(world.kie.book.purchases) == 2


def test_nothing_is_looked_at_again_while_nothing_changes(make_world: MakeWorld) -> None:
    world = make_world(3)
    world.run()
    world.events.clear()
    world.run()
    assert not [event for event in world.events if isinstance(event, Moved)]


def test_a_lost_answer_is_repeated_with_the_model_that_is_configured_now(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.kie.script.next("create", LOST)
    assert world.run().states == {(State.UNKNOWN, Reason.UNKNOWN_PURCHASE): 1}
    world.with_policy(**OTHER_MODEL)
    result = world.run(timedelta(hours=2))
    assert result.states == {(State.OK, None): 1}
    assert result.repeats == 1
    assert [purchase.model for purchase in world.kie.book.purchases][1:] == [OTHER_MODEL["model"]]
