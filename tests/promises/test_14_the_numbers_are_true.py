"""Promise 14: Every track in scope is in exactly one state, and the gauges equal a recount by `classify`.

The recount reads every row, loads what is remembered of it and asks the one judge, as `explain` does. It is made after
every step of any history: runs that end and runs that die, time, faults, an operator's words, others' writes.
"""

from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from reconciler.database import Reader, overview
from reconciler.database.overview import SqlOverview
from reconciler.domain.case import Case
from reconciler.domain.gate import GateView
from reconciler.domain.learn import notice
from reconciler.domain.plan import plan_case
from reconciler.domain.policy import Policy, Target
from reconciler.domain.standing import Standing, classify, standing
from reconciler.domain.states import Reason, State
from reconciler.kie.simulated import (
    CONTENT_REFUSED,
    CONTENT_REFUSED_AT_ONCE,
    DROPPED,
    LOST,
    MAINTENANCE,
    NO_CREDITS,
    SERVER_ERROR,
    TOO_FREQUENT,
    UNAUTHORIZED,
    Operation,
    Refuse,
    Rule,
    Settings,
    Stall,
    Succeed,
    page,
    paint,
)
from reconciler.kie.simulated.behaviour import Answer, Outcome
from reconciler.ports import Overview, StoreError
from reconciler.testing.cutting import Killed, Scissors
from reconciler.testing.store import MemoryStore
from reconciler.testing.world import PUBLIC_URL, World

SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))
CDN = "https://cdn.example"
SIZE = (160, 90)
GOOD = Succeed(width=160, height=90, run=2 * SECOND)
BAD = Succeed(width=80, height=45, run=2 * SECOND)
BROKEN_TASK = Refuse(422, "Your request is wrong")
MakeWorld = Callable[..., World]


# -- the recount ---------------------------------------------------------------------------------------------------


@dataclass
class Recount:
    tracks: Counter[tuple[State, Reason | None]] = field(default_factory=Counter)
    oldest_stuck: datetime | None = None
    earliest_expiry: datetime | None = None
    by_id: dict[object, tuple[State, Reason | None]] = field(default_factory=dict)

    def add(self, key: object, where: Standing, since: datetime) -> None:
        if where.state is None:
            return
        self.by_id[key] = where.state, where.reason
        self.tracks[where.state, where.reason] += 1
        if where.state.stuck:
            self.oldest_stuck = min(self.oldest_stuck or since, since)
        if where.state is State.EXPIRING and where.expires_at is not None:
            self.earliest_expiry = min(self.earliest_expiry or where.expires_at, where.expires_at)


def recounted(world: World, reader: Reader) -> Recount:
    """By reading every row. A row that nobody can name is `invalid`."""
    found, gate = Recount(), reader.view()
    for row in world.sql("SELECT rowid, id, status FROM tracks"):
        if isinstance(row["id"], str):
            found.add(row["id"], *stands(reader, row["id"], world.policy, gate))
        elif row["status"] in world.policy.statuses:
            found.add(row["rowid"], Standing(State.INVALID, Reason.INVALID_ROW, None), gate.now)
    return found


def stands(reader: Reader, track_id: str, policy: Policy, gate: GateView) -> tuple[Standing, datetime]:
    held = reader.peek(track_id)
    assert held.track is not None
    memory = notice(held.memory, held.track, policy, held.now)
    case = Case(held.track, memory, policy, held.now)
    where = standing(case, plan_case(case), gate)
    assert classify(held.track, memory, policy, gate, held.now) == (where.state, where.reason)
    return where, memory.needy_since or held.now


def agreed(world: World, reader: Reader) -> Overview:
    """The overview, once it was found to be true."""
    shown, true = reader.overview(), recounted(world, reader)
    assert dict(shown.tracks) == dict(true.tracks), true.by_id
    assert sum(shown.tracks.values()) == len(true.by_id)
    assert (shown.oldest_stuck, shown.earliest_expiry) == (true.oldest_stuck, true.earliest_expiry)
    return shown


