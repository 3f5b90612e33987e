"""The `check` command: everything a run rests on, looked at once; nothing is changed in the database."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from secrets import token_hex

from peewee import fn

from reconciler.app import Provider, Served, looked_into, provider, served
from reconciler.config import Settings, policy_of
from reconciler.database import MARKER, DatabaseError, DatabaseMissing, Reader, SchemaError
from reconciler.database.schema import OPTIONAL
from reconciler.domain.findings import Call, Trouble
from reconciler.domain.models import MODELS
from reconciler.domain.scope import UNFINISHED
from reconciler.domain.urls import host_of
from reconciler.images import marker
from reconciler.images.disk import explained, write_new
from reconciler.ports import StoreError

FAILED, UNFIT = 1, 78


class Outcome(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Line:
    """One finding. `code`: the exit code that it asks for."""

    what: str
    outcome: Outcome
    said: str
    code: int = 0


def ok(what: str, said: str) -> Line:
    return Line(what, Outcome.OK, said)


def warning(what: str, said: str) -> Line:
    return Line(what, Outcome.WARNING, said)


def failed(what: str, said: str, code: int) -> Line:
    return Line(what, Outcome.FAILED, said, code)


def check(settings: Settings, *, offline: bool) -> Iterator[Line]:
    """Every line, whatever the others say."""
    yield ok("configuration", "read, and nothing in it contradicts itself")
    yield from _budget(settings)
    yield from _models(settings)
    try:
        with looked_into(settings) as reader:
            yield from _database(settings, reader)
            known = reader.note(MARKER)
    except DatabaseError as error:
        unfit = isinstance(error, SchemaError | DatabaseMissing)
        yield failed("database", str(error), UNFIT if unfit else FAILED)
        known = None
    yield from _storage(settings, known)
    if offline:
        yield ok("kie", "not asked (--offline)")
        return
    with provider(settings) as outside:
        yield _kie(settings, outside)


def exit_code(lines: list[Line]) -> int:
    return max((line.code for line in lines), default=0)


# -- configuration -------------------------------------------------------------------------------------------------


def _budget(settings: Settings) -> Iterator[Line]:
    for key in ("per_day", "per_hour", "per_track", "attempts_per_track"):
        if getattr(settings.budget, key) == 0:
            yield warning("budget", f"budget.{key} = 0: nothing is ever bought, only what exists is used")
    if settings.budget.per_hour > settings.budget.per_day > 0:
        yield warning("budget", "budget.per_hour is more than budget.per_day, so it limits nothing")


def _models(settings: Settings) -> Iterator[Line]:
    target = policy_of(settings).target
    for name in (settings.kie.model, *settings.kie.fallback_models):
        model = MODELS[name]
        said = f"{name}: {model.price:g} credits a picture"
        if model.reaches(target.width, target.height, target.aspect_tolerance):
            yield ok("model", f"{said}, reaches {target.resolution}")
        else:
            yield warning("model", f"{said}, does not reach {target.resolution}")


# -- database ------------------------------------------------------------------------------------------------------

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


def _database(settings: Settings, reader: Reader) -> Iterator[Line]:
    app = reader.app
    yield _writable(settings)
    yield ok("table", f"{settings.database.table}: ids are {app.key}{'' if app.unique else ', not unique'}")
    if not app.unique:
        yield warning("table", f"column {app.names['id']} is not unique: rows that share an id are left alone")
    for field in OPTIONAL:
        if not app.has(field):
            yield warning("table", f"there is no column {field}: {LOSS[field]}")
    yield ok("tracks", _counts(settings, reader))
    if reader.remembers:
        yield ok("own tables", "there, and of this program's version")
    else:
        yield ok("own tables", "not there yet: the first `run` creates them")


def _writable(settings: Settings) -> Line:
    """SQLite writes beside its file too. Rights alone are looked at: nothing is changed."""
    path, place = settings.database.path, settings.database.place
    if not os.access(path, os.W_OK):
        return failed("database", f"{place} opens, and may not be written: let the reconciler's user write it", UNFIT)
    if not os.access(path.absolute().parent, os.W_OK | os.X_OK):
        said = f"{place} opens, and its directory may not be written, where SQLite keeps its journal: allow that too"
        return failed("database", said, UNFIT)
    return ok("database", f"{place} opens, and may be written")


def _counts(settings: Settings, reader: Reader) -> str:
    status = reader.app.column("status")
    with reader.connection.reading():
        query = reader.app.table.select(status, fn.count()).group_by(status)
        found: dict[object, int] = dict(reader.connection.rows(query))
    at_once = set(settings.database.statuses) - set(settings.database.excluded_statuses)
    parts = [
        f"{count} {'NULL' if status is None else status}{_scope(status, at_once)}" for status, count in found.items()
    ]
    return ", ".join(sorted(parts)) or "the table is empty"


def _scope(status: object, at_once: set[str]) -> str:
    if status in at_once:
        return " (in scope)"
    return " (in scope once old, with audio)" if status in UNFINISHED else ""


# -- storage -------------------------------------------------------------------------------------------------------


def _storage(settings: Settings, known: str | None) -> Iterator[Line]:
    root = Path(settings.storage.path)
    if known is None and not root.exists():
        yield _can_be_made(root)
        return
    try:
        yield _marked(root, known)
        yield from _probe(settings, root)
    except StoreError as error:
        yield failed("storage", str(error), UNFIT)


def _can_be_made(root: Path) -> Line:
    parent = next(folder for folder in root.absolute().parents if folder.exists())
    if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
        return ok("storage", f"{root} is not there yet: the first `run` creates it")
    return failed("storage", f"{root} cannot be made in {parent}: let the reconciler's user write there", UNFIT)


def _marked(root: Path, known: str | None) -> Line:
    if known is None and not (root / marker.NAME).exists():
        return ok("storage", f"{root} is no store yet: the first `run` makes it one")
    found = marker.read(root)
    if known not in (None, found):
        said = f"{root} is another store than the database knows: mount the right volume"
        return failed("storage", said, UNFIT)
    return ok("storage", f"{root} is {'a store' if known is None else 'the store that the database knows'}")


def _probe(settings: Settings, root: Path) -> Iterator[Line]:
    """A file as pictures will be: written, read back, got through `public_url`, removed."""
    key, data = f"tracks/reconciler-check/{token_hex(8)}.png", f"reconciler check {token_hex(16)}".encode()
    path = root / key
    with explained("write a probe", path):
        made = [folder for folder in (path.parent, path.parent.parent) if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_new(path, data)
            back = path.read_bytes()
            through = served(settings, key)
        finally:
            path.unlink(missing_ok=True)
            for folder in made:
                with suppress(OSError):  # somebody stores a picture there meanwhile
                    folder.rmdir()
    if back != data:
        yield failed("storage", f"{root}: what is read back is not what was written; check the disk", UNFIT)
    else:
        yield ok("storage", f"{root} takes a file and gives it back")
    yield _public(settings, through, data)


def _public(settings: Settings, through: Served, data: bytes) -> Line:
    url = settings.storage.public_url
    if through.status == 200 and through.data == data:
        return ok("public_url", f"{url} serves what is stored")
    if through.status is None and host_of(url) in {"localhost", "127.0.0.1", "::1"}:
        return warning("public_url", f"{url}: nothing listens there now ({through.detail}); pictures are not seen yet")
    said = "answered 200 with something else" if through.status == 200 else through.detail
    return failed("public_url", f"{url} does not serve {settings.storage.path}: {said}", UNFIT)


# -- Kie -----------------------------------------------------------------------------------------------------------


def _kie(settings: Settings, outside: Provider) -> Line:
    answer = outside.reader().credit()
    host = host_of(settings.kie.base_url)
    if isinstance(answer, Trouble):
        unauthorized = answer.call is Call.UNAUTHORIZED
        todo = "set kie.api_key or the credential kie_api_key to a valid key" if unauthorized else "try again later"
        return failed("kie", f"{host}: {answer.call}: {answer.detail}; {todo}", FAILED)
    said = f"{host} takes the key; {answer.balance:g} credits"
    if answer.balance < settings.budget.min_credits:
        return warning(
            "kie", f"{said}, less than budget.min_credits = {settings.budget.min_credits:g}: nothing is bought"
        )
    return ok("kie", said)
