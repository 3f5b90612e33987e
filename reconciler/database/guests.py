"""Being a guest in somebody's PostgreSQL: where the app's table is, what of it is kept from us, and ours from others.

All is looked up in the catalogs, which everybody may read, and by numbers: names of what is out of reach are errors.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from reconciler.database.dialect import GENERATED

PUBLIC_ROLES = ("anon", "authenticated")
"""Supabase's: whoever knows the app's public key is one of them."""
UNREADABLE = "unreadable"
"""Stands for the type of a column that this role may not read."""

_LOOKING = ("SELECT", "UPDATE")
"""An update looks for its rows too."""

USE_PRIMARY = "Use the address of the primary server"
_READ_ONLY = "default_transaction_read_only"

_LOCK = 7_236_412_018
"""Of all processes that make or change our tables; it ends with their transaction."""


class Problem(NamedTuple):
    """`statement` helps. `fatal`: no run can do without."""

    what: str
    statement: str
    fatal: bool = True


def quoted(*names: str) -> str:
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


# -- our tables --------------------------------------------------------------------------------------------------------


def before(schema: str) -> Sequence[str]:
    made = f'IF to_regnamespace(\'"{schema}"\') IS NULL THEN CREATE SCHEMA "{schema}"; END IF;'
    return (f"SELECT pg_advisory_xact_lock({_LOCK})", f"DO $$ BEGIN {made} END $$")


def after(tables: Sequence[str]) -> Sequence[str]:
    """`tables` as they are spelled in SQL. Without a policy, row level security lets nobody but their owner in."""
    if not tables:
        return ()
    return (
        *(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY" for table in tables),
        f"REVOKE ALL ON {', '.join(tables)} FROM PUBLIC",
        _revoked(tables),
    )


def _revoked(tables: Sequence[str]) -> str:
    """What default privileges gave away, of tables and of what numbers their rows, where there are such roles."""
    these = ", ".join(f"'{table}'::regclass" for table in tables)
    roles = ", ".join(f"'{role}'" for role in PUBLIC_ROLES)
    numbering = f"SELECT objid FROM pg_depend WHERE deptype IN ('a', 'i') AND refobjid IN ({these})"
    revoke = (
        "SELECT 'REVOKE ALL ON ' || CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.oid::regclass "
        "|| ' FROM ' || quote_ident(rolname) FROM pg_class c CROSS JOIN pg_roles "
        f"WHERE rolname IN ({roles}) AND (c.oid IN ({these}) OR (relkind = 'S' AND c.oid IN ({numbering})))"
    )
    return f"DO $$ DECLARE revoke text; BEGIN FOR revoke IN {revoke} LOOP EXECUTE revoke; END LOOP; END $$"


def stranger_who_owns(db: Any, table: str) -> str | None:
    """`table` as it is spelled in SQL. None: this role does, or is one of those who do."""
    not_us = f"oid = {literal(table)}::regclass AND NOT pg_has_role(relowner, 'USAGE')"
    owner = one(db, f"SELECT (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE {not_us})")
    return None if owner is None else quoted(str(owner))


def may_create_in(db: Any, schema: str) -> bool:
    return bool(one(db, "SELECT has_schema_privilege(%s, 'CREATE')", schema))


# -- the app's table ---------------------------------------------------------------------------------------------------


class Located(NamedTuple):
    oid: int
    schema: str
    in_reach: bool
    """This role may use the schema."""


def located(db: Any, schema: str | None, table: str) -> Located | None:
    """By the search path, where no schema is given; a table that lies out of reach is found too, if there is one."""
    sql = (
        "SELECT c.oid::bigint, nspname, has_schema_privilege(n.oid, 'USAGE'), pg_table_is_visible(c.oid) "
        "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace "
        "WHERE relname = %s AND relkind IN ('r', 'p', 'v', 'f') AND coalesce(nspname = %s, true)"
    )
    rows = db.execute_sql(sql, (table, schema)).fetchall()
    near = [Located(*row[:3]) for row in rows if schema or row[3]]
    far = [Located(*row[:3]) for row in rows if not row[2]]
    return near[0] if near else far[0] if len(far) == 1 else None


def is_plain(db: Any, schema: str, table: str) -> bool:
    """It is no view, and not elsewhere."""
    found = f"SELECT relkind IN ('r', 'p') FROM pg_class WHERE oid = {literal(quoted(schema, table))}::regclass"
    return bool(one(db, found))


_COLUMNS = f"""
    SELECT attname, NOT attnotnull,
        CASE WHEN NOT has_column_privilege(attrelid, attnum, 'SELECT') THEN '{UNREADABLE}'
        ELSE CASE WHEN attgenerated <> '' THEN '{GENERATED}' ELSE '' END || (
            WITH RECURSIVE kind AS (
                SELECT oid, typtype, typbasetype, typelem, typlen FROM pg_type WHERE oid = atttypid
                UNION ALL
                SELECT t.oid, t.typtype, t.typbasetype, t.typelem, t.typlen
                FROM kind JOIN pg_type t ON t.oid = kind.typbasetype WHERE kind.typtype = 'd'
            )
            SELECT CASE WHEN typelem <> 0 AND typlen = -1 THEN 'ARRAY' ELSE trim('"' FROM format_type(oid, NULL)) END
            FROM kind WHERE typtype <> 'd'
        ) END
    FROM pg_attribute WHERE attrelid = {{}} AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
