"""The database and the store, opened and checked against each other."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from reconciler.config import Settings, policy_of
from reconciler.database import MARKER, Database, Reader, open_database, open_reader
from reconciler.database.migrations import schema_sql
from reconciler.domain.policy import Policy
from reconciler.images.local_store import LocalStore
from reconciler.ports import Clock, Held, StoreError


def utc_now() -> datetime:
    return datetime.now(UTC)


class StoreUnfit(Exception):
    """The store is not the one that the database knows, or cannot be used; nothing was changed."""


class NoSuchTrack(Exception):
    """Neither the app nor we know the id."""


def known_track(settings: Settings, peek: Callable[[str], Held], track_id: str) -> Held:
    held = peek(track_id)
    if held.track is None and not (held.memory.purchases or held.memory.kept):
        where = f"table {settings.database.table} of {settings.database.place}"
        raise NoSuchTrack(f"there is no track {track_id} in {where}, and nothing is remembered of one")
    return held


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
