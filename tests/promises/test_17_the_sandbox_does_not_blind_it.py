"""Promise 17: The sandbox does not blind it: under the unit's restrictions every metric is still there.

systemd itself starts the unit as it is shipped, on a machine of its own, and the daemon repairs a track there. What is
scraped from it is compared with the contract, and with what a daemon tells that nothing restricts.
"""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.cli.conftest import PROGRAM, Install, clean_environment, installed
from tests.service.test_metrics_contract import CONTRACT
from tests.systemd.host import Host, eventually, free_port, host

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # packages may have to be installed first

PROCESS = {
    *("process_resident_memory_bytes", "process_virtual_memory_bytes", "process_cpu_seconds_total"),
    *("process_start_time_seconds", "process_open_fds", "process_max_fds"),
}
OURS = {f"reconciler_{name}{'_count' * (kind == 'histogram')}" for name, (kind, _) in CONTRACT.items()}


def series(text: str) -> dict[str, float]:
    """By name and labels."""
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in text.splitlines() if line and line[0] != "#")
    }


def names(text: str) -> set[str]:
    return {re.split(r"[{ ]", line)[0] for line in series(text)}


@pytest.fixture(scope="module")
def confined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(tmp_path_factory.mktemp("confined")) as made:
        made.install.add("a")
        made.machine.run("systemctl", "start", "reconciler")
        yield made


@contextmanager
def unconfined(folder: Path) -> Iterator[str]:
    """The metrics of a daemon that nothing restricts."""
    port = free_port()
    with installed(folder) as install:
        install.add("a")
        install.configure(http__port=str(port), storage__public_url=f'"http://127.0.0.1:{port}/images"')
        daemon = begun(install)
        try:
            assert eventually(lambda: answers(port))
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                text: bytes = answer.read()
            yield text.decode()
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(timeout=30)


def begun(install: Install) -> "subprocess.Popen[bytes]":
    command = [*PROGRAM, "--config", str(install.config), "run"]
    return subprocess.Popen(command, cwd=install.folder, env=clean_environment(), stderr=subprocess.DEVNULL)


def answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10):
            return True
    except URLError:
        return False


def test_every_metric_of_the_contract_is_there(confined: Host) -> None:
    assert (OURS | PROCESS) - names(confined.get("/metrics")) == set()


def test_every_series_is_there_that_a_daemon_tells_without_restrictions(confined: Host, tmp_path: Path) -> None:
    with unconfined(tmp_path) as free:
        assert series(confined.get("/metrics")).keys() == series(free).keys()


def test_what_it_tells_of_itself_is_so(confined: Host) -> None:
    pid = confined.machine.show("reconciler")["MainPID"]
    told = series(confined.get("/metrics"))
    resident = int(confined.machine.status("reconciler")["VmRSS"].removesuffix(" kB")) * 1024
    assert told["process_resident_memory_bytes"] == pytest.approx(resident, rel=0.5)
    opened = confined.machine.run("ls", f"/proc/{pid}/fd").stdout.split()
    assert told["process_open_fds"] == pytest.approx(len(opened), abs=5)
    assert told["process_max_fds"] == 4096
    assert told["process_cpu_seconds_total"] > 0


def test_it_works_there(confined: Host) -> None:
    assert eventually(lambda: bool(confined.install.rows()[0]["image_url"]))
    (row,) = confined.install.rows()
    with urlopen(row["image_url"], timeout=10) as answer:
        assert answer.read(2) == b"\xff\xd8"
    told = series(confined.get("/metrics"))
    assert told['reconciler_tracks_resolved_total{how="generated"}'] == 1
    assert told["reconciler_purchases_total"] == 1


def test_the_restrictions_do_hold(confined: Host) -> None:
    status = confined.machine.status("reconciler")
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert {int(status[name], 16) for name in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
    assert len(set(status["Uid"].split())) == 1
    assert "0" not in status["Uid"].split()

    pid = confined.machine.show("reconciler")["MainPID"]
    mounts = confined.machine.run("cat", f"/proc/{pid}/mounts").stdout
    options = {place: how.split(",") for _, place, _, how, *_ in map(str.split, mounts.splitlines())}
    assert "hidepid=invisible" in options["/proc"]
    writable = {place for place, how in options.items() if "rw" in how and place.split("/")[1] not in {"dev", "proc"}}
    assert writable == {"/var/lib/reconciler", "/srv/app/data", "/tmp", "/var/tmp"}
    mapped = confined.machine.run("cat", f"/proc/{pid}/uid_map").stdout.split()
    assert mapped[2::3] == ["1", "1"]


def test_a_view_of_processes_only_would_blind_it(confined: Host) -> None:
    """That the unit leaves ProcSubset=pid out is what keeps the metrics, and this test would notice it."""
    confined.machine.drop_in("reconciler", "[Service]\nProcSubset=pid\n")
    confined.machine.run("systemctl", "restart", "reconciler")
    blinded = names(confined.get("/metrics"))
    assert (OURS | PROCESS) - blinded == PROCESS
