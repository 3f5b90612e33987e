"""A month in the life of a daemon, on a virtual clock: an app that goes on, and everything that goes wrong in a month,
as often as it does."""

import os
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from reconciler.domain.policy import Policy, Target
from reconciler.kie.simulated import (
    CONTENT_REFUSED,
    DROPPED,
    LOST,
    SERVER_ERROR,
    TASK_SERVER_ERROR,
    TOO_FREQUENT,
    Settings,
    Stall,
    Succeed,
    page,
)
from reconciler.kie.simulated.behaviour import Behaviour, Outcome
from reconciler.kie.simulated.rules import Call, Kind, Operation, Script
from reconciler.ports import StoreError
from reconciler.testing.cutting import Killed
from reconciler.testing.store import MemoryStore
from reconciler.testing.world import PUBLIC_URL, World
from tests.living import Living, living

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SIZE = (160, 90)
CDN = "https://cdn.example"
OWN = ("memory", "purchase", "task", "attempt", "closure", "shape", "host", "note")

ODDS: dict[Operation, tuple[tuple[float, Behaviour], ...]] = {
    Operation.CREATE: ((0.01, LOST), (0.01, page(502)), (0.01, TOO_FREQUENT), (0.005, DROPPED)),
    Operation.RECORD: ((0.005, SERVER_ERROR), (0.005, page(502)), (0.005, DROPPED)),
    Operation.SUNO_RECORD: ((0.005, SERVER_ERROR),),
    Operation.CREDIT: ((0.01, SERVER_ERROR),),
    Operation.FILE: ((0.005, DROPPED), (0.005, page(502)), (0.002, page(404))),
}
OUTCOMES: tuple[tuple[float, Behaviour], ...] = (
    *((0.01, CONTENT_REFUSED), (0.02, TASK_SERVER_ERROR), (0.002, Stall())),
    (0.01, Succeed(width=80, height=45)),
)
STORE_FAILS = 0.001
OUTAGES = {5: 2 * HOUR, 12: 20 * MINUTE, 19: 6 * HOUR, 26: HOUR}
"""Of the provider: on which day, for how long."""
JUMPS = {8: HOUR, 9: -HOUR, 22: -2 * MINUTE, 23: 2 * MINUTE}
"""Of our clock."""


class Odds(Script):
    """What befalls a call is drawn by lot; rules come first."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    def _take(self, call: Call, kind: Kind) -> Behaviour | None:
        ruled = super()._take(call, kind)
        return ruled or self._drawn(OUTCOMES if kind is Outcome else ODDS.get(call.operation, ()))

    def _drawn(self, odds: tuple[tuple[float, Behaviour], ...]) -> Behaviour | None:
        drawn = self._chance.random()
        for probability, behaviour in odds:
            if drawn < probability:
                return behaviour
            drawn -= probability
        return None


@dataclass(frozen=True)
class Day:
    """How things stand at its end. `own`: rows of our tables; `handles`: open files; `resident`: bytes."""

    number: int
    tracks: int
    stuck: int
    bought: int
    own: dict[str, int]
    handles: int
    threads: int
    resident: int
    cpu: timedelta


class Soak:
    """So many tracks at first: a tenth stuck, six tenths with pictures that die, the others with ones that last. Each
    day brings one more for every two hundred, and takes some."""

    def __init__(self, folder: Path, tracks: int, seed: int = 0) -> None:
        self.chance = random.Random(seed)
        policy = Policy(public_url=PUBLIC_URL, per_hour=200, per_day=2000, purchase_limit=18, target=Target(*SIZE))
        settings = Settings(credits=1e6)
        self.world = World(folder, policy=policy, kie=settings)
        self.world.kie.script = Odds(self.chance)
        self.world.kie._shop._script = self.world.kie.script
        self.world.kie.script.when(Succeed(width=160, height=90))
        self.world.store = self.store = MemoryStore()
        self.store.on_call = self._perhaps_fail
        self.tracks = tracks
        self._numbers = iter(range(10**9))
        for number in range(tracks):
            self._add(number % 10, age=3 * DAY)

    def days(self, length: int) -> Iterator[Day]:
        """The daemon is begun anew each day; at the end of every third it is killed in the middle of something."""
        for number in range(length):
            begun = os.times()
            self._begin(number)
            with living(self.world, sweep_interval=HOUR) as daemon:
                self._live(daemon, number)
            used = os.times()
            yield self._told(number, timedelta(seconds=used.user + used.system - begun.user - begun.system))
            self.world.events.clear()
            self.world.kie.book._visits.clear()

    def _begin(self, number: int) -> None:
        now = self.world.clock.true()
        if number in OUTAGES:
            self.world.kie.script.outage(now + 3 * HOUR, now + 3 * HOUR + OUTAGES[number], page(502))
        if number in JUMPS:
            self.world.clock.jump(JUMPS[number])
        for _ in range(max(self.tracks // 200, 1)):
            self._add(self.chance.randrange(10), age=self.chance.random() * HOUR)
        self._others_write()

    def _live(self, daemon: Living, number: int) -> None:
        daemon.live(23 * HOUR)
        if number % 3 == 2:
            self._dies_soon()
        try:
            daemon.live(HOUR)
        except Killed:
            self.world.pass_time(HOUR)
        self.store.on_call = self._perhaps_fail

    def _dies_soon(self) -> None:
        def killed(_: str) -> None:
            raise Killed

        self.store.on_call = killed

    def _others_write(self) -> None:
        """An archive script, a repair route, an editor, and somebody who tidies up."""
        changes = (
            *("status = 'archived'", "image_url = NULL", "image_url = NULL, resolution = NULL"),
            *("extended_prompt_image = 'a red kite of ' || id", "title = 'Renamed ' || id"),
        )
        several = max(self.tracks // 400, 1)
        ids = [row["id"] for row in self.world.sql("SELECT id FROM tracks ORDER BY id")]
        for track_id in self.chance.sample(ids, several):
            change = self.chance.choice(changes)
            self.world.sql(f"UPDATE tracks SET {change} WHERE id = ?", track_id)
        for track_id in self.chance.sample(ids, several):
            self.world.sql("DELETE FROM tracks WHERE id = ?", track_id)

    def _add(self, kind: int, age: timedelta) -> None:
        name = f"t{next(self._numbers):06}"
        if kind == 0:
            self.world.add(name, age=age)
            return
        host = self.world.kie.files_url if kind < 7 else CDN
        self.world.kie.add_file(f"/p/{name}.jpg", text=name, size=SIZE, life=14 * DAY if kind < 7 else None)
        self.world.add(name, age=age, image_url=f"{host}/p/{name}.jpg", resolution="160x90")

    def _perhaps_fail(self, call: str) -> None:
        if self.chance.random() < STORE_FAILS:
            raise StoreError(f"{call}: the disk stumbled")

    def _told(self, number: int, cpu: timedelta) -> Day:
        shown = self.world.overview().tracks
        counted = "SELECT count(*) AS rows FROM reconciler_{}"
        return Day(
            number,
            tracks=sum(shown.values()),
            stuck=sum(tracks for (state, _), tracks in shown.items() if state.stuck),
            bought=len(self.world.kie.book.purchases),
            own={name: self.world.sql(counted.format(name))[0]["rows"] for name in OWN},
            handles=sum(1 for _ in Path("/proc/self/fd").iterdir()),
            threads=threading.active_count(),
            resident=int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
            cpu=cpu,
        )
