"""Promise 8: one bad track stops nobody."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from reconciler.database import DatabaseGone
from reconciler.domain.actions import Job
from reconciler.domain.case import Case
from reconciler.domain.findings import Finding
from reconciler.domain.learn import learn
from reconciler.domain.model import Memory
from reconciler.domain.policy import Policy
from reconciler.domain.states import Reason, State
from reconciler.engine import steps
from reconciler.engine.events import Mistake
from reconciler.kie.simulated import (
    CONTENT_REFUSED,
    LOST,
    Break,
    Fail,
    Fault,
    OmitTaskId,
    Refuse,
    Reply,
    ResultForm,
    Stall,
    Succeed,
    page,
)
from reconciler.ports import StoreError
from reconciler.testing.cutting import Killed
from reconciler.testing.delayed import DelayedCrew, Stage
from reconciler.testing.store import MemoryStore
from reconciler.testing.world import World

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MakeWorld = Callable[..., World]


class Poisoned:
    """Ports that raise for bad tracks: `errors` by port and method, then by the track's name."""

    def __init__(self, world: World, errors: dict[str, dict[str, BaseException]]) -> None:
        self.world, self.errors = world, errors
        self._fetching = ""

    def __call__(self, name: str, port: Any) -> Any:
        return _Port(name, port, self)

    def before(self, place: str, arguments: tuple[Any, ...]) -> None:
        if place == "pictures.fetch":
            self._fetching = arguments[0]
        for track, error in self.errors.get(place, {}).items():
            if track in self._about(place, arguments):
                raise error

    def _about(self, place: str, arguments: tuple[Any, ...]) -> str:
        """What the call says of whom it is for."""
        match place:
            case "kie.create":
                return str(arguments[0].prompt)
            case "kie.task":
                return self._prompt(task_id=arguments[0])
            case "pictures.fetch" | "pictures.prepare":
                return self._prompt(url=self._fetching)
            case _:
                return str(arguments[0] if arguments else "")

    def _prompt(self, *, task_id: str = "", url: str = "") -> str:
        bought = self.world.kie.book.purchases
        return next((each.prompt for each in bought if each.task_id and each.task_id in (task_id or url)), url)


class _Port:
    def __init__(self, name: str, port: Any, poison: Poisoned) -> None:
        self._name, self._port, self._poison = name, port, poison

    def __getattr__(self, method: str) -> Any:
        value = getattr(self._port, method)

        def call(*arguments: Any, **named: Any) -> Any:
            self._poison.before(f"{self._name}.{method}", arguments)
            return value(*arguments, **named)

        return call if callable(value) else value


def proven(make_world: MakeWorld, **given: Any) -> World:
    """A world in which the model has shown a good result."""
    world = make_world(**given)
    world.store = MemoryStore()
    world.add("first")
    assert world.run().states == {(State.OK, None): 1}
    return world


def good_ones(world: World, states: str = "ok") -> set[str]:
    rows = world.sql("SELECT track_id FROM reconciler_memory WHERE state = ?", states)
    return {row["track_id"] for row in rows}


RAISED: dict[str, tuple[str, BaseException]] = {
    "creating raises": ("kie.create", RuntimeError("bad")),
    "asking raises": ("kie.task", KeyError("bad")),
    "fetching raises": ("pictures.fetch", ValueError("bad")),
    "no memory": ("pictures.prepare", MemoryError()),
    "recursion": ("pictures.prepare", RecursionError("bad")),
    "storing raises": ("store.put", OSError("bad")),
    "the store refuses": ("store.put", StoreError("bad")),
    "listing raises": ("store.keys", UnicodeError("bad")),
    "leasing raises": ("leases.lease_all", ValueError("bad")),
}