COLUMNS = _COLUMNS.format("%s")
"""Of a table: name, whether it may be NULL, and the type behind its domain."""


def form(schema: str | None, table: str, beside: str, own: str) -> tuple[str, Sequence[str]]:
    """What is to be found out of a table, and where `beside` is: there, or in our `own` schema. In SQL, with values."""
    is_it = "nspname = %s" if schema else "pg_table_is_visible(c.oid)"
    sql = (
        "SELECT c.oid::bigint, nspname::text, relkind::text, "
        f"(SELECT string_agg(columns::text, ' ') FROM ({_COLUMNS.format('c.oid')}) AS columns), "
        "(SELECT string_agg(oid::text, ' ' ORDER BY oid) FROM pg_class "
        "WHERE relname = %s AND relnamespace IN (n.oid, to_regnamespace(%s))) "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
        f"WHERE relname = %s AND relkind IN ('r', 'p', 'v', 'f') AND {is_it}"
    )
    return sql, [beside, quoted(own), table, *([schema] if schema else [])]


# -- row security ------------------------------------------------------------------------------------------------------


def filtered(schema: str, table: str, *, is_plain: bool) -> str:
    """Row security applies, whatever its policies let through. In SQL."""
    if is_plain:
        return f"row_security_active({literal(quoted(schema, table))}::regclass)"
    return f"EXISTS ({_filtered(schema, table)})"


def hiding(schema: str, table: str, *, is_plain: bool) -> str:
    """Rows may be kept from this role. In SQL."""
    if is_plain:
        return f"{filtered(schema, table, is_plain=True)} AND NOT {open_to_all(schema, table, _LOOKING)}"
    return f"EXISTS ({_hiding(schema, table)})"


def _hiding(schema: str, table: str) -> str:
    """Where the right to update a table is missing, the view only reads it."""
    shows = f"CASE WHEN may_update THEN {_open(_LOOKING, _FILTERED)} ELSE {_open(['SELECT'], _FILTERED)} END"
    return f"SELECT * FROM ({_filtered(schema, table)}) AS filtered WHERE NOT {shows}"


def _filtered(schema: str, table: str) -> str:
    """The tables to which row security applies, and whom to."""
    is_let_by = "rolsuper OR rolbypassrls OR (NOT relforcerowsecurity AND pg_has_role(looker, relowner, 'USAGE'))"
    return (
        f"{_behind(schema, table)} SELECT nspname, relname, rolname, "
        "has_any_column_privilege(looker, c.oid, 'UPDATE') AS may_update FROM behind JOIN pg_class c USING (oid) "
        "JOIN pg_namespace n ON n.oid = relnamespace JOIN pg_roles r ON r.oid = looker "
        f"WHERE relrowsecurity AND NOT ({is_let_by})"
    )


def _behind(schema: str, table: str) -> str:
    """The table; or the view, with all that it reads, and for whom: that is its owner, unless it says otherwise."""
    is_invoker = "CASE option_name WHEN 'security_invoker' THEN option_value::boolean ELSE false END"
    return f"""
        WITH RECURSIVE me AS (SELECT oid FROM pg_roles WHERE rolname = current_user), behind AS (
            SELECT {literal(quoted(schema, table))}::regclass::oid AS oid, me.oid AS looker FROM me
            UNION
            SELECT refobjid, CASE WHEN EXISTS (SELECT FROM pg_options_to_table(reloptions) WHERE {is_invoker})
                THEN me.oid ELSE relowner END
            FROM me, behind JOIN pg_class c ON c.oid = behind.oid AND relkind = 'v'
                JOIN pg_rewrite r ON ev_class = c.oid AND ev_type = '1'
                JOIN pg_depend ON classid = 'pg_rewrite'::regclass AND objid = r.oid
            WHERE refclassid = 'pg_class'::regclass AND refobjid <> c.oid
        )"""


