"""Every install was altered by hand: whatever its table is like, it is worked, or refused with what is wrong."""

import random
import sqlite3
import string
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest

from reconciler.commands.checking.lines import Outcome
from reconciler.database import Database, Key, SchemaError, Where, open_database
from reconciler.database.handing import Handing
from reconciler.domain.policy import Policy
from reconciler.ports import Commit
from tests.postgres import SUPERUSER, Server
from tests.postgresql.guest import APP_SCHEMA, OLD, URL, Home, ending, held_by, home_on, said, worked

pytestmark = pytest.mark.slow

A, B, C = (f"5f0c2b3e-0000-4000-8000-00000000000{number}" for number in range(3))
LEAST = {"id": "uuid PRIMARY KEY", "status": "text", "image_url": "text"}
USUAL = {
    **LEAST,
    "task_id": "text",
    "title": "text",
    "vibe": "text",
    "extended_prompt_image": "text",
    "audio_url": "text",
    "resolution": "text",
    "created_at": "timestamptz",
    "updated_at": "timestamp",
}


def ddl(columns: Mapping[str, str], name: str = "tracks") -> str:
    listed = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
    return f"CREATE TABLE {name} ({listed})"


@pytest.fixture(scope="module")
def shared(postgres: Server) -> Iterator[Home]:
    with home_on(postgres, schema="") as made:
        yield made


@pytest.fixture
def place(shared: Home) -> Iterator[Home]:
    """Empty: the table is the test's."""
    yield shared
    shared.sql("DROP SCHEMA IF EXISTS public, reconciler, app CASCADE; CREATE SCHEMA public")


def filled(place: Home, *ids: Any, **columns: Any) -> None:
    for track_id in ids:
        row = {"id": track_id, "status": "completed", **columns}
        names, marks = ", ".join(f'"{name}"' for name in row), ", ".join(["%s"] * len(row))
        place.sql(f"INSERT INTO tracks ({names}) VALUES ({marks})", *row.values())


def opened(place: Home, **where: Any) -> "closing[Database]":
    return closing(place.database(SUPERUSER, **where))


def does_the_job(place: Home, ids: Sequence[Any], **where: Any) -> None:
    """All of it: found by the sweep and by the walk, leased, written, read back, and left alone afterwards."""
    texts = [str(each) for each in ids]
    with opened(place, **where) as database:
        assert sorted(database.finder.due(9)) == sorted(texts)
        assert list(database.finder.page(None, 9).work) == texts
        first, *others = texts
        assert worked(database, first) is Commit.COMMITTED
        track = database.leases.peek(first).track
        assert track is not None
        assert (track.image.text, track.flaw) == (URL, None)
        assert track.resolution == ("2048x1152" if database.app.has("resolution") else None)
        assert list(database.finder.page(None, 9).work) == others, "our own write is known again"
        assert list(database.finder.page(first, 9).work) == others
        assert database.leases.peek("nobody's").track is None
        Handing(database.connection, database.app).hand_over("nobody's", "task")
        assert "nobody's" not in database.finder.due(9)


# -- keys --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "key", "ids"),
    [
        ("uuid PRIMARY KEY", Key.UUID, [A, B]),
        ("text PRIMARY KEY", Key.TEXT, [A, "ü/ 'odd\" %s"]),
        ("varchar(40) UNIQUE", Key.TEXT, ["a", "b"]),
        ("char(36) PRIMARY KEY", Key.TEXT, [A, B]),
        ("char(40) PRIMARY KEY", Key.TEXT, [A, "b"]),
        ("integer PRIMARY KEY", Key.INTEGER, [1, 20]),
        ("bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", Key.INTEGER, [1, 2]),
        ("bigserial PRIMARY KEY", Key.INTEGER, [-(2**60), 2**60]),
        ("smallint PRIMARY KEY", Key.INTEGER, [1, 2]),
        ("track_key PRIMARY KEY", Key.UUID, [A, B]),
    ],
)
def test_kinds_of_ids(place: Home, declared: str, key: Key, ids: list[Any]) -> None:
    place.sql("CREATE DOMAIN some_uuid AS uuid; CREATE DOMAIN track_key AS some_uuid CHECK (value IS NOT NULL)")
    place.sql(ddl({**USUAL, "id": declared}))
    if "ALWAYS" in declared:
        place.sql("INSERT INTO tracks (status) VALUES ('completed'), ('completed')")
    else:
        filled(place, *ids)
    with opened(place) as database:
        assert (database.app.key, database.app.unique) == (key, True)
    does_the_job(place, ids)


