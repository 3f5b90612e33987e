"""How far a run may go, and what it says of when to go on."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from reconciler.domain.model import Outcome
from reconciler.domain.states import Reason, State
from reconciler.engine import sweep as engine
from reconciler.engine.events import Moved
from reconciler.kie.simulated import MAINTENANCE, UNAUTHORIZED, Settings
from reconciler.ports import DatabaseLocked
from reconciler.testing.delayed import DelayedCrew, Stage
from reconciler.testing.world import World
from tests.engine.conftest import MakeWorld, leased, slow_crew, sweeping
from tests.engine.test_sweep import LOCKED, Around

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def add_good(world: World, *names: str) -> None:
    """Rows whose picture is good and was never measured."""
    for name in names:
        url = world.kie.add_file(f"/p/{name}.jpg", size=(160, 90))
        world.add(name, image_url=url, resolution="160x90", age=timedelta(days=9))


def looked_at(world: World) -> list[str]:
    """In this order, each once."""
    moved = dict.fromkeys(event.track_id for event in world.events if isinstance(event, Moved))
    world.events.clear()
    return list(moved)


# -- due ---------------------------------------------------------------------------------------------------------------


def test_without_due_only_what_the_walk_finds_is_worked(make_world: MakeWorld) -> None:
    world = make_world()
    world.add("a")
    add_good(world, "b", "c")
    result = world.run(HOUR, due=False, audit_from="a", audit_rows=9)
    assert looked_at(world) == ["b", "c"]
    assert result.states == {(State.OK, None): 2}
    assert not world.kie.book.creations


def test_without_due_and_audit_nothing_is_worked(make_world: MakeWorld) -> None:
    world = make_world(2)
    assert world.run(HOUR, due=False, audit=False).states == {}
    assert looked_at(world) == []


def test_without_due_those_held_back_are_left_to_others(make_world: MakeWorld) -> None:
    world = make_world(4, per_hour=2)
    world.run()
    world.pass_time(2 * HOUR)
    assert world.run(HOUR, due=False, audit_from="z", audit_rows=9).purchases == 0
    assert world.run(HOUR, audit=False).purchases == 2


def test_what_the_walk_found_and_has_to_wait_is_left_to_others(make_world: MakeWorld) -> None:
    """Its steps follow each other as long as none has to wait."""
    world = make_world(2)
    began = world.clock()
    result = world.run(HOUR, due=False)
    assert result.states == {(State.AWAITING, Reason.IN_FLIGHT): 2}
    assert result.next_at is None
    assert world.clock() - began < SECOND
    assert world.run(HOUR, audit=False).states == {(State.OK, None): 2}


# -- waits -------------------------------------------------------------------------------------------------------------


def test_a_run_that_does_not_wait_ends_once_nothing_can_be_done_at_once(make_world: MakeWorld) -> None:
    world = make_world(3)
    began = world.clock()
    result = world.run(HOUR, waits=False)
    assert result.states == {(State.AWAITING, Reason.IN_FLIGHT): 3}
    assert not result.stopped
    assert world.clock() - began < SECOND
    assert result.next_at is not None
    assert world.clock() < result.next_at < began + MINUTE
    world.clock.time = result.next_at
    assert world.run(HOUR, waits=False).states[State.OK, None] >= 1
    world.pass_time(MINUTE)
    assert world.run(HOUR, waits=False).states == {(State.OK, None): 3}


def test_a_run_that_does_not_wait_waits_for_the_steps_that_are_under_way(make_world: MakeWorld) -> None:
    world = make_world(3)
    crew = slow_crew(world, 20)
    result = world.run(HOUR, waits=False)
    assert result.purchases == 3
    assert not result.stopped
    assert leased(world) == []
    assert crew.turns < 50


def test_a_run_that_does_not_wait_does_not_wait_for_the_budget_either(make_world: MakeWorld) -> None:
    world = make_world(5, per_hour=2)
    for _ in range(3):
        result = world.run(HOUR, waits=False)
        world.pass_time(MINUTE)
    assert result.states == {(State.OK, None): 2, (State.MISSING, Reason.BUDGET): 3}


# -- what is counted ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bounds", [{"audit": False}, {"limit": 9}, {"limit": 9, "audit": False}, {"audit": False, "max_purchases": 0}]
)
def test_a_run_that_waits_counts_whoever_is_not_due(make_world: MakeWorld, bounds: dict[str, Any]) -> None:
    """Fewer than its limit were looked at, so it left out none of them."""
    world = make_world(4, per_day=0)
    held = {(State.MISSING, Reason.BUDGET): 4}
    assert world.run(MINUTE).states == held
    world.events.clear()
    result = world.run(MINUTE, **bounds)
    assert looked_at(world) == []
    assert result.states == held
    assert not result.at_rest


def test_a_run_that_does_not_wait_counts_those_that_it_looked_at(make_world: MakeWorld) -> None:
    world = make_world(4, per_day=0)
    world.run(MINUTE)
    assert world.run(MINUTE, audit=False, waits=False).states == {}


@pytest.mark.parametrize("bounds", [{}, {"limit": 1}, {"audit": False}])
def test_tracks_named_are_counted_though_they_are_not_due(make_world: MakeWorld, bounds: dict[str, Any]) -> None:
    world = make_world()
    world.add("fails", image_url="https://tempfile.aiquickdraw.com/p/fails.jpg", task_id="a" * 32)
    world.add("other", image_url="https://tempfile.aiquickdraw.com/p/other.jpg")
    world.kie.script.outage(world.clock(), world.clock() + DAY, MAINTENANCE)
    world.run(SECOND)
    (stuck,) = world.run(SECOND, only=("fails",)).states
    assert stuck[0] is State.BACKING_OFF
    assert world.run(SECOND, only=("fails",), **bounds).states == {stuck: 1}


def test_of_tracks_named_those_beyond_the_limit_are_counted_too(make_world: MakeWorld) -> None:
    world = make_world(3, per_day=0)
    world.run(MINUTE)
    world.pass_time(DAY)
    world.sql("UPDATE tracks SET title = title || '!'")
    named = world.run(MINUTE, only=("t000", "t001"), limit=1)
    assert named.states == {(State.MISSING, Reason.BUDGET): 2}


# -- audit_rows --------------------------------------------------------------------------------------------------------


def walked(world: World, key: str | None, rows: int, **bounds: Any) -> tuple[list[str], str | None]:
    """What a slice of so many rows looks at, and where the next one resumes."""
    with sweeping(world, HOUR, due=False, audit_from=key, audit_rows=rows, **bounds) as sweep:
        sweep.run()
        return looked_at(world), sweep.audit_key


def test_a_slice_ends_after_its_rows_and_the_next_one_goes_on_there(make_world: MakeWorld) -> None:
    world = make_world()
    add_good(world, "a", "b", "c", "d", "e")
    assert walked(world, None, 2) == (["a", "b"], "b")
    assert walked(world, "b", 2) == (["c", "d"], "d")
    assert walked(world, "d", 2) == (["e"], None)


def test_rows_that_need_nothing_count_too(make_world: MakeWorld) -> None:
    world = make_world()
    add_good(world, "a", "b", "c", "d")
    world.run(only=("a", "b"))
    looked_at(world)
    assert walked(world, None, 3) == (["c"], "c")


@pytest.mark.parametrize(("rows", "pages"), [(3, [3]), (5, [3, 2]), (6, [3, 3]), (2, [2])])
def test_a_long_slice_is_walked_in_pages(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, rows: int, pages: Sequence[int]
) -> None:
    monkeypatch.setattr(engine, "PAGE", 3)
    world = make_world()
    add_good(world, *"abcdefgh")
    asked: list[int] = []

    class Watched:
        def __init__(self, finder: Any) -> None:
            self._finder = finder

        def __getattr__(self, name: str) -> Any:
            return getattr(self._finder, name)

        def page(self, after: str | None, limit: int, *more: object, **named: object) -> Any:
            asked.append(limit)
            return self._finder.page(after, limit, *more, **named)

    wrap = {"wrap": lambda name, port: Watched(port) if name == "finder" else port}
    assert walked(world, None, rows, **wrap) == (list("abcdefgh"[:rows]), "abcdefgh"[rows - 1])
    assert asked == pages


@pytest.mark.parametrize("page", [1, 2, 3, 200])
def test_without_a_bound_on_its_rows_a_walk_goes_all_round(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(engine, "PAGE", page)
    world = make_world()
    add_good(world, *"abcde")
    with sweeping(world, HOUR, due=False, audit_from="c") as sweep:
        sweep.run()
        assert (looked_at(world), sweep.audit_key) == (list("deabc"), None)


def test_a_walk_that_is_cut_on_its_way_round_is_resumed_there(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PAGE", 1)
    world = make_world()
    add_good(world, *"abcd")
    with sweeping(world, HOUR, due=False, audit_from="c", limit=2) as sweep:
        sweep.run()
        assert (looked_at(world), sweep.audit_key) == (["d", "a"], "a")


def test_a_slice_of_no_rows_walks_nothing_and_stays_where_it_is(make_world: MakeWorld) -> None:
    world = make_world()
    add_good(world, "a", "b")
    assert walked(world, "a", 0) == ([], "a")


def test_what_a_slice_found_and_had_no_time_for_is_found_again(make_world: MakeWorld) -> None:
    world = make_world()
    add_good(world, *"abcde")
    slow_crew(world, 5, size=1)
    with sweeping(world, SECOND, due=False, audit_from="a", audit_rows=4) as sweep:
        assert sweep.run().stopped
        assert (looked_at(world), sweep.audit_key) == (["b"], "a")


def test_what_a_slice_found_as_the_database_failed_is_found_again(make_world: MakeWorld) -> None:
    def fail(*_: object) -> None:
        raise LOCKED

    world = make_world()
    add_good(world, *"ab")
    around = Around("leases", "lease_all", fail)
    with sweeping(world, HOUR, around, due=False, audit_from="a", audit_rows=1) as sweep:
        with pytest.raises(DatabaseLocked):
            sweep.run()
        assert sweep.audit_key == "a"


# -- patience ----------------------------------------------------------------------------------------------------------


def slow_answers(world: World, seconds: float) -> None:
    """What is done at once and takes long to come back, but for the credits."""
    late = timedelta(0), timedelta(seconds=seconds)
    crew = DelayedCrew(Stage(world.clock), lambda tag: late if tag else (timedelta(0), timedelta(0)))
    world.crew = lambda: crew


@pytest.mark.parametrize(("patience", "known"), [(5 * MINUTE, Outcome.ACCEPTED), (None, Outcome.OPEN)])
def test_with_patience_slow_steps_come_to_their_end_when_the_time_is_over(
    make_world: MakeWorld, patience: timedelta | None, known: Outcome
) -> None:
    world = make_world(2)
    slow_answers(world, 100)
    began = world.clock()
    result = world.run(timedelta(seconds=150), patience=patience)  # the store is listed, and then it is bought
    assert result.stopped
    assert len(world.kie.book.purchases) == 2
    assert [row["outcome"] for row in world.sql("SELECT outcome FROM reconciler_purchase")] == [known] * 2
    assert leased(world) == []
    assert world.clock() - began <= timedelta(seconds=200)


def test_an_order_that_was_about_to_be_sent_when_the_time_was_over_is_waited_for_as_long_as_it_may_take(
    make_world: MakeWorld,
) -> None:
    """Between the last look whether it may be sent and its call a moment passes."""
    world = make_world(1)
    takes = world.policy.request_timeout + timedelta(milliseconds=300)
    slow_answers(world, takes.total_seconds())
    world.run(takes + timedelta(milliseconds=100))  # the store is listed, and then it is bought
    assert [row["outcome"] for row in world.sql("SELECT outcome FROM reconciler_purchase")] == [Outcome.ACCEPTED]


@pytest.mark.parametrize(
    ("patience", "longest"), [(None, 30 * SECOND), (10 * SECOND, 10 * SECOND), (timedelta(0), timedelta(0))]
)
def test_what_takes_longer_is_handed_back(
    make_world: MakeWorld, patience: timedelta | None, longest: timedelta
) -> None:
    """By default after a call's time."""
    world = make_world(2)
    slow_crew(world, 7200)
    began = world.clock()
    assert world.run(MINUTE, patience=patience).stopped
    assert longest <= world.clock() - began - MINUTE <= longest + SECOND
    assert leased(world) == []


