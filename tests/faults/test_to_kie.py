"""Between us and Kie: an order whose answer is lost may have been carried out, a question may be asked again."""

from datetime import timedelta

import pytest

from reconciler.domain.findings import AnswerLost, Call, NothingMade, Succeeded, Trouble
from reconciler.domain.states import Reason, State
from reconciler.engine.events import Result
from reconciler.kie.simulated import Operation
from tests.faults.wired import ALL_OK, MINUTE, SILENT, SOON, TRACKS, Wired, cases, each
from tests.proxy import Fault

IN_HEAD, IN_BODY = 100, 170
A_MOMENT = timedelta(milliseconds=1)
REACHED = {
    Fault.RESET: 0,
    Fault.BLACKHOLE: 0,
    Fault.CUT: 1,
    Fault.RESET_WITHIN: 1,
    Fault.DRIP: 1,
}
"""How many orders for a track reach Kie, of one whose answer is lost by this."""
TWICE = (Fault.ANSWER_TWICE, Fault.ASK_TWICE)


def call_of(fault: Fault) -> Call:
    return Call.TIMEOUT if fault in SILENT else Call.CONNECT_ERROR


@cases(0, IN_HEAD, IN_BODY, without={Fault.REFUSE, *TWICE})
def test_an_order_whose_answer_is_lost_is_held_and_repeated_once(world: Wired, fault: Fault, after: int) -> None:
    assert ordered(world, fault, after).states == {(State.UNKNOWN, Reason.UNKNOWN_PURCHASE): len(TRACKS)}
    lost = [answer for answer in world.answers() if isinstance(answer, AnswerLost)]
    assert [answer.call for answer in lost] == [call_of(fault)] * len(TRACKS)
    world.run(world.policy.hold_unknown - 5 * MINUTE)
    assert world.bought() == each(REACHED[fault])
    assert world.recovered().repeats == len(TRACKS)
    assert world.bought() == each(REACHED[fault] + 1)


def test_an_order_that_cannot_be_sent_is_none(world: Wired) -> None:
    ordered(world, Fault.REFUSE)
    assert {answer.call for answer in world.answers() if isinstance(answer, NothingMade)} == {Call.CONNECT_ERROR}
    assert not any(isinstance(answer, AnswerLost) for answer in world.answers())
    assert not world.kie.book.creations
    assert world.recovered().repeats == 0
    assert world.bought() == each(1)


@pytest.mark.parametrize("fault", TWICE)
def test_an_answer_is_taken_for_that_to_its_own_order(world: Wired, fault: Fault) -> None:
    """Where the network orders once more, what Kie makes of that is out of our hands: it is no order of ours."""
    assert ordered(world, fault).states == ALL_OK
    assert len(world.answers()) == 3 * len(TRACKS), "nothing was tried again"
    assert world.recovered().purchases == 0
    assert world.bought() == each(2 if fault is Fault.ASK_TWICE else 1)


def ordered(world: Wired, fault: Fault, after: int = 0) -> Result:
    """Two minutes from the first orders on."""
    world.run(A_MOMENT, max_purchases=0)
    world.events.clear()
    return befallen(world, fault, after, 2 * MINUTE)


def befallen(world: Wired, fault: Fault, after: int, length: timedelta) -> Result:
    if fault in SILENT:
        world.with_policy(request_timeout=SOON)
    world.kie_network.befall(fault, after=after)
    result = world.run(length)
    world.kie_network.heal()
    return result


@cases(IN_HEAD, IN_BODY)
def test_a_question_is_asked_again(world: Wired, fault: Fault, after: int) -> None:
    world.run(timedelta(seconds=1))
    world.events.clear()
    result = befallen(world, fault, after, timedelta(seconds=40))
    if fault in TWICE:
        assert result.states == ALL_OK
    else:
        assert {type(answer) for answer in world.answers()} == {Trouble}
        assert {answer.call for answer in world.answers() if isinstance(answer, Trouble)} == {call_of(fault)}
        assert result.states == {(State.AWAITING, Reason.IN_FLIGHT): len(TRACKS)}
    assert world.recovered().purchases == 0
    assert world.bought() == each(1)
    assert len([answer for answer in world.answers() if isinstance(answer, Succeeded)]) == len(TRACKS)


def test_without_a_fault_connections_are_used_again(world: Wired) -> None:
    world.recovered()
    book = world.kie.book
    asked = len(book.creations) + len(book.visits) - len(book.visits_of(Operation.FILE))
    assert world.kie_network.connections < asked / 2
