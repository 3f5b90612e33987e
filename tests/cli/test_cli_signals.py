"""SIGTERM, SIGINT and SIGHUP in a real process: the first ends in order, the second at once."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from reconciler.console.stopping import stopping
from reconciler.kie.simulated import Break, Fault, Stall
from tests.cli.conftest import PROGRAM, clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Install

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _hears_of_its_terminal() -> Iterator[None]:
    """Also where nohup began the tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def started(install: Install, until: str, *by: str) -> subprocess.Popen[str]:
    """`run --once --json`, begun by another program if given, at the point where this event was logged."""
    process = subprocess.Popen(
        [*by, *PROGRAM, "--config", str(install.config), "--log-level", "DEBUG", "run", "--once", "--json"],
        cwd=install.folder,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if json.loads(line)["event"] == until:
            return process
    raise AssertionError(f"ended without {until}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_ends_in_order_and_what_was_bought_is_known(install: Install, number: signal.Signals) -> None:
    install.kie.script.when(Stall())
    install.add("a")
    process = started(install, "accepted")
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 3
    said = json.loads(out)
    assert (said["stopped"], said["purchases"]) == (True, 1)
    (kept,) = install.sql("SELECT outcome, task_id FROM reconciler_purchase")
    assert kept == {"outcome": "accepted", "task_id": install.kie.book.purchases[0].task_id}
    assert install.sql("SELECT lease_owner FROM reconciler_memory") == [{"lease_owner": None}]


def test_the_second_signal_ends_at_once(install: Install) -> None:
    install.configure(kie__request_timeout='"30s"', budget__hold_unknown='"1h"')
    install.kie.script.next("create", Break(Fault.HANG, done=True))
    install.add("a")
    process = started(install, "purchase")
    # Two of one kind could arrive as one.
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode in (130, 143)
    (kept,) = install.sql("SELECT outcome FROM reconciler_purchase")
    assert kept == {"outcome": "open"}


def test_nohup_holds(install: Install) -> None:
    install.add("a")
    process = started(install, "accepted", "nohup")
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert json.loads(out)["stopped"] is False


def test_a_lost_terminal_is_heard_of_twice_and_ends_nothing_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[int] = []
    monkeypatch.setattr("os._exit", ends.append)
    with stopping() as stop:
        for number in (signal.SIGHUP, signal.SIGHUP):
            signal.raise_signal(number)
        assert (stop.asked, ends) == (True, [])
        signal.raise_signal(signal.SIGTERM)
    assert ends == [143]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_check_that_is_ended_leaves_nothing_in_the_store(install: Install, number: signal.Signals) -> None:
    """A signal that comes in the instant before a call begins is heard once that is over."""
    install.store.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        install.configure(
            storage__public_url=f'"http://127.0.0.1:{silent.getsockname()[1]}/images"', kie__request_timeout='"3s"'
        )
        process = subprocess.Popen(
            [*PROGRAM, "--config", str(install.config), "check", "--offline"],
            cwd=install.folder,
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
        )
        asked, _ = silent.accept()
        with asked:
            assert len([path for path in install.store.rglob("*") if path.is_file()]) == 1
            process.send_signal(number)
            assert process.wait(20) == 128 + number
    assert list(install.store.iterdir()) == []