def test_ids_that_the_server_pads_are_named_without_what_it_adds(place: Home) -> None:
    place.sql(ddl({**USUAL, "id": "char(40) PRIMARY KEY", "extended_prompt": "text"}))
    filled(place, "b", extended_prompt="mist | image_task_id: noted")
    with opened(place) as database:
        assert worked(database, "b") is Commit.COMMITTED
        assert Handing(database.connection, database.app).owners("noted") == ("b",)
    place.sql("UPDATE tracks SET image_url = 'https://covers.example/another.jpg'")
    with closing(place.reader(SUPERUSER)) as reader:
        assert sum(reader.overview().tracks.values()) == 1, "judged anew"


@pytest.mark.parametrize(
    ("column", "declared"),
    [("id", "numeric"), ("id", "bytea"), ("image_url", "jsonb"), ("image_url", "text[]"), ("status", "xml")],
)
def test_a_column_that_holds_no_text_is_refused_by_its_name(place: Home, column: str, declared: str) -> None:
    place.sql(ddl({**LEAST, column: declared}))
    with pytest.raises(SchemaError, match=rf"column {column} is of type ({declared.replace('[]', '')}|ARRAY)"):
        place.database(SUPERUSER)
    assert [line.is_unfit for line in place.check(SUPERUSER) if line.outcome is Outcome.FAILED] == [True]


def test_rows_that_share_an_id_are_left_alone(place: Home) -> None:
    place.sql(ddl({**USUAL, "id": "text"}))
    filled(place, "a", "a", "b")
    with opened(place) as database:
        assert not database.app.unique
        flawed, whole = (database.leases.peek(track_id).track for track_id in ("a", "b"))
        assert flawed is not None
        assert whole is not None
        assert (flawed.flaw, whole.flaw) == ("two rows have this id", None)
    assert "not unique" in said(place.check(SUPERUSER), Outcome.WARNING, "table")[0]


def test_two_tracks_of_one_song_are_worked_each_for_itself(place: Home) -> None:
    place.sql(ddl(USUAL))
    filled(place, A, B, task_id="song")
    with opened(place) as database:
        assert sorted(database.finder.due(9)) == [A, B]
        assert [worked(database, track_id) for track_id in (A, B)] == [Commit.COMMITTED] * 2
    assert place.sql("SELECT image_url FROM tracks") == [(URL,)] * 2


# -- times -------------------------------------------------------------------------------------------------------------

TIMES = ["timestamptz", "timestamp", "timestamp(0)", "date", "text", "bigint", None]


