"""Promise 6: our store, a living URL, a known task and the song's own picture come before any purchase."""

import struct
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from reconciler.domain.states import How, Reason, State
from reconciler.engine.events import Result
from reconciler.kie.simulated import Song, Succeed, belongs_to, paint
from reconciler.testing.cutting import Killed, Scissors
from reconciler.testing.world import PUBLIC_URL, World

TASK = "a1" * 16
DONE = Succeed(width=640, height=360, run=timedelta(0))
MONTH = timedelta(days=30)


def add_task(world: World, text: str, task_id: str = TASK, *, age: timedelta = timedelta(hours=1)) -> None:
    world.kie.add_task(task_id, prompt=text, behaviour=DONE, created_at=world.clock() - age)


def helped_free(world: World, result: Result, how: How, text: str, *, purchases: int = 0) -> None:
    assert result.states == {(State.OK, None): 1}
    assert result.resolved == {how: 1}
    assert len(world.kie.book.creations) == purchases
    assert world.row("t")["resolution"] == "640x360"
    assert belongs_to(world.picture("t") or b"", text)


def forget_everything(world: World) -> None:
    """Our tables are gone, the app's and the store stay."""
    for table in world.sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'reconciler%'"):
        world.sql(f"DROP TABLE {table['name']}")


def test_after_a_lost_memory_the_store_is_asked_first(world: World) -> None:
    world.add("t", extended_prompt_image="bought long ago")
    world.run()
    forget_everything(world)
    world.sql("UPDATE tracks SET image_url = NULL, resolution = NULL")
    world.pass_time(timedelta(days=1))
    helped_free(world, world.run(), How.RESTORED, "bought long ago", purchases=1)


@pytest.mark.parametrize("age", [timedelta(0), timedelta(days=1)], ids=["of just now", "of yesterday"])
@pytest.mark.parametrize("held", [True, False], ids=["held back then", "stuck then"])
def test_after_a_restore_from_a_backup_the_store_is_asked_first(world: World, held: bool, age: timedelta) -> None:
    world.with_policy(per_hour=0 if held else 10)
    world.add("t", extended_prompt_image="bought since the backup")
    if held:
        assert world.run().states == {(State.MISSING, Reason.BUDGET): 1}
    backup = world.path.read_bytes()
    world.with_policy(per_hour=10)
    world.run()
    world.path.write_bytes(backup)
    world.pass_time(age)
    helped_free(world, world.run(), How.RESTORED, "bought since the backup", purchases=1)


def test_what_was_stored_for_another_track_is_not_taken_from_the_store(world: World) -> None:
    world.add("t-2", extended_prompt_image="of the other")
    world.run()
    forget_everything(world)
    world.add("t", extended_prompt_image="of this one")
    world.run()
    assert belongs_to(world.picture("t") or b"", "of this one")


def test_a_living_url_that_dies_is_kept_before_it_does(world: World) -> None:
    url = world.kie.add_file("/p/living.jpg", text="living", size=(640, 360), life=timedelta(hours=2))
    world.add("t", image_url=url, resolution="2048x1152")
    helped_free(world, world.run(), How.REHOSTED, "living")
    world.pass_time(MONTH)
    assert world.run().states == {(State.OK, None): 1}


@pytest.mark.parametrize("home", ["https://ref.supabase.co/storage/v1", f"{PUBLIC_URL}/by-hand"])
def test_a_living_url_that_lasts_stays_as_it_is(world: World, home: str) -> None:
    url = f"{home}/lasting.jpg"
    world.kie.add_file(urlsplit(url).path, text="lasting", size=(640, 360))
    world.add("t", image_url=url, resolution="unknown")
    result = world.run()
    assert result.resolved == {How.ALREADY_GOOD: 1}
    assert (world.row("t")["image_url"], world.row("t")["resolution"]) == (url, "640x360")
    assert not world.kie.book.creations


