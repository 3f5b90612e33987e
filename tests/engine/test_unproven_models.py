"""A model of which no result was good yet: what was paid for in vain is counted, and stops it before much is spent."""

from contextlib import closing
from datetime import timedelta

import pytest

from reconciler.domain.catalogue import offers
from reconciler.domain.gate import GateName, Proof, closed
from reconciler.domain.policy import Policy, Target
from reconciler.domain.states import Reason, State
from reconciler.kie.simulated import Operation, ResultForm, Rule, Succeed, page
from reconciler.testing.world import World
from tests.engine.conftest import MakeWorld

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def proof(world: World) -> Proof:
    with closing(world.open()) as database:
        return database.gate.view().proofs[offers(world.policy)[0][0]]


def shut(world: World) -> frozenset[GateName]:
    with closing(world.open()) as database:
        return closed(database.gate.view(), offers(world.policy), world.policy)


@pytest.mark.parametrize("form", [ResultForm.EMPTY_LIST, ResultForm.NULL])
def test_successes_without_a_picture_are_noticed_after_three(make_world: MakeWorld, form: ResultForm) -> None:
    world = make_world(6)
    world.kie.script.clear()
    world.kie.script.when(Succeed(run=timedelta(seconds=2), result=form))
    assert world.run(DAY).states == {(State.MISSING, Reason.MODEL_UNPROVEN): 6}
    assert len(world.kie.book.purchases) == 3
    assert (proof(world), shut(world)) == (Proof(refused=3), frozenset({GateName.MODEL_UNPROVEN}))


BAD_GATEWAY = Rule(operation=Operation.FILE, behaviour=page(502))


def unfetchable(make_world: MakeWorld, *, barred: bool) -> World:
    """Kie's file host is none of ours, or answers with errors."""
    world = make_world(6)
    if barred:
        world.with_policy(file_hosts=("kie.ai",))
    else:
        world.kie.script.add(BAD_GATEWAY)
    return world


@pytest.mark.parametrize(("barred", "why"), [(True, Reason.HOST_REFUSED), (False, Reason.DOWNLOAD_FAILED)])
def test_results_that_cannot_be_fetched_for_seven_days_are_noticed(
    make_world: MakeWorld, barred: bool, why: Reason
) -> None:
    world = unfetchable(make_world, barred=barred)
    assert world.run(8 * DAY).states == {(State.FAILED, why): 3, (State.MISSING, Reason.MODEL_UNPROVEN): 3}
    assert len(world.kie.book.purchases) == 3
    assert (proof(world), shut(world)) == (Proof(refused=3), frozenset({GateName.MODEL_UNPROVEN}))
    with closing(world.open()) as database:
        database.gate.grant(offers(world.policy)[0][0])
    world.run(DAY)
    assert len(world.kie.book.purchases) == 4, "as many as an operator lets through"


def test_paid_results_are_fetched_once_their_host_is_one_of_file_hosts(make_world: MakeWorld) -> None:
    world = unfetchable(make_world, barred=True)
    world.run(8 * DAY)
    world.with_policy(file_hosts=Policy().file_hosts)
    assert world.run(DAY).states == {(State.OK, None): 6}
    assert len(world.kie.book.purchases) == 6
    assert (proof(world), shut(world)) == (Proof(proven=True), frozenset())


def test_a_host_that_stays_barred_is_not_asked_more_often_for_a_change_of_others(make_world: MakeWorld) -> None:
    world = unfetchable(make_world, barred=True)
    world.run(8 * DAY)
    world.with_policy(file_hosts=("kie.ai", "suno.ai"))
    world.run(8 * DAY)
    world.run(DAY)
    assert proof(world) == Proof(refused=3)
    assert len(world.kie.book.purchases) == 3


def test_a_result_is_evidence_for_the_target_that_judged_it(make_world: MakeWorld) -> None:
    small, large = Target(160, 90), Target(320, 180)
    world = make_world(3)
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=160, height=90, run=timedelta(minutes=10)))
    assert world.run(timedelta(minutes=1)).purchases == 3
    world.with_policy(target=large)
    world.pass_time(timedelta(minutes=15))
    world.run(timedelta(minutes=1))
    assert proof(world).refused == 3
    world.with_policy(target=small)
    assert proof(world) == Proof(), "nothing of it was judged by this target"


def made_anew_while_tasks_run(world: World) -> None:
    """The app makes the songs again after a picture for each was ordered."""
    world.with_policy(grace=timedelta(0))
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=160, height=90, run=timedelta(minutes=10)))
    world.sql("UPDATE tracks SET task_id = 'one of ' || id")
    assert world.run(timedelta(minutes=1)).purchases == 3
    world.sql("UPDATE tracks SET task_id = 'another of ' || id")


def test_the_pictures_of_songs_that_were_made_anew_are_evidence_too(make_world: MakeWorld) -> None:
    world = make_world(3)
    made_anew_while_tasks_run(world)
    assert world.run(DAY).states == {(State.OK, None): 3}
    assert len(world.kie.book.purchases) == 6
    assert proof(world) == Proof(proven=True)


def test_those_that_cannot_be_had_at_once_are_tried_again_while_the_gate_waits_for_them(make_world: MakeWorld) -> None:
    world = make_world(3)
    made_anew_while_tasks_run(world)
    world.kie.script.add(Rule(operation=Operation.FILE, behaviour=page(502), times=3))
    assert world.run(DAY).states == {(State.OK, None): 3}


def test_those_that_can_never_be_had_are_noticed(make_world: MakeWorld) -> None:
    world = make_world(3)
    made_anew_while_tasks_run(world)
    world.kie.script.add(BAD_GATEWAY)
    assert world.run(8 * DAY).states == {(State.MISSING, Reason.MODEL_UNPROVEN): 3}
    assert (proof(world), shut(world)) == (Proof(refused=3), frozenset({GateName.MODEL_UNPROVEN}))


def test_what_was_ordered_for_a_larger_target_proves_nothing_of_it(make_world: MakeWorld) -> None:
    small, large = Target(160, 90), Target(320, 180)
    world = make_world(3, target=large)
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=160, height=90, run=timedelta(minutes=10)))
    assert world.run(timedelta(minutes=1)).purchases == 3
    world.with_policy(target=small)
    world.pass_time(timedelta(minutes=15))
    assert world.run(timedelta(minutes=1)).states == {(State.OK, None): 3}
    world.add("another")
    assert world.run(timedelta(hours=1)).states == {(State.OK, None): 4}
    assert proof(world) == Proof(proven=True)
    world.with_policy(target=large)
    assert not proof(world).proven
