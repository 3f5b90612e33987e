"""Tables of earlier versions, as they were made then: nothing in them is lost, and they become as new ones are."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler.database import SchemaError, Where, open_database, open_reader
from reconciler.database.migrations import STEPS, VERSION, version
from reconciler.domain.actions import Buy
from reconciler.domain.gate import Closure, GateName
from reconciler.domain.model import Outcome, Purchase, Verdict
from reconciler.domain.policy import Policy
from reconciler.domain.states import Reason, State

pytestmark = pytest.mark.sqlite
"""Servers are known since the second version."""

GOLDEN = Path(__file__).parent / "golden"
FIRST = (GOLDEN / "schema-v1.sql").read_text()

SHAPE = "m 2048x1152"
AT, DEADLINE, ANSWERED = (f"2026-10-31T10:0{minute}:00.000000+00:00" for minute in (0, 1, 2))
LATER = "2026-11-09T00:00:00.000000+00:00"
PICTURE = {"key": "tracks/bought/k.jpg", "width": 2048, "height": 1152, "sha256": "00" * 32, "how": "generated"}
KEPT = PICTURE | {
    "at": "2026-10-31T10:02:00Z",
    "checked_at": None,
    "was_written": True,
    "origin": "task:t",
    "song": None,
}
ORDER = {
    "token": "token",
    "track_id": "bought",
    "model": "m",
    "shape": SHAPE,
    "prompt": "p",
    "price": 5.0,
    "song": "song",
}
TIMES = {"at": AT, "send_before": AT, "deadline": DEADLINE, "answered_at": ANSWERED, "over_at": DEADLINE}
ANSWER = {"outcome": "accepted", "sent": 1, "task_id": "t", "urls": '["https://x/y.jpg"]', "detail": "d"}
DOC = json.dumps({"track_id": "bought", "first_seen": "2026-10-31T10:00:00Z", "song_id": "song", "kept": [KEPT]})
ROWS: dict[str, list[dict[str, Any]]] = {
    "schema": [{"version": 1, "applied_at": AT}],
    "memory": [
        {"track_id": "bought", "state": "ok", "due_at": LATER, "tried_at": ANSWERED, "seen": "", "doc": DOC},
        {"track_id": "held", "state": "missing", "reason": "budget", "held": SHAPE, "tried_at": DEADLINE},
        {"track_id": "given up", "state": "failed", "reason": "no_prompt", "tried_at": AT},
        {"track_id": "out of scope", "tried_at": AT},
        {"track_id": "worked now", "due_at": AT, "lease_owner": "old", "lease_until": LATER, "lease_step": "look"},
    ],
    "purchase": [ORDER | TIMES | ANSWER | {"verdict": "good", "ended_at": ANSWERED}],
    "gate": [{"id": 1, "paused": 0, "balance": 77.5, "balance_at": ANSWERED, "breaker": None}],
    "closure": [{"name": "request_rejected", "shape": SHAPE, "at": AT, "until": None, "detail": "no such field"}],
    "shape": [{"shape": SHAPE, "granted": 2}],
    "note": [{"name": "store_marker", "value": "marker"}],
}
"""What the first version left, by table."""


def whole(table: str, row: dict[str, Any]) -> dict[str, Any]:
    if table != "memory":
        return row
    doc = json.dumps({"track_id": row["track_id"], "first_seen": "2026-10-31T10:00:00Z"})
    return {"first_seen": AT, "ignored": 0, "generation": 3, "doc": doc, **row}


@pytest.fixture
def old(make_app: Callable[..., Any]) -> Any:
    """The app's database with our tables of the first version."""
    app = make_app()
    for statement in FIRST.split(";\n"):
        app.sql(statement)
    for table, rows in ROWS.items():
        for row in (whole(table, row) for row in rows):
            names, marks = ", ".join(f'"{name}"' for name in row), ", ".join("?" * len(row))
            app.sql(f"INSERT INTO reconciler_{table} ({names}) VALUES ({marks})", *row.values())
    return app


