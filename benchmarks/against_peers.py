"""The same job by what one would otherwise write: a plain sequential script, and a huey application on SQLite.

    python benchmarks/against_peers.py [--tracks N] [--runs N] [--kill-every S] [--lives N] [--json FILE]

With tasks that are done at once, and with tasks of two seconds (the real ones take 12 to 128). Of these the script
works 30: one after another, each takes as long. Ours is `reconciler run --once`, by a model that is proven. Each is a
process, whose start counts, against a simulated Kie without limits in this one.

Then under SIGKILL, for 60 of the tracks (30 where tasks take two seconds): the process is killed so long after its
first order, question or download, and started again, until nothing is stuck or it died too often; the simulated Kie's
book tells what was bought. Needs `make bench`. Prints medians and ratios. Judges nothing.
"""

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.figures import Figures
from benchmarks.job import free_kie, stuck_rows
from reconciler.kie.simulated import API_KEY, KieServer, SimulatedKie

ROOT = Path(__file__).parents[1]
APP_SCHEMA = files("reconciler").joinpath("demo/app-schema-sqlite.sql").read_text(encoding="utf-8")
LONG_S = 1200.0
"""No run takes so long."""
LOOK_S = 0.05
FEW = 30
"""Tracks, where they cannot but take long."""
PEERS = {
    "ours": ("reconciler", "--config", "config.toml", "run", "--once"),
    "sequential": ("benchmarks.peers.sequential",),
    "huey": ("benchmarks.peers.huey_worker",),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """`lasting`: seconds that every task runs."""

    name: str
    tracks: int
    lasting: float

    def of(self, peer: str) -> "Setting":
        """Who works one track after another takes as long for each, and works a few."""
        return replace(self, tracks=min(self.tracks, FEW)) if self.lasting and peer == "sequential" else self


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--tracks", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--kill-every", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--lives", type=int, default=30, help="what died so often is given up")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    settings = (Setting("at once", given.tracks, 0.0), Setting("2 s", given.tracks, 2.0))
    figures = Figures("peers", tracks={each.name: each.tracks for each in settings}, kill_every_s=given.kill_every)
    for setting in settings:
        for _ in range(given.runs):
            compare(figures, setting)
        fewer = replace(setting, tracks=min(setting.tracks, FEW if setting.lasting else 2 * FEW))
        for _ in range(given.runs):
            for name in PEERS:
                figures.add(f"{name}, {setting.name}, killed", killed(name, fewer, given.kill_every, given.lives))
    figures.tell(given.json)


def compare(figures: Figures, setting: Setting) -> None:
    found = {name: undisturbed(name, setting.of(name)) for name in PEERS}
    for name, measured in found.items():
        figures.add(f"{name}, {setting.name}", measured)
        if name != "ours":
            ratios = {
                what.removesuffix("_ms_per_track"): value / found["ours"][what] for what, value in measured.items()
            }
            figures.add(f"{name} to ours, {setting.name}", ratios)


# -- an app ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class App:
    folder: Path
    kie: SimulatedKie
    url: str

    @property
    def database(self) -> Path:
        return self.folder / "app.db"

    def sql(self, statement: str) -> list[Any]:
        with closing(sqlite3.connect(self.database, timeout=30)) as connection:
            return connection.execute(statement).fetchall()

    def stuck(self) -> int:
        return int(self.sql("SELECT count(*) FROM tracks WHERE image_url IS NULL")[0][0])

    def work(self) -> int:
        """Orders, questions and downloads so far."""
        return len(self.kie.book.creations) + sum(visit.operation != "credit" for visit in self.kie.book.visits)

    @contextmanager
    def working(self, peer: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Killed in the end, unless it has ended."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("RECONCILER_")} | {
            "PYTHONPATH": str(ROOT),
            "APP_DATABASE": str(self.database),
            "HUEY_DATABASE": str(self.folder / "huey.db"),
            "IMAGES": str(self.folder / "images"),
            "KIE_URL": self.url,
        }
        with (self.folder / "log").open("ab") as log:
            command = [sys.executable, "-m", *PEERS[peer]]
            process = subprocess.Popen(command, cwd=self.folder, env=environ, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@contextmanager
def app(peer: str, setting: Setting, **changes: str) -> Iterator[App]:
    """All its tracks are stuck. `changes`: of our configuration, `section__key` and TOML."""
    with KieServer(free_kie(timedelta(seconds=setting.lasting))) as server, tempfile.TemporaryDirectory() as name:
        made = App(Path(name), server.kie, server.base_url)
        (made.folder / "images").mkdir()
        with closing(sqlite3.connect(made.database)) as connection:
            connection.executescript(APP_SCHEMA)
        configure(made, changes)
        first, *others = stuck_rows(setting.tracks + 1)
        if peer == "ours":
            add(made, first)
            with made.working(peer) as process:
                assert process.wait(LONG_S) == 0, told(made)
        add(made, *others)
        yield made


def add(made: App, *rows: dict[str, str]) -> None:
    marks = ", ".join(f":{column}" for column in rows[0])
    with closing(sqlite3.connect(made.database)) as connection, connection:
        connection.executemany(f"INSERT INTO tracks ({', '.join(rows[0])}) VALUES ({marks})", rows)  # noqa: S608


def configure(made: App, changes: dict[str, str]) -> None:
    """Nothing limits but the work itself."""
    keys = {
        "database__url": f'"sqlite:///{made.database}"',
        "kie__base_url": f'"{made.url}"',
        "kie__api_key": f'"{API_KEY}"',
        "kie__allow_insecure_hosts": '["127.0.0.1"]',
        "kie__file_hosts": '["127.0.0.1"]',
        "kie__purchase_limit": "20",
        "kie__purchase_window": '"1ms"',
        "kie__max_concurrent_tasks": "100",
        "budget__per_hour": "1000000",
        "budget__per_day": "1000000",
        "storage__path": f'"{made.folder / "images"}"',
        "storage__public_url": '"http://127.0.0.1:1/images"',
        **changes,
    }
    sections: dict[str, list[str]] = {}
    for name, value in keys.items():
        section, _, key = name.partition("__")
        sections.setdefault(section, []).append(f"{key} = {value}\n")
    text = "".join(f"[{section}]\n{''.join(lines)}" for section, lines in sections.items())
    (made.folder / "config.toml").write_text(text, encoding="utf-8")


def until(found: Callable[[], bool], ends: float) -> bool:
    """Whether it came true before then."""
    while not (came := found()) and time.monotonic() < ends:
        time.sleep(LOOK_S)
    return came


# -- undisturbed -------------------------------------------------------------------------------------------------------


def undisturbed(peer: str, setting: Setting) -> dict[str, float]:
    """Until nothing was stuck, and CPU until the process had ended."""
    with app(peer, setting) as made:
        begun, before = time.monotonic(), len(made.kie.book.purchases)
        with made.working(peer) as process:
            until(lambda: made.stuck() == 0 or has_ended(process), begun + LONG_S)
            assert made.stuck() == 0, told(made)
            wall = time.monotonic() - begun
            cpu = cpu_of(process, is_told=peer == "huey")
        assert len(made.kie.book.purchases) - before == setting.tracks
    return {"wall_ms_per_track": wall / setting.tracks * 1000, "cpu_ms_per_track": cpu / setting.tracks * 1000}


def has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """Looks, and leaves what it cost to be asked for."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def cpu_of(process: "subprocess.Popen[bytes]", *, is_told: bool) -> float:
    """Seconds until it ended. A consumer of a queue has to be told to."""
    if is_told:
        process.terminate()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def told(made: App) -> str:
    return (made.folder / "log").read_text(encoding="utf-8", errors="replace")[-2000:]


# -- killed ------------------------------------------------------------------------------------------------------------


def killed(peer: str, setting: Setting, every: float, lives: int) -> dict[str, float]:
    # A killed process holds its leases for five times the request timeout, and orders whose answers were lost for
    # `hold_unknown`: by default, 150 s and an hour.
    short = {"kie__request_timeout": '"2s"', "budget__hold_unknown": '"13s"', "schedule__retry_min": '"1s"'}
    with app(peer, setting, **short) as made:
        begun, died, before = time.monotonic(), 0, len(made.kie.book.purchases)
        while made.stuck() and died < lives and time.monotonic() < begun + LONG_S:
            live(made, peer, every)
            died += 1
        wall, stuck = time.monotonic() - begun, made.stuck()
        bought = Counter(purchase.prompt for purchase in made.kie.book.purchases[before:])
        found = {
            "purchases per track": bought.total() / setting.tracks,
            "most for a track": max(bought.values()),
            "still stuck": stuck / setting.tracks,
            "lives": died,
            "wall_s": wall,
        }
        return found | (of_attempts(made, bought) if peer == "ours" else {})


def live(made: App, peer: str, seconds: float) -> None:
    """Killed so long after its first order, question or download, unless it ends by itself or nothing is stuck."""
    before = made.work()
    with made.working(peer) as process:

        def is_over() -> bool:
            return has_ended(process) or made.stuck() == 0

        until(lambda: made.work() > before or is_over(), time.monotonic() + LONG_S)
        until(is_over, time.monotonic() + seconds)


def of_attempts(made: App, bought: Counter[str]) -> dict[str, float]:
    """An attempt is an order that was recorded before it was sent."""
    query = "SELECT t.extended_prompt_image, count(*) FROM reconciler_purchase p JOIN tracks t ON t.id = p.track_id"
    attempts = {prompt: count for prompt, count in made.sql(f"{query} GROUP BY 1") if prompt in bought}
    return {
        "purchases per attempt": bought.total() / sum(attempts.values()),
        "given up": made.sql("SELECT count(*) FROM reconciler_memory WHERE state = 'failed'")[0][0],
        "most for an attempt": max(bought[prompt] / count for prompt, count in attempts.items()),
    }


if __name__ == "__main__":
    main()
