"""A guest with few rights: what is missing is told with the statement that helps, and nobody else sees our tables."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from reconciler.commands.checking.lines import Outcome
from reconciler.database import DatabaseDenied, SchemaError
from reconciler.database.connection import connect
from reconciler.database.handing import Handing
from reconciler.database.schema import probe, refuse_missing_rights
from reconciler.database.tables import OWN
from reconciler.ports import Change, Commit, Ending
from tests.postgres import SUPERUSER, Bouncer, Server, binaries
from tests.postgresql.guest import (
    APP_SCHEMA,
    PASSWORD,
    STUCK,
    TRACK,
    URL,
    Home,
    called,
    ending,
    held_by,
    home,
    home_on,
    readme_sql,
    said,
    statements,
    worked,
)
from tests.systemd.host import blocks

__all__ = ["home"]

pytestmark = pytest.mark.slow

OTHER, THIRD = TRACK.replace("1", "2"), TRACK.replace("1", "3")
README_PASSWORD = "choose-a-long-one"
SUPABASE = """
CREATE ROLE anon NOLOGIN; CREATE ROLE authenticated NOLOGIN; CREATE ROLE service_role NOLOGIN BYPASSRLS;
GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;
"""
"""Its roles, and what they get of every table that is made."""
ROLES = ["anon", "authenticated", "service_role"]


def done_as(home: Home, role: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(home.server.url(home.name), autocommit=True) as connection:
        connection.execute(f"SET ROLE {role}")
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


# -- the README's role -------------------------------------------------------------------------------------------------


@pytest.fixture
def supabase(postgres: Server, bouncer: Bouncer) -> Iterator[Home]:
    """With the README's role in it, through a pooler."""
    with home_on(postgres, bouncer) as made:
        made.roles += ["reconciler", *ROLES]
        made.passwords["reconciler"] = README_PASSWORD
        made.sql(SUPABASE)
        role, supabase, *_ = readme_sql()
        made.sql(role)
        made.sql(supabase)
        made.put()
        yield made


def test_the_readmes_role_can_do_the_whole_job(supabase: Home) -> None:
    with closing(supabase.database("reconciler")) as database:
        assert database.finder.due(9) == (TRACK,)
        held = held_by(database)
        handing = Handing(database.connection, database.app)
        done_as(supabase, "service_role", f"INSERT INTO reconciler_image_task VALUES ('{TRACK}', 'theirs')")
        handing.hand_over(TRACK, "mine")
        assert sorted(database.leases.peek(TRACK).memory.handed) == ["mine", "theirs"]
        assert handing.owners("theirs") == (TRACK,)
        assert database.leases.commit_all([ending(held)]) == [Commit.COMMITTED]
        database.notes.put("said", "so")
        database.prune()
    (row,) = supabase.sql("SELECT image_url, resolution, updated_at > created_at FROM tracks")
    assert row == (URL, "2048x1152", True)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tracks SET title = 'x'",
        "UPDATE tracks SET status = 'x'",
        "DELETE FROM tracks",
        "INSERT INTO tracks (title, prompt) VALUES ('x', 'y')",
        "TRUNCATE tracks",
        "CREATE INDEX ON tracks (title)",
        "ALTER TABLE tracks ADD COLUMN x text",
        "DELETE FROM reconciler_image_task",
        "CREATE TABLE public.another (x text)",
    ],
)
def test_everything_else_is_refused_to_the_readmes_role(supabase: Home, statement: str) -> None:
    role = psycopg.connect(supabase.url("reconciler"), autocommit=True, prepare_threshold=None)
    with closing(role), pytest.raises(psycopg.errors.InsufficientPrivilege):
        role.execute(statement.encode())


def test_check_finds_nothing_missing_of_the_readmes_role(supabase: Home) -> None:
    lines = supabase.check("reconciler")
    assert {line.outcome for line in lines} == {Outcome.OK}
    assert "as role reconciler" in lines[0].said


def test_the_status_is_granted_where_it_is_to_be_written(supabase: Home) -> None:
    wanted = 'GRANT UPDATE ("status") ON "public"."tracks" TO "reconciler";'
    assert statements(supabase.check("reconciler", restore_archived=True)) == [wanted]
    supabase.sql(readme_sql()[2])
    assert statements(supabase.check("reconciler", restore_archived=True)) == []


