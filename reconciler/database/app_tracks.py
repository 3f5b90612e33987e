"""The app's rows: read with long values cut in SQL, written only if they are still as they were seen."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache, reduce
from operator import or_
from typing import Any

from peewee import Case, fn

from reconciler.database import datetimes
from reconciler.database.connection import Connection
from reconciler.database.dialect import bindable, flag
from reconciler.database.schema import AppTable
from reconciler.database.statements import Answer, Question, Several, Slot, Statement
from reconciler.domain.model import Cell, Track
from reconciler.domain.policy import Policy
from reconciler.domain.scope import COMPLETED, settles_at
from reconciler.ports import RowWrite

CAPS = {
    "status": 100,
    "task_id": 500,
    "title": 20_000,
    "prompt": 20_000,
    "mood": 20_000,
    "vibe": 20_000,
    "summary": 20_000,
    "extended_prompt": 200_000,
    "extended_prompt_image": 20_000,
    "audio_url": 20_000,
    "resolution": 100,
}
"""Characters read of each text. The app notes task ids at the end of `extended_prompt`, so that one is read far."""

NAMELESS = "its id is empty, or neither a text nor a whole number"

_TIMES = ("created_at", "updated_at")


class AppTracks:
    def __init__(self, connection: Connection, app: AppTable) -> None:
        self.connection, self.app = connection, app
        self._fields, self._columns = zip(*_columns(app), strict=True)
        self._rows = Several(self._spell_rows)
        this = app.id == Slot("id")
        updated_at = app.dialect.timestamp(app.column("updated_at"))
        image = app.column("image_url")
        self._image = connection.statement(app.table.select(image).where(this).limit(1), None)
        is_shown = flag(app.dialect.same(image, Slot("url")))
        written = app.table.select(stamp(app), updated_at, is_shown).where(this).limit(2)
        self._written = connection.statement(written, None, None, None)
        samples = app.table.select(app.told_id, updated_at, _sample(app))
        self._updated_at = Several(lambda ids: connection.statement(samples.where(app.id.in_(ids)), None, None, None))
        self._unheld = Several(self._spell_unheld)
        self._writing = cache(self._spell_write)

    # -- reading -------------------------------------------------------------------------------------------------

    def of(self, track_ids: Sequence[str]) -> Question:
        """To be asked, and read by `tracks`."""
        return self._rows.given([self.app.parse_id(track_id) for track_id in track_ids])

    def tracks(self, answer: Answer) -> dict[str, Track]:
        """Those whose row is there; a field that cannot be used makes one flawed, never an exception."""
        found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for key, *row in answer.rows:
            found[str(key)].append(dict(zip(self._fields, row, strict=True)))
        return {track_id: _track(track_id, rows, self.app) for track_id, rows in found.items()}

    def whole_image(self, track_id: str) -> str | None:
        row = self._image.one(id=self.app.parse_id(track_id))
        return _clean(row[0]) if row and isinstance(row[0], str) else None

    # -- writing -------------------------------------------------------------------------------------------------

    def unheld(self, track_ids: Sequence[str]) -> list[Question]:
        """Locks the rows that are to be written, but for those that somebody else has locked: to be asked before
        `updated_at`, so that nobody is waited for. None where rows are not locked."""
        ids = [self.app.parse_id(track_id) for track_id in track_ids]
        return [self._unheld.given(ids)] if ids and self.app.dialect.locks_rows else []

    def updated_at(self, track_ids: Sequence[str]) -> Question:
        """To be asked before `writes`, which are told of the answer."""
        return self._updated_at.given([self.app.parse_id(track_id) for track_id in track_ids])

    def is_others(self, row: RowWrite, updated_at: Answer, policy: Policy, now: datetime) -> bool:
        """Somebody wrote it since it was seen, and is left alone with it for the time of grace; or gave another row its
        id."""
        times = [datetimes.parse(value) for key, value, _ in updated_at.rows if str(key) == row.seen.id]
        if len(times) > 1:
            return True
        at = next(iter(times), None)
        if at == row.seen.updated_at:
            return False
        return settles_at(replace(row.seen, updated_at=at), row.otherwise.memory, policy, now) is not None

    def writes(self, rows: Iterable[RowWrite], updated_at: Answer) -> list[Question]:
        """Two questions for each row: the write, which touches no row where somebody else changed it since it was seen;
        and what it is known by afterwards, to be read by `shows_another` and `known_by`."""
        samples = {str(key): sample for key, _, sample in updated_at.rows}
        asked: list[Question] = []
        for row in rows:
            key = self.app.parse_id(row.seen.id)
            asked += [self._write(row, key, samples.get(row.seen.id)), self._written.given(id=key, url=row.write.url)]
        return asked

    def shows_another(self, row: RowWrite, answer: Answer) -> bool:
        """The row was written and shows another picture at once, as by a trigger."""
        return row.write.url is not None and any(not is_shown for *_, is_shown in answer.rows)

    def known_by(self, answer: Answer) -> tuple[str | None, Any]:
        """Stamp and `updated_at` of a row, as they are read."""
        (found,) = answer.rows or [(None, None, None)]
        return (None if found[0] is None else _clean(found[0])), datetimes.parse(found[1])

    def _write(self, row: RowWrite, key: Any, sample: object) -> Question:
        values = self._values(row, sample)
        image = row.seen.image
        seen: dict[str, Any] = {"seen_image": image.text, "seen_status": row.seen.status}
        if self.app.has("task_id"):
            seen |= {"seen_song": row.seen.task_id}
        if image.digest is not None:
            seen |= {"seen_length": image.length, "seen_digest": image.digest}
        return self._writing(tuple(values), image.digest is not None).given(id=key, **values, **seen)

    def _values(self, row: RowWrite, sample: object) -> dict[str, Any]:
        """Only columns that exist, and never NULL."""
        types = self.app.types
        values: dict[str, Any] = {
            "image_url": row.write.url,
            "resolution": row.write.resolution,
            "status": COMPLETED if row.write.revive else None,
            "updated_at": self.app.dialect.like(row.at, sample, types["updated_at"]) if "updated_at" in types else None,
        }
        return {field: value for field, value in values.items() if value is not None and self.app.has(field)}

    # -- spelling ------------------------------------------------------------------------------------------------

    def _spell_rows(self, ids: list[Slot]) -> Statement:
        query = self.app.table.select(self.app.told_id, *self._columns)
        return self.connection.statement(query.where(self.app.id.in_(ids)), None, *(None for _ in self._columns))

    def _spell_unheld(self, ids: list[Slot]) -> Statement:
        rows = self.app.table.select(self.app.told_id).where(self.app.id.in_(ids))
        return self.connection.statement(self.app.dialect.locked(rows, skip=True, key=False), None)

    def _spell_write(self, fields: tuple[str, ...], is_long: bool) -> Statement:
        dialect, (image, status, song) = self.app.dialect, map(self.app.column, ("image_url", "status", "task_id"))
        unchanged = dialect.same(image, Slot("seen_image"))
        if is_long:
            unchanged = (fn.length(image) == Slot("seen_length")) & (dialect.digest(image) == Slot("seen_digest"))
        values = {self.app.raw(field): Slot(field) for field in fields} or {self.app.raw("image_url"): image}
        unchanged &= dialect.same(status, Slot("seen_status"))
        if self.app.has("task_id"):
            unchanged &= dialect.same(dialect.capped(song, CAPS["task_id"]), Slot("seen_song"))
        return self.connection.statement(self.app.table.update(values).where((self.app.id == Slot("id")) & unchanged))


def stamp(app: AppTable) -> Any:
    """`Track.stamp` in SQL. '' where the table has neither column, never NULL."""
    dialect = app.dialect
    updated_at = fn.coalesce(dialect.as_text(dialect.timestamp(app.column("updated_at"))), "")
    task_id = fn.coalesce(dialect.as_text(dialect.capped(app.column("task_id"), CAPS["task_id"])), "")
    return updated_at.concat("|").concat(task_id)


def stamp_differs(app: AppTable, known: Any) -> Any:
    """`known` is of another row than this, or of this one before it was changed."""
    dialect, changed = app.dialect, app.dialect.differ(known, stamp(app))
    told = [field for field in ("updated_at", "task_id") if app.has(field)]
    if not dialect.has_affinity or len(told) < 2:
        return changed
    # Most are as they were, which is found out sooner.
    updated_at, task_id = (app.column(field) for field in told)
    plain = updated_at.concat("|").concat(fn.coalesce(task_id, ""))
    odd = (dialect.is_wrong(app.column(field), app.types[field]) for field in told)
    return reduce(or_, odd, dialect.differ(known, plain)) & changed


def _sample(app: AppTable) -> Any:
    """A value in the form of `updated_at`; of a column beside it that was declared alike, where it has none."""
    updated_at, created_at = (app.dialect.timestamp(app.column(field)) for field in ("updated_at", "created_at"))
    is_alike = app.types.get("updated_at", "").upper() == app.types.get("created_at", "").upper()
    return fn.coalesce(updated_at, created_at) if is_alike else updated_at


def _columns(app: AppTable) -> list[tuple[str, Any]]:
    dialect, image = app.dialect, app.column("image_url")
    is_text = dialect.is_text(image)
    return [
        ("image_url", Case(None, [(is_text, dialect.cut(image))], dialect.capped(image, 0))),
        ("length", fn.length(image)),
        ("digest", Case(None, [(is_text & dialect.is_long(image), dialect.digest(image))], None)),
        ("stamp", stamp(app)),
        ("named", flag(dialect.usable_id(app.column("id")))),
        *((field, dialect.capped(app.column(field), cap)) for field, cap in CAPS.items() if app.has(field)),
        *((field, dialect.timestamp(app.column(field))) for field in _TIMES if app.has(field)),
    ]


def _track(track_id: str, rows: list[dict[str, Any]], app: AppTable) -> Track:
    row = rows[0]
    times: dict[str, Any] = {field: datetimes.parse(row.pop(field)) for field in _TIMES if field in row}
    length, digest, stamped = row.pop("length"), row.pop("digest"), row.pop("stamp")
    named = row.pop("named")
    flaw = "two rows have this id" if len(rows) > 1 else _flaw(row, app) if named else NAMELESS
    texts: dict[str, Any] = {field: _clean(text) if isinstance(text, str) else None for field, text in row.items()}
    text = texts.pop("image_url")
    image = Cell(text, length if text is not None else 0, digest)
    texts["stamp"] = _clean(stamped)
    return Track(track_id, image, has_resolution=app.has("resolution"), flaw=flaw, **texts, **times)


def _flaw(row: Mapping[str, Any], app: AppTable) -> str | None:
    for field, value in row.items():
        if isinstance(value, bytes):
            return f"column {app.names[field]} holds something else than text"
        if isinstance(value, str) and not bindable(value):
            return f"column {app.names[field]} holds text that is not UTF-8"
    return None


def _clean(text: str) -> str:
    """Bytes that are no UTF-8 were read as lone surrogates."""
    return text if bindable(text) else text.encode("utf-8", "replace").decode()
