"""Promise 7: two at once are as good as one. Daemons and one-off sweeps share the work: no track twice, none forgotten,
no limit exceeded by all of them together; one that was stopped past its lease writes nothing.

Real processes of the program on a real PostgreSQL behind a real PgBouncer. The judge is the simulated Kie's book.
"""

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from threading import Lock
from typing import Any

import pytest
from PIL import Image

from reconciler.kie.simulated import LOST, Creation, Succeed, belongs_to
from tests.daemons import eventually
from tests.fleet import GOOD, MEMORY, PURCHASES, Fleet, add_stuck, fleet, shared_install
from tests.postgres import Bouncer, Server, bouncer, postgres
from tests.postgresql.installs import PostgresInstall

__all__ = ["bouncer", "postgres"]

pytestmark = pytest.mark.slow

SECOND = timedelta(seconds=1)
DAEMON, ONCE = ("run",), ("run", "--once", "--timeout", "2m")
FOUR = {"daemon-1": DAEMON, "daemon-2": DAEMON, "once-1": ONCE, "once-2": ONCE}
WRITTEN = {"image_url", "resolution", "updated_at"}


@pytest.fixture(autouse=True)
def _untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing doubles the time of many processes, and most of these end without telling what they ran."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture
def install(postgres: Server, bouncer: Bouncer, tmp_path: Path) -> Iterator[PostgresInstall]:
    with shared_install(postgres, bouncer, tmp_path / "install") as made:
        yield made


def prepared(install: PostgresInstall, tracks: int, run: timedelta = SECOND, **changes: str) -> None:
    """So many stuck tracks; limits as high as they go, unless `changes` say otherwise."""
    install.kie.script.when(Succeed(width=160, height=90, run=run))
    install.configure(
        **{
            "target__width": "160",
            "target__height": "90",
            "http__port": "0",
            "schedule__sweep_interval": '"4s"',
            "schedule__snapshot_interval": '"1s"',
            "schedule__retry_min": '"200ms"',
            "schedule__retry_max": '"1s"',
            "kie__purchase_limit": "20",
            "kie__purchase_window": '"1s"',
            "kie__max_concurrent_tasks": "100",
            "kie__request_timeout": '"2s"',
            "budget__per_hour": "10000",
            "budget__per_day": "10000",
            "budget__hold_unknown": '"13s"',
            **changes,
        }
    )
    add_stuck(install, tracks)


def good(install: PostgresInstall) -> int:
    return sum(row["resolution"] == GOOD for row in install.rows())


# -- the judge ---------------------------------------------------------------------------------------------------------


def most(times: Sequence[datetime], length: timedelta) -> int:
    """The most within any half-open span of this length, by brute force."""
    return max((sum(start <= time < start + length for time in times) for start in times), default=0)


def arrivals(install: PostgresInstall) -> list[datetime]:
    """Of every order, refused ones too."""
    return [creation.arrived_at for creation in install.kie.book.creations]


def intents(install: PostgresInstall) -> list[dict[str, Any]]:
    return install.sql(f"SELECT * FROM {PURCHASES} ORDER BY at")


def by_prompt(found: Sequence[Any], prompt_of: Callable[[Any], str]) -> dict[str, list[Any]]:
    sorted_ = defaultdict[str, list[Any]](list)
    for each in found:
        sorted_[prompt_of(each)].append(each)
    return sorted_


def check_purchases(install: PostgresInstall, before: Sequence[dict[str, Any]]) -> None:
    """Each attempt was bought once at most; a track twice at most, and then the second is the counted repeat."""
    bought = by_prompt(install.kie.book.creations, lambda creation: str(creation.prompt))
    intended = by_prompt(intents(install), lambda intent: str(intent["prompt"]))
    assert len({row["extended_prompt_image"] for row in before}) == len(before)
    assert bought.keys() <= intended.keys()
    for prompt, creations in bought.items():
        sendable = list(intended[prompt])
        for creation in creations:
            assert any(took(intent, creation, sendable) for intent in tuple(sendable)), (prompt, creations)
        sent = [intent for intent in intended[prompt] if intent["outcome"] != "nothing"]
        assert len(creations) <= len(sent) <= 2
        assert [intent["repeat_of"] for intent in sent] == [None, sent[0]["token"]][: len(sent)]


def took(intent: dict[str, Any], creation: Creation, left: list[dict[str, Any]]) -> bool:
    """It may have been this intent's order, which then was no other's."""
    may = bool(intent["at"] <= creation.arrived_at <= intent["deadline"])
    if may:
        left.remove(intent)
    return may


def check_rows(install: PostgresInstall, before: Sequence[dict[str, Any]]) -> None:
    """Nothing but the picture was touched, and each picture is there, of the right size, painted for its track."""
    for old, new in zip(before, install.rows(), strict=True):
        assert {name: old[name] for name in old.keys() - WRITTEN} == {name: new[name] for name in new.keys() - WRITTEN}
        if new["resolution"] is None:
            assert new == old
            continue
        picture = (install.store / new["image_url"].removeprefix("http://127.0.0.1:1/images/")).read_bytes()
        with Image.open(BytesIO(picture)) as opened:
            assert opened.size == (160, 90)
            assert belongs_to(opened, new["extended_prompt_image"])


# -- sharing -----------------------------------------------------------------------------------------------------------


