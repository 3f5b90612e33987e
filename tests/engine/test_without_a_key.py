"""Without a key, which only a run that buys nothing may be: what needs none is done, and Kie is left alone."""

import pytest

from reconciler.domain.states import How, Reason, State
from reconciler.kie.simulated import Stall, Succeed
from reconciler.testing.world import World
from tests.engine.conftest import MakeWorld

PAID, SONG = "b" * 32, "a" * 32


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """One track each for an image task, for a music task, for the picture it has, and with nothing."""
    world = make_world(1, per_day=0, asks_tasks=False, asks_songs=False)
    world.kie.add_task(PAID, prompt="adopted", created_at=world.clock(), behaviour=Succeed(width=160, height=90))
    world.add("adopt", image_url=PAID)
    world.add("song", task_id=SONG)
    world.add("rehost", image_url=world.kie.add_file("/p/dying.jpg", size=(160, 90)), resolution="160x90")
    return world


def asked(world: World) -> list[str]:
    return [visit.operation for visit in world.kie.book.visits if visit.operation != "file"]


def test_kie_is_not_asked_and_no_gate_is_closed(world: World) -> None:
    result = world.run()
    assert (asked(world), result.closures) == ([], {})
    assert result.resolved == {How.REHOSTED: 1}
    held = {(State.MISSING, Reason.UNAUTHORIZED): 2, (State.MISSING, Reason.BUDGET): 1, (State.OK, None): 1}
    assert result.states == held
    assert world.overview().tracks == held
    world.events.clear()
    assert world.run().states == held
    assert world.events == [], "nobody is looked at in vain"


def test_who_waited_for_a_key_goes_on_once_there_is_one(world: World) -> None:
    world.run()
    world.with_policy(asks_tasks=True, asks_songs=True)
    result = world.run()
    assert set(asked(world)) == {"record", "suno_record"}
    assert result.resolved == {How.ADOPTED: 1}
    assert (State.MISSING, Reason.UNAUTHORIZED) not in result.states


def test_a_key_for_songs_alone_asks_for_songs(world: World) -> None:
    world.run()
    world.with_policy(asks_songs=True)
    assert world.run().states[State.MISSING, Reason.UNAUTHORIZED] == 1
    assert set(asked(world)) == {"suno_record"}


def test_tasks_of_a_row_that_is_gone_are_not_asked_for(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.kie.script.clear()
    world.kie.script.when(Stall())
    world.run(world.policy.request_timeout)
    before = len(asked(world))
    world.sql("DELETE FROM tracks")
    world.with_policy(per_day=0, asks_tasks=False, asks_songs=False)
    assert world.run().states == {}
    assert len(asked(world)) == before
