"""The daemon: ready once everything stands, its pages, what it does by itself, and how it ends."""

import errno
import json
import os
import signal
import socket
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any
from unittest.mock import Mock

import pytest

from reconciler import database
from reconciler.app import daemon as module
from reconciler.app import inside as opening
from reconciler.app import jobs, sweeping, work
from reconciler.app.daemon import serve
from reconciler.app.errors import HttpAway, StoreAway, StoreUnfit
from reconciler.app.outside import provider
from reconciler.database.finder import SqlFinder
from reconciler.kie.simulated import AnswerPicture, belongs_to
from reconciler.service.counting import Trigger
from reconciler.service.events import ClockJumped, Forgotten, Hung, JobFailed, PageFailed, Stopped, Swept
from reconciler.service.notify import Notifier
from reconciler.service.vitals import Vitals
from tests.cli.conftest import Install
from tests.daemons import LONG_S, Inside, Paged, eventually, inside, running, settings_of, small, systemd

Patch = pytest.MonkeyPatch
OFTEN = {"schedule__sweep_interval": '"1s"', "schedule__audit_interval": '"100s"'}
UNSEEN, UNSWEPT = "reconciler_snapshot_failures_total", "reconciler_sweep_failures_total{reason=database}"
GOOD, SNAPSHOT = "reconciler_tracks{state=ok}", "reconciler_snapshot_timestamp_seconds"


@pytest.fixture
def quick(install: Install) -> Install:
    """Orders are answered with the picture; one track to buy for."""
    small(install)
    install.kie.script.when(AnswerPicture(), operation="create")
    install.add("a")
    return install


def repaired(install: Install, number: int = 1) -> bool:
    return [row["resolution"] for row in install.rows()].count("160x90") == number


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def swept(daemon: Inside) -> list[Swept]:
    return [event for event in daemon.of(Swept) if event.trigger is not None]


def test_it_looks_for_what_is_new_six_times_in_its_interval(install: Install) -> None:
    install.configure(schedule__sweep_interval='"30s"')
    with provider(settings_of(install)) as outside:
        sweeps = sweeping.Sweeping(outside, Mock(), Mock())
    assert sweeps._lately.looks_for_new_every == timedelta(seconds=5)


# -- a process, from start to end --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_stuck_track_is_repaired_whole_and_its_picture_served_by_the_daemon_itself(quick: Install) -> None:
    port = free_port()
    public_url = f"http://127.0.0.1:{port}/images"
    quick.configure(
        target__width="160",
        target__height="90",
        http__port=str(port),
        storage__public_url=f'"{public_url}"',
        schedule__snapshot_interval='"200ms"',
    )
    with running(quick) as daemon:
        eventually(lambda: repaired(quick))
        (row,) = quick.rows()
        assert row["image_url"].startswith(f"{public_url}/tracks/a/")
        status, body = daemon.get(row["image_url"].removeprefix(daemon.url))
        assert status == 200
        assert belongs_to(body, "a lighthouse called a in morning mist")
        assert daemon.says("/healthz") == (200, "ok\n")
        assert daemon.says("/readyz") == (200, "ok\n")
        eventually(lambda: daemon.gauges()[GOOD] == 1)
        assert daemon.gauges()["reconciler_purchases_total"] == 1
        assert daemon.gauges()["process_resident_memory_bytes"] > 0
        assert daemon.stop() == 0
    said = daemon.systemd.said
    assert said[0].startswith(f"READY=1\nSTATUS=pages at http://127.0.0.1:{port}")
    assert said[-1] == "STOPPING=1"
    assert set(said[1:-1]) == {"WATCHDOG=1"}
    assert [json.loads(line)["event"] for line in daemon.stderr().splitlines()][-1] == "stopped"
    assert len(quick.kie.book.purchases) == 1


@pytest.mark.slow
def test_sigabrt_shows_the_stacks_of_all_threads(quick: Install) -> None:
    """systemd's watchdog ends a process that hangs by it. Here nothing runs meanwhile, least of all a snapshot: stacks
    of threads that run cannot be read safely, and the process may end by that instead."""
    small(quick, schedule__snapshot_interval='"1h"')
    over = ("snapshot", "last_sweep_success", "kie_credits")
    with running(quick, before="import random; random.uniform = lambda a, b: 0.0") as daemon:
        eventually(lambda: all(daemon.gauges()[f"reconciler_{name}_timestamp_seconds"] for name in over))
        eventually(lambda: quick.sql("SELECT value FROM reconciler_note WHERE name = 'audit_began'"))
        assert daemon.says("/healthz") == (200, "ok\n")
        ended = daemon.stop(signal.SIGABRT)
    stacks = daemon.stderr()
    assert "Fatal Python error: Aborted" in stacks
    assert "(most recent call first)" in stacks
    if ended != -signal.SIGSEGV:  # faulthandler reads the stacks of running threads without a lock
        assert ended == -signal.SIGABRT
        assert stacks.count("(most recent call first)") >= 3
        assert "in serve_forever" in stacks


