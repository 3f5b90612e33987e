"""How fast the program starts, answers `--help` and stops, and what the daemon costs while there is nothing to do.

    python benchmarks/idle.py [--runs N] [--seconds S] [--json FILE]

Needs Linux. Times are told also as ratios to those of a bare Python process that imports nothing but the program,
measured in turn with it, since machines differ. Prints medians. Judges nothing.
"""

import argparse
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.figures import Figures

ROOT = Path(__file__).parents[1]
PROGRAM = (sys.executable, "-m", "reconciler")
ENVIRON = {**os.environ, "PYTHONPATH": str(ROOT)}
"""In it the program of this tree is run, whichever is installed."""
TICK = os.sysconf("SC_CLK_TCK")
SETTLED_S = 4.0
"""Past the jitter of the daemon's first jobs."""


@dataclass(frozen=True)
class Daemon:
    """One that is ready. `took_s`: from its start until then."""

    process: "subprocess.Popen[bytes]"
    url: str
    took_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20, help="how long to watch it idle")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures = Figures("idle")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        install(folder)
        for _ in range(given.runs):
            bare = timed(sys.executable, "-c", "import reconciler.app.daemon, reconciler.cli")
            tell(figures, "--help", timed(*PROGRAM, "--help"), bare)
            with daemon(folder) as running:
                tell(figures, "start to READY", running.took_s, bare)
                time.sleep(SETTLED_S)
                figures.add("idle", watched(running.process.pid, given.seconds))
                tell(figures, "SIGTERM to exit, idle", stopped(running.process), bare)
    figures.tell(given.json)


def tell(figures: Figures, what: str, seconds: float, bare: float) -> None:
    figures.add(what, {"s": seconds, "to an import": seconds / bare})


# -- the daemon --------------------------------------------------------------------------------------------------------


def install(folder: Path, database: str | None = None, more: str = "") -> None:
    """An app's database with a thousand tracks that need nothing, since they are out of scope, or one that is there;
    nothing outside is asked. `more`: sections of the configuration."""
    if database is None:
        schema = files("reconciler").joinpath("demo/app-schema-sqlite.sql").read_text(encoding="utf-8")
        with closing(sqlite3.connect(folder / "app.db")) as connection, connection:
            connection.executescript(schema)
            rows = ((f"t{number}", "Song", "p", "failed") for number in range(1000))
            connection.executemany("INSERT INTO tracks (id, title, prompt, status) VALUES (?, ?, ?, ?)", rows)
    (folder / "config.toml").write_text(
        f'[database]\nurl = "{database or f"sqlite:///{folder}/app.db"}"\n[budget]\nper_day = 0\n'
        f'[storage]\npath = "{folder}/images"\n[http]\nport = 0\n{more}',
        encoding="utf-8",
    )


@contextmanager
def daemon(folder: Path) -> Iterator[Daemon]:
    path = folder / "notify"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(path))
        told.settimeout(60)
        begun = time.perf_counter()
        environ = {**ENVIRON, "NOTIFY_SOCKET": str(path)}
        command = [*PROGRAM, "--config", str(folder / "config.toml"), "--log-level", "ERROR", "run"]
        process = subprocess.Popen(command, cwd=folder, env=environ, stderr=subprocess.DEVNULL)
        try:
            while b"READY=1" not in (said := told.recv(4096)):
                pass
            took_s = time.perf_counter() - begun
            url = said.decode().partition("pages at ")[2].partition("\n")[0]
            yield Daemon(process, url, took_s)
        finally:
            stopped(process)


def stopped(process: "subprocess.Popen[bytes]") -> float:
    """Seconds that it took."""
    begun = time.perf_counter()
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    process.wait(60)
    return time.perf_counter() - begun


def timed(*command: str) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, env=ENVIRON, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


# -- a process ---------------------------------------------------------------------------------------------------------


def watched(pid: int, seconds: float) -> dict[str, float]:
    before = cpu(pid)
    time.sleep(seconds)
    return {
        "CPU, ms a minute": (cpu(pid) - before) / seconds * 60_000,
        "memory, MB": memory_mb(pid),
        "handles on the file": handles(pid, "app.db"),
    }


def cpu(pid: int) -> float:
    """Seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory_mb(pid: int, what: str = "VmRSS") -> float:
    """Resident, now; `what`: VmHWM for the most that ever was. 0 once it has ended."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(what)), 0)


def handles(pid: int, name: str) -> int:
    return sum(handle.readlink().name == name for handle in Path(f"/proc/{pid}/fd").iterdir())


if __name__ == "__main__":
    main()