def layout(app: Any) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """By table its columns with type, NOT NULL and place in the key, and its indexes with uniqueness and columns."""
    tables = [name for (name,) in app.sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'rec%'")]
    return {table: (dict(columns(app, table)), dict(indexes(app, table))) for table in tables}


def columns(app: Any, table: str) -> Iterator[tuple[str, Any]]:
    """Without defaults: a column can only be added to rows that are there by giving it one."""
    for _, name, kind, not_null, _, key in app.sql(f"PRAGMA table_info({table})"):
        yield name, (kind, not_null, key)


def indexes(app: Any, table: str) -> Iterator[tuple[str, Any]]:
    for _, name, unique, origin, partial in app.sql(f"PRAGMA index_list({table})"):
        yield name, (unique, origin, partial, [row[2] for row in app.sql(f"PRAGMA index_info({name})")])


def test_there_is_a_step_to_each_version() -> None:
    assert sorted(STEPS) == list(range(2, VERSION + 1))


def test_the_first_version_becomes_as_a_new_one_is(old: Any, make_app: Callable[..., Any]) -> None:
    new = make_app()
    new.ready()
    assert layout(old) != layout(new)
    assert version(old.ready()) == VERSION
    assert layout(old) == layout(new)
    assert old.sql("SELECT version FROM reconciler_schema ORDER BY version") == [(1,), (VERSION,)]


def test_no_row_is_lost_and_none_is_changed(old: Any) -> None:
    old.ready()
    for table, rows in ROWS.items():
        for row in (whole(table, row) for row in rows):
            kept = {name: value for name, value in row.items() if name not in ("due_at", "held")}
            found = " AND ".join(f'"{name}" IS ?' for name in kept)
            assert old.sql(f"SELECT count(*) FROM reconciler_{table} WHERE {found}", *kept.values()) == [(1,)], row
        expected = len(rows) + (table == "schema")
        assert old.sql(f"SELECT count(*) FROM reconciler_{table}") == [(expected,)]


def test_all_that_stood_somewhere_is_looked_at_once(old: Any) -> None:
    """The longest untried first. Who is out of scope is found by the walk if that changes, who is worked later."""
    for name in ("bought", "given up", "held", "worked now"):
        old.put(name, image_url="https://x/y.png")
    old.put("out of scope", status="failed")
    finder = old.finder()
    assert finder.due(9) == ("given up", "held", "bought")
    assert finder.held_back(SHAPE, 9) == ()
    leases = old.leases()
    for name in finder.due(9):
        leases.lease(name)
    assert finder.due(9) == ()
    old.clock.on(days=30)
    assert "worked now" in finder.due(9)


def test_what_it_remembers_is_understood(old: Any) -> None:
    old.put("bought", task_id="song")
    database = open_database(Where(old.url), Policy(), old.clock)
    held = database.leases.lease("bought")
    assert held is not None
    (kept,) = held.memory.kept
    (purchase,) = held.memory.purchases
    assert (kept.key, held.memory.song_id, held.memory.stamp) == ("tracks/bought/k.jpg", "song", None)
    assert (purchase.outcome, purchase.verdict, purchase.urls) == (Outcome.ACCEPTED, Verdict.GOOD, ("https://x/y.jpg",))
    (closure,) = database.gate.view().closures
    assert (closure.name, closure.shape, closure.trial) == (GateName.REQUEST_REJECTED, SHAPE, False)
    assert (database.gate.view().balance, database.notes.get("store_marker")) == (77.5, "marker")
    assert database.gate.view().proofs[SHAPE].granted == 2
    assert database.finder.tally() == {
        (State.OK, None, None, False): 1,
        (State.MISSING, Reason.BUDGET, None, False): 1,
        (State.FAILED, Reason.NO_PROMPT, None, False): 1,
    }
    database.close()


def test_it_is_worked_on_as_before(old: Any) -> None:
    old.put("new")
    database = open_database(Where(old.url), Policy(), old.clock)
    database.gate.balance(1000, old.clock())
    held = database.leases.lease("new")
    assert held is not None
    assert isinstance(database.gate.reserve(held, Buy("m", "p", "another", 5.0)), Purchase)
    database.gate.close(Closure(GateName.KEY, old.clock()))
    database.close()


def test_a_process_of_the_first_version_that_still_runs_harms_nothing(old: Any) -> None:
    """It names the columns that it knows; the others have values by themselves."""
    old.ready()
    row = whole("memory", {"track_id": "new", "state": "missing", "reason": "due"})
    names, marks = ", ".join(row), ", ".join("?" * len(row))
    old.sql(f"INSERT INTO reconciler_memory ({names}) VALUES ({marks})", *row.values())
    old.sql("INSERT INTO reconciler_closure (name, shape, at, detail) VALUES ('key', '', ?, '')", AT)
    assert old.sql("SELECT repeats FROM reconciler_memory WHERE track_id = 'new'") == [(0,)]
    assert {closure.trial for closure in old.gate().view().closures} == {False}


def test_a_reader_says_what_to_do(old: Any) -> None:
    before = old.path.read_bytes()
    with pytest.raises(SchemaError, match="Run `reconciler schema --apply`") as caught:
        open_reader(Where(old.url), Policy(), old.clock)
    assert caught.value.what == f"the reconciler's tables have version 1, this program needs {VERSION}"
    assert old.path.read_bytes() == before


def test_a_step_that_fails_leaves_all_as_it_was(old: Any) -> None:
    before = layout(old)
    old.sql("CREATE TABLE reconciler_attempt (id INTEGER)")
    with pytest.raises(Exception, match="already exists"):
        old.ready()
    old.sql("DROP TABLE reconciler_attempt")
    assert layout(old) == before
    assert version(old.connect()) == 1


def test_somebody_who_migrates_while_we_wait_is_no_trouble(old: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconciler.database import migrations

    asked = migrations.refuse_newer
    first = iter([1])

    def slow(connection: Any) -> int:
        stale = next(first, None)
        if stale is not None:
            with closing(old.connect()) as other:
                migrations.migrate(other)
            return stale
        return asked(connection)

    monkeypatch.setattr(migrations, "refuse_newer", slow)
    assert version(old.ready()) == VERSION