# -- what keeps it from starting ---------------------------------------------------------------------------------------


def refused(install: Install) -> tuple[int, str]:
    result = install.call("run")
    assert len(result.stderr.splitlines()) == 1
    return result.exit_code, result.stderr


def test_a_port_that_is_taken_is_told(quick: Install) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        small(quick, http__port=str(port))
        code, told = refused(quick)
    assert code == 1
    assert f"http.host, http.port: 127.0.0.1:{port}: Address already in use" in told
    assert told.endswith("; end what listens there, or choose another port\n")
    assert quick.kie.book.creations == ()


@pytest.mark.parametrize("host", ["192.0.2.1", "fe80::1%nosuch"])
def test_a_host_that_is_not_this_machine_is_told(quick: Install, host: str) -> None:
    """The address of another, and a name of none, as far as that is known without asking the DNS."""
    small(quick, http__host=f'"{host}"')
    code, told = refused(quick)
    assert code == 1
    assert f"http.host, http.port: {host}:" in told
    assert told.endswith("; set http.host to an address of this machine\n")


@pytest.mark.parametrize(
    ("number", "todo"),
    [
        (errno.EACCES, "choose a port from 1024 on, or let the reconciler's user listen on this one"),
        (errno.EMFILE, "choose another http.host or http.port"),
    ],
)
def test_a_port_that_may_not_be_had_is_told(quick: Install, monkeypatch: Patch, number: int, todo: str) -> None:
    monkeypatch.setattr(module, "HttpServer", Mock(side_effect=OSError(number, os.strerror(number))))
    code, told = refused(quick)
    assert code == 1
    assert told.endswith(f": {os.strerror(number)}; {todo}\n")


def test_a_mistake_in_the_configuration_ends_it_with_78(quick: Install) -> None:
    small(quick, kie__model='"nobody"')
    code, told = refused(quick)
    assert code == 78
    assert "[kie] model: " in told


def test_a_missing_database_ends_it_with_78(quick: Install) -> None:
    quick.database.unlink()
    code, told = refused(quick)
    assert code == 78
    assert f"{quick.database}: there is no such file" in told
    assert not quick.database.exists()


def test_another_store_than_the_database_knows_ends_it_with_78(quick: Install) -> None:
    assert quick.call("run", "--once").exit_code == 0
    (quick.store / ".reconciler-store").write_text('{"id": "another"}')
    code, told = refused(quick)
    assert code == 78
    assert "is another store than the database knows (marker another" in told


@pytest.mark.parametrize("missing", ["database", "store", "port"])
def test_nothing_is_told_by_one_that_is_not_ready(quick: Install, monkeypatch: Patch, missing: str) -> None:
    with socket.socket() as taken, systemd() as listening:
        monkeypatch.setenv("NOTIFY_SOCKET", str(listening.path))
        if missing == "database":
            quick.database.unlink()
        elif missing == "store":
            quick.store.write_text("a file")
        else:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            small(quick, http__port=str(taken.getsockname()[1]))
        told, settings = Inside(listening), settings_of(quick)
        with pytest.raises((database.DatabaseError, StoreUnfit, HttpAway)):
            serve(settings, told.ears(settings), lambda _: None)
    assert (listening.said, told.told) == ([], [])


def test_ready_is_said_when_the_pages_are_served(quick: Install, monkeypatch: Patch) -> None:
    seen: list[object] = []

    def ready(_: object, status: str) -> None:
        page = Paged()
        page.url = status.removeprefix("pages at ")
        seen.append((page.says("/readyz"), (quick.store / ".reconciler-store").exists()))

    monkeypatch.setattr(Notifier, "ready", ready)
    with inside(quick, monkeypatch):
        eventually(lambda: seen)
    assert seen == [((200, "ok\n"), True)]


