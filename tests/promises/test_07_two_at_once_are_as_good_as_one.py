"""Promise 7: two at once are as good as one. Daemons and one-off sweeps share the work: no track twice, none forgotten,
no limit exceeded by all of them together; one that was stopped past its lease writes nothing, and sends no purchase
after its `send_before`.

Real processes of the program on a real PostgreSQL behind a real PgBouncer. The judge is the simulated Kie's book.
More of limits: test_05_across_processes.py.
"""

import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from socket import gethostname
from threading import Condition, Lock
from typing import Any

import pytest
from PIL import Image

from reconciler.engine.crew import WORKERS
from reconciler.images.local_store import LocalStore
from reconciler.kie.simulated import LOST, AnswerPicture, Creation, Succeed, belongs_to
from tests.daemons import eventually
from tests.fleet import Fleet, add_stuck, fleet, shared_install
from tests.postgres import Bouncer, Server, bouncer, postgres
from tests.postgresql.installs import PostgresInstall
from tests.promises.witnesses import most

__all__ = ["bouncer", "postgres"]

pytestmark = pytest.mark.slow

SECOND = timedelta(seconds=1)
WINDOW, LEASE_S = SECOND, 5 * 1.5
DAEMON, ONCE = ("run",), ("run", "--once", "--timeout", "2m")
FOUR = {"daemon-1": DAEMON, "daemon-2": DAEMON, "once-1": ONCE, "once-2": ONCE}
GOOD = "160x90"
WRITTEN = {"image_url", "resolution", "updated_at"}
PURCHASES, MEMORY, ATTEMPTS = (f"reconciler.reconciler_{name}" for name in ("purchase", "memory", "attempt"))
SWIFT = {
    "target__width": "160",
    "target__height": "90",
    "http__port": "0",
    "schedule__sweep_interval": '"4s"',
    "schedule__snapshot_interval": '"1s"',
    "kie__purchase_limit": "20",
    "kie__purchase_window": '"1s"',
    "kie__max_concurrent_tasks": "100",
    "kie__request_timeout": '"1500ms"',
    "budget__per_hour": "150",
    "budget__per_day": "150",
    "budget__hold_unknown": '"10s"',
}
BRIEF = {"kie__request_timeout": '"1s"', "budget__hold_unknown": '"7s"'}
"""A lease takes five seconds."""


@pytest.fixture
def install(postgres: Server, bouncer: Bouncer, tmp_path: Path) -> Iterator[PostgresInstall]:
    with shared_install(postgres, bouncer, tmp_path / "install") as made:
        made.kie.script.when(Succeed(width=160, height=90, run=SECOND))
        yield made


def prepared(install: PostgresInstall, tracks: int, **changes: str) -> list[dict[str, Any]]:
    """So many stuck tracks, and limits as high as they go, unless `changes` say otherwise."""
    install.configure(**{**SWIFT, **changes})
    add_stuck(install, tracks)
    return install.rows()


def good(install: PostgresInstall) -> int:
    return sum(row["resolution"] == GOOD for row in install.rows())


def stand(install: PostgresInstall) -> dict[tuple[str, str | None], int]:
    """How many tracks stand where."""
    found = install.sql(f"SELECT state, reason, count(*) AS tracks FROM {MEMORY} GROUP BY state, reason")
    return {(row["state"], row["reason"]): row["tracks"] for row in found}


# -- the judge ---------------------------------------------------------------------------------------------------------


def arrivals(install: PostgresInstall) -> list[datetime]:
    """Of every order, refused ones too."""
    return [creation.arrived_at for creation in install.kie.book.creations]


def intents(install: PostgresInstall) -> list[dict[str, Any]]:
    return install.sql(f"SELECT * FROM {PURCHASES} ORDER BY at")


def check_purchases(install: PostgresInstall) -> None:
    """Each attempt was bought once at most; a track twice at most, and then the second one is the counted repeat."""
    intended = defaultdict[str, list[dict[str, Any]]](list)
    for intent in intents(install):
        intended[intent["prompt"]].append(intent)
    assert all(len({intent["track_id"] for intent in several}) == 1 for several in intended.values())
    left = {prompt: list(several) for prompt, several in intended.items()}
    for creation in install.kie.book.creations:
        assert take(left.get(creation.prompt, []), creation), f"nobody intended it: {creation}"
    for several in intended.values():
        sent = [intent for intent in several if intent["outcome"] != "nothing"]
        assert [intent["repeat_of"] for intent in sent] in ([], [None], [None, sent[0]["token"]]), several


