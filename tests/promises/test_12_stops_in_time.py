"""Promise 12: SIGTERM at any step exits within request_timeout + 5 s with a consistent state, a second one at once."""

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from reconciler.database.finder import SqlFinder
from reconciler.database.gate import SqlGate
from reconciler.database.leases import SqlLeases
from reconciler.images.local_store import LocalReader, LocalStore
from reconciler.images.pictures import WebPictures
from reconciler.kie.client import KieClient, KieReader
from reconciler.kie.simulated import AnswerPicture, Break, Fault, Stall, Succeed
from reconciler.service.events import Stopped
from tests.cli.conftest import Install, installed
from tests.daemons import LONG_S, Inside, eventually, inside, running, small

pytestmark = pytest.mark.slow

PORTS = (SqlFinder, SqlLeases, SqlGate, KieReader, KieClient, WebPictures, LocalReader, LocalStore)
TASK = "ab" * 16
BOUND_S = 0.5 + 5
"""A call's time in these processes, and five seconds."""


class Places:
    """Every call of every port is a place. At `at` (its name, and how often it was met before) `act` is called."""

    def __init__(self, at: tuple[str, int] | None = None, act: Callable[[], None] = lambda: None) -> None:
        self.met: dict[str, int] = {}
        self._at, self._act, self._lock = at, act, Lock()

    def put(self, patch: pytest.MonkeyPatch) -> None:
        for port in PORTS:
            for name, method in vars(port).items():
                if callable(method) and not name.startswith("_"):
                    patch.setattr(port, name, self._around(f"{port.__name__}.{name}", method))

    def _around(self, place: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                times = self.met.get(place, 0)
                self.met[place] = times + 1
            if (place, times) == self._at:
                self._act()
            return method(*args, **kwargs)

        return call


def set_up(install: Install, **changes: str) -> None:
    small(install, **{"kie__file_hosts": '["127.0.0.1"]', "schedule__audit_interval": '"100s"', **changes})


@contextmanager
def filled(folder: Path) -> Iterator[Install]:
    """A track to buy for, one with a task that is done, one whose picture dies."""
    folder.mkdir()
    with installed(folder) as install:
        set_up(install)
        kie = install.kie
        kie.script.when(AnswerPicture(), operation="create")
        kie.add_task(TASK, prompt="a task", behaviour=Succeed(width=160, height=90, run=timedelta(0)))
        install.add("a")
        install.add("b", image_url=TASK)
        install.add("c", image_url=kie.add_file("/p/c.jpg", size=(160, 90)))
        yield install


def check(install: Install, place: object = None) -> None:
    """What was left is consistent, and the next run ends as always."""
    if install.sql("SELECT 1 FROM sqlite_master WHERE name = 'reconciler_memory'"):
        assert install.sql("SELECT track_id FROM reconciler_memory WHERE lease_owner IS NOT NULL") == [], place
        assert len(install.sql("SELECT 1 FROM reconciler_purchase WHERE outcome = 'open'")) == 0, place
    result = install.call("run", "--once", "--timeout", "30s")
    assert result.exit_code == 0, (place, result.output, result.stderr)
    assert [row["resolution"] for row in install.rows()] == ["160x90"] * 3, place
    assert all(row["image_url"].startswith("http://127.0.0.1:1/images/") for row in install.rows()), place
    assert len(install.kie.book.purchases) == 1, place


# -- at every call -----------------------------------------------------------------------------------------------------


@pytest.fixture
def _stays() -> Iterator[None]:
    """A signal that nobody waits for ends no test run."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, before)


def once(install: Install, places: Places) -> int:
    with pytest.MonkeyPatch.context() as patch:
        places.put(patch)
        return install.call("run", "--once", "--timeout", "30s").exit_code


@pytest.mark.usefixtures("_stays")
def test_one_run_ended_at_any_call(tmp_path: Path) -> None:
    """In this process, whose main thread works and hears the signal, as in any."""
    seen = Places()
    with filled(tmp_path / "whole") as install:
        assert once(install, seen) == 0
        check(install)
    assert len(seen.met) > 20
    again = [(place, times - 1) for place, times in seen.met.items() if place == "SqlLeases.commit_all"]
    for number, at in enumerate([*((place, 0) for place in seen.met), *again]):
        with filled(tmp_path / str(number)) as install:
            code = once(install, Places(at, lambda: os.kill(os.getpid(), signal.SIGTERM)))
            assert code in (0, 3), at
            check(install, at)


DAEMONS = (
    *("LocalStore.adopt", "SqlFinder.due", "SqlFinder.page", "SqlLeases.lease_all", "SqlLeases.commit_all"),
    *(
        "SqlGate.reserve",
        "KieReader.credit",
        "KieClient.create",
        "KieReader.task",
        "WebPictures.fetch",
        "LocalStore.put",
    ),
)


@pytest.mark.parametrize("place", DAEMONS)
def test_the_daemon_ended_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Its main thread only waits for the signal, while others work."""

    def at(daemon: Inside) -> None:
        Places((place, 0), daemon.ask_to_stop).put(monkeypatch)

    with filled(tmp_path / "install") as install:
        with inside(install, monkeypatch, at) as daemon:
            daemon.thread.join(LONG_S)
            assert not daemon.thread.is_alive(), "it was met"
        assert daemon.of(Stopped) == [Stopped(in_order=True)]
        check(install, place)


# -- in the midst of what takes long -----------------------------------------------------------------------------------

HANGING = """
import sys, threading
from reconciler.images.local_store import LocalStore
def put_that_hangs(*_):
    print("it hangs", file=sys.stderr, flush=True)
    threading.Event().wait()
LocalStore.put = put_that_hangs
"""


def slow(install: Install) -> None:
    set_up(install, kie__request_timeout='"500ms"')


def stalled(install: Install) -> None:
    """The order is carried out, and its answer never comes."""
    slow(install)
    install.kie.script.clear()
    install.kie.script.when(Break(Fault.HANG, done=True), operation="create")


@pytest.mark.parametrize(("command", "code"), [(("run",), 0), (("run", "--once"), 3)])
def test_in_the_midst_of_an_order(tmp_path: Path, command: tuple[str, ...], code: int) -> None:
    with filled(tmp_path / "install") as install:
        stalled(install)
        with running(install, *command, ready=False) as process:
            eventually(lambda: install.kie.book.creations)
            process.process.send_signal(signal.SIGTERM)
            assert process.process.wait(BOUND_S) == code
        assert install.sql("SELECT outcome FROM reconciler_purchase") == [{"outcome": "unknown"}]
        assert len(install.kie.book.purchases) == 1


@pytest.mark.parametrize(("command", "code"), [(("run",), 0), (("run", "--once"), 3)])
def test_in_the_midst_of_what_never_ends(tmp_path: Path, command: tuple[str, ...], code: int) -> None:
    """Nobody waits for a thread that hangs."""
    with filled(tmp_path / "install") as install:
        slow(install)
        with running(install, *command, before=HANGING, ready=False) as process:
            eventually(lambda: "it hangs" in process.stderr())
            process.process.send_signal(signal.SIGTERM)
            assert process.process.wait(BOUND_S) == code
        check(install)


def test_while_another_program_holds_the_database(tmp_path: Path) -> None:
    with filled(tmp_path / "install") as install:
        set_up(install, kie__request_timeout='"500ms"', schedule__snapshot_interval='"200ms"')
        with running(install) as process, closing(sqlite3.connect(install.database, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            eventually(lambda: "job_overlap" in process.stderr())
            process.process.send_signal(signal.SIGTERM)
            assert process.process.wait(BOUND_S) == 0
            other.execute("ROLLBACK")
        check(install)


CONNECTING = """
import sqlite3, sys
connect = sqlite3.connect
def telling(*arguments, **options):
    print("it connects", file=sys.stderr, flush=True)
    return connect(*arguments, **options)
sqlite3.connect = telling
"""


@pytest.mark.parametrize(("command", "code"), [(("run",), 0), (("run", "--once"), 1), (("run", "--dry-run"), 1)])
def test_while_it_waits_for_its_first_look_into_the_database(
    tmp_path: Path, command: tuple[str, ...], code: int
) -> None:
    with filled(tmp_path / "install") as install:
        slow(install)
        with closing(sqlite3.connect(install.database, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with running(install, *command, before=CONNECTING, ready=False) as process:
                eventually(lambda: "it connects" in process.stderr())
                process.process.send_signal(signal.SIGTERM)
                assert process.process.wait(BOUND_S) == code
            other.execute("ROLLBACK")
        check(install)


def test_while_another_program_holds_the_database_that_one_run_works_in(tmp_path: Path) -> None:
    with filled(tmp_path / "install") as install:
        slow(install)
        install.kie.script.clear()
        install.kie.script.when(Stall())
        with running(install, "run", "--once", ready=False) as process:
            eventually(lambda: install.kie.book.creations)
            with closing(sqlite3.connect(install.database, isolation_level=None, timeout=LONG_S)) as other:
                other.execute("BEGIN EXCLUSIVE")
                process.process.send_signal(signal.SIGTERM)
                assert process.process.wait(BOUND_S) == 1
                assert "see what holds the database" in process.stderr()
        assert len(install.kie.book.purchases) == 1


# -- a dry run ---------------------------------------------------------------------------------------------------------

LOOKING_THAT_HANGS = """
import sys, threading
from reconciler.images.local_store import LocalReader
def keys_that_hang(*_):
    print("it hangs", file=sys.stderr, flush=True)
    threading.Event().wait()
LocalReader.keys = keys_that_hang
"""


def test_a_dry_run_while_kie_is_silent(tmp_path: Path) -> None:
    with filled(tmp_path / "install") as install:
        slow(install)
        install.kie.script.when(Break(Fault.HANG))
        install.add("d", extended_prompt=" ".join(f"image_task_id: {number:032x}" for number in range(1000, 1012)))
        with running(install, "run", "--dry-run", ready=False) as process:
            eventually(lambda: install.kie.book.visits_of("record"))
            process.process.send_signal(signal.SIGTERM)
            assert process.process.wait(BOUND_S) == 3
            assert "stopped: whatever was not looked at until then is missing here" in process.stderr()


def test_a_dry_run_in_the_midst_of_what_never_ends(tmp_path: Path) -> None:
    with filled(tmp_path / "install") as install:
        assert install.call("run", "--once", "--timeout", "30s").exit_code == 0
        slow(install)
        install.add("d")
        with running(install, "run", "--dry-run", before=LOOKING_THAT_HANGS, ready=False) as process:
            eventually(lambda: "it hangs" in process.stderr())
            process.process.send_signal(signal.SIGTERM)
            assert process.process.wait(BOUND_S) == 1
            assert "see what holds the database or the store" in process.stderr()


# -- the second one ----------------------------------------------------------------------------------------------------


def held(install: Install) -> None:
    """An order that takes a minute."""
    stalled(install)
    set_up(install, kie__request_timeout='"60s"')


@pytest.mark.parametrize(("second", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_one_ends_the_daemon_at_once(tmp_path: Path, second: signal.Signals, code: int) -> None:
    with filled(tmp_path / "install") as install:
        held(install)
        with running(install) as process:
            eventually(lambda: install.kie.book.creations)
            process.process.send_signal(signal.SIGTERM)
            eventually(lambda: "STOPPING=1" in process.systemd.said)
            process.process.send_signal(second)
            assert process.process.wait(BOUND_S) == code
        assert install.sql("SELECT outcome FROM reconciler_purchase") == [{"outcome": "open"}]


def test_a_second_one_ends_one_run_at_once(tmp_path: Path) -> None:
    with filled(tmp_path / "install") as install:
        held(install)
        with running(install, "run", "--once", ready=False) as process:
            eventually(lambda: install.kie.book.creations)
            # Two of one kind could arrive as one.
            process.process.send_signal(signal.SIGTERM)
            process.process.send_signal(signal.SIGINT)
            assert process.process.wait(BOUND_S) in (130, 143)
        assert install.sql("SELECT outcome FROM reconciler_purchase") == [{"outcome": "open"}]
