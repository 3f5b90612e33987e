"""The daemon under test: as a process with a systemd that listens to it, or in a thread of this process.

Both work an `Install`: a real database, a real store, and Kie simulated over HTTP.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from types import SimpleNamespace
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reconciler.app import daemon as module
from reconciler.app.counted import metrics_of
from reconciler.app.daemon import Daemon, serve
from reconciler.app.sweeping import Ears
from reconciler.config import Settings, load
from reconciler.engine.events import Event as Told
from reconciler.kie.simulated import Succeed
from reconciler.service.events import ServiceEvent, Started, Swept
from reconciler.service.vitals import Vitals
from tests.cli.conftest import Install, clean_environment

T = TypeVar("T")

LONG_S = 60.0
"""Nothing here takes so long, unless it never happens."""
QUICK = {
    "target__width": "160",
    "target__height": "90",
    "http__port": "0",
    "schedule__sweep_interval": '"1h"',
    "schedule__snapshot_interval": '"1s"',
}
"""Small pictures; a sweep at the start and whenever something is due."""


def eventually(found: Callable[[], T], within_s: float = LONG_S) -> T:
    """What `found` returns, once it is true."""
    ends = time.monotonic() + within_s
    while not (value := found()):
        assert time.monotonic() < ends, "it never came to be"
        time.sleep(0.02)
    return value


def small(install: Install, **changes: Any) -> None:
    """Quick to work, whatever is bought."""
    install.kie.script.when(Succeed(width=160, height=90, run=timedelta(0)))
    install.configure(**{**QUICK, **changes})


# -- pages -------------------------------------------------------------------------------------------------------------


class Paged:
    """Whatever serves the daemon's pages at `url`."""

    url: str

    def get(self, path: str) -> tuple[int, bytes]:
        try:
            with urlopen(self.url + path, timeout=10) as answer:
                return int(answer.status), bytes(answer.read())
        except HTTPError as error:
            with error:
                return error.code, error.read()

    def says(self, path: str) -> tuple[int, str]:
        status, body = self.get(path)
        return status, body.decode()

    def gauges(self) -> dict[str, float]:
        """By name and labels, as they are written."""
        text = self.says("/metrics")[1]
        return {
            sample.name + "".join(f"{{{name}={value}}}" for name, value in sample.labels.items()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


# -- a process ---------------------------------------------------------------------------------------------------------


class Systemd:
    """The socket that NOTIFY_SOCKET names, and all that was said to it. It is read at once, as systemd does."""

    def __init__(self, path: Path) -> None:
        self.path, self.said = path, list[str]()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while (message := self._socket.recv(4096).decode()) != "":
            self.said.append(message)

    def is_ready(self) -> bool:
        return any(message.startswith("READY=1") for message in self.said)

    def beats(self) -> int:
        return self.said.count("WATCHDOG=1")

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self.path))
        self._thread.join()
        self._socket.close()