def test_nothing_of_ours_is_for_the_public_roles(supabase: Home) -> None:
    supabase.sql(
        "ALTER DEFAULT PRIVILEGES FOR ROLE reconciler GRANT ALL ON TABLES TO anon, authenticated, PUBLIC; "
        "ALTER DEFAULT PRIVILEGES FOR ROLE reconciler GRANT ALL ON SEQUENCES TO anon, authenticated"
    )
    supabase.database("reconciler").close()
    supabase.sql("GRANT USAGE ON SCHEMA reconciler TO anon, authenticated")
    assert len(supabase.tables()) == len(OWN)
    granted = supabase.sql(
        "SELECT rolname, relname FROM pg_roles r, pg_class c WHERE rolname IN ('anon', 'authenticated') "
        "AND relname LIKE 'reconciler_%' AND CASE relkind "
        "WHEN 'r' THEN has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES') "
        "WHEN 'S' THEN has_sequence_privilege(r.oid, c.oid, 'USAGE, SELECT, UPDATE') ELSE false END"
    )
    assert granted == []
    guarded = "SELECT bool_and(relrowsecurity) FROM pg_class WHERE relname LIKE 'reconciler_%' AND relkind = 'r'"
    assert supabase.sql(guarded) == [(True,)]
    for table in sorted(supabase.tables()):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            done_as(supabase, "anon", f"SELECT * FROM {table}")


UPSERT = (
    "INSERT INTO reconciler_image_task (track_id, task_id) SELECT 'a', 'b' ON CONFLICT (track_id, task_id) DO NOTHING "
    "RETURNING 1"
)
"""As supabase-js has it done, duplicates ignored."""


