"""What engines spell or do differently. Each is a class of its own, in `sqlite` and `postgres`."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from enum import Enum, StrEnum, auto
from typing import Any

from peewee import Case, Column, fn

from reconciler.database.errors import DatabaseError

LONG = 2000
"""Characters. Longer pictures, and inline ones, are cut in SQL and told apart by length and SHA-256."""

HEAD = 100

GENERATED = "generated "
"""Stands before the type of a column that nobody can write."""

Questions = list[tuple[str, list[Any]]]
"""Statements with their values."""
Answers = list[tuple[list[Any], int]]
"""Of each its rows, and how many rows it touched."""


class Kind(Enum):
    """Of a transaction."""

    READING = auto()
    """Several queries that see the same instant."""
    WRITING = auto()
    GATE = auto()
    """Writing, and the only one that decides about money or wakes who was held back."""


class Key(StrEnum):
    """How an id, a text in our tables, is written in a comparison with the app's column."""

    INTEGER = "integer"
    TEXT = "text"
    UUID = "uuid"
    UNTYPED = "untyped"
    """SQLite compares nothing but equal types here, so ids are compared as text, without an index."""


class Dialect(ABC):
    has_affinity: bool
    """Values are made to fit what they are compared with; else what does not fit is an error."""
    tells_time: bool
    """Leases and purchases go by the server's clock, which may differ from this machine's."""
    locks_rows: bool
    """Who writes to the app's table locks rows of it, and we can too: it is neither a view nor locked as a whole."""
    stretch: int
    """Rows that are looked through at once: where nobody can commit meanwhile, for some hundredths of a second; else
    for a few seconds, of the minute that a statement may take."""

    # -- connections ---------------------------------------------------------------------------------------------

    @abstractmethod
    def begin(
        self, db: Any, kind: Kind, first: Questions, *, commit: bool = False, own: bool = False
    ) -> tuple[datetime | None, Answers]:
        """Begin a transaction and ask, and commit if that is all. Also returns the server's time, read after the lock,
        where it counts. Unless only our `own` tables are asked, fails where rows of the app's are kept from us."""

    @abstractmethod
    def abandon(self, db: Any) -> None:
        """Roll back whatever can be rolled back. Raises nothing that matters."""

    @abstractmethod
    def is_lost(self, db: Any) -> bool:
        """The connection was ended, as far as is known without using it."""

    def using(self, db: Any) -> AbstractContextManager[object]:  # noqa: ARG002
        """Held while the connection is used."""
        return nullcontext()

    @abstractmethod
    def ask(self, db: Any, questions: Questions, *, commit: bool = False) -> Answers:
        """Execute statements in order, and commit if that is all."""

    @abstractmethod
    def translated(self, error: Exception, place: str) -> DatabaseError:
        """The driver's error, or peewee's wrapper around it, as one of ours."""

    @abstractmethod
    def is_fault(self, error: Exception) -> bool:
        """The driver's own kind of error, which peewee did not wrap."""

    # -- the app's table -----------------------------------------------------------------------------------------

    @abstractmethod
    def home_of(self, db: Any, schema: str | None, table: str) -> str | None:
        """The schema that the table lies in; '' where there is no such table."""

    @abstractmethod
    def form(self, schema: str | None, table: str) -> tuple[str, Sequence[str]]:
        """A query with its values that is answered otherwise once the table is another one, or like another one, or
        tasks are handed over elsewhere."""

    @abstractmethod
    def unfit(self, types: Mapping[str, str]) -> frozenset[str]:
        """Fields whose column is of a type that cannot be used. `types` by field."""

    @abstractmethod
    def key(self, declared: str) -> Key: ...

    @abstractmethod
    def lacking(
        self, db: Any, schema: str | None, table: str, read: Sequence[str], written: Sequence[str]
    ) -> Sequence[str]:
        """Rights that no run can do without and that we have not; the columns are the app's."""

    @abstractmethod
    def is_short(self, db: Any, qualified: str, rows: int) -> bool:
        """The table has no more rows, as far as is known without counting them."""

    # -- our own tables ------------------------------------------------------------------------------------------

    @abstractmethod
    def exists(self, db: Any, table: str) -> bool: ...

    def stranger_who_owns(self, db: Any, table: str) -> str | None:  # noqa: ARG002
        """Who alone can change the table, where that is not this role."""
        return None

    @abstractmethod
    def before_tables(self) -> Sequence[str]:
        """Statements that make room for them. They do no harm where that was done."""

    @abstractmethod
    def after_tables(self, tables: Sequence[str]) -> Sequence[str]:
        """Statements that keep others out of those that were made."""

    @abstractmethod
    def settle(self, db: Any, table: str, home: str | None) -> None:
        """Called once the app's table is known: that is where tasks are handed over, beside it."""

    # -- expressions ---------------------------------------------------------------------------------------------

    @abstractmethod
    def same(self, left: Any, right: Any) -> Any:
        """NULL equals NULL and nothing else."""

    @abstractmethod
    def by_index(self, condition: Any) -> Any:
        """Better found by its index, however many rows share their value with others: not with this value."""

    @abstractmethod
    def differ(self, left: Any, right: Any) -> Any: ...

    @abstractmethod
    def is_text(self, value: Any) -> Any: ...

    @abstractmethod
    def is_wrong(self, value: Any, declared: str) -> Any:
        """Neither NULL nor a text, where a text is read. Never NULL."""

    @abstractmethod
    def is_printable(self, value: Any, longest: int) -> Any:
        """A text of so many characters at most, and one at least, all of them printable ones of ASCII."""

    @abstractmethod
    def usable_id(self, value: Any) -> Any:
        """An id that can be named: a whole number, or a text that is not empty."""

    @abstractmethod
    def is_named(self, value: Any, key: str, track_id: Any) -> Any:
        """A usable id of the app's, of this kind, is this one of ours."""

    @abstractmethod
    def as_key(self, track_id: Any, key: str) -> Any:
        """An id of ours as a value of the app's column; NULL where it can be none."""

    def spellings(self, track_id: str, key: str) -> tuple[str, ...]:  # noqa: ARG002
        """How others may write an id of ours where they hand a task over; it itself is the first."""
        return (track_id,)

    def spelled(self, value: Any, key: str) -> Any:  # noqa: ARG002
        """The id of ours of which `value` is one of the `spellings`; NULL where there is none."""
        return value

    @abstractmethod
    def capped(self, value: Any, length: int) -> Any:
        """The text's first characters; NULL for NULL, an empty blob for what is no text."""

    @abstractmethod
    def shown(self, image: Any) -> Any:
        """What is read of a picture's text at first, in a form that no text is too odd for."""

    @abstractmethod
    def digest(self, value: Any) -> Any: ...

    @abstractmethod
    def contains(self, text: Any, part: Any) -> Any: ...

    @abstractmethod
    def least(self, left: Any, right: Any) -> Any:
        """Where one of them is NULL: NULL, or the other."""

    @abstractmethod
    def readable(self, column: Column, field: str, declared: str) -> Any:
        """A column of the app's, in the type that its field is read in."""

    @abstractmethod
    def absent(self, field: str) -> Any:
        """NULL, in the place of a column that the table has not."""

    @abstractmethod
    def instant(self, value: Any) -> Any:
        """A time of the app's, to be compared with times of our own tables, or NULL."""

    def since(self, column: Any, declared: str, day: Any, second: Any) -> Sequence[Any]:  # noqa: ARG002
        """Conditions, each found by the index of a column of times. What is no older than `second`, counted from 1970,
        meets one; older things may. `day`, a text, is over by then everywhere: times are written in several forms, all
        of which begin with their day."""
        return [column >= day]

    @abstractmethod
    def timestamp(self, value: Any) -> Any:
        """A time of the app's as it is read, cut to what a time can need."""

    @abstractmethod
    def like(self, value: datetime, sample: object, declared: str) -> str | int:
        """`value` to be written to a column that holds values in the form of `sample`."""

    @abstractmethod
    def locked(self, query: Any, *, skip: bool = False, key: bool = True) -> Any:
        """The rows are locked until the transaction ends. `skip`: without those that somebody else has locked. `key`:
        nobody can refer to them either."""

    @abstractmethod
    def locked_first(self, key: Any, among: Any) -> Any:
        """A condition for rows to be changed: `among` these, and all locked in order of `key` before one changes."""

    def as_text(self, value: Any) -> Any:
        return value.cast("TEXT")

    def is_long(self, image: Any) -> Any:
        return (fn.length(image) > LONG) | (fn.lower(fn.substr(image, 1, 5)) == "data:")

    def cut(self, image: Any) -> Any:
        return Case(None, [(self.is_long(image), fn.substr(image, 1, HEAD))], image)

    def identity(self, image: Any) -> Any:
        """`Cell.identity` in SQL."""
        summary = self.as_text(fn.length(image)).concat(":").concat(self.digest(image))
        return Case(None, [(image.is_null() | ~self.is_text(image), ""), (self.is_long(image), summary)], image)