def test_a_living_picture_that_is_more_than_we_take_stays_as_it_is(world: World) -> None:
    header = struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 8704, 4896, 8, 2, 0, 0, 0, 0)
    begins = b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I4s", 40_000_000, b"IDAT")
    world.kie.add_file("/storage/v1/huge.png", begins + bytes(200_000), format_="PNG")
    url = "https://ref.supabase.co/storage/v1/huge.png"
    world.add("t", image_url=url, resolution="8704x4896")
    for days in (1, 40, 40):
        assert world.run().states == {(State.FAILED, Reason.IMAGE_REJECTED): 1}
        assert (world.row("t")["image_url"], world.row("t")["resolution"]) == (url, "8704x4896")
        world.pass_time(timedelta(days=days))
    assert not world.kie.book.creations
    world.sql("UPDATE tracks SET image_url = NULL")
    assert world.settle().states == {(State.OK, None): 1}


def test_a_presigned_url_that_is_still_alive_is_used(world: World) -> None:
    world.kie.add_file("/covers/x.jpg", text="signed", size=(640, 360))
    signed = f"X-Amz-Date={world.clock():%Y%m%dT%H%M%SZ}&X-Amz-Expires=1200&X-Amz-Signature=ab"
    world.add("t", image_url=f"https://acc.r2.cloudflarestorage.com/covers/x.jpg?{signed}", resolution="2048x1152")
    helped_free(world, world.run(), How.REHOSTED, "signed")


@pytest.mark.parametrize("head", ["data:image/jpeg;base64", "DATA:image/png;base64", "data:image/png; base64"])
@pytest.mark.parametrize("padding", ["==", ""])
def test_a_picture_held_inline_is_used(world: World, head: str, padding: str) -> None:
    picture = paint("inline", 640, 360, "PNG")
    body = b64encode(picture + bytes(-len(picture) % 3 + 1)).decode()
    assert body.endswith("==")
    world.add("t", image_url=f"{head},{body.rstrip('=')}{padding}")
    helped_free(world, world.run(), How.REHOSTED, "inline")


def test_a_task_saved_as_url_is_adopted(world: World) -> None:
    add_task(world, "saved as url")
    world.add("t", image_url=TASK)
    helped_free(world, world.run(), How.ADOPTED, "saved as url")


def test_a_documented_task_id_saved_as_url_is_adopted(world: World) -> None:
    add_task(world, "documented", "task_bytedance_1765000000000")
    world.add("t", image_url="task_bytedance_1765000000000")
    helped_free(world, world.run(), How.ADOPTED, "documented")


@pytest.mark.parametrize("named", [f"{TASK} | image_task_id: {TASK}0", f"{TASK}0 | image_task_id: {TASK}"])
def test_a_task_in_the_prompt_is_adopted_although_its_id_begins_another(world: World, named: str) -> None:
    """The longer id was never made: taken for one another, the track would wait for it or take a stranger's."""
    add_task(world, "in the prompt")
    text = f"calm | Music: slow | Visual: a lake | image_task_id: {named}"
    world.add("t", extended_prompt=text)
    helped_free(world, world.run(), How.ADOPTED, "in the prompt")
    assert world.row("t")["extended_prompt"] == text


def test_the_task_of_a_track_is_not_taken_for_another_whose_id_it_begins(world: World) -> None:
    add_task(world, "the first one's", f"{TASK}0")
    world.add("other", extended_prompt=f"x | image_task_id: {TASK}0")
    world.add("t", extended_prompt=f"x | image_task_id: {TASK}", extended_prompt_image="bought")
    world.settle()
    assert belongs_to(world.picture("other") or b"", "the first one's")
    assert belongs_to(world.picture("t") or b"", "bought")


def test_the_newest_task_in_the_prompt_wins(world: World) -> None:
    add_task(world, "older")
    add_task(world, "newer", "b2" * 16)
    world.add("t", extended_prompt=f"x | image_task_id: {TASK} | image_task_id: {'b2' * 16}")
    helped_free(world, world.run(), How.ADOPTED, "newer")


def test_a_task_handed_over_is_adopted(world: World) -> None:
    world.run()  # makes our tables
    add_task(world, "handed over")
    world.add("t")
    world.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('t', ?)", TASK)
    helped_free(world, world.run(), How.ADOPTED, "handed over")


