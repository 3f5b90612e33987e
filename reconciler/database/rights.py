"""What this role needs in somebody's PostgreSQL and has not, each with the statement that grants it."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from reconciler.database.guests import (
    PUBLIC_ROLES,
    Located,
    Problem,
    hides_rows,
    located,
    may_create_in,
    one,
    open_to_all,
    policy,
    quoted,
    role_of,
)
from reconciler.database.tables import HAND_OVER, OWN

APP_ROLE = "service_role"
"""Supabase's: the app's own server."""

_PRIVATE = tuple(name for name in OWN if name != HAND_OVER)
_WORK = ("SELECT", "INSERT", "UPDATE", "DELETE")
_HANDING = ("SELECT", "INSERT")


class Wish(NamedTuple):
    """Of the app's table, and the columns that are read and written where they exist; `own`: the schema of ours."""

    schema: str | None
    table: str
    read: Sequence[str]
    written: Sequence[str]
    own: str


def missing(db: Any, wish: Wish) -> Iterator[Problem]:
    """All that this role needs and has not. Nothing is told of a table that is not there."""
    role, table = role_of(db), located(db, wish.schema, wish.table)
    if table is not None:
        yield from _on_the_apps(db, role, table, wish)
    yield from _on_the_schema(db, role, wish.own)
    yield from _on_ours(db, role, wish.own)
    if table is not None and table.in_reach:
        yield from _on_the_hand_over(db, role, table.schema, wish.own)


