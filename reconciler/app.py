"""The one place where the parts are put together."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import TypedDict

from reconciler import __version__
from reconciler.config import Settings, policy_of
from reconciler.database import AUDIT_REACHED, MARKER, Database, Reader, open_database, open_reader
from reconciler.database.app_tracks import AppTracks
from reconciler.database.migrations import schema_sql
from reconciler.domain.case import Case
from reconciler.domain.findings import Credits
from reconciler.domain.gate import GateView
from reconciler.domain.learn import notice
from reconciler.domain.policy import Policy
from reconciler.engine.crew import Threads
from reconciler.engine.effects import Eyes, Hands
from reconciler.engine.events import Listener, Result
from reconciler.engine.preview import Forecast, Subject, forecasts
from reconciler.engine.sweep import Bounds, Parts, Sweep
from reconciler.images.local_store import LocalReader, LocalStore
from reconciler.images.pictures import WebPictures, vetted_transport
from reconciler.kie.client import KieClient, KieReader, Observer
from reconciler.ports import Clock, StoreError
from reconciler.transport import Request, Transport, TransportError

WORKERS = 12


def utc_now() -> datetime:
    return datetime.now(UTC)


class StoreUnfit(Exception):
    """The store is not the one that the database knows, or cannot be used; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Narrowed:
    """How far a one-off run may go; all limits are the operator's."""

    timeout: timedelta = timedelta(minutes=10)
    only: tuple[str, ...] | None = None
    limit: int | None = None
    max_purchases: int | None = None
    audit: bool = True


class NoStore:
    """What a database that knows no store yet has kept: nothing."""

    def check(self) -> str:
        return ""

    def get(self, key: str) -> bytes | None:  # noqa: ARG002
        return None

    def keys(self, track_id: str) -> Sequence[str]:  # noqa: ARG002
        return ()


@contextmanager
def looked_into(settings: Settings) -> Iterator[Reader]:
    """The app's database, only to read. DatabaseError says what is wrong with it."""
    reader = open_reader(*_database(settings))
    try:
        yield reader
    finally:
        reader.close()


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """The app's database to work in; our tables are created or updated. DatabaseError says what is wrong with it."""
    database = open_database(*_database(settings))
    try:
        yield database
    finally:
        database.close()


def _database(settings: Settings) -> tuple[str, str, dict[str, str], Policy, Clock]:
    named = settings.database.columns.model_dump()
    renamed = {field: name for field, name in named.items() if field != name}
    url = settings.database.url.get_secret_value()
    return url, settings.database.table, renamed, policy_of(settings), utc_now


def own_schema(settings: Settings) -> tuple[str, str]:
    """The SQL of our tables, and of an index on the app's table that finds stuck rows."""
    with looked_into(settings) as reader:
        tables = schema_sql(reader.connection.db)
        table, image = f'"{reader.app.name}"', f'"{reader.app.names["image_url"]}"'
    index = f"CREATE INDEX IF NOT EXISTS reconciler_without_image ON {table} ({image}) "
    return tables, f"{index}WHERE {image} IS NULL OR {image} = '';"


def open_store(settings: Settings, database: Database) -> LocalStore:
    """The store that the database knows by its marker; one that neither knows is adopted."""
    store = LocalStore(Path(settings.storage.path), now=utc_now)
    try:
        known = database.notes.get(MARKER)
        found = store.adopt(None) if known is None else store.check()
    except StoreError as error:
        raise StoreUnfit(f"storage.path: {error}") from error
    if known is None:
        database.notes.put(MARKER, found)
    elif known != found:
        raise StoreUnfit(
            f"storage.path: {settings.storage.path} is another store than the database knows (marker {found}, "
            f"expected {known}); mount the right volume, or see the README on moving a store"
        )
    return store


class _Access(TypedDict):
    base_url: str
    api_key: str
    suno_api_key: str
    request_timeout: timedelta


@dataclass(frozen=True, slots=True)
class Provider:
    """The ways to Kie and to its files."""

    api: Transport
    files: Transport
    settings: Settings
    policy: Policy

    def reader(self) -> KieReader:
        return KieReader(self.api, **self._access())

    def client(self, observer: Observer | None = None) -> KieClient:
        return KieClient(self.api, **self._access(), observer=observer)

    def _access(self) -> _Access:
        kie = self.settings.kie
        return {
            "base_url": kie.base_url,
            "api_key": kie.api_key.get_secret_value(),
            "suno_api_key": kie.suno_api_key.get_secret_value(),
            "request_timeout": kie.request_timeout,
        }

    def pictures(self) -> WebPictures:
        return WebPictures(self.policy, self.files)


