"""A key that Kie refuses stops asking and buying, that for songs nothing but songs; once it is set right, the next run
goes on at once."""

from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.domain.states import Reason, State
from reconciler.engine.events import BreakerMoved, CreditsRead
from reconciler.kie.simulated import KEY_CAPPED, NO_CREDITS, TOO_FREQUENT, UNAUTHORIZED, Operation, Refuse, Rule
from reconciler.testing.world import World

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def test_the_next_run_after_the_key_was_set_right_does_everything(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add("buy")
    world.kie.add_task("b" * 32, prompt="adopted", created_at=world.clock())
    world.add("adopt", image_url="b" * 32)
    world.kie.script.when(UNAUTHORIZED)

    refused = world.run()

    assert refused.purchases == 0
    assert refused.states[State.MISSING, Reason.UNAUTHORIZED] == 1
    assert refused.closures["key"].detail.startswith("Kie refuses the key")
    asked = len(world.kie.book.visits)
    again = world.run()
    assert again.states == refused.states
    assert [visit.operation for visit in world.kie.book.visits[asked:]] == [Operation.CREDIT]

    world.kie.script.clear()
    assert world.run().states == {(State.OK, None): 2}


def test_a_key_whose_order_this_run_saw_refused_is_left_to_the_next_run(tmp_path: Path) -> None:
    """Tried at once it is refused once more, and left alone for twice as long."""
    world = World(tmp_path)
    world.add("proof")
    assert world.run().states == {(State.OK, None): 1}
    world.add("buy")
    ends = world.clock.true() + 5 * SECOND
    world.kie.script.add(Rule(operation=Operation.CREATE, behaviour=UNAUTHORIZED, until=ends))
    assert world.run(20 * SECOND).states[State.MISSING, Reason.UNAUTHORIZED] == 1
    world.pass_time(MINUTE)
    assert world.run().states == {(State.OK, None): 2}


def test_who_is_due_is_not_looked_at_in_vain_while_the_key_is_tried(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.kie.add_task("b" * 32, prompt="adopted", created_at=world.clock())
    world.add("adopt", image_url="b" * 32)
    world.run(SECOND)
    world.kie.script.when(UNAUTHORIZED)
    world.add("buy")
    assert world.run(SECOND, only=("buy",)).closures
    world.kie.script.clear()
    world.pass_time(MINUTE)
    world.events.clear()
    assert world.run().states == {(State.OK, None): 2}
    assert isinstance(world.events[0], CreditsRead), "before anybody was looked at"


@pytest.mark.parametrize("refusal", [UNAUTHORIZED, NO_CREDITS, KEY_CAPPED, TOO_FREQUENT])
def test_another_key_for_songs_that_is_refused_stops_neither_orders_nor_polls(tmp_path: Path, refusal: Refuse) -> None:
    world = World(tmp_path)
    world.suno_api_key = "music-account-key"
    for number in range(10):
        world.add(f"song{number}", task_id=f"{number:032}")
    world.add("buy")
    world.kie.add_task("b" * 32, prompt="adopted", created_at=world.clock())
    world.add("adopt", image_url="b" * 32)
    world.kie.script.when(refusal, operation=Operation.SUNO_RECORD)

    ran = world.run()

    assert (ran.purchases, ran.closures) == (1, {})
    assert ran.states == {(State.OK, None): 2, (State.BACKING_OFF, Reason.PROVIDER_FAILED): 10}
    assert not any(isinstance(event, BreakerMoved) for event in world.events)
