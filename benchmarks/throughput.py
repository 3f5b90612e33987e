"""Two thousand stuck tracks, against a Kie that answers at once and limits nothing: what deciding, gating and
remembering cost beyond the work that nobody can spare.

    python benchmarks/throughput.py [--tracks N] [--runs N] [--engine sqlite|postgres]... [--grainy] [--json FILE]
        [--profile FILE]

The yardstick, measured in turn with it: the same HTTP calls, the whole decode, the fit and the durable write of a file
in a bare pool of threads that remembers nothing; and once more with its pixels going from one picture to the next, as
ours do, instead of back to the system each time. Each run is a process of its own; so is the simulated Kie. All have
done fifty tracks before, unmeasured: a daemon that has swept before knows how long tasks run. Half of the pictures come
in the target's size, half are to be fitted; `--grainy` ones are ten times as large. Prints medians and
ratios. Judges nothing.
"""

import argparse
import cProfile
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.figures import Figures
from benchmarks.job import PlainKie, fitted, free_kie, prompt, stuck_rows
from reconciler.app.clock import steady
from reconciler.database import Database, Where, open_database
from reconciler.domain.policy import Policy
from reconciler.domain.states import State
from reconciler.engine.crew import WORKERS, Threads
from reconciler.engine.effects import Hands
from reconciler.engine.lately import Lately
from reconciler.engine.parts import Parts
from reconciler.engine.sweep import Bounds, Sweep
from reconciler.images.local_store import LocalStore
from reconciler.images.pictures import WebPictures
from reconciler.images.probe import MAX_PIXELS
from reconciler.images.room import Room
from reconciler.kie.client import KieClient
from reconciler.kie.simulated import API_KEY, KieServer
from reconciler.testing.world import PUBLIC_URL, AppFile
from reconciler.transport import Transport
from tests.postgres import Server
from tests.postgresql.worlds import AppServer

SPAWN = get_context("spawn")
WARMING = 50
"""Tracks that are done before those that are measured."""