def test_a_signal_hurries_the_patient_too(make_world: MakeWorld) -> None:
    world = make_world(2)
    slow_crew(world, 7200)
    with sweeping(world, HOUR, patience=DAY) as sweep:
        sweep._fill()
        began = world.clock()
        sweep.stop()
        assert sweep.run().stopped
    assert world.clock() - began <= world.policy.request_timeout + SECOND
    assert leased(world) == []


def test_a_signal_during_the_last_wait_hurries_it(make_world: MakeWorld) -> None:
    world = make_world(2)
    crew = slow_crew(world, 7200)
    finished, ends = crew.finished, world.clock() + MINUTE
    with sweeping(world, MINUTE, patience=DAY) as sweep:

        def interrupted(wait: timedelta) -> Any:
            if world.clock() < ends:
                return finished(wait)
            sweep.stop()
            return finished(min(wait, SECOND))

        crew.finished = interrupted  # type: ignore[method-assign]
        sweep.run()
    assert world.clock() <= ends + world.policy.request_timeout + SECOND


# -- when to go on -----------------------------------------------------------------------------------------------------


def test_next_is_when_a_good_picture_is_measured_again(make_world: MakeWorld) -> None:
    world = make_world(1)
    next_at = world.run().next_at
    (memory,) = world.sql("SELECT due_at FROM reconciler_memory")
    assert next_at is not None
    assert memory["due_at"] == next_at.isoformat(timespec="microseconds")
    assert next_at > world.clock() + HOUR


