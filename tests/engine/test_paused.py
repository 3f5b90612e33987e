"""A pause stops purchases and writes to rows, whenever it comes; asking, downloading and storing go on."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from reconciler.domain.states import How, Reason, State
from reconciler.engine.events import Moved, Wrote
from reconciler.kie.simulated import Succeed
from reconciler.testing.world import World
from tests.engine.conftest import MakeWorld, leased, sweeping
from tests.engine.test_sweep import Around, each

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
HELD = {(State.MISSING, Reason.PAUSED): 1}


def say(world: World, *, paused: bool) -> None:
    """As an operator, from another process."""
    database = world.open("operator")
    try:
        assert database.gate.pause(paused=paused)
    finally:
        database.close()


def before_the_write(act: Callable[[], None]) -> Around:
    """Does it once, between the look and the first commit that writes a row."""
    done = False

    def once(lease: Any, change: Any, row: Any = None) -> None:
        nonlocal done
        if row is not None and not done:
            done = True
            act()

    return Around("leases", "commit_all", each(once))


def wrote(world: World) -> list[Wrote]:
    return [event for event in world.events if isinstance(event, Wrote)]


def test_a_pause_between_look_and_write_keeps_the_picture_for_later(make_world: MakeWorld) -> None:
    world = make_world(1)
    before = world.row("t000")
    result = world.run(HOUR, wrap=before_the_write(lambda: say(world, paused=True)))
    assert result.states == HELD
    assert (result.purchases, result.writes, result.conflicts) == (1, 0, 0)
    assert wrote(world) == []
    assert world.row("t000") == before
    assert leased(world) == []
    moved = [(event.state, event.reason) for event in world.events if isinstance(event, Moved)]
    assert moved[-1] == (State.MISSING, Reason.PAUSED)


def test_what_was_kept_is_written_once_the_pause_ends_without_buying_or_fetching_again(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.run(HOUR, wrap=before_the_write(lambda: say(world, paused=True)))
    assert world.run(HOUR).states == HELD, "it goes on waiting"
    visits = len(world.kie.book.visits)
    say(world, paused=False)
    result = world.run(HOUR)
    assert result.states == {(State.OK, None): 1}
    assert result.resolved == {How.GENERATED: 1}
    assert len(world.kie.book.purchases) == 1
    assert len(world.kie.book.visits) == visits
    assert world.picture("t000") is not None


def test_a_picture_is_not_put_back_during_a_pause(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.run()
    url = world.row("t000")["image_url"]
    world.sql("UPDATE tracks SET image_url = NULL")
    assert world.run(MINUTE, wrap=before_the_write(lambda: say(world, paused=True))).states == HELD
    assert world.row("t000")["image_url"] is None
    say(world, paused=False)
    assert world.run(MINUTE).resolved == {How.RESTORED: 1}
    assert world.row("t000")["image_url"] == url


def test_results_are_asked_for_fetched_and_stored_during_a_pause(make_world: MakeWorld) -> None:
    world = make_world()
    task = "a" * 32
    world.kie.add_task(task, prompt="p", behaviour=Succeed(width=160, height=90, run=timedelta(minutes=3)))
    world.add("a", extended_prompt=f"x | image_task_id: {task}")
    say(world, paused=True)
    assert world.run(HOUR).states == HELD
    assert len(world.store.keys("a")) == 1
    assert world.row("a")["image_url"] is None
    say(world, paused=False)
    assert world.run(HOUR).resolved == {How.ADOPTED: 1}


def test_a_dying_picture_is_brought_into_the_store_during_a_pause_and_stays_in_its_row(make_world: MakeWorld) -> None:
    world = make_world()
    url = world.kie.add_file("/p/a.jpg", size=(160, 90))
    world.add("a", image_url=url, resolution="160x90", age=DAY)
    say(world, paused=True)
    assert world.run(HOUR).states == {(State.EXPIRING, None): 1}
    assert len(world.store.keys("a")) == 1
    assert world.row("a")["image_url"] == url
    say(world, paused=False)
    assert world.run(HOUR).resolved == {How.REHOSTED: 1}


def test_a_resolution_is_not_set_right_during_a_pause(make_world: MakeWorld) -> None:
    world = make_world()
    world.kie.add_file("/good.jpg", size=(160, 90))
    world.add("a", image_url="https://pictures.example/good.jpg", resolution="2K")
    say(world, paused=True)
    assert world.run(HOUR).states == {(State.OK, None): 1}
    assert world.row("a")["resolution"] == "2K"
    say(world, paused=False)
    world.run(HOUR)
    assert world.row("a")["resolution"] == "160x90"


@pytest.mark.parametrize("place", [("pictures", "fetch"), ("store", "put"), ("leases", "commit_all")])
def test_a_pause_that_ends_while_a_step_is_under_way_holds_nothing_back_for_ever(
    make_world: MakeWorld, place: tuple[str, str]
) -> None:
    """The step began during the pause and knows of no end of it."""
    world = make_world()
    world.kie.add_task("a" * 32, prompt="p", created_at=world.clock() - HOUR)
    world.add("a", extended_prompt=f"x | image_task_id: {'a' * 32}")
    say(world, paused=True)
    ended = False

    def end(*given: Any, **_: Any) -> None:
        nonlocal ended
        last = place[0] != "leases" or given[0][0].change.standing.reason is Reason.PAUSED
        if last and not ended:
            ended = True
            say(world, paused=False)

    world.run(MINUTE, wrap=Around(*place, end), audit=False)
    assert ended
    world.pass_time(MINUTE)
    assert world.run(MINUTE, audit=False).states == {(State.OK, None): 1}


def test_a_pause_in_the_middle_of_a_sweep_costs_no_step_its_outcome(make_world: MakeWorld) -> None:
    world = make_world(3)
    with sweeping(world, HOUR) as sweep:
        tell, told = sweep._tally._onward, 0

        def pause_soon(event: Any) -> None:
            nonlocal told
            tell(event)
            told += 1
            if told == 12:
                say(world, paused=True)

        sweep._tally._onward = pause_soon
        sweep.run()
    assert {row["image_url"] for row in world.rows()} == {None}
    bought = len(world.kie.book.purchases)
    assert 1 <= bought <= 3
    say(world, paused=False)
    assert world.run(HOUR).states == {(State.OK, None): 3}
    assert len(world.kie.book.purchases) == 3
