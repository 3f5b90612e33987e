"""A changed decision calls every track to be looked at, a few at a time: nobody else can write meanwhile."""

from collections.abc import Callable
from contextlib import suppress

import pytest

from reconciler.database import changed_policy
from reconciler.database.changed_policy import look_again_if_changed, would_look_again
from reconciler.database.connection import Connection
from reconciler.domain.policy import Policy
from tests.database.conftest import App

BEFORE, AFTER, OTHERWISE = (Policy(per_hour=number) for number in (10, 20, 30))
ROWS = 7
REMEMBERED = """
    INSERT INTO reconciler_memory (track_id, state, repeats, first_seen, seen, ignored, generation, doc)
    VALUES ('{name}', 'ok', FALSE, '2026-10-01T00:00:00+00:00', '', FALSE, 1, '{{}}')
"""


class Killed(BaseException):
    pass


@pytest.fixture
def connection(app: App, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """Seven tracks that are at rest, called two at a time."""
    monkeypatch.setattr(changed_policy, "STRETCH", 2)
    between(monkeypatch, lambda: None)
    connection = app.ready()
    look_again_if_changed(connection, BEFORE)
    for number in range(ROWS):
        app.sql(REMEMBERED.format(name=f"t{number}"))
    return connection


def between(monkeypatch: pytest.MonkeyPatch, deed: Callable[[], None]) -> None:
    """What is done whenever a stretch has been called and another follows."""
    monkeypatch.setattr(changed_policy, "breathe", deed)


def called(app: App) -> list[str]:
    found = app.sql("SELECT track_id FROM reconciler_memory WHERE due_at IS NOT NULL ORDER BY track_id")
    return [track_id for (track_id,) in found]


def worked(app: App) -> None:
    app.sql("UPDATE reconciler_memory SET due_at = NULL")


def killed_after(monkeypatch: pytest.MonkeyPatch, stretches: int, connection: Connection, policy: Policy) -> None:
    left = iter([None] * (stretches - 1))

    def deed() -> None:
        if next(left, Killed) is Killed:
            raise Killed

    between(monkeypatch, deed)
    with pytest.raises(Killed):
        look_again_if_changed(connection, policy)
    between(monkeypatch, lambda: None)


def test_all_are_called_once(app: App, connection: Connection) -> None:
    look_again_if_changed(connection, AFTER)
    assert len(called(app)) == ROWS
    worked(app)
    look_again_if_changed(connection, AFTER)
    assert called(app) == []


def test_others_write_between_two_stretches(app: App, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def write() -> None:
        app.put(f"new-{len(seen)}")
        seen.append(len(called(app)))

    between(monkeypatch, write)
    look_again_if_changed(connection, AFTER)
    assert seen == [2, 4, 6]


def test_who_was_killed_goes_on_where_it_was(app: App, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_after(monkeypatch, 2, connection, AFTER)
    assert called(app) == ["t0", "t1", "t2", "t3"]
    worked(app)
    look_again_if_changed(connection, AFTER)
    assert called(app) == ["t4", "t5", "t6"]
    worked(app)
    look_again_if_changed(connection, AFTER)
    assert called(app) == []


@pytest.mark.parametrize("then", [BEFORE, OTHERWISE])
def test_whoever_decides_again_meanwhile_calls_all(
    app: App, connection: Connection, monkeypatch: pytest.MonkeyPatch, then: Policy
) -> None:
    killed_after(monkeypatch, 2, connection, AFTER)
    worked(app)
    look_again_if_changed(connection, then)
    assert len(called(app)) == ROWS
    worked(app)
    look_again_if_changed(connection, AFTER)
    assert len(called(app)) == ROWS


def test_who_finds_it_done_by_another_calls_nobody_again(
    app: App, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = app.ready()

    def overtaken() -> None:
        between(monkeypatch, lambda: None)
        look_again_if_changed(other, AFTER)
        assert len(called(app)) == ROWS
        worked(app)

    between(monkeypatch, overtaken)
    look_again_if_changed(connection, AFTER)
    assert called(app) == []


def test_two_who_decided_otherwise_do_not_keep_each_other_from_ending(
    app: App, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, taken = app.ready(), list[str]()

    def ended() -> None:
        raise Killed

    def step() -> None:
        taken.append("a step of the other's")
        assert len(taken) < ROWS, "neither ends"
        between(monkeypatch, ended)
        with suppress(Killed):
            look_again_if_changed(other, OTHERWISE)
        between(monkeypatch, step)

    between(monkeypatch, step)
    look_again_if_changed(connection, AFTER)
    assert len(called(app)) == ROWS
    look_again_if_changed(other, OTHERWISE)
    worked(app)
    look_again_if_changed(other, OTHERWISE)
    assert called(app) == []


def calls_of_two(app: App, connection: Connection) -> int:
    """How often all are called where two take turns."""
    calls = 0
    for policy in (AFTER, BEFORE) * 2 * changed_policy.AT_MOST:
        look_again_if_changed(connection, policy)
        calls += len(called(app)) == ROWS
        worked(app)
    return calls


def test_two_who_take_turns_call_all_so_many_times_a_day_at_most(app: App, connection: Connection) -> None:
    assert calls_of_two(app, connection) == changed_policy.AT_MOST - 1, "the first, before there were any, counts"
    app.clock.on(hours=23)
    assert calls_of_two(app, connection) == 0
    app.clock.on(hours=1)
    assert calls_of_two(app, connection) == changed_policy.AT_MOST
    look_again_if_changed(connection, OTHERWISE)
    assert len(called(app)) == ROWS, "what was never decided is new"
    assert app.sql("SELECT count(*) FROM reconciler_note") == [(1,)]


@pytest.mark.parametrize("note", ["{}", "{} t3"])
def test_the_note_of_an_earlier_version_calls_all(app: App, connection: Connection, note: str) -> None:
    app.sql("UPDATE reconciler_note SET value = ? WHERE name = 'decided'", note.format("ab" * 32))
    look_again_if_changed(connection, BEFORE)
    assert len(called(app)) == ROWS


def test_whether_all_would_be_called_is_told_without_calling_any(
    app: App, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [would_look_again(connection, policy) for policy in (BEFORE, AFTER)] == [False, True]
    killed_after(monkeypatch, 2, connection, AFTER)
    worked(app)
    assert [would_look_again(connection, policy) for policy in (BEFORE, AFTER)] == [True, True], "begun, and not over"
    assert called(app) == []
    look_again_if_changed(connection, AFTER)
    assert [would_look_again(connection, policy) for policy in (BEFORE, AFTER)] == [True, False]


def test_where_nobody_is_remembered_nobody_would_be_called(app: App) -> None:
    connection = app.ready()
    assert not would_look_again(connection, BEFORE)
    app.sql(REMEMBERED.format(name="a"))
    assert would_look_again(connection, BEFORE)


def test_who_has_to_wait_for_the_next_day_would_call_nobody(app: App, connection: Connection) -> None:
    calls_of_two(app, connection)
    assert [would_look_again(connection, policy) for policy in (BEFORE, AFTER, OTHERWISE)] == [False, False, True]
    app.clock.on(days=1)
    assert would_look_again(connection, BEFORE)
