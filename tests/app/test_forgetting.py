"""What is too old to matter is forgotten once a day, also where no daemon runs."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.app import once
from reconciler.app.counted import metrics_of
from reconciler.app.forgetting import forget_if_due
from reconciler.app.once import Narrowed, run_once
from reconciler.database import Database, DatabaseLocked, Pruned, pruning
from reconciler.database.datetimes import own
from reconciler.domain.states import State
from reconciler.images.local_store import LocalStore
from tests.cli.conftest import Install, run
from tests.daemons import inside, settings_of, small

HOUR = timedelta(hours=1)
TRIED = "INSERT INTO reconciler_attempt (track_id, first_at, at, step, about, came, detail, times) VALUES {}"
OLD = "('gone', '2026-01-01T00:00:00.000000+00:00', '2026-01-01T00:00:00.000000+00:00', 'look', '', 'done', '', 1)"


@pytest.fixture
def install(install: Install) -> Install:
    """With our tables, and a track that is at rest."""
    install.add("a")
    assert install.call("ignore", "a").exit_code == 0
    assert install.call("run", "--once", "--track", "a").exit_code == 0
    return install


def leave(install: Install, attempts: int = 1) -> Path:
    """What is too old: attempts, and the file that is returned."""
    install.sql(TRIED.format(", ".join([OLD] * attempts)))
    part = install.store / "tracks" / "a" / ".x.jpg.old.part"
    part.parent.mkdir(exist_ok=True)
    part.write_bytes(b"")
    os.utime(part, (0, 0))
    return part


def left(install: Install) -> int:
    (row,) = install.sql("SELECT count(*) AS left FROM reconciler_attempt WHERE track_id = 'gone'")
    return int(row["left"])


def noted(install: Install, ago: timedelta) -> None:
    at = own(datetime.now(UTC) - ago)
    install.sql("UPDATE reconciler_note SET value = ? WHERE name = 'forgot_at'", at)


def test_a_run_forgets_what_is_too_old_and_the_next_one_of_that_day_writes_nothing(install: Install) -> None:
    part = leave(install)
    run(install)
    assert (left(install), part.exists()) == (0, False)
    part, before = leave(install), install.database.read_bytes()
    run(install)
    assert install.database.read_bytes() == before
    assert part.exists()


@pytest.mark.parametrize(("ago", "forgets"), [(23 * HOUR, False), (25 * HOUR, True), (-HOUR, True)])
def test_it_is_done_again_after_a_day_or_after_the_clock_was_set_back(
    install: Install, ago: timedelta, forgets: bool
) -> None:
    run(install)
    noted(install, ago)
    leave(install)
    run(install, "--due-only", "--limit", "1", "--max-purchases", "0")
    assert left(install) == (not forgets)


def test_what_a_daemon_forgot_a_run_need_not(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    small(install)
    with inside(install, monkeypatch) as daemon:
        daemon.daemon._jobs.prune()
    leave(install)
    run(install)
    assert left(install) == 1


def test_a_run_for_some_tracks_leaves_the_others_alone(install: Install) -> None:
    leave(install)
    run(install, "--track", "a")
    assert left(install) == 1


def test_who_is_to_end_goes_on_the_next_time(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    part = leave(install, 5)
    monkeypatch.setattr(pruning, "AT_ONCE", 2)
    settings, stops = settings_of(install), list[Callable[[], None]]()
    monkeypatch.setattr(pruning, "breathe", lambda: [stop() for stop in stops])
    run_once(settings, Narrowed(), metrics_of(settings), lambda _: None, lambda sweep: stops.append(sweep.stop))
    assert (left(install), part.exists()) == (3, True)
    stops.clear()
    run(install)
    assert (left(install), part.exists()) == (0, False)


def test_a_tenth_of_a_runs_time_is_enough_and_the_rest_is_left_for_the_work(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = [datetime(2026, 11, 28, tzinfo=UTC)]

    def endless(_: Database, may_go_on: Callable[[], bool]) -> Pruned:
        while may_go_on():
            hand.append(hand[-1] + timedelta(seconds=1))
        return Pruned()

    def by_hand(settings: Any, database: Any, _: Any, within: Any, may_go_on: Any) -> None:
        forget_if_due(settings, database, lambda: hand[-1], within, may_go_on)

    monkeypatch.setattr(Database, "prune", endless)
    monkeypatch.setattr(once, "forget_if_due", by_hand)
    install.add("b")
    settings, minute = settings_of(install), Narrowed(timedelta(minutes=1))
    result = run_once(settings, minute, metrics_of(settings), lambda _: None, lambda _: None)
    assert hand[-1] - hand[0] == timedelta(seconds=6)
    assert result.states == {(State.OK, None): 1}
    assert install.sql("SELECT * FROM reconciler_note WHERE name = 'forgot_at'") == []


def test_a_store_too_large_for_that_time_is_tidied_as_far_as_it_goes(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, seen = leave(install), list[bool]()
    monkeypatch.setattr(LocalStore, "clean", lambda _, may_go_on: seen.append(may_go_on()))
    run(install)
    run(install)
    assert (part.exists(), seen) == (True, [True])


def test_a_database_that_lets_nothing_be_forgotten_keeps_nobody_from_work(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: Any) -> Pruned:
        raise DatabaseLocked("locked", "there", "wait")

    install.add("b")
    monkeypatch.setattr(Database, "prune", locked)
    assert run(install)["resolved"] == {"generated": 1}
