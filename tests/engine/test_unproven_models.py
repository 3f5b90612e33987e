"""A model of which no result was good yet: what was paid for in vain is counted, and stops it before much is spent."""

from contextlib import closing
from datetime import timedelta

import pytest

from reconciler.domain.gate import GateName, Proof, closed
from reconciler.domain.models import shapes
from reconciler.domain.states import Reason, State
from reconciler.kie.simulated import ResultForm, Succeed
from reconciler.testing.world import World
from tests.engine.conftest import MakeWorld

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def proof(world: World) -> Proof:
    with closing(world.open()) as database:
        return database.gate.view().proofs[shapes(world.policy)[0][0]]


def shut(world: World) -> frozenset[GateName]:
    with closing(world.open()) as database:
        return closed(database.gate.view(), shapes(world.policy), world.policy)


@pytest.mark.parametrize("form", [ResultForm.EMPTY_LIST, ResultForm.NULL])
def test_successes_without_a_picture_are_noticed_after_three(make_world: MakeWorld, form: ResultForm) -> None:
    world = make_world(6)
    world.kie.script.clear()
    world.kie.script.when(Succeed(run=timedelta(seconds=2), result=form))
    assert world.run(DAY).states == {(State.MISSING, Reason.MODEL_UNPROVEN): 6}
    assert len(world.kie.book.purchases) == 3
    assert (proof(world), shut(world)) == (Proof(refused=3), frozenset({GateName.MODEL_UNPROVEN}))
