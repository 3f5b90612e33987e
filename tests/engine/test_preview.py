"""The dry run: what would be done, found out by looking only."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.domain.actions import (
    Action,
    AskSong,
    AskTask,
    Buy,
    Fetch,
    GiveUp,
    ListStore,
    Measure,
    RowImage,
    StoredKey,
    SunoCover,
    TaskResult,
    Wait,
    Write,
)
from reconciler.domain.case import Case
from reconciler.domain.gate import Closure, GateName, GateView
from reconciler.domain.states import How, Reason, State
from reconciler.engine.effects import Eyes
from reconciler.engine.preview import Forecast, Subject, describe, forecasts
from reconciler.kie.simulated import Operation
from reconciler.testing.world import World
from tests.engine.conftest import MakeWorld, sweeping

MINUTE = timedelta(minutes=1)


@contextmanager
def looking(world: World) -> Iterator[tuple[list[Subject], Eyes, GateView]]:
    database = world.open("looker")
    try:
        with sweeping(world, MINUTE) as sweep:
            found = []
            for row in world.rows():
                held = database.leases.peek(row["id"])
                assert held.track is not None
                whole = database.leases.inline_image(row["id"])
                found.append(Subject(Case(held.track, held.memory, world.policy, held.now), whole))
            view = GateView(world.clock(), balance=1000, balance_at=world.clock())
            yield found, sweep._hands, view
    finally:
        database.close()


def look(world: World, *, offline: bool = False) -> dict[str, Forecast]:
    with looking(world) as (subjects, eyes, view):
        asked = None if offline else eyes
        return {each.case.track.id: each for each in forecasts(subjects, asked, view, lambda: False)}


def test_it_asks_what_is_free_until_the_next_thing_would_cost(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.kie.add_task("a" * 32, prompt="x", created_at=world.clock() - timedelta(hours=1))
    world.add("adopt", image_url="a" * 32)
    world.add("good", image_url=world.kie.add_file("/p/good.jpg", size=(160, 90)), resolution="160x90")
    world.add("song", task_id="b" * 32)
    found = look(world)
    assert isinstance(found["t000"].action, Buy)
    assert isinstance(found["song"].action, Buy)
    assert isinstance(found["adopt"].action, Fetch)
    assert isinstance(found["good"].action, Fetch)
    assert {name: each.price for name, each in found.items()} == {"t000": 5, "song": 5, "adopt": 0, "good": 0}
    assert all(each.is_work for each in found.values())
    assert not world.kie.book.creations
    assert {visit.operation for visit in world.kie.book.visits} >= {Operation.RECORD, Operation.SUNO_RECORD}
    assert {visit.method for visit in world.kie.book.visits} == {"GET"}
    assert world.sql("SELECT * FROM reconciler_memory") == []


def test_after_a_closure_ran_out_all_is_foretold_that_a_run_sends_one_by_one(make_world: MakeWorld) -> None:
    with looking(make_world(3)) as (subjects, eyes, view):
        over = Closure(GateName.RATE_LIMIT, view.now - 2 * MINUTE, view.now - MINUTE)
        found = list(forecasts(subjects, eyes, replace(view, closures=(over,)), lambda: False))
    assert [each.buys_at_once for each in found] == [True] * 3


def test_offline_nothing_is_asked(make_world: MakeWorld) -> None:
    world = make_world(2)
    found = look(world, offline=True)
    assert [type(each.action) for each in found.values()] == [ListStore, ListStore]
    assert not world.kie.book.visits


def test_more_tracks_than_looks_at_once_come_in_their_order(make_world: MakeWorld) -> None:
    world = make_world(30)
    assert list(look(world)) == [f"t{number:03}" for number in range(30)]


def test_once_it_is_over_nothing_more_is_asked_and_nothing_told_of_who_was_not_wholly_looked_at(
    make_world: MakeWorld,
) -> None:
    world = make_world(0)
    world.add("a", extended_prompt=" ".join(f"image_task_id: {digit * 32}" for digit in "abc"))
    with looking(world) as (subjects, eyes, view):
        assert list(forecasts(subjects, eyes, view, lambda: bool(world.kie.book.visits))) == []
    assert len(world.kie.book.visits) == 1


@pytest.mark.parametrize("is_asked", [True, False])
def test_where_it_is_over_before_it_began_nobody_is_told_of(make_world: MakeWorld, is_asked: bool) -> None:
    world = make_world(2)
    with looking(world) as (subjects, eyes, view):
        assert list(forecasts(subjects, eyes if is_asked else None, view, lambda: True)) == []
    assert not world.kie.book.visits


def test_what_is_good_or_left_to_others_is_no_work(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.run()
    world.add("young", age=MINUTE)
    world.add("not-ours", status="failed")
    found = look(world)
    assert {name: each.is_work for name, each in found.items()} == {"t000": False, "young": False, "not-ours": False}
    assert found["young"].standing.state is State.SETTLING


WHEN = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (Measure(RowImage("u")), "measure the picture"),
        (Fetch(RowImage("u")), "fetch and store the picture from the row"),
        (Fetch(StoredKey("k")), "fetch and store the picture from our store"),
        (Fetch(TaskResult("u", "a", How.ADOPTED)), "fetch and store the picture from an image task"),
        (Fetch(SunoCover("u", "b")), "fetch and store the picture from the music task"),
        (AskTask("a"), "ask image task a"),
        (AskSong("b"), "ask music task b"),
        (ListStore(), "look into the store"),
        (Buy("m", "p", "s", 6.5), "buy from m for 6.5 credits"),
        (Write(None, "2048x1152", None), "set resolution to 2048x1152"),
        (Write("u", "2048x1152", How.RESTORED), "write the stored picture (restored)"),
        (Write("u", None, None), "write the stored picture (interim)"),
        (GiveUp(Reason.NO_PROMPT), "nothing: given up, no_prompt"),
        (Wait(None), "nothing"),
        (Wait(WHEN), "wait until 2026-11-22 12:30:00Z"),
    ],
)
def test_actions_in_words(action: Action, words: str) -> None:
    assert describe(action) == words
