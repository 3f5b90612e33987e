"""Promise 2: no write of NULL, none over a better picture, none to other columns, and always compare-and-set.

Triggers in the app's table are the referee: they refuse every statement that so much as names another column, and note
each of our writes with what it replaced.
"""

import io
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from reconciler.domain.states import State
from reconciler.engine.events import Wrote
from reconciler.kie.simulated import Song, Succeed, belongs_to, paint
from reconciler.ports import Commit, DatabaseError, Ending
from reconciler.testing.world import PUBLIC_URL, World

OURS = ("image_url", "resolution", "updated_at")
CDN = "https://cdn.example"
SONG = "5c" * 16
TASK = "a1" * 16

# -- the referee ---------------------------------------------------------------------------------------------------


@contextmanager
def watched(world: World, *, may_revive: bool = False) -> Iterator[list[dict[str, Any]]]:
    """Within, every statement on the app's rows is ours. What it changed stands in the list afterwards."""
    columns = [row["name"] for row in world.sql("SELECT name FROM pragma_table_info('tracks')")]
    mine = (*OURS, "status") if may_revive else OURS
    others = ", ".join(name for name in columns if name not in mine)
    refuse = "BEGIN SELECT RAISE(ABORT, 'this may never be written'); END"
    names = ("id", "image_url", "resolution", "status", "audio_url")
    old_and_new = ", ".join(f"{when}.{name} AS {when}_{name}" for when in ("old", "new") for name in names)
    world.sql(f"CREATE TABLE seen AS SELECT {old_and_new} FROM tracks AS old, tracks AS new WHERE false")
    world.sql(f"CREATE TRIGGER columns BEFORE UPDATE OF {others} ON tracks {refuse}")
    world.sql(f"CREATE TRIGGER inserts BEFORE INSERT ON tracks {refuse}")
    world.sql(f"CREATE TRIGGER deletes BEFORE DELETE ON tracks {refuse}")
    world.sql(f"CREATE TRIGGER writes AFTER UPDATE ON tracks BEGIN INSERT INTO seen SELECT {old_and_new}; END")
    before = exact(world, others)
    writes: list[dict[str, Any]] = []
    try:
        yield writes
        assert exact(world, others) == before
        writes += world.sql("SELECT * FROM seen")
    finally:
        for trigger in ("columns", "inserts", "deletes", "writes"):
            world.sql(f"DROP TRIGGER {trigger}")
        world.sql("DROP TABLE seen")


def exact(world: World, columns: str) -> list[tuple[Any, ...]]:
    """Byte for byte, types included."""
    quoted = ", ".join(f"typeof({name}), hex({name})" for name in columns.split(", "))
    return [tuple(row.values()) for row in world.sql(f"SELECT {quoted} FROM tracks ORDER BY id")]


# -- any history ---------------------------------------------------------------------------------------------------


@dataclass
class Others:
    """Everybody else who writes rows, and what they know of the pictures that they write."""

    world: World
    pictures: dict[str, tuple[str, tuple[int, int]]] = field(default_factory=dict)
    """By URL: for what it was painted, and its size; dead ones are not here."""

    def painted(self, base: str, text: str, size: tuple[int, int]) -> str:
        path = f"/p/{text.replace(' ', '-')}-{size[0]}.jpg"
        self.world.kie.add_file(path, text=text, size=size)
        self.pictures[base + path] = (text, size)
        return base + path

    def inline(self, text: str, size: tuple[int, int]) -> str:
        url = "data:image/png;base64," + b64encode(paint(text, *size, "JPEG")).decode()
        self.pictures[url] = (text, size)
        return url

    def image(self, kind: str, text: str) -> str | None:
        kie = self.world.kie.files_url
        match kind:
            case "null":
                return None
            case "empty":
                return ""
            case "thumbnail":
                return self.painted("https://cdn2.suno.ai", text, (360, 360))
            case "small":
                return self.painted(CDN, text, (320, 180))
            case "good":
                return self.painted(CDN, text, (640, 360))
            case "dying":
                return self.painted(kie, text, (640, 360))
            case "larger":
                return self.painted(CDN, text, (1280, 720))
            case "inline":
                return self.inline(text, (640, 360))
            case "inline small":
                return self.inline(text, (320, 180))
            case "dead":
                return f"{kie}/p/there-is-none.jpg"
            case "task":
                return TASK
            case _:
                raise ValueError(kind)

    def write(self, track_id: str, values: dict[str, Any], *, touch: bool) -> None:
        if touch:
            values = {**values, "updated_at": self.world.clock().replace(tzinfo=None).isoformat(" ")}
        names = ", ".join(f"{name} = ?" for name in values)
        self.world.sql(f"UPDATE tracks SET {names} WHERE id = ?", *values.values(), track_id)

    def worth(self, url: str | None) -> tuple[str, tuple[int, int]] | None:
        """What a row's picture shows and its size, None where there is none; of our own by its bytes."""
        if url is not None and url.startswith(PUBLIC_URL):
            data = self.world.store.get(url.removeprefix(PUBLIC_URL + "/"))
            assert data is not None
            return "", Image.open(io.BytesIO(data)).size
        return self.pictures.get(url or "")


