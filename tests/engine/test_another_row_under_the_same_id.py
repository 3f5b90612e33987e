"""A row that was deleted and made anew under its old id is another row: nothing of the one before is held against it,
nor given to it."""

from datetime import timedelta

import pytest

from reconciler.domain.states import Reason, State
from reconciler.testing.world import World
from tests.engine.conftest import MakeWorld

MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("minutes", "hours", "days"))
BEFORE, AFTER = "a" * 32, "b" * 32
NOTICED = pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "unnoticed"])
SONGS = pytest.mark.parametrize(
    ("before", "after"), [(BEFORE, AFTER), (BEFORE, None), (None, AFTER), (None, None)], ids=str
)


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    world = make_world()
    world.kie.add_song(BEFORE)
    world.kie.add_song(AFTER)
    return world


def served(world: World, song: str | None) -> None:
    world.add("t", task_id=song, extended_prompt_image="the picture before")
    assert world.run(HOUR).states == {(State.OK, None): 1}


def deleted(world: World, *, noticed: bool) -> None:
    world.pass_time(3 * DAY)
    world.sql("DELETE FROM tracks")
    if noticed:
        assert world.run(MINUTE).states == {}
    world.pass_time(HOUR)


def prompts(world: World) -> list[str]:
    return [purchase.prompt for purchase in world.kie.book.purchases]


@NOTICED
@SONGS
def test_it_is_left_alone_for_a_while_and_is_given_a_picture_of_its_own(
    world: World, before: str | None, after: str | None, *, noticed: bool
) -> None:
    served(world, before)
    deleted(world, noticed=noticed)
    world.add("t", age=MINUTE, task_id=after, extended_prompt_image="the picture after")
    assert world.run(MINUTE).states == {(State.SETTLING, None): 1}
    assert world.run(HOUR).states == {(State.OK, None): 1}
    assert prompts(world) == ["the picture before", "the picture after"]


@NOTICED
def test_an_unfinished_one_is_no_row_left_behind(world: World, *, noticed: bool) -> None:
    served(world, BEFORE)
    deleted(world, noticed=noticed)
    world.add("t", age=MINUTE, status="pending", task_id=AFTER, extended_prompt_image="the picture after")
    assert world.run(HOUR).states == {}
    assert world.row("t")["image_url"] is None
    assert len(prompts(world)) == 1
    world.pass_time(DAY)
    assert world.run(HOUR).states == {(State.OK, None): 1}


@NOTICED
def test_it_settles_though_the_one_before_was_long_in_need(world: World, *, noticed: bool) -> None:
    world.with_policy(per_day=0)
    world.add("t", task_id=BEFORE)
    world.run(MINUTE)
    deleted(world, noticed=noticed)
    world.with_policy(per_day=100)
    world.add("t", age=MINUTE, task_id=AFTER)
    assert world.run(MINUTE).states == {(State.SETTLING, None): 1}
    assert prompts(world) == []


@NOTICED
def test_of_the_same_song_it_is_given_what_is_stored(world: World, *, noticed: bool) -> None:
    served(world, BEFORE)
    deleted(world, noticed=noticed)
    world.add("t", age=MINUTE, task_id=BEFORE)
    assert world.run(MINUTE).states == {(State.SETTLING, None): 1}
    assert world.run(HOUR).states == {(State.OK, None): 1}
    assert len(prompts(world)) == 1


@pytest.mark.parametrize("song", [BEFORE, None], ids=str)
@pytest.mark.parametrize("ahead", [5 * MINUTE, 10 * HOUR, 400 * DAY], ids=str)
def test_a_row_whose_clock_is_ahead_stays_the_same_row_once_that_time_has_come(
    world: World, song: str | None, ahead: timedelta
) -> None:
    world.add("t", age=-ahead, task_id=song)
    assert world.run(2 * DAY).states == {(State.OK, None): 1}
    world.pass_time(ahead)
    world.sql("UPDATE tracks SET image_url = NULL")
    assert world.run(2 * DAY).states == {(State.OK, None): 1}
    assert len(prompts(world)) == 1


