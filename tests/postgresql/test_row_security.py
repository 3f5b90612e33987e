"""A row that is hidden is not a row that is gone: a table whose rows may be kept from us is not worked on."""

from contextlib import closing
from typing import Any

import pytest

from reconciler.commands.checking.lines import Outcome
from reconciler.database import SchemaError
from reconciler.ports import Commit
from tests.postgres import SUPERUSER
from tests.postgresql.guest import TRACK, Home, home, said, statements, worked

__all__ = ["home"]

pytestmark = pytest.mark.slow

ON = "ALTER TABLE tracks ENABLE ROW LEVEL SECURITY"
POLICY = 'CREATE POLICY reconciler ON "public"."tracks" FOR ALL TO "guest" USING (true) WITH CHECK (true)'
HIDES = "row level security"


def is_refused(home: Home, role: str) -> bool:
    """To who looks, to who works and to who checks alike."""
    told = [line for line in home.check(role) if HIDES in line.said]
    for opening in (home.reader, home.database):
        if not told:
            opening(role).close()
            continue
        with pytest.raises(SchemaError, match=HIDES):
            opening(role)
    assert len(told) < 2
    return bool(told)


def test_a_table_that_hides_its_rows_is_refused_until_what_is_told_is_done(home: Home) -> None:
    role = home.guest()
    home.put()
    home.sql(ON)
    lines = home.check(role)
    assert [line.is_unfit for line in lines if line.outcome is Outcome.FAILED] == [True]
    assert statements(lines) == [f"{POLICY};"]
    assert is_refused(home, role)
    for statement in statements(lines):
        home.sql(statement)
    assert said(home.check(role), Outcome.FAILED) == []
    with closing(home.database(role)) as database:
        assert worked(database) is Commit.COMMITTED


TO_ALL = "CREATE POLICY p ON tracks FOR ALL TO guest USING (true)"


@pytest.mark.parametrize(
    ("policies", "hides"),
    [
        ([TO_ALL], False),
        (["CREATE POLICY p ON tracks USING (true)"], False),
        (["CREATE POLICY p ON tracks TO family USING (true)"], False),
        (["CREATE POLICY p ON tracks TO strangers USING (true)"], True),
        (["CREATE POLICY p ON tracks TO guest USING (user_id = 'me')"], True),
        (["CREATE POLICY p ON tracks TO guest USING (true) WITH CHECK (user_id = 'me')"], True),
        (["CREATE POLICY p ON tracks FOR SELECT TO guest USING (true)"], True),
        (["CREATE POLICY p ON tracks FOR UPDATE TO guest USING (true)"], True),
        (
            [
                "CREATE POLICY p ON tracks FOR SELECT TO guest USING (true)",
                "CREATE POLICY q ON tracks FOR UPDATE TO guest USING (true)",
            ],
            False,
        ),
        ([TO_ALL, "CREATE POLICY q ON tracks USING (user_id = 'me')"], False),
        ([TO_ALL, "CREATE POLICY q ON tracks AS RESTRICTIVE USING (user_id = 'me')"], True),
        ([TO_ALL, "CREATE POLICY q ON tracks AS RESTRICTIVE FOR UPDATE USING (true) WITH CHECK (likes > 0)"], True),
        ([TO_ALL, "CREATE POLICY q ON tracks AS RESTRICTIVE USING (true)"], False),
        ([TO_ALL, "CREATE POLICY q ON tracks AS RESTRICTIVE TO strangers USING (user_id = 'me')"], False),
        ([TO_ALL, "CREATE POLICY q ON tracks AS RESTRICTIVE FOR DELETE USING (user_id = 'me')"], False),
    ],
)
def test_policies_must_let_a_role_see_and_change_every_row(home: Home, policies: list[str], hides: bool) -> None:
    role = home.guest()
    home.role("family", "NOLOGIN")
    home.role("strangers", "NOLOGIN")
    home.sql(f"GRANT family TO {role}")
    home.put()
    home.sql("; ".join([ON, *policies]))
    assert is_refused(home, role) is hides
    if not hides:
        with closing(home.database(role)) as database:
            assert database.finder.page(None, 9).work == (TRACK,)
            assert worked(database) is Commit.COMMITTED


