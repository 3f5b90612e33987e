"""Whose an image task is: bought, handed over, or named in the app's rows, and never by a likeness of ids."""

from typing import Any

import pytest

from reconciler.database.handing import Handing
from reconciler.database.schema import probe
from reconciler.domain.model import Task, TaskState
from tests.database.test_gate import Till

ID = "5b1f00000000000000000000000000aa"
NAMED = "task_Ab-1"


@pytest.fixture
def handing(app: Any) -> Handing:
    connection = app.ready()
    return Handing(connection, probe(connection, "tracks"))


def test_a_task_that_nobody_names_has_no_owner(app: Any, handing: Handing) -> None:
    app.put("a", image_url="https://covers.example/a.jpg", extended_prompt="Mist")
    app.put("b", image_url=None, extended_prompt=None)
    assert handing.owners(ID) == ()


@pytest.mark.parametrize("task_id", [ID, NAMED])
def test_every_owner_is_found_once_those_of_our_own_tables_first(app: Any, handing: Handing, task_id: str) -> None:
    app.put("url", image_url=task_id)
    app.put("noted", extended_prompt=f"Mist | Visual: fog | image_task_id: {task_id} | Music: slow")
    app.put("both", image_url=task_id, extended_prompt=f"image_task_id: {task_id}")
    till = Till(app)
    till.answered(till.bought("bought"), task_id=task_id)
    handing.hand_over("handed", task_id)
    handing.hand_over("both", task_id)
    owners = handing.owners(task_id)
    assert owners[:1] == ("bought",)
    assert sorted(owners) == ["both", "bought", "handed", "noted", "url"]


@pytest.mark.parametrize("other", [ID + "b", "b" + ID, ID[:-1], "task_" + ID, f"https://files.example/{ID}.jpg"])
def test_an_id_within_another_is_not_it(app: Any, handing: Handing, other: str) -> None:
    app.put("url", image_url=other)
    app.put("noted", extended_prompt=f"Visual: {ID} | image_task_id: {other}")
    handing.hand_over("handed", other)
    assert handing.owners(ID) == ()


def test_words_of_sql_and_patterns_are_mere_letters(app: Any, handing: Handing) -> None:
    app.put("a", image_url=ID, extended_prompt=f"image_task_id: {ID}")
    for hostile in ("%", "5b1f%", "' OR 1=1 --", "_" * len(ID), "*"):
        assert handing.owners(hostile) == ()


@pytest.mark.sqlite
def test_ids_of_any_kind_are_told_as_texts(make_app: Any) -> None:
    app = make_app("CREATE TABLE tracks (id INTEGER PRIMARY KEY, image_url, status, created_at, updated_at, prompt)")
    connection = app.ready()
    app.sql("INSERT INTO tracks (id, image_url) VALUES (7, ?)", ID)
    assert Handing(connection, probe(connection, "tracks")).owners(ID) == ("7",)


@pytest.mark.sqlite
def test_a_whole_number_may_come_as_the_only_kind_of_number_that_a_driver_knows(make_app: Any) -> None:
    app = make_app("CREATE TABLE tracks (id INTEGER PRIMARY KEY, status TEXT, image_url TEXT)")
    app.sql("INSERT INTO tracks VALUES (12, 'completed', 'https://x/y.png'), (13, 'completed', 'https://x/y.png')")
    leases, finder = app.leases(), app.finder()
    for track_id in (12.0, "013", " 13", "+13", "x"):
        app.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES (?, ?)", track_id, ID)
    assert finder.due(9) == finder.due(9, ["12"]) == ("12",)
    assert leases.peek("12").memory.handed == (ID,)
    assert leases.peek("13").memory.handed == ()
    handing = Handing(app.opened[-1], probe(app.opened[-1], "tracks"))
    assert set(handing.owners(ID)) == {"12", "13", "x"}, "in doubt it is theirs"
    assert handing.astray() == [" 13", "+13", "013", "x"]


def test_tasks_for_nobody_are_told_until_somebody_looks_at_them(app: Any, handing: Handing) -> None:
    app.put("a", image_url="https://covers.example/a.jpg")
    assert handing.astray() == []
    for track_id in ("a", "A", "gone", "gone"):
        handing.hand_over(track_id, ID)
    assert sorted(handing.astray()) == ["A", "gone"]
    leases = app.leases()
    held = leases.lease("a")
    leases.connection.ask(*leases.memories.saved([(held.memory, frozenset())], None, app.clock()))
    assert handing.astray() == [], "of a track that was deleted since"


@pytest.mark.sqlite
def test_a_cell_of_another_kind_does_no_harm(app: Any, handing: Handing) -> None:
    app.put("a", extended_prompt=f"image_task_id: {ID}".encode())
    app.put("b", image_url=ID.encode())
    app.put("c", extended_prompt=12)
    app.put("d", image_url=ID)
    assert handing.owners(ID) == ("d",)


def test_once_handed_over_is_enough_and_the_time_is_kept(app: Any, handing: Handing) -> None:
    handing.hand_over("a", ID)
    app.sql("UPDATE reconciler_image_task SET created_at = '2026-01-01 00:00:00'")
    handing.hand_over("a", ID)
    handing.hand_over("b", ID)
    rows = app.sql("SELECT track_id, task_id, created_at FROM reconciler_image_task ORDER BY track_id")
    assert rows[0][:2] == ("a", ID)
    assert rows[0][2].startswith("2026-01-01")
    assert rows[1][:2] == ("b", ID)
    assert rows[1][2] is not None, "the table's own default, as for the app"
    assert handing.owners(ID) == ("a", "b")


@pytest.mark.parametrize(
    ("state", "urls", "stays"),
    [
        (TaskState.RUNNING, (), True),
        (TaskState.SUCCEEDED, ("https://files.example/a.png",), True),
        (TaskState.SUCCEEDED, (), False),
        (TaskState.FAILED, (), False),
        (TaskState.GONE, (), False),
    ],
)
def test_only_an_end_without_a_picture_is_forgotten(
    app: Any, handing: Handing, state: TaskState, urls: tuple[str, ...], stays: bool
) -> None:
    leases = app.leases()
    app.put("a", image_url=ID)
    held = leases.lease("a")
    for name in (ID, NAMED):
        memory = held.memory.with_task(Task(name, app.clock(), state=state, urls=urls))
        saved = leases.memories.saved([(memory, frozenset())], None, app.clock())
        leases.connection.ask(*saved)
    handing.forget_end(ID)
    handing.forget_end("never heard of")
    kept = {name for (name,) in app.sql("SELECT id FROM reconciler_task")}
    assert kept == ({ID, NAMED} if stays else {NAMED})