@dataclass
class Running(Paged):
    """A daemon that is a process."""

    process: "subprocess.Popen[bytes]"
    systemd: Systemd
    log: Path
    url: str = ""

    def wait_ready(self) -> None:
        eventually(lambda: self.systemd.is_ready() or self._died())
        (status,) = (line for message in self.systemd.said for line in message.split("\n") if "pages at " in line)
        self.url = status.partition("pages at ")[2]

    def _died(self) -> bool:
        assert self.process.poll() is None, self.stderr()
        return False

    def stop(self, number: int = 15) -> int:
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        return self.process.wait(timeout=LONG_S)

    def stderr(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def systemd() -> Iterator[Systemd]:
    with TemporaryDirectory(prefix="systemd-") as folder:  # a socket's path may hardly be long
        listening = Systemd(Path(folder) / "notify")
        try:
            yield listening
        finally:
            listening.close()


@contextmanager
def running(
    install: Install, *arguments: str, before: str = "", ready: bool = True, **environ: str
) -> Iterator[Running]:
    """`run` as a process, once it is ready. `before`: Python that it executes before anything else."""
    program = ["-c", f"{before}\nfrom reconciler.cli import main\nmain()"] if before else ["-m", "reconciler"]
    command = [sys.executable, *program, "--config", str(install.config), *(arguments or ("run",))]
    log = install.folder / f"stderr-{len(list(install.folder.glob('stderr-*')))}.log"
    with systemd() as listening, log.open("wb") as errors:
        given = {"NOTIFY_SOCKET": str(listening.path), "WATCHDOG_USEC": "200000", **environ}
        process = subprocess.Popen(
            command,
            cwd=install.folder,
            env=clean_environment() | given,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        made = Running(process, listening, log)
        try:
            if ready:
                made.wait_ready()
            yield made
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


# -- a thread ----------------------------------------------------------------------------------------------------------


class Exited(BaseException):
    """In the place of os._exit."""

    def __init__(self, code: int) -> None:
        self.code = code


class Inside(Paged):
    """A daemon in a thread. `told` and `heard`: what service and engine said."""

    def __init__(self, listening: Systemd) -> None:
        self.systemd = listening
        self.told: list[ServiceEvent] = []
        self.heard: list[Told] = []
        self.exited: list[int] = []
        self.failed: list[BaseException] = []
        self.ahead = self.later = 0.0
        """By so many seconds the steady clocks of its vitals, and of its main thread, are ahead."""
        self.asked = False
        """To stop, though there may be no daemon yet."""
        self.daemon: Daemon
        self.thread: Thread

    def vitals(self) -> Vitals:
        return Vitals(lambda: time.monotonic() + self.ahead)

    def work(self, settings: Settings) -> None:
        try:
            serve(settings, self.ears(settings), self._begun)
        except Exited as error:
            self.exited.append(error.code)
        except BaseException as error:  # noqa: BLE001 - raised where the test waits for it
            self.failed.append(error)

    def ears(self, settings: Settings) -> Ears:
        return Ears(self.told.append, lambda _: self.heard.append, metrics_of(settings))

    def _begun(self, daemon: Daemon) -> None:
        self.daemon = daemon
        if self.asked:
            daemon.stop()

    def ask_to_stop(self) -> None:
        """What a signal does."""
        self.asked = True
        if hasattr(self, "daemon"):
            self.daemon.stop()

    def of(self, kind: type[T]) -> list[T]:
        """What was told of that kind."""
        return [event for event in (*self.told, *self.heard) if isinstance(event, kind)]

    def wait_started(self) -> None:
        (started,) = eventually(lambda: self.of(Started) or self._died())
        self.url = started.url

    def _died(self) -> list[Started]:
        if not self.thread.is_alive():
            raise AssertionError("it did not start") from (self.failed[0] if self.failed else None)
        return []

    def exit_code(self) -> int:
        """Of the process, had it been one."""
        self.thread.join(LONG_S)
        (code,) = self.exited
        return code

    def rest(self) -> None:
        """Wait until each job that runs from the start has ended once, and none runs or waits for its thread."""
        eventually(lambda: {event.trigger is None for event in self.of(Swept)} == {True, False})
        lanes = self.daemon._schedule._scheduler._executors.values()
        # Of a job that ends as it is begun, none is counted.
        eventually(lambda: not any(count for lane in lanes for count in lane._instances.values()))

    def begin(self, job: str) -> None:
        """Now, and no other."""
        self.daemon._schedule._scheduler.modify_job(job, next_run_time=datetime.now(UTC))

    def monotonic(self) -> float:
        return time.monotonic() + self.later

    def stop(self) -> None:
        """Where it has exited, its threads go on, unlike those of a process: they are told to end."""
        self.ask_to_stop()
        self.thread.join(LONG_S)
        assert not self.thread.is_alive()
        if self.exited:
            self.daemon._schedule.stop(timedelta(0))
        for error in self.failed:
            raise error


def settings_of(install: Install) -> Settings:
    return load(install.config, {})


@contextmanager
def inside(
    install: Install, patch: pytest.MonkeyPatch, before: Callable[[Inside], None] = lambda _: None
) -> Iterator[Inside]:
    """Started, and stopped in the end. Its jobs begin at once. `before` may prepare it."""

    def leave(code: int) -> None:
        raise Exited(code)

    with systemd() as listening:
        made = Inside(listening)
        patch.setenv("NOTIFY_SOCKET", str(listening.path))
        patch.setenv("WATCHDOG_USEC", "100000")
        patch.setattr(module, "uniform", lambda low, high: 0.0)
        patch.setattr(module, "os", SimpleNamespace(environ=os.environ, getpid=os.getpid, _exit=leave))
        patch.setattr(module, "time", SimpleNamespace(monotonic=made.monotonic))
        patch.setattr(module, "Vitals", made.vitals)
        before(made)
        made.thread = Thread(target=made.work, args=(settings_of(install),))
        made.thread.start()
        try:
            made.wait_started()
            yield made
        finally:
            made.stop()