def test_what_a_restrictive_policy_takes_is_given_back_by_what_is_told(home: Home) -> None:
    role = home.guest()
    home.sql(f"{ON}; {TO_ALL}; CREATE POLICY q ON tracks AS RESTRICTIVE USING (user_id = 'me')")
    (statement,) = statements(home.check(role))
    assert statement == 'ALTER ROLE "guest" BYPASSRLS;'
    home.sql(statement)
    assert not is_refused(home, role)


def test_a_membership_that_is_not_inherited_opens_nothing(home: Home) -> None:
    role = home.guest()
    home.role("family", "NOLOGIN")
    home.sql(f"ALTER ROLE {role} NOINHERIT; GRANT family TO {role}")
    home.sql(f"{ON}; CREATE POLICY p ON tracks TO family USING (true)")
    assert is_refused(home, role)


@pytest.mark.parametrize(("forced", "hides"), [("", False), ("; ALTER TABLE tracks FORCE ROW LEVEL SECURITY", True)])
def test_the_owner_is_kept_out_only_where_that_is_forced(home: Home, forced: str, hides: bool) -> None:
    role = home.guest()
    home.sql(f"ALTER TABLE tracks OWNER TO {role}; {ON}{forced}")
    assert is_refused(home, role) is hides


# -- behind a view -----------------------------------------------------------------------------------------------------

FOR_GUEST = "GRANT SELECT, UPDATE (image_url, resolution, updated_at) ON {0} TO guest"
INVOKER = "WITH (security_invoker = on, check_option = local)"


def viewed(home: Home, *views: str) -> str:
    """The app's table is renamed, and found behind views; `views`: what each is made with, the innermost first. Of an
    owner who neither owns the table nor is kept out of it otherwise."""
    role, owner = home.guest(), home.role("viewer", "NOLOGIN")
    home.put()
    home.sql(f"ALTER TABLE tracks RENAME TO base; GRANT SELECT, UPDATE ON base TO {owner}")
    home.sql(f"{FOR_GUEST.format('base')}; GRANT CREATE ON SCHEMA public TO {owner}")
    for number, options in enumerate(views, 1):
        name, of = "tracks" if number == len(views) else f"view{number}", f"view{number - 1}" if number > 1 else "base"
        home.sql(f"CREATE VIEW {name} {options} AS SELECT * FROM {of}")
        home.sql(f"ALTER VIEW {name} OWNER TO {owner}; {FOR_GUEST.format(name)}")
    return role


HIDDEN_BASE = "ALTER TABLE base ENABLE ROW LEVEL SECURITY"
TO_OWNER = "CREATE POLICY p ON base TO viewer USING (true)"
TO_GUEST = "CREATE POLICY p ON base TO guest USING (true)"


@pytest.mark.parametrize(
    ("views", "policies", "hides_from"),
    [
        ([INVOKER], [], "guest"),
        ([INVOKER], [TO_OWNER], "guest"),
        ([INVOKER], [TO_GUEST], None),
        ([INVOKER, ""], [TO_OWNER], "guest"),
        (["", INVOKER], [TO_GUEST], "viewer"),
        ([INVOKER, INVOKER], [TO_GUEST], None),
        ([""], [], "viewer"),
        ([""], [TO_OWNER], None),
        (["WITH (security_invoker = off)"], [TO_GUEST], "viewer"),
        ([""], ["ALTER ROLE viewer BYPASSRLS"], None),
        ([""], ["ALTER TABLE base OWNER TO viewer"], None),
        ([""], ["ALTER TABLE base OWNER TO viewer", "ALTER TABLE base FORCE ROW LEVEL SECURITY"], "viewer"),
    ],
)
def test_a_view_hides_what_its_table_hides_from_whom_it_looks_for(
    home: Home, views: list[str], policies: list[str], hides_from: str | None
) -> None:
    role = viewed(home, *views)
    home.sql("; ".join([HIDDEN_BASE, *policies]))
    assert is_refused(home, role) is (hides_from is not None)
    told = statements(home.check(role))
    assert told == ([f"{POLICY.replace('tracks', 'base').replace('guest', hides_from)};"] if hides_from else [])
    for statement in told:
        home.sql(statement)
    with closing(home.database(role)) as database:
        assert database.finder.page(None, 9).work == (TRACK,)
        assert worked(database) is Commit.COMMITTED