def test_the_apps_server_hands_over_and_browsers_do_not(supabase: Home) -> None:
    assert done_as(supabase, "service_role", UPSERT) == [(1,)]
    assert done_as(supabase, "service_role", UPSERT) == []
    for role in ("anon", "authenticated"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            done_as(supabase, role, UPSERT)
    assert supabase.sql("SELECT track_id, task_id, created_at IS NOT NULL FROM reconciler_image_task") == [
        ("a", "b", True)
    ]


@pytest.fixture
def hosted(postgres: Server) -> Iterator[Home]:
    """An admin who is no superuser, as hosts give one, owns the database; the statements are his."""
    with home_on(postgres, schema="") as made:
        made.roles += ["reconciler", "admin", *ROLES]
        made.passwords["reconciler"] = README_PASSWORD
        made.sql(SUPABASE + f"CREATE ROLE admin LOGIN CREATEROLE PASSWORD '{PASSWORD}'; GRANT admin TO {SUPERUSER}")
        made.sql(f"ALTER DATABASE {made.name} OWNER TO admin")
        made.sql("ALTER SCHEMA public OWNER TO admin")
        yield made


def done_by_admin(hosted: Home, *statements: str) -> None:
    with psycopg.connect(hosted.url("admin"), autocommit=True) as admin:
        for statement in statements:
            admin.execute(statement.encode())


def test_an_admin_who_is_no_superuser_can_run_the_readmes_statements(hosted: Home) -> None:
    *made, gone = readme_sql()
    done_by_admin(hosted, APP_SCHEMA, *made)
    hosted.database("reconciler").close()
    assert len(hosted.tables()) == len(OWN)
    done_by_admin(hosted, "CREATE INDEX reconciler_without_image ON tracks (image_url)", gone)
    assert hosted.tables() == set()
    assert hosted.sql("SELECT relname FROM pg_class WHERE relname LIKE 'reconciler%'") == []
    assert hosted.sql("SELECT 1 FROM pg_roles WHERE rolname = 'reconciler'") == []


# -- the way back, by the commands of systemd/README.md ----------------------------------------------------------------


def commands(program: str) -> str:
    (found,) = [block for block in blocks("Upgrade, and back") if program in block]
    return found


@pytest.fixture
def typed(hosted: Home, tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[bytes]"]:
    """Runs commands in a shell that knows the program's own address; what they save is in `tmp_path`."""

    def run(command: str, url: str = "", *, check: bool = True) -> "subprocess.CompletedProcess[bytes]":
        path = f"{binaries(hosted.server.version)}:{os.environ['PATH']}"
        environ = {**os.environ, "PATH": path, "URL": url or hosted.url("reconciler")}
        command = command.replace("/var/backups", str(tmp_path))
        return subprocess.run(["bash", "-ec", command], env=environ, check=check, capture_output=True)

    return run


@pytest.mark.parametrize("handed_over_in", ["public", "reconciler"])
def test_the_way_back_to_older_tables_keeps_what_was_handed_over(
    hosted: Home, typed: Callable[..., "subprocess.CompletedProcess[bytes]"], handed_over_in: str
) -> None:
    done_by_admin(hosted, APP_SCHEMA, *readme_sql()[:-1])
    if handed_over_in == "reconciler":
        done_by_admin(hosted, "DROP TABLE public.reconciler_image_task")
    hosted.put()
    with closing(hosted.database("reconciler")) as database:
        database.notes.put("said", "before")
        tables, found = hosted.tables(), hosted.check("reconciler")
        typed(commands("pg_dump"))
        database.notes.put("said", "after")
        Handing(database.connection, database.app).hand_over(TRACK, "since")
        database.connection.db.execute_sql("CREATE TABLE reconciler.reconciler_newer (x text)")
    typed(commands("psql"))
    assert (hosted.tables(), hosted.check("reconciler")) == (tables, found)
    with closing(hosted.database("reconciler")) as database:
        assert database.notes.get("said") == "before"
        assert database.leases.peek(TRACK).memory.handed == ("since",)
        assert database.leases.commit_all([ending(held_by(database))]) == [Commit.COMMITTED]


def test_a_dump_that_fails_leaves_the_one_before_and_nobody_else_reads_it(
    hosted: Home, typed: Callable[..., "subprocess.CompletedProcess[bytes]"], tmp_path: Path
) -> None:
    done_by_admin(hosted, APP_SCHEMA, *readme_sql()[:-1])
    hosted.database("reconciler").close()
    typed(commands("pg_dump"))
    saved = tmp_path / "reconciler.sql"
    assert saved.stat().st_mode & 0o777 == 0o600
    before = saved.read_bytes()
    assert typed(commands("pg_dump"), hosted.url("admin"), check=False).returncode != 0
    assert saved.read_bytes() == before


# -- what is missing ---------------------------------------------------------------------------------------------------


def test_a_role_without_any_right_is_told_all_of_them_and_gets_in_by_them(home: Home) -> None:
    home.put()
    role = home.role("guest")
    home.sql("REVOKE USAGE ON SCHEMA public FROM PUBLIC")
    for _ in range(2):  # what is out of reach is looked at once it is not
        for statement in statements(home.check(role)):
            home.sql(statement)
    assert {line.outcome for line in home.check(role)} == {Outcome.OK}
    with closing(home.database(role)) as database:
        assert worked(database) is Commit.COMMITTED
    assert home.sql("SELECT image_url FROM tracks") == [(URL,)]


@pytest.mark.parametrize("table", ["tracks", "public.tracks"])
def test_a_table_out_of_reach_is_not_taken_for_none(home: Home, table: str) -> None:
    role = home.role("guest")
    home.sql("REVOKE USAGE ON SCHEMA public FROM PUBLIC")
    with pytest.raises(DatabaseDenied, match="this role may not use schema public"):
        home.reader(role, table=table)
    lines = home.check(role, table=table)
    assert statements(lines)[0] == 'GRANT USAGE ON SCHEMA "public" TO "guest";'
    assert not [line.said for line in lines if "there is no table" in line.said]


def test_each_missing_right_is_a_line_with_its_statement(home: Home) -> None:
    lines = home.check(home.role("guest"))
    assert [(line.outcome, line.is_unfit) for line in lines] == [
        (Outcome.OK, False),
        *[(Outcome.FAILED, True)] * 3,
        (Outcome.WARNING, False),
    ]
    assert statements(lines)[:3] == [
        'GRANT SELECT ON "public"."tracks" TO "guest";',
        'GRANT UPDATE ("image_url", "updated_at", "resolution") ON "public"."tracks" TO "guest";',
        'CREATE SCHEMA "reconciler"; GRANT USAGE, CREATE ON SCHEMA "reconciler" TO "guest";',
    ]


@pytest.mark.parametrize(
    ("taken", "given"),
    [
        ("SELECT ON tracks", 'GRANT SELECT ON "public"."tracks" TO "guest";'),
        ("UPDATE (resolution) ON tracks", 'GRANT UPDATE ("resolution") ON "public"."tracks" TO "guest";'),
        ("CREATE ON SCHEMA reconciler", 'GRANT USAGE, CREATE ON SCHEMA "reconciler" TO "guest";'),
        ("USAGE ON SCHEMA reconciler", 'GRANT USAGE, CREATE ON SCHEMA "reconciler" TO "guest";'),
    ],
)
def test_one_missing_right_is_told_alone(home: Home, taken: str, given: str) -> None:
    role = home.guest()
    assert statements(home.check(role)) == []
    home.sql(f"REVOKE {taken} FROM {role}")
    assert statements(home.check(role)) == [given]
    home.sql(given)
    assert statements(home.check(role)) == []


@pytest.mark.parametrize("taken", ["SELECT ON tracks", "UPDATE (image_url) ON tracks", "USAGE ON SCHEMA reconciler"])
def test_no_work_begins_without_a_right(home: Home, taken: str) -> None:
    role = home.guest()
    home.sql(f"REVOKE {taken} FROM {role}")
    connection = connect(home.url(role), None)
    with closing(connection), pytest.raises(DatabaseDenied, match="reconciler check"):
        refuse_missing_rights(connection, probe(connection, "tracks"), revives=False)


def test_a_right_that_is_lost_during_the_work_is_told_and_costs_no_track_anything(home: Home) -> None:
    role = home.guest()
    home.put()
    home.put(OTHER)
    home.put(THIRD)
    with closing(home.database(role)) as database:
        saved, *written = (held_by(database, each) for each in (TRACK, OTHER, THIRD))
        endings = [ending(each) for each in written]
        home.sql(f"REVOKE UPDATE (resolution) ON tracks FROM {role}")
        outcomes = database.leases.commit_all([Ending(saved.lease, Change(saved.memory, STUCK)), *endings])
        assert outcomes[0] is Commit.COMMITTED
        for outcome in outcomes[1:]:
            assert isinstance(outcome, DatabaseDenied)
            assert re.search('may not update "resolution" of "public"."tracks".*reconciler check', str(outcome))
        with pytest.raises(DatabaseDenied):
            home.database(role)
        home.sql(f"GRANT UPDATE (resolution) ON tracks TO {role}")
        assert database.leases.commit_all(endings) == [Commit.COMMITTED] * 2, "the leases held"
    assert home.sql("SELECT came FROM reconciler.reconciler_attempt") == []


def test_a_right_that_a_trigger_lacks_is_of_its_row_alone(home: Home) -> None:
    role = home.guest()
    home.put()
    home.put(OTHER)
    home.sql(
        "CREATE TABLE noted (id uuid); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO noted VALUES (NEW.id); RETURN NEW; END $$; CREATE TRIGGER note BEFORE UPDATE ON tracks "
        f"FOR EACH ROW WHEN (NEW.id = '{OTHER}') EXECUTE FUNCTION note()"
    )
    with closing(home.database(role)) as database:
        endings = [ending(held_by(database, each)) for each in (TRACK, OTHER)]
        assert database.leases.commit_all(endings) == [Commit.COMMITTED, Commit.REFUSED]


def test_who_may_not_write_pictures_any_more_can_still_be_paused(home: Home) -> None:
    role = home.guest()
    home.database(role).close()
    home.sql(f"REVOKE UPDATE (image_url) ON tracks FROM {role}")
    with pytest.raises(DatabaseDenied):
        home.database(role)
    with closing(home.database(role, works=False)) as database:
        assert database.gate.pause(paused=True)


def test_a_schema_that_may_be_made_is_no_problem(home: Home) -> None:
    role = home.guest()
    home.sql(f"DROP SCHEMA reconciler; GRANT CREATE ON DATABASE {home.name} TO {role}")
    assert statements(home.check(role)) == []
    home.database(role).close()
    assert len(home.tables()) == len(OWN)


def test_a_right_to_some_columns_is_enough_and_the_others_are_told(home: Home) -> None:
    role = home.guest()
    home.sql(f"REVOKE SELECT ON tracks FROM {role}; GRANT SELECT (id, status, image_url, title) ON tracks TO {role}")
    home.put(mood="calm", title="Sea")
    lines = home.check(role)
    assert statements(lines) == ['GRANT SELECT ON "public"."tracks" TO "guest";']
    with closing(home.reader(role)) as reader:
        track = reader.peek(TRACK).track
    assert track is not None
    assert (track.title, track.mood) == ("Sea", None)
    assert reader.app.unused["mood"] == "column mood may not be read by this role"


def test_tables_that_somebody_else_made_for_us_are_opened_by_what_is_told(home: Home) -> None:
    role = home.guest()
    home.put()
    home.database(SUPERUSER).close()
    told = statements(home.check(role))
    assert [statement.split(" ON ")[0] for statement in told[:2]] == [
        "GRANT SELECT, INSERT, UPDATE, DELETE",
        "GRANT USAGE",
    ]
    assert sum(statement.count("CREATE POLICY") for statement in told) == len(OWN)
    for statement in told:
        home.sql(statement)
    assert statements(home.check(role)) == []
    with closing(home.database(role)) as database:
        assert worked(database) is Commit.COMMITTED
        Handing(database.connection, database.app).hand_over(TRACK, "task")
        assert database.leases.peek(TRACK).memory.handed == ("task",)


def test_older_tables_that_somebody_else_made_for_us_are_brought_up_to_date_by_whom_is_told(
    home: Home, tmp_path: Path
) -> None:
    role, owner = home.guest(), home.role("keeper")
    home.sql(f"GRANT SELECT ON tracks TO {owner}; GRANT CREATE, USAGE ON SCHEMA reconciler, public TO {owner}")
    assert called(tmp_path, home.url(owner), "schema", "--apply").exit_code == 0
    for statement in statements(home.check(role)):
        home.sql(statement)
    home.database(role).close()
    home.sql("UPDATE reconciler.reconciler_schema SET version = version - 1")
    helps = 'Run `reconciler schema --apply` as "keeper", who owns them'
    (failed,) = said(home.check(role), Outcome.FAILED)
    assert helps in failed
    for opening, error in ((home.reader, SchemaError), (home.database, DatabaseDenied)):
        with pytest.raises(error, match=helps):
            opening(role)
    assert said(home.check(owner), Outcome.FAILED)[-1].endswith("Run `reconciler schema --apply`")
    assert called(tmp_path, home.url(owner), "schema", "--apply").exit_code == 0
    assert said(home.check(role), Outcome.FAILED) == []
    home.database(role).close()


def test_a_hand_over_table_elsewhere_is_told_and_moved_by_what_is_told(home: Home) -> None:
    role = home.guest()
    home.sql(f"REVOKE CREATE ON SCHEMA public FROM {role}")
    home.put()
    with closing(home.database(role)) as database:
        Handing(database.connection, database.app).hand_over(TRACK, "task")
    assert home.sql("SELECT task_id FROM reconciler.reconciler_image_task") == [("task",)]
    lines = home.check(role)
    assert len(said(lines, Outcome.WARNING, "rights")) == 1
    assert said(lines, Outcome.FAILED) == []
    for statement in statements(lines):
        home.sql(statement)
    assert statements(home.check(role)) == []
    with closing(home.database(role)) as database:
        assert database.leases.peek(TRACK).memory.handed == ("task",)


def test_one_that_an_admin_makes_while_it_is_open_is_found(home: Home) -> None:
    role = home.guest()
    home.sql(f"REVOKE CREATE ON SCHEMA public FROM {role}")
    home.put()
    home.database(role).close()
    with closing(home.database(role)) as database, closing(home.reader(role)) as reader:
        assert database.is_as_found() == reader.is_as_found() == True  # noqa: E712
        for statement in statements(home.check(role)):
            home.sql(statement)
        assert database.is_as_found() == reader.is_as_found() == False  # noqa: E712


def test_what_was_handed_over_elsewhere_is_known_though_one_could_be_made_beside_the_apps_by_now(home: Home) -> None:
    role = home.guest()
    home.sql(f"REVOKE CREATE ON SCHEMA public FROM {role}")
    home.put()
    with closing(home.database(role)) as database:
        Handing(database.connection, database.app).hand_over(TRACK, "task")
    home.sql(f"GRANT CREATE ON SCHEMA public TO {role}")
    with closing(home.database(role)) as database:
        assert database.leases.peek(TRACK).memory.handed == ("task",)
    assert "public.reconciler_image_task" not in home.tables()


MOVED = "CREATE SCHEMA music; ALTER TABLE tracks SET SCHEMA music"


def test_where_the_apps_table_moves_tasks_are_handed_over_there(home: Home) -> None:
    home.database(SUPERUSER).close()
    home.put(image_url="https://covers.example/there.jpg")
    home.sql(MOVED)
    warned = said(home.check(SUPERUSER, table="music.tracks"), Outcome.WARNING, "own tables")
    assert [line.partition(", but ")[2] for line in warned] == [
        "for reconciler_image_task, which was lost: the next `run` makes it anew"
    ]
    with closing(home.database(SUPERUSER, table="music.tracks")) as database:
        Handing(database.connection, database.app).hand_over(TRACK, "task")
        assert database.finder.due(9) == (TRACK,)
    assert home.sql("SELECT task_id FROM music.reconciler_image_task") == [("task",)]
    secured = "SELECT relrowsecurity FROM pg_class WHERE oid = 'music.reconciler_image_task'::regclass"
    assert home.sql(secured) == [(True,)]
    lines = home.check(SUPERUSER, table="music.tracks")
    assert said(lines, Outcome.WARNING, "own tables") == said(lines, Outcome.FAILED) == []


def test_where_it_moves_to_a_schema_that_is_not_ours_tasks_are_handed_over_among_our_own(home: Home) -> None:
    role = home.guest()
    home.database(role).close()
    home.put()
    home.sql(f"{MOVED}; GRANT USAGE ON SCHEMA music TO {role}")
    with closing(home.database(role, table="music.tracks")) as database:
        assert database.finder.due(9) == (TRACK,)
    assert "reconciler.reconciler_image_task" in home.tables()
    (told,) = said(home.check(role, table="music.tracks"), Outcome.WARNING, "rights")
    assert told.startswith('there is no table "music"."reconciler_image_task"')


def test_a_lost_hand_over_table_is_left_to_the_admin_where_this_role_may_make_none(home: Home) -> None:
    role = home.guest()
    home.database(role).close()
    home.sql(f"DROP TABLE reconciler_image_task; REVOKE CREATE ON SCHEMA public FROM {role}")
    lines = home.check(role)
    (told,) = said(lines, Outcome.WARNING, "own tables")
    assert told.endswith("but for reconciler_image_task, which was lost: make it as told above under rights")
    for statement in statements(lines):
        home.sql(statement)
    assert said(home.check(role), Outcome.WARNING, "own tables") == []


def test_the_hand_over_table_that_is_told_is_like_the_one_that_is_made(home: Home) -> None:
    sql = (
        "SELECT column_name, data_type, is_nullable, column_default IS NULL FROM information_schema.columns "
        "WHERE table_name = 'reconciler_image_task' ORDER BY ordinal_position"
    )
    key = "SELECT indexdef FROM pg_indexes WHERE tablename = 'reconciler_image_task'"
    role = home.role("plain")
    for statement in statements(home.check(role)):
        home.sql(statement)
    told = home.sql(sql), home.sql(key)
    home.sql("DROP TABLE reconciler_image_task; DROP SCHEMA reconciler CASCADE")
    home.database(SUPERUSER).close()
    assert (home.sql(sql), home.sql(key)) == told


@pytest.mark.parametrize(
    ("done", "told"),
    [
        (
            "GRANT SELECT ON reconciler_image_task TO anon",
            'REVOKE ALL ON "public"."reconciler_image_task" FROM anon;',
        ),
        (
            "REVOKE INSERT ON reconciler_image_task FROM service_role",
            'GRANT SELECT, INSERT ON "public"."reconciler_image_task" TO service_role;',
        ),
    ],
)
def test_a_hand_over_table_that_the_wrong_ones_may_use_is_told(supabase: Home, done: str, told: str) -> None:
    supabase.sql(done)
    lines = supabase.check("reconciler")
    assert len(said(lines, Outcome.WARNING, "rights")) == 1
    assert statements(lines) == [told]
    supabase.sql(told)
    assert statements(supabase.check("reconciler")) == []


def test_check_ends_with_78_and_changes_nothing(home: Home, tmp_path: Path) -> None:
    role = home.role("guest")
    result = called(tmp_path, home.url(role), "check", "--offline")
    assert result.exit_code == 78, result.output
    assert "GRANT SELECT ON" in result.stdout
    assert home.tables() == set()