def take(left: list[dict[str, Any]], creation: Creation) -> bool:
    """It was the order of one of these intents, which then was no other's."""
    fitting = [intent for intent in left if intent["at"] <= creation.arrived_at <= intent["deadline"]]
    if fitting:
        left.remove(fitting[0])
    return bool(fitting)


def check_rows(install: PostgresInstall, before: Sequence[dict[str, Any]]) -> None:
    """Nothing but the picture was touched, and each picture is there, of the right size, painted for its track."""
    for old, new in zip(before, install.rows(), strict=True):
        assert all(new[name] == old[name] for name in old.keys() - WRITTEN)
        if new["resolution"] is None:
            assert new == old
            continue
        key = new["image_url"].removeprefix("http://127.0.0.1:1/images/")
        stored = (install.store / key).read_bytes()
        assert belongs_to(stored, new["extended_prompt_image"])
        with Image.open(BytesIO(stored)) as picture:
            assert picture.size == (160, 90)


# -- sharing -----------------------------------------------------------------------------------------------------------


class Turns:
    """Who is far ahead is answered late, until the others have done some work too: one alone may else be done with all
    before they find any."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._changed = fleet, Condition()

    def __call__(self, asker: str, _: str) -> None:
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._fleet.asked[asker] < 15 or self._have_all_worked(), timeout=1)

    def _have_all_worked(self) -> bool:
        return all(self._fleet.asked[name] >= 10 for name in self._fleet.members)


def test_two_daemons_and_a_one_off_share_the_work(install: PostgresInstall) -> None:
    before = prepared(install, 60)
    with fleet(install) as ships:
        ships.heard = Turns(ships)
        for name in ("daemon-1", "daemon-2", "once-1"):
            ships.start(name, *FOUR[name])
        ships.go()
        assert ships.members["once-1"].ended() == 0
        told = {name: Counter(line["event"] for line in ships.told(name)) for name in ships.members}
        assert {ships.members[name].stop() for name in ("daemon-1", "daemon-2")} == {0}
    check_purchases(install)
    check_rows(install, before)
    assert good(install) == len(install.kie.book.creations) == 60
    assert all(events["purchase"] + events["written"] for events in told.values()), told
    assert {sum(events[event] for events in told.values()) for event in ("purchase", "written")} == {60}
    assert not {"lease_lost", "expired", "conflict"}.intersection(*told.values())
    tried = Counter[str]()
    for attempt in install.sql(f"SELECT step, times FROM {ATTEMPTS}"):
        tried[attempt["step"]] += attempt["times"]
    assert [tried[step] for step in ("buy", "fetch", "write")] == [60, 60, 60]


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
    _left: int = 30
    """Requests until the next. At first a model is unproven, and all wait for the few that may be bought."""
    _lock: Any = field(default_factory=Lock)

    def __call__(self, asker: str, path: str) -> None:
        with self._lock:
            self._left -= 1
            victim = asker if self.chance.random() < 0.6 else self.chance.choice(sorted(self.fleet.members))
            if self._left <= 0 and self.deeds and victim not in self.stopped and self.fleet.lives(victim):
                self._left = self.chance.randrange(5, 40)
                self._do(victim, self.deeds.pop())

    def _do(self, victim: str, deed: int) -> None:
        self.fleet.signal(victim, deed)
        if deed == SIGSTOP:
            self.stopped[victim] = time.monotonic() + LEASE_S + 0.5

    def mend(self) -> bool:
        """Who was killed is begun anew, who was stopped for long enough goes on. True: nothing is to come."""
        with self._lock:
            for name in [name for name, until in self.stopped.items() if until <= time.monotonic()]:
                self.fleet.signal(name, SIGCONT)
                del self.stopped[name]
            for name in [name for name, member in self.fleet.members.items() if member.process.poll() == -SIGKILL]:
                self.fleet.again(name)
            return not (self.deeds or self.stopped)


@pytest.mark.timeout(300)
def test_four_that_are_killed_and_stopped_at_random_buy_each_attempt_once(install: PostgresInstall) -> None:
    before = prepared(install, 56)
    install.kie.script.when(LOST, operation="create", prompt_contains="t007", times=1)
    install.kie.script.when(LOST, operation="create", prompt_contains="t008", times=2)
    chance, deeds = random.Random(7), [SIGKILL] * 4 + [SIGSTOP]
    chance.shuffle(deeds)
    with fleet(install) as ships:
        havoc = Havoc(ships, chance, list(map(int, deeds)))
        ships.heard = havoc
        for name, command in FOUR.items():
            ships.start(name, *command)
        ships.go()
        eventually(lambda: havoc.mend() and not (ships.lives("once-1") or ships.lives("once-2")), 200)
        for one_off in (ships.members["once-1"], ships.members["once-2"]):
            # Who is stopped in the midst of a transaction keeps the others waiting, for longer than a one-off waits.
            assert one_off.ended() in {0, 3} or "the database is busy" in one_off.stderr(), one_off.stderr()
        eventually(lambda: stand(install).keys() == {("ok", None), ("failed", "unknown_purchase")})
        eventually(lambda: install.bouncer.connections(install.name) == 2 * len((DAEMON, DAEMON)))
        assert {ships.members[name].stop() for name in ("daemon-1", "daemon-2")} == {0}
    eventually(lambda: install.bouncer.connections(install.name) == 0)
    bought = len(arrivals(install))
    assert install.program(*ONCE).returncode == 3, "t008 is given up"
    repeats = sum(intent["repeat_of"] is not None for intent in intents(install))
    assert len(arrivals(install)) == bought <= 56 + repeats
    assert repeats <= 2 + 5 * WORKERS, "each of five loses at most the answers that its hands wait for"
    assert most(arrivals(install), WINDOW) <= 20
    check_purchases(install)
    check_rows(install, before)
    stood = stand(install)
    assert sum(stood.values()) == 56
    assert good(install) == stood["ok", None] >= 51
    assert [len(install.kie.book.purchases_for(prompt)) for prompt in ("t007", "t008")] == [2, 2]


# -- stopped past the lease --------------------------------------------------------------------------------------------

STOPS = """
import signal, threading
def stop():
    # One that is meant for the process would let this thread go on for a moment.
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
"""
STOPS_ONCE = f"""{STOPS}
from reconciler.images.local_store import LocalStore
from reconciler.images.pictures import WebPictures
def stop_once(of, name, before=False):
    real = getattr(of, name)
    def stopping(*given, **named):
        setattr(of, name, real)
        if before:
            stop()
        came = real(*given, **named)
        if not before:
            stop()
        return came
    setattr(of, name, stopping)
