"""The app's database, opened to look and to work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reconciler.app.errors import MemoryUnread, NoSuchTrack
from reconciler.config import Settings, policy_of
from reconciler.database import AppTable, Database, Reader, TimeHeard, Where, open_database, open_reader, printed_schema
from reconciler.ports import DatabaseError, Held


def known_track(settings: Settings, app: AppTable, peek: Callable[[str], Held], track_id: str) -> Held:
    """Of a track as a person named it; the lease tells its id as we write it. Raises NoSuchTrack, MemoryUnread."""
    held = _peeked(peek, app.canonical(track_id)) if _is_text(track_id) else None
    if held is None or (held.track is None and not (held.memory.purchases or held.memory.kept)):
        where = f"table {settings.database.table} of {settings.database.place}"
        raise NoSuchTrack(f"there is no track {track_id!r} in {where}, and nothing is remembered of one")
    return held


def _peeked(peek: Callable[[str], Held], track_id: str) -> Held:
    try:
        return peek(track_id)
    except DatabaseError:
        raise
    except Exception as error:
        why = f"what is remembered of track {track_id} in reconciler_memory cannot be read ({type(error).__name__})"
        raise MemoryUnread(f"{why}; run the version that wrote it, which may be a newer one") from error


def known_id(settings: Settings, app: AppTable, peek: Callable[[str], Held], track_id: str) -> str:
    """As we write it, of a track whose memory is for others to read. Raises NoSuchTrack."""
    try:
        return known_track(settings, app, peek, track_id).lease.track_id
    except MemoryUnread:
        return app.canonical(track_id)


def _is_text(argument: str) -> bool:
    """Bytes that are none are put into arguments as lone surrogates, which no database takes."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def file_of(settings: Settings) -> object:
    """SQLite's file. A connection goes on with the one it opened, though that was moved and another put in its place:
    purchases would be noted where nobody looks."""
    database = settings.database
    try:
        found = database.path.stat() if database.is_sqlite else None
    except OSError:
        return None  # opening it tells why
    return (found.st_dev, found.st_ino) if found is not None else None


@contextmanager
def looked_into(settings: Settings) -> Iterator[Reader]:
    """The app's database, only to read. DatabaseError says what is wrong with it."""
    reader = open_reader(_where(settings), policy_of(settings))
    try:
        yield reader
    finally:
        reader.close()


@contextmanager
def opened(settings: Settings, heard: TimeHeard | None = None, *, works: bool = True) -> Iterator[Database]:
    """The app's database to work in; our tables are created or updated. DatabaseError says what is wrong with it.

    `heard` is told the server's time before anything is done, see Connection. `works`: see `open_database`.
    """
    database = open_database(_where(settings), policy_of(settings), heard=heard, works=works)
    try:
        yield database
    finally:
        database.close()


def _where(settings: Settings) -> Where:
    database = settings.database
    renamed = {field: name for field, name in database.columns.model_dump().items() if field != name}
    return Where(database.url.get_secret_value(), database.table, renamed, database.schema_)


def own_schema(settings: Settings, engine: str) -> tuple[str, str]:
    """The SQL of our tables, and of an index on the app's table that finds stuck rows, as `engine` spells them."""
    where = _where(settings)
    schema, _, table = where.table.rpartition(".")
    home, image = f'"{schema}".' if schema else "", where.columns.get("image_url", "image_url")
    # Index and table are in one schema: SQLite wants it told of the index, PostgreSQL of the table.
    of_index, of_table = (home, "") if engine == "sqlite" else ("", home)
    index = f'CREATE INDEX IF NOT EXISTS {of_index}reconciler_without_image ON {of_table}"{table}" ("{image}") '
    return printed_schema(where, engine), f'{index}WHERE "{image}" IS NULL OR "{image}" = \'\';'
