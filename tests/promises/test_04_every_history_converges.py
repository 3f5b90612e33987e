"""Promise 4: Any mix of provider answers, faults, restarts, clock jumps and foreign writes ends with each track either
good or given up with a reason.

One machine makes up histories of the whole program on a virtual clock, in which weeks pass in moments. After every step
the witnesses look on (promises 1, 2, 3, 5) and the numbers are counted anew (promise 14); at its end each history is
left in peace for ten days, and must have converged by then.
"""

from base64 import b64encode
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from reconciler.database import Database, Reader
from reconciler.domain.amending import reopened
from reconciler.domain.case import Case
from reconciler.domain.catalogue import offers
from reconciler.domain.model import Callback, Memory
from reconciler.domain.policy import Policy, Target
from reconciler.domain.standing import Standing
from reconciler.domain.states import Reason, State
from reconciler.engine.amend import amend
from reconciler.kie.simulated import (
    CONTENT_REFUSED,
    CONTENT_REFUSED_AT_ONCE,
    DROPPED,
    FAILED_AT_ONCE,
    LOST,
    MAINTENANCE,
    NO_CREDITS,
    SERVER_ERROR,
    TOLD_TWICE,
    TOO_FREQUENT,
    UNAUTHORIZED,
    UNTOLD,
    UPSTREAM_OUTAGE,
    AnswerPicture,
    NotFound,
    OmitTaskId,
    Operation,
    Refuse,
    Reply,
    Rule,
    Settings,
    Stall,
    Succeed,
    page,
    paint,
)
from reconciler.kie.simulated.behaviour import Answer, Notify, Outcome
from reconciler.ports import StoreError
from reconciler.testing.cutting import Killed, Scissors
from reconciler.testing.store import MemoryStore
from reconciler.testing.world import PUBLIC_URL, World
from tests.promises.recount import agreed, recounted
from tests.promises.witnesses import MoneyWitness, RowWitness

SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))
CDN = "https://cdn.example"
SIZE = (160, 90)
GOOD = Succeed(width=160, height=90, run=2 * SECOND)
LATE = replace(GOOD, run=HOUR)
BAD = Succeed(width=80, height=45, run=2 * SECOND)
HALF = replace(GOOD, content=paint("half", *SIZE, "JPEG")[:900])
A_PAGE = replace(GOOD, content=b"<html>not here</html>")
INWARD = replace(GOOD, urls=("http://169.254.169.254/latest",))
GIVEN_UP = {(State.FAILED, reason) for reason in Reason}
ENDS = {(State.OK, None), (State.INVALID, Reason.INVALID_ROW), *GIVEN_UP}
HANGS = (State.AWAITING, Reason.OVERDUE)
"""Where two tasks never end: a third is not bought beside them before Kie forgets one, after two months."""
BROKEN_TASK = Refuse(422, "Your request is wrong")

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
    *((Operation.CREATE, answer) for answer in (page(502), page(502, done=True), OmitTaskId(), AnswerPicture())),
    *((Operation.RECORD, answer) for answer in (SERVER_ERROR, UNAUTHORIZED, page(502), DROPPED, Reply(200, b"{"))),
    *((Operation.SUNO_RECORD, answer) for answer in (SERVER_ERROR, page(502), NotFound())),
    *((Operation.CREDIT, answer) for answer in (SERVER_ERROR, UNAUTHORIZED, DROPPED)),
    *((Operation.FILE, answer) for answer in (page(404), page(502), DROPPED, Reply(200, b""))),
)
OUTCOMES: tuple[Outcome, ...] = (
    *(GOOD, GOOD, LATE, BAD, HALF, A_PAGE, INWARD, Stall()),
    *(CONTENT_REFUSED, UPSTREAM_OUTAGE, FAILED_AT_ONCE),
)
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
    {"callback_url": "https://ops.example"},
    {"callback_url": ""},
    {"model": "nano-banana-2", "fallback_models": ()},
    {"model": "seedream/4.5-text-to-image", "fallback_models": ("bytedance/seedream-v4-text-to-image",)},
)
LENGTHS = (timedelta(microseconds=1), SECOND, 30 * SECOND, 2 * MINUTE, 24 * MINUTE, HOUR, 7 * HOUR, DAY, 8 * DAY)

RUNS = (timedelta(microseconds=1), 30 * SECOND, 2 * MINUTE, 40 * MINUTE, 7 * HOUR)

lengths = st.one_of(st.sampled_from(LENGTHS), st.integers(0, 10**12).map(lambda n: timedelta(microseconds=n)))


JUMPS = tuple(sign * length for length in (2 * SECOND, MINUTE, HOUR, 3 * DAY, 400 * DAY) for sign in (1, -1))