class Placed:
    """A database in which names of our tables stand for where they are. Mixed into peewee's own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._places: dict[str, str] = {}
        self._spelled: dict[str, str] = {}

    def place(self, places: Mapping[str, str]) -> None:
        self._places |= places
        self._spelled = {}

    def placed(self, sql: str) -> str:
        if sql not in self._spelled:
            if len(self._spelled) >= REMEMBERED:
                self._spelled = {}
            self._spelled[sql] = _OWN.sub(lambda name: self._places.get(name[1], name[0]), sql)
        return self._spelled[sql]

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        execute = super().execute_sql  # type: ignore[misc]
        return execute(self.placed(sql), params)


REMEMBERED = 1000
"""Texts of statements: most are spelled once and run often."""

_OWN = re.compile(r'(?<!AS )"(reconciler_[a-z_]+)"(?!\.)')


def bindable(value: object) -> bool:
    """It can be given back to the database: a text that is no UTF-8 cannot."""
    return not isinstance(value, str) or value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)


def flag(condition: Any) -> Any:
    """1 or 0, never NULL."""
    return Case(None, [(condition, 1)], 0)


def and_then(soon: Any, late: Any) -> Any:
    """Both; what takes time to find out is asked only where the first is true, whatever the plan."""
    return Case(None, [(soon, flag(late))], 0) == 1