@pytest.mark.parametrize("under_way", [True, False], ids=["under way", "served"])
def test_a_row_whose_date_of_birth_is_not_known_at_first_stays_the_same_row(world: World, *, under_way: bool) -> None:
    world.add("t", task_id=None, created_at=None)
    world.run(timedelta(seconds=1) if under_way else HOUR)
    born = world.pass_time(DAY).isoformat()
    world.sql("UPDATE tracks SET image_url = NULL, created_at = ?", born)
    assert world.run(2 * DAY).states == {(State.OK, None): 1}
    assert len(prompts(world)) == 1


def test_a_row_of_one_song_whose_date_of_birth_is_moved_is_bought_for_once(world: World) -> None:
    served(world, BEFORE)
    for _ in range(3):
        born = world.pass_time(DAY).isoformat()
        world.sql("UPDATE tracks SET image_url = NULL, created_at = ?", born)
        assert world.run(HOUR).states == {(State.OK, None): 1}
    assert len(prompts(world)) == 1


def moved(world: World, **columns: str | None) -> None:
    """The app writes the row, and its date of birth anew with it."""
    names = ", ".join(f"{name} = ?" for name in ("created_at", *columns))
    world.sql(f"UPDATE tracks SET {names}", world.clock().isoformat(), *columns.values())


def test_a_row_whose_date_of_birth_is_moved_again_and_again_is_left_alone_for_no_more_than_a_day(world: World) -> None:
    world.add("t", age=MINUTE, task_id=BEFORE)
    for _ in range(24 * 3):
        assert world.run(MINUTE).states == {(State.SETTLING, None): 1}
        world.pass_time(HOUR / 3)
        moved(world)
    assert world.run(MINUTE * 10).states == {(State.OK, None): 1}


def test_who_undoes_our_writes_is_not_fought_though_the_date_of_birth_is_moved_each_time(world: World) -> None:
    served(world, BEFORE)
    for _ in range(4):
        world.pass_time(HOUR * 11)
        moved(world, image_url=None)
        states = world.run(HOUR).states
    assert states == {(State.FAILED, Reason.WRITE_CONFLICT): 1}


def test_what_was_bought_before_the_music_task_was_known_is_used_though_the_date_of_birth_is_moved(
    world: World,
) -> None:
    world.add("t", task_id=None)
    world.run(timedelta(seconds=1))
    world.sql("UPDATE tracks SET task_id = ?", BEFORE)
    world.run(timedelta(seconds=1))
    world.pass_time(HOUR)
    moved(world)
    assert world.run(DAY).states == {(State.OK, None): 1}
    assert len(prompts(world)) == 1


def test_a_result_that_comes_late_for_the_one_before_is_not_given_to_it(world: World) -> None:
    world.add("t", task_id=None, extended_prompt_image="the picture before")
    world.run(timedelta(seconds=1))
    assert len(prompts(world)) == 1
    world.sql("DELETE FROM tracks")
    world.pass_time(HOUR)
    world.add("t", age=MINUTE, task_id=AFTER, extended_prompt_image="the picture after")
    assert world.run(HOUR).states == {(State.OK, None): 1}
    assert len(prompts(world)) == 2


def test_the_very_picture_of_the_one_before_is_used_where_it_was_bought_anew(world: World) -> None:
    """Who answers the same words with the same bytes did so for money."""
    world.add("t", task_id=None)
    world.run(timedelta(seconds=1))
    world.sql("DELETE FROM tracks")
    world.pass_time(HOUR)
    world.add("t", age=MINUTE, task_id=None)
    assert world.run(2 * DAY).states == {(State.OK, None): 1}
    assert len(set(prompts(world))) == 1
    assert len(prompts(world)) == 2


def test_the_very_picture_of_another_song_is_used_where_it_was_bought_anew(world: World) -> None:
    world.add("t", task_id=BEFORE)
    world.run(timedelta(seconds=1))
    world.pass_time(HOUR)
    world.sql("UPDATE tracks SET task_id = ?", AFTER)
    assert world.run(2 * DAY).states == {(State.OK, None): 1}
    assert len(prompts(world)) == 2