IMAGES = (
    *("null", "empty", "thumbnail", "small", "good", "dying", "larger"),
    *("inline", "inline small", "dead", "task"),
)
FIELDS: tuple[dict[str, Any], ...] = (
    {"resolution": "2048x1152"},
    {"resolution": "640x360"},
    {"resolution": None},
    {"status": "archived"},
    {"status": "failed"},
    {"status": "completed"},
    {"status": "pending"},
    {"status": None},
    {"title": "Ünï\tcode 🎵 \x00\x1b[31m", "likes": 7},
    {"duration": 12.5, "user_id": "9"},
    {"task_id": SONG},
    {"extended_prompt": f"calm | Visual: a lake | image_task_id: {TASK}"},
    {"audio_url": None},
)
TRACKS = ("a", "b")
events = st.one_of(
    st.tuples(st.just("image"), st.sampled_from(TRACKS), st.sampled_from(IMAGES), st.booleans()),
    st.tuples(st.just("field"), st.sampled_from(TRACKS), st.sampled_from(FIELDS), st.booleans()),
    st.tuples(st.just("run"), st.sampled_from([1, 40])),
    st.tuples(st.just("time"), st.sampled_from([1, 30, 60 * 30, 60 * 24 * 8])),
)


@pytest.mark.slow
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=st.lists(events, min_size=3, max_size=9),
    interim_thumbnail=st.booleans(),
    restore_archived=st.booleans(),
)
def test_after_any_history_only_better_pictures_were_written_and_nothing_else(
    make_world: Callable[..., World], history: list[Any], interim_thumbnail: bool, restore_archived: bool
) -> None:
    world = make_world(interim_thumbnail=interim_thumbnail, restore_archived=restore_archived)
    world.kie.add_task(TASK, prompt="adopted", behaviour=Succeed(width=640, height=360, run=timedelta(0)))
    world.kie.add_song(SONG, Song(title="the song"))
    others = Others(world)
    for track_id in TRACKS:
        world.add(track_id)
    for number, event in enumerate([*history, ("run", 40)]):
        happen(world, others, event, f"event {number}", revive=restore_archived)


def happen(world: World, others: Others, event: Any, text: str, *, revive: bool) -> None:
    match event:
        case ("image", track_id, kind, touch):
            others.write(track_id, {"image_url": others.image(kind, text)}, touch=touch)
        case ("field", track_id, values, touch):
            if values.get("task_id") is None or not world.sql("SELECT 1 FROM tracks WHERE task_id = ?", SONG):
                others.write(track_id, values, touch=touch)
        case ("time", minutes):
            world.pass_time(timedelta(minutes=minutes))
        case ("run", minutes):
            with watched(world, may_revive=revive) as writes:
                world.run(timedelta(minutes=minutes))
            for write in writes:
                check_better(write, others, revive=revive)
        case _:
            raise ValueError(event)


def check_better(write: dict[str, Any], others: Others, *, revive: bool) -> None:
    old, new = others.worth(write["old_image_url"]), others.worth(write["new_image_url"])
    assert new is not None, write
    assert write["new_resolution"] is not None or write["old_resolution"] is None
    if write["new_status"] != write["old_status"]:
        assert revive
        assert (write["old_status"], write["new_status"]) == ("archived", "completed")
        assert write["old_audio_url"]
    if write["new_image_url"] == write["old_image_url"]:
        assert write["new_resolution"] == f"{new[1][0]}x{new[1][1]}" == "640x360"
        return
    assert write["new_image_url"].startswith(PUBLIC_URL)
    if old is None:
        return
    assert new[1] == (640, 360), write
    if old[1] >= (640, 360):
        check_kept(write, old[0], others)


