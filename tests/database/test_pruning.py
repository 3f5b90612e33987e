"""What is forgotten, and what is never: purchases live as long as their track, and 90 days longer."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from reconciler.database import Pruned, Where, open_database, pruning
from reconciler.database.callbacks import Callbacks
from reconciler.database.pruning import prune
from reconciler.database.schema import probe
from reconciler.domain.attempts import Attempt
from reconciler.domain.model import Callback, Outcome, Purchase, Task, TaskState
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing
from reconciler.ports import Change

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
TABLES = ("memory", "purchase", "attempt", "task", "callback")


class Yard:
    """Tracks that were bought for, and deleted by the app later."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.leases = app.leases()
        self.table = probe(self.leases.connection, "tracks")

    def look(self, track_id: str, *, due_in: timedelta | None = None, tasks: tuple[str, ...] = ()) -> None:
        """What a look at the track as it is now leaves, with one purchase for each task."""
        held = self.leases.lease(track_id)
        now = held.now
        memory = replace(held.memory, gone_since=None if held.track else held.memory.gone_since or now)
        for name in tasks:
            bought = {"answered_at": now, "outcome": Outcome.ACCEPTED, "task_id": name}
            token = f"{track_id}/{name}"
            memory = memory.with_purchase(Purchase(token, track_id, "m", "s", "p", 5, now, now, now, **bought))
            memory = memory.with_task(Task(name, now, state=TaskState.SUCCEEDED))
        standing = Standing(None, None, now + due_in if due_in is not None else None)
        self.leases.commit(held.lease, Change(memory, standing, (Attempt("look", "", "done"),)))
        Callbacks(self.leases.connection).take([Callback(f"{track_id}/{name}", name) for name in tasks])

    def bury(self, track_id: str, *tasks: str) -> None:
        """Each task was called about, too."""
        self.app.put(track_id)
        self.look(track_id, tasks=tasks)
        self.app.sql("DELETE FROM tracks WHERE id = ?", track_id)
        self.look(track_id)

    def prune(self) -> Pruned:
        return prune(self.leases.connection, self.table)

    def left(self) -> dict[str, int]:
        return {name: self.app.sql(f"SELECT count(*) FROM reconciler_{name}")[0][0] for name in TABLES}

    def remembered(self) -> list[str]:
        return [name for (name,) in self.app.sql("SELECT track_id FROM reconciler_memory ORDER BY track_id")]

    def tasks(self) -> list[str]:
        return [name for (name,) in self.app.sql("SELECT id FROM reconciler_task ORDER BY id")]


@pytest.fixture
def yard(app: Any) -> Yard:
    return Yard(app)


def test_a_track_that_was_deleted_long_ago_is_forgotten_with_all_that_was_its_own(app: Any, yard: Yard) -> None:
    yard.bury("a", "t1", "t2")
    app.clock.at += 90 * DAY
    assert yard.prune() == Pruned(), "not before 90 days are over"
    assert yard.left() == {"memory": 1, "purchase": 2, "attempt": 1, "task": 2, "callback": 2}
    app.clock.at += SECOND
    assert yard.prune().tracks == 1
    assert yard.left() == dict.fromkeys(TABLES, 0)


def test_what_others_know_too_stays(app: Any, yard: Yard) -> None:
    yard.bury("gone", "its own", "bought for both", "handed over")
    app.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('b', 'handed over'), ('gone', 'other')")
    app.put("b")
    app.clock.at += 91 * DAY
    yard.look("b", tasks=("bought for both",))
    yard.prune()
    assert yard.remembered() == ["b"]
    assert yard.tasks() == ["bought for both", "handed over"]
    assert app.sql("SELECT token FROM reconciler_purchase") == [("b/bought for both",)]
    assert app.sql("SELECT track_id, task_id FROM reconciler_image_task ORDER BY task_id") == [
        ("b", "handed over"),
        ("gone", "other"),
    ]
    assert app.sql("SELECT track_id FROM reconciler_attempt") == [("b",)]


def test_who_is_there_is_never_forgotten(app: Any, yard: Yard) -> None:
    app.put("a")
    yard.look("a", tasks=("t",))
    app.clock.at += 1000 * DAY
    assert yard.prune() == Pruned(attempts=1)
    assert yard.left() == {"memory": 1, "purchase": 1, "attempt": 0, "task": 1, "callback": 1}


