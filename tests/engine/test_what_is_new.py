"""What the app did meanwhile is looked for now and then: to look takes time for each row that is stuck."""

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.domain.actions import AskTask, Fetch, ListStore, StoredKey
from reconciler.domain.states import State
from reconciler.engine import sweep as engine
from reconciler.engine.events import Found, Ordered
from reconciler.engine.lately import Lately
from reconciler.kie.simulated import Settings
from reconciler.ports import DatabaseLocked
from reconciler.testing.world import World
from tests.engine.conftest import MakeWorld, slow_crew, sweeping
from tests.engine.test_sweep import Around

HALF, MINUTE, HOUR = timedelta(seconds=30), timedelta(minutes=1), timedelta(hours=1)

NOT_DUE = {"due": False}

Looks = list[tuple[datetime, bool]]


def looks(world: World, **bounds: Any) -> Looks:
    """When somebody looked in a run, and whether for what is new."""
    found = Looks()

    def note(*_: Any, new: bool) -> None:
        found.append((world.clock(), new))

    world.run(HOUR, wrap=Around("finder", "due", note), **bounds)
    return found


def test_once_all_was_found_it_is_looked_for_after_half_a_minute_again(make_world: MakeWorld) -> None:
    world = make_world(20, purchase_limit=2)
    slow_crew(world)
    found = looks(world)
    assert world.overview().tracks == {(State.OK, None): 20}
    assert len(found) > 20
    last = None
    for at, new in found:
        assert new is (last is None or at - last >= HALF)
        last = at if new else last


