"""The whole program in one process, on a virtual clock: a real database file and store, the simulated Kie behind the
real client, and no threads. A run can be cut like a process that is killed, and begun anew on what it left."""

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol, TypeVar

from reconciler.database import Database, Reader, Where, open_database, open_reader
from reconciler.domain.model import Callback
from reconciler.domain.policy import Policy
from reconciler.engine.crew import Crew
from reconciler.engine.effects import Hands
from reconciler.engine.events import Event, Result
from reconciler.engine.lately import Lately
from reconciler.engine.parts import Parts
from reconciler.engine.sweep import Bounds, Sweep
from reconciler.images.addresses import vetting
from reconciler.images.local_store import LocalStore
from reconciler.images.pictures import WebPictures
from reconciler.kie.client import KieClient
from reconciler.kie.simulated import API_KEY, Settings, SimulatedKie
from reconciler.ports import Overview, Store
from reconciler.testing.handler import handler_for
from reconciler.testing.inline import InlineCrew, VirtualClock
from reconciler.transport import Transport

FILES_URL = "https://tempfile.aiquickdraw.com"
PUBLIC_URL = "https://covers.example/pictures"

NO_SYNC = "PRAGMA synchronous = OFF"
"""The process may die, the power stays: nothing is lost by not waiting for the disk."""

T = TypeVar("T", Database, Reader)

Wrap = Callable[[str, Any], Any]
"""Puts something around a port, told by its name."""


