"""The app's rows: whatever they hold is read without an exception, and written only as they were seen."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.database.app_tracks import AppTracks
from reconciler.database.schema import OPTIONAL, probe
from reconciler.domain.actions import Write
from reconciler.domain.model import Cell, Memory, Track, Written
from reconciler.domain.standing import Standing
from reconciler.domain.states import How
from reconciler.ports import Change, Commit, Ending, Held, RowWrite

INLINE = "DATA:image/png;base64," + "A" * 100_000
LONG = "https://example.com/" + "x" * 5000
NEW = "https://covers.example/new.jpg"
NOWHERE = Standing(None, None, None)


class Rows(AppTracks):
    """One row at a time."""

    def read(self, track_id: str) -> Track | None:
        with self.connection.reading():
            return self.tracks(*self.connection.ask(self.of([track_id]))).get(track_id)

    def write(self, row: RowWrite) -> bool:
        with self.connection.writing():
            (known,) = self.connection.ask(self.updated_at([row.seen.id]))
            wrote, after = self.connection.ask(*self.writes([row], known))
            self.left = self.known_by(after)
            return wrote.written == 1

    def stamp(self, track_id: str) -> str | None:
        with self.connection.writing():
            (known,) = self.connection.ask(self.updated_at([track_id]))
            row = write_of(Track(track_id, Cell("no such picture")), datetime(2026, 1, 1, tzinfo=UTC))
            _, after = self.connection.ask(*self.writes([row], known))
            return self.known_by(after)[0]


def rows_of(app: Any) -> Rows:
    connection = app.connect()
    return Rows(connection, probe(connection, "tracks"))


def write_of(seen: Track, at: datetime, **changes: Any) -> RowWrite:
    write = Write(**{"url": NEW, "resolution": "2048x1152", "how": How.GENERATED, **changes})
    return RowWrite(write, seen, at, Change(Memory(seen.id, at), NOWHERE))


def test_a_row_is_read_whole(app: Any) -> None:
    app.put(
        "a",
        task_id="t",
        image_url="https://x/y.png",
        mood="m",
        created_at="2026-01-02T03:04:05+02:00",
        updated_at="2026-01-03 00:00:00.5",
    )
    track = rows_of(app).read("a")
    assert track is not None
    assert track.stamp in {"2026-01-03 00:00:00.5|t", "2026-01-03T00:00:00.500000|t"}
    assert replace(track, stamp=None) == Track(
        "a",
        Cell("https://x/y.png", 15),
        status="completed",
        task_id="t",
        title="T",
        prompt="P",
        mood="m",
        created_at=datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC),
        updated_at=datetime(2026, 1, 3, 0, 0, 0, 500_000, tzinfo=UTC),
    )


def test_a_row_that_is_gone(app: Any) -> None:
    assert rows_of(app).read("a") is None
    assert rows_of(app).whole_image("a") is None


@pytest.mark.parametrize("image", [INLINE, LONG])
def test_long_pictures_are_cut_in_sql(app: Any, image: str) -> None:
    app.put("a", image_url=image)
    tracks = rows_of(app)
    cell = tracks.read("a").image  # type: ignore[union-attr]
    assert (cell.text, cell.length) == (image[:100], len(image))
    assert cell.identity == f"{len(image)}:{cell.digest}"
    assert tracks.whole_image("a") == image


def test_long_texts_are_cut_but_for_the_ids_at_their_end(app: Any) -> None:
    app.put("a", title="t" * 50_000, extended_prompt="p" * 50_000 + " | image_task_id: abc")
    track = rows_of(app).read("a")
    assert len(track.title or "") == 20_000  # type: ignore[union-attr]
    assert (track.extended_prompt or "").endswith("abc")  # type: ignore[union-attr]


@pytest.mark.sqlite
@pytest.mark.parametrize("column", sorted({field for field in OPTIONAL if not field.endswith("_at")} | {"status"}))
def test_no_column_is_read_by_the_megabyte(app: Any, column: str) -> None:
    app.put("a", **{column: "x" * 1_000_000})
    track = rows_of(app).read("a")
    assert 0 < len(getattr(track, column)) <= (200_000 if column == "extended_prompt" else 20_000)


@pytest.mark.sqlite
@pytest.mark.parametrize("column", ["image_url", "status", "title", "audio_url", "extended_prompt"])
@pytest.mark.parametrize("value", [b"\xff\xfe", b"text", b"\x00" * 5_000_000])
def test_a_blob_is_a_flaw(app: Any, column: str, value: bytes) -> None:
    app.put("a", **{column: value})
    track = rows_of(app).read("a")
    assert track.flaw == f"column {column} holds something else than text"  # type: ignore[union-attr]


@pytest.mark.sqlite
@pytest.mark.parametrize("column", ["image_url", "status", "title"])
def test_text_that_is_no_text_is_a_flaw(app: Any, column: str) -> None:
    app.put("a")
    app.sql(f"UPDATE tracks SET {column} = CAST(x'68ff69' AS TEXT)")
    track = rows_of(app).read("a")
    assert track.flaw == f"column {column} holds text that is not UTF-8"  # type: ignore[union-attr]
    long = "UPDATE tracks SET image_url = CAST(x'64617461 3aff' || zeroblob(9000) AS TEXT)".replace(" 3a", "3a")
    app.sql(long)
    assert rows_of(app).read("a").flaw is not None  # type: ignore[union-attr]


@pytest.mark.sqlite
def test_a_number_is_a_flaw_where_the_column_keeps_it(make_app: Callable[..., Any]) -> None:
    app = make_app("CREATE TABLE tracks (id INTEGER PRIMARY KEY, status TEXT, image_url, created_at)")
    app.sql("INSERT INTO tracks VALUES (7, 'completed', 5, 1793536215)")
    track = rows_of(app).read("7")
    assert track.flaw == "column image_url holds something else than text"  # type: ignore[union-attr]
    assert track.image == Cell(None)  # type: ignore[union-attr]
    assert track.created_at == datetime(2026, 11, 1, 12, 30, 15, tzinfo=UTC)  # type: ignore[union-attr]
    assert not track.has_resolution  # type: ignore[union-attr]


def test_an_empty_id_is_a_flaw(app: Any) -> None:
    app.put("")
    assert rows_of(app).read("").flaw == "its id is empty, or neither a text nor a whole number"  # type: ignore[union-attr]


@pytest.mark.sqlite
def test_an_id_that_only_reads_like_a_text_is_a_flaw(make_app: Callable[..., Any]) -> None:
    app = make_app("CREATE TABLE tracks (id, status TEXT, image_url TEXT)")
    app.sql("INSERT INTO tracks (id) VALUES (1.5), (x'61'), (7), ('b')")
    flawed = {name: rows_of(app).read(name).flaw is not None for name in ("1.5", "a", "7", "b")}  # type: ignore[union-attr]
    assert flawed == {"1.5": True, "a": True, "7": False, "b": False}


@pytest.mark.sqlite
def test_two_rows_of_one_id_are_a_flaw(make_app: Callable[..., Any]) -> None:
    app = make_app("CREATE TABLE tracks (id, status TEXT, image_url TEXT)")
    app.sql("INSERT INTO tracks VALUES ('a', 'completed', ''), ('a', NULL, ''), (5, NULL, '')")
    assert rows_of(app).read("a").flaw == "two rows have this id"  # type: ignore[union-attr]
    assert rows_of(app).read("5").flaw is None  # type: ignore[union-attr]


IMAGES = [
    None,
    "",
    "https://x/old.png",
    "https://x/OLD.png",
    INLINE,
    INLINE[:-1] + "B",
    INLINE + "A",
    LONG,
    "'; --",
    "ü",
]


@pytest.mark.parametrize("seen", IMAGES, ids=range(len(IMAGES)))
def test_only_the_picture_that_was_seen_is_replaced(app: Any, seen: str | None) -> None:
    tracks = rows_of(app)
    for name, found in zip("abcdefghij", IMAGES, strict=True):
        app.put(name, image_url=seen)
        track = tracks.read(name)
        app.sql("UPDATE tracks SET image_url = ? WHERE id = ?", found, name)
        before = app.row(name)
        assert tracks.write(write_of(track, app.clock())) == (seen == found), found  # type: ignore[arg-type]
        assert (app.row(name) == before) == (seen != found), found


STATUSES = [None, "", "completed", "archived", "Completed"]


@pytest.mark.parametrize("seen", STATUSES)
def test_only_the_status_that_was_seen_is_overwritten(app: Any, seen: str | None) -> None:
    tracks = rows_of(app)
    for name, found in zip("abcde", STATUSES, strict=True):
        app.put(name, status=seen)
        track = tracks.read(name)
        app.sql("UPDATE tracks SET status = ? WHERE id = ?", found, name)
        assert tracks.write(write_of(track, app.clock())) == (seen == found), found  # type: ignore[arg-type]


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({}, {"image_url": NEW, "resolution": "2048x1152"}),
        ({"url": None}, {"resolution": "2048x1152"}),
        ({"resolution": None}, {"image_url": NEW}),
        ({"revive": True}, {"image_url": NEW, "resolution": "2048x1152", "status": "completed"}),
        ({"url": None, "resolution": None}, {}),
    ],
)
def test_every_other_column_stays_as_it_is(app: Any, changes: dict[str, Any], changed: dict[str, str]) -> None:
    app.put("a", status="archived", image_url="https://x/old.png", resolution="2K", summary="s\x00 ü", likes=3)
    app.put("b")
    other, before = app.row("b"), app.row()
    tracks = rows_of(app)
    assert tracks.write(write_of(tracks.read("a"), app.clock(), **changes))  # type: ignore[arg-type]
    assert app.row() == {**before, "updated_at": "2026-11-01 12:00:00.000000", **changed}
    assert app.row("b") == other


def test_columns_that_do_not_exist_are_not_written(make_app: Callable[..., Any]) -> None:
    app = make_app("CREATE TABLE tracks (id INTEGER PRIMARY KEY, status TEXT, image_url TEXT)")
    app.sql("INSERT INTO tracks VALUES (7, 'completed', NULL)")
    tracks = rows_of(app)
    row = write_of(tracks.read("7"), app.clock())  # type: ignore[arg-type]
    assert tracks.stamp("7") == "|"
    assert tracks.write(replace(row, write=replace(row.write, url=None)))
    assert tracks.left == ("|", None)
    assert tracks.write(row)
    assert app.sql("SELECT * FROM tracks") == [(7, "completed", NEW)]


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("declared", "value", "kept_to"),
    [
        ("TEXT", "2026-01-01 00:00:00", timedelta()),
        ("TEXT", "2026-01-01T00:00:00.000Z", timedelta()),
        ("TIMESTAMP", None, timedelta()),
        ("INTEGER", 1767225600, timedelta(seconds=1)),
        ("INTEGER", 1767225600000, timedelta(milliseconds=1)),
    ],
)
def test_our_own_write_is_known_by_its_time(
    make_app: Callable[..., Any], declared: str, value: object, kept_to: timedelta
) -> None:
    app = make_app(f"CREATE TABLE tracks (id TEXT PRIMARY KEY, status TEXT, image_url TEXT, updated_at {declared})")
    app.sql("INSERT INTO tracks VALUES ('a', 'completed', NULL, ?)", value)
    app.clock.on(microseconds=123_456)
    leases = app.leases()
    held = leases.lease("a")
    written = Written(NEW, None, held.now, held.now)
    change = Change(replace(held.memory, written=written), NOWHERE)
    assert leases.commit_all([Ending(held.lease, change, write_of(held.track, held.now))]) == [Commit.COMMITTED]
    again: Held = leases.peek("a")
    assert again.track is not None
    assert again.memory.written is not None
    assert again.memory.written.updated_at == again.track.updated_at
    assert held.now - again.track.updated_at <= kept_to


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("declared", "created_at", "written"),
    [
        ("DATETIME", 1767225600000, 1793534400000),
        ("INTEGER", 1767225600000, 1793534400000),
        ("TEXT", "1767225600", "1793534400"),
        ("TEXT", "2026-01-01T00:00:00.000Z", "2026-11-01T12:00:00.000000Z"),
        ("TEXT", None, "2026-11-01 12:00:00.000000"),
    ],
)
def test_a_first_time_of_change_has_the_form_of_the_time_beside_it(
    make_app: Callable[..., Any], declared: str, created_at: object, written: object
) -> None:
    times = f"created_at {declared}, updated_at {declared}"
    app = make_app(f"CREATE TABLE tracks (id TEXT PRIMARY KEY, status TEXT, image_url TEXT, {times})")
    app.sql("INSERT INTO tracks VALUES ('a', 'completed', NULL, ?, NULL)", created_at)
    tracks = rows_of(app)
    assert tracks.write(write_of(tracks.read("a"), app.clock()))  # type: ignore[arg-type]
    assert app.row()["updated_at"] == written


@pytest.mark.sqlite
def test_but_not_where_it_is_of_another_type(make_app: Callable[..., Any]) -> None:
    times = "created_at INTEGER, updated_at TEXT"
    app = make_app(f"CREATE TABLE tracks (id TEXT PRIMARY KEY, status TEXT, image_url TEXT, {times})")
    app.sql("INSERT INTO tracks VALUES ('a', 'completed', NULL, 1767225600000, NULL)")
    tracks = rows_of(app)
    assert tracks.write(write_of(tracks.read("a"), app.clock()))  # type: ignore[arg-type]
    assert app.row()["updated_at"] == "2026-11-01 12:00:00.000000"


# -- the stamp ---------------------------------------------------------------------------------------------------------


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("columns", "stamp"),
    [
        ({"updated_at": "2026-01-03 00:00:00.5", "task_id": "t"}, "2026-01-03 00:00:00.5|t"),
        ({"updated_at": None, "task_id": "t"}, "|t"),
        ({"updated_at": None, "task_id": None}, "|"),
        ({"updated_at": 1767225600, "task_id": "t"}, "1767225600|t"),
        ({"updated_at": "9" * 100_000, "task_id": "x" * 100_000}, "9" * 64 + "|" + "x" * 500),
        ({"updated_at": b"blob", "task_id": b"blob"}, "|"),
    ],
    ids=["both", "no time", "neither", "a number", "megabytes", "no texts"],
)
def test_the_stamp_is_read_with_the_row_and_alone(app: Any, columns: dict[str, Any], stamp: str) -> None:
    app.put("a", **columns)
    tracks = rows_of(app)
    assert tracks.read("a").stamp == stamp  # type: ignore[union-attr]
    assert tracks.stamp("a") == stamp
    assert tracks.stamp("nobody") is None


@pytest.mark.sqlite
def test_a_stamp_of_bytes_that_are_no_text_can_be_kept(app: Any) -> None:
    """It may come to be so between a look and a write, which asks for picture and status alone."""
    app.put("a")
    app.sql("UPDATE tracks SET task_id = CAST(x'68ff69' AS TEXT)")
    tracks = rows_of(app)
    assert tracks.stamp("a") == tracks.read("a").stamp == "2026-06-01 00:00:00|h?i"  # type: ignore[union-attr]


@pytest.mark.parametrize("column", ["title", "status", "resolution", "extended_prompt"])
def test_what_else_changes_is_in_the_stamp_by_its_time_alone(app: Any, column: str) -> None:
    app.put("a")
    tracks = rows_of(app)
    before = tracks.stamp("a")
    app.sql(f"UPDATE tracks SET {column} = 'other'")
    assert tracks.stamp("a") == before
    app.sql("UPDATE tracks SET updated_at = '2026-06-01 00:00:01'")
    assert tracks.stamp("a") != before


@pytest.mark.sqlite
def test_after_our_own_write_the_stamp_is_remembered_as_the_row_has_it_then(app: Any) -> None:
    """Also where something of the app's, such as a trigger, adds to the write: it was not there when we looked."""
    app.put("a", task_id="t")
    app.sql("CREATE TRIGGER touch AFTER UPDATE OF image_url ON tracks BEGIN UPDATE tracks SET task_id = 'u'; END")
    leases = app.leases()
    held = leases.lease("a")
    change = Change(replace(held.memory, stamp="as it was"), NOWHERE)
    assert leases.commit_all([Ending(held.lease, change, write_of(held.track, held.now))]) == [Commit.COMMITTED]
    again: Held = leases.peek("a")
    assert again.track is not None
    assert again.memory.stamp == again.track.stamp == "2026-11-01 12:00:00.000000|u"
    assert app.sql("SELECT stamp FROM reconciler_memory") == [(again.memory.stamp,)]


def test_without_a_write_the_stamp_is_the_one_that_was_looked_at(app: Any) -> None:
    app.put("a")
    leases = app.leases()
    for row in (None, "conflict"):
        held = leases.lease("a")
        app.sql("UPDATE tracks SET image_url = 'https://x/of-somebody.png', updated_at = '2026-11-01 12:00:00'")
        change = Change(replace(held.memory, stamp="as it was"), NOWHERE)
        write = write_of(replace(held.track, image=Cell(None)), held.now) if row else None
        leases.commit_all([Ending(held.lease, change, replace(write, otherwise=change) if write else None)])
        assert leases.peek("a").memory.stamp == "as it was"
