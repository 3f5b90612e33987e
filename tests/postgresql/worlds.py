"""The engine's world on a real PostgreSQL, through a pooler."""

import re
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from reconciler.database import Database, Where
from reconciler.database.datetimes import own
from tests.postgres import Bouncer, Server

SCHEMA = (Path(__file__).parents[1] / "schema" / "app-schema.sql").read_text()
TEXT_IDS = SCHEMA.replace("uuid PRIMARY KEY DEFAULT gen_random_uuid()", "text PRIMARY KEY")
"""Ids are texts, so that tests may choose them."""
EMPTIED = "DROP SCHEMA IF EXISTS reconciler CASCADE; DROP TABLE IF EXISTS reconciler_image_task; TRUNCATE tracks"


class AppServer:
    """`AppDatabase` of a world: a database of its own on the server. Close it in the end."""

    def __init__(self, server: Server, by: Server | Bouncer, schema: str = TEXT_IDS) -> None:
        self._server, self.name = server, server.create()
        server.sql(self.name, schema)
        self.where = Where(by.url(self.name))

    def sql(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        theirs = re.sub(r"\breconciler_(?!image_task)(\w+)", r"reconciler.reconciler_\1", statement).replace("?", "%s")
        with psycopg.connect(self._server.url(self.name), autocommit=True, row_factory=dict_row) as connection:
            cursor = connection.execute(theirs.encode(), values or None)
            found = cursor.fetchall() if cursor.description else []
        return [{name: as_in_a_file(value) for name, value in row.items()} for row in found]

    def unhurried(self, database: Database) -> None:
        """As the server is."""

    def empty(self) -> None:
        """As it was at first, and sooner than a new one: for a world that nobody works any more."""
        self._server.sql(self.name, EMPTIED)

    def close(self) -> None:
        self._server.drop(self.name)


def as_in_a_file(value: Any) -> Any:
    """As SQLite would hold it, so that one expectation does for both engines."""
    match value:
        case datetime():
            return own(value) if value.tzinfo else value.isoformat(" ")
        case UUID():
            return str(value)
        case bool() | Decimal():
            return int(value)
        case _:
            return value