@pytest.mark.slow
def test_a_task_handed_over_that_still_runs_is_waited_for(world: World) -> None:
    world.run()
    world.kie.add_task(TASK, prompt="slow", behaviour=Succeed(width=640, height=360, run=timedelta(minutes=30)))
    world.add("t")
    world.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('t', ?)", TASK)
    assert world.run().states == {(State.AWAITING, "in_flight"): 1}
    helped_free(world, world.run(timedelta(hours=1)), How.ADOPTED, "slow")


@pytest.mark.parametrize(
    "place", ["after leases.commit_all", "before kie.task", "after kie.task", "before pictures.fetch"]
)
def test_our_own_task_is_followed_after_the_process_died(
    make_world: Callable[..., World], world: World, place: str
) -> None:
    scissors = Scissors()
    rehearsal = make_world()
    rehearsal.add("t", extended_prompt_image="our own")
    rehearsal.run(wrap=scissors.wrap)
    bought_at = scissors.places.index("after kie.create")
    world.add("t", extended_prompt_image="our own")
    with pytest.raises(Killed):
        world.run(wrap=Scissors(scissors.places.index(place, bought_at)).wrap)
    world.pass_time(timedelta(minutes=5))
    helped_free(world, world.run(), How.GENERATED, "our own", purchases=1)


@pytest.mark.parametrize("row", ["still names it", "is empty"])
def test_a_stored_picture_that_was_lost_and_put_back_is_used(world: World, tmp_path: Path, row: str) -> None:
    world.add("t", extended_prompt_image="our own")
    world.run()
    file = world.path.parent / "images" / (world.policy.key_of(world.row("t")["image_url"]) or "")
    if row == "is empty":
        world.sql("UPDATE tracks SET image_url = NULL")
    world.with_policy(per_day=0)
    world.pass_time(2 * MONTH)
    file.rename(tmp_path / "away")
    assert world.run(timedelta(days=3)).states == {(State.MISSING, Reason.BUDGET): 1}
    (tmp_path / "away").rename(file)
    world.with_policy(per_day=100)
    result = world.run()
    assert result.states == {(State.OK, None): 1}
    assert len(world.kie.book.purchases) == 1
    assert belongs_to(world.picture("t") or b"", "our own")


@pytest.mark.parametrize("home", ["https://new.example/p", PUBLIC_URL.rpartition("/")[0]], ids=["away", "up"])
@pytest.mark.parametrize("since", ["another song", "a copy of the row", "our tables were lost"])
def test_a_row_that_shows_our_picture_is_written_anew_when_public_url_moves(
    world: World, since: str, home: str
) -> None:
    world.add("t", task_id="c3" * 16, extended_prompt_image="our own")
    world.run()
    key = (world.row("t")["image_url"] or "").removeprefix(f"{PUBLIC_URL}/")
    if since == "another song":
        world.sql("UPDATE tracks SET task_id = ?", "d4" * 16)
    elif since == "a copy of the row":
        world.add("copy", image_url=world.row("t")["image_url"], resolution="640x360")
    else:
        for table in world.sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'reconciler%'"):
            world.sql(f"DROP TABLE {table['name']}")
    world.pass_time(timedelta(days=20))
    world.run()
    world.with_policy(public_url=home)
    result = world.run()
    assert result.states == {(State.OK, None): len(world.rows())}
    assert {row["image_url"] for row in world.rows()} == {f"{home}/{key}"}
    assert len(world.kie.book.purchases) == 1


def test_the_songs_own_good_picture_is_taken(world: World) -> None:
    world.kie.add_song("c3" * 16, Song(title="with the song", cover=(640, 360)))
    world.add("t", task_id="c3" * 16)
    helped_free(world, world.run(), How.SUNO, "with the song")


def test_a_result_for_which_the_row_was_deleted_and_came_back_is_not_bought_again(world: World) -> None:
    world.add("t", extended_prompt_image="once")
    world.run()
    row = world.row("t")
    world.sql("DELETE FROM tracks")
    world.pass_time(timedelta(hours=1))
    world.run()
    world.add("t", **{**row, "image_url": None, "resolution": None})
    world.run()
    assert len(world.kie.book.creations) == 1
    assert belongs_to(world.picture("t") or b"", "once")