BESIDE = (
    "CREATE TABLE profiles (id text); ALTER TABLE profiles ENABLE ROW LEVEL SECURITY; "
    "CREATE VIEW tracks WITH (security_invoker = on) AS SELECT *, (SELECT count(*) FROM profiles) AS listeners "
    "FROM base; GRANT SELECT ON profiles TO guest"
)
FOR_READING = "CREATE POLICY q ON profiles FOR SELECT USING (true)"


@pytest.mark.parametrize(
    ("statements", "hides"),
    [
        ([], True),
        ([FOR_READING], False),
        ([FOR_READING, "CREATE POLICY r ON profiles AS RESTRICTIVE FOR SELECT USING (id = 'me')"], True),
        ([FOR_READING, HIDDEN_BASE, "CREATE POLICY p ON base FOR SELECT TO guest USING (true)"], True),
        ([FOR_READING, HIDDEN_BASE, TO_GUEST], False),
    ],
)
def test_a_table_behind_a_view_that_can_only_be_read_has_to_show_its_rows_alone(
    home: Home, statements: list[str], hides: bool
) -> None:
    role = home.guest()
    home.put()
    home.sql(f"ALTER TABLE tracks RENAME TO base; {BESIDE}; {FOR_GUEST.format('tracks')}")
    home.sql("; ".join(statements) or "SELECT 1")
    assert is_refused(home, role) is hides
    if not hides:
        with closing(home.database(role)) as database:
            assert worked(database) is Commit.COMMITTED


@pytest.mark.parametrize(
    ("before", "then"),
    [("SELECT 1", HIDDEN_BASE), (f"{HIDDEN_BASE}; {TO_GUEST}", "DROP POLICY p ON base")],
    ids=["switched on", "policy gone"],
)
def test_a_view_that_begins_to_hide_rows_is_noticed(home: Home, before: str, then: str) -> None:
    role = viewed(home, INVOKER)
    home.sql(before)
    with closing(home.database(role)) as database:
        assert worked(database) is Commit.COMMITTED
        home.sql(then)
        with pytest.raises(SchemaError, match=f"{HIDES} hides rows of public.tracks"):
            database.finder.page(None, 9)


def test_a_view_that_begins_to_look_as_whoever_asks_is_noticed(home: Home) -> None:
    """As Supabase recommends it."""
    role = viewed(home, "")
    home.sql(f"{HIDDEN_BASE}; {TO_OWNER}")
    with closing(home.database(role)) as database:
        assert worked(database) is Commit.COMMITTED
        home.sql("ALTER VIEW tracks SET (security_invoker = true)")
        with pytest.raises(SchemaError, match=f"{HIDES} hides rows of public.tracks"):
            database.leases.lease(TRACK)


# -- while we work -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["read", "write"])
@pytest.mark.parametrize(
    ("before", "then"), [("", ON), (f"{ON}; {TO_ALL}", "DROP POLICY p ON tracks")], ids=["switched on", "policy gone"]
)
def test_rows_that_are_hidden_while_we_work_do_not_count_as_deleted(
    home: Home, before: str, then: str, way: str
) -> None:
    role = home.guest()
    home.put()
    home.sql(before or "SELECT 1")
    work: dict[str, Any] = {
        "read": lambda database: database.finder.page(None, 9),
        "write": lambda database: database.leases.lease(TRACK),
    }
    with closing(home.database(role)) as database:
        assert worked(database) is Commit.COMMITTED
        home.sql(then)
        for _ in range(2):
            with pytest.raises(SchemaError, match=f"{HIDES} hides rows of public.tracks"):
                work[way](database)
    assert is_refused(home, role)
    home.sql(POLICY)
    with closing(home.database(role)) as database:
        assert database.leases.lease(TRACK) is not None
    assert home.sql("SELECT track_id, gone_since FROM reconciler.reconciler_memory") == [(TRACK, None)]


def test_a_hand_over_table_that_hides_its_rows_is_told(home: Home) -> None:
    role = home.guest()
    home.database(SUPERUSER).close()
    home.sql(
        f"GRANT ALL ON ALL TABLES IN SCHEMA public, reconciler TO {role}; "
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA reconciler TO {role}"
    )
    told = statements(home.check(role))
    assert 'ON "public"."reconciler_image_task"' in told[-1]
    for statement in told:
        home.sql(statement)
    assert statements(home.check(role)) == []
