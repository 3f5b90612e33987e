"""Worlds in which every place is known where a process can die, and what becomes of them after it did.

Places are before and after each call of a port, each request to Kie, each step of storing and each commit. Those
between which nothing changed that outlives the process (its files, Kie's book) are one state: one death does for all.
"""

import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from hashlib import sha256
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from shutil import copytree
from typing import Any, Generic, NamedTuple, TypeVar

from reconciler.database import Database, Where
from reconciler.database.postgres import PostgresDialect
from reconciler.domain.policy import Policy, Target
from reconciler.engine.events import Result
from reconciler.images.local_store import LocalStore
from reconciler.images.s3_asking import Access
from reconciler.images.s3_store import S3Store
from reconciler.kie.simulated import Fault, Request, Response, Settings, Succeed, belongs_to
from reconciler.ports import Prepared
from reconciler.testing.cutting import Killed, Scissors
from reconciler.testing.world import PUBLIC_URL, AppDatabase, AppFile, World, Wrap
from tests.postgres import Bouncer, Server
from tests.postgresql.worlds import AppServer
from tests.promises.forks import exit_code, in_a_copy, split

SIZE, RESOLUTION = (160, 90), "160x90"
SECOND, LEASE, HOLD = timedelta(seconds=1), timedelta(seconds=160), timedelta(hours=2)
"""The last two are longer than a lease, and than an order is held whose answer was lost."""
PICTURES = {"buy": "a lighthouse called buy in morning mist", "adopt": "adopted picture", "rehost": "dying picture"}
"""What each track's own picture shows."""
KINDS = {"createTask": "create", "recordInfo": "record", "credit": "credit"}
THE_END = "the end"

T = TypeVar("T")
At = Callable[[str], None]
"""Told that this place is reached."""


class Place(NamedTuple):
    """Its number among those of a run, and its name."""

    number: int
    name: str


