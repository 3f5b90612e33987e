"""How quick the daemon's metrics are there while its database is away: what a scrape takes from connecting to the last
byte, with the usual schedule, and with jobs that run, and fail, every second beside it.

    python benchmarks/vitals.py [--scrapes N] [--runs N] [--json FILE]

PostgreSQL is stopped as by a crash; SQLite's file is removed. The yardstick, asked in turn with it, is the library's
own server with the same metrics in a process that does nothing else. Prints medians. Judges nothing.
"""

import argparse
import http.client
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

from prometheus_client import start_http_server

from benchmarks.figures import Figures
from benchmarks.idle import cpu, daemon, install
from reconciler.app.counted import metrics_of
from reconciler.config import load
from tests.postgres import HOST, Server
from tests.postgresql.worlds import AppServer

SCHEDULES = {
    "": "",
    ", jobs each second": '[schedule]\nsweep_interval = "1s"\nsnapshot_interval = "1s"\naudit_interval = "100s"\n',
}
LOCAL = f'[kie]\nallow_insecure_hosts = ["{HOST}"]\n'
SPAWN = get_context("spawn")


class Exposed(NamedTuple):
    url: str
    pid: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--scrapes", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures = Figures("vitals", scrapes=given.scrapes)
    for _ in range(given.runs):
        for (name, engine), (how, schedule) in product(ENGINES.items(), SCHEDULES.items()):
            observe(figures, name + how, engine, schedule, given.scrapes)
    figures.tell(given.json)


def observe(figures: Figures, name: str, engine: "Engine", schedule: str, scrapes: int) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        engine(Path(folder), schedule) as away,
        daemon(Path(folder)) as running,
        plain(Path(folder) / "config.toml") as bare,
    ):
        awaited(running.url, failed=False)
        away()
        awaited(running.url, failed=True)
        compare(figures, name, Exposed(running.url, running.process.pid), bare, scrapes)


def compare(figures: Figures, name: str, ours: Exposed, bare: Exposed, scrapes: int) -> None:
    both = {name: ours, "bare exposition": bare}
    before = {what: cpu(each.pid) for what, each in both.items()}
    took: dict[str, list[float]] = {what: [] for what in both}
    for _ in range(scrapes):
        for what, each in both.items():
            took[what].append(scraped(each.url)[0])
    for what, each in both.items():
        used = (cpu(each.pid) - before[what]) / scrapes
        size = len(scraped(each.url)[1])
        figures.add(what, told(took[what]) | {"CPU, ms": used * 1000, "KB": size / 1e3})


def told(seconds: list[float]) -> dict[str, float]:
    parts = quantiles(seconds, n=100)
    return {"p50, ms": parts[49] * 1000, "p99, ms": parts[98] * 1000, "most, ms": max(seconds) * 1000}


def scraped(url: str) -> tuple[float, bytes]:
    """Seconds, and the body."""
    begun, parts = time.perf_counter(), urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, answer.status
    finally:
        connection.close()
    return time.perf_counter() - begun, body


def awaited(url: str, *, failed: bool) -> None:
    """The first snapshot, or the first that failed."""
    sought = b"reconciler_snapshot_failures_total " if failed else b"reconciler_snapshot_timestamp_seconds "
    while True:
        (value,) = (line.split()[-1] for line in scraped(url)[1].splitlines() if line.startswith(sought))
        if float(value):
            return
        time.sleep(0.1)


@contextmanager
def plain(config: Path) -> Iterator[Exposed]:
    here, there = SPAWN.Pipe()
    process = SPAWN.Process(target=exposed, args=(there, config), daemon=True)
    process.start()
    yield Exposed(f"http://{HOST}:{here.recv()}", process.pid or 0)
    process.terminate()
    process.join()


def exposed(ready: Any, config: Path) -> None:
    metrics = metrics_of(load(config, {}))
    server, thread = start_http_server(0, HOST, metrics.registry)
    ready.send(server.server_port)
    thread.join()


# -- engines -----------------------------------------------------------------------------------------------------------

Away = Callable[[], object]
Engine = Callable[[Path, str], AbstractContextManager[Away]]


@contextmanager
def sqlite(folder: Path, schedule: str) -> Iterator[Away]:
    install(folder, more=schedule)
    yield (folder / "app.db").unlink


@contextmanager
def postgres(folder: Path, schedule: str) -> Iterator[Away]:
    with Server() as server:
        install(folder, AppServer(server, server).where.url, schedule + LOCAL)
        yield lambda: server.stop("immediate")


ENGINES: dict[str, Engine] = {"sqlite": sqlite, "postgres": postgres}

if __name__ == "__main__":
    main()