@pytest.mark.parametrize(("created", "updated"), [*zip(TIMES, TIMES, strict=True), *pairwise([*TIMES, TIMES[0]])])
def test_kinds_of_times(place: Home, created: str | None, updated: str | None) -> None:
    columns = {**USUAL, "created_at": created, "updated_at": updated}
    place.sql(ddl({name: kind for name, kind in columns.items() if kind}))
    filled(place, A)
    for name, kind in (("created_at", created), ("updated_at", updated)):
        if kind:
            place.sql(f"UPDATE tracks SET {name} = '{1750000000 if kind == 'bigint' else '2026-06-15 12:30:45+00'}'")
    unfit = {name for name, kind in columns.items() if name.endswith("_at") and kind in ("text", "bigint")}
    with opened(place) as database:
        track = database.leases.peek(A).track
        assert track is not None
        assert [track.created_at, track.updated_at] == [_read(created), _read(updated)]
        assert set(database.app.unused) == unfit
    does_the_job(place, [A])
    with opened(place) as database:
        track = database.leases.peek(A).track
        assert track is not None
        written = track.updated_at
        assert (written is None) == (_read(updated) is None)
        assert written is None or written > datetime(2026, 6, 16, tzinfo=UTC)
    warned = [text.partition(": ")[0] for text in said(place.check(SUPERUSER), Outcome.WARNING, "table")]
    assert {f"column {name} is of type {columns[name]}" for name in unfit} <= set(warned)


def _read(kind: str | None) -> datetime | None:
    if kind in ("text", "bigint", None):
        return None
    return datetime(2026, 6, 15, tzinfo=UTC) if kind == "date" else datetime(2026, 6, 15, 12, 30, 45, tzinfo=UTC)


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
@pytest.mark.parametrize("time", ["infinity", "-infinity", "20000-01-01", "0044-03-15 BC", "9999-12-31"])
def test_times_that_no_clock_shows_are_taken_for_none_or_as_they_are(place: Home, kind: str, time: str) -> None:
    place.sql(ddl({**USUAL, "created_at": kind, "updated_at": kind}))
    filled(place, A, created_at=time, updated_at=time, audio_url="https://x/y.mp3")
    filled(place, B, created_at=time, updated_at=time, audio_url="https://x/y.mp3")
    place.sql("UPDATE tracks SET status = 'pending' WHERE id = %s", B)
    with opened(place) as database:
        assert database.finder.due(9)[0] == A
        assert database.finder.page(None, 9).work
        assert worked(database, A) is Commit.COMMITTED
        track = database.leases.peek(B).track
        assert track is not None
        assert (track.created_at is None) == (time in ("infinity", "-infinity", "20000-01-01"))
        assert database.finder.page(None, 9).last is None
    assert place.sql("SELECT image_url FROM tracks WHERE id = %s", A) == [(URL,)]


# -- missing columns ---------------------------------------------------------------------------------------------------

DROPPABLE = ("resolution", "updated_at", "vibe", "extended_prompt_image", "task_id", "audio_url")
SUBSETS = [subset for size in (0, 1, 2, len(DROPPABLE)) for subset in combinations(DROPPABLE, size)]


@pytest.mark.parametrize("missing", SUBSETS, ids=lambda subset: "+".join(subset) or "none")
def test_without_these_columns_all_goes_as_in_a_file(place: Home, tmp_path: Path, missing: tuple[str, ...]) -> None:
    columns = {name: kind for name, kind in USUAL.items() if name not in missing}
    row = {"title": "T", "task_id": "song", "vibe": "calm", "audio_url": "https://x/y"}
    row = {name: value for name, value in row.items() if name in columns}
    place.sql(ddl(columns))
    filled(place, A, **row)
    row |= {"id": A, "status": "completed"}
    names, marks = ", ".join(row), ", ".join("?" * len(row))
    with closing(sqlite3.connect(tmp_path / "app.db")) as file, file:
        file.execute(ddl(columns))
        file.execute(f"INSERT INTO tracks ({names}) VALUES ({marks})", list(row.values()))
    in_a_file = Where(f"sqlite:///{tmp_path}/app.db")
    outcomes = [outcome(database) for database in (place.database(SUPERUSER), open_database(in_a_file, Policy()))]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0]["commit"] == [Commit.COMMITTED]
    (written,) = place.sql(f"SELECT image_url, {'NULL' if 'resolution' in missing else 'resolution'} FROM tracks")
    assert written == (URL, None if "resolution" in missing else "2048x1152")