ANSWERED: dict[str, Any] = {
    "task fails": Fail(code="500", message="internal error, please try again later.", run=5 * SECOND),
    "content refused": CONTENT_REFUSED,
    "never fits": Succeed(width=320, height=180, run=2 * SECOND),
    "blank bytes": Succeed(content=b"\x00" * 2000, run=2 * SECOND),
    "hangs for ever": Stall(),
    "no url": Succeed(result=ResultForm.EMPTY_LIST, run=2 * SECOND),
    "forbidden url": Succeed(urls=("http://169.254.169.254/latest/meta-data",), run=2 * SECOND),
    "answer lost": LOST,
    "answer hangs": Break(Fault.HANG, done=True),
    "no task id": OmitTaskId(),
    "garbage": Reply(200, b"\xff\xfe{{{", "application/json"),
    "refused": Refuse(422, "prompt is not within the range of allowed options"),
    "error page": page(502),
}
"""A request that Kie calls wrong closes the model for all; it is not among these."""
del ANSWERED["refused"]

ROWS: dict[str, dict[str, Any]] = {
    "private host": {"image_url": "https://10.0.0.1/a.jpg"},
    "no https": {"image_url": "http://pictures.example/a.jpg"},
    "no such scheme": {"image_url": "gopher://pictures.example/a.jpg"},
    "not inline": {"image_url": "data:image/png;base64,@@@@"},
    "huge url": {"image_url": "https://pictures.example/" + "a" * 100_000},
    "control characters": {
        "title": "a\x00b\x1b[2J\u202e",
        "extended_prompt_image": "c\x00\x07\udc80".encode("utf-8", "replace").decode(),
    },
    "bytes": {"title": b"\xff\xfe\x00", "extended_prompt_image": b"\x80\x81", "image_url": b"\xc3\x28"},
    "numbers": {"title": 3.5, "resolution": 7, "mood": 12, "task_id": 99},
    "odd dates": {"created_at": "yesterday", "updated_at": "31.02.2026 25:61"},
    "far future": {"created_at": "9999-12-31T23:59:59", "updated_at": "9999-12-31 23:59:59"},
    "nothing to say": {"title": "", "prompt": "Generated Vibe", "extended_prompt_image": None},
}


def work(world: World, length: timedelta, errors: dict[str, dict[str, BaseException]], owner: str = "one") -> Any:
    return world.run(length, wrap=Poisoned(world, errors), owner=owner)


@pytest.mark.parametrize("kind", RAISED)
def test_a_mistake_in_one_track_is_told_and_the_others_finish(make_world: MakeWorld, kind: str) -> None:
    world = proven(make_world)
    place, error = RAISED[kind]
    for name in ("bad-1", "good-1", "good-2", "bad-2", "good-3"):
        world.add(name)
    result = work(world, HOUR, {place: {"bad-": error}})
    assert good_ones(world) >= {"good-1", "good-2", "good-3"}
    assert not good_ones(world) & {"bad-1", "bad-2"}
    if not isinstance(error, StoreError):
        told = [event for event in world.events if isinstance(event, Mistake)]
        assert {event.track_id for event in told} == {"bad-1", "bad-2"}
        assert {type(event.error) for event in told} == {type(error)}
        assert len(told) == result.mistakes < 10_000


def test_a_mistake_in_what_is_made_of_an_answer_is_told_and_the_others_finish(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = proven(make_world)

    def learned(case: Case, done: Job, finding: Finding) -> Memory:
        if case.track.id.startswith("bad-"):
            raise ValueError("bad")
        return learn(case, done, finding)

    monkeypatch.setattr(steps, "learn", learned)
    for name in ("bad-1", "good-1", "good-2", "bad-2", "good-3"):
        world.add(name)
    result = world.run(HOUR)
    assert good_ones(world) == {"first", "good-1", "good-2", "good-3"}
    told = [event for event in world.events if isinstance(event, Mistake)]
    assert [event.track_id for event in told] == ["bad-1", "bad-2"]
    assert result.mistakes == 2, "they are left alone for long"


@pytest.mark.parametrize("kind", RAISED)
def test_when_the_mistake_is_mended_the_track_is_too(make_world: MakeWorld, kind: str) -> None:
    world = proven(make_world)
    place, error = RAISED[kind]
    world.add("bad-1")
    work(world, 10 * MINUTE, {place: {"bad-": error}})
    assert world.settle().states == {(State.OK, None): 2}
    assert len(world.kie.book.purchases_for("bad-1")) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ANSWERED)
