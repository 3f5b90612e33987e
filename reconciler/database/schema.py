"""The app's table as it is: which of the columns that we can use exist, and what its ids are."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any
from uuid import UUID

from peewee import SQL, Column, Table, fn

from reconciler.database.connection import Connection
from reconciler.database.dialect import GENERATED, Dialect, Key
from reconciler.database.errors import DatabaseDenied, SchemaError
from reconciler.database.guests import UNREADABLE
from reconciler.database.postgres import ASK_CHECK
from reconciler.database.statements import Answer

REQUIRED = ("id", "status", "image_url")
OPTIONAL = (
    "task_id",
    "title",
    "prompt",
    "mood",
    "vibe",
    "summary",
    "extended_prompt",
    "extended_prompt_image",
    "audio_url",
    "resolution",
    "created_at",
    "updated_at",
)


class Form:
    """What is to be found out of the app's table, as it was when this was made."""

    def __init__(self, connection: Connection, schema: str | None, table: str) -> None:
        sql, values = connection.dialect.form(schema, table)
        self._connection, self._asked = connection, connection.statement(SQL(sql, values)).given()
        self._found = self._look()

    def is_kept(self) -> bool:
        return self._look() == self._found

    def _look(self) -> Answer:
        return self._connection.ask_alone(self._asked)[0]


@dataclass(frozen=True)
class AppTable:
    """`names` and `types`: by our name of each column that exists, its name in the table and its declared type.

    `unused`: of those that exist and cannot be used, why; they count as missing. `form`: that it was found in.
    """

    dialect: Dialect
    name: str
    schema: str | None
    names: Mapping[str, str]
    types: Mapping[str, str]
    key: Key
    unique: bool
    """Ids are a primary key or otherwise unique."""
    unused: Mapping[str, str]
    form: Form

    @cached_property
    def table(self) -> Table:
        return Table(self.name, schema=self.schema)

    @property
    def qualified(self) -> str:
        return f'"{self.schema}"."{self.name}"' if self.schema else f'"{self.name}"'

    def has(self, field: str) -> bool:
        return field in self.names

    def raw(self, field: str) -> Any:
        """The column itself, to be written or to be found by its index. It must exist."""
        return Column(self.table, self.names[field])

    def column(self, field: str) -> Any:
        """The column as it is read, or NULL where the table has none."""
        if field not in self.names:
            return self.dialect.absent(field)
        return self.dialect.readable(self.raw(field), field, self.types[field])

    @cached_property
    def id(self) -> Any:
        column = self.column("id")
        return self.dialect.as_text(column) if self.key is Key.UNTYPED else column

    @cached_property
    def told_id(self) -> Any:
        """`id` where it is read, as we write it: a server pads some, and compares them without regard to that."""
        return self.id if self.dialect.has_affinity else self.dialect.as_text(self.id)

    def id_of(self, track_id: Any) -> Any:
        """A column of ours that holds an id, to be compared with `id`."""
        return self.dialect.as_key(track_id, self.key)

    def has_row(self, track_id: Any) -> Any:
        """A condition: a column of ours holds the id of a row."""
        return fn.exists(self.table.select(self.id).where(self.id == self.id_of(track_id)))

    def has_row_written_so(self, track_id: Any) -> Any:
        """A condition: what `spelled` tells of a hand-over is the id of a row. Columns with affinity find more."""
        same = (self.id == self.id_of(track_id)) & (self.dialect.as_text(self.id) == track_id)
        return fn.exists(self.table.select(self.id).where(same))

    def spelled(self, track_id: Any) -> Any:
        """An id as others wrote it, in a column of ours, as we write it; NULL where it can be none."""
        return self.dialect.spelled(track_id, self.key)

    def spellings(self, track_id: str) -> tuple[str, ...]:
        """All that `spelled` makes this id of."""
        return self.dialect.spellings(track_id, self.key)

    def canonical(self, text: str) -> str:
        """What a person gave for an id, as we write that id. What can be none stays as it is."""
        if self.key is Key.INTEGER and (number := _NUMBER.fullmatch(text)):
            return str(int(number[1]))
        if self.key is Key.UUID and not self.dialect.has_affinity:
            try:
                return str(UUID(text.strip()))
            except ValueError:
                return text
        return text

    def parse_id(self, track_id: str) -> int | str | None:
        """The value to compare the id column with; None: no id is written so."""
        if self.key is Key.INTEGER:
            return int(track_id) if _whole(track_id) else track_id if self.dialect.has_affinity else None
        if self.key is Key.UUID and not self.dialect.has_affinity:
            return track_id if _UUID.fullmatch(track_id) else None
        return track_id


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NUMBER = re.compile(r"\s*([+-]?[0-9]{1,99})(?:\.0+)?\s*")
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")