def _on_the_apps(db: Any, role: str, table: Located, wish: Wish) -> Iterator[Problem]:
    name = quoted(table.schema, wish.table)
    if not table.in_reach:
        schema = quoted(table.schema)
        yield Problem(f"{role} may not use schema {schema}", f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    if _columns_without(db, "SELECT", table.oid, wish.read):
        yield Problem(f"{role} may not read {name}", f"GRANT SELECT ON {name} TO {role}")
    locked = ", ".join(map(quoted, _columns_without(db, "UPDATE", table.oid, wish.written)))
    if locked:
        yield Problem(f"{role} may not update {locked} of {name}", f"GRANT UPDATE ({locked}) ON {name} TO {role}")
    problem = hides_rows(db, table.schema, wish.table) if table.in_reach else None
    if problem is not None:
        yield problem


def _columns_without(db: Any, right: str, table: int, columns: Sequence[str]) -> list[str]:
    sql = (
        "SELECT attname FROM pg_attribute WHERE attrelid = %s AND lower(attname) = ANY(%s) AND attnum > 0 "
        "AND NOT attisdropped AND NOT has_column_privilege(attrelid, attnum, %s) ORDER BY attnum"
    )
    return _all(db, sql, table, [column.lower() for column in columns], right)


def _on_the_schema(db: Any, role: str, own: str) -> Iterator[Problem]:
    """Made by an admin rather than for the role, which takes no membership in it."""
    grant = f"GRANT USAGE, CREATE ON SCHEMA {quoted(own)} TO {role}"
    oid = one(db, "SELECT (SELECT oid::bigint FROM pg_namespace WHERE nspname = %s)", own)
    if oid is None:
        if not one(db, "SELECT has_database_privilege(current_database(), 'CREATE')"):
            what = f"there is no schema {quoted(own)}, and {role} may not make it"
            yield Problem(what, f"CREATE SCHEMA {quoted(own)}; {grant}")
    elif not one(db, "SELECT has_schema_privilege(%s, 'USAGE') AND has_schema_privilege(%s, 'CREATE')", oid, oid):
        yield Problem(f"{role} may not make tables in schema {quoted(own)}", grant)


def _on_ours(db: Any, role: str, own: str) -> Iterator[Problem]:
    """Tables that somebody else made for us: he owns them, so that row security applies to us."""
    locked = _locked(db, own, _PRIVATE, _WORK)
    if locked:
        listed = ", ".join(quoted(own, name) for name in locked)
        yield Problem(f"{role} may not work on {listed}", f"GRANT {', '.join(_WORK)} ON {listed} TO {role}")
    if _numbers_without(db, own):
        grant = f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {quoted(own)} TO {role}"
        yield Problem(f"{role} may not number rows in schema {quoted(own)}", grant)
    hidden = [quoted(own, name) for name in _hidden(db, own, _PRIVATE, _WORK)]
    if hidden:
        what = f"row level security keeps {role} out of {', '.join(hidden)}"
        yield Problem(what, "; ".join(policy(name, role) for name in hidden))


def _on_the_hand_over(db: Any, role: str, home: str, own: str) -> Iterator[Problem]:
    name = quoted(home, HAND_OVER)
    if located(db, home, HAND_OVER) is not None:
        if _locked(db, home, [HAND_OVER], _HANDING):
            yield Problem(f"{role} may not use {name}", f"GRANT SELECT, INSERT ON {name} TO {role}")
        if _hidden(db, home, [HAND_OVER], _HANDING):
            yield Problem(f"row level security keeps {role} out of {name}", policy(name, role))
        yield from _on_what_others_may(db, name)
    elif located(db, own, HAND_OVER) is not None or not may_create_in(db, home):
        what = f"there is no table {name}, so the app can hand no image tasks over"
        yield Problem(what, "; ".join(_hand_over_made(db, role, home, own)), fatal=False)


def _hand_over_made(db: Any, role: str, home: str, own: str) -> Iterator[str]:
    name, roles = quoted(home, HAND_OVER), _existing(db, *PUBLIC_ROLES)
    columns = "track_id text NOT NULL, task_id text NOT NULL, created_at timestamptz DEFAULT now()"
    yield f"CREATE TABLE {name} ({columns}, PRIMARY KEY (track_id, task_id))"
    yield f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY"
    yield policy(name, role)
    yield f"GRANT SELECT, INSERT ON {name} TO {role}"
    if roles:
        yield f"REVOKE ALL ON {name} FROM {', '.join(roles)}"
    if _existing(db, APP_ROLE):
        yield f"GRANT SELECT, INSERT ON {name} TO {APP_ROLE}"
    if located(db, own, HAND_OVER) is not None:
        yield f"INSERT INTO {name} SELECT * FROM {quoted(own, HAND_OVER)}"


def _on_what_others_may(db: Any, name: str) -> Iterator[Problem]:
    may = "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s) AND has_table_privilege(oid, %s, 'SELECT, INSERT')"
    listed = ", ".join(_all(db, may, list(PUBLIC_ROLES), name))
    if listed:
        yield Problem(f"{listed} may use {name}", f"REVOKE ALL ON {name} FROM {listed}", fatal=False)
    may_not = "SELECT rolname FROM pg_roles WHERE rolname = %s AND NOT has_table_privilege(oid, %s, 'INSERT')"
    if _all(db, may_not, APP_ROLE, name):
        what = f"{APP_ROLE} may not hand image tasks over"
        yield Problem(what, f"GRANT SELECT, INSERT ON {name} TO {APP_ROLE}", fatal=False)


_THERE = (
    "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
    "WHERE nspname = %s AND relname = ANY(%s) AND "
)


def _locked(db: Any, schema: str, tables: Sequence[str], rights: Sequence[str]) -> list[str]:
    """Those that are there, and one of the rights to them is missing."""
    all_of_them = " AND ".join(f"has_table_privilege(c.oid, '{right}')" for right in rights)
    return _all(db, f"{_THERE} NOT ({all_of_them})", schema, list(tables))


def _hidden(db: Any, schema: str, tables: Sequence[str], commands: Sequence[str]) -> list[str]:
    filtered = _all(db, f"{_THERE} row_security_active(c.oid)", schema, list(tables))
    return [table for table in filtered if not one(db, f"SELECT {open_to_all(schema, table, commands)}")]


def _numbers_without(db: Any, own: str) -> list[str]:
    sql = (
        "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = %s "
        "AND relname LIKE 'reconciler_%%' "
        "AND CASE relkind WHEN 'S' THEN NOT has_sequence_privilege(c.oid, 'USAGE') ELSE false END"
    )
    return _all(db, sql, own)


def _existing(db: Any, *roles: str) -> list[str]:
    return _all(db, "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s) ORDER BY rolname", list(roles))


def _all(db: Any, sql: str, *values: Any) -> list[str]:
    return [str(row[0]) for row in db.execute_sql(sql, values).fetchall()]
