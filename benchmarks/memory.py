"""How much memory the program takes: the idle daemon, a sweep that buys pictures, an audit of a large table, and rows
that are heavy, many and few of them.

    python benchmarks/memory.py [--tracks N] [--sizes N,N] [--heavy N,N] [--runs N] [--grainy]
        [--only CASE]... [--json FILE]

Needs Linux. Each run is the program itself in a process of its own, looked at from outside: the most that was ever
resident, and the medians of the second and the last tenth of its time. The simulated Kie is another process. Pictures
are 2048x1152 and 2560x1440, with `--grainy` of a megabyte, but in the audit, whose rows are all good and known. Prints
medians. Judges nothing.
"""

import argparse
import base64
import io
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from PIL import Image

from benchmarks import idle
from benchmarks.figures import Figures
from benchmarks.growth import SIZE, grow
from benchmarks.job import prompt, stuck_rows
from benchmarks.throughput import serve
from reconciler.config import load, policy_of
from reconciler.kie.simulated import API_KEY, Succeed
from reconciler.kie.simulated import Settings as Account
from reconciler.testing.world import PUBLIC_URL, AppFile, World
from tests.postgres import HOST, Server
from tests.postgresql.worlds import AppServer

GLANCE_S = 0.02
MEGABYTE = 1_000_000
SPAWN = get_context("spawn")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--tracks", type=int, default=2000, help="that are stuck")
    parser.add_argument("--sizes", default="100000,1000000", help="of audited tables")
    parser.add_argument("--heavy", default="16,64", help="rows with 5 MB each")
    parser.add_argument("--grainy", action="store_true", help="pictures of a megabyte in the sweep")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", action="append", choices=list(CASES))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures = Figures("memory", tracks=given.tracks, sizes=given.sizes, heavy=given.heavy, grainy=given.grainy)
    for _ in range(given.runs):
        for case in given.only or CASES:
            CASES[case](figures, given)
    figures.tell(given.json)


# -- cases -------------------------------------------------------------------------------------------------------------