def outcome(database: Database) -> dict[str, Any]:
    with closing(database):
        due, page = database.finder.due(9), database.finder.page(None, 9)
        before = held_by(database, A)
        commit = database.leases.commit_all([ending(before)])
        after = database.leases.peek(A).track
        assert before.track is not None
        assert after is not None
        texts = [(t.title, t.vibe, t.task_id, t.audio_url, t.resolution, t.image) for t in (before.track, after)]
        moved = after.updated_at != before.track.updated_at
        return {"due": due, "page": page, "commit": commit, "texts": texts, "moved": moved}


# -- odd columns -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "columns",
    [
        {"status": "track_status"},
        {"image_url": "varchar(500)", "resolution": "varchar(20)"},
        {"image_url": "web_address", "resolution": "varchar(9)"},
        {"title": "varchar(100)", "vibe": "integer", "task_id": "uuid"},
        {"title": "text GENERATED ALWAYS AS (upper(status)) STORED"},
    ],
    ids="+".join,
)
def test_odd_types_that_hold_texts_do(place: Home, columns: dict[str, str]) -> None:
    place.sql("CREATE TYPE track_status AS ENUM ('pending', 'completed', 'archived')")
    place.sql("CREATE DOMAIN address AS text; CREATE DOMAIN web_address AS address CHECK (value LIKE 'https://%')")
    place.sql(ddl({**USUAL, **columns}))
    filled(place, A, B)
    does_the_job(place, [A, B])


def test_names_that_the_server_quotes_are_the_same_types(place: Home) -> None:
    place.sql(ddl({**USUAL, "task_id": "uuid"}))
    place.sql(f"ALTER DATABASE {place.name} SET quote_all_identifiers = on")
    filled(place, A, B)
    does_the_job(place, [A, B])
    assert said(place.check(SUPERUSER), Outcome.FAILED) == []


def test_a_server_that_takes_what_equals_null_for_null_is_asked_as_any_other(postgres: Server) -> None:
    with home_on(postgres, schema="") as home:
        home.sql(f"ALTER DATABASE {home.name} SET transform_null_equals = on")
        home.sql(ddl({**USUAL, "id": "text"}))
        filled(home, "a", "b", created_at=OLD, updated_at=OLD)
        does_the_job(home, ["a", "b"])
        assert said(home.check(SUPERUSER), Outcome.FAILED) == []


def test_an_archived_track_is_completed_in_a_column_of_words(place: Home) -> None:
    place.sql("CREATE TYPE track_status AS ENUM ('pending', 'completed', 'archived')")
    place.sql(ddl({**USUAL, "status": "track_status"}))
    filled(place, A, audio_url="https://x/y.mp3")
    place.sql("UPDATE tracks SET status = 'archived'")
    where = Where(place.url(SUPERUSER))
    with closing(open_database(where, Policy(restore_archived=True))) as database:
        assert database.finder.due(9) == (A,)
        assert database.leases.commit_all([ending(held_by(database, A), revive=True)]) == [Commit.COMMITTED]
    assert place.sql("SELECT status::text, image_url FROM tracks") == [("completed", URL)]


def test_a_column_that_nobody_can_write_is_told_and_left_alone(place: Home) -> None:
    generated = "text GENERATED ALWAYS AS (CASE WHEN image_url IS NOT NULL THEN '2048x1152' END) STORED"
    place.sql(ddl({**USUAL, "resolution": generated}))
    filled(place, A)
    with opened(place) as database:
        assert not database.app.has("resolution")
    does_the_job(place, [A])
    told = "column resolution is generated: nobody can write it: the size found is not written"
    assert told in said(place.check(SUPERUSER), Outcome.WARNING, "table")


