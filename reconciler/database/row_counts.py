"""How many rows there are in the app's table, whether or not there is work in them."""

from collections.abc import Mapping

from peewee import SQL, fn

from reconciler.database.connection import Connection
from reconciler.database.schema import AppTable


def by_status(connection: Connection, app: AppTable) -> Mapping[object, int]:
    status = app.column("status")
    with connection.reading():
        return dict(connection.rows(app.table.select(status, fn.count(SQL("*"))).group_by(status)))


def nameless(connection: Connection, app: AppTable) -> int:
    """Without a usable id."""
    unusable = ~app.dialect.usable_id(app.column("id"))
    with connection.reading():
        return int(connection.one(app.table.select(fn.count(SQL("*"))).where(unusable))[0])