# -- any history ---------------------------------------------------------------------------------------------------

NOT_NOW = {"created_at": None, "updated_at": None}
WORDLESS = {"extended_prompt_image": None, "title": "", "prompt": "Generated Vibe"}
PICTURES = (
    "null",
    "good",
    "small",
    "larger",
    "dying",
    "presigned",
    "dead",
    "inline",
    "inline small",
    "task",
    "nonsense",
)
ROWS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {},
    {"status": "archived"},
    {"status": "failed"},
    {"status": "pending"},
    {"status": "pending", "age": HOUR},
    {"status": None, "age": 25 * HOUR, "audio_url": None},
    {"age": MINUTE},
    {"age": 10 * MINUTE},
    {"age": -HOUR},
    NOT_NOW,
    WORDLESS,
    {"title": b"\x00\xff"},
    {"status": "pending", "audio_url": None, "mood": b"\x00"},
    {"resolution": "unknown"},
)
FAULTS: tuple[tuple[Operation, Answer], ...] = (
    *((Operation.CREATE, answer) for answer in (LOST, LOST, DROPPED, CONTENT_REFUSED_AT_ONCE, NO_CREDITS)),
    *((Operation.CREATE, answer) for answer in (UNAUTHORIZED, TOO_FREQUENT, MAINTENANCE, BROKEN_TASK)),
    *((Operation.RECORD, answer) for answer in (SERVER_ERROR, UNAUTHORIZED, page(502))),
    *((Operation.SUNO_RECORD, answer) for answer in (SERVER_ERROR, page(502))),
    *((Operation.CREDIT, answer) for answer in (SERVER_ERROR, UNAUTHORIZED)),
    *((Operation.FILE, answer) for answer in (page(404), page(502), DROPPED)),
)
OUTCOMES: tuple[Outcome, ...] = (GOOD, BAD, Stall(), CONTENT_REFUSED, Succeed(width=160, height=90, run=HOUR))
POLICIES: tuple[dict[str, Any], ...] = (
    {"per_day": 0},
    {"per_day": 3},
    {"per_day": 10_000},
    {"per_hour": 1},
    {"target": Target(160, 90)},
    {"target": Target(128, 72)},
    {"restore_archived": True},
    {"interim_thumbnail": True},
    {"task_timeout": HOUR},
    {"public_url": "https://moved.example/pictures"},
    {"public_url": PUBLIC_URL},
    {"grace": timedelta(0)},
)
LENGTHS = (timedelta(microseconds=1), SECOND, 30 * SECOND, 2 * MINUTE, 24 * MINUTE, HOUR, 7 * HOUR, DAY, 8 * DAY)

RUNS = (timedelta(microseconds=1), 30 * SECOND, 2 * MINUTE, 40 * MINUTE, 7 * HOUR)

lengths = st.one_of(st.sampled_from(LENGTHS), st.integers(0, 10**12).map(lambda n: timedelta(microseconds=n)))


def failing(*calls: str) -> Callable[[str], None]:
    def heard(call: str) -> None:
        if call in calls:
            raise StoreError(f"{call}: the disk is gone")

    return heard


rows = st.tuples(st.sampled_from(PICTURES), st.sampled_from(ROWS), st.booleans())


