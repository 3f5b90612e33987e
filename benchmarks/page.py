"""What the status page costs with very many stuck tracks on SQLite: how quick it is there, and what it adds to the
count for the gauges.

    python benchmarks/page.py [--tracks N] [--gets N] [--runs N] [--json FILE]

The daemon counts each second, so that the page is made anew as often. The yardstick, asked in turn with it, is
`/healthz` of the same daemon: what a request takes that tells a word. `first` is the first page of a process, which
loads what makes it. Prints medians. Judges nothing.
"""

import argparse
import http.client
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.figures import Figures
from benchmarks.idle import daemon, install, memory_mb
from reconciler.app.inside import opened
from reconciler.app.looking import look
from reconciler.config import load
from reconciler.database import Reader
from reconciler.domain.policy import Policy, Target
from reconciler.kie.simulated import CONTENT_REFUSED_AT_ONCE, Succeed
from reconciler.testing.world import PUBLIC_URL, World

STUCK: dict[str, dict[str, Any]] = {
    "held": {},
    "unnamed": {"title": "Untitled"},
    "refused": {"extended_prompt_image": "an entry"},
}
"""Tracks that wait for the budget, that hold no prompt, that are refused: what the others are copied from."""
EACH_SECOND = '[schedule]\nsnapshot_interval = "1s"\n[kie]\nbase_url = "http://127.0.0.1:9"\n'
LOCAL = 'allow_insecure_hosts = ["127.0.0.1"]\n'
MANY = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--tracks", type=int, default=100_000)
    parser.add_argument("--gets", type=int, default=500)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures = Figures("page", tracks=given.tracks, gets=given.gets)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = stuck(folder, given.tracks)
        for _ in range(given.runs):
            beside_the_count(figures, world)
            with daemon(folder) as running:
                await_snapshot(running.url)
                asked(figures, running.url, running.process.pid, given.gets)
    figures.tell(given.json)


def stuck(folder: Path, tracks: int) -> World:
    policy = Policy(public_url=PUBLIC_URL, target=Target(160, 90), per_hour=1)
    world = World(folder, policy=policy)
    world.kie.script.when(Succeed(width=160, height=90))
    world.kie.script.when(CONTENT_REFUSED_AT_ONCE, operation="create", prompt_contains="entry")
    world.add("good")
    world.settle()
    for track_id, columns in STUCK.items():
        world.add(track_id, **columns)
    world.run(timedelta(minutes=1))
    for table, key in (("tracks", "id"), ("reconciler_memory", "track_id"), ("reconciler_attempt", "track_id")):
        names = [name for name in world.sql(f"SELECT * FROM {table} LIMIT 1")[0] if name not in (key, "id", "task_id")]  # noqa: S608
        copied = ", ".join(names)
        for known in STUCK:
            world.sql(
                f"INSERT INTO {table} ({key}, {copied}) {MANY} SELECT {key} || i, {copied} FROM n, {table}"  # noqa: S608
                f" WHERE {key} = ?",
                tracks // len(STUCK),
                known,
            )
    install(folder, f"sqlite:///{folder}/app.db", EACH_SECOND + LOCAL)
    with opened(load(folder / "config.toml", {})):
        """By other settings all of them would be looked at again."""
    world.sql("UPDATE reconciler_memory SET due_at = '2099', held = NULL, stands_until = NULL")
    world.sql("ANALYZE")
    return world


def beside_the_count(figures: Figures, world: World) -> None:
    with closing(world.reader()) as reader:
        overview, policy, here = reader.overview(), world.policy, datetime.now(UTC)
        counting = timed(reader.overview)
        looking = timed(lambda: look(reader, overview, policy, here))
        figures.add(
            "snapshot",
            {"the count, ms": counting, "the page beside it, ms": looking, "to the count": looking / counting},
        )
        figures.add("snapshot", {"longest read, ms": longest(reader)})


def longest(reader: Reader) -> float:
    """Of what the page asks: for so long nobody can commit."""
    shows = reader.showing
    return max(timed(shows.wrote), timed(shows.bought), timed(lambda: reader.peek_all(["held1", "refused1"] * 4)))


def asked(figures: Figures, url: str, pid: int, gets: int) -> None:
    took: dict[str, list[float]] = {"/": [], "/healthz": []}
    before = memory_mb(pid)
    figures.add("first", {"ms": get(url, "/")[0] * 1000})
    for _ in range(gets):
        for path, times in took.items():
            times.append(get(url, path)[0])
    for path, times in took.items():
        parts = quantiles(times, n=100)
        told = {"p50, ms": parts[49] * 1000, "p99, ms": parts[98] * 1000, "most, ms": max(times) * 1000}
        figures.add(path, told | {"KB": get(url, path)[1] / 1e3})
    figures.add(
        "/", {"p99 to that of /healthz": quantiles(took["/"], n=100)[98] / quantiles(took["/healthz"], n=100)[98]}
    )
    figures.add("memory", {"before the first page, MB": before, "after the last, MB": memory_mb(pid)})


def get(url: str, path: str) -> tuple[float, int]:
    """Seconds, and bytes."""
    begun, parts = time.perf_counter(), urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, answer.status
    finally:
        connection.close()
    return time.perf_counter() - begun, len(body)


def await_snapshot(url: str) -> None:
    connection = urlsplit(url)
    while True:
        link = http.client.HTTPConnection(connection.hostname or "", connection.port, timeout=60)
        with closing(link):
            link.request("GET", "/metrics")
            if b"reconciler_snapshot_timestamp_seconds 0.0" not in link.getresponse().read():
                return
        time.sleep(0.2)


def timed(job: Callable[[], object]) -> float:
    begun = time.perf_counter()
    job()
    return (time.perf_counter() - begun) * 1000


if __name__ == "__main__":
    main()