def failing(*calls: str) -> Callable[[str], None]:
    def heard(call: str) -> None:
        if call in calls:
            raise StoreError(f"{call}: the disk is gone")

    return heard


rows = st.tuples(st.sampled_from(PICTURES), st.sampled_from(ROWS), st.booleans())


class Histories(RuleBasedStateMachine):
    """One install. Every track has tasks and words of its own: so it can be told what was bought for whom, and what
    others learn of a shared task is not known at once."""

    world: World
    reader: Reader

    @initialize(
        outcome=st.sampled_from(OUTCOMES),
        rows=st.lists(rows, min_size=1, max_size=5),
        calls=st.sampled_from(("", "https://ops.example")),
    )
    def install(self, outcome: Outcome, rows: list[tuple[str, dict[str, Any], bool]], calls: str) -> None:
        self.folder = TemporaryDirectory()
        policy = Policy(public_url=PUBLIC_URL, per_hour=10_000, per_day=10_000, target=Target(*SIZE))
        policy = replace(policy, callback_url=calls)
        self.world = World(Path(self.folder.name), policy=policy, kie=Settings(credits=100_000))
        self.world.store = self.store = MemoryStore()
        self.numbers = count()
        self.expected(outcome)
        self.world.open().close()
        self.rows, self.money = RowWitness(self.world, self.store), MoneyWitness(self.world)
        for row in rows:
            self.add(row)
        self.restart({})

    def teardown(self) -> None:
        if not hasattr(self, "reader"):
            return
        try:
            self.ends_well()
        finally:
            self.reader.close()
            self.folder.cleanup()

    # -- the app, and everybody else who writes rows

    @rule(row=rows)
    def add(self, row: tuple[str, dict[str, Any], bool]) -> None:
        number, (picture, columns, song) = next(self.numbers), row
        named = {"task_id": self.song()} if song else {}
        image = self.image(picture)
        with self.rows.others_write():
            self.world.add(f"t{number}", image_url=image, **{**named, **columns})

    @rule(name=st.sampled_from((None, b"t1", b"t2", b"\xff")))
    def add_unnameable(self, name: bytes | None) -> None:
        with self.rows.others_write(), suppress(Exception):
            self.world.add("", id=name)

    @rule(data=st.data(), picture=st.sampled_from(PICTURES), touch=st.booleans())
    def show(self, data: st.DataObject, picture: str, touch: bool) -> None:
        """As the app's callback does; or its repair route, which takes a picture away."""
        self.change(data, touch=touch, image_url=self.image(picture))

    @rule(data=st.data())
    def empty(self, data: st.DataObject) -> None:
        self.change(data, touch=False, image_url=None)

    @rule(data=st.data(), words=st.sampled_from((None, "a red kite")))
    def reword(self, data: st.DataObject, words: str | None) -> None:
        own = words and f"{words} of number {next(self.numbers)}"
        self.change(data, extended_prompt_image=own, title=own or "")

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
        with self.rows.others_write():
            self.world.sql("DELETE FROM tracks WHERE id = ?", self.one(data))

    @rule(data=st.data())
    def hand_over(self, data: st.DataObject) -> None:
        statement = "INSERT INTO reconciler_image_task (track_id, task_id) VALUES (?, ?)"
        self.world.sql(statement, self.one(data), self.task())

    # -- the program

    @rule(length=st.sampled_from(RUNS), audit=st.booleans())
    def sweep(self, length: timedelta, audit: bool) -> None:
        assert self.world.run(length, audit=audit).mistakes == 0

    @rule(length=st.sampled_from(RUNS), at=st.integers(0, 150))
    def die(self, length: timedelta, at: int) -> None:
        with suppress(Killed):
            self.world.run(length, wrap=Scissors(at).wrap)

    @rule(data=st.data(), length=st.sampled_from(RUNS), at=st.integers(0, 100))
    def sweep_while_something_happens(self, data: st.DataObject, length: timedelta, at: int) -> None:
        events: dict[str, Callable[[], object]] = {
            "another sweep": partial(self.world.run, MINUTE, owner="two"),
            "another sweep, for longer than a lease": partial(self.world.run, HOUR, owner="two"),
            "a picture comes": partial(self.show, data, "good", touch=True),
            "the picture goes": partial(self.empty, data),
            "other words": partial(self.reword, data, "a red kite"),
            "the row goes": partial(self.delete, data),
            "a task is named": partial(self.hand_over, data),
            "the clock is set forward": partial(self.set_clock, HOUR),
            "the clock is set back": partial(self.set_clock, -HOUR),
            "a pause": partial(self.pause, paused=True),
        }
        event = data.draw(st.sampled_from(sorted(events)))
        assert self.world.run(length, wrap=Meanwhile(at, events[event]).wrap).mistakes == 0

    # -- time and trouble

    @rule(length=lengths)
    def wait(self, length: timedelta) -> None:
        self.world.pass_time(length)

    @rule(length=st.sampled_from(JUMPS))
    def set_clock(self, length: timedelta) -> None:
        if length > timedelta(0):
            self.money.clock_was_set_forward()
        self.world.clock.jump(length)

    @rule(outcome=st.sampled_from(OUTCOMES))
    def expected(self, outcome: Outcome) -> None:
        """What becomes of the tasks made from now on."""
        self.outcome = outcome
        self.world.kie.script.clear()
        self.world.kie.script.when(outcome)

    @rule(fault=st.sampled_from(FAULTS), length=st.sampled_from((MINUTE, 12 * HOUR, 9 * DAY)))
    def trouble(self, fault: tuple[Operation, Answer], length: timedelta) -> None:
        operation, answer = fault
        until = self.world.clock.true() + length
        self.world.kie.script.add(Rule(operation=operation, behaviour=answer, until=until))

    @rule(notice=st.sampled_from((UNTOLD, TOLD_TWICE, Notify(late=2 * HOUR))), length=st.sampled_from((MINUTE, DAY)))
    def callbacks_go_astray(self, notice: Notify, length: timedelta) -> None:
        self.world.kie.script.add(Rule(behaviour=notice, until=self.world.clock.true() + length))

    @rule(data=st.data())
    def somebody_calls(self, data: st.DataObject) -> None:
        """Who knows a token may tell whatever task he likes."""
        orders = self.world.sql("SELECT token, task_id FROM reconciler_purchase ORDER BY at, token")
        told = data.draw(st.sampled_from(["", self.task(), *(row["task_id"] for row in orders if row["task_id"])]))
        token = data.draw(st.sampled_from([*(row["token"] for row in orders), "nobody's"]))
        with closing(self.world.open()) as database:
            database.callbacks.take([Callback(token, told)])

    @rule(calls=st.sets(st.sampled_from(("keys", "get", "put", "prove"))))
    def store_trouble(self, calls: set[str]) -> None:
        """From now on these calls of the store fail, and no others."""
        self.store.on_call = failing(*calls)

    # -- the operator

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        with closing(self.world.open()) as database:
            database.gate.pause(paused=paused)

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        track_id = self.one(data)
        self.money.retried(track_id)
        self.amend(track_id, lambda case, before: reopened(case) if before.state is State.FAILED else case.memory)

    @rule(data=st.data(), ignored=st.booleans())
    def ignore(self, data: st.DataObject, ignored: bool) -> None:
        self.amend(self.one(data), lambda case, _: replace(case.memory, ignored=ignored))

    @rule()
    def let_through(self) -> None:
        with closing(self.world.open()) as database:
            _let_through(database, self.world.policy)

    @rule(change=st.sampled_from(POLICIES))
    def restart(self, change: dict[str, Any]) -> None:
        """What was decided is known to the daemon when it starts."""
        self.look()
        self.world.with_policy(**change)
        self.world.open().close()
        if hasattr(self, "reader"):
            self.reader.close()
        self.reader = self.world.reader()

    # -- the promises

    @invariant()
    def the_witnesses_agree(self) -> None:
        if hasattr(self, "reader"):
            self.look()
            note(f"{self.world.clock()}: {dict(agreed(self.world, self.reader).tracks)}")

    def look(self) -> None:
        self.rows.look()
        self.money.look()

    def ends_well(self) -> None:
        """Everything works again for ten days, an operator has let through what waited for one."""
        self.expected(GOOD)
        self.store.on_call = failing()
        self.pause(paused=False)
        self.restart({"per_hour": 10_000, "per_day": 10_000})
        self.let_through()
        self.world.run(10 * DAY)
        self.look()
        ends = recounted(self.world, self.reader)
        for table in ("memory", "task", "purchase", "closure"):
            note(f"{table}: {self.world.sql(f'SELECT * FROM reconciler_{table}')}")
        running = self.world.sql("SELECT id FROM reconciler_task WHERE state = 'running'")
        allowed = ENDS | ({HANGS} if len(running) > 1 else set())
        assert set(ends.by_id.values()) <= allowed, (self.world.clock(), ends.by_id)
        rows, bought = self.world.rows(), len(self.world.kie.book.purchases)
        self.world.run(MINUTE)
        assert (self.world.rows(), len(self.world.kie.book.purchases)) == (rows, bought)
        assert not self.world.sql("SELECT 1 FROM reconciler_memory WHERE lease_owner IS NOT NULL")

    # -- means

    def one(self, data: st.DataObject) -> str:
        ids = [row["id"] for row in self.world.rows() if isinstance(row["id"], str)]
        return str(data.draw(st.sampled_from(ids or ["none"])))

    def amend(self, track_id: str, change: Callable[[Case, Standing], Memory]) -> None:
        with closing(self.world.open("operator")) as database:
            amend(database.leases, database.gate, self.world.policy, track_id, change, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.world.pass_time(seconds * SECOND)

    def change(self, data: st.DataObject, *, touch: bool = True, **values: Any) -> None:
        """With `touch` its stamp is another one, as it is on any clock that moves."""
        if touch:
            self.world.pass_time(timedelta(microseconds=1))
            values |= {"updated_at": self.world.clock().replace(tzinfo=None).isoformat(" ")}
        names = ", ".join(f"{name} = ?" for name in values)
        track_id = self.one(data)
        with self.rows.others_write():
            self.world.sql(f"UPDATE tracks SET {names} WHERE id = ?", *values.values(), track_id)

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
                url = "data:image/jpeg;base64," + b64encode(paint(kind, *size, "JPEG")).decode()
                self.rows.sizes[url] = size
                return url
            case _:
                return self.file(kind, number)

    def file(self, kind: str, number: int) -> str:
        size = {"small": (80, 45), "larger": (320, 180)}.get(kind, SIZE)
        path = f"/p/{number}.jpg"
        host = self.world.kie.files_url if kind in ("dying", "dead") else CDN
        ends = int((self.world.clock() + 5 * HOUR).timestamp())
        url = f"{host}{path}?Expires={ends}&Signature=x" if kind == "presigned" else host + path
        if kind != "dead":
            self.world.kie.add_file(path, text=kind, size=size)
            self.rows.sizes[url] = size
        return url


class Meanwhile(Scissors):
    """Something happens at the `at`th place, between two calls of ports."""

    def __init__(self, at: int, event: Callable[[], object]) -> None:
        super().__init__()
        self._when, self._event = at, event

    def at(self, place: str) -> None:
        super().at(place)
        if len(self.places) - 1 == self._when:
            self._event()


def _let_through(database: Database, policy: Policy) -> None:
    database.release_suspects()
    exhausted = {shape for shape, proof in database.gate.view().proofs.items() if proof.exhausted}
    for shape, _ in offers(policy):
        database.gate.try_once(shape)
        if shape in exhausted:
            database.gate.grant(shape)


Histories.TestCase.settings = settings(
    max_examples=14, stateful_step_count=25, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
"""Histories are not made shorter when one fails: each takes a second."""
TestHistories = pytest.mark.slow(Histories.TestCase)


# -- histories that were found, and are kept -------------------------------------------------------------------------


def test_a_track_given_up_on_one_task_asks_its_others_on(tmp_path: Path) -> None:
    """Once nothing but faults came of the first one's picture for a week, nobody asked for the other any more."""
    policy = Policy(public_url=PUBLIC_URL, per_day=0, target=Target(*SIZE))
    world = World(tmp_path, policy=policy)
    world.kie.script.add(Rule(operation=Operation.FILE, behaviour=page(502), path_contains="task_1"))
    for name, run in (("task_1", SECOND), ("task_2", 9 * DAY)):
        world.kie.add_task(name, prompt=f"a picture of {name}", behaviour=replace(GOOD, run=run))
    world.add("t", image_url="task_1", extended_prompt="a mill | image_task_id: task_2")
    assert world.run(8 * DAY).states == {(State.FAILED, Reason.DOWNLOAD_FAILED): 1}
    assert world.run(2 * DAY).states == {(State.OK, None): 1}


def test_a_track_that_a_process_died_at_goes_on_when_its_lease_is_over(tmp_path: Path) -> None:
    world = World(tmp_path, policy=Policy(public_url=PUBLIC_URL, target=Target(*SIZE)))
    world.kie.script.when(GOOD)
    world.add("t")
    with pytest.raises(Killed, match=r"after leases\.lease_all"):
        world.run(wrap=Scissors(7).wrap)
    world.pass_time(world.policy.lease)
    assert world.run(MINUTE).states == {(State.OK, None): 1}


def test_a_lease_of_a_dead_process_does_not_outlive_it_by_as_much_as_the_clock_is_set_back(tmp_path: Path) -> None:
    world = World(tmp_path, policy=Policy(public_url=PUBLIC_URL, target=Target(*SIZE)))
    world.kie.script.when(GOOD)
    world.add("t", age=1000 * DAY)
    with pytest.raises(Killed, match=r"after leases\.lease_all"):
        world.run(wrap=Scissors(7).wrap)
    world.clock.jump(-2 * DAY)
    assert world.run(HOUR).states == {(State.OK, None): 1}
