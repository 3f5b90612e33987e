"""What the daemon costs while there is nothing to do, and how fast it starts and stops.

    python benchmarks/idle.py [--runs N] [--seconds S]

Needs Linux. Prints each figure's median; times also as a ratio to those of a bare Python process that imports nothing
but the program, measured in turn with it, since machines differ. Judges nothing.
"""

import argparse
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path

PROGRAM = (sys.executable, "-m", "reconciler")
TICK = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20, help="how long to watch it idle")
    given = parser.parse_args()
    starts, stops, bare = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        install(folder)
        for _ in range(given.runs):
            bare.append(timed("-c", "import reconciler.app.daemon, reconciler.cli"))
            with daemon(folder) as (process, took):
                starts.append(took)
                time.sleep(4)  # past the jitter of its first jobs: idle
                stops.append(stopped(process))
        with daemon(folder) as (process, _):
            time.sleep(4)
            tell_idle(process.pid, given.seconds)
    tell("start to READY", starts, bare)
    tell("SIGTERM to exit, idle", stops, bare)


def install(folder: Path) -> None:
    """An app's database with a thousand tracks that need nothing, since they are out of scope."""
    schema = files("reconciler").joinpath("demo/app-schema-sqlite.sql").read_text(encoding="utf-8")
    with closing(sqlite3.connect(folder / "app.db")) as connection, connection:
        connection.executescript(schema)
        rows = ((f"t{number}", "Song", "p", "failed") for number in range(1000))
        connection.executemany("INSERT INTO tracks (id, title, prompt, status) VALUES (?, ?, ?, ?)", rows)
    (folder / "config.toml").write_text(
        f'[database]\nurl = "sqlite:///{folder}/app.db"\n[storage]\npath = "{folder}/images"\n[http]\nport = 0\n',
        encoding="utf-8",
    )


@contextmanager
def daemon(folder: Path) -> Iterator[tuple["subprocess.Popen[bytes]", float]]:
    """The process once it is ready, and the seconds that took."""
    path = folder / "notify"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(path))
        told.settimeout(60)
        begun = time.perf_counter()
        environ = {**os.environ, "NOTIFY_SOCKET": str(path)}
        command = [*PROGRAM, "--config", str(folder / "config.toml"), "--log-level", "ERROR", "run"]
        process = subprocess.Popen(command, cwd=folder, env=environ)
        try:
            while b"READY=1" not in told.recv(4096):
                pass
            yield process, time.perf_counter() - begun
        finally:
            stopped(process)


def stopped(process: "subprocess.Popen[bytes]") -> float:
    begun = time.perf_counter()
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    process.wait(60)
    return time.perf_counter() - begun


def timed(*arguments: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True)
    return time.perf_counter() - begun


def tell_idle(pid: int, seconds: float) -> None:
    before = cpu(pid)
    time.sleep(seconds)
    print(f"idle for {seconds:g} s: {(cpu(pid) - before) * 1000:.0f} ms of CPU")
    print(f"resident memory: {resident(pid) / 1024:.1f} MB")
    print(f"open handles on the database: {handles(pid, 'app.db')}")


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def handles(pid: int, name: str) -> int:
    return sum(handle.readlink().name == name for handle in Path(f"/proc/{pid}/fd").iterdir())


def tell(what: str, seconds: list[float], bare: list[float]) -> None:
    ratio = statistics.median(one / other for one, other in zip(seconds, bare, strict=True))
    print(f"{what}: {statistics.median(seconds):.2f} s, {ratio:.2f} times an import of the program")


if __name__ == "__main__":
    main()
