"""Time that passes for an install between two of its processes: a server's clock cannot be set."""

import sqlite3
from contextlib import closing
from datetime import timedelta

from reconciler.database.datetimes import own, parse
from reconciler.database.fields import InstantField
from reconciler.database.tables import ALL
from tests.cli.conftest import Install
from tests.postgresql.installs import PostgresInstall


def pass_time(install: Install, length: timedelta) -> None:
    """All that we remember was so much earlier."""
    for model in ALL:
        instants = [field.column_name for field in model.columns() if isinstance(field, InstantField)]
        if not instants or model.table_name() == "reconciler_image_task":
            continue
        if isinstance(install, PostgresInstall):
            earlier = ", ".join(f"{name} = {name} - interval '{length.total_seconds()} s'" for name in instants)
            install.sql(f"UPDATE reconciler.{model.table_name()} SET {earlier}")
        else:
            earlier = ", ".join(f"{name} = earlier({name})" for name in instants)
            _update_file(install, f"UPDATE {model.table_name()} SET {earlier}", length)


def _update_file(install: Install, statement: str, length: timedelta) -> None:
    def earlier(text: str | None) -> str | None:
        at = parse(text)
        return own(at - length) if at is not None else None

    with closing(sqlite3.connect(install.database)) as connection, connection:
        connection.create_function("earlier", 1, earlier)
        connection.execute(statement)
