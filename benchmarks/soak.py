"""Thirty days of a daemon's life with ten thousand tracks and all that goes wrong in a month, on a virtual clock;
or an hour of a real one.

    python benchmarks/soak.py [--days N] [--tracks N]
    python benchmarks/soak.py --real [--seconds S] [--tracks N]

Prints, for each day or minute, what stays and what it costs: rows of our tables, open files, threads, memory, processor
time. Judges nothing; the same in small is a test (tests/engine/test_soak.py).
"""

import argparse
import sys
import tempfile
import time
import warnings
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from reconciler.kie.simulated import LOST, SERVER_ERROR, Succeed, page
from tests.cli.conftest import Install, installed
from tests.daemons import running, small
from tests.soaking import OUTCOMES, Soak

DRAWN = {"create": (LOST, page(502)), "record": (SERVER_ERROR,), "file": (page(502),)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--tracks", type=int, default=10_000)
    parser.add_argument("--real", action="store_true", help="a real daemon, in real time")
    parser.add_argument("--seconds", type=float, default=3600)
    given = parser.parse_args()
    warnings.simplefilter("ignore", ResourceWarning)
    with tempfile.TemporaryDirectory() as folder:
        if given.real:
            for_real(Path(folder), given.tracks, given.seconds)
        else:
            virtual(Path(folder), given.tracks, given.days)


def virtual(folder: Path, tracks: int, days: int) -> None:
    print(" day  tracks  stuck  bought  own rows  per track  files  threads     MB  CPU s")
    for day in Soak(folder, tracks).days(days):
        rows = sum(day.own.values())
        print(
            f"{day.number:4} {day.tracks:7} {day.stuck:6} {day.bought:7} {rows:9} {rows / day.tracks:10.2f}"
            f" {day.handles:6} {day.threads:8} {day.resident / 1e6:6.0f} {day.cpu.total_seconds():6.1f}",
            flush=True,
        )


def for_real(folder: Path, tracks: int, seconds: float) -> None:
    """New tracks all the time, one of a hundred calls goes wrong."""
    with installed(folder) as install:
        install.kie.top_up(1e6)
        troubled(install)
        small(
            install,
            schedule__sweep_interval='"5s"',
            schedule__snapshot_interval='"15s"',
            budget__per_hour="5000",
            budget__per_day="50000",
        )
        with running(install) as daemon:
            begun, added = time.monotonic(), 0
            print("minute  tracks  good  bought  files  threads     MB  CPU s")
            while (passed := time.monotonic() - begun) < seconds:
                while added < tracks * passed / seconds:
                    install.add(f"t{added:06}")
                    added += 1
                if int(passed) % 60 == 0:
                    print(
                        f"{passed / 60:6.0f} {added:7} {good(install):5} {len(install.kie.book.purchases):7}"
                        f" {of_process(daemon.process.pid)}",
                        flush=True,
                    )
                time.sleep(1)


def troubled(install: Install) -> None:
    script = install.kie.script
    for operation, answers in DRAWN.items():
        for number, answer in enumerate(answers):
            for turn in range(100):
                script.when(answer, operation=operation, skip=100 * turn + 30 * number + 20, times=1)
    for _, outcome in OUTCOMES:
        script.when(outcome, skip=40, times=1)
    script.when(Succeed(width=160, height=90, run=timedelta(seconds=8)))


def good(install: Install) -> int:
    return sum(row["resolution"] == "160x90" for row in install.rows())


def of_process(pid: int) -> str:
    proc = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / 100
    files, resident = len(list((proc / "fd").iterdir())), int(status["VmRSS"].split()[0]) / 1000
    return f"{files:6} {int(status['Threads']):8} {resident:6.0f} {cpu:6.1f}"


if __name__ == "__main__":
    main()