def test_it_is_looked_for_until_all_of_it_was_found(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PAGE", 2)
    world = make_world(5)
    slow_crew(world, size=2)
    found = looks(world)
    assert world.overview().tracks == {(State.OK, None): 5}
    assert [new for _, new in found][:3] == [True, True, True]
    assert not all(new for _, new in found)


def test_a_row_that_comes_meanwhile_is_worked_in_the_same_sweep(make_world: MakeWorld) -> None:
    world = make_world(20, purchase_limit=2)
    slow_crew(world)

    def add(*_: Any, **__: Any) -> None:
        if world.kie.book.purchases and not world.sql("SELECT id FROM tracks WHERE id = 'late'"):
            world.add("late")

    assert world.run(HOUR, wrap=Around("finder", "due", add), audit=False).states == {(State.OK, None): 21}


def test_the_next_sweep_of_a_process_looks_again_at_its_time(make_world: MakeWorld) -> None:
    world = make_world(1)
    lately = Lately(looks_for_new_every=MINUTE)
    for passed, new in ((timedelta(0), True), (MINUTE / 2, False), (MINUTE / 2, True), (-HOUR, True)):
        world.pass_time(passed)
        assert lately.looks_for_new(world.clock()) is new
        lately.all_known_at = world.clock() if new else lately.all_known_at


def test_what_was_found_and_not_begun_is_found_by_the_next_sweep(make_world: MakeWorld) -> None:
    world = make_world(20)
    slow_crew(world, size=2)
    with sweeping(world, timedelta(seconds=1)) as sweep:
        assert sweep.run().stopped
        assert sweep._queue
        assert sweep._lately.all_known_at is None
    with sweeping(world, HOUR) as sweep:
        sweep.run()
        assert sweep._lately.all_known_at is not None


def test_so_is_what_was_found_when_the_database_failed(make_world: MakeWorld) -> None:
    world = make_world(3)

    def fail(*_: Any) -> None:
        raise DatabaseLocked("locked", "app.db", "Try again")

    with sweeping(world, HOUR, wrap=Around("leases", "lease_all", fail)) as sweep:
        with pytest.raises(DatabaseLocked):
            sweep.run()
        assert sweep._lately.all_known_at is None


# -- while many are in the queue ---------------------------------------------------------------------------------------


def test_tasks_that_end_are_asked_for_before_all_that_is_new_was_looked_at(make_world: MakeWorld) -> None:
    world = make_world(60, max_concurrent_tasks=2)
    slow_crew(world, 1, size=2)
    world.run(HOUR, audit=False)
    looked = [e.track_id for e in world.events if isinstance(e, Found) and isinstance(e.job, ListStore)]
    asked = next(n for n, e in enumerate(world.events) if isinstance(e, Found) and isinstance(e.job, AskTask))
    new = next(n for n, e in enumerate(world.events) if isinstance(e, Found) and e.track_id == "t059")
    assert len(set(looked)) == 60
    assert asked < new


def test_they_and_those_in_the_queue_take_turns(make_world: MakeWorld) -> None:
    world = make_world(6)
    world.run(timedelta(seconds=1), only=("t000", "t001", "t002"))
    world.pass_time(MINUTE)
    with sweeping(world, HOUR) as sweep:
        sweep._queue.extend(["t001", "t005", "t004", "t003"])
        world.pass_time(MINUTE)
        assert [sweep._next() for _ in range(6)] == ["t000", "t001", "t002", "t005", "t004", "t003"]


UNLIMITED = {
    "kie": Settings(credits=100_000, creation_limit=10**6, max_running=10**6),
    "purchase_window": timedelta(milliseconds=1),
    "max_concurrent_tasks": 10**6,
}


def first_asked_and_ordered(world: World) -> tuple[list[str], list[str]]:
    """Whose task was asked for before the last order, and who was ordered for after the first question."""
    steps = [
        (type(e), e.purchase.track_id if isinstance(e, Ordered) else e.track_id)
        for e in world.events
        if isinstance(e, Ordered) or (isinstance(e, Found) and isinstance(e.job, AskTask))
    ]
    kinds = [kind for kind, _ in steps]
    first, last = kinds.index(Found), len(kinds) - kinds[::-1].index(Ordered)
    between = steps[first:last]
    return [t for kind, t in between if kind is Found], [t for kind, t in between if kind is Ordered]


def test_they_take_turns_however_many_become_due(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever became due last would be first, again and again."""
    world, due = make_world(), [f"due {number}" for number in range(20)]
    with sweeping(world, HOUR) as sweep:
        sweep._queue.extend(["a", "b", "c", "d"])
        met: list[str | None] = []
        for more in (4, 8, 12, 16):
            monkeypatch.setattr(
                sweep, "_due", lambda *_, more=more, **__: [one for one in due[:more] if one not in met]
            )
            world.clock.time += MINUTE
            met.extend(sweep._next() for _ in range(2))
        assert met == ["due 0", "a", "due 1", "b", "due 2", "c", "due 3", "d"]


def test_who_waits_to_buy_is_called_while_many_are_in_the_queue(make_world: MakeWorld) -> None:
    """Three may buy until the first good result; until then all others are put in line."""
    world = make_world(100, **UNLIMITED)
    slow_crew(world, 1, size=4)
    world.run(HOUR, audit=False)
    asked, ordered = first_asked_and_ordered(world)
    assert len(ordered) == 97
    assert len(asked) > 50


def test_what_is_new_is_looked_for_once_the_queue_is_empty_though_many_are_due(make_world: MakeWorld) -> None:
    world = make_world(6)
    world.run(timedelta(seconds=1), only=("t000", "t001", "t002"))
    world.pass_time(MINUTE)
    with sweeping(world, HOUR, audit=False) as sweep:
        sweep._due_meanwhile.extend(["t000", "t001", "t002"])
        world.clock.time += engine.TOGETHER
        assert [sweep._next() for _ in range(6)] == ["t000", "t003", "t001", "t004", "t002", "t005"]


def test_a_walked_row_in_hand_is_found_again_though_others_are_begun_with_it(make_world: MakeWorld) -> None:
    """As long as it is not begun, the walk resumes before it."""
    world = make_world(4)
    with sweeping(world, HOUR) as sweep:
        sweep._resume_at, sweep._walked_to = "t000", "t001"
        sweep._queue.append("t001")
        sweep._due_meanwhile.extend(["t002", "t003"])
        world.clock.time += engine.TOGETHER
        assert sweep._several()[:3] == ["t002", "t001", "t003"]
        assert sweep._resume_at == "t000"


@pytest.mark.parametrize(
    ("pictures", "others", "has_room"),
    [(0, 11, True), (0, 12, False), (5, 6, True), (6, 2, True), (6, 3, False), (8, 0, True), (9, 0, False)],
)
def test_several_are_begun_at_once_while_half_of_all_hands_have_a_picture(
    make_world: MakeWorld, pictures: int, others: int, has_room: bool
) -> None:
    world = make_world()
    slow_crew(world, size=12)
    jobs = [*[Fetch(StoredKey("key"))] * pictures, *[ListStore()] * others]
    with sweeping(world, HOUR) as sweep:
        flights: Any = {f"t{n}": SimpleNamespace(job=job, risky=False) for n, job in enumerate(jobs)}
        sweep._steps.flights = flights
        assert sweep._has_room() is has_room


def test_a_run_for_some_tracks_does_not_tell_that_nothing_else_is_new(make_world: MakeWorld) -> None:
    world = make_world(3)
    with sweeping(world, HOUR, only=("t000",)) as sweep:
        sweep.run()
        assert sweep._lately.all_known_at is None


@pytest.mark.parametrize(("passed", "bounds", "looks"), [(0.049, {}, 1), (0.05, {}, 2), (-9, {}, 2), (9, NOT_DUE, 0)])
def test_they_are_looked_for_rarely_and_only_where_they_are_wanted(
    make_world: MakeWorld, passed: float, bounds: dict[str, bool], looks: int
) -> None:
    world, found = make_world(3), list[str]()
    with sweeping(world, HOUR, Around("finder", "due", lambda *_, **__: found.append("")), **bounds) as sweep:
        sweep._queue.extend(sweep._look_for_due())
        world.clock.time += timedelta(seconds=passed)
        sweep._desk.soonest = world.clock()
        sweep._look_meanwhile()
    assert len(found) == looks


BARE, ELSEWHERE = "0123456789abcdef0123456789abcdef", "https://example.com/a.png"


@pytest.mark.parametrize(
    ("columns", "seen"),
    [
        ({}, True),
        ({"image_url": BARE}, False),
        ({"image_url": ELSEWHERE}, False),
        ({"image_url": BARE, "created_at": None}, False),
        ({"image_url": BARE, "age": HOUR}, True),
        ({"track_id": "handed", "image_url": BARE}, True),
    ],
)
def test_of_new_rows_those_are_left_for_an_audit_that_no_sweep_sees(
    make_world: MakeWorld, columns: dict[str, Any], seen: bool
) -> None:
    world = make_world()
    world.run(audit=False)
    world.sql("INSERT INTO reconciler_image_task VALUES ('handed', 'x', NULL)")
    world.add(**{"track_id": "one", **columns})
    assert_is_seen(world, seen)


@pytest.mark.parametrize(("image", "seen"), [(None, True), (BARE, False), (ELSEWHERE, False)])
def test_of_changed_rows_those_are_left_for_an_audit_that_no_sweep_sees(
    make_world: MakeWorld, image: str | None, seen: bool
) -> None:
    world = make_world()
    world.add("one", image_url=world.kie.add_file("good.jpg", size=(160, 90)))
    world.run()
    world.sql("UPDATE tracks SET image_url = ?", image)
    assert_is_seen(world, seen)


def assert_is_seen(world: World, seen: bool) -> None:
    """By a sweep, as the overview tells beforehand."""
    told = world.overview()
    assert told.for_audit == (not seen)
    assert (told.work_due, told.sweep_due == told.at) == (told.at, seen)
    world.events.clear()
    world.run(timedelta(seconds=1), audit=False)
    assert bool(world.events) is seen
    world.run(timedelta(seconds=1))
    assert world.overview().for_audit == 0
