"""What a page shows of single tracks, attempts and purchases: the right ones, and never a table from end to end."""

from datetime import timedelta
from typing import Any

import pytest

from reconciler.database import showing
from reconciler.database.history import History
from reconciler.database.showing import Showing
from reconciler.domain.attempts import Attempt
from reconciler.domain.model import Outcome, Verdict
from reconciler.domain.states import Reason, State
from tests.database.conftest import App
from tests.database.test_plans import read_whole

HOUR = timedelta(hours=1)
OLD = "2026-10-01T00:00:00.000000+00:00"
NO_PROMPT = (State.FAILED, Reason.NO_PROMPT)


def put(app: App, table: str, **values: object) -> None:
    spelled = (
        "NULL" if v is None else str(v).upper() if isinstance(v, bool | int) else f"'{v}'" for v in values.values()
    )
    app.sql(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(spelled)})")


def remember(app: App, track_id: str, state: str, reason: str, needy_since: str | None) -> None:
    kept = {"state": state, "reason": reason, "needy_since": needy_since, "first_seen": OLD, "doc": "{}"}
    put(app, "reconciler_memory", track_id=track_id, repeats=False, ignored=False, generation=1, **kept)


@pytest.fixture
def shows(app: App) -> Showing:
    return Showing(app.ready())


def test_stuck_tracks_are_named_by_where_they_stood_longest_in_need_first(app: App, shows: Showing) -> None:
    remember(app, "new", *NO_PROMPT, None)
    remember(app, "old", *NO_PROMPT, OLD)
    remember(app, "older", *NO_PROMPT, "2026-09-01T00:00:00.000000+00:00")
    remember(app, "other", State.MISSING, Reason.DUE, OLD)
    assert shows.stuck([NO_PROMPT, (State.MISSING, Reason.BUDGET), (State.MISSING, Reason.DUE)]) == [
        ["older", "old", "new"],
        [],
        ["other"],
    ]


def test_of_very_many_some_are_looked_at(app: App, shows: Showing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showing, "AMONG", 2)
    for number in range(3):
        remember(app, str(number), *NO_PROMPT, None)
    (found,) = Showing(app.ready()).stuck([NO_PROMPT])
    assert len(found) == 2


def tried(app: App, *attempts: Attempt, track_id: str = "a") -> None:
    connection = app.ready()
    history = History(connection)
    with connection.writing() as now:
        (newest,) = connection.ask(history.newest([track_id]))
        connection.ask(*history.added([(track_id, attempts)], newest, now))


def test_the_last_pictures_written_are_told_newest_first(app: App, shows: Showing) -> None:
    wrote = Attempt("write", "https://x/1.jpg", "committed", "generated, in place of nothing")
    first = app.clock()
    tried(app, wrote)
    app.clock.on(hours=1)
    tried(app, Attempt("write", "https://x/2.jpg", "committed", "restored"), track_id="b")
    tried(app, Attempt("write", "https://x/3.jpg", "conflict", "restored"), track_id="c")
    tried(app, Attempt("write", "resolution", "committed", ""), track_id="d")
    tried(app, Attempt("fetch", "https://x/3.jpg", "stored", ""), track_id="e")
    assert [tuple(each) for each in shows.wrote()] == [
        ("b", first + HOUR, "https://x/2.jpg", "restored"),
        ("a", first, "https://x/1.jpg", "generated, in place of nothing"),
    ]


def test_they_are_sought_among_the_last_attempts_only(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    tried(app, Attempt("write", "https://x/1.jpg", "committed", "generated"))
    app.clock.on(hours=1)
    tried(app, Attempt("fetch", "https://x/1.jpg", "fault", "1"), Attempt("fetch", "https://x/1.jpg", "fault", "2"))
    monkeypatch.setattr(showing, "LOOK_BACK", 2)
    assert Showing(app.ready()).wrote() == []
    monkeypatch.setattr(showing, "LOOK_BACK", 3)
    assert len(Showing(app.ready()).wrote()) == 1


def buy(app: App, token: str, over_at: str, *, sent: bool = True) -> None:
    told = {"track_id": "a", "model": "m", "shape": "s", "prompt": "p", "price": 5, "urls": "[]", "detail": ""}
    times = dict.fromkeys(("at", "send_before", "deadline"), "2026-11-01T09:00:00.000000+00:00")
    judged = {"outcome": "accepted", "verdict": "good", "sent": sent, "over_at": over_at}
    put(app, "reconciler_purchase", token=token, **told, **times, **judged)


def test_purchases_of_the_day_are_those_that_count_in_its_budget(app: App, shows: Showing) -> None:
    buy(app, "now", "2026-11-01T11:00:00.000000+00:00")
    buy(app, "before", "2026-10-31T11:59:59.000000+00:00")
    buy(app, "unsent", "2026-11-01T11:00:00.000000+00:00", sent=False)
    (only,) = shows.bought()
    assert (only.outcome, only.verdict, only.at.hour) == (Outcome.ACCEPTED, Verdict.GOOD, 9)


@pytest.mark.sqlite
def test_no_table_is_read_from_end_to_end(app: App, shows: Showing) -> None:
    """But for the attempts, from the last one backwards, of which so many are read at most."""
    statements: tuple[Any, ...] = (shows._stuck, shows._bought, shows._wrote)
    for statement in statements:
        whole = read_whole(app.ready(), statement.sql, [9] * len(statement._spelled[1]))
        assert whole <= {"reconciler_attempt"} if statement is shows._wrote else not whole
    plan = app.ready().db.execute_sql(f"EXPLAIN QUERY PLAN {shows._wrote.sql}", shows._wrote._spelled[1]).fetchall()
    assert any("SCAN" in row[3] and "USING INDEX reconciler_attempt_at" in row[3] for row in plan), plan