def placed(at: At, name: str, do: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        at(f"before {name}")
        result = do(*args, **kwargs)
        at(f"after {name}")
        return result

    return call


class PlacedStore(LocalStore):
    """Each step of storing is a place, and so is the middle of writing."""

    def __init__(self, root: Path, now: Callable[[], Any], at: At) -> None:
        super().__init__(root, now=now)
        self._at = at
        for step in ("adopt", "prove", "make_folder", "write", "rename", "settle", "compare"):
            setattr(self, step, placed(at, f"store.{step}", getattr(self, step)))

    def write(self, part: Path, picture: Prepared) -> None:
        part.write_bytes(picture.data[: len(picture.data) // 2])
        self._at("within store.write")
        part.unlink()
        super().write(part, picture)


class PlacedBucket(S3Store):
    """Each request of storing is two places."""

    def __init__(self, access: Access, at: At) -> None:
        super().__init__(access)
        for step in ("_read", "_write"):
            setattr(self, step, placed(at, f"bucket.{step[1:]}", getattr(self, step)))


class Found(AppFile):
    """An SQLite file that is there already."""

    def __init__(self, path: Path) -> None:
        self.path, self.where = path, Where(f"sqlite:///{path}")


class CutWorld(World):
    """One track to buy for, one whose paid task is known, one whose own picture dies. `scissors` hear of every place.

    `answer` is Kie's. `asked`: each kind of request, in order; the answer to that of number `lost` does not arrive.
    """

    def __init__(self, folder: Path, app: AppDatabase | None = None) -> None:
        policy = Policy(public_url=PUBLIC_URL, per_hour=10_000, per_day=10_000, target=Target(*SIZE))
        folder.mkdir()
        super().__init__(folder, policy=policy, kie=Settings(credits=100_000), app=app)
        self.folder, self.scissors = folder, Scissors()
        self.answer: Callable[[Request], Response] = self.kie.handle
        self.asked, self.lost = list[str](), -1
        self.kie.handle = self._answered  # type: ignore[method-assign]
        self.store = PlacedStore(folder / "images", self.clock, self.at)
        good = Succeed(width=SIZE[0], height=SIZE[1], run=2 * SECOND)
        self.kie.script.when(good)
        self.add("buy")
        self.kie.add_task("a" * 32, prompt=PICTURES["adopt"], created_at=self.clock(), behaviour=good)
        self.add("adopt", extended_prompt=f"calm | Visual: x | image_task_id: {'a' * 32}")
        dying = self.kie.add_file("/p/dying.jpg", text=PICTURES["rehost"], size=SIZE)
        self.add("rehost", image_url=dying, resolution=RESOLUTION)
        self._untouched = self._but_the_pictures()

    def at(self, place: str) -> None:
        self.scissors.at(place)

    def _answered(self, request: Request) -> Response:
        kind = KINDS.get(request.url_path.rpartition("/")[2], "download")
        response: Response = placed(self.at, f"http.{kind}", self.answer)(request)
        self.asked.append(kind)
        return replace(response, fault=Fault.CUT) if len(self.asked) == self.lost + 1 else response

    def open(self, owner: str = "one") -> Database:
        """On a server the last statements of a transaction and its end are one message."""
        database = super().open(owner)
        db, dialect = database.connection.db, database.connection.dialect
        db.commit = placed(self.at, "database.commit", db.commit)
        if isinstance(dialect, PostgresDialect):
            ask = dialect.ask
            ending = placed(self.at, "database.commit", partial(ask, commit=True))
            setattr(dialect, "ask", lambda *args, commit=False: (ending if commit else ask)(*args))  # noqa: B010
        return database

    def run(
        self, length: timedelta = timedelta(minutes=10), *, wrap: Wrap | None = None, owner: str = "one", **bounds: Any
    ) -> Result:
        return super().run(length, wrap=wrap or self.scissors.wrap, owner=owner, **bounds)

    # -- deaths --------------------------------------------------------------------------------------------------------

    def left(self) -> object:
        """What a death would leave now."""
        files = {path: sha256(path.read_bytes()).digest() for path in self.folder.rglob("*") if path.is_file()}
        return files, len(self.kie.book.creations), len(self.kie.book.visits)

    def move(self, folder: Path) -> None:
        """From here on on a copy of what is left, as if the process that had it open were gone."""
        copytree(self.folder, folder)
        self.folder, self.path, self.scissors = folder, folder / "app.db", Scissors()
        self.app, self.store = Found(self.path), PlacedStore(folder / "images", self.clock, self.at)

    def cut(self, number: int) -> str:
        """A run that dies at this place, in process; the place's name."""
        return self._run_with(Scissors(number))

    def cut_after(self, place: str) -> str:
        return self._run_with(First(place))

    def _run_with(self, scissors: Scissors) -> str:
        self.scissors, before = scissors, self.scissors
        try:
            self.run()
        except Killed as place:
            return str(place)
        finally:
            self.scissors = before
        return THE_END

    def kill(self, number: int) -> str:
        """A run in a process of its own that is killed at this place, while Kie goes on here; the place's name."""
        here, there = Pipe()
        child = split(lambda: self._die(there, number))
        there.close()
        place = self._serve(here)
        assert exit_code(child) == (-signal.SIGKILL if place else 0)
        return place or THE_END

    def _die(self, there: Connection, number: int) -> None:
        def ask(said: object) -> Any:
            there.send((self.clock(), said))
            return there.recv()

        def die(place: str) -> None:
            ask(place)
            os.kill(os.getpid(), signal.SIGKILL)

        self.answer, self.scissors = ask, Fatal(number, die)
        self.run()

    def _serve(self, there: Connection) -> str:
        """Kie's answers, until nobody asks any more; the last word."""
        place = ""
        with there, suppress(EOFError, ConnectionResetError):
            while True:
                self.clock.time, said = there.recv()
                if isinstance(said, Request):
                    there.send(self.answer(said))
                else:
                    place = said
                    there.send(None)
        return place

    # -- afterwards ----------------------------------------------------------------------------------------------------

    def finish(self, after: timedelta = SECOND) -> None:
        """All that can still come comes within this time."""
        self.pass_time(after)
        self.run(timedelta(hours=4))

    def bought(self) -> Counter[str]:
        """By prompt."""
        return Counter(purchase.prompt for purchase in self.kie.book.purchases)

    def intents(self) -> int:
        return len(self.sql("SELECT 1 FROM reconciler_purchase"))

    def end(self, *places: str) -> "End":
        """Asserts what was promised for so many deaths at these places."""
        where = ", ".join(places)
        self.check_purchases(where)
        found = self._states()
        good = {track for track, state, _ in found if state == "ok"}
        self.check_pictures(where, good)
        assert {each for each in found if each[0] not in good} <= self._may_be_given_up(len(places)), (where, found)
        return End(places, self.bought().total(), self.intents())

    def _may_be_given_up(self, deaths: int) -> set[tuple[str, str, str | None]]:
        """One death may come with the answer to the order, or before that was sent, and another with that to its
        repeat; three may be in picture steps of one track."""
        may: set[tuple[str, str, str | None]] = set()
        if deaths > 1 and self.intents() > 1:
            may.add(("buy", "failed", "unknown_purchase"))
        if deaths > 2:
            may.update((track, "failed", "image_rejected") for track in PICTURES)
        return may

    def check_purchases(self, where: str) -> None:
        """One, and one more that is counted; and nothing that is not ours was touched."""
        repeats = len(self.sql("SELECT 1 FROM reconciler_purchase WHERE repeat_of IS NOT NULL"))
        bought = self.bought()
        assert set(bought) <= {PICTURES["buy"]}, (where, bought)
        assert bought.total() <= 1 + repeats <= 2, (where, bought, repeats)
        assert self._but_the_pictures() == self._untouched, where
        assert not self.kie.book.errors, where

    def check_pictures(self, where: str, tracks: Iterable[str]) -> None:
        """What is in the store is whole, and in each of these rows is the track's own."""
        for path in self.folder.glob("images/tracks/*/*.jpg"):
            assert sha256(path.read_bytes()).hexdigest().startswith(path.stem), (where, path)
        for track in tracks:
            assert self.row(track)["resolution"] == RESOLUTION, (where, track)
            assert belongs_to(self.picture(track) or b"", PICTURES[track]), (where, track)

    def _states(self) -> set[tuple[str, str, str | None]]:
        """Where all tracks stand, none of which is worked any more."""
        found = self.sql("SELECT track_id, state, reason FROM reconciler_memory WHERE lease_owner IS NULL")
        assert len(found) == len(PICTURES), found
        return {(each["track_id"], each["state"], each["reason"]) for each in found}

    def _but_the_pictures(self) -> list[dict[str, Any]]:
        return [row | dict.fromkeys(("image_url", "resolution", "updated_at")) for row in self.rows()]


# -- scissors ----------------------------------------------------------------------------------------------------------


class Fatal(Scissors):
    def __init__(self, number: int, die: At) -> None:
        super().__init__()
        self._number, self._die = number, die

    def at(self, place: str) -> None:
        super().at(place)
        if len(self.places) == self._number + 1:
            self._die(place)


class First(Scissors):
    """Cuts at the first place of this name."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self._place = place

    def at(self, place: str) -> None:
        super().at(place)
        if place == self._place:
            raise Killed(place)


class Forks(Scissors, Generic[T]):
    """At the places whose numbers are wanted, and in a copy of the process, that goes on with `then`. `told`: what it
    returned."""

    def __init__(self, wanted: Callable[[int], bool], then: Callable[[Place], T]) -> None:
        super().__init__()
        self._wanted, self._then, self.told = wanted, then, list[T]()

    def at(self, place: str) -> None:
        super().at(place)
        here = Place(len(self.places) - 1, place)
        if self._wanted(here.number):
            self.told.append(in_a_copy(lambda: self._then(here)))


class States(Scissors):
    """`found`: the first place of each state."""

    def __init__(self, world: CutWorld) -> None:
        super().__init__()
        self._world, self._left, self.found = world, object(), list[Place]()

    def at(self, place: str) -> None:
        super().at(place)
        left = self._world.left()
        if left != self._left:
            self._left = left
            self.found.append(Place(len(self.places) - 1, place))


# -- passes, each in a process of its own ------------------------------------------------------------------------------


@dataclass(frozen=True)
class End:
    """What it came to after a death, or several."""

    places: tuple[str, ...]
    bought: int
    intents: int


def states(folder: Path, lost: int = -1) -> list[Place]:
    """Those of one run that begin after this answer was lost."""
    world = _world(folder / "whole", lost)
    world.scissors = found = States(world)
    world.run()
    return found.found


def die_in_process(folder: Path, places: Iterable[Place], lost: int = -1) -> list[End]:
    """One run, and what comes of it when the process dies in each of these places."""
    world = _world(folder / "world", lost)

    def die(place: Place) -> End:
        world.move(folder / str(place.number))
        world.finish()
        return world.end(place.name)

    world.scissors = forks = Forks({place.number for place in places}.__contains__, die)
    world.run()
    return forks.told


def die_killed(folder: Path, places: Iterable[Place]) -> list[End]:
    """As many runs, each of which is killed in another place."""
    return [_killed(_world(folder / str(place.number)), place) for place in places]


def die_twice(folder: Path, firsts: int, step: int) -> list[End]:
    """Deaths in every so manieth state of a run, from that on, and at some places of what goes on after each."""
    chosen = {place.number for place in states(folder)[firsts::step]}
    world = _world(folder / "world")

    def first(place: Place) -> list[End]:
        chance = random.Random(place.number)
        world.move(folder / str(place.number))
        world.pass_time(chance.choice((SECOND, LEASE, HOLD)))
        return dying(lambda _: chance.randrange(45) == 0, lambda then: second(chance, place, then))

    def second(chance: random.Random, place: Place, then: Place) -> End:
        world.move(folder / f"{place.number}-{then.number}")
        world.finish(chance.choice((SECOND, LEASE)))
        return world.end(place.name, then.name)

    def dying(wanted: Callable[[int], bool], then: Callable[[Place], T]) -> list[T]:
        world.scissors = forks = Forks(wanted, then)
        world.run()
        return forks.told

    return [end for ends in dying(chosen.__contains__, first) for end in ends]


def die_often(folder: Path, seed: int) -> End:
    """Deaths of run after run, some of them of a process that is killed."""
    chance = random.Random(seed)
    world = _world(folder / "world")
    places = []
    for _ in range(8):
        places.append(chance.choice((world.cut, world.kill))(chance.randrange(5, 90)))
        world.pass_time(chance.choice((SECOND, LEASE, HOLD)))
    world.finish()
    return world.end(*(place for place in places if place != THE_END))


def die_on_server(folder: Path, ports: tuple[int, int], many: int) -> list[End]:
    """The same on PostgreSQL through a pooler at these ports, at so many of the places around commits or some more."""
    server = Server()
    bouncer = Bouncer(server)
    server.port, bouncer.port = ports
    app = AppServer(server, bouncer)

    def world(name: str) -> CutWorld:
        app.empty()
        return CutWorld(folder / name, app)

    try:
        whole = world("whole")
        whole.run()
        return [_killed(world(str(place.number)), place) for place in _around_commits(whole.scissors.places, many)]
    finally:
        app.close()


def _around_commits(names: Sequence[str], many: int) -> list[Place]:
    """So many, and those next to the order."""
    places = [Place(number, name) for number, name in enumerate(names) if "database.commit" in name]
    ordered = sum(place.number < names.index("before http.create") for place in places)
    return sorted({*places[:: (len(places) // many - 1) | 1], *places[ordered - 2 : ordered + 2]})


def die_storing(folder: Path, access: Access, place: Place, killed: bool) -> End:
    """The same with a bucket, at one place: what has once asked a bucket cannot be split any more."""
    world = CutWorld(folder / "world")
    world.store = PlacedBucket(access, world.at)
    if killed:
        return _killed(world, place)
    world.cut(place.number)
    world.finish()
    return world.end(place.name)


def _killed(world: CutWorld, place: Place) -> End:
    met = world.kill(place.number)
    assert met == place.name, f"{met} rather than {place}"
    world.finish()
    return world.end(met)


def _world(folder: Path, lost: int = -1) -> CutWorld:
    """Where a file would be synced is another place to die: the power stays on."""
    world = CutWorld(folder)
    world.lost = lost
    os.fsync = lambda _: world.at("before os.fsync")  # type: ignore[assignment]
    return world