def check_kept(write: dict[str, Any], text: str, others: Others) -> None:
    """A picture that is good enough, or larger, may only become our copy of itself."""
    data = others.world.store.get(write["new_image_url"].removeprefix(PUBLIC_URL + "/"))
    assert text, "our own good picture was replaced"
    assert belongs_to(data or b"", text)


def test_a_stand_in_is_written_over_nothing_only(make_world: Callable[..., World]) -> None:
    """It was fetched while the row was empty; by the end of grace the row has a picture, however small."""
    world = make_world(per_day=0, interim_thumbnail=True)
    others = Others(world)
    world.kie.add_song(SONG, Song(title="the song"))
    world.add("t", task_id=SONG, age=timedelta(minutes=5))
    world.run(timedelta(minutes=10))
    assert list((world.path.parent / "images" / "tracks" / "t").iterdir())
    small = others.image("small", "theirs")
    others.write("t", {"image_url": small}, touch=False)
    world.pass_time(timedelta(days=1))
    with watched(world) as writes:
        world.run()
    assert not writes
    assert world.row("t")["image_url"] == small


# -- races with the app's callback ---------------------------------------------------------------------------------


class Racing:
    """The leases, with somebody else's write from another connection right before or right after our commits."""

    def __init__(self, leases: Any, write: Callable[[], None], *, before: bool) -> None:
        self._leases, self._write, self._before = leases, write, before
        self.outcomes: list[Commit | DatabaseError] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._leases, name)

    def commit_all(self, endings: Sequence[Ending]) -> Sequence[Commit | DatabaseError]:
        now = any(ending.row for ending in endings) and not self.outcomes
        if now and self._before:
            self._write()
        outcomes: Sequence[Commit | DatabaseError] = self._leases.commit_all(endings)
        if now and not self._before:
            self._write()
        self.outcomes += [outcome for ending, outcome in zip(endings, outcomes, strict=True) if ending.row]
        return outcomes


def race(world: World, write: Callable[[], None], *, before: bool) -> Racing:
    made: list[Racing] = []

    def wrap(name: str, port: Any) -> Any:
        if name != "leases":
            return port
        made.append(Racing(port, write, before=before))
        return made[0]

    world.run(wrap=wrap)
    assert made[0].outcomes
    return made[0]


CALLBACK = {
    "title": "From the callback",
    "prompt": "Generated Vibe",
    "audio_url": "https://example.com/new.mp3",
    "duration": 201,
    "status": "completed",
}


@pytest.mark.parametrize("kind", ["good", "larger", "thumbnail", "small", "inline"])
def test_a_callback_that_writes_a_picture_just_before_us_wins(world: World, kind: str) -> None:
    others = Others(world)
    world.add("t", extended_prompt_image="bought")
    image = others.image(kind, "of the callback")
    raced = race(world, lambda: others.write("t", {**CALLBACK, "image_url": image}, touch=True), before=True)
    assert raced.outcomes == [Commit.CONFLICT]
    row = world.row("t")
    assert (row["image_url"], row["resolution"]) == (image, None)
    after_grace(world, others, kind, image)


def after_grace(world: World, others: Others, kind: str, image: str | None) -> None:
    world.pass_time(timedelta(hours=1))
    with watched(world) as writes:
        result = world.settle()
    for write in writes:
        check_better(write, others, revive=False)
    row = world.row("t")
    assert result.states == {(State.OK, None): 1}
    assert {name: row[name] for name in CALLBACK} == CALLBACK
    shown = {"good": "of the callback", "larger": "of the callback", "inline": "of the callback"}.get(kind, "bought")
    if kind == "good":
        assert row["image_url"] == image
    else:
        assert belongs_to(world.picture("t") or b"", shown)
    assert len(world.kie.book.creations) == 1


@pytest.mark.parametrize("kind", ["null", "good", "larger", "thumbnail", "small", "inline"])
def test_a_callback_that_overwrites_us_is_seen_and_mended_from_the_store(world: World, kind: str) -> None:
    others = Others(world)
    world.add("t", extended_prompt_image="bought")
    image = others.image(kind, "of the callback")
    raced = race(world, lambda: others.write("t", {**CALLBACK, "image_url": image}, touch=True), before=False)
    assert raced.outcomes[0] is Commit.COMMITTED
    after_grace(world, others, kind, image)


