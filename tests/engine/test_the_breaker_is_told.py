"""When the breaker opens and closes is told, and orders of which nothing came are no purchases."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from reconciler.domain.breaker import Stage
from reconciler.domain.catalogue import offers
from reconciler.domain.gate import GateName, closed
from reconciler.domain.states import Reason, State
from reconciler.engine.events import BreakerMoved
from reconciler.kie.simulated import (
    DROPPED,
    MAINTENANCE,
    SERVER_ERROR,
    UNAUTHORIZED,
    Operation,
    Refuse,
    Reply,
    page,
)
from reconciler.testing.world import World


@pytest.mark.slow
def test_an_outage_is_told_with_when_it_is_tried_again_and_its_end(make_world: Callable[..., World]) -> None:
    world = make_world(8)
    world.run(timedelta(seconds=30), only=("t000",))
    world.kie.script.when(DROPPED)
    world.run(timedelta(minutes=10))
    opened = [event for event in world.events if isinstance(event, BreakerMoved)]
    assert [event.breaker.stage for event in opened][:1] == [Stage.OPEN]
    assert opened[0].breaker.retry_at is not None
    world.kie.script.clear()
    world.run(timedelta(hours=3))
    stages = [event.breaker.stage for event in world.events if isinstance(event, BreakerMoved)]
    assert stages[-3:] == [Stage.PROBING, Stage.RAMPING, Stage.CLOSED]


def balance(data: object) -> Reply:
    return Reply(200, json.dumps({"code": 200, "msg": "success", "data": data}).encode())


@pytest.mark.parametrize(
    "answer",
    [
        *(DROPPED, page(502), page(403), page(404), page(200), Reply(200, b""), MAINTENANCE),
        *(balance(None), balance("12.5")),
    ],
)
def test_where_kie_never_answered_the_gate_is_told_as_closed_and_credits_are_not_said_to_be_lacking(
    make_world: Callable[..., World], answer: Refuse | Reply
) -> None:
    world = make_world(2)
    world.kie.script.when(answer)
    world.run(timedelta(minutes=30))
    seen = world.overview()
    assert seen.tracks == {(State.MISSING, Reason.GATE_CLOSED): 2}
    assert closed(seen.gate, offers(world.policy), world.policy) == {GateName.BREAKER}
    assert world.kie.book.creations == ()


def test_orders_that_lead_to_a_page_close_the_breaker_and_no_model(make_world: Callable[..., World]) -> None:
    """The balance is known, and then kie.base_url is set wrong: all goes on by itself once it is set right."""
    world = make_world(8)
    world.run(timedelta(seconds=30), only=("t000",))
    world.kie.script.when(page(404))
    world.run(timedelta(minutes=10))
    seen = world.overview()
    assert closed(seen.gate, offers(world.policy), world.policy) == {GateName.BREAKER}
    assert seen.gate.closures == ()
    assert len(world.kie.book.purchases) == 1
    world.kie.script.clear()
    world.run(timedelta(hours=12))
    assert world.overview().tracks == {(State.OK, None): 8}
    assert len(world.kie.book.purchases) == 8


@pytest.mark.parametrize(("answer", "shut"), [(UNAUTHORIZED, GateName.KEY), (SERVER_ERROR, GateName.BREAKER)])
def test_who_asks_for_songs_alone_hears_what_is_wrong_for_all(
    make_world: Callable[..., World], answer: Refuse, shut: GateName
) -> None:
    world = make_world()
    for number in range(8):
        world.add(f"song{number}", task_id=f"{number:032}")
    world.kie.script.when(answer, operation=Operation.SUNO_RECORD)
    world.run(timedelta(minutes=1))
    assert {visit.operation for visit in world.kie.book.visits} <= {Operation.CREDIT, Operation.SUNO_RECORD}
    assert closed(world.overview().gate, offers(world.policy), world.policy) == {shut}