def test_two_daemons_and_a_one_off_share_the_work(install: PostgresInstall) -> None:
    prepared(install, 60)
    before = install.rows()
    with fleet(install) as ships:
        for name in ("daemon-1", "daemon-2", "once-1"):
            ships.start(name, *FOUR[name])
        ships.go()
        assert ships.members["once-1"].ended() == 0
        eventually(lambda: good(install) == 60)
        told = {name: Counter(line["event"] for line in ships.told(name)) for name in ships.members}
        for name in ("daemon-1", "daemon-2"):
            assert ships.members[name].stop() == 0
    check_purchases(install, before)
    check_rows(install, before)
    for event in ("purchase", "written"):
        assert all(events[event] for events in told.values()), told
        assert sum(events[event] for events in told.values()) == 60
    assert not [event for events in told.values() for event in events if event in ("lease_lost", "expired", "conflict")]
    tried = Counter((row["track_id"], row["step"]) for row in install.sql(f"SELECT * FROM {ATTEMPTS}"))
    assert {tried[str(row["id"]), step] for row in before for step in ("buy", "fetch", "write")} == {1}
    assert install.sql(f"SELECT 1 FROM {ATTEMPTS} WHERE step <> 'ask_task' AND times > 1") == []


def test_limits_are_one_for_all(install: PostgresInstall) -> None:
    """Neither the hour's budget nor the tasks that may run at once are exceeded by three together."""
    prepared(install, 20, budget__per_hour="12", kie__max_concurrent_tasks="5")
    with fleet(install) as ships:
        for name in ("once-1", "once-2", "once-3"):
            ships.start(name, *ONCE)
        ships.go()
        assert {member.ended() for member in ships.members.values()} == {3}
    assert len(arrivals(install)) == good(install) == 12
    assert most(arrivals(install), SECOND) <= 5
    assert where_they_stand(install) == {("ok", None): 12, ("missing", "budget"): 8}


# -- killed and stopped at random --------------------------------------------------------------------------------------


@dataclass
class Havoc:
    """Now and then, when Kie has done what somebody asks for and before it answers, that process or another is killed,
    or stopped for longer than a lease."""

    fleet: Fleet
    chance: random.Random
    deeds: list[int]
    """The signals yet to be sent."""
    stopped: dict[str, float] = field(default_factory=dict)
    """By name, when it goes on, by the steady clock."""
    _left: int = 40
    """So many requests are spared; a model that is unproven yet would wait for those that were killed."""
    _lock: Any = field(default_factory=Lock)

    def __call__(self, asker: str, path: str) -> None:
        with self._lock:
            self._left -= 1
            others = sorted(self.fleet.members)
            victim = asker if self.chance.random() < 0.6 else self.chance.choice(others)
            if self._left <= 0 and self.deeds and victim not in self.stopped and self.fleet.lives(victim):
                self._left = self.chance.randrange(5, 60)
                self._do(victim, self.deeds.pop())

    def _do(self, victim: str, deed: int) -> None:
        self.fleet.signal(victim, deed)
        if deed == SIGSTOP:
            self.stopped[victim] = time.monotonic() + LEASE_S + 0.5

    def mend(self) -> bool:
        """Who was killed is begun anew, and who was stopped for long enough goes on. True: there is nothing to come."""
        with self._lock:
            for name in [name for name, until in self.stopped.items() if until <= time.monotonic()]:
                self.fleet.signal(name, SIGCONT)
                del self.stopped[name]
            for name, member in tuple(self.fleet.members.items()):
                if member.process.poll() == -SIGKILL:
                    self.fleet.again(name)
            return not (self.deeds or self.stopped)


@pytest.mark.timeout(300)
def test_four_that_are_killed_and_stopped_at_random_buy_each_attempt_once(install: PostgresInstall) -> None:
    prepared(install, 300)
    install.kie.script.when(LOST, operation="create", prompt_contains="t007", times=1)
    install.kie.script.when(LOST, operation="create", prompt_contains="t008", times=2)
    before, chance = install.rows(), random.Random(7)
    deeds = [SIGKILL] * 12 + [SIGSTOP] * 2
    chance.shuffle(deeds)
    with fleet(install) as ships:
        havoc = Havoc(ships, chance, deeds)
        ships.heard = havoc
        for name, command in FOUR.items():
            ships.start(name, *command)
        ships.go()
        eventually(lambda: havoc.mend() and is_settled(install, 300), 200)
        assert {ships.members[name].ended() for name in ("once-1", "once-2")} <= {0, 3}
        eventually(lambda: install.bouncer.connections(install.name) == 4)
        assert {ships.members[name].stop() for name in ("daemon-1", "daemon-2")} == {0}
    assert install.program(*ONCE).returncode == 3, "one was given up at least"
    eventually(lambda: install.bouncer.connections(install.name) == 0)
    check_purchases(install, before)
    check_rows(install, before)
    assert most(arrivals(install), WINDOW) <= 20
    assert len(arrivals(install)) <= 360
    stood = where_they_stand(install)
    assert stood.keys() == {("ok", None), ("failed", "unknown_purchase")}
    assert sum(stood.values()) == 300
    assert good(install) == stood["ok", None] >= 250
    assert [row["resolution"] for row in before_and_after(install, "t007", "t008")] == [GOOD, None]


# -- stopped past the lease --------------------------------------------------------------------------------------------