def test_a_track_that_kie_fails_for_waits_or_ends_alone(make_world: MakeWorld, kind: str) -> None:
    world = proven(make_world)
    world.kie.script.clear()
    world.kie.script.when(ANSWERED[kind], prompt_contains="bad-", operation=None)
    world.kie.script.when(Succeed(width=640, height=360, run=2 * SECOND))
    for name in ("bad-1", "good-1", "good-2", "bad-2", "good-3"):
        world.add(name)
    result = world.run(30 * MINUTE)
    assert good_ones(world) >= {"good-1", "good-2", "good-3"}
    assert result.mistakes == 0


@pytest.mark.slow
def test_rows_of_any_junk_beside_good_ones(make_world: MakeWorld) -> None:
    world = proven(make_world)
    for number, (name, columns) in enumerate(ROWS.items()):
        world.add(f"bad-{name}", **columns)
        world.add(f"good-{number}")
    for name in ("", "../../etc/passwd", "a b'\";--", "x" * 3000, "\u202e\x01"):
        world.add(name)
    result = world.run(30 * MINUTE)
    assert good_ones(world) >= {f"good-{number}" for number in range(len(ROWS))}
    assert result.mistakes == 0
    assert sum(result.states.values()) >= 2 * len(ROWS) + 4


@pytest.mark.slow
def test_of_a_hundred_tracks_each_fifth_is_bad_in_its_own_way(make_world: MakeWorld) -> None:
    world = proven(make_world)
    world.kie.script.clear()
    kinds = [*RAISED, *ANSWERED, *ROWS]
    errors: dict[str, dict[str, BaseException]] = {}
    for number, kind in enumerate(kinds):
        name = f"bad-{number:02}-"
        if kind in RAISED:
            place, error = RAISED[kind]
            errors.setdefault(place, {})[name] = error
        elif kind in ANSWERED:
            world.kie.script.when(ANSWERED[kind], prompt_contains=name)
    world.kie.script.when(Succeed(width=640, height=360, run=2 * SECOND))
    for number in range(100):
        bad = number // 5
        if number % 5 == 0:
            world.add(f"bad-{bad:02}-", **ROWS.get(kinds[bad], {}))
        else:
            world.add(f"good-{number:03}")
    for bad in range(20, len(kinds)):
        world.add(f"bad-{bad:02}-", **ROWS.get(kinds[bad], {}))
    crew = DelayedCrew(Stage(world.clock), lambda tag: (0.2 * SECOND, 0.1 * SECOND))
    world.crew = lambda: crew
    result = work(world, 2 * HOUR, errors)
    good = {f"good-{number:03}" for number in range(100) if number % 5}
    assert good_ones(world) >= good
    assert {event.track_id[:4] for event in world.events if isinstance(event, Mistake)} == {"bad-"}
    assert sum(result.states.values()) == 1 + 80 + len(kinds) - 1, "one cannot be leased, and so is not remembered"
    assert crew.turns < 20_000


# -- the many do not hide the one ----------------------------------------------------------------------------------

REMEMBERED = """
    INSERT INTO reconciler_memory
        (track_id, state, reason, due_at, tried_at, first_seen, seen, repeats, ignored, generation, doc)
    SELECT ?, 'missing', 'due', first_seen, first_seen, first_seen, '', FALSE, FALSE, 1, ?
    FROM reconciler_memory WHERE track_id = 'first'
"""
"""Due since the first one was found."""