def test_a_status_that_nobody_can_write_is_refused_where_archived_tracks_are_to_be_completed(place: Home) -> None:
    place.sql(ddl({**USUAL, "status": "text GENERATED ALWAYS AS (lower(title)) STORED"}))
    told = "column status is generated: nobody can write it"
    with pytest.raises(SchemaError, match=told):
        open_database(Where(place.url(SUPERUSER)), Policy(restore_archived=True))
    (line,) = [line for line in place.check(SUPERUSER, restore_archived=True) if line.outcome is Outcome.FAILED]
    assert line.is_unfit
    assert told in line.said
    assert said(place.check(SUPERUSER), Outcome.FAILED) == []


RENAMED = {"id": "trackId", "image_url": "imageUrl", "status": "State", "updated_at": "changedAt", "created_at": "at"}


def test_names_in_other_letters_and_another_schema_are_configured(place: Home) -> None:
    columns = {RENAMED.get(name, name): kind for name, kind in USUAL.items()} | {"imageurl": "text", "state": "text"}
    place.sql("CREATE SCHEMA app")
    place.sql(ddl(columns, 'app."Music_Tracks"'))
    for track_id in (A, B):
        place.sql("""INSERT INTO app."Music_Tracks" ("trackId", "State") VALUES (%s, 'completed')""", track_id)
    does_the_job(place, [A, B], table="app.Music_Tracks", columns=RENAMED)
    written = place.sql(
        """SELECT "imageUrl", imageurl, "changedAt" IS NULL FROM app."Music_Tracks" ORDER BY "trackId" """
    )
    assert written == [(URL, None, False), (None, None, True)]
    assert "app.reconciler_image_task" in place.tables()


THROUGH_THE_VIEW = """
CREATE FUNCTION through() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'INSERT' THEN INSERT INTO base SELECT new.*; RETURN new; END IF;
    UPDATE base SET image_url = new.image_url, resolution = new.resolution, updated_at = new.updated_at
    WHERE id = old.id;
    RETURN new;
END $$;
CREATE TRIGGER through INSTEAD OF INSERT OR UPDATE ON tracks FOR EACH ROW EXECUTE FUNCTION through()
"""