def test_who_came_back_is_not_forgotten_though_nobody_looked_yet(app: Any, yard: Yard) -> None:
    yard.bury("a", "t")
    app.clock.at += 91 * DAY
    app.put("a")
    assert yard.prune().tracks == 0
    assert yard.left()["purchase"] == 1


def test_numbers_that_came_back_are_known_as_numbers(make_app: Any) -> None:
    app = make_app("CREATE TABLE tracks (id INTEGER PRIMARY KEY, status TEXT DEFAULT 'completed', image_url TEXT)")
    app.sql("INSERT INTO tracks (id) VALUES (7), (8)")
    yard = Yard(app)
    app.sql("DELETE FROM tracks")
    yard.leases.lease("9")
    for name in ("7", "8"):
        app.sql("INSERT INTO tracks (id) VALUES (?)", int(name))
        yard.look(name)
    app.sql("DELETE FROM tracks")
    for name in ("7", "8"):
        yard.look(name)
    app.sql("INSERT INTO tracks (id) VALUES (8)")
    app.clock.at += 91 * DAY
    assert yard.prune().tracks == 1
    assert yard.remembered() == ["8"]


def test_a_task_under_way_is_followed_to_its_end(app: Any, yard: Yard) -> None:
    yard.bury("a", "t")
    yard.look("a", due_in=95 * DAY)
    app.clock.at += 91 * DAY
    assert yard.prune().tracks == 0
    app.clock.at += 9 * DAY
    assert yard.prune().tracks == 0, "due, and nobody looked yet"
    yard.look("a")
    assert yard.prune().tracks == 1


def test_who_is_worked_now_is_left_alone(app: Any, yard: Yard) -> None:
    """A lease leaves the track due, but should that ever change, its row must not vanish under who works it."""
    yard.bury("a", "t")
    app.clock.at += 91 * DAY
    yard.leases.lease("a")
    app.sql("UPDATE reconciler_memory SET due_at = NULL")
    assert yard.prune().tracks == 0


def test_old_attempts_are_forgotten_though_their_track_lives(app: Any, yard: Yard) -> None:
    app.put("a")
    yard.look("a")
    app.clock.at += 60 * DAY
    app.put("b")
    yard.look("b")
    app.clock.at += 30 * DAY + SECOND
    assert yard.prune() == Pruned(attempts=1)
    assert app.sql("SELECT track_id FROM reconciler_attempt") == [("b",)]
    assert yard.remembered() == ["a", "b"]


def test_what_goes_on_to_happen_is_not_old(app: Any, yard: Yard) -> None:
    app.put("a")
    yard.look("a")
    app.clock.at += 89 * DAY
    yard.look("a")
    app.clock.at += 89 * DAY
    assert yard.prune() == Pruned()
    assert app.sql("SELECT times FROM reconciler_attempt") == [(2,)]


@pytest.mark.sqlite
def test_the_lock_is_held_for_a_few_at_a_time(app: Any, yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abcde":
        yard.bury(name, f"task of {name}", "of all")
    app.put("here")
    for number in range(5):
        with yard.leases.connection.writing() as now:
            attempts = (Attempt("look", str(number), "done"),)
            yard.leases.connection.ask(*yard.leases.history.added([("here", attempts)], None, now))
    app.clock.at += 91 * DAY
    monkeypatch.setattr(pruning, "AT_ONCE", 2)
    breaths: list[Any] = []
    monkeypatch.setattr(pruning, "breathe", lambda: breaths.append(app.sql("UPDATE tracks SET title = 'anew'")))
    begun: list[str] = []
    yard.leases.connection.db.connection().set_trace_callback(begun.append)
    assert yard.prune() == Pruned(tracks=5, attempts=5)
    of_tracks = [sql for sql in begun if sql.startswith('DELETE FROM "reconciler_memory"')]
    of_attempts = [sql for sql in begun if sql.startswith('DELETE FROM "reconciler_attempt"') and '"at"' in sql]
    assert len(of_tracks) >= 3
    assert len(of_attempts) >= 3
    assert len(breaths) == 6, "between them the app may write"
    assert yard.left() == dict.fromkeys(TABLES, 0)


def test_an_opened_database_prunes_itself(app: Any, yard: Yard) -> None:
    yard.bury("a", "t")
    app.clock.at += 91 * DAY
    database = open_database(Where(app.url), Policy(), app.clock)
    assert database.prune() == Pruned(tracks=1)
    database.close()
