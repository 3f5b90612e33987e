"""The app's rows: read with long values cut in SQL, written only if they are still as they were seen."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

from peewee import Case, fn

from reconciler.database import datetimes, dialect
from reconciler.database.connection import Connection
from reconciler.database.schema import AppTable
from reconciler.database.statements import Slot, Statement
from reconciler.domain.model import Cell, Track
from reconciler.domain.scope import COMPLETED
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

_TIMES = ("created_at", "updated_at")


class AppTracks:
    def __init__(self, connection: Connection, app: AppTable) -> None:
        self.connection, self.app = connection, app
        self._id = app.id == Slot("id")
        self._fields, columns = zip(*_columns(app), strict=True)
        self._row = self._select(*columns)
        self._stamp_of = self._select(stamp(app))
        self._image = self._select(app.column("image_url"))
        self._updated_at = self._select(dialect.timestamp(app.column("updated_at")))
        self._writing = cache(self._write)

    def read(self, track_id: str) -> Track | None:
        """One row; a field that cannot be used makes it flawed, never an exception."""
        rows = [dict(zip(self._fields, row, strict=True)) for row in self._row.rows(id=self.app.parse_id(track_id))]
        return _track(track_id, rows, self.app) if rows else None

    def whole_image(self, track_id: str) -> str | None:
        row = self._image.one(id=self.app.parse_id(track_id))
        return _clean(row[0]) if row and isinstance(row[0], str) else None

    def write(self, row: RowWrite) -> bool:
        """False: somebody else changed the row since it was seen, and nothing is written."""
        values = self._values(row)
        image = row.seen.image
        seen: dict[str, Any] = {"seen_image": image.text, "seen_status": row.seen.status}
        if image.digest is not None:
            seen |= {"seen_length": image.length, "seen_digest": image.digest}
        statement = self._writing(tuple(values), image.digest is not None)
        return statement.run(id=self.app.parse_id(row.seen.id), **values, **seen) == 1

    def stamp(self, track_id: str) -> str | None:
        row = self._stamp_of.one(id=self.app.parse_id(track_id))
        return None if row is None else _clean(row[0])

    def updated_at_after(self, row: RowWrite) -> datetime | None:
        """The `updated_at` that the row will have after the write, as it will be read."""
        return datetimes.parse(self._stamp(row)) if self.app.has("updated_at") else None

    def _select(self, *columns: Any) -> Statement:
        query = self.app.table.select(*columns).where(self._id).limit(2)
        return self.connection.statement(query, *(None for _ in columns))

    def _write(self, fields: tuple[str, ...], is_long: bool) -> Statement:
        image, status = self.app.column("image_url"), self.app.column("status")
        unchanged = dialect.same(image, Slot("seen_image"))
        if is_long:
            unchanged = (fn.length(image) == Slot("seen_length")) & (dialect.digest(image) == Slot("seen_digest"))
        values = {self.app.column(field): Slot(field) for field in fields} or {image: image}
        where = self._id & unchanged & dialect.same(status, Slot("seen_status"))
        return self.connection.statement(self.app.table.update(values).where(where))

    def _values(self, row: RowWrite) -> dict[str, Any]:
        """Only columns that exist, and never NULL."""
        values: dict[str, Any] = {
            "image_url": row.write.url,
            "resolution": row.write.resolution,
            "status": COMPLETED if row.write.revive else None,
            "updated_at": self._stamp(row) if self.app.has("updated_at") else None,
        }
        return {field: value for field, value in values.items() if value is not None and self.app.has(field)}

    def _stamp(self, row: RowWrite) -> str | int:
        found = self._updated_at.one(id=self.app.parse_id(row.seen.id))
        return datetimes.like(row.at, found[0] if found else None, self.app.types["updated_at"])


def stamp(app: AppTable) -> Any:
    """`Track.stamp` in SQL. '' where the table has neither column, never NULL."""
    updated_at = fn.coalesce(dialect.as_text(dialect.timestamp(app.column("updated_at"))), "")
    task_id = fn.coalesce(dialect.as_text(dialect.capped(app.column("task_id"), CAPS["task_id"])), "")
    return updated_at.concat("|").concat(task_id)


def _columns(app: AppTable) -> list[tuple[str, Any]]:
    image = app.column("image_url")
    is_text, is_long = dialect.is_text(image), dialect.is_long(image)
    shown = Case(None, [(is_long, fn.substr(image, 1, dialect.HEAD))], image)
    return [
        ("image_url", Case(None, [(is_text, shown)], dialect.capped(image, 0))),
        ("length", fn.length(image)),
        ("digest", Case(None, [(is_text & is_long, dialect.digest(image))], None)),
        ("stamp", stamp(app)),
        *((field, dialect.capped(app.column(field), cap)) for field, cap in CAPS.items() if app.has(field)),
        *((field, dialect.timestamp(app.column(field))) for field in _TIMES if app.has(field)),
    ]


def _track(track_id: str, rows: list[dict[str, Any]], app: AppTable) -> Track:
    row = rows[0]
    times: dict[str, Any] = {field: datetimes.parse(row.pop(field)) for field in _TIMES if field in row}
    length, digest, stamped = row.pop("length"), row.pop("digest"), row.pop("stamp")
    flaw = "two rows have this id" if len(rows) > 1 else _flaw(row, app)
    texts: dict[str, Any] = {field: _clean(text) if isinstance(text, str) else None for field, text in row.items()}
    text = texts.pop("image_url")
    image = Cell(text, length if text is not None else 0, digest)
    texts["stamp"] = _clean(stamped)
    return Track(track_id, image, has_resolution=app.has("resolution"), flaw=flaw, **texts, **times)


def _flaw(row: Mapping[str, Any], app: AppTable) -> str | None:
    for field, value in row.items():
        if isinstance(value, bytes):
            return f"column {app.names[field]} holds something else than text"
        if isinstance(value, str) and not _is_clean(value):
            return f"column {app.names[field]} holds text that is not UTF-8"
    return None


def _is_clean(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _clean(text: str) -> str:
    """Bytes that are no UTF-8 were read as lone surrogates."""
    return text if _is_clean(text) else text.encode("utf-8", "replace").decode()
