"""The stories: enough of every kind, and none that could be taken for another."""

import sqlite3
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.demo.cast import cast, plain
from reconciler.demo.stage import KIE_HOST, STORAGE_HOST, Stage, create_database, read_rows
from reconciler.demo.story import Story
from reconciler.domain.model import Cell, Track
from reconciler.domain.policy import Policy
from reconciler.domain.prompts import ladder
from reconciler.domain.states import How, State
from reconciler.domain.urls import Kind, host_of, kind_of
from reconciler.kie.simulated import SimulatedKie

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
POLICY = Policy(file_hosts=(KIE_HOST,), insecure_hosts=(KIE_HOST, STORAGE_HOST))


@pytest.fixture(scope="module")
def stories() -> list[Story]:
    kie = SimulatedKie(lambda: NOW)
    kie.files_url = f"http://{KIE_HOST}:4321/files"
    return [story for chapter in cast(Stage(kie, NOW), 0) for story in chapter.stories]


@pytest.fixture(scope="module")
def rows(stories: list[Story], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str | None]]:
    path = tmp_path_factory.mktemp("cast") / "app.db"
    create_database(path, stories, NOW)
    return read_rows(path)


def test_every_way_to_a_picture_and_the_main_ways_to_none_are_shown(stories: list[Story]) -> None:
    endings = [story.ending for story in stories]
    assert {ending.how for ending in endings} == {*How, None}
    assert {ending.state for ending in endings} == {
        None,
        State.OK,
        State.SETTLING,
        State.FAILED,
        State.AWAITING,
        State.BACKING_OFF,
        State.UNKNOWN,
    }


def test_every_kind_of_image_url_is_shown(rows: dict[str, dict[str, str | None]]) -> None:
    kinds = {kind_of(row["image_url"], POLICY) for row in rows.values()}
    assert kinds == {Kind.NOTHING, Kind.INLINE, Kind.TASK_ID, Kind.KIE_FILE, Kind.PRESIGNED, Kind.PUBLIC}


def test_every_status_is_shown(rows: dict[str, dict[str, str | None]]) -> None:
    statuses = {None, "pending", "processing", "completed", "failed", "archived", "callback_inserted"}
    assert {row["status"] for row in rows.values()} == statuses


def test_no_picture_is_looked_for_beyond_this_machine(rows: dict[str, dict[str, str | None]]) -> None:
    urls = [row["image_url"] or "" for row in rows.values()]
    assert {host_of(url) for url in urls if url.startswith("http")} == {KIE_HOST, STORAGE_HOST}


def test_an_order_tells_for_which_track_it_was(stories: list[Story], rows: dict[str, dict[str, str | None]]) -> None:
    """Prompts of tracks that buy are theirs alone, but for the neutral one that most would share and none gets to."""
    owners = Counter(prompt for story in stories for prompt in set(prompts_of(rows[story.id])))
    for story in stories:
        if story.ending.bought or story.title == "No Entry":
            first, *_ = prompts_of(rows[story.id])
            assert owners[first] == 1, story.title
    assert {prompt[:24] for prompt, number in owners.items() if number > 1} == {
        "A wide, painterly landsc",
        "two swans on a mirror of",
    }


def prompts_of(row: dict[str, str | None]) -> list[str]:
    words = ("title", "prompt", "mood", "vibe", "summary", "extended_prompt", "extended_prompt_image")
    track = Track("1", Cell(None), **{name: row[name] for name in words})  # type: ignore[arg-type]
    return [prompt for _, prompt in ladder(track, POLICY)]


def test_plain_tracks_are_all_different() -> None:
    titles = [story.title for story in plain(250)]
    assert len(set(titles)) == 250
    assert len({story.scene for story in plain(250)}) == 250


def test_titles_and_ids_are_unique(stories: list[Story], tmp_path: Path) -> None:
    everybody = [*stories, *plain(250)]
    assert len({story.id for story in everybody}) == len({story.song_id for story in everybody}) == len(everybody)
    create_database(tmp_path / "app.db", everybody, NOW)
    with sqlite3.connect(tmp_path / "app.db") as connection:
        assert connection.execute("SELECT count(*) FROM tracks").fetchone() == (len(everybody),)
    connection.close()
