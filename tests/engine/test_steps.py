"""One step of one track, where the step meets others: another process, another track, a grave of its picture."""

import base64
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from reconciler.database import codec
from reconciler.domain.actions import ListStore
from reconciler.domain.breaker import Breaker
from reconciler.domain.catalogue import offers
from reconciler.domain.gate import NotNow
from reconciler.domain.model import Outcome
from reconciler.domain.standing import Standing
from reconciler.domain.states import How, Reason, State
from reconciler.engine import steps
from reconciler.engine.events import Found, Mistake, Moved, Overwritten, Recognised, Wrote
from reconciler.engine.sweep import Sweep
from reconciler.kie.simulated import page, paint
from reconciler.ports import Commit, DatabaseLocked, Ending, Held, Lease, Step
from reconciler.testing.cutting import Killed
from reconciler.testing.delayed import DelayedCrew, Stage
from reconciler.testing.world import World
from tests.engine.conftest import SMALL, MakeWorld, leased, lose_leases, slow_crew, sweeping
from tests.engine.test_sweep import LOCKED, Around, Refusing, each

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def test_a_track_that_another_process_works_is_left_to_it(make_world: MakeWorld) -> None:
    world = make_world(2)
    database = world.open("other")
    held = database.leases.lease("t000")
    assert held is not None
    with sweeping(world, MINUTE) as sweep:
        sweep._steps.start(["t000"])
        assert not sweep._steps.flights
    assert world.run(MINUTE).states[State.OK, None] == 1
    database.close()
    world.pass_time(world.policy.lease)
    assert world.run(MINUTE).states == {(State.OK, None): 2}


def test_two_tracks_that_name_one_task_are_served_by_one_question(make_world: MakeWorld) -> None:
    world = make_world()
    task = "a" * 32
    world.kie.add_task(task, prompt="shared", created_at=world.clock() - HOUR)
    for name in "abc":
        world.add(name, extended_prompt=f"x | image_task_id: {task}")
    slow_crew(world)
    world.run(MINUTE)
    assert len(world.kie.book.visits_of("record", task)) == 1
    assert not world.kie.book.creations


def test_a_step_whose_lease_was_taken_over_ends_quietly(make_world: MakeWorld) -> None:
    world = make_world(1)

    result = world.run(timedelta(seconds=1), wrap=Around("store", "keys", lambda *_: lose_leases(world)))
    assert result.mistakes == 0
    assert result.writes == 0
    assert not world.kie.book.creations


def test_of_a_step_whose_lease_was_taken_over_nothing_is_told(make_world: MakeWorld) -> None:
    """Where the track stands is the other's to say."""
    world = make_world()
    world.add("row", image_url=world.kie.add_file("/p/a.jpg", size=(80, 45)))

    def take_over(*_: Any) -> None:
        world.sql("UPDATE reconciler_memory SET lease_owner = 'other', generation = generation + 1")

    world.run(timedelta(seconds=1), wrap=Around("pictures", "measure", take_over))
    assert [event for event in world.events if isinstance(event, Found)]
    assert not [event for event in world.events if isinstance(event, Moved)]


def dies_at_a_picture(world: World, track_id: str, *, known_in: timedelta = timedelta()) -> None:
    """A process that began one does not come back."""
    database = world.open("dead")
    database.leases.lease_all([track_id], lambda _: Step.PICTURE)
    database.close()
    world.pass_time(world.policy.lease - known_in)


@pytest.mark.parametrize(
    ("port", "method", "step"),
    [
        ("pictures", "measure", Step.PICTURE),
        ("pictures", "fetch", Step.PICTURE),
        ("store", "keys", Step.LOOK),
        ("kie", "create", Step.LOOK),
        ("kie", "task", Step.LOOK),
    ],
)
def test_what_may_be_a_death_is_named_with_the_lease(make_world: MakeWorld, port: str, method: str, step: Step) -> None:
    world = make_world()
    world.add("row", image_url=world.kie.add_file("/p/a.jpg", size=(80, 45)))
    named: set[str] = set()

    def note(*_: object, **__: object) -> None:
        named.update(row["lease_step"] for row in world.sql("SELECT lease_step FROM reconciler_memory"))

    world.run(MINUTE, wrap=Around(port, method, note))
    assert named == {step}


def begins(endings: Sequence[Ending]) -> bool:
    """Among what is saved together is that something is begun under a lease that goes on."""
    return any(ending.change is None for ending in endings)


