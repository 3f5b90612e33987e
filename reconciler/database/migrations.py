"""Making our own tables, and bringing older ones up to date.

A database without them gets the tables as they are now. Others get the steps from their version on: a change of
`tables` comes with a step, which works on SQL and not on the models, since those move on.
"""

from collections.abc import Callable, Mapping
from typing import Any

import peewee

from reconciler.database.connection import Connection
from reconciler.database.errors import SchemaError
from reconciler.database.tables import ALL, GateRow, SchemaVersion

VERSION = 2


def _second(connection: Connection) -> None:
    """Where tracks stand is kept so that it can be counted without judging each anew; attempts are remembered."""
    for statement in (
        'ALTER TABLE "reconciler_memory" ADD COLUMN "stands_until" TEXT',
        'ALTER TABLE "reconciler_memory" ADD COLUMN "wants" TEXT',
        'ALTER TABLE "reconciler_memory" ADD COLUMN "repeats" INTEGER NOT NULL DEFAULT 0',
        'ALTER TABLE "reconciler_memory" ADD COLUMN "stamp" TEXT',
        'ALTER TABLE "reconciler_memory" ADD COLUMN "gone_since" TEXT',
        'CREATE INDEX "reconciler_memory_tried_at" ON "reconciler_memory" ("tried_at")',
        'CREATE INDEX "reconciler_memory_gone_since" ON "reconciler_memory" ("gone_since")',
        # The first version did not say until when a standing holds: everything remembered is looked at once.
        'UPDATE "reconciler_memory" SET "due_at" = "tried_at", "held" = NULL WHERE "state" IS NOT NULL',
        'ALTER TABLE "reconciler_closure" ADD COLUMN "trial" INTEGER NOT NULL DEFAULT 0',
        (
            'CREATE TABLE "reconciler_attempt" ("id" INTEGER NOT NULL PRIMARY KEY, "track_id" TEXT NOT NULL, '
            '"first_at" TEXT NOT NULL, "at" TEXT NOT NULL, "step" TEXT NOT NULL, "about" TEXT NOT NULL, '
            '"came" TEXT NOT NULL, "detail" TEXT NOT NULL, "times" INTEGER NOT NULL)'
        ),
        'CREATE INDEX "reconciler_attempt_at" ON "reconciler_attempt" ("at")',
        'CREATE INDEX "reconciler_attempt_track_id_id" ON "reconciler_attempt" ("track_id", "id")',
    ):
        connection.db.execute_sql(statement)


STEPS: Mapping[int, Callable[[Connection], None]] = {2: _second}
"""By the version that each leads to."""


def own_tables_exist(connection: Connection) -> bool:
    with connection.reading():
        return bool(connection.db.table_exists("reconciler_schema"))


def version(connection: Connection) -> int:
    """0 where there are no own tables."""
    if not own_tables_exist(connection):
        return 0
    with connection.reading():
        return int(connection.one(SchemaVersion.select(peewee.fn.max(SchemaVersion.version)))[0] or 0)


def migrate(connection: Connection) -> None:
    """Create or update the own tables, all or nothing. A newer schema is refused."""
    if refuse_newer(connection) == VERSION:
        return
    with connection.writing() as now:
        # Somebody else may have migrated while we waited for the lock.
        found = refuse_newer(connection)
        if found == VERSION:
            return
        if found == 0:
            create(connection)
        for step in range(found + 1, VERSION + 1) if found else ():
            STEPS[step](connection)
        connection.run(SchemaVersion.insert(version=VERSION, applied_at=now))


def refuse_newer(connection: Connection) -> int:
    found = version(connection)
    if found > VERSION:
        problem = f"the reconciler's tables have version {found}, this program knows {VERSION}"
        raise SchemaError([problem], connection.place, "Install the newer program")
    return found


def refuse_other(connection: Connection) -> None:
    """For connections that cannot migrate."""
    found = refuse_newer(connection)
    if 0 < found < VERSION:
        problem = f"the reconciler's tables have version {found}, this program needs {VERSION}"
        raise SchemaError([problem], connection.place, "Run `reconciler schema --apply`")


def create(connection: Connection) -> None:
    for model in ALL:
        peewee.SchemaManager(model, connection.db).create_all(safe=False)
    connection.run(GateRow.insert(id=1))


def pretend(connection: Connection) -> None:
    """Empty tables in memory, for a connection that may only read: nothing of them reaches the file."""
    with connection.reading():
        connection.db.execute_sql("PRAGMA temp_store = MEMORY")
        for model in ALL:
            peewee.SchemaManager(model, connection.db).create_table(safe=False, temporary=True)
        connection.run(GateRow.insert(id=1))


def schema_sql(db: peewee.Database) -> str:
    """The statements that `create` runs, in the database's dialect."""
    statements = []
    for model in ALL:
        manager: Any = peewee.SchemaManager(model, db)
        # peewee has no public way to the text of a statement that is not run.
        contexts = (manager._create_table(safe=False), *manager._create_indexes(safe=False))  # noqa: SLF001
        statements += [context.query()[0] + ";" for context in contexts]
    return "\n".join(statements) + "\n"