class Histories(RuleBasedStateMachine):
    """One install. Every track has tasks of its own: what others learn of a shared one is not known at once."""

    world: World
    reader: Reader

    @initialize(outcome=st.sampled_from(OUTCOMES), rows=st.lists(rows, min_size=1, max_size=5))
    def install(self, outcome: Outcome, rows: list[tuple[str, dict[str, Any], bool]]) -> None:
        self.folder = TemporaryDirectory()
        policy = Policy(public_url=PUBLIC_URL, per_hour=10_000, per_day=10_000, target=Target(*SIZE))
        self.world = World(Path(self.folder.name), policy=policy, kie=Settings(credits=100_000))
        self.world.store = self.store = MemoryStore()
        self.world.kie.script.when(GOOD)
        self.numbers = count()
        self.expected(outcome)
        for row in rows:
            self.add(row)
        self.restart({})

    def teardown(self) -> None:
        if hasattr(self, "reader"):
            self.reader.close()
            self.folder.cleanup()

    # -- the app, and everybody else who writes rows

    @rule(row=rows)
    def add(self, row: tuple[str, dict[str, Any], bool]) -> None:
        number, (picture, columns, song) = next(self.numbers), row
        named = {"task_id": self.song()} if song else {}
        self.world.add(f"t{number}", image_url=self.image(picture), **{**named, **columns})

    @rule(name=st.sampled_from((None, b"t1", b"t2", b"\xff")))
    def add_unnameable(self, name: bytes | None) -> None:
        with suppress(Exception):
            self.world.add("", id=name)

    @rule(data=st.data(), picture=st.sampled_from(PICTURES), touch=st.booleans())
    def show(self, data: st.DataObject, picture: str, touch: bool) -> None:
        self.change(data, touch=touch, image_url=self.image(picture))

    @rule(data=st.data())
    def empty(self, data: st.DataObject) -> None:
        self.change(data, touch=False, image_url=None)

    @rule(data=st.data(), words=st.sampled_from((None, "a red kite")))
    def reword(self, data: st.DataObject, words: str | None) -> None:
        self.change(data, extended_prompt_image=words, title=words or "")

    @rule(data=st.data(), status=st.sampled_from(("completed", "archived", "failed", "pending", None)))
    def move(self, data: st.DataObject, status: str | None) -> None:
        self.change(data, touch=False, status=status)

    @rule(data=st.data())
    def name_a_task_behind_the_prompt(self, data: st.DataObject) -> None:
        self.change(data, extended_prompt=f"a mill | image_task_id: {self.task()}")

    @rule(data=st.data())
    def another_song(self, data: st.DataObject) -> None:
        self.change(data, touch=False, task_id=self.song())

    @rule(data=st.data(), touch=st.booleans())
    def spoil(self, data: st.DataObject, touch: bool) -> None:
        self.change(data, touch=touch, mood=b"\x00\xff")

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.world.sql("DELETE FROM tracks WHERE id = ?", self.one(data))

    @rule(data=st.data())
    def hand_over(self, data: st.DataObject) -> None:
        statement = "INSERT INTO reconciler_image_task (track_id, task_id) VALUES (?, ?)"
        self.world.sql(statement, self.one(data), self.task())

    # -- time and trouble

    @rule(length=lengths)
    def wait(self, length: timedelta) -> None:
        self.world.pass_time(length)

    @rule(length=st.sampled_from(RUNS), audit=st.booleans())
    def sweep(self, length: timedelta, audit: bool) -> None:
        assert self.world.run(length, audit=audit).mistakes == 0

    @rule(length=st.sampled_from(RUNS), at=st.integers(0, 150))
    def die(self, length: timedelta, at: int) -> None:
        with suppress(Killed):
            self.world.run(length, wrap=Scissors(at).wrap)

    @rule(outcome=st.sampled_from(OUTCOMES))
    def expected(self, outcome: Outcome) -> None:
        """What becomes of the tasks made from now on."""
        self.outcome = outcome
        self.world.kie.script.clear()
        self.world.kie.script.when(outcome)

    @rule(fault=st.sampled_from(FAULTS), length=st.sampled_from((MINUTE, 12 * HOUR, 9 * DAY)))
    def trouble(self, fault: tuple[Operation, Answer], length: timedelta) -> None:
        operation, answer = fault
        self.world.kie.script.add(Rule(operation=operation, behaviour=answer, until=self.world.clock() + length))

    @rule(calls=st.sets(st.sampled_from(("keys", "get", "put"))))
    def store_trouble(self, calls: set[str]) -> None:
        """From now on these calls of the store fail, and no others."""
        self.store.on_call = failing(*calls)

    # -- the operator

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        with closing(self.world.open()) as database:
            database.gate.pause(paused=paused)

    @rule(change=st.sampled_from(POLICIES))
    def restart(self, change: dict[str, Any]) -> None:
        """What was decided is known to the daemon when it starts."""
        self.world.with_policy(**change)
        self.world.open().close()
        if hasattr(self, "reader"):
            self.reader.close()
        self.reader = self.world.reader()

    # -- the promise

    @invariant()
    def the_gauges_equal_a_recount(self) -> None:
        if hasattr(self, "reader"):
            shown = agreed(self.world, self.reader)
            note(f"{self.world.clock()}: {dict(shown.tracks)}")

    # -- means

    def one(self, data: st.DataObject) -> str:
        ids = [row["id"] for row in self.world.rows() if isinstance(row["id"], str)]
        return str(data.draw(st.sampled_from(ids or ["none"])))

    def change(self, data: st.DataObject, *, touch: bool = True, **values: Any) -> None:
        """With `touch` its stamp is another one, as it is on any clock that moves."""
        if touch:
            self.world.pass_time(timedelta(microseconds=1))
            values |= {"updated_at": self.world.clock().replace(tzinfo=None).isoformat(" ")}
        names = ", ".join(f"{name} = ?" for name in values)
        self.world.sql(f"UPDATE tracks SET {names} WHERE id = ?", *values.values(), self.one(data))

    def task(self) -> str:
        name = f"task_{next(self.numbers)}"
        self.world.kie.add_task(name, prompt=name, behaviour=self.outcome)
        return name

    def song(self) -> str:
        name = f"{next(self.numbers):032x}"
        self.world.kie.add_song(name)
        return name

    def image(self, kind: str) -> str | None:
        number = next(self.numbers)
        match kind:
            case "null":
                return None
            case "task":
                return self.task()
            case "nonsense":
                return "nonsense"
            case "inline" | "inline small":
                size = SIZE if kind == "inline" else (80, 45)
                return "data:image/jpeg;base64," + b64encode(paint(kind, *size, "JPEG")).decode()
            case _:
                return self.file(kind, number)

    def file(self, kind: str, number: int) -> str:
        size = {"small": (80, 45), "larger": (320, 180)}.get(kind, SIZE)
        path = f"/p/{number}.jpg"
        if kind != "dead":
            self.world.kie.add_file(path, text=kind, size=size)
        host = self.world.kie.files_url if kind in ("dying", "dead") else CDN
        ends = int((self.world.clock() + 5 * HOUR).timestamp())
        return f"{host}{path}?Expires={ends}&Signature=x" if kind == "presigned" else host + path


