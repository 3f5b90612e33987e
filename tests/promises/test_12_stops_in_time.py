"""Promise 12: SIGTERM at any step exits within request_timeout + 5 s with a consistent state, a second one at once."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
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
from reconciler.kie.simulated import AnswerPicture, Break, Fault, Succeed
from reconciler.service.events import Stopped, Swept
from tests.cli.conftest import Install, installed
from tests.daemons import LONG_S, Inside, eventually, inside, running, small

pytestmark = pytest.mark.slow

PORTS = (SqlFinder, SqlLeases, SqlGate, KieReader, KieClient, WebPictures, LocalReader, LocalStore)
TASK = "ab" * 16
BOUND_S = 0.5 + 5
"""A call's time in these processes, and five seconds."""


class Places:
    """Every call of every port is a place, before it and after it. At `at` (name, and how many times it was met before)
    `act` is called, once."""

    def __init__(self, at: tuple[str, int] | None = None, act: Callable[[], None] = lambda: None) -> None:
        self.met: dict[str, int] = {}
        self._at, self._act, self._lock = at, act, Lock()

    def put(self, patch: pytest.MonkeyPatch) -> None:
        for port in PORTS:
            for name, method in vars(port).items():
                if callable(method) and not name.startswith("_"):
                    patch.setattr(port, name, self._around(f"{port.__name__}.{name}", method))

    def _around(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._pass(f"before {name}")
            result = method(*args, **kwargs)
            self._pass(f"after {name}")
            return result

        return call

    def _pass(self, place: str) -> None:
        with self._lock:
            times = self.met.get(place, 0)
            self.met[place] = times + 1
        if (place, times) == self._at:
            self._act()


@contextmanager
def filled(folder: Path) -> Iterator[Install]:
    """A track to buy for, one with a task that is done, one whose picture dies."""
    folder.mkdir()
    with installed(folder) as install:
        small(install, kie__file_hosts='["127.0.0.1"]', schedule__audit_interval='"100s"')
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
def test_one_run(tmp_path: Path) -> None:
    """In this process, whose main thread works and hears the signal, as in any."""
    seen = Places()
    with filled(tmp_path / "whole") as install:
        assert once(install, seen) == 0
        check(install)
    tried = sorted({(place, at) for place, times in seen.met.items() for at in (0, times - 1)})
    assert len(tried) > 50
    for number, at in enumerate(tried):
        with filled(tmp_path / str(number)) as install:
            code = once(install, Places(at, lambda: os.kill(os.getpid(), signal.SIGTERM)))
            assert code in (0, 3), at
            check(install, at)


def whole(install: Install, daemon: Inside) -> bool:
    audits = [event for event in daemon.of(Swept) if event.trigger is None]
    return len(audits) >= 4 and all(row["resolution"] == "160x90" for row in install.rows())


def stopped_at(place: str, patch: pytest.MonkeyPatch, daemon: Inside) -> None:
    Places((place, 0), daemon.ask_to_stop).put(patch)


def test_the_daemon(tmp_path: Path) -> None:
    """Its main thread only waits, so that what hears the signal is told apart from what works."""
    seen = Places()
    with filled(tmp_path / "whole") as install, pytest.MonkeyPatch.context() as patch:
        seen.put(patch)
        with inside(install, patch) as daemon:
            eventually(lambda: whole(install, daemon))
    tried = sorted(place for place in seen.met if place.startswith("before"))
    assert len(tried) > 20
    for number, place in enumerate(tried):
        with filled(tmp_path / str(number)) as install:
            with pytest.MonkeyPatch.context() as patch:
                with inside(install, patch, partial(stopped_at, place, patch)) as daemon:
                    daemon.thread.join(LONG_S)
                assert daemon.of(Stopped) == [Stopped(in_order=True)], place
            check(install, place)
