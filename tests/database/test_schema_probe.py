"""Looking at the app's table: what must be there, what may be, and what is said where something is missing."""

import re
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

import pytest

from reconciler.database import Key, SchemaError, Where, open_database, open_reader
from reconciler.database.schema import probe
from reconciler.domain.policy import Policy


@pytest.mark.sqlite
def test_the_whole_table(app: Any) -> None:
    table = probe(app.connect(), "tracks")
    assert table.key is Key.TEXT
    assert table.unique
    assert table.has("summary")
    assert table.types["updated_at"] == "TEXT"


@pytest.mark.sqlite
def test_the_least_table(make_app: Callable[..., Any]) -> None:
    app = make_app("CREATE TABLE tracks (id INTEGER PRIMARY KEY, status TEXT, image_url TEXT)")
    table = probe(app.connect(), "main.tracks", {})
    assert (table.key, table.unique, table.schema) == (Key.INTEGER, True, "main")
    assert set(table.names) == {"id", "status", "image_url"}


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("declared", "key"),
    [("uuid", Key.UUID), ("VARCHAR(36)", Key.TEXT), ("BIGINT", Key.INTEGER), ("", Key.UNTYPED), ("BLOB", Key.UNTYPED)],
)
def test_kinds_of_ids(make_app: Callable[..., Any], declared: str, key: Key) -> None:
    app = make_app(f"CREATE TABLE tracks (id {declared} UNIQUE, status TEXT, image_url TEXT)")
    table = probe(app.connect(), "tracks")
    assert (table.key, table.unique) == (key, True)


def test_ids_that_need_not_be_unique(make_app: Callable[..., Any]) -> None:
    app = make_app("CREATE TABLE tracks (id TEXT, status TEXT, image_url TEXT, UNIQUE (id, status))")
    assert not probe(app.connect(), "tracks").unique


@pytest.mark.sqlite
def test_names_differ_in_case_and_by_configuration(make_app: Callable[..., Any]) -> None:
    app = make_app('CREATE TABLE "my songs" (uid TEXT PRIMARY KEY, Status TEXT, "cover url" TEXT, name TEXT)')
    table = probe(app.connect(), "my songs", {"id": "uid", "image_url": "cover url", "title": "Name", "mood": "mood"})
    assert table.names == {"id": "uid", "status": "Status", "image_url": "cover url", "title": "name"}


def test_a_missing_table_names_those_that_exist(app: Any) -> None:
    app.ready()
    with pytest.raises(SchemaError) as caught:
        probe(app.connect(), "track")
    assert caught.value.what == "there is no table track (did you mean tracks?)"
    assert str(caught.value).endswith("Set database.table; there are: tracks")


@pytest.mark.sqlite
def test_a_schema_that_no_file_has_is_told_with_the_name_to_set(app: Any) -> None:
    with pytest.raises(SchemaError) as caught:
        probe(app.connect(), "public.tracks")
    assert str(caught.value) == "public.tracks: there is no schema public in SQLite. Set database.table to tracks"
    assert probe(app.connect(), "MAIN.tracks").has("summary")


def test_all_missing_columns_are_named_at_once(make_app: Callable[..., Any]) -> None:
    app = make_app("CREATE TABLE tracks (id TEXT PRIMARY KEY, state TEXT, imageurl TEXT)")
    with pytest.raises(SchemaError) as caught:
        probe(app.connect(), "tracks", {"title": "titel"})
    assert caught.value.what.split("; ") == [
        "table tracks has no column status (did you mean state?)",
        "table tracks has no column image_url (did you mean imageurl?)",
        "table tracks has no column titel",
    ]
    assert "there are: id, imageurl, state" in str(caught.value)


GENERATED = "TEXT GENERATED ALWAYS AS (json_extract(meta, '$.it'))"


@pytest.mark.sqlite
@pytest.mark.parametrize("kind", ["VIRTUAL", "STORED"])
def test_generated_columns_are_read_as_others_are(make_app: Callable[..., Any], kind: str) -> None:
    app = make_app(
        f"CREATE TABLE tracks (id {GENERATED} {kind} UNIQUE, status {GENERATED} {kind}, image_url TEXT, "
        f"created_at {GENERATED} {kind}, meta TEXT)"
    )
    app.sql("""INSERT INTO tracks (meta) VALUES ('{"it": "completed"}')""")
    table = probe(app.connect(), "tracks")
    assert (table.key, table.unique, table.unused) == (Key.TEXT, True, {})
    assert set(table.names) == {"id", "status", "image_url", "created_at"}
    assert app.finder().due(9) == ("completed",)