def _whole(text: str) -> bool:
    return _WHOLE.fullmatch(text) is not None and -(2**63) <= int(text) < 2**63


def probe(
    connection: Connection, table: str, columns: Mapping[str, str] | None = None, *, revives: bool = False
) -> AppTable:
    """`columns`: our names to the table's, where they differ; `revives`: the status is written, too. SchemaError names
    what is missing and what exists, or what cannot be used."""
    schema, _, name = table.rpartition(".")
    form = Form(connection, schema or None, name)  # first: what is changed while it is found out is seen afterwards
    with connection.reading():
        home = connection.dialect.home_of(connection.db, schema or None, name)
        found = {c.name: c.data_type or "" for c in connection.db.get_columns(name, home)} if home != "" else {}
        if not found:
            raise _no_table(connection, name, schema or None)
        names = _match({field: (columns or {}).get(field, field) for field in (*REQUIRED, *OPTIONAL)}, found)
        _require(connection, table, columns or {}, names, found)
        types = {field: found[actual] for field, actual in names.items()}
        unfit = connection.dialect.unfit(types)
        _refuse(connection, table, names, types, [field for field in REQUIRED if field in unfit])
        if revives and types["status"].startswith(GENERATED):
            problem = f"table {table}: {_why(names['status'], types['status'])}"
            raise SchemaError([problem], connection.place, "Set database.restore_archived = false")
        unique = _is_unique(connection, name, home, names["id"])
        connection.dialect.settle(connection.db, name, home)
    unused = {field: _why(names[field], types[field]) for field in sorted(unfit)}
    names = {field: actual for field, actual in names.items() if field not in unfit}
    key = connection.dialect.key(types["id"])
    return AppTable(connection.dialect, name, home, names, types, key, unique, unused, form)


def refuse_missing_rights(connection: Connection, app: AppTable, *, revives: bool) -> None:
    """For those who are to write. DatabaseDenied tells all that is missing."""
    written = ("image_url", "resolution", "updated_at", *["status"] * revives)
    columns = [app.names[field] for field in written if app.has(field)]
    with connection.reading():
        lacking = connection.dialect.lacking(connection.db, app.schema, app.name, list(app.names.values()), columns)
    if lacking:
        raise DatabaseDenied("; ".join(lacking), connection.place, ASK_CHECK)


def _refuse(
    connection: Connection, table: str, names: Mapping[str, str], types: Mapping[str, str], unfit: Sequence[str]
) -> None:
    if not unfit:
        return
    problems = [f"table {table}: {_why(names[field], types[field])}" for field in unfit]
    if all(types[field] == UNREADABLE for field in unfit):
        raise DatabaseDenied("; ".join(problems), connection.place, ASK_CHECK)
    raise SchemaError(problems, connection.place, "It must hold texts (id: texts, whole numbers or UUIDs)")


def _why(name: str, declared: str) -> str:
    if declared == UNREADABLE:
        return f"column {name} may not be read by this role"
    if declared.startswith(GENERATED):
        return f"column {name} is generated: nobody can write it"
    return f"column {name} is of type {declared}"


def _match(wanted: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    """SQLite's names do not mind case. Where they do, the very name comes first."""
    folded = {name.lower(): name for name in found}
    actual = {field: name if name in found else folded.get(name.lower()) for field, name in wanted.items()}
    return {field: name for field, name in actual.items() if name is not None}


def _no_table(connection: Connection, name: str, schema: str | None) -> SchemaError:
    tables = [t for t in connection.db.get_tables(schema) if not t.startswith(("sqlite_", "reconciler_"))]
    problem = f"there is no table {name}{_similar(name, tables)}"
    return SchemaError([problem], connection.place, f"Set database.table; there are: {_listed(tables)}")


def _require(
    connection: Connection, table: str, columns: Mapping[str, str], names: Mapping[str, str], found: Mapping[str, str]
) -> None:
    """A column that was given another name is not optional."""
    wanted = {field: columns.get(field, field) for field in (*REQUIRED, *columns)}
    missing = [name for field, name in wanted.items() if field not in names and (field in REQUIRED or field != name)]
    if missing:
        problems = [f"table {table} has no column {m}{_similar(m, found)}" for m in missing]
        raise SchemaError(problems, connection.place, f"Set database.columns; there are: {_listed(found)}")


def _similar(name: str, names: Mapping[str, str] | list[str]) -> str:
    close = get_close_matches(name.lower(), list(names), n=1, cutoff=0.65)
    return f" (did you mean {close[0]}?)" if close else ""


def _listed(names: Mapping[str, str] | list[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _is_unique(connection: Connection, name: str, schema: str | None, id_name: str) -> bool:
    if connection.db.get_primary_keys(name, schema) == [id_name]:
        return True
    return any(i.unique and i.columns == [id_name] for i in connection.db.get_indexes(name, schema))