def idling(figures: Figures, _: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        idle.install(Path(folder))
        figures.add("idle, SQLite", at_rest(Path(folder)))
    with tempfile.TemporaryDirectory() as folder, Server() as server:
        at = AppServer(server, server).where.url
        idle.install(Path(folder), at, f'[kie]\nallow_insecure_hosts = ["{HOST}"]\n')
        figures.add("idle, PostgreSQL", at_rest(Path(folder)))


def at_rest(folder: Path) -> dict[str, float]:
    with idle.daemon(folder) as running:
        time.sleep(10 * idle.SETTLED_S)
        pid = running.process.pid
        return {"MB at the end": idle.memory_mb(pid), "MB at most": idle.memory_mb(pid, "VmHWM")}


def sweeping(figures: Figures, given: argparse.Namespace) -> None:
    with install(grainy=given.grainy) as folder:
        fill(folder, given.tracks, lambda _: {})
        figures.add(f"sweep of {given.tracks:,}", of_a_run(folder))


def auditing(figures: Figures, given: argparse.Namespace) -> None:
    for size in map(int, given.sizes.split(",")):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            configure(folder, "http://" + HOST, f'public_url = "{PUBLIC_URL}"\n[target]\nwidth = 160\nheight = 90\n')
            grow(settled(folder), "sqlite", 1, size)
            figures.add(f"audit of {size:,}", of_a_run(folder))


def settled(folder: Path) -> World:
    """One track that is good by now: what the others are copied from. Decided as the program is configured, which
    would look at all of them again otherwise."""
    policy = policy_of(load(folder / "config.toml", {}))
    world = World(folder, policy=policy, kie=Account(credits=1e9))
    world.clock.time = datetime.now(UTC) - timedelta(days=3)
    world.kie.script.when(Succeed(width=SIZE[0], height=SIZE[1]))
    world.add("t0000000")
    world.settle(days=3)
    return world


def inline(figures: Figures, given: argparse.Namespace) -> None:
    """The picture is in the row."""
    text = f"data:image/jpeg;base64,{base64.b64encode(noise(5 * MEGABYTE * 3 // 4)).decode()}"
    heavy(figures, given, f"inline, {len(text) / MEGABYTE:.1f} MB", lambda _: {"image_url": text})


def texts(figures: Figures, given: argparse.Namespace) -> None:
    """What is read of the row, and what is not, is long."""
    words = "a lighthouse in morning mist, " * (5 * MEGABYTE // 30)
    heavy(figures, given, "texts, 2 x 5 MB", lambda n: {"extended_prompt": prompt(n) + words, "summary": words})


def heavy(figures: Figures, given: argparse.Namespace, what: str, columns: "Columns") -> None:
    for count in map(int, given.heavy.split(",")):
        with install() as folder:
            fill(folder, count, columns)
            figures.add(f"{count} rows, {what}", of_a_run(folder))


def noise(length: int) -> bytes:
    """A picture of the target's size that is nearly so long."""
    picture = Image.frombytes("RGB", (2048, 1152), random.Random(0).randbytes(2048 * 1152 * 3))
    for quality in range(98, 0, -2):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        if file.tell() <= length:
            return file.getvalue()
    raise AssertionError


CASES: dict[str, Callable[[Figures, argparse.Namespace], None]] = {
    "idle": idling,
    "sweep": sweeping,
    "audit": auditing,
    "inline": inline,
    "texts": texts,
}

# -- installs ----------------------------------------------------------------------------------------------------------

Columns = Callable[[int], dict[str, str]]


@contextmanager
def install(*, grainy: bool = False) -> Iterator[Path]:
    """An empty app's database, and a Kie that answers at once."""
    ready = SPAWN.Queue()
    kie = SPAWN.Process(target=serve, args=(ready, grainy), daemon=True)
    kie.start()
    with tempfile.TemporaryDirectory() as name:
        AppFile(Path(name) / "app.db")
        configure(Path(name), ready.get())
        yield Path(name)
    kie.terminate()
    kie.join()


def configure(folder: Path, kie_url: str, more: str = "") -> None:
    """`more` begins within the section of the storage."""
    (folder / "config.toml").write_text(
        f'[database]\nurl = "sqlite:///{folder}/app.db"\n'
        f'[kie]\nbase_url = "{kie_url}"\napi_key = "{API_KEY}"\nallow_insecure_hosts = ["{HOST}"]\n'
        'purchase_limit = 20\npurchase_window = "1ms"\nmax_concurrent_tasks = 100\n'
        f'[budget]\nper_hour = 1000000\nper_day = 1000000\n[storage]\npath = "{folder}/images"\n{more}',
        encoding="utf-8",
    )


def fill(folder: Path, count: int, columns: Columns) -> None:
    with closing(sqlite3.connect(folder / "app.db")) as connection, connection:
        for number, stuck in enumerate(stuck_rows(count)):
            row = {**stuck, **columns(number)}
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO tracks ({', '.join(row)}) VALUES ({marks})", list(row.values()))  # noqa: S608


# -- looking -----------------------------------------------------------------------------------------------------------


def of_a_run(folder: Path) -> dict[str, float]:
    command = [*idle.PROGRAM, "--config", str(folder / "config.toml"), "--log-level", "ERROR", "run", "--once"]
    with (folder / "told").open("wb") as told:
        command += ["--timeout", "2h"]
        process = subprocess.Popen(command, cwd=folder, env=idle.ENVIRON, stdout=told, stderr=told)
        seen = list(glances(process))
    assert process.returncode == 0, (folder / "told").read_text()
    resident, most, tenth = [now for now, _ in seen], max(map(max, seen)), len(seen) // 10
    early, late = median(resident[tenth : 2 * tenth]), median(resident[-tenth:])
    return {"MB, second tenth": early, "MB, last tenth": late, "MB at most": most, "s": len(seen) * GLANCE_S}


def glances(process: "subprocess.Popen[bytes]") -> Iterator[tuple[float, float]]:
    """Megabytes resident, and the most so far, until it has ended."""
    while process.poll() is None:
        now, most = (idle.memory_mb(process.pid, what) for what in ("VmRSS", "VmHWM"))
        if now and most:
            yield now, most
        time.sleep(GLANCE_S)


if __name__ == "__main__":
    main()