# -- telling systemd ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "beat"),
    [
        ({}, timedelta(seconds=5)),
        ({"WATCHDOG_USEC": "3000000"}, timedelta(seconds=1.5)),
        ({"WATCHDOG_USEC": "60000000"}, timedelta(seconds=5)),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, timedelta(seconds=5)),
    ],
)
def test_the_watchdog_is_fed_at_half_its_interval(
    quick: Install, monkeypatch: Patch, environ: dict[str, str], beat: timedelta
) -> None:
    beats: list[timedelta] = []
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(module.Daemon, "run", lambda _, beat: beats.append(beat))
    settings = settings_of(quick)
    with systemd() as listening:
        serve(settings, Inside(listening).ears(settings), lambda _: None)
    assert beats == [beat]


def test_it_is_fed_from_ready_to_stopping(quick: Install, monkeypatch: Patch) -> None:
    with inside(quick, monkeypatch) as daemon:
        eventually(lambda: daemon.systemd.beats() > 2)
        daemon.stop()
    said = daemon.systemd.said
    assert said[0].startswith("READY=1\n")
    assert set(said[1:-1]) == {"WATCHDOG=1"}
    assert said[-1] == "STOPPING=1"
    assert daemon.of(Stopped) == [Stopped(in_order=True)]


def test_asked_to_stop_before_it_began_it_does_no_work(quick: Install) -> None:
    settings = settings_of(quick)
    with systemd() as listening:
        told = Inside(listening)
        serve(settings, told.ears(settings), lambda daemon: daemon.stop())
    assert told.of(Stopped) == [Stopped(in_order=True)]
    assert quick.kie.book.creations == ()


# -- what it does by itself --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sweep_at_the_start_and_whenever_something_is_due(install: Install, monkeypatch: Patch) -> None:
    """Though the interval is an hour: the task that was bought is asked for when it may be done."""
    small(install)
    install.add("a")
    with inside(install, monkeypatch) as daemon:
        eventually(lambda: repaired(install))
        eventually(lambda: len(swept(daemon)) > 1)
        assert [event.trigger for event in swept(daemon)[:2]] == [Trigger.STARTUP, Trigger.SCHEDULE]
        shown = daemon.gauges()
    assert shown["reconciler_sweeps_total{trigger=startup}"] == 1
    assert shown["reconciler_sweeps_total{trigger=schedule}"] >= 1
    assert shown["reconciler_last_sweep_success_timestamp_seconds"] > 0
    assert shown["reconciler_sweep_duration_seconds_count"] >= 1


@pytest.mark.slow
def test_an_audit_measures_what_no_sweep_looks_at(install: Install, monkeypatch: Patch) -> None:
    small(install, schedule__audit_interval='"100s"')
    install.add("a", image_url=install.kie.add_file("/p/a.jpg", size=(160, 90)), resolution="160x90")
    with inside(install, monkeypatch) as daemon:
        eventually(lambda: [event for event in daemon.of(Swept) if event.trigger is None])
        eventually(lambda: daemon.gauges()[GOOD] == 1)
        notes = "SELECT name FROM reconciler_note WHERE name LIKE 'audit%'"
        eventually(lambda: install.sql(notes) == [{"name": "audit_began"}])


def test_the_balance_is_asked_for_and_shown_though_nothing_is_to_be_bought(
    install: Install, monkeypatch: Patch
) -> None:
    small(install)
    with inside(install, monkeypatch) as daemon:
        eventually(lambda: daemon.gauges()["reconciler_kie_credits"] == install.kie.balance)
        assert daemon.gauges()["reconciler_kie_credits_timestamp_seconds"] > 0
        assert daemon.gauges()["reconciler_kie_requests_total{operation=credit}{outcome=ok}"] >= 1


def test_what_is_too_old_is_forgotten(install: Install, monkeypatch: Patch) -> None:
    small(install)
    with inside(install, monkeypatch) as daemon:
        daemon.daemon._jobs.prune()
    assert daemon.of(Forgotten) == [Forgotten(0, 0)]


def test_a_clock_that_was_set_has_every_job_begin_at_once(install: Install, monkeypatch: Patch) -> None:
    small(install, schedule__snapshot_interval='"1h"')
    with inside(install, monkeypatch) as daemon:
        eventually(lambda: swept(daemon))
        before = daemon.gauges()[SNAPSHOT]
        monkeypatch.setattr(module, "utc_now", lambda: datetime.now(UTC) - timedelta(hours=2))
        eventually(lambda: len(swept(daemon)) > 1)
        eventually(lambda: daemon.gauges()[SNAPSHOT] > before)
    (jump,) = daemon.of(ClockJumped)
    assert abs(jump.by + timedelta(hours=2)) < timedelta(minutes=1)


