"""A key that Kie refuses stops asking and buying; once it is set right, the next run goes on at once."""

from pathlib import Path

from reconciler.domain.states import Reason, State
from reconciler.kie.simulated import UNAUTHORIZED, Operation
from reconciler.testing.world import World


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
