"""Promise 14: Every track in scope is in exactly one state, and the gauges equal a recount by `classify`.

The recount reads every row, loads what is remembered of it and asks the one judge, as `explain` does. It is made after
every step of the histories of promise 4, and here after what they seldom show.
"""

from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from itertools import product
from typing import Any

import pytest

from reconciler.database import overview
from reconciler.database.overview import SqlOverview
from reconciler.database.sqlite import SqliteDialect
from reconciler.domain import urls
from reconciler.domain.states import Reason, State
from reconciler.kie.simulated import page
from reconciler.testing.cutting import Killed, Scissors
from reconciler.testing.store import MemoryStore
from reconciler.testing.world import World
from tests.promises.recount import agreed
from tests.promises.test_04_every_history_converges import (
    CDN,
    DAY,
    HOUR,
    MINUTE,
    ROWS,
    SECOND,
    Meanwhile,
    failing,
)

MakeWorld = Callable[..., World]


def checked(world: World) -> dict[tuple[State, Reason | None], int]:
    with closing(world.reader()) as reader:
        return dict(agreed(world, reader).tracks)


def test_before_anything_was_looked_at_rows_count_as_they_would_be_judged(make_world: MakeWorld) -> None:
    world = make_world()
    for number, (columns, url) in enumerate(product(ROWS, (None, "", "nonsense", f"{CDN}/a.jpg", "data:image/png,"))):
        world.add(f"t{number}", image_url=url, **columns)
    shown = checked(world)
    assert {state for state, _ in shown} == {State.MISSING, State.UNVERIFIED, State.SETTLING, State.INVALID}
    assert not world.sql("SELECT name FROM sqlite_master WHERE name LIKE 'reconciler%'"), "nor is anything written"


def test_a_task_handed_over_is_followed_in_the_numbers_at_once(make_world: MakeWorld) -> None:
    world = make_world(per_day=0)
    world.add("t1")
    world.run()
    assert checked(world) == {(State.MISSING, Reason.BUDGET): 1}
    world.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('t1', 'task_1')")
    assert checked(world) == {(State.AWAITING, Reason.IN_FLIGHT): 1}


def test_a_good_track_stays_good_in_the_numbers_whatever_task_it_was_handed(make_world: MakeWorld) -> None:
    """Once, though it is looked for among those whose row changed."""
    world = make_world()
    world.add("t1")
    world.add("t2")
    world.settle()
    assert checked(world) == {(State.OK, None): 2}
    world.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('t1', 'task_1')")
    assert checked(world) == {(State.OK, None): 2}
    world.sql("UPDATE tracks SET image_url = NULL WHERE id = 't2'")
    assert checked(world)[State.OK, None] == 1


def test_a_track_that_comes_back_into_scope_is_not_good_before_it_was_looked_at(make_world: MakeWorld) -> None:
    """Though nothing of its row changed but its status, which tells no time."""
    world = make_world(per_day=0)
    world.add("t1")
    world.run()
    world.sql("UPDATE tracks SET status = 'failed'")
    world.run()
    assert checked(world) == {}
    world.sql("UPDATE tracks SET status = 'completed'")
    assert checked(world) == {(State.MISSING, Reason.BUDGET): 1}


def test_a_budget_that_has_room_again_shows_in_the_numbers_at_once(make_world: MakeWorld) -> None:
    world = make_world(per_hour=1)
    world.add("t1")
    world.add("t2")
    world.run()
    assert checked(world) == {(State.OK, None): 1, (State.MISSING, Reason.BUDGET): 1}
    world.pass_time(HOUR)
    assert checked(world) == {(State.OK, None): 1, (State.MISSING, Reason.DUE): 1}


def test_a_row_that_is_spoiled_or_whose_name_is_like_anothers_counts_as_invalid(make_world: MakeWorld) -> None:
    world = make_world(per_day=0)
    world.add("t1")
    world.add("t2")
    world.run()
    world.sql("UPDATE tracks SET mood = x'00' WHERE id = 't1'")
    world.add("", id=b"t2")
    assert checked(world) == {(State.INVALID, Reason.INVALID_ROW): 2, (State.MISSING, Reason.BUDGET): 1}
    world.pass_time(8 * DAY)
    with closing(world.open()) as database:
        database.gate.pause(paused=True)
    assert checked(world) == {(State.INVALID, Reason.INVALID_ROW): 2, (State.MISSING, Reason.BUDGET): 1}


@pytest.mark.parametrize("columns", [{}, {"title": b"\x00"}], ids=["a track", "a row that nobody can work"])
def test_a_clock_that_is_set_back_while_a_track_is_worked_makes_no_need_of_the_future(
    make_world: MakeWorld, columns: dict[str, Any]
) -> None:
    world = make_world(per_day=0)
    world.add("t1", **columns)
    probe = Scissors()
    world.run(wrap=probe.wrap)
    for place in range(len(probe.places)):
        world.run(wrap=Meanwhile(place, lambda: world.clock.jump(-HOUR)).wrap)
        with closing(world.reader()) as reader:
            since = agreed(world, reader).oldest_stuck
        assert since is not None
        assert since <= world.clock()
        world.sql("DELETE FROM reconciler_memory")


def test_a_clock_that_is_set_back_after_tracks_were_called_hides_nothing_that_changed_before(
    make_world: MakeWorld,
) -> None:
    world = make_world(per_day=0)
    world.add("t1", updated_at=world.clock().replace(tzinfo=None).isoformat(" "))
    world.run()
    assert checked(world) == {(State.SETTLING, None): 1}
    world.pass_time(DAY)
    for paused in (True, False):
        with closing(world.open()) as database:
            database.gate.pause(paused=paused)
    world.clock.jump(-HOUR)
    assert checked(world) == {(State.MISSING, Reason.BUDGET): 1}