"""
STOPS_WHEN_STORED = f"{STOPS_ONCE}stop_once(LocalStore, 'put')"
MOMENTS = {
    "about to download": f"{STOPS_ONCE}stop_once(WebPictures, 'fetch', before=True)",
    "downloaded": f"{STOPS_ONCE}stop_once(WebPictures, 'fetch')",
    "stored": STOPS_WHEN_STORED,
}
STOPS_BEFORE_IT_SENDS = f"""{STOPS}
from reconciler import transport
may_write = transport._Call.may_write
pieces = []
def stop_first(call):
    if call.not_after is not None:
        pieces.append(call)
        if len(pieces) == PIECE:
            stop()
    may_write(call)
transport._Call.may_write = stop_first
"""


def stopped(install: PostgresInstall, ships: Fleet, before: str = "") -> None:
    """`slow` works one track, whose picture is bought at once, and has stopped."""
    install.kie.script.when(AnswerPicture(), operation="create")
    prepared(install, 1, **BRIEF)
    ships.start("slow", *ONCE, before=before)
    ships.go()
    ships.wait_stopped("slow")


def passed(install: PostgresInstall, column: str, table: str) -> None:
    eventually(lambda: install.sql(f"SELECT 1 FROM {table} WHERE {column} < clock_timestamp()"))


def events(ships: Fleet) -> list[str]:
    return [line["event"] for line in ships.told("slow")]


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_who_was_stopped_past_its_lease_writes_nothing_over_who_took_over(
    install: PostgresInstall, moment: str
) -> None:
    with fleet(install) as ships:
        stopped(install, ships, moment)
        assert ships.start("quick", *ONCE).ended() == 0
        rows, remembered = install.rows(), install.sql(f"SELECT * FROM {MEMORY}")
        assert good(install) == 1
        ships.signal("slow", SIGCONT)
        assert ships.members["slow"].ended() == 0
        assert events(ships)[-1] == "lease_lost"
        assert "written" not in events(ships)
    assert (install.rows(), install.sql(f"SELECT * FROM {MEMORY}")) == (rows, remembered)
    assert len(arrivals(install)) == 1


def test_whose_track_nobody_took_over_writes_under_a_new_lease(install: PostgresInstall) -> None:
    with fleet(install) as ships:
        stopped(install, ships, STOPS_WHEN_STORED)
        passed(install, "lease_until", MEMORY)
        (held,) = install.sql(f"SELECT generation FROM {MEMORY}")
        ships.signal("slow", SIGCONT)
        assert ships.members["slow"].ended() == 0
        assert [event for event in events(ships) if event in ("expired", "written")] == ["expired", "written"]
    assert good(install) == len(arrivals(install)) == 1
    assert install.sql(f"SELECT generation FROM {MEMORY}")[0]["generation"] > held["generation"]


@pytest.mark.parametrize("piece", [1, 2])
def test_no_piece_of_an_order_is_sent_after_its_time(install: PostgresInstall, piece: int) -> None:
    """The second one is the body: without it nothing is made."""
    with fleet(install) as ships:
        stopped(install, ships, f"PIECE = {piece}{STOPS_BEFORE_IT_SENDS}")
        passed(install, "send_before", PURCHASES)
        ships.signal("slow", SIGCONT)
        assert ships.members["slow"].ended() == 0
    first, second = intents(install)
    assert (first["outcome"], first["sent"], second["outcome"]) == ("nothing", False, "accepted")
    (bought,) = install.kie.book.purchases
    assert second["at"] <= bought.arrived_at <= second["send_before"]
    assert good(install) == 1


def test_an_order_that_others_hold_for_lost_is_not_sent_any_more(install: PostgresInstall) -> None:
    with fleet(install) as ships:
        stopped(install, ships, f"PIECE = 1{STOPS_BEFORE_IT_SENDS}")
        assert ships.start("quick", *ONCE).ended() == 0
        first, repeat = intents(install)
        assert (first["outcome"], repeat["outcome"], repeat["repeat_of"]) == ("open", "accepted", first["token"])
        ships.signal("slow", SIGCONT)
        assert ships.members["slow"].ended() == 0
    told, same = intents(install)
    assert (told["token"], told["outcome"], told["sent"]) == (first["token"], "nothing", False), "whoever holds it now"
    assert same == repeat
    assert good(install) == len(arrivals(install)) == 1


# -- seen by others ----------------------------------------------------------------------------------------------------


def test_status_tells_who_holds_what(install: PostgresInstall) -> None:
    with fleet(install) as ships:
        stopped(install, ships, STOPS_WHEN_STORED)
        (row,) = install.rows()
        (held,) = install.sql(f"SELECT lease_until FROM {MEMORY}")
        owner = f"{gethostname()}:{ships.members['slow'].process.pid}:"
        (working,) = json.loads(install.call("status", "--json").stdout)["working"]
        assert working["owner"].startswith(owner)
        until = held["lease_until"].replace(microsecond=0)
        assert (working["track"], working["step"]) == (str(row["id"]), "picture")
        assert datetime.fromisoformat(working["until"]) == until
        text = install.call("status").stdout
        assert all(word in text for word in (str(row["id"]), "picture", owner, f"{until:%H:%M:%S}Z"))


def test_another_host_with_a_directory_of_its_own_is_refused(install: PostgresInstall) -> None:
    prepared(install, 1)
    assert install.call(*ONCE).exit_code == 0
    before, other = install.rows(), install.folder / "other-host"
    LocalStore(other).adopt(None)
    install.configure(**SWIFT, storage__path=f'"{other}"')
    add_stuck(install, 2)
    run = install.program(*DAEMON)
    assert run.returncode == 78
    assert f"storage.path: {other} is another store than the database knows" in run.stderr
    assert 'Daemons on several hosts need a directory that all of them mount, or storage.kind = "s3"' in run.stderr
    assert good(install) == len(before) == len(arrivals(install)) == 1
    assert not list(other.glob("tracks/*"))