@pytest.mark.parametrize("behind", ["?v=17", "#cover"])
def test_what_the_app_puts_behind_our_url_stays(world: World, behind: str) -> None:
    world.add("t")
    world.run()
    world.sql("UPDATE tracks SET image_url = image_url || ?", behind)
    before = world.row("t")
    world.pass_time(timedelta(days=1))
    assert world.settle().states == {(State.OK, None): 1}
    assert world.row("t") == before
    assert len(world.kie.book.creations) == 1


@pytest.mark.parametrize("status", ["failed", "archived", "callback_inserted"])
def test_a_status_that_changes_just_before_us_stops_our_write(world: World, status: str) -> None:
    others = Others(world)
    world.add("t")
    raced = race(world, lambda: others.write("t", {"status": status}, touch=False), before=True)
    assert raced.outcomes == [Commit.CONFLICT]
    world.pass_time(timedelta(days=1))
    world.run()
    assert (world.row("t")["image_url"], world.row("t")["status"]) == (None, status)


@pytest.mark.parametrize(
    ("values", "touch"), [({"task_id": "b2" * 16}, False), ({"title": "Renamed"}, True)], ids=["song", "anything"]
)
def test_a_row_that_somebody_else_is_at_is_not_written(world: World, values: dict[str, Any], *, touch: bool) -> None:
    """Another song is to be in it, or its `updated_at` tells that somebody writes it just now."""
    others = Others(world)
    world.add("t")
    raced = race(world, lambda: others.write("t", values, touch=touch), before=True)
    assert raced.outcomes[:1] == [Commit.CONFLICT]
    world.pass_time(timedelta(hours=1))
    assert world.settle().states == {(State.OK, None): 1}


def test_a_text_that_changes_just_before_us_does_not_stop_our_write_and_stays(world: World) -> None:
    others = Others(world)
    world.add("t", extended_prompt_image="bought")
    raced = race(world, lambda: others.write("t", {"title": "Renamed", "likes": 3}, touch=False), before=True)
    assert raced.outcomes == [Commit.COMMITTED]
    row = world.row("t")
    assert (row["title"], row["likes"]) == ("Renamed", 3)
    assert belongs_to(world.picture("t") or b"", "bought")


def test_a_row_deleted_just_before_us_does_not_come_back(world: World) -> None:
    world.add("t")
    raced = race(world, lambda: _delete(world), before=True)
    assert raced.outcomes == [Commit.CONFLICT]
    world.pass_time(timedelta(days=1))
    world.run()
    assert world.rows() == []


def _delete(world: World) -> None:
    world.sql("DELETE FROM tracks WHERE id = 't'")


def test_a_long_picture_that_changes_in_its_middle_just_before_us_is_not_overwritten(world: World) -> None:
    """Long values are compared by length and hash: same head, same length, another picture."""
    good = "data:image/png;base64," + b64encode(paint("inline", 640, 360, "JPEG")).decode()
    other = good[: len(good) // 2] + "A" + good[len(good) // 2 + 1 :]
    assert other != good
    world.add("t", image_url=good)
    raced = race(world, lambda: Others(world).write("t", {"image_url": other}, touch=True), before=True)
    assert raced.outcomes == [Commit.CONFLICT]
    assert world.row("t")["image_url"] == other


def test_another_writer_that_holds_the_lock_is_waited_for(world: World) -> None:
    """Nothing of ours is written beside another's open transaction; a lock that stays is an error, not a loss."""
    import sqlite3

    from reconciler.database import DatabaseLocked, Where, open_database

    world.add("t")
    world.run()
    with closing(sqlite3.connect(world.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        database = open_database(
            Where(f"sqlite:///{world.path}"), world.policy, world.clock, owner="one", busy_timeout_s=0.01
        )
        before = world.path.read_bytes()
        with pytest.raises(DatabaseLocked):
            database.leases.lease("t")
        database.close()
        other.rollback()
    assert world.path.read_bytes() == before


def test_every_write_that_was_told_is_in_the_table(world: World) -> None:
    for number in range(3):
        world.add(f"t{number}")
    with watched(world) as writes:
        world.run()
    told = [event.write.url for event in world.events if isinstance(event, Wrote)]
    assert sorted(told, key=str) == sorted(write["new_image_url"] for write in writes)