def fails_right_before_the_purchase(world: World) -> MemoryStore:
    """The store, which was listed while nothing might be bought, and is to be once more."""
    world.store = store = MemoryStore()
    world.run()
    world.pass_time(HOUR)
    world.with_policy(per_day=10)
    store.on_call = failing("keys")
    world.run(SECOND)
    assert checked(world) == {(State.BACKING_OFF, Reason.STORAGE_FAILED): 1}
    return store


def test_a_store_that_fails_right_before_a_purchase(make_world: MakeWorld) -> None:
    world = make_world(per_day=0)
    world.add("t1")
    store = fails_right_before_the_purchase(world)
    store.on_call = failing()
    world.run()
    assert checked(world) == {(State.OK, None): 1}


def test_a_host_that_becomes_suspect_while_a_track_of_it_waits_for_the_store(make_world: MakeWorld) -> None:
    world = make_world(per_day=0)
    world.kie.add_file("/p/small.jpg", size=(64, 36))
    world.add("t1", image_url=f"{CDN}/p/small.jpg")
    fails_right_before_the_purchase(world)
    with closing(world.open()) as database:
        for _ in range(21):
            database.leases.host_lost(urls.host_of(CDN) or "")
        assert checked(world) == {(State.BELOW_TARGET, Reason.HOST_SUSPECT): 1}


@pytest.mark.slow
def test_tracks_of_a_host_that_becomes_suspect(make_world: MakeWorld) -> None:
    world = make_world(per_day=0)
    for number in range(25):
        world.kie.add_file(f"/p/{number}.jpg", size=(640, 360))
        world.add(f"t{number:02}", image_url=f"{CDN}/p/{number}.jpg")
    world.run()
    assert checked(world) == {(State.OK, None): 25}
    world.kie.script.when(page(404), operation="file")
    for _ in range(6):
        world.pass_time(25 * HOUR)
        world.run(8 * HOUR)
        checked(world)
    assert checked(world) == {(State.MISSING, Reason.HOST_SUSPECT): 25}
    with closing(world.open()) as database:
        assert database.release_suspects()
    assert checked(world) == {(State.MISSING, Reason.BUDGET): 25}


@pytest.mark.parametrize("judged", [0, 1, 3])
def test_beyond_what_is_judged_anew_tracks_count_as_they_last_stood(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, judged: int
) -> None:
    world = make_world(per_day=0)
    for number in range(6):
        world.add(f"t{number}", age=2 * DAY if number else MINUTE)
    world.run(MINUTE)
    assert checked(world) == {(State.MISSING, Reason.BUDGET): 5, (State.SETTLING, None): 1}
    world.sql("UPDATE tracks SET image_url = ? WHERE id > 't1'", f"{CDN}/a.jpg")
    world.sql("UPDATE tracks SET status = 'failed' WHERE id = 't1'")
    assert checked(world) == {(State.UNVERIFIED, None): 4, (State.SETTLING, None): 1}
    monkeypatch.setattr(overview, "JUDGED", judged)
    shown = world.overview().tracks
    assert sum(shown.values()) == 5
    assert shown[State.UNVERIFIED, None] == judged
    assert shown[State.MISSING, Reason.BUDGET] == 4 - judged


def test_a_track_whose_memory_cannot_be_read_counts_as_it_last_stood(make_world: MakeWorld) -> None:
    world = make_world(per_day=0)
    for number in range(3):
        world.add(f"t{number}", age=2 * DAY)
    world.run(MINUTE)
    world.sql("UPDATE tracks SET image_url = ?", f"{CDN}/a.jpg")
    world.sql("UPDATE reconciler_memory SET doc = '{bad' WHERE track_id = 't1'")
    assert world.overview().tracks == {(State.UNVERIFIED, None): 2, (State.MISSING, Reason.BUDGET): 1}


@pytest.mark.parametrize("rows", [1, 2, 3, 50])
def test_rows_that_are_read_in_stretches_are_all_counted_once(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    world = make_world(per_day=0)
    for number in range(6):
        world.add(f"t{number}", age=2 * DAY if number % 2 else MINUTE)
    world.run(MINUTE)
    world.add("t6")
    world.add("", id=b"t2")
    monkeypatch.setattr(SqliteDialect, "stretch", rows)
    assert checked(world) == {
        (State.SETTLING, None): 3,
        (State.MISSING, Reason.BUDGET): 3,
        (State.MISSING, Reason.DUE): 1,
        (State.INVALID, Reason.INVALID_ROW): 1,
    }


def test_taking_the_numbers_writes_nothing(make_world: MakeWorld) -> None:
    world = make_world()
    for number in range(3):
        world.add(f"t{number}")
    with suppress(Killed):
        world.run(wrap=Scissors(40).wrap)
    world.pass_time(8 * DAY)
    before = world.path.read_bytes()
    checked(world)
    with closing(world.open()) as database:
        SqlOverview(database.connection, database.app, world.policy).overview()
    assert world.path.read_bytes() == before


def test_an_answer_that_comes_when_its_track_was_taken_over_shows_in_the_numbers_at_once(
    make_world: MakeWorld,
) -> None:
    rehearsal, scissors = make_world(), Scissors()
    rehearsal.add("t")
    rehearsal.run(wrap=scissors.wrap)
    world = make_world()
    world.add("t")
    other = partial(world.run, 3 * MINUTE, owner="two")
    world.run(SECOND, wrap=Meanwhile(scissors.places.index("before kie.create"), other).wrap)
    assert checked(world) == {(State.BACKING_OFF, Reason.PROVIDER_FAILED): 1}, "the order was not sent"
