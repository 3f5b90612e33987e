"""What the size of the app's table costs: a sweep that finds nothing, the first action where a thousand tracks are
stuck, what an index on its pictures is worth, and the count of all tracks for the gauges.

    python benchmarks/growth.py [--sizes N,N] [--runs N] [--engine sqlite|postgres]... [--json FILE]

All tracks but the stuck ones are good and known. Yardsticks, measured in turn: the same at the other size; one bare
query by the index of `image_url`; a bare grouped count over the app's table joined with ours. A query is a statement
where the database is a file, and a message that is answered where it is a server. Prints medians. Judges nothing.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.figures import Figures
from reconciler.database import Database, Reader
from reconciler.domain.policy import Policy, Target
from reconciler.engine.parts import Parts
from reconciler.engine.sweep import Bounds, Sweep
from reconciler.kie.simulated import Settings, Succeed
from reconciler.testing.world import PUBLIC_URL, AppDatabase, AppFile, World
from tests.postgres import HOST, Server
from tests.postgresql.worlds import AppServer
from tests.proxy import Proxy

SIZE = (160, 90)
STUCK = 1000
BARE = "SELECT id FROM tracks WHERE image_url IS NULL LIMIT 1"
OPTIONAL = "CREATE INDEX without_image ON tracks (image_url) WHERE image_url IS NULL OR image_url = ''"
"""As `reconciler schema` prints it."""
OF_THE_APP = {
    "idx_tracks_image_url": "ON tracks (image_url)",
    "idx_tracks_status_image": "ON tracks (status, image_url) WHERE status <> 'archived'",
}
COUNT = (
    "SELECT m.state, m.reason, count(*) FROM tracks t LEFT JOIN reconciler_memory m ON m.track_id = t.id GROUP BY 1, 2"
)
MANY = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i < ?)",
    "postgres": "WITH n(i) AS (SELECT generate_series(?::int, ?::int))",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--sizes", default="100000,1000000")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--engine", action="append", choices=list(ENGINES))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures = Figures("growth", sizes=given.sizes)
    for engine in given.engine or ENGINES:
        with tempfile.TemporaryDirectory() as folder, ENGINES[engine](Path(folder)) as app:
            world, known = settled(Path(folder), app), 1
            for size in map(int, given.sizes.split(",")):
                grow(world, engine, known, size)
                known = size
                measure(figures, f"{engine} {size:,}", world, given.runs)
    figures.tell(given.json)


# -- the table ---------------------------------------------------------------------------------------------------------


def settled(folder: Path, app: AppDatabase) -> World:
    """One track that was bought a picture for, and is good: what the others are copied from."""
    policy = Policy(public_url=PUBLIC_URL, per_hour=10**6, per_day=10**6, target=Target(*SIZE))
    world = World(folder, policy=policy, app=app, kie=Settings(credits=1e9))
    world.kie.script.when(Succeed(width=SIZE[0], height=SIZE[1]))
    world.add("t0000000")
    world.settle()
    return world


def grow(world: World, engine: str, known: int, size: int) -> None:
    """Each has a picture of its own, and its own times."""
    number = "substr('0000000' || i, -7)" if engine == "sqlite" else "lpad(i::text, 7, '0')"
    shifted = (
        "strftime('%Y-%m-%dT%H:%M:%f000+00:00', {}, ({} * i) || ' seconds')"
        if engine == "sqlite"
        else "{} + make_interval(secs => {} * i)"
    )
    for table, key, url, times in (
        ("tracks", "id", "image_url", ()),
        ("reconciler_memory", "track_id", "seen", (("due_at", 1), ("tried_at", -1))),
    ):
        names = [name for name in world.sql(f"SELECT * FROM {table} LIMIT 1")[0] if name != key]  # noqa: S608
        new = {name: shifted.format(name, sign) for name, sign in times} | {url: f"{url} || '#' || i"}
        copied = ", ".join(new.get(name, name) for name in names)
        world.sql(
            f"INSERT INTO {table} ({key}, {', '.join(names)}) {MANY[engine]}"  # noqa: S608
            f" SELECT 't' || {number}, {copied} FROM n, {table} WHERE {key} = 't0000000'",
            known,
            size - 1,
        )
    world.sql("ANALYZE")


@contextmanager
def some_stuck(world: World) -> Iterator[None]:
    """Their pictures are taken away, and what was known of them."""
    world.sql("UPDATE tracks SET image_url = NULL WHERE id IN (SELECT id FROM tracks ORDER BY id LIMIT ?)", STUCK)
    yield
    world.sql(
        "UPDATE tracks SET image_url = (SELECT seen FROM reconciler_memory WHERE track_id = tracks.id)"
        " WHERE image_url IS NULL"
    )


# -- figures -----------------------------------------------------------------------------------------------------------


def measure(figures: Figures, what: str, world: World, runs: int) -> None:
    figures.add(what, {"queries of an empty sweep": queries(world)})
    with closing(world.open()) as database, closing(world.reader()) as reader:
        parts = world.parts(database)
        sweep(world, parts)
        for _ in range(runs):
            figures.add(what, {"empty sweep, ms": timed(lambda: sweep(world, parts))})
            compare(figures, what, world, reader, "snapshot")
        with some_stuck(world):
            for _ in range(runs):
                figures.add(what, {"first of 1000 stuck, ms": timed(lambda: database.finder.due(1))})
                figures.add(what, {"bare query, ms": timed(lambda: world.sql(BARE))})
            compare(figures, what, world, reader, "snapshot with 1000 changed")
        for index in OF_THE_APP:
            world.sql(f"DROP INDEX {index}")
        for _ in range(runs):
            figures.add(what, {"empty sweep, image_url without index, ms": timed(lambda: sweep(world, parts))})
        world.sql(OPTIONAL)
        for _ in range(runs):
            figures.add(what, {"empty sweep, the optional index alone, ms": timed(lambda: sweep(world, parts))})
        world.sql("DROP INDEX without_image")
        for index, columns in OF_THE_APP.items():
            world.sql(f"CREATE INDEX {index} {columns}")


def compare(figures: Figures, what: str, world: World, reader: Reader, which: str) -> None:
    counting, bare = timed(reader.overview), timed(lambda: world.sql(COUNT))
    figures.add(what, {f"{which}, ms": counting, "bare count, ms": bare, f"{which} to count": counting / bare})


def sweep(world: World, parts: Parts) -> None:
    """By a daemon that has swept before, where `parts` have; it looks for what is new, which it does now and then."""
    parts.lately.all_known_at = None
    Sweep(parts, Bounds(world.clock.steady() + timedelta(minutes=10), audit=False, waits=False), lambda _: None).run()


def queries(world: World) -> int:
    """Of an empty sweep, by a process that has swept before."""
    if isinstance(world.app, AppFile):
        with closing(world.open()) as database:
            sweep(world, parts := world.parts(database))
            sent = counted(database)
            sweep(world, parts)
            return len(sent)
    where = world.app.where
    url = urlsplit(where.url)
    with Proxy(HOST, url.port or 5432) as proxy:
        world.app.where = replace(where, url=f"postgresql://postgres@{proxy.host}:{proxy.port}{url.path}")
        with closing(world.open()) as database:
            sweep(world, parts := world.parts(database))
            before = proxy.round_trips
            sweep(world, parts)
            asked = proxy.round_trips - before
        world.app.where = where
    return asked


def counted(database: Database) -> list[str]:
    """The statements that are sent, but for those that begin and end a transaction."""
    found: list[str] = []

    def noted(sql: str) -> None:
        if not sql.startswith(("BEGIN", "COMMIT")):
            found.append(sql)

    database.connection.db.connection().set_trace_callback(noted)
    return found


def timed(job: Callable[[], object]) -> float:
    begun = time.perf_counter()
    job()
    return (time.perf_counter() - begun) * 1000


# -- engines -----------------------------------------------------------------------------------------------------------


@contextmanager
def sqlite(folder: Path) -> Iterator[AppDatabase]:
    yield AppFile(folder / "app.db")


@contextmanager
def postgres(_: Path) -> Iterator[AppDatabase]:
    with Server() as server, closing(AppServer(server, server)) as app:
        yield app


ENGINES = {"sqlite": sqlite, "postgres": postgres}

if __name__ == "__main__":
    main()
