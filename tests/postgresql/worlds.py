"""The engine's world on a real PostgreSQL, through a pooler. Ids are texts, so that tests may choose them."""

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from reconciler.database import Database, Where
from reconciler.database.datetimes import own
from tests.postgres import Bouncer, Server

SCHEMA = (Path(__file__).parents[1] / "schema" / "app-schema.sql").read_text()
TEXT_IDS = SCHEMA.replace("uuid PRIMARY KEY DEFAULT gen_random_uuid()", "text PRIMARY KEY")


class AppServer:
    """`AppDatabase` of a world: a database of its own on the server. Close it in the end."""

    def __init__(self, server: Server, bouncer: Bouncer) -> None:
        self._server, self.name = server, server.create()
        server.sql(self.name, TEXT_IDS)
        self.where = Where(bouncer.url(self.name))

    def sql(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        theirs = re.sub(r"\breconciler_(?!image_task)(\w+)", r"reconciler.reconciler_\1", statement).replace("?", "%s")
        with psycopg.connect(self._server.url(self.name), autocommit=True, row_factory=dict_row) as connection:
            cursor = connection.execute(theirs.encode(), values or None)
            found = cursor.fetchall() if cursor.description else []
        return [{name: as_in_a_file(value) for name, value in row.items()} for row in found]

    def unhurried(self, database: Database) -> None:
        """As the server is."""

    def close(self) -> None:
        self._server.drop(self.name)


def as_in_a_file(value: Any) -> Any:
    """Times as texts, so that one expectation does for both engines."""
    if isinstance(value, datetime):
        return own(value) if value.tzinfo else value.isoformat(" ")
    return value