@pytest.mark.sqlite
def test_generated_columns_are_not_written(make_app: Callable[..., Any]) -> None:
    columns = f"id TEXT PRIMARY KEY, status TEXT, resolution {GENERATED}, updated_at {GENERATED}, meta TEXT"
    table = probe(make_app(f"CREATE TABLE tracks ({columns}, image_url TEXT)").connect(), "tracks")
    told = "column {} is generated: nobody can write it"
    assert table.unused == {field: told.format(field) for field in ("resolution", "updated_at")}
    assert not any(table.has(field) for field in table.unused)
    with pytest.raises(SchemaError, match=re.escape(told.format("image_url"))):
        probe(make_app(f"CREATE TABLE tracks ({columns}, image_url {GENERATED})").connect(), "tracks")


@pytest.mark.sqlite
def test_a_generated_status_is_refused_where_archived_tracks_are_to_be_completed(make_app: Callable[..., Any]) -> None:
    app = make_app(f"CREATE TABLE tracks (id TEXT PRIMARY KEY, status {GENERATED}, image_url TEXT, meta TEXT)")
    told = "column status is generated: nobody can write it. Set database.restore_archived = false"
    for opens in (open_database, open_reader):
        with pytest.raises(SchemaError, match=re.escape(told)):
            opens(Where(app.url), Policy(restore_archived=True), app.clock)
        opens(Where(app.url), Policy(), app.clock).close()


@pytest.mark.sqlite
@pytest.mark.parametrize("given", ["12", "012", " 12 ", "+12", "12.0", "0012.000"])
def test_a_whole_number_is_one_id_however_it_is_written(make_app: Callable[..., Any], given: str) -> None:
    app = make_app("CREATE TABLE tracks (id INTEGER PRIMARY KEY, status TEXT, image_url TEXT)")
    table = probe(app.connect(), "tracks")
    assert table.canonical(given) == "12"


@pytest.mark.sqlite
@pytest.mark.parametrize("given", ["", " ", "one", "1x", "1.5", "1_2", "²", "0x1f", "+", "-"])
def test_what_is_no_number_stays_as_it_is(make_app: Callable[..., Any], given: str) -> None:
    app = make_app("CREATE TABLE tracks (id INTEGER PRIMARY KEY, status TEXT, image_url TEXT)")
    assert probe(app.connect(), "tracks").canonical(given) == given


@pytest.mark.sqlite
@pytest.mark.parametrize("declared", ["TEXT", "uuid", ""])
@pytest.mark.parametrize("given", [" 12", "5F0C2B3E-0000-4000-8000-000000000001"])
def test_texts_are_ids_as_they_are(make_app: Callable[..., Any], declared: str, given: str) -> None:
    app = make_app(f"CREATE TABLE tracks (id {declared} PRIMARY KEY, status TEXT, image_url TEXT)")
    assert probe(app.connect(), "tracks").canonical(given) == given


# -- what changes while it is open -------------------------------------------------------------------------------------


OWN_SCHEMA = """
    CREATE TABLE tracks (id TEXT PRIMARY KEY, status TEXT, image_url TEXT, mood TEXT, updated_at TIMESTAMP)
"""
MOVED = "ALTER TABLE tracks RENAME TO old; CREATE TABLE tracks AS SELECT * FROM old"


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE tracks ADD COLUMN more TEXT",
        "ALTER TABLE tracks DROP COLUMN updated_at",
        "ALTER TABLE tracks RENAME COLUMN mood TO feeling",
        pytest.param("ALTER TABLE tracks ALTER COLUMN mood TYPE varchar", marks=pytest.mark.postgres),
        "DROP TABLE tracks",
        MOVED,
        "DROP TABLE reconciler_image_task",
    ],
)
def test_what_is_kept_open_is_told_that_the_apps_table_changed(make_app: Callable[..., Any], change: str) -> None:
    app = make_app(OWN_SCHEMA)
    app.ready()
    with ExitStack() as stack:
        opened = [
            stack.enter_context(closing(opens(Where(app.url), Policy(), app.clock)))
            for opens in (open_database, open_reader)
        ]
        assert [each.is_as_found() for each in opened] == [True, True]
        for statement in change.split(";"):
            app.sql(statement)
        assert [each.is_as_found() for each in opened] == [False, False]


@pytest.mark.postgres
def test_what_others_do_beside_the_apps_table_does_not_matter(make_app: Callable[..., Any]) -> None:
    app = make_app(OWN_SCHEMA)
    app.ready()
    with closing(open_reader(Where(app.url), Policy(), app.clock)) as reader:
        app.sql("CREATE TABLE others (x text); CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.tracks (id text)")
        app.sql("CREATE TABLE elsewhere.reconciler_image_task (id text); CREATE INDEX ON tracks (mood)")
        assert reader.is_as_found()
