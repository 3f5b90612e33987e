"""The app's table as it is: which of the columns that we can use exist, and what its ids are."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import cached_property
from typing import Any

from peewee import Column, Table, Value

from reconciler.database import dialect
from reconciler.database.connection import Connection
from reconciler.database.errors import SchemaError

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

_NULL = Value(None)


class Key(StrEnum):
    """How an id, a text in our tables, is written in a comparison with the app's column."""

    INTEGER = "integer"
    TEXT = "text"
    UUID = "uuid"
    UNTYPED = "untyped"
    """SQLite compares nothing but equal types here, so ids are compared as text, without an index."""


@dataclass(frozen=True)
class AppTable:
    """`names` and `types`: by our name of each column that exists, its name in the table and its declared type."""

    name: str
    schema: str | None
    names: Mapping[str, str]
    types: Mapping[str, str]
    key: Key
    unique: bool
    """Ids are a primary key or otherwise unique."""

    @cached_property
    def table(self) -> Table:
        return Table(self.name, schema=self.schema)

    def has(self, field: str) -> bool:
        return field in self.names

    def column(self, field: str) -> Any:
        """The column, or NULL where the table has none."""
        return Column(self.table, self.names[field]) if field in self.names else _NULL

    @cached_property
    def id(self) -> Any:
        column = self.column("id")
        return dialect.as_text(column) if self.key is Key.UNTYPED else column

    def parse_id(self, track_id: str) -> int | str:
        """The value to compare the id column with."""
        if self.key is Key.INTEGER and _whole(track_id):
            return int(track_id)
        return track_id


def _whole(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdecimal() and -(2**63) <= int(text) < 2**63


def probe(connection: Connection, table: str, columns: Mapping[str, str] | None = None) -> AppTable:
    """`columns`: our names to the table's, where they differ. SchemaError names what is missing and what exists."""
    schema, _, name = table.rpartition(".")
    with connection.reading():
        found = {c.name: c.data_type or "" for c in connection.db.get_columns(name, schema or None)}
        if not found:
            raise _no_table(connection, name, schema or None)
        names = _match({field: (columns or {}).get(field, field) for field in (*REQUIRED, *OPTIONAL)}, found)
        _require(connection, table, columns or {}, names, found)
        unique = _is_unique(connection, name, schema or None, names["id"])
    types = {field: found[actual] for field, actual in names.items()}
    return AppTable(name, schema or None, names, types, _key(types["id"]), unique)


def _match(wanted: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    """SQLite's names do not mind case."""
    folded = {name.lower(): name for name in found}
    return {field: folded[name.lower()] for field, name in wanted.items() if name.lower() in folded}


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


def _key(declared: str) -> Key:
    """By SQLite's rules of affinity. A declared `uuid` makes a numeric column, which compares texts as they are."""
    declared = declared.upper()
    if "INT" in declared:
        return Key.INTEGER
    if any(word in declared for word in ("CHAR", "CLOB", "TEXT")):
        return Key.TEXT
    if not declared or "BLOB" in declared:
        return Key.UNTYPED
    return Key.UUID