def overtaking(world: World) -> Callable[[Sequence[Ending]], None]:
    """Somebody else takes the track over just before its picture is begun."""

    def take_over(endings: Sequence[Ending]) -> None:
        if begins(endings):
            lose_leases(world)

    return take_over


def test_a_picture_that_killed_once_is_not_begun_again_under_a_lost_lease(make_world: MakeWorld) -> None:
    world = make_world()
    world.add("row", image_url=world.kie.add_file("/p/a.jpg", size=(160, 90)))
    dies_at_a_picture(world, "row")

    world.run(timedelta(seconds=1), wrap=Around("leases", "commit_all", overtaking(world)))
    assert not world.kie.book.visits_of("file")


def test_a_write_that_another_was_faster_than_is_a_conflict_and_made_later(make_world: MakeWorld) -> None:
    world = make_world(1)
    cover, beaten = world.kie.add_file("/p/cover.jpg", size=(80, 45)), False

    def be_faster(lease: Lease, change: Any, row: Any = None) -> None:
        nonlocal beaten
        if row is not None and not beaten:
            beaten = True
            world.sql("UPDATE tracks SET image_url = ?", cover)

    result = world.run(HOUR, wrap=Around("leases", "commit_all", each(be_faster)))
    outcomes = [event.outcome for event in world.events if isinstance(event, Wrote)]
    assert outcomes == [Commit.CONFLICT, Commit.COMMITTED]
    assert (result.conflicts, result.writes) == (1, 1)
    assert result.states == {(State.OK, None): 1}
    assert len(world.kie.book.purchases) == 1


def test_a_row_that_somebody_has_locked_is_written_soon_after(make_world: MakeWorld) -> None:
    world = make_world(1)

    def is_locked(ending: Ending) -> bool:
        return ending.row is not None

    def lock(name: str, port: Any) -> Any:
        return Refusing(port, is_locked, Commit.LOCKED) if name == "leases" else port

    result = world.run(HOUR, wrap=lock)
    assert result.states == {(State.BACKING_OFF, Reason.WRITE_CONFLICT): 1}
    assert result.conflicts >= 60, "it is tried about once a minute"
    assert world.run(MINUTE).states == {(State.OK, None): 1}
    assert len(world.kie.book.creations) == len(world.kie.book.visits_of("file")) == 1
    (came,) = world.sql("SELECT DISTINCT came FROM reconciler_attempt WHERE step = 'write' AND came != 'committed'")
    assert came == {"came": "locked"}


def test_a_good_picture_that_nobody_had_measured_is_recognised_once(make_world: MakeWorld) -> None:
    world = make_world(per_day=0)
    durable = "https://pictures.example/a.jpg"
    world.kie.add_file("/a.jpg", size=(160, 90))
    world.kie.files_url = "https://pictures.example"
    world.add("a", image_url=durable, resolution="160x90")
    assert world.run().resolved == {How.ALREADY_GOOD: 1}
    world.pass_time(40 * DAY)
    assert world.run().resolved == {}
    assert sum(isinstance(event, Recognised) for event in world.events) == 1


def test_a_good_picture_that_took_the_place_of_a_measured_one_is_recognised_too(make_world: MakeWorld) -> None:
    world = make_world(per_day=0)
    world.kie.add_file("/small.jpg", size=(80, 45))
    world.kie.add_file("/good.jpg", size=(160, 90))
    world.add("a", image_url="https://pictures.example/small.jpg")
    assert world.run().states == {(State.BELOW_TARGET, Reason.BUDGET): 1}
    world.sql("UPDATE tracks SET image_url = 'https://pictures.example/good.jpg', resolution = '160x90'")
    assert world.run().resolved == {How.ALREADY_GOOD: 1}


