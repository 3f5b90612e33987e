"""What steps do to the gate is reckoned without asking it, and is what it would say."""

from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.domain.gate import GateView
from reconciler.domain.model import Memory
from reconciler.domain.states import State
from reconciler.engine.purse import Purse
from reconciler.kie.simulated import Break, Fail
from reconciler.testing.inline import InlineCrew
from reconciler.testing.world import World
from tests.engine.conftest import MakeWorld

HOUR = timedelta(hours=1)


def reckoned(world: World, patch: pytest.MonkeyPatch) -> list[GateView]:
    """Views that were reckoned, as a run goes on; each is compared with what the gate says then."""
    world.crew = lambda: InlineCrew(world.clock, size=1)
    views: list[GateView] = []
    learned = Purse.learned

    def compared(purse: Purse, before: Memory, after: Memory) -> None:
        known = purse._view
        learned(purse, before, after)
        if purse._view is not None and purse._view is not known:
            said = purse._gate.view()
            assert replace(purse._view, now=said.now) == said
            views.append(purse._view)

    patch.setattr(Purse, "learned", compared)
    return views


def test_answers_ends_and_good_results_of_a_shape_that_is_proven(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(5)
    world.run(only=("t000",))
    views = reckoned(world, monkeypatch)
    assert world.run(HOUR).states == {(State.OK, None): 5}
    assert len(views) >= 8, "an answer and an end of each"


def test_where_tasks_fail_and_answers_are_lost(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(6)
    world.run(only=("t000",))
    world.kie.script.when(Fail(code="500", message="Internal Error"), prompt_contains="t001", times=1)
    world.kie.script.when(Break(done=True), operation="create", prompt_contains="t002", times=1)
    views = reckoned(world, monkeypatch)
    assert world.run(9 * HOUR).states == {(State.OK, None): 6}
    assert len(world.kie.book.creations) == 8
    assert len(views) >= 10