@contextmanager
def provider(settings: Settings) -> Iterator[Provider]:
    policy = policy_of(settings)
    api = Transport(user_agent=f"reconciler/{__version__}", clock=utc_now)
    files = vetted_transport(policy, utc_now)
    try:
        yield Provider(api, files, settings, policy)
    finally:
        api.close()
        files.close()


@dataclass(frozen=True, slots=True)
class Served:
    """What `public_url` answers for a key. `status` None: nothing was reached there."""

    status: int | None
    data: bytes
    detail: str


def served(settings: Settings, key: str) -> Served:
    """Asked without vetting the address: `public_url` is the operator's own."""
    transport = Transport(user_agent=f"reconciler/{__version__}", clock=utc_now)
    request = Request("GET", policy_of(settings).url_of(key), {})
    try:
        reply = transport.send(request, deadline=settings.kie.request_timeout, max_bytes=1024)
    except TransportError as error:
        return Served(None, b"", error.detail)
    finally:
        transport.close()
    return Served(reply.status, reply.body, f"answered {reply.status}")


def run_once(settings: Settings, narrowed: Narrowed, listener: Listener, started: Callable[[Sweep], None]) -> Result:
    """One sweep and one audit pass. `started` gets the sweep, to stop it."""
    with opened(settings) as database, provider(settings) as outside:
        store = open_store(settings, database)
        kie, pictures = outside.client(), outside.pictures()
        hands = Hands(Eyes(kie, pictures, store), kie, pictures, store, outside.policy)
        crew = Threads(WORKERS)
        parts = Parts(database.finder, database.leases, database.gate, hands, crew, outside.policy, utc_now)
        sweep = Sweep(parts, _bounds(narrowed, database), listener)
        started(sweep)
        try:
            return sweep.run()
        finally:
            crew.close()
            database.notes.put(AUDIT_REACHED, sweep.audit_key)


def _bounds(narrowed: Narrowed, database: Database) -> Bounds:
    return Bounds(
        until=utc_now() + narrowed.timeout,
        only=narrowed.only,
        limit=narrowed.limit,
        max_purchases=narrowed.max_purchases,
        audit=narrowed.audit,
        audit_from=database.notes.get(AUDIT_REACHED) if narrowed.only is None else None,
    )


@dataclass(frozen=True, slots=True)
class Preview:
    """`remembers`: our tables are there; without them memory is empty."""

    remembers: bool
    forecasts: Iterator[Forecast]


@contextmanager
def preview(settings: Settings, narrowed: Narrowed, *, offline: bool) -> Iterator[Preview]:
    """The dry run: the database is opened read-only, and nothing that could buy, store or write is built."""
    with looked_into(settings) as reader, provider(settings) as outside:
        store = NoStore() if reader.note(MARKER) is None else LocalReader(Path(settings.storage.path))
        eyes = None if offline else Eyes(outside.reader(), outside.pictures(), store)
        kie = None if offline else outside.reader()
        found = forecasts(_subjects(reader, outside.policy, narrowed), eyes, gate_of(reader, kie))
        yield Preview(reader.remembers, found)


def gate_of(reader: Reader, kie: KieReader | None = None) -> GateView:
    """The gate without opening it: a balance not known yet is asked for, else taken as enough."""
    view = reader.view()
    if view.balance is not None:
        return view
    asked = kie.credit() if kie is not None else None
    return replace(view, balance=asked.balance if isinstance(asked, Credits) else inf, balance_at=view.now)


def _subjects(reader: Reader, policy: Policy, narrowed: Narrowed) -> Iterator[Subject]:
    after: str | None = None
    given = 0
    while True:
        page = reader.finder.page(after, 200, narrowed.only)
        for track_id in page.work:
            held = reader.peek(track_id)
            if held.track is not None and (narrowed.limit is None or given < narrowed.limit):
                given += 1
                memory = notice(held.memory, held.track, policy, held.now)
                inline = _whole_image(reader, track_id) if held.track.image.digest is not None else None
                yield Subject(Case(held.track, memory, policy, held.now), inline)
        after = page.last
        if after is None:
            return


def _whole_image(reader: Reader, track_id: str) -> str | None:
    with reader.connection.reading():
        return AppTracks(reader.connection, reader.app).whole_image(track_id)