Histories.TestCase.settings = settings(
    max_examples=14, stateful_step_count=25, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
"""Histories are not made shorter when one fails: each takes a second."""
TestHistories = pytest.mark.slow(Histories.TestCase)


# -- what a history seldom shows -----------------------------------------------------------------------------------


def checked(world: World) -> dict[tuple[State, Reason | None], int]:
    with closing(world.reader()) as reader:
        return dict(agreed(world, reader).tracks)


def test_before_anything_was_looked_at_rows_count_as_they_would_be_judged(make_world: MakeWorld) -> None:
    world = make_world()
    for number, (columns, url) in enumerate(product(ROWS, (None, "", "nonsense", f"{CDN}/a.jpg", "data:image/png,"))):
        world.add(f"t{number}", image_url=url, **columns)
    shown = checked(world)
    assert {state for state, _ in shown} == {State.MISSING, State.UNVERIFIED, State.SETTLING, State.INVALID}
    assert not world.sql("SELECT name FROM sqlite_master WHERE name LIKE 'reconciler%'"), "nor is anything written"


def test_a_task_handed_over_is_followed_in_the_numbers_at_once(make_world: MakeWorld) -> None:
    world = make_world(per_day=0)
    world.add("t1")
    world.run()
    assert checked(world) == {(State.MISSING, Reason.BUDGET): 1}
    world.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('t1', 'task_1')")
    assert checked(world) == {(State.AWAITING, Reason.IN_FLIGHT): 1}


def test_a_row_that_is_spoiled_or_whose_name_is_like_anothers_counts_as_invalid(make_world: MakeWorld) -> None:
    world = make_world(per_day=0)
    world.add("t1")
    world.add("t2")
    world.run()
    world.sql("UPDATE tracks SET mood = x'00' WHERE id = 't1'")
    world.add("", id=b"t2")
    assert checked(world) == {(State.INVALID, Reason.INVALID_ROW): 2, (State.MISSING, Reason.BUDGET): 1}
    world.pass_time(8 * DAY)
    with closing(world.open()) as database:
        database.gate.pause(paused=True)
    assert checked(world) == {(State.INVALID, Reason.INVALID_ROW): 2, (State.MISSING, Reason.BUDGET): 1}


def test_a_store_that_fails_right_before_a_purchase(make_world: MakeWorld) -> None:
    world = make_world(per_day=0)
    world.store = store = MemoryStore()
    world.add("t1")
    world.run()
    world.pass_time(HOUR)
    world.with_policy(per_day=10)
    store.on_call = failing("keys")
    world.run(SECOND)
    assert checked(world) == {(State.BACKING_OFF, Reason.STORAGE_FAILED): 1}
    store.on_call = failing()
    world.run()
    assert checked(world) == {(State.OK, None): 1}


@pytest.mark.slow
def test_tracks_of_a_host_that_becomes_suspect(make_world: MakeWorld) -> None:
    world = make_world(per_day=0)
    for number in range(25):
        world.kie.add_file(f"/p/{number}.jpg", size=(640, 360))
        world.add(f"t{number:02}", image_url=f"{CDN}/p/{number}.jpg")
    world.run()
    assert checked(world) == {(State.OK, None): 25}
    world.kie.script.when(page(404), operation="file")
    for _ in range(6):
        world.pass_time(25 * HOUR)
        world.run(8 * HOUR)
        checked(world)
    assert checked(world) == {(State.MISSING, Reason.HOST_SUSPECT): 25}
    with closing(world.open()) as database:
        assert database.release_suspects()
    assert checked(world) == {(State.MISSING, Reason.BUDGET): 25}


@pytest.mark.parametrize("judged", [0, 1, 3])
def test_beyond_what_is_judged_anew_tracks_count_as_they_last_stood(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, judged: int
) -> None:
    world = make_world(per_day=0)
    for number in range(6):
        world.add(f"t{number}", age=2 * DAY if number else MINUTE)
    world.run(MINUTE)
    assert checked(world) == {(State.MISSING, Reason.BUDGET): 5, (State.SETTLING, None): 1}
    world.sql("UPDATE tracks SET image_url = ? WHERE id > 't1'", f"{CDN}/a.jpg")
    world.sql("UPDATE tracks SET status = 'failed' WHERE id = 't1'")
    assert checked(world) == {(State.UNVERIFIED, None): 4, (State.SETTLING, None): 1}
    monkeypatch.setattr(overview, "JUDGED", judged)
    shown = world.overview().tracks
    assert sum(shown.values()) == 5
    assert shown[State.UNVERIFIED, None] == judged
    assert shown[State.MISSING, Reason.BUDGET] == 4 - judged


def test_taking_the_numbers_writes_nothing(make_world: MakeWorld) -> None:
    world = make_world()
    for number in range(3):
        world.add(f"t{number}")
    with suppress(Killed):
        world.run(wrap=Scissors(40).wrap)
    world.pass_time(8 * DAY)
    before = world.path.read_bytes()
    checked(world)
    with closing(world.open()) as database:
        SqlOverview(database.connection, database.app, world.policy).overview()
    assert world.path.read_bytes() == before