Work = Callable[..., Callable[[], None]]
"""Makes ready, and returns what is to be measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--tracks", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--engine", action="append", choices=["sqlite", "postgres"])
    parser.add_argument("--grainy", action="store_true", help="pictures of a megabyte")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--profile", type=Path, help="of one run more; to be read with pstats")
    given = parser.parse_args()
    figures = Figures("throughput", tracks=given.tracks, grainy=given.grainy)
    run = partial(alone, grainy=given.grainy)
    with ExitStack() as stack:
        engines = {name: stack.enter_context(ENGINES[name]()) for name in given.engine or ["sqlite", "postgres"]}
        for _ in range(given.runs):
            floor, kept = run(bare, given.tracks), run(keeping, given.tracks)
            figures.add("floor", floor)
            figures.add("floor that keeps pixels", kept)
            for name, new in engines.items():
                ours = run(repair, given.tracks, new())
                figures.add(name, ours)
                figures.add(f"{name} to floor", {"wall": ours["wall"] / floor["wall"]})
                figures.add(f"{name} to floor that keeps pixels", {"wall": ours["wall"] / kept["wall"]})
                beyond = (ours["cpu"] - floor["cpu"]) / given.tracks * 1000
                figures.add(f"{name} beyond floor", {"cpu_ms_per_track": beyond})
        if given.profile:
            run(profiled, given.tracks, next(iter(engines.values()))(), given.profile)
    figures.tell(given.json)


# -- processes ---------------------------------------------------------------------------------------------------------


def alone(work: Work, tracks: int, *more: Any, grainy: bool = False) -> dict[str, float]:
    """Work in a process of its own, with a Kie in another; how long it took, and what it cost."""
    ready, told = SPAWN.Queue(), SPAWN.Queue()
    kie = SPAWN.Process(target=serve, args=(ready, grainy), daemon=True)
    kie.start()
    with tempfile.TemporaryDirectory() as folder:
        process = SPAWN.Process(target=measured, args=(told, work, tracks, ready.get(), Path(folder), *more))
        process.start()
        found: dict[str, float] = told.get()
        process.join()
    kie.terminate()
    kie.join()
    return found


def serve(ready: Any, grainy: bool) -> None:
    server = KieServer(free_kie(grainy=grainy))
    server.start()
    ready.put(server.base_url)


def measured(told: Any, work: Work, *given: Any) -> None:
    job = work(*given)
    begun, cpu = time.monotonic(), used()
    job()
    told.put({"wall": time.monotonic() - begun, "cpu": used() - cpu})


def used() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


# -- the floor ---------------------------------------------------------------------------------------------------------


def bare(tracks: int, url: str, folder: Path) -> Callable[[], None]:
    kie = PlainKie(url)

    def one(number: int) -> None:
        at = kie.result(kie.order(prompt(number)))
        assert at is not None
        durably(folder / f"{number}.jpg", fitted(kie.picture(at)))

    def repaired(numbers: range) -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            for done in [pool.submit(one, number) for number in numbers]:
                done.result()

    repaired(range(WARMING))
    return lambda: repaired(range(WARMING, WARMING + tracks))


def keeping(tracks: int, url: str, folder: Path) -> Callable[[], None]:
    Room(MAX_PIXELS)  # sets what Pillow keeps, for all of this process
    return bare(tracks, url, folder)


def durably(path: Path, data: bytes) -> None:
    beside = path.with_suffix(".tmp")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    handle = os.open(path.parent, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


# -- the program -------------------------------------------------------------------------------------------------------


def repair(tracks: int, url: str, folder: Path, where: Where | None) -> Callable[[], None]:
    """One sweep that ends when nothing is stuck."""
    where = where or AppFile(folder / "app.db").where
    policy = Policy(
        public_url=PUBLIC_URL,
        per_hour=10**6,
        per_day=10**6,
        purchase_limit=20,
        purchase_window=timedelta(milliseconds=1),  # no limit; ten seconds would hold hundreds, which no account has
        max_concurrent_tasks=10**6,
        insecure_hosts=("127.0.0.1",),
        file_hosts=("127.0.0.1",),
    )
    database = open_database(where, policy)
    fill(database, WARMING + tracks)

    def now() -> datetime:
        return datetime.now(UTC)

    transport = Transport(user_agent="benchmark/1", clock=now)
    kie = KieClient(transport, base_url=url, api_key=API_KEY)
    pictures = WebPictures(policy, Transport(user_agent="benchmark/1", clock=now))
    store = LocalStore(folder / "images", now=now)
    store.adopt(None)
    crew = Threads()
    hands = Hands(kie, pictures, store, policy, now)
    parts = Parts(database.finder, database.leases, database.gate, hands, crew, policy, now, steady, Lately())

    def sweep(tracks: int, only: tuple[str, ...] | None = None) -> None:
        result = Sweep(parts, Bounds(steady() + timedelta(hours=1), only), lambda _: None).run()
        assert result.states == {(State.OK, None): tracks}

    def the_rest() -> None:
        sweep(WARMING + tracks)
        crew.close()

    sweep(WARMING, tuple(row["id"] for row in stuck_rows(WARMING)))
    return the_rest


def profiled(tracks: int, url: str, folder: Path, where: Where | None, into: Path) -> Callable[[], None]:
    job = repair(tracks, url, folder, where)
    return lambda: cProfile.runctx("job()", {}, {"job": job}, str(into))


def fill(database: Database, tracks: int) -> None:
    with database.connection.writing():
        for row in stuck_rows(tracks):
            marks = ", ".join([database.connection.db.param] * len(row))
            database.connection.db.execute_sql(
                f"INSERT INTO tracks ({', '.join(row)}) VALUES ({marks})",  # noqa: S608
                tuple(row.values()),
            )


# -- engines -----------------------------------------------------------------------------------------------------------


@contextmanager
def sqlite() -> Iterator[Callable[[], Where | None]]:
    """A new file each time, beside the pictures."""
    yield lambda: None


@contextmanager
def postgres() -> Iterator[Callable[[], Where | None]]:
    """A server that waits for its disk, and looks after its tables as it comes."""
    with Server(fsync="on", synchronous_commit="on", full_page_writes="on", autovacuum_naptime="1min") as server:
        yield lambda: AppServer(server, server).where


ENGINES = {"sqlite": sqlite, "postgres": postgres}

if __name__ == "__main__":
    main()