def test_next_is_when_the_budget_has_room(make_world: MakeWorld) -> None:
    world = make_world(3, per_hour=2)
    began = world.clock()
    next_at = world.run().next_at
    assert next_at is not None
    assert HOUR <= next_at - began < HOUR + MINUTE
    world.clock.time = next_at
    assert world.run(waits=False).purchases == 1


def test_next_is_when_a_key_that_was_refused_may_be_tried_again(make_world: MakeWorld) -> None:
    world = make_world()
    world.add("song", task_id="a" * 32)
    world.kie.script.outage(world.clock(), world.clock() + DAY, UNAUTHORIZED)
    result = world.run(MINUTE)
    assert result.next_at == result.closures["key"].until
    assert result.next_at is not None


def test_next_is_the_end_of_anothers_lease(make_world: MakeWorld) -> None:
    world = make_world(1)
    database = world.open("other")
    held = database.leases.lease("t000")
    assert held is not None
    database.close()
    assert world.run(MINUTE).next_at == held.lease.until


def test_next_is_at_once_where_a_run_was_cut_between_two_steps(make_world: MakeWorld) -> None:
    world = make_world(1)
    slow_crew(world)
    with sweeping(world, HOUR) as sweep:
        sweep._fill()
        sweep.stop()
        result = sweep.run()
    assert result.stopped
    assert result.next_at == world.clock()


@pytest.mark.parametrize("policy", [{"per_day": 0}, {"kie": Settings(credits=20)}])
def test_there_is_no_next_before_the_world_changes(make_world: MakeWorld, policy: dict[str, Any]) -> None:
    assert make_world(2, **policy).run(HOUR).next_at is None


def test_there_is_no_next_with_nothing_there(make_world: MakeWorld) -> None:
    assert make_world().run(HOUR).next_at is None


def test_there_is_no_next_while_it_is_paused(make_world: MakeWorld) -> None:
    world = make_world(2)
    database = world.open()
    database.gate.pause(paused=True)
    database.close()
    assert world.run(HOUR).next_at is None
