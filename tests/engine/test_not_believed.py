"""While the provider fails, its "not found" is one failure more and no absence."""

from datetime import timedelta

import pytest

from reconciler.domain.findings import Trouble
from reconciler.domain.states import State
from reconciler.engine.events import Found
from reconciler.kie.simulated import MAINTENANCE, NotFound, Operation, Rule, page
from reconciler.ports import DatabaseLocked
from tests.engine.conftest import MakeWorld, sweeping
from tests.engine.test_sweep import Around

NOBODYS = "c" * 32
OUTAGE = timedelta(hours=2)


@pytest.mark.slow
def test_a_task_is_not_gone_because_a_failing_provider_does_not_find_it(make_world: MakeWorld) -> None:
    world = make_world()
    for number in range(6):
        world.add(f"lost{number}", image_url=f"{number}" * 32)
    world.add("named", image_url=NOBODYS)
    ends = world.clock() + OUTAGE
    world.kie.script.add(*(Rule(behaviour=page(502), task_id=f"{number}" * 32, until=ends) for number in range(6)))
    world.kie.script.add(Rule(behaviour=MAINTENANCE, operation=Operation.CREDIT, until=ends))

    during = world.run(OUTAGE - timedelta(minutes=1))
    assert during.purchases == 0
    assert all(state is State.AWAITING for state, _ in during.states)

    world.pass_time(timedelta(hours=8))
    assert world.run(timedelta(hours=12)).states == {(State.OK, None): 7}


def test_nor_is_it_gone_where_nobody_can_tell_whether_the_provider_fails(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.run(timedelta(seconds=1))
    world.sql("DELETE FROM tracks")
    world.pass_time(timedelta(minutes=1))
    world.kie.script.next(Operation.RECORD, NotFound())
    world.events.clear()

    def locked() -> None:
        raise DatabaseLocked("locked", "app.db", "Try again")

    with sweeping(world, timedelta(minutes=1), Around("gate", "view", locked)) as sweep:
        sweep._steps.start(["t000"])
        done = sweep._crew.finished(timedelta())
        assert done is not None
        with pytest.raises(DatabaseLocked):
            sweep._finish([done])
    (found,) = (event for event in world.events if isinstance(event, Found))
    assert isinstance(found.finding, Trouble)