def open_to_all(schema: str, table: str, commands: Sequence[str]) -> str:
    """Policies let this role do all of `commands` to all rows, and none narrows that. In SQL."""
    return _open(commands, _Of(literal(schema), literal(table), "current_user"))


class _Of(NamedTuple):
    """Whose policies, and whom they apply to. In SQL."""

    schema: str
    table: str
    role: str


_FILTERED = _Of("nspname", "relname", "rolname")


def _open(commands: Sequence[str], of: _Of) -> str:
    is_open = " AND ".join(f"bool_or(is_open AND cmd IN ('ALL', '{each}'))" for each in commands)
    return f"coalesce((SELECT {is_open} AND NOT bool_or(narrows) FROM ({_policies(commands, of)}) AS policies), false)"


def _policies(commands: Sequence[str], of: _Of) -> str:
    """Those that apply to the role."""
    unconditional = "coalesce(qual, 'true') = 'true' AND coalesce(with_check, 'true') = 'true'"
    its_own = (
        "EXISTS (SELECT FROM unnest(roles) AS r "
        f"WHERE CASE r WHEN 'public' THEN true ELSE pg_has_role({of.role}, r, 'USAGE') END)"
    )
    return (
        f"SELECT cmd, permissive = 'PERMISSIVE' AND {unconditional} AS is_open, "
        f"permissive = 'RESTRICTIVE' AND NOT ({unconditional}) AS narrows FROM pg_policies "
        f"WHERE schemaname = {of.schema} AND tablename = {of.table} "
        f"AND cmd IN ('ALL', {', '.join(map(literal, commands))}) AND {its_own}"
    )


def hides_rows(db: Any, schema: str, table: str) -> Problem | None:
    narrowed = f"SELECT bool_or(narrows) FROM ({_policies(_LOOKING, _FILTERED)}) AS policies"
    found = db.execute_sql(f"SELECT *, ({narrowed}) FROM ({_hiding(schema, table)}) AS hiding LIMIT 1").fetchone()
    if found is None:
        return None
    name, role, is_narrowed = quoted(*found[:2]), quoted(found[2]), found[4]
    what = f"row level security of {name} applies to role {role}, and rows that it hides would count as deleted"
    # What a restrictive policy takes away no other one gives back.
    return Problem(what, f"ALTER ROLE {role} BYPASSRLS" if is_narrowed else policy(name, role))


def policy(name: str, role: str) -> str:
    return f"CREATE POLICY reconciler ON {name} FOR ALL TO {role} USING (true) WITH CHECK (true)"


class Unwritable(NamedTuple):
    why: str
    todo: str


def unwritable(db: Any) -> Unwritable | None:
    if one(db, "SELECT pg_is_in_recovery()"):
        return Unwritable("the server is a read-only replica", USE_PRIMARY)
    on = f"name = '{_READ_ONLY}' AND setting = 'on'"
    source = one(db, f"SELECT (SELECT source FROM pg_settings WHERE {on})")
    if source is None:
        return None
    role, database = (quoted(str(one(db, f"SELECT {name}"))) for name in ("session_user", "current_database()"))
    set_for = {
        "database": f"DATABASE {database}",
        "user": f"ROLE {role}",
        "database user": f"ROLE {role} IN DATABASE {database}",
        "global": "ROLE ALL",
    }.get(source)
    elsewhere = f"set {_READ_ONLY} to off in the server's settings, or in database.url if that sets it"
    # Whoever runs it may be kept from writing too.
    helps = f"BEGIN READ WRITE; ALTER {set_for} RESET {_READ_ONLY}; COMMIT" if set_for else elsewhere
    space = "if a provider set it for lack of space, make space first"
    return Unwritable("the database allows no writing by default", f"End that: {helps}; {space}")


def version_and_role(db: Any) -> tuple[str, str]:
    row = db.execute_sql("SELECT split_part(current_setting('server_version'), ' ', 1), current_user").fetchone()
    return str(row[0]), str(row[1])


# -- asking ------------------------------------------------------------------------------------------------------------


def role_of(db: Any) -> str:
    return quoted(str(one(db, "SELECT current_user")))


def one(db: Any, sql: str, *values: Any) -> Any:
    return db.execute_sql(sql, values).fetchone()[0]


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
