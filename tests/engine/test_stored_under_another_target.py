"""When the target changes, what lies in the store is fitted anew and nothing is bought."""

from pathlib import Path

from reconciler.domain.policy import Fit, Target
from reconciler.domain.states import State
from reconciler.kie.simulated import Settings, TwoK
from reconciler.testing.world import World


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