class AppDatabase(Protocol):
    """The app's database and its side of it. `where`: for the program."""

    where: Where

    def sql(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """The rows of one statement, with `?` for values; tables of ours by their bare names."""
        ...

    def unhurried(self, database: Database) -> None:
        """It need not wait for the disk."""
        ...


class AppFile:
    """An SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path, self.where = path, Where(f"sqlite:///{path}")
        schema = files("reconciler").joinpath("demo/app-schema-sqlite.sql").read_text()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(NO_SYNC)
            connection.executescript(schema)

    def sql(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute(NO_SYNC)
            connection.row_factory = sqlite3.Row
            with connection:
                return [dict(row) for row in connection.execute(statement, values)]

    def unhurried(self, database: Database) -> None:
        database.connection.db.execute_sql(NO_SYNC)


class _Fluent:
    """What works on databases, its queries spelled: that takes longer than to run them, and few databases differ."""

    MANY = 50

    def __init__(self) -> None:
        self._idle: OrderedDict[Hashable, Any] = OrderedDict()

    @contextmanager
    def instead_of(self, opened: T, *alike: Hashable) -> Iterator[T]:
        """One that was closed, if there is one, over the connection that was opened. `alike`: what it was made for."""
        app = opened.app
        names, types, unused = (tuple(each.items()) for each in (app.names, app.types, app.unused))
        key = type(opened), *alike, app.schema, app.name, names, types, unused, app.key, app.unique
        used: T = self._idle.pop(key, opened)
        vars(used.connection).update(vars(opened.connection))
        try:
            yield used
        finally:
            used.close()
            self._idle[key] = used
            if len(self._idle) > self.MANY:
                self._idle.popitem(last=False)


_FLUENT = _Fluent()


@dataclass(frozen=True, slots=True)
class _Calls:
    """Kie's callbacks, as the daemon takes them."""

    kie: SimulatedKie
    database: Database
    sweep: Sweep

    def next_at(self) -> datetime | None:
        return self.kie.next_callback_at()

    def happen(self) -> None:
        for called in self.kie.due_callbacks():
            token = called.url.rpartition("/")[2]
            known = self.database.callbacks.take([Callback(token, called.task_id)])
            self.kie.answered(called, 200 if known else 404)
            self.sweep.look_again()


class World:
    """One install: database, store, account at Kie. `policy` may be changed between runs."""

    def __init__(
        self,
        folder: Path,
        *,
        policy: Policy | None = None,
        kie: Settings | None = None,
        seed: int = 0,
        app: AppDatabase | None = None,
    ) -> None:
        self.clock = VirtualClock()
        self.policy = policy or Policy(public_url=PUBLIC_URL, per_hour=10_000, per_day=10_000)
        self.kie = SimulatedKie(self.clock.true, seed=seed, settings=kie or Settings(credits=100_000))
        self.kie.files_url = FILES_URL
        self.suno_api_key = ""
        self.path = folder / "app.db"
        self.app: AppDatabase = app or AppFile(self.path)
        self.store: Store = LocalStore(folder / "images", now=self.clock)
        self.events: list[Event] = []
        self.crew: Callable[[], Crew] = lambda: InlineCrew(self.clock)

    # -- the app's side ----------------------------------------------------------------------------------------

    def add(self, track_id: str, *, age: timedelta = timedelta(days=2), **columns: Any) -> None:
        """A finished song, as old as `age`, unless the columns say otherwise."""
        born = self.clock() - age
        row = {
            "id": track_id,
            "title": f"Song {track_id}",
            "prompt": "Generated Vibe",
            "status": "completed",
            "audio_url": "https://example.com/a.mp3",
            "created_at": born.isoformat(),
            "updated_at": born.astimezone(UTC).replace(tzinfo=None).isoformat(" "),
            "extended_prompt_image": f"a lighthouse called {track_id} in morning mist",
            **columns,
        }
        names = ", ".join(row)
        self.sql(f"INSERT INTO tracks ({names}) VALUES ({', '.join('?' * len(row))})", *row.values())  # noqa: S608

    def sql(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        return self.app.sql(statement, *values)

    def row(self, track_id: str) -> dict[str, Any]:
        return self.sql("SELECT * FROM tracks WHERE id = ?", track_id)[0]

    def rows(self) -> list[dict[str, Any]]:
        return self.sql("SELECT * FROM tracks ORDER BY id")

    def picture(self, track_id: str) -> bytes | None:
        """The bytes behind the row's URL, where that is in our store."""
        key = self.policy.key_of(self.row(track_id)["image_url"] or "")
        return self.store.get(key) if key is not None else None

    # -- our side ----------------------------------------------------------------------------------------------

    def open(self, owner: str = "one") -> Database:
        database = open_database(self.app.where, self.policy, self.clock, owner=owner)
        self.app.unhurried(database)
        return database

    def reader(self) -> Reader:
        return open_reader(self.app.where, self.policy, self.clock)

    def overview(self) -> Overview:
        """What the gauges would show now, by a connection that is not able to write."""
        with self._fluent(self.reader()) as reader:
            return reader.overview()

    def run(
        self, length: timedelta = timedelta(minutes=10), *, wrap: Wrap | None = None, owner: str = "one", **bounds: Any
    ) -> Result:
        """`run --once`, with `length` of virtual time."""
        around = wrap or (lambda _, port: port)
        with self._fluent(self.open(owner), owner) as database:
            self.store.adopt(None)
            parts = self.parts(database, around)
            sweep = Sweep(parts, Bounds(self.clock.steady() + length, **bounds), self.events.append)
            if isinstance(parts.crew, InlineCrew) and self.policy.callback_url:
                parts.crew.world = _Calls(self.kie, database, sweep)
                parts.crew.world.happen()
            return sweep.run()

    def _fluent(self, opened: T, *alike: Hashable) -> AbstractContextManager[T]:
        """Closed at its end."""
        if isinstance(self.app, AppFile):
            return _FLUENT.instead_of(opened, self.policy, *alike)
        return closing(opened)

    def parts(self, database: Database, around: Wrap = lambda _, port: port) -> Parts:
        """What a sweep works with."""

        def transport(**extra: Any) -> Transport:
            handler = handler_for(self.kie)
            return Transport(clock=self.clock, handler=handler, **extra)

        base_url, suno_key = "https://api.kie.ai", self.suno_api_key
        kie = around("kie", KieClient(transport(), base_url=base_url, api_key=API_KEY, suno_api_key=suno_key))
        pictures = around("pictures", WebPictures(self.policy, transport(vet=vetting(()))))
        store = around("store", self.store)
        hands = Hands(kie, pictures, store, self.policy, self.clock)
        return Parts(
            around("finder", database.finder),
            around("leases", database.leases),
            around("gate", database.gate),
            hands,
            self.crew(),
            self.policy,
            self.clock,
            self.clock.steady,
            Lately(is_called=bool(self.policy.callback_url)),
        )

    def settle(self, days: int = 3) -> Result:
        """Runs until nothing more happens by itself within the time."""
        return self.run(timedelta(days=days))

    def with_policy(self, **changes: Any) -> None:
        self.policy = replace(self.policy, **changes)

    def pass_time(self, length: timedelta) -> datetime:
        self.clock.advance(length)
        return self.clock()