@pytest.mark.slow
def test_500_hopeless_tracks_do_not_hide_the_501st(make_world: MakeWorld) -> None:
    world = proven(make_world)
    for number in range(500):
        world.add(f"a{number:03}", image_url="https://10.0.0.1/a.jpg")
    world.run(10 * SECOND)
    world.pass_time(2 * DAY)
    world.add("z-good", age=9 * DAY)
    rounds = 0
    while "z-good" not in good_ones(world):
        rounds += 1
        assert rounds <= 6
        world.run(2 * MINUTE, limit=100)


UNREADABLE = {"a document": "doc = '{'", "a word": "lease_step = 'a newer one'"}


@pytest.mark.parametrize("what", UNREADABLE)
def test_201_memories_that_cannot_be_read_do_not_hide_the_one_that_can(make_world: MakeWorld, what: str) -> None:
    world = proven(make_world)
    bad = [f"bad-{number:03}" for number in range(201)]
    for name in (*bad, "good"):
        world.add(name)
        world.sql(REMEMBERED, name, f'{{"track_id": "{name}", "first_seen": "2026-10-01T00:00:00Z"}}')
    world.sql(f"UPDATE reconciler_memory SET {UNREADABLE[what]} WHERE track_id LIKE 'bad-%'")
    world.events.clear()
    world.run(5 * MINUTE, audit=False)
    assert good_ones(world) == {"first", "good"}
    assert [event.track_id for event in world.events if isinstance(event, Mistake)] == bad, "each is told once"


@pytest.mark.slow
def test_hopeless_orders_do_not_hide_the_one_that_would_succeed(make_world: MakeWorld) -> None:
    """Those held back take turns: who was tried longest ago is first."""
    world = proven(make_world, per_hour=4)
    world.kie.script.clear()
    failing = Fail(code="500", message="internal error, please try again later.", run=5 * SECOND)
    world.kie.script.when(failing, prompt_contains="hopeless")
    world.kie.script.when(Succeed(width=640, height=360, run=2 * SECOND))
    for number in range(12):
        world.add(f"hopeless-{number:02}")
    world.add("z-good")
    for _ in range(6):
        world.run(5 * MINUTE)
        world.pass_time(HOUR)
    assert "z-good" in good_ones(world)


# -- a picture that kills the process ------------------------------------------------------------------------------


def lives_and_deaths(world: World, place: str, rounds: int = 12) -> list[list[str]]:
    """Runs until nothing kills any more; for each death, who was under way."""
    deaths: list[list[str]] = []
    for life in range(rounds):
        crew = DelayedCrew(Stage(world.clock), lambda tag: (3 * SECOND, 3 * SECOND), size=6)
        world.crew = lambda crew=crew: crew  # type: ignore[misc]
        with suppress(Killed):
            work(world, 20 * MINUTE, {place: {"killer": Killed()}}, f"life {life}")
            return deaths
        now = world.clock().isoformat()
        held = world.sql("SELECT track_id FROM reconciler_memory WHERE lease_until > ? ORDER BY track_id", now)
        deaths.append([row["track_id"] for row in held])
        world.pass_time(Policy().lease)
    raise AssertionError(f"it went on dying: {deaths}")


@pytest.mark.slow
@pytest.mark.parametrize("others", [0, 5, 20])
def test_a_picture_that_kills_the_process_is_given_up_after_three_times_and_all_others_finish(
    make_world: MakeWorld, others: int
) -> None:
    world = proven(make_world)
    world.add("killer")
    for number in range(others):
        world.add(f"t{number:02}")
    deaths = lives_and_deaths(world, "pictures.prepare")
    assert len(deaths) == 3
    assert deaths[1:] == [["killer"], ["killer"]], "after the first time it is tried alone"
    result = world.run(2 * HOUR)  # whose order was under way at a death is repeated after its hold
    assert result.states[State.FAILED, Reason.IMAGE_REJECTED] == 1
    assert good_ones(world) == {"first", *(f"t{number:02}" for number in range(others))}
    assert len(world.kie.book.purchases_for("killer")) == 1


