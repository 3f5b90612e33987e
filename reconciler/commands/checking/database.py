"""`check` of the database: it answers, lets us do what we have to, and holds a table that we can work on."""

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from reconciler.app.inside import looked_into
from reconciler.commands.checking.lines import Line, failed, ok, unfit, warning
from reconciler.config import Settings
from reconciler.database import (
    DatabaseDenied,
    DatabaseError,
    DatabaseUnfit,
    Handing,
    Reader,
    guests,
    rights,
)
from reconciler.database.connection import connect
from reconciler.database.schema import OPTIONAL
from reconciler.database.tables import HAND_OVER
from reconciler.domain.scope import ARCHIVED, UNFINISHED

LOSS = {
    "task_id": "the music task is not asked for a cover",
    "title": "no prompt is made of it",
    "prompt": "no prompt is made of it",
    "mood": "no prompt is made of it",
    "vibe": "no prompt is made of it",
    "summary": "no prompt is made of it",
    "extended_prompt": "neither prompts nor image tasks are found in it",
    "extended_prompt_image": "the image prompt is taken from other columns",
    "audio_url": "unfinished and archived rows are never in scope",
    "resolution": "the size found is not written",
    "created_at": "rows are aged from when they are first seen",
    "updated_at": "others' changes are noticed by the picture and the status alone",
}
"""What the absence of an optional column costs."""
SHOWN = 5
"""Ids that are named where there may be many."""
BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite writes too where it is there, whoever made it."""


def check_database(settings: Settings) -> Generator[Line, None, str | None]:
    """Every line; returns the id of the store that the database knows."""
    problems: Sequence[guests.Problem] = ()
    try:
        if not settings.database.is_sqlite:
            problems = yield from _server(settings)
        with looked_into(settings) as reader:
            if settings.database.is_sqlite:
                yield _writable(settings)
            yield from _table(settings, reader)
            return reader.known_store()
    except DatabaseError as error:
        if not _is_told(error, problems):
            yield unfit("database", str(error)) if isinstance(error, DatabaseUnfit) else failed("database", str(error))
    return None


def _is_told(error: DatabaseError, problems: Sequence[guests.Problem]) -> bool:
    """It is what comes of a missing right, which was named with what helps."""
    named = any(problem.what in str(error) for problem in problems)
    return named or (isinstance(error, DatabaseDenied) and any(problem.fatal for problem in problems))


# -- where it is -------------------------------------------------------------------------------------------------------


def _writable(settings: Settings) -> Line:
    """SQLite writes beside its file too. Rights alone are looked at: nothing is changed."""
    path, place = settings.database.path.resolve(), settings.database.place
    if not os.access(path, os.W_OK):
        return unfit("database", f"{place} opens, and may not be written: let the reconciler's user write it")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        said = f"{place} opens, and its directory may not be written, where SQLite keeps its journal: allow that too"
        return unfit("database", said)
    for beside in (path.with_name(f"{path.name}{ending}") for ending in BESIDE):
        if _is_shut(beside):
            said = f"{place} opens, and {beside.name} beside it may not be written: let the reconciler's user write it"
            return unfit("database", said)
    return ok("database", f"{place} opens, and may be written")


def _is_shut(path: Path) -> bool:
    """The app makes and removes it as it goes: what is not there before and after is not there."""
    return path.exists() and not os.access(path, os.W_OK) and path.exists()


def _server(settings: Settings) -> Generator[Line, None, Sequence[guests.Problem]]:
    database = settings.database
    connection = connect(database.url.get_secret_value(), None, schema=database.schema_, readonly=True)
    with closing(connection), connection.snapshot():
        version, role = guests.version_and_role(connection.db)
        unwritable = guests.unwritable(connection.db)
        problems = list(rights.missing(connection.db, _wish(settings)))
    place = f"{database.place} answers: PostgreSQL {version}, as role {role}"
    said = f"{place}; {unwritable.why}. {unwritable.todo}" if unwritable else place
    yield unfit("database", said) if unwritable else ok("database", said)
    yield from (_missing(problem) for problem in problems)
    if not problems:
        yield ok("rights", f"{role} may do all that it has to")
    return problems


def _wish(settings: Settings) -> rights.Wish:
    database = settings.database
    schema, _, table = database.table.rpartition(".")
    columns = database.columns
    written = [columns.image_url, columns.resolution, columns.updated_at]
    if database.restore_archived:
        written.append(columns.status)
    return rights.Wish(schema or None, table, list(columns.model_dump().values()), written, database.schema_)


def _missing(problem: guests.Problem) -> Line:
    said = f"{problem.what}. Run: {problem.statement};"
    return unfit("rights", said) if problem.fatal else warning("rights", said)


# -- what is in it -----------------------------------------------------------------------------------------------------


def _table(settings: Settings, reader: Reader) -> Iterator[Line]:
    app = reader.app
    yield ok("table", f"{settings.database.table}: ids are {app.key}{'' if app.unique else ', not unique'}")
    if not app.unique:
        yield warning("table", f"column {app.names['id']} is not unique: rows that share an id are left alone")
    for field in OPTIONAL:
        if not app.has(field):
            yield warning("table", f"{app.unused.get(field, f'there is no column {field}')}: {LOSS[field]}")
    yield _tracks(settings, reader)
    yield from _nameless(settings, reader)
    yield _own_tables(settings, reader)
    yield from _handed_over(settings, reader)


def _own_tables(settings: Settings, reader: Reader) -> Line:
    if not reader.remembers:
        return ok("own tables", "not there yet: the first `run` creates them")
    lost = f", but for {HAND_OVER}, which was lost: {_made_anew(settings, reader)}" if reader.lacks else ""
    return (warning if lost else ok)("own tables", f"there, and of this program's version{lost}")


def _made_anew(settings: Settings, reader: Reader) -> str:
    """Where the app can reach it: beside its table."""
    with reader.connection.reading():
        db, home = reader.connection.db, str(reader.app.schema)
        may_create = settings.database.is_sqlite or guests.may_create_in(db, home)
    return "the next `run` makes it anew" if may_create else "make it as told above under rights"


def _nameless(settings: Settings, reader: Reader) -> Iterator[Line]:
    """No command can name them."""
    if rows := reader.nameless_rows():
        table = settings.database.table
        have = f"1 row of {table} has" if rows == 1 else f"{rows} rows of {table} have"
        said = f"{have} no usable id (NULL, empty, or neither a text nor a whole number)"
        yield warning("tracks", f"{said}: invalid for `status`, and never worked; give each an id")


def _handed_over(settings: Settings, reader: Reader) -> Iterator[Line]:
    astray = Handing(reader.connection, reader.app).astray()
    if astray:
        named = [repr(track_id[:80]) for track_id in dict.fromkeys(astray)]
        more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
        tasks = "1 task is for an id" if len(astray) == 1 else f"{len(astray)} tasks are for ids"
        said = f"{HAND_OVER}: {tasks} that no row of {settings.database.table} has so written, and nobody asks for "
        todo = "write track_id as that table does, or remove what is of no use"
        yield warning(
            "handed over", f"{said}{'it' if len(astray) == 1 else 'them'}: {', '.join(named[:SHOWN])}{more}; {todo}"
        )


def _tracks(settings: Settings, reader: Reader) -> Line:
    rows = reader.rows_by_status()
    scopes = {status: _scope(status, settings, has_audio=reader.app.has("audio_url")) for status in rows}
    counts = (f"{rows[status]} {'NULL' if status is None else status}{scope}" for status, scope in scopes.items())
    told = ", ".join(sorted(counts)) or "the table is empty"
    if rows and not any(scopes.values()):
        return warning("tracks", f"{told}; no row is in scope: see database.statuses")
    return ok("tracks", told)


def _scope(status: object, settings: Settings, *, has_audio: bool) -> str:
    database = settings.database
    if status in database.excluded_statuses:
        return ""
    if status in database.statuses:
        return " (in scope)"
    if has_audio and status in UNFINISHED:
        return " (in scope once old, with audio)"
    return " (in scope with audio)" if has_audio and status == ARCHIVED and database.restore_archived else ""
