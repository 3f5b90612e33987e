"""The result of a run is what its events amount to."""

from datetime import timedelta
from typing import Any

import pytest

from reconciler.domain.actions import ListStore, Write
from reconciler.domain.findings import Accepted, AnswerLost, Call, Listing
from reconciler.domain.gate import Closure, GateName
from reconciler.domain.states import How, Reason, State
from reconciler.engine.events import (
    CreditsRead,
    Event,
    Found,
    GateClosed,
    Mistake,
    Moved,
    Ordered,
    Overwritten,
    Recognised,
    Result,
    Unwritten,
    Wrote,
)
from reconciler.engine.tally import Tally
from reconciler.ports import Commit
from tests.domain.builders import NOW, purchase

WRITE = Write("https://covers.example/a.jpg", "2048x1152", How.GENERATED, key="a")


def told(*events: Event) -> Tally:
    heard: list[Event] = []
    tally = Tally(heard.append)
    for event in events:
        tally(event)
    assert heard == list(events), "every event is passed on"
    return tally


def test_orders_repeats_and_what_became_of_them() -> None:
    order, repeat = purchase("a"), purchase("b", repeat_of="a")
    result = told(
        Ordered(order),
        Ordered(repeat),
        Found("t1", order, AnswerLost(Call.TIMEOUT, "")),
        Found("t1", repeat, Accepted("task")),
        Found("t1", ListStore(), Listing(())),
    ).result
    assert (result.purchases, result.accepted, result.repeats, result.unknown) == (2, 1, 1, 1)
    assert result.credits_spent == repeat.price


@pytest.mark.parametrize(
    ("write", "outcome", "expected"),
    [
        (WRITE, Commit.COMMITTED, (1, 0, 0, {How.GENERATED: 1})),
        (Write(None, "2048x1152", None), Commit.COMMITTED, (1, 0, 0, {})),
        (WRITE, Commit.CONFLICT, (0, 1, 0, {})),
        (WRITE, Commit.LOCKED, (0, 1, 0, {})),
        (WRITE, Commit.REFUSED, (0, 0, 1, {})),
        (WRITE, Commit.LEASE_LOST, (0, 0, 1, {})),
        (WRITE, Commit.EXPIRED, (0, 0, 1, {})),
    ],
)
def test_writes(write: Write, outcome: Commit, expected: Any) -> None:
    result = told(Wrote("t1", write, outcome, timedelta(1))).result
    assert (result.writes, result.conflicts, result.failed_writes, dict(result.resolved)) == expected


def test_a_write_that_the_database_did_not_take_failed() -> None:
    result = told(Unwritten("t1")).result
    assert (result.writes, result.conflicts, result.failed_writes) == (0, 0, 1)


def test_a_track_counts_where_it_was_last_seen() -> None:
    tally = told(
        Moved("a", State.MISSING, Reason.DUE),
        Moved("b", State.MISSING, Reason.DUE),
        Moved("c", State.OK, None),
        Moved("a", State.OK, None),
        Moved("c", None, None),
        Moved("never-seen", None, None),
    )
    assert tally.touched() == {(State.OK, None): 1, (State.MISSING, Reason.DUE): 1}


def test_the_rest() -> None:
    closure = Closure(GateName.KEY, NOW)
    result = told(
        GateClosed(Closure(GateName.KEY, NOW - timedelta(1))),
        GateClosed(closure),
        Mistake("t1", ValueError()),
        Recognised("t1"),
        Overwritten("t1"),
        CreditsRead(3, NOW),
    ).result
    assert result.closures == {"key": closure}
    assert result.mistakes == 1
    assert result.resolved == {How.ALREADY_GOOD: 1}


@pytest.mark.parametrize(
    ("states", "stopped", "expected"),
    [
        ({}, False, True),
        ({(State.OK, None): 3, (State.SETTLING, None): 1}, False, True),
        ({(State.OK, None): 3}, True, False),
        ({(State.EXPIRING, None): 1}, False, False),
        ({(State.FAILED, Reason.NO_PROMPT): 1}, False, False),
    ],
)
def test_a_run_is_at_rest_when_every_track_is(states: Any, stopped: bool, expected: bool) -> None:
    assert Result(states=states, stopped=stopped).at_rest is expected


def test_too_few_credits_are_forgotten_once_more_were_read_and_what_kie_said_is_not() -> None:
    too_few = GateClosed(Closure(GateName.CREDITS, NOW, None, "10 credits left"))
    by_kie = GateClosed(Closure(GateName.CREDITS, NOW, NOW + timedelta(minutes=10), "Kie: none left"))
    read = CreditsRead(1000, NOW)
    assert told(read, too_few).result.closures == {"credits": too_few.closure}
    assert told(too_few, read).result.closures == {}
    assert told(by_kie, read).result.closures == {"credits": by_kie.closure}
