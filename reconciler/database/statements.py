"""Queries that are spelled once and run often: peewee takes longer to spell a query than a database to answer it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import cache, cached_property
from typing import Any, NamedTuple, Protocol

from peewee import BooleanField, Value

from reconciler.database import datetimes
from reconciler.database.fields import InstantField, ListField, WordField

_AS_IT_IS = frozenset((str, type(None), int, bool, float))


class _Name(str):
    __slots__ = ()


class Slot(Value):
    """A value that is given when the statement runs."""

    def __init__(self, name: str) -> None:
        super().__init__(_Name(name), converter=False, unpack=False)


def slots(fields: Iterable[Any]) -> dict[Any, Slot]:
    """One slot for each field, named as the field is."""
    return {field: Slot(field.name) for field in fields}


class Answer(NamedTuple):
    """What was read; or how many rows were written."""

    rows: list[tuple[Any, ...]]
    written: int


class Asked(Protocol):
    db: Any

    def ask(self, *questions: "Question") -> list[Answer]: ...


@dataclass(frozen=True, slots=True)
class Question:
    """A statement with its values, to be carried out together with others."""

    statement: "Statement"
    values: list[Any]


class Statement:
    """`result`: the fields of ours that are selected, in order; None leaves a value as the driver gives it."""

    def __init__(self, connection: Asked, query: Any, result: Sequence[Any]) -> None:
        self._connection, self._query = connection, query
        readers = ((at, _reader(field)) for at, field in enumerate(result))
        self._readers = [(at, reader) for at, reader in readers if reader is not None]
        self._names = [getattr(field, "name", None) for field in result]

    @cached_property
    def _spelled(self) -> tuple[str, list[Any]]:
        sql, values = self._connection.db.get_sql_context().sql(self._query).query()
        return sql, values

    @cached_property
    def _slots(self) -> list[tuple[int, str]]:
        return [(at, value) for at, value in enumerate(self._spelled[1]) if type(value) is _Name]

    @property
    def sql(self) -> str:
        return self._spelled[0]

    def given(self, **given: Any) -> Question:
        values = list(self._spelled[1])
        for at, name in self._slots:
            value = given[name]
            values[at] = value if type(value) in _AS_IT_IS else _plain(value)
        return Question(self, values)

    def run(self, **given: Any) -> int:
        """How many rows were written."""
        return self._ask(given).written

    def one(self, **given: Any) -> tuple[Any, ...] | None:
        return next(iter(self.rows(**given)), None)

    def rows(self, **given: Any) -> list[tuple[Any, ...]]:
        return self._ask(given).rows

    def named(self, row: tuple[Any, ...]) -> dict[Any, Any]:
        return dict(zip(self._names, row, strict=True))

    def answer(self, rows: list[Any], count: int) -> Answer:
        return Answer([self._read(row) for row in rows] if self._readers else rows, count)

    def _ask(self, given: dict[str, Any]) -> Answer:
        return self._connection.ask(self.given(**given))[0]

    def _read(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        values = list(row)
        for at, reader in self._readers:
            if values[at] is not None:
                values[at] = reader(values[at])
        return tuple(values)


class Several:
    """A statement about several values at once, spelled once for each power of two of them."""

    def __init__(self, spell: Callable[[list[Slot]], Statement]) -> None:
        self._spelled = cache(lambda count: spell([Slot(f"value_{number}") for number in range(count)]))

    def given(self, values: Sequence[Any]) -> Question:
        """At least one value."""
        count = 1 << (len(values) - 1).bit_length()
        padded = [*values, *[values[-1]] * (count - len(values))]
        return self._spelled(count).given(**{f"value_{number}": value for number, value in enumerate(padded)})


class Rows:
    """Rows to be added to a table together, spelled once for each number of them."""

    def __init__(self, connection: Asked, model: Any, fields: Sequence[Any]) -> None:
        def spell(count: int) -> Statement:
            named = [{field: Slot(f"{field.name}_{number}") for field in fields} for number in range(count)]
            return Statement(connection, model.insert_many(named), ())

        self._spelled = cache(spell)

    def given(self, rows: Sequence[Mapping[str, Any]]) -> Question:
        """At least one."""
        values = {f"{name}_{number}": value for number, row in enumerate(rows) for name, value in row.items()}
        return self._spelled(len(rows)).given(**values)


def _reader(field: Any) -> Callable[[Any], Any] | None:
    special = isinstance(field, InstantField | ListField | WordField | BooleanField)
    return field.python_value if special else None


_LIST = ListField()


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return datetimes.own(value)
        case Enum():
            return value.value
        case tuple():
            return _LIST.db_value(value)
        case _:
            return value