@pytest.mark.slow
def test_a_picture_in_the_row_that_kills_at_its_measuring_is_given_up_too(make_world: MakeWorld) -> None:
    world = proven(make_world)
    world.add("row", image_url=world.kie.add_file("/p/killer.jpg", size=(640, 360)))
    for number in range(4):
        world.add(f"t{number}")
    deaths = lives_and_deaths(world, "pictures.measure")
    assert len(deaths) == 3
    assert deaths[1:] == [["row"], ["row"]]
    assert good_ones(world, "failed") == {"row"}
    assert len(good_ones(world)) == 5
    for expected in ([["row"]], [], []):
        world.pass_time(8 * DAY)
        assert lives_and_deaths(world, "pictures.measure") == expected, "once more, and never again"
        assert good_ones(world, "failed") == {"row"}


def test_two_pictures_that_kill_are_both_given_up(make_world: MakeWorld) -> None:
    world = proven(make_world)
    for name in ("killer-1", "killer-2", "good"):
        world.add(name)
    deaths = lives_and_deaths(world, "pictures.prepare")
    assert len(deaths) <= 6
    assert good_ones(world, "failed") == {"killer-1", "killer-2"}
    assert good_ones(world) == {"first", "good"}


def test_a_death_that_was_not_the_pictures_fault_costs_it_nothing(make_world: MakeWorld) -> None:
    world = proven(make_world)
    world.add("t")
    for _ in range(2):
        with suppress(Killed):
            work(world, MINUTE, {"pictures.prepare": {"called t ": Killed()}})
        world.pass_time(Policy().lease)
    assert world.run().states == {(State.OK, None): 2}
    (memory,) = world.sql("SELECT doc FROM reconciler_memory WHERE track_id = 't'")
    assert "interruptions" not in memory["doc"]


class Departing:
    """A database that is away from the first download on."""

    def __init__(self) -> None:
        self.is_away = False

    def wrap(self, name: str, port: Any) -> Any:
        return _Departing(self, name, port) if name in ("leases", "finder", "gate", "pictures") else port


class _Departing:
    def __init__(self, database: Departing, name: str, port: Any) -> None:
        self._database, self._name, self._port = database, name, port

    def __getattr__(self, name: str) -> Any:
        if self._name == "pictures":
            self._database.is_away |= name == "fetch"
        elif self._database.is_away:
            raise DatabaseGone("away", "db", "Wait")
        return getattr(self._port, name)


def test_a_picture_during_whose_download_the_database_was_away_again_and_again_is_had_in_the_end(
    make_world: MakeWorld,
) -> None:
    """Each run is another process, which cannot tell that the one before it lived on."""
    world = proven(make_world)
    world.add("t")
    for number in range(4):
        with suppress(DatabaseGone):
            world.run(wrap=Departing().wrap, owner=f"run {number}")
        world.pass_time(HOUR)
    assert good_ones(world, "failed") == {"t"}
    world.pass_time(8 * DAY)
    assert world.run(owner="sound").states == {(State.OK, None): 2}
    assert len(world.kie.book.purchases_for("called t ")) == 1


@pytest.mark.slow
def test_a_new_picture_is_tried_where_the_one_before_killed(make_world: MakeWorld) -> None:
    world = proven(make_world)
    world.add("row", image_url=world.kie.add_file("/p/killer.jpg", size=(640, 360)))
    assert len(lives_and_deaths(world, "pictures.measure")) == 3
    fresh = world.kie.add_file("/p/fresh.jpg", size=(640, 360))
    world.sql("UPDATE tracks SET image_url = ? WHERE id = 'row'", fresh)
    assert world.run(HOUR).states == {(State.OK, None): 2}
