"""Making our own tables, and bringing older ones up to date.

A database without them gets the tables as they are now. Others get the steps from their version on: a change of
`tables` comes with a step, which works on SQL and not on the models, since those move on.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import peewee

from reconciler.database.connection import Connection
from reconciler.database.dialect import Dialect
from reconciler.database.errors import DatabaseDenied, SchemaError
from reconciler.database.tables import ALL, GateRow, HandedOver, Own, SchemaVersion

VERSION = 5


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


def _third(connection: Connection) -> None:
    """Callbacks are remembered."""
    instant = connection.db.get_sql_context().state.field_types["INSTANT"]
    for statement in (
        (
            'CREATE TABLE "reconciler_callback" ("token" TEXT NOT NULL, "task_id" TEXT NOT NULL, '
            f'"track_id" TEXT NOT NULL, "at" {instant} NOT NULL, PRIMARY KEY ("token", "task_id"))'
        ),
        'CREATE INDEX "reconciler_callback_track_id" ON "reconciler_callback" ("track_id")',
        *connection.dialect.after_tables(["reconciler_callback"]),
    ):
        connection.db.execute_sql(statement)


def _fourth(connection: Connection) -> None:
    """What the gate counts is counted by an index alone."""
    connection.db.execute_sql(
        'CREATE INDEX "reconciler_purchase_over_at_sent_outcome_price" ON "reconciler_purchase" '
        '("over_at", "sent", "outcome", "price")'
    )


def _fifth(connection: Connection) -> None:
    """Indexes that nearly no row is in are without those that are not."""
    place, _, _ = connection.db.placed('"reconciler_memory"').rpartition('"reconciler_memory"')
    for columns in (("lease_until",), ("gone_since",), ("held", "tried_at")):
        name, spelled = "_".join(("reconciler_memory", *columns)), ", ".join(f'"{column}"' for column in columns)
        where = f'("{columns[0]}" IS NOT NULL)'
        connection.db.execute_sql(f'DROP INDEX {place}"{name}"')
        connection.db.execute_sql(f'CREATE INDEX "{name}" ON "reconciler_memory" ({spelled}) WHERE {where}')


STEPS: Mapping[int, Callable[[Connection], None]] = {2: _second, 3: _third, 4: _fourth, 5: _fifth}
"""By the version that each leads to."""


def lacking(connection: Connection) -> Sequence[type[Own]]:
    """Of the own tables, those that are not there. The one beside the app's may be there before the others, and be lost
    without them: it is the app's to use, and the app may move."""
    with connection.reading():
        models = [HandedOver] if _exists(connection, SchemaVersion) else ALL
        return [model for model in models if not _exists(connection, model)]


def _exists(connection: Connection, model: type[Own]) -> bool:
    return connection.dialect.exists(connection.db, model.table_name())


def version(connection: Connection) -> int:
    """0 where there are no own tables."""
    with connection.reading():
        if not _exists(connection, SchemaVersion):
            return 0
        return int(connection.one(SchemaVersion.select(peewee.fn.max(SchemaVersion.version)))[0] or 0)


def migrate(connection: Connection) -> None:
    """Create or update the own tables, all or nothing. A newer schema is refused."""
    found = refuse_newer(connection)
    if found == VERSION and not lacking(connection):
        return
    try:
        _migrate(connection)
    except DatabaseDenied as error:
        if found == 0:
            raise
        raise DatabaseDenied(error.what, error.where, _how_to_apply(connection)) from error


def _migrate(connection: Connection) -> None:
    with connection.writing() as now:
        _execute(connection, connection.dialect.before_tables())
        # Somebody else may have migrated while we waited for the lock.
        found = refuse_newer(connection)
        for step in range(found + 1, VERSION + 1) if found else ():
            STEPS[step](connection)
        _execute(connection, _statements(connection.db, connection.dialect, lacking(connection)))
        if found == 0:
            connection.run(GateRow.insert(id=1))
        if found < VERSION:
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
        raise SchemaError([problem], connection.place, _how_to_apply(connection))


def _how_to_apply(connection: Connection) -> str:
    with connection.reading():
        owner = connection.dialect.stranger_who_owns(connection.db, SchemaVersion.table_name())
    return f"Run `reconciler schema --apply`{f' as {owner}, who owns them' if owner else ''}"


def _execute(connection: Connection, statements: Iterable[str]) -> None:
    for statement in statements:
        connection.db.execute_sql(statement)


def pretend(connection: Connection) -> frozenset[str]:
    """Nothing stands for each of our tables that is not there, for a connection that may only read; returns which."""
    places = {model.table_name(): _nothing(model, connection.db) for model in lacking(connection)}
    connection.db.place(places)
    return frozenset(places)


def schema_sql(db: Any, dialect: Dialect) -> str:
    """The statements by which `migrate` makes them, in the database's dialect."""
    statements = (*dialect.before_tables(), *_statements(db, dialect, ALL))
    return "".join(f"{db.placed(statement)};\n" for statement in statements)


def _statements(db: Any, dialect: Dialect, models: Sequence[type[Own]]) -> Iterator[str]:
    for model in models:
        manager: Any = peewee.SchemaManager(model, db)
        # peewee has no public way to the text of a statement that is not run.
        contexts = (manager._create_table(safe=False), *manager._create_indexes(safe=False))  # noqa: SLF001
        yield from (context.query()[0] for context in contexts)
    yield from dialect.after_tables([model.table_name() for model in models])


def _nothing(model: type[Own], db: Any) -> str:
    types = db.get_sql_context().state.field_types
    columns = (f'CAST(NULL AS {_type(field, types)}) AS "{field.column_name}"' for field in model.columns())
    return f"(SELECT {', '.join(columns)} WHERE FALSE)"


def _type(field: Any, types: Mapping[str, str]) -> str:
    return "INTEGER" if isinstance(field, peewee.AutoField) else types.get(field.field_type, field.field_type)