@pytest.mark.parametrize("jump", [timedelta(hours=-1), timedelta(days=1)])
def test_a_clock_that_is_set_meanwhile_changes_no_length(quick: Install, monkeypatch: Patch, jump: timedelta) -> None:
    small(quick, schedule__snapshot_interval='"200ms"')
    read = count()
    monkeypatch.setattr(jobs, "utc_now", lambda: datetime.now(UTC) + next(read) * jump)
    with inside(quick, monkeypatch) as daemon:
        before = eventually(lambda: daemon.gauges()[SNAPSHOT])
        eventually(lambda: daemon.gauges()[SNAPSHOT] > before)
        eventually(lambda: swept(daemon))
        shown = daemon.gauges()
    lengths = ("reconciler_sweep_duration_seconds_sum", "reconciler_snapshot_duration_seconds")
    assert all(0 <= shown[name] < LONG_S for name in lengths)


@pytest.mark.slow
def test_with_the_database_quiet_status_tells_what_the_gauges_show(quick: Install, monkeypatch: Patch) -> None:
    small(quick, budget__per_hour="1")
    for name in ("b", "c"):
        quick.add(name)
    quick.add("d", status="failed")
    quick.add("e", extended_prompt_image="", prompt="", title="")
    with inside(quick, monkeypatch) as daemon:
        eventually(lambda: swept(daemon) and repaired(quick))
        seen = daemon.gauges()[SNAPSHOT]
        eventually(lambda: daemon.gauges()[SNAPSHOT] > seen)
        shown, told = daemon.gauges(), json.loads(quick.call("status", "--json").stdout)
    states, reasons = Counter[str](), Counter[str]()
    for each in told["states"]:
        states[each["state"]] += each["tracks"]
        reasons[each["reason"]] += each["tracks"]
    assert states == {"ok": 1, "missing": 2, "failed": 1}
    assert labelled(shown, "tracks", "state") == states
    assert labelled(shown, "tracks_stuck", "reason") == {r: n for r, n in reasons.items() if r}
    assert {gate["name"] for gate in told["gate_closed"]} == set(labelled(shown, "kie_gate_closed", "reason"))
    for window in ("hour", "day"):
        left = shown[f"reconciler_purchase_budget_remaining{{window={window}}}"]
        assert told["budget"][window]["remaining"] == left
    assert told["credits"]["balance"] == shown["reconciler_kie_credits"]
    oldest = datetime.fromisoformat(told["oldest_stuck"]).timestamp()
    assert abs(oldest - shown["reconciler_oldest_stuck_track_timestamp_seconds"]) < 1


def labelled(shown: dict[str, float], name: str, label: str) -> dict[str, float]:
    """The series of a gauge that are not 0."""
    begin = f"reconciler_{name}{{{label}="
    return {key.removeprefix(begin)[:-1]: n for key, n in shown.items() if key.startswith(begin) and n}


# -- an operator's pause -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_pause_holds_purchases_and_writes_and_the_rest_goes_on(quick: Install, monkeypatch: Patch) -> None:
    small(quick, **OFTEN, kie__file_hosts='["127.0.0.1"]')
    url = quick.kie.add_file("/p/b.jpg", size=(160, 90))
    quick.add("b", image_url=url)
    assert quick.call("pause").exit_code == 0
    with inside(quick, monkeypatch) as daemon:
        eventually(lambda: quick.pictures() and swept(daemon))
        eventually(lambda: daemon.gauges()["reconciler_tracks{state=expiring}"] == 1)
        assert daemon.gauges()["reconciler_kie_gate_closed{reason=paused}"] == 1
        assert [row["image_url"] for row in quick.rows()] == [None, url], "stored, since it dies, and not written"
        assert quick.kie.book.creations == ()
        assert quick.call("resume").exit_code == 0
        eventually(lambda: quick.rows()[1]["image_url"] != url)
        eventually(lambda: repaired(quick, 2))
    assert len(quick.kie.book.purchases) == 1


