"""Queries that are spelled once and run often: peewee takes longer to spell a query than SQLite to answer it."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from enum import Enum
from typing import Any

from peewee import BooleanField, Value

from reconciler.database import datetimes
from reconciler.database.fields import InstantField, ListField, WordField


class _Name(str):
    __slots__ = ()


class Slot(Value):
    """A value that is given when the statement runs."""

    def __init__(self, name: str) -> None:
        super().__init__(_Name(name), converter=False, unpack=False)


def slots(fields: Iterable[Any]) -> dict[Any, Slot]:
    """One slot for each field, named as the field is."""
    return {field: Slot(field.name) for field in fields}


class Statement:
    """`result`: the fields of ours that are selected, in order; None leaves a value as the driver gives it."""

    def __init__(self, db: Any, query: Any, result: Sequence[Any]) -> None:
        self._db = db
        self._sql, self._values = db.get_sql_context().sql(query).query()
        self._readers = [_reader(field) for field in result]
        self._names = [getattr(field, "name", None) for field in result]

    def run(self, **given: Any) -> int:
        """How many rows were written."""
        return int(self._execute(given).rowcount)

    def one(self, **given: Any) -> tuple[Any, ...] | None:
        row = self._execute(given).fetchone()
        return None if row is None else self._read(row)

    def rows(self, **given: Any) -> list[tuple[Any, ...]]:
        return [self._read(row) for row in self._execute(given)]

    def dicts(self, **given: Any) -> list[dict[Any, Any]]:
        return [dict(zip(self._names, row, strict=True)) for row in self.rows(**given)]

    def _execute(self, given: dict[str, Any]) -> Any:
        values = [_plain(given[value]) if type(value) is _Name else value for value in self._values]
        return self._db.execute_sql(self._sql, values)

    def _read(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        pairs = zip(row, self._readers, strict=True)
        return tuple(value if reader is None or value is None else reader(value) for value, reader in pairs)


def _reader(field: Any) -> Callable[[Any], Any] | None:
    special = isinstance(field, InstantField | ListField | WordField | BooleanField)
    return field.python_value if special else None


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return datetimes.own(value)
        case Enum():
            return value.value
        case tuple():
            return ListField().db_value(value)
        case _:
            return value
