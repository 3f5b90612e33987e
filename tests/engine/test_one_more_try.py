"""A request that Kie called wrong is tried once when an operator says so, and its answer decides."""

from datetime import timedelta

import pytest

from reconciler.database import Database
from reconciler.domain.findings import Accepted, AnswerLost, Call, NothingMade
from reconciler.domain.findings import Refusal as Refused
from reconciler.domain.gate import Closure, GateName
from reconciler.domain.states import Reason, State
from reconciler.engine.events import Event, GateClosed
from reconciler.engine.purse import Purse
from reconciler.kie.simulated import Refuse
from reconciler.testing.world import World
from tests.engine.conftest import MakeWorld, slow_crew
from tests.engine.test_purse import ordered, shape

HOUR = timedelta(hours=1)
WRONG = Refuse(422, "The model is not published")
REJECTED = NothingMade(Refused.REQUEST, Call.REJECTED, "no such field")


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world(6)


def closed(database: Database) -> set[str | None]:
    """The shapes whose request is called wrong and that are not being tried."""
    return {c.shape for c in database.gate.view().closures if c.name is GateName.REQUEST_REJECTED}


@pytest.fixture
def purse(world: World, database: Database) -> Purse:
    """Two shapes are called wrong."""
    told: list[Event] = []
    purse = Purse(database.gate, world.policy, world.clock, told.append, None)
    for name in (shape(world)[0], "other"):
        purse.heard(REJECTED, ordered(world, name))
    assert sum(isinstance(event, GateClosed) for event in told) == 2
    return purse


def test_an_order_that_kie_takes_opens_its_own_shape(world: World, database: Database, purse: Purse) -> None:
    purse.heard(Accepted("task"), ordered(world))
    assert closed(database) == {"other"}
    assert purse.refusal(*shape(world)) != purse.refusal("other", 1), "it is known at once"


def test_a_key_that_is_refused_stays_so_whatever_kie_takes(world: World, database: Database, purse: Purse) -> None:
    database.gate.close(Closure(GateName.KEY, world.clock(), None, "401"))
    purse.heard(Accepted("task"), ordered(world))
    assert [c.name for c in database.gate.view().closures if c.shape is None] == [GateName.KEY]


@pytest.mark.parametrize(
    "finding", [REJECTED, AnswerLost(Call.TIMEOUT, "x"), NothingMade(Refused.CONTENT, Call.REJECTED, "x")]
)
def test_every_other_answer_leaves_it_closed(
    world: World, database: Database, purse: Purse, finding: AnswerLost | NothingMade
) -> None:
    purse.heard(finding, ordered(world))
    assert closed(database) == {shape(world)[0], "other"}


@pytest.mark.parametrize("refused", [Refused.CREDITS, Refused.RATE, Refused.OUTAGE, Refused.KEY, Refused.STOPPED])
def test_an_answer_that_says_nothing_of_the_request_leaves_the_try_to_the_next(
    world: World, database: Database, purse: Purse, refused: Refused
) -> None:
    purse.heard(NothingMade(refused, Call.REJECTED, "x"), ordered(world))
    (tried,) = (c.shape for c in database.gate.view().closures if c.trial)
    assert tried == shape(world)[0]
    purse.heard(Accepted("task"), ordered(world))
    assert closed(database) == {"other"}


def test_where_nothing_is_closed_nothing_is_opened(
    world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(database.gate), "order_taken", None)
    Purse(database.gate, world.policy, world.clock, lambda _: None, None).heard(Accepted("task"), ordered(world))


def try_once(world: World) -> None:
    database = world.open("operator")
    try:
        database.gate.try_once(shape(world)[0])
    finally:
        database.close()


@pytest.mark.slow
def test_one_order_goes_out_and_all_the_others_once_kie_took_it(world: World) -> None:
    world.with_policy(fallback_models=())
    world.kie.script.next("create", WRONG)
    world.run(timedelta(seconds=5), only=("t000",))
    assert world.run(HOUR).states == {(State.MISSING, Reason.REQUEST_REJECTED): 6}
    assert len(world.kie.book.creations) == 1
    try_once(world)
    crew = slow_crew(world)
    assert world.run(HOUR, audit=False).states == {(State.OK, None): 6}
    assert len(world.kie.book.creations) == 7
    first, second = world.kie.book.purchases[:2]
    assert second.arrived_at > first.arrived_at, "nobody else before the first was answered"
    assert crew.idle <= 1


def test_a_try_that_one_track_alone_waited_for_opens_the_model(world: World, database: Database) -> None:
    world.with_policy(fallback_models=())
    world.kie.script.next("create", WRONG)
    only = ("t000",)
    assert world.run(HOUR, only=only, audit=False).states == {(State.MISSING, Reason.REQUEST_REJECTED): 1}
    try_once(world)
    slow_crew(world)
    assert world.run(HOUR, only=only, audit=False).states == {(State.OK, None): 1}
    assert not [closure for closure in database.gate.view().closures if closure.shape == shape(world)[0]]


@pytest.mark.slow
def test_one_order_goes_out_and_no_other_while_kie_calls_it_wrong(world: World) -> None:
    world.with_policy(fallback_models=())
    world.kie.script.when(WRONG, operation="create")
    world.run(HOUR)
    for _ in range(2):
        world.pass_time(7 * HOUR)
        before = len(world.kie.book.creations)
        assert world.run(HOUR).purchases == 0
        try_once(world)
        slow_crew(world)
        world.run(HOUR)
        assert len(world.kie.book.creations) == before + 1
    assert not world.kie.book.purchases