@pytest.mark.slow
def test_a_pause_while_it_runs_is_heeded_at_once(quick: Install, monkeypatch: Patch) -> None:
    with inside(quick, monkeypatch) as daemon:
        eventually(lambda: repaired(quick))
        assert quick.call("pause").exit_code == 0
        quick.add("b")
        sweep_again(daemon)
        assert len(quick.kie.book.creations) == 1
        assert quick.call("resume").exit_code == 0
        sweep_again(daemon)
        eventually(lambda: repaired(quick, 2))


def sweep_again(daemon: Inside) -> None:
    """Until a sweep that began after now is over."""
    for _ in range(2):
        known = len(swept(daemon))
        daemon.daemon._schedule.all_at_once()
        eventually(lambda before=known: len(swept(daemon)) > before)  # type: ignore[misc]


# -- the database is away ----------------------------------------------------------------------------------------------


@contextmanager
def locked(install: Install) -> Iterator[None]:
    """Longer than anybody waits."""
    with closing(sqlite3.connect(install.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def moved(install: Install) -> Iterator[None]:
    elsewhere = install.database.rename(install.folder / "elsewhere.db")
    yield
    elsewhere.rename(install.database)


@contextmanager
def replaced(install: Install) -> Iterator[None]:
    """By a directory."""
    with moved(install):
        install.database.mkdir()
        yield
        install.database.rmdir()


@pytest.mark.slow
@pytest.mark.parametrize("away", [locked, moved, replaced])
def test_while_the_database_is_away_pages_answer_and_nothing_is_bought_and_then_work_goes_on(
    quick: Install, monkeypatch: Patch, away: Callable[[Install], AbstractContextManager[None]]
) -> None:
    small(quick, **OFTEN, schedule__snapshot_interval='"200ms"')
    monkeypatch.setattr(module, "WITHOUT_SUCCESS", 2)
    monkeypatch.setattr(opening, "open_database", partial(database.open_database, busy_timeout_s=0.05))
    monkeypatch.setattr(opening, "open_reader", partial(database.open_reader, busy_timeout_s=0.05))
    with inside(quick, monkeypatch) as daemon:
        eventually(lambda: repaired(quick))
        eventually(lambda: daemon.gauges()[GOOD] == 1)
        bought = len(quick.kie.book.creations)
        with away(quick):
            began = daemon.gauges()
            for failures in (UNSEEN, UNSWEPT):
                eventually(lambda name=failures: daemon.gauges()[name] > began[name])  # type: ignore[misc]
            status, told = daemon.says("/readyz")
            assert status == 503
            assert f"snapshot: {quick.database}: " in told
            before = daemon.gauges()
            eventually(lambda: daemon.gauges()[UNSEEN] > before[UNSEEN] + 2)
            assert daemon.gauges()[SNAPSHOT] == before[SNAPSHOT]
            assert daemon.gauges()[GOOD] == 1, "the last that was known"
            if away is locked:
                eventually(lambda: daemon.says("/healthz")[0] == 503)
                assert "sweeps in a row failed; sweep: " in daemon.says("/healthz")[1]
        quick.add("b")
        assert len(quick.kie.book.creations) == bought
        eventually(lambda: repaired(quick, 2))
        eventually(lambda: daemon.says("/readyz") == (200, "ok\n"))
        eventually(lambda: daemon.gauges()[SNAPSHOT] > before[SNAPSHOT])
        assert daemon.says("/healthz") == (200, "ok\n")
        assert daemon.systemd.beats() > 0
        assert not daemon.of(Hung)


@pytest.mark.slow
def test_a_database_that_was_put_in_the_others_place_is_the_one_that_is_worked(
    quick: Install, monkeypatch: Patch
) -> None:
    """As when a backup is put back under a running daemon: what is bought is noted there.

    While nothing writes, since a transaction under way would leave its journal to the other file: no slice of an audit
    comes in between.
    """
    small(quick, **{**OFTEN, "schedule__snapshot_interval": '"200ms"', "schedule__audit_interval": '"6h"'})
    copy = quick.folder / "copy.db"
    with inside(quick, monkeypatch) as daemon:
        eventually(lambda: repaired(quick))
        eventually(lambda: daemon.gauges()[GOOD] == 1)
        with closing(sqlite3.connect(quick.database)) as one, closing(sqlite3.connect(copy)) as other:
            one.backup(other)
        quick.database.rename(quick.folder / "old.db")
        copy.rename(quick.database)
        quick.add("b")
        eventually(lambda: repaired(quick, 2))
        eventually(lambda: daemon.gauges()[GOOD] == 2)
    assert len(quick.sql("SELECT token FROM reconciler_purchase")) == 2


# -- what fails in it --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_store_that_is_away_stops_all_work_and_says_so(quick: Install, monkeypatch: Patch) -> None:
    small(quick, **OFTEN)
    with inside(quick, monkeypatch) as daemon:
        eventually(lambda: repaired(quick))
        elsewhere = quick.store.rename(quick.folder / "unmounted")
        quick.add("b")
        eventually(lambda: daemon.gauges()["reconciler_sweep_failures_total{reason=storage}"] >= 1)
        assert "sweep: storage.path: " in daemon.says("/readyz")[1]
        assert len(quick.kie.book.creations) == 1
        elsewhere.rename(quick.store)
        eventually(lambda: repaired(quick, 2))
        eventually(lambda: daemon.says("/readyz") == (200, "ok\n"))


@pytest.mark.slow
def test_a_bucket_that_is_away_is_no_mistake_of_ours(quick: Install, monkeypatch: Patch) -> None:
    monkeypatch.setattr(work, "open_store", Mock(side_effect=StoreAway("storage.bucket: no answer in time")))
    told, settings = Inside(Mock()), settings_of(quick)
    with provider(settings) as outside:
        jobs.Jobs(outside, told.ears(settings), Vitals()).sweep()
    assert [event.mistake for event in told.of(JobFailed)] == [False]


def test_a_mistake_of_ours_in_a_job_is_told_and_the_job_runs_again(quick: Install, monkeypatch: Patch) -> None:
    small(quick, **OFTEN)
    mistakes = iter([ValueError("a secret"), ValueError("a secret")])

    def parts(*args: Any) -> Any:
        for error in mistakes:
            raise error
        return work.parts_of(*args)

    monkeypatch.setattr(sweeping, "parts_of", parts)
    with inside(quick, monkeypatch) as daemon:
        eventually(lambda: daemon.of(JobFailed))
        assert "a secret" not in daemon.says("/readyz")[1]
        eventually(lambda: repaired(quick))
        eventually(lambda: daemon.says("/readyz") == (200, "ok\n"))
        eventually(lambda: {event.trigger is None for event in daemon.of(Swept)} == {True, False})
    assert {failed.mistake for failed in daemon.of(JobFailed)} == {True}


def broken(*_: Any) -> Any:
    raise database.DatabaseError("the database refused", "app.db", "Check its log")


def test_what_runs_seldom_and_fails_once_is_not_unready_for_a_day(quick: Install, monkeypatch: Patch) -> None:
    monkeypatch.setattr(database.Database, "prune", broken)
    with inside(quick, monkeypatch) as daemon:
        daemon.rest()
        daemon.begin("prune")
        (failed,) = eventually(lambda: daemon.of(JobFailed))
        assert (failed.job, failed.mistake) == ("prune", False)
        assert daemon.says("/readyz") == (200, "ok\n")


@pytest.mark.parametrize(
    ("job", "opener", "place", "method"),
    [("sweep", "opened", SqlFinder, "due"), ("snapshot", "looked_into", database.Reader, "overview")],
)
def test_a_job_whose_database_failed_connects_anew(
    quick: Install, monkeypatch: Patch, job: str, opener: str, place: type, method: str
) -> None:
    """A connection that failed may be of no use any more."""
    small(quick, schedule__snapshot_interval='"1h"')
    with inside(quick, monkeypatch) as daemon:
        daemon.rest()
        with monkeypatch.context() as once:
            once.setattr(place, method, broken)
            daemon.begin(job)
            eventually(lambda: daemon.of(JobFailed))
        opening_anew = Mock(wraps=getattr(jobs, opener))
        monkeypatch.setattr(jobs, opener, opening_anew)
        daemon.begin(job)
        eventually(lambda: opening_anew.called)


def test_a_page_that_fails_is_told(quick: Install, monkeypatch: Patch) -> None:
    with inside(quick, monkeypatch) as daemon:
        eventually(lambda: repaired(quick))
        (key,) = quick.pictures()
        assert daemon.get(f"/images/{key}") == (200, (quick.store / key).read_bytes())
        (quick.store / key).unlink()
        (quick.store / key).mkdir()
        assert daemon.get(f"/images/{key}")[0] == 503
    (failed,) = daemon.of(PageFailed)
    assert failed.path == f"/images/{key}"