@pytest.mark.parametrize(
    "statements",
    [
        [ddl(USUAL, "base"), "CREATE VIEW tracks AS SELECT * FROM base"],
        [
            f"{ddl(USUAL, 'base')}; CREATE TABLE other (id uuid)",
            "CREATE VIEW tracks AS SELECT base.* FROM base LEFT JOIN other USING (id)",
            THROUGH_THE_VIEW,
        ],
        [
            ddl({**USUAL, "id": "uuid"}, "tracks") + " PARTITION BY HASH (id)",
            "ALTER TABLE tracks ADD PRIMARY KEY (id)",
            "CREATE TABLE part PARTITION OF tracks FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        ],
    ],
    ids=["view", "joined view", "partitions"],
)
def test_what_is_no_plain_table_is_worked_too(place: Home, statements: list[str]) -> None:
    for statement in statements:
        place.sql(statement)
    filled(place, A, B)
    does_the_job(place, [A, B])


# -- rows that are refused ---------------------------------------------------------------------------------------------

LONG = "https://covers.example/" + "".join(random.Random(7).choices(string.ascii_letters + string.digits, k=9000))
RAISING = """
CREATE FUNCTION raising() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF new.id = '{id}' AND new.image_url IS NOT NULL THEN {what}; END IF; RETURN new;
END $$;
CREATE {kind} raising {when} UPDATE ON tracks {deferred} FOR EACH ROW EXECUTE FUNCTION raising()
"""


def raising(what: str, *, deferred: bool = False) -> str:
    kind, when = ("CONSTRAINT TRIGGER", "AFTER") if deferred else ("TRIGGER", "BEFORE")
    said = "DEFERRABLE INITIALLY DEFERRED" if deferred else ""
    return RAISING.format(id=B, what=what, kind=kind, when=when, deferred=said)


REFUSALS: Mapping[str, tuple[str, str]] = {
    "too long for an index": ("CREATE INDEX ON tracks (image_url)", LONG),
    "too long for its column": ("ALTER TABLE tracks ALTER image_url TYPE varchar(100)", URL + "x" * 100),
    "against a check": ("ALTER TABLE tracks ADD CHECK (image_url NOT LIKE '%bad%')", "https://x/bad.jpg"),
    "against a domain": (
        "CREATE DOMAIN good AS text CHECK (value NOT LIKE '%bad%'); ALTER TABLE tracks ALTER image_url TYPE good",
        "https://x/bad.jpg",
    ),
    "twice": ("CREATE UNIQUE INDEX ON tracks (image_url)", f"{URL}?{A}"),
    "by a trigger": (raising("RAISE EXCEPTION 'no'"), f"{URL}?{B}"),
    "by a trigger in silence": (raising("RETURN NULL"), f"{URL}?{B}"),
    "at the very end": (raising("RAISE EXCEPTION 'no'", deferred=True), f"{URL}?{B}"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_row_that_is_refused_costs_the_others_nothing(place: Home, case: str) -> None:
    refusing, url = REFUSALS[case]
    place.sql(ddl(USUAL))
    place.sql(refusing)
    filled(place, A, B, C)
    with opened(place) as database:
        urls = {A: f"{URL}?{A}", B: url, C: f"{URL}?{C}"}
        endings = [ending(held_by(database, track_id), written) for track_id, written in urls.items()]
        outcomes = database.leases.commit_all(endings)
        refused = Commit.CONFLICT if "silence" in case else Commit.REFUSED
        assert outcomes == [Commit.COMMITTED, refused, Commit.COMMITTED]
        assert database.leases.peek(B).memory == endings[1].row.otherwise.memory  # type: ignore[union-attr]
        assert database.leases.lease(B) is not None, "its lease ended, so that it is tried again in time"
    found = place.sql("SELECT image_url FROM tracks ORDER BY id")
    assert found == [(f"{URL}?{A}",), (None,), (f"{URL}?{C}",)]


def test_a_trigger_that_is_broken_costs_the_others_nothing_either(place: Home) -> None:
    place.sql(ddl(USUAL))
    place.sql(raising("PERFORM no_such_function()"))
    filled(place, A, B, C)
    with opened(place) as database:
        endings = [ending(held_by(database, track_id)) for track_id in (A, B, C)]
        assert database.leases.commit_all(endings) == [Commit.COMMITTED, Commit.REFUSED, Commit.COMMITTED]
    assert place.sql("SELECT image_url IS NULL FROM tracks ORDER BY id") == [(False,), (True,), (False,)]


def test_a_trigger_that_sets_the_time_by_itself_is_no_stranger(place: Home) -> None:
    place.sql(ddl(USUAL))
    place.sql(
        "CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "new.updated_at = clock_timestamp() AT TIME ZONE 'UTC' + interval '1 second'; RETURN new; END $$; "
        "CREATE TRIGGER touched BEFORE UPDATE ON tracks FOR EACH ROW EXECUTE FUNCTION touched()"
    )
    filled(place, A)
    does_the_job(place, [A])


# -- the older server --------------------------------------------------------------------------------------------------


def test_the_older_server_does_the_same(postgres15: Server) -> None:
    with home_on(postgres15, schema=APP_SCHEMA) as home:
        for track_id in (A, B):
            home.put(track_id, created_at=OLD)
        home.sql(raising("RAISE EXCEPTION 'no'"))
        role = home.guest()
        assert said(home.check(role), Outcome.FAILED) == []
        with closing(home.database(role)) as database:
            assert sorted(database.finder.due(9)) == [A, B]
            endings = [ending(held_by(database, track_id)) for track_id in (A, B)]
            assert database.leases.commit_all(endings) == [Commit.COMMITTED, Commit.REFUSED]
        home.sql("ALTER TABLE tracks ENABLE ROW LEVEL SECURITY")
        with pytest.raises(SchemaError):
            home.database(role)