def test_a_write_found_undone_is_told(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.run()
    world.sql("UPDATE tracks SET image_url = NULL")
    assert world.run().resolved == {How.RESTORED: 1}
    assert sum(isinstance(event, Overwritten) for event in world.events) == 1


def test_a_query_that_somebody_puts_behind_our_url_undoes_nothing(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.run()
    ours = world.row("t000")["image_url"]
    for query in ("?v=2", "?v=3", "", "?v=4"):
        world.pass_time(DAY)
        world.sql("UPDATE tracks SET image_url = ?", ours + query)
        assert world.run().writes == 0
        assert not any(isinstance(event, Overwritten) for event in world.events)
    world.sql("UPDATE tracks SET image_url = NULL")
    assert world.run().resolved == {How.RESTORED: 1}
    assert sum(isinstance(event, Overwritten) for event in world.events) == 1


def test_an_inline_picture_is_read_whole_when_it_is_fetched(make_world: MakeWorld) -> None:
    world = make_world(per_day=0)
    data = base64.b64encode(paint("inline", 160, 90, "PNG")).decode()
    world.add("a", image_url=f"data:image/png;base64,{data}", resolution="160x90")
    assert world.run().resolved == {How.REHOSTED: 1}


@pytest.mark.parametrize(
    ("place", "expected"),
    [("create", "answerlost"), ("task", "trouble"), ("song", "trouble"), ("fetch", "fault")],
)
def test_a_worker_that_raised_leaves_open_what_happened(make_world: MakeWorld, place: str, expected: str) -> None:
    world = make_world()
    world.add("a", task_id="b" * 32)

    def fail(*_: Any, **__: Any) -> None:
        raise ArithmeticError(place)

    port = "pictures" if place == "fetch" else "kie"
    result = world.run(timedelta(seconds=20), wrap=Around(port, place, fail))
    (found, *_) = [event for event in world.events if isinstance(event, Found) and _job(event) == place]
    assert type(found.finding).__name__.lower() == expected
    assert result.mistakes >= 1
    assert any(isinstance(event, Mistake) for event in world.events)
    if place == "create":
        (purchase,) = world.sql("SELECT outcome FROM reconciler_purchase")
        assert purchase["outcome"] == Outcome.UNKNOWN


def _job(event: Found) -> str:
    names = {"Purchase": "create", "AskTask": "task", "AskSong": "song", "Fetch": "fetch"}
    return names.get(type(event.job).__name__, "")


class _Refusing:
    """A gate that refuses the first orders of one track, though it is open."""

    def __init__(self, gate: Any, until: datetime | None) -> None:
        self._gate, self._until, self.refused = gate, until, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gate, name)

    def reserve(self, held: Held, order: Any) -> Any:
        if held.lease.track_id == "t000" and self.refused < 3:
            self.refused += 1
            return NotNow(Reason.IN_FLIGHT, self._until, "not this one")
        return self._gate.reserve(held, order)


@pytest.mark.parametrize("pause", [None, timedelta(minutes=2)])
def test_an_order_refused_for_its_track_alone_waits_by_itself_and_holds_up_nobody(
    make_world: MakeWorld, pause: timedelta | None
) -> None:
    world = make_world(4)
    until = world.clock() + pause if pause else None
    crew = slow_crew(world)
    result = world.run(HOUR, wrap=lambda name, port: _Refusing(port, until) if name == "gate" else port)
    assert result.states == {(State.OK, None): 4}
    assert world.kie.book.purchases[-1].prompt == "a lighthouse called t000 in morning mist"
    assert crew.idle <= 1
    assert crew.turns < 100


# -- alone ---------------------------------------------------------------------------------------------------------


def test_interrupted_pictures_are_worked_one_after_the_other_and_with_nobody_else(make_world: MakeWorld) -> None:
    world = make_world(6)
    world.run(MINUTE, max_purchases=0)
    for name in ("x", "y"):
        world.add(name, image_url=world.kie.add_file(f"/p/{name}.jpg", size=(160, 90)))
    for name in ("x", "y"):
        database = world.open("dead")
        held = database.leases.lease(name)
        assert held is not None
        database.leases.commit_all([Ending(held.lease, None, then=Step.PICTURE)])
        database.close()
    world.pass_time(world.policy.lease)
    crew = slow_crew(world, 4)
    at_work: list[int] = []
    with sweeping(world, HOUR) as sweep:
        tell = sweep._steps._tell

        def watch(event: Any) -> None:
            if isinstance(event, Found) and event.track_id in "xy" and not at_work[2:]:
                at_work.append(len(sweep._steps.flights))
            tell(event)

        sweep._steps._tell = watch
        result = sweep.run()
    assert at_work[:2] == [0, 0], "nobody else was under way when they came back"
    assert result.states == {(State.OK, None): 8}
    assert crew.idle <= 1


def test_interrupted_pictures_of_which_none_was_begun_were_not_interrupted_again(make_world: MakeWorld) -> None:
    world = make_world()
    for name in ("x", "y"):
        world.add(name, image_url=world.kie.add_file(f"/p/{name}.jpg", size=(160, 90)))
        dies_at_a_picture(world, name)

    def die(_: Any) -> None:
        raise Killed

    with pytest.raises(Killed):
        world.run(MINUTE, wrap=Around("leases", "commit_all", die))
    world.pass_time(world.policy.lease)
    with closing(world.open("another")) as database:
        found = database.leases.lease_all(("x", "y"))
    assert [held.memory.interruptions for held in found.values() if isinstance(held, Held)] == [1, 1]


def beside_the_killer(world: World) -> list[set[str]]:
    """Who else is at work, whenever the crew is given something to do for that track, which is quick."""
    found: list[set[str]] = []
    crew = DelayedCrew(Stage(world.clock), lambda tag: (timedelta(seconds=1 if tag == "killer" else 20), timedelta()))
    submit = crew.submit

    def noted(tag: str, job: Any) -> None:
        if tag == "killer":
            found.append({*sweep._steps.flights})
        submit(tag, job)

    crew.submit = noted  # type: ignore[method-assign]
    world.crew = lambda: crew
    with sweeping(world, HOUR) as sweep:
        assert set(sweep.run().states) == {(State.OK, None)}
    return found


def test_an_interrupted_picture_waits_for_those_that_are_at_work_as_its_task_ends(make_world: MakeWorld) -> None:
    world = make_world()
    world.add("killer")
    world.run(timedelta(seconds=1))
    dies_at_a_picture(world, "killer")
    for name in ("y", "z"):
        world.add(name, image_url=world.kie.add_file(f"/p/{name}.jpg", size=(160, 90)))
    assert beside_the_killer(world) == [set(), set()]


def test_an_interrupted_picture_waits_for_one_that_was_begun_before_it_was_found(make_world: MakeWorld) -> None:
    world = make_world()
    world.add("killer", image_url=world.kie.add_file("/p/killer.jpg", size=(160, 90)))
    dies_at_a_picture(world, "killer", known_in=timedelta(seconds=10))
    world.add("y", image_url=world.kie.add_file("/p/y.jpg", size=(160, 90)))
    assert beside_the_killer(world) == [set(), set()]


def test_a_stop_while_a_picture_waits_to_be_alone_hands_it_back(make_world: MakeWorld) -> None:
    world = make_world(1)
    with sweeping(world, HOUR) as sweep:
        sweep._steps.alone.append("t000")
        sweep._steps.hand_back()
    assert leased(world) == []
    (memory,) = world.sql("SELECT due_at FROM reconciler_memory")
    assert memory["due_at"][:19] <= world.clock().isoformat()[:19]


def test_who_is_gone_when_it_is_handed_back_stays_gone(make_world: MakeWorld) -> None:
    world = make_world(1)
    with sweeping(world, HOUR) as sweep:
        sweep._steps.alone.append("never-was")
        sweep._steps.hand_back()
    assert world.sql("SELECT track_id FROM reconciler_memory") == []


# -- going on ------------------------------------------------------------------------------------------------------


class _Nth:
    """Called before each call, but for the nth does nothing."""

    def __init__(self, number: int, then: Callable[[], None]) -> None:
        self.calls, self._number, self._then = 0, number, then

    def __call__(self, *_: Any, **__: Any) -> None:
        self.calls += 1
        if self.calls == self._number:
            self._then()


def raises(error: Exception) -> Callable[[], None]:
    def then() -> None:
        raise error

    return then


@pytest.fixture
def held_inline(make_world: MakeWorld) -> World:
    """A track whose picture lies in its row: measured, and at once kept."""
    world = make_world()
    picture = base64.b64encode(paint("a lake", 160, 90)).decode()
    world.add("row", image_url=f"data:image/jpeg;base64,{picture}")
    return world


def test_what_follows_at_once_needs_no_other_lease(held_inline: World) -> None:
    leases: list[str] = []
    around = Around("leases", "lease_all", lambda ids, *_: leases.extend(ids))
    assert held_inline.run(MINUTE, wrap=around).states == {(State.OK, None): 1}
    assert leases.count("row") == 1


def test_a_sweep_that_is_stopped_as_a_step_ends_begins_no_other(held_inline: World) -> None:
    done: list[Sweep] = []

    class Stopping:
        def __init__(self, leases: Any) -> None:
            self._leases = leases

        def __getattr__(self, name: str) -> Any:
            return getattr(self._leases, name)

        def commit_all(self, endings: Any) -> Any:
            outcomes = self._leases.commit_all(endings)
            done[0].stop()
            return outcomes

    with sweeping(held_inline, MINUTE, lambda name, port: Stopping(port) if name == "leases" else port) as sweep:
        done.append(sweep)
        assert sweep.run().stopped
    assert [type(event.job).__name__ for event in held_inline.events if isinstance(event, Found)] == ["Measure"]
    assert leased(held_inline) == []
    assert held_inline.run(MINUTE).states == {(State.OK, None): 1}


@pytest.mark.parametrize(("pictures", "most"), [(1, 1), (2, 2), (2.9, 2), (99, 5)])
def test_so_many_letters_of_pictures_in_rows_are_worked_at_once(
    held_inline: World, monkeypatch: pytest.MonkeyPatch, pictures: float, most: int
) -> None:
    url = held_inline.row("row")["image_url"]
    monkeypatch.setattr(steps, "INLINE_AT_ONCE", int(len(url) * pictures))
    for number in range(4):
        held_inline.add(f"row{number}", image_url=url)
    at_once: list[int] = []
    began: list[str] = []

    def read(track_id: str) -> None:
        began.append(track_id)
        at_once.append(len(began) - sum(isinstance(event, Found) for event in held_inline.events))

    result = held_inline.run(MINUTE, wrap=Around("leases", "inline_image", read))
    assert result.states == {(State.OK, None): 5}
    assert len(began) == 10, "each to be measured and to be kept"
    assert max(at_once) == most


def test_where_the_database_fails_as_a_step_goes_on_its_lease_is_handed_back(held_inline: World) -> None:
    locked = _Nth(2, raises(DatabaseLocked("locked", "app.db", "Try again")))
    with pytest.raises(DatabaseLocked):
        held_inline.run(MINUTE, wrap=Around("leases", "inline_image", locked))
    assert leased(held_inline) == []
    assert held_inline.run(MINUTE).states == {(State.OK, None): 1}


@pytest.mark.parametrize("deaths", [0, 1])
def test_where_the_database_fails_as_pictures_are_begun_all_their_leases_are_handed_back(
    held_inline: World, deaths: int
) -> None:
    """Else whoever has them next would think that they killed this process."""
    for _ in range(deaths):
        dies_at_a_picture(held_inline, "row")
    held_inline.add("z", image_url=held_inline.kie.add_file("/p/z.jpg", size=(160, 90)))
    fails = Around("leases", "inline_image", _Nth(1, raises(LOCKED)))
    with pytest.raises(DatabaseLocked):
        held_inline.run(MINUTE, wrap=fails)
    assert leased(held_inline) == []
    assert held_inline.run(MINUTE).states == {(State.OK, None): 2}


@pytest.mark.parametrize("deaths", [0, 1])
def test_a_picture_that_nobody_can_begin_costs_its_track_alone(held_inline: World, deaths: int) -> None:
    for _ in range(deaths):
        dies_at_a_picture(held_inline, "row")
    held_inline.add("z", image_url=held_inline.kie.add_file("/p/z.jpg", size=(160, 90)))
    fails = Around("leases", "inline_image", _Nth(1, raises(KeyError("strange"))))
    result = held_inline.run(MINUTE, wrap=fails)
    assert {event.track_id for event in held_inline.events if isinstance(event, Mistake)} == {"row"}
    assert result.states[State.OK, None] >= 1
    assert leased(held_inline) == []


def test_a_step_that_nobody_can_go_on_with_costs_its_track_alone(held_inline: World) -> None:
    held_inline.add("other", image_url=held_inline.kie.add_file("/p/a.jpg", size=(160, 90)))
    result = held_inline.run(MINUTE, wrap=Around("leases", "inline_image", _Nth(2, raises(KeyError("strange")))))
    assert result.states == {(State.OK, None): 1, (State.INVALID, Reason.INVALID_ROW): 1}
    assert leased(held_inline) == []


@pytest.mark.parametrize(("look", "generation"), [(10, 1), (40, 2)], ids=["a short look", "a long one"])
def test_an_order_is_made_under_the_lease_of_the_look_before_while_that_lasts(
    make_world: MakeWorld, look: float, generation: int
) -> None:
    world = make_world(2)
    world.run(only=("t000",))
    slow_crew(world, look)
    leases: list[Lease] = []
    around = Around("gate", "reserve", lambda held, _: leases.append(held.lease))
    world.run(MINUTE, wrap=around, only=("t001",))
    assert [lease.generation for lease in leases] == [generation]
    assert leases[0].until - world.kie.book.creations[-1].arrived_at > world.policy.request_timeout


def test_what_was_looked_up_before_an_order_is_told_though_it_was_refused(make_world: MakeWorld) -> None:
    world = make_world(2)
    world.run(only=("t001",))
    world.run(MINUTE, wrap=lambda name, port: _Refusing(port, None) if name == "gate" else port, max_purchases=1)
    told = world.sql("SELECT step FROM reconciler_attempt WHERE track_id = 't000' ORDER BY id")
    assert told[0]["step"] == "list_store"


def test_what_was_looked_up_before_an_order_is_told_though_its_answer_never_came(make_world: MakeWorld) -> None:
    world = make_world(2)
    world.run(only=("t001",))
    with sweeping(world, MINUTE) as sweep:
        sweep._steps.start(["t000"])
        done = sweep._crew.finished(timedelta())
        assert done is not None
        sweep._finish([done])
        assert [type(flight.job).__name__ for flight in sweep._steps.flights.values()] == ["Purchase"]
        sweep._steps.hand_back()
    told = world.sql("SELECT step FROM reconciler_attempt WHERE track_id = 't000'")
    assert [row["step"] for row in told] == ["list_store"]


def at_the_picture(world: World) -> dict[str, Any]:
    """What is saved of the one track while its picture is fetched, and how often endings were saved in all."""
    found: dict[str, Any] = {"endings": 0}

    def count(endings: Sequence[Ending]) -> None:
        found["endings"] += sum(ending.change is not None for ending in endings)

    def note(*_: Any, **__: Any) -> None:
        found.update(*world.sql("SELECT generation, lease_step FROM reconciler_memory"))
        found["tasks"] = [row["state"] for row in world.sql("SELECT state FROM reconciler_task")]

    watches = Around("leases", "commit_all", count), Around("pictures", "fetch", note)
    result = world.run(HOUR, wrap=lambda name, port: watches[0](name, watches[1](name, port)))
    assert result.states == {(State.OK, None): 1}
    return found


def test_the_picture_of_an_order_is_fetched_under_the_lease_of_the_question(make_world: MakeWorld) -> None:
    """What the question told is saved with what becomes of the picture."""
    found = at_the_picture(make_world(1))
    assert found == {"endings": 2, "generation": found["generation"], "lease_step": Step.PICTURE, "tasks": ["running"]}


def test_a_question_that_went_well_tells_of_kies_health_though_its_step_goes_on(make_world: MakeWorld) -> None:
    world, found = make_world(1), list[Breaker]()

    def note(*_: Any, **__: Any) -> None:
        (row,) = world.sql("SELECT breaker FROM reconciler_gate")
        found.append(codec.load_breaker(row["breaker"]))

    world.kie.script.next("record", page(502))
    assert world.run(HOUR, wrap=Around("kie", "task", note)).states == {(State.OK, None): 1}
    note()
    assert found == [Breaker(), Breaker(faults=1), Breaker()]


def noting_tasks(world: World, found: list[str]) -> Callable[..., None]:
    """The states of all that are saved."""

    def note(*_: Any, **__: Any) -> None:
        found.extend(row["state"] for row in world.sql("SELECT state FROM reconciler_task"))

    return note


def test_where_it_cannot_be_noted_that_a_picture_is_begun_its_task_is_saved_first(make_world: MakeWorld) -> None:
    world = make_world(1)

    def locked(endings: Sequence[Ending]) -> None:
        if begins(endings):
            raise DatabaseLocked("locked", "app.db", "Try again")

    found = list[str]()
    both = Around("leases", "commit_all", locked), Around("pictures", "fetch", noting_tasks(world, found))
    result = world.run(HOUR, wrap=lambda name, port: both[0](name, both[1](name, port)))
    assert result.states == {(State.OK, None): 1}
    assert found == ["succeeded"]
    assert len(world.kie.book.visits_of("record")) == 1, "nor is it asked again"


def test_a_picture_is_not_begun_under_a_lease_that_was_lost(make_world: MakeWorld) -> None:
    world = make_world(1)

    world.run(MINUTE, wrap=Around("leases", "commit_all", overtaking(world)))
    assert not world.kie.book.visits_of("file")
    world.pass_time(world.policy.lease)
    assert world.run(HOUR).states == {(State.OK, None): 1}
    assert len(world.kie.book.purchases) == 1


def test_a_picture_is_leased_anew_where_the_lease_of_the_question_is_nearly_over(make_world: MakeWorld) -> None:
    world = make_world(1)

    def take_long(*_: Any, **__: Any) -> None:
        world.clock.jump(world.policy.lease - world.policy.step_deadline + timedelta(seconds=1))

    found = list[str]()
    both = Around("kie", "task", take_long), Around("pictures", "fetch", noting_tasks(world, found))
    world.run(HOUR, wrap=lambda name, port: both[1](name, both[0](name, port)))
    assert found == ["succeeded"]


def test_after_the_database_failed_nothing_more_is_begun(make_world: MakeWorld) -> None:
    """Whatever was under way is saved, and nothing that could follow it is begun, let alone bought."""
    world = make_world(3)
    world.run(only=("t002",))
    slow_crew(world, 2)
    bought = len(world.kie.book.creations)
    locked = _Nth(2, raises(DatabaseLocked("locked", "app.db", "Try again")))
    with pytest.raises(DatabaseLocked):
        world.run(MINUTE, wrap=Around("finder", "due", locked))
    assert len(world.kie.book.creations) == bought
    assert leased(world) == []


# -- who waits to buy ----------------------------------------------------------------------------------------------


def in_line(make_world: MakeWorld) -> World:
    """Two tracks whose tasks run, six that wait for their turn to buy; by now there are places for two."""
    world = make_world(9, purchase_limit=2)
    world.run(only=("t000",))
    world.pass_time(timedelta(seconds=20))
    assert world.run(timedelta(seconds=1)).states[State.MISSING, Reason.GATE_CLOSED] == 6
    world.pass_time(timedelta(seconds=20))
    return world


def test_no_more_are_called_than_there_are_places_for(make_world: MakeWorld) -> None:
    world = in_line(make_world)
    refused: list[Any] = []

    class Noting:
        def __init__(self, gate: Any) -> None:
            self._gate = gate

        def __getattr__(self, name: str) -> Any:
            return getattr(self._gate, name)

        def reserve(self, held: Held, order: Any) -> Any:
            answer = self._gate.reserve(held, order)
            refused.extend([answer] * isinstance(answer, NotNow))
            return answer

    world.run(HOUR, wrap=lambda name, port: Noting(port) if name == "gate" else port)
    assert len(world.kie.book.purchases) == 9
    assert refused == []


def test_those_who_look_into_the_store_before_they_buy_have_their_places(make_world: MakeWorld) -> None:
    """Who came too late for one would go to the end of the line, and have to look again."""
    world = make_world(30, purchase_limit=2)
    world.run(timedelta(seconds=30))
    world.pass_time(HOUR)
    slow_crew(world)
    world.events.clear()
    world.run(HOUR)
    assert len(world.kie.book.purchases) == 30
    assert any(isinstance(event, Found) and isinstance(event.job, ListStore) for event in world.events)
    assert not [event for event in world.events if isinstance(event, Moved) and event.reason is Reason.GATE_CLOSED]


def test_whose_turn_came_has_none_left_once_it_has_bought(make_world: MakeWorld) -> None:
    """A track whose task fails has to wait for another."""
    world = in_line(make_world)
    slow_crew(world)
    with sweeping(world, HOUR) as sweep:
        steps = sweep._steps
        reserve, turns = steps._purse.reserve, list[bool]()

        def noting(held: Held, order: Any) -> Any:
            assert held.track is not None
            turns.append(held.track.id in steps.called)
            return reserve(held, order)

        steps._purse.reserve = noting  # type: ignore[method-assign]
        sweep.run()
    assert len(turns) == 6
    assert not any(turns)


def test_who_is_about_to_be_in_line_goes_before_who_comes_with_it(make_world: MakeWorld) -> None:
    world = make_world(2)
    world.run(MINUTE, max_purchases=0)
    world.pass_time(HOUR)
    with sweeping(world, MINUTE) as sweep:
        steps = sweep._steps
        held = steps._leases.lease_all(["t000"], lambda _: Step.LOOK)["t000"]
        assert isinstance(held, Held)
        where = Standing(State.MISSING, Reason.GATE_CLOSED, None, held=offers(world.policy)[0][0])
        steps.desk.stand(held.lease, held.memory, where)
        steps.start(["t001"])
        assert not steps.flights
    waiting = world.sql("SELECT track_id FROM reconciler_memory WHERE held IS NOT NULL ORDER BY track_id")
    assert [row["track_id"] for row in waiting] == ["t000", "t001"]


def test_with_a_limit_no_other_is_begun_though_it_was_called(make_world: MakeWorld) -> None:
    world = in_line(make_world)
    world.run(HOUR, limit=3)
    assert len(world.kie.book.purchases) == 1 + 2 + 1


def test_who_waits_to_buy_goes_before_pictures_that_can_be_fetched(make_world: MakeWorld) -> None:
    world = in_line(make_world)
    for number in range(6):
        world.add(f"z{number}", image_url=world.kie.add_file(f"/p/{number}.jpg", size=(160, 90)))
    slow_crew(world, 1, size=1)
    world.events.clear()
    world.run(timedelta(seconds=40))
    found = [(event.track_id, type(event.job).__name__) for event in world.events if isinstance(event, Found)]
    second_order = [number for number, (_, job) in enumerate(found) if job == "Purchase"][1]
    later = [job for track_id, job in found[second_order:] if track_id.startswith("z")]
    assert later.count("Fetch") >= 3, found


def with_a_slow_task(make_world: MakeWorld, length: timedelta = 9 * HOUR, **policy: Any) -> World:
    """A track whose task runs so long; it is overdue after six hours."""
    world = make_world(**policy)
    world.kie.script.when(replace(SMALL, run=length), times=1)
    world.add("slow")
    world.run()
    return world


def bought_for_slow(world: World) -> int:
    return len(world.kie.book.purchases_for("called slow"))


def test_who_may_spend_no_more_asks_on_for_the_task_that_it_would_replace(make_world: MakeWorld) -> None:
    world = with_a_slow_task(make_world)
    met: list[tuple[State, Reason | None]] = []
    for _ in range(10):
        world.pass_time(HOUR)
        met += world.run(MINUTE, max_purchases=0).states
    assert (State.MISSING, Reason.BUDGET) in met
    assert met[-1] == (State.OK, None)


def test_who_stands_in_line_asks_on_for_the_task_that_it_would_replace(make_world: MakeWorld) -> None:
    """It comes there while the gate is open, since whose turn it is looks into the store first, and that takes long."""
    world = with_a_slow_task(make_world, per_hour=1)
    for number in range(20):
        world.add(f"t{number:03}")

    def takes(tag: str) -> tuple[timedelta, timedelta]:
        return 2 * (timedelta(seconds=0.1 if tag == "slow" else 0.3),)

    world.crew = lambda: DelayedCrew(Stage(world.clock), takes)
    for _ in range(9):
        world.pass_time(70 * MINUTE)
        world.run(2 * MINUTE)
    assert len(world.kie.book.purchases) > 5
    assert world.row("slow")["image_url"]
    assert bought_for_slow(world) == 1


def test_who_stands_in_line_and_asks_on_has_its_turn_all_the_same(make_world: MakeWorld) -> None:
    world = with_a_slow_task(make_world, DAY, per_hour=1)
    for number in range(8):
        world.add(f"t{number:03}")
    crew = slow_crew(world)
    assert world.run(12 * HOUR).states == {(State.OK, None): 9}
    assert bought_for_slow(world) == 2
    assert crew.idle <= 1
    assert crew.turns < 300


def test_who_asks_on_keeps_its_place_in_line_though_others_come_all_the_time(make_world: MakeWorld) -> None:
    world = with_a_slow_task(make_world, 3 * DAY, per_hour=1)
    for number in range(3):
        world.add(f"early{number}")
    for hour in range(14):
        world.add(f"t{hour:03}")
        world.run(HOUR)
    assert bought_for_slow(world) == 2


def test_a_picture_that_came_back_and_could_not_be_saved_is_no_death(make_world: MakeWorld) -> None:
    world = make_world(1)

    def locked_from_the_picture_on(endings: Sequence[Ending]) -> None:
        if world.kie.book.visits_of("file") and not begins(endings):
            raise DatabaseLocked("locked", "app.db", "Try again")

    with pytest.raises(DatabaseLocked):
        world.run(MINUTE, wrap=Around("leases", "commit_all", locked_from_the_picture_on))
    world.pass_time(world.policy.lease)
    with closing(world.open("another")) as database:
        held = database.leases.lease("t000")
    assert held is not None
    assert held.memory.interruptions == 0
