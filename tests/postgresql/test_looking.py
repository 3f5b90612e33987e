"""Looking at a server without changing anything: readers with few rights, replicas, and the SQL that is printed."""

import json
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.face import UNFIT
from reconciler.commands.checking.lines import Outcome
from reconciler.database import DatabaseReadOnly, Where, open_database
from reconciler.database.tables import OWN
from reconciler.domain.policy import Policy
from reconciler.ports import Commit
from tests.postgres import SUPERUSER, Server
from tests.postgresql.guest import APP_SCHEMA, TRACK, URL, Home, called, home, home_on, said, worked

__all__ = ["home"]

pytestmark = pytest.mark.slow


# -- readers -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def looker(home: Home) -> str:
    """May read the app's table, and nothing else."""
    role = home.role("looker")
    home.sql(f"GRANT SELECT ON tracks TO {role}")
    home.put()
    return role


def everything(home: Home) -> list[Any]:
    catalog = "SELECT oid, relname, relkind, relacl FROM pg_class WHERE relnamespace::regnamespace::text !~ '^pg_'"
    return [home.sql("SELECT * FROM tracks"), home.sql(catalog), home.sql("SELECT nspname FROM pg_namespace")]


def test_a_role_that_may_only_read_sees_what_is_to_be_done(home: Home, looker: str) -> None:
    before = everything(home)
    with closing(home.reader(looker)) as reader:
        assert not reader.remembers
        assert reader.finder.due(9) == (TRACK,)
        assert reader.finder.page(None, 9).work == (TRACK,)
        assert reader.peek(TRACK).track is not None
        assert reader.overview().tracks
        assert not reader.history(TRACK, 9)
        assert reader.view().balance is None
        assert reader.known_store() is None
    assert everything(home) == before


def test_a_dry_run_needs_no_more(home: Home, looker: str, tmp_path: Path) -> None:
    before = everything(home)
    result = called(tmp_path, home.url(looker), "run", "--once", "--dry-run", "--offline", "--json")
    assert result.exit_code == 3, result.output
    assert TRACK in result.stdout
    assert everything(home) == before


def test_a_schema_of_ours_that_is_empty_and_out_of_reach_is_no_hindrance(home: Home, looker: str) -> None:
    home.sql("CREATE SCHEMA reconciler")
    home.reader(looker).close()


def test_tasks_handed_over_before_the_first_run_are_seen(home: Home, looker: str) -> None:
    home.sql(
        "CREATE TABLE reconciler_image_task (track_id text, task_id text, created_at timestamptz DEFAULT now()); "
        f"GRANT SELECT ON reconciler_image_task TO {looker}"
    )
    home.sql("INSERT INTO reconciler_image_task VALUES (%s, 'theirs')", TRACK)
    with closing(home.reader(looker)) as reader:
        assert not reader.remembers
        assert reader.peek(TRACK).memory.handed == ("theirs",)


# -- replicas ----------------------------------------------------------------------------------------------------------


class Replica(Server):
    """A server that has become one: it follows nobody, and lets itself be read."""

    def _answers(self) -> bool:
        found = self.folder / "data/postmaster.pid"
        return super()._answers() or (found.exists() and found.read_text().split()[-1:] == ["standby"])

    def follow(self) -> None:
        self.stop()
        (self.folder / "data" / "standby.signal").touch()
        self.start()


def test_a_replica_is_read_and_neither_worked_on_nor_found_well() -> None:
    with Replica() as server, home_on(server) as home:
        home.put()
        server.follow()
        try:
            with closing(home.reader(SUPERUSER)) as reader:
                assert reader.finder.due(9) == (TRACK,)
            with pytest.raises(DatabaseReadOnly, match="read-only replica"):
                home.database(SUPERUSER)
            (told,) = [line for line in home.check(SUPERUSER) if line.outcome is Outcome.FAILED]
            assert "the server is a read-only replica. Use the address of the primary server" in told.said
            assert told.is_unfit
        finally:
            (server.folder / "data" / "standby.signal").unlink()
            server.restart()


READ_ONLY = "default_transaction_read_only"


@pytest.mark.parametrize("of", ["DATABASE {database}", "ROLE {role}", "ROLE {role} IN DATABASE {database}"])
def test_a_database_that_is_not_written_by_default_is_told_and_by_what_it_is_again(home: Home, of: str) -> None:
    role, where = home.guest(), of.format(database=f'"{home.name}"', role='"guest"')
    home.sql(f"ALTER {where} SET {READ_ONLY} = on")
    helps = f"BEGIN READ WRITE; ALTER {where} RESET {READ_ONLY}; COMMIT"
    with pytest.raises(DatabaseReadOnly, match="no writing by default") as caught:
        home.database(role)
    (told,) = said(home.check(role), Outcome.FAILED)
    for text in (str(caught.value), told):
        assert f"End that: {helps}; " in text
        assert "primary" not in text
    home.sql(helps)
    home.database(role).close()


def test_a_role_that_is_not_to_write_by_its_address_is_told_so(home: Home) -> None:
    url = f"{home.url(home.guest())}?options=-c%20{READ_ONLY}%3Don"
    with pytest.raises(DatabaseReadOnly, match=rf"End that: set {READ_ONLY} to off .*database\.url"):
        open_database(Where(url), Policy())


# -- the SQL that is printed -------------------------------------------------------------------------------------------

LAYOUT = (
    "SELECT table_schema, table_name, column_name, data_type, is_nullable, column_default "
    "FROM information_schema.columns WHERE table_name LIKE 'reconciler_%' ORDER BY 1, 2, ordinal_position"
)
INDEXES = "SELECT schemaname, indexdef FROM pg_indexes WHERE tablename LIKE 'reconciler_%' ORDER BY 2"
GUARDS = (
    "SELECT oid::regclass::text, relrowsecurity, relacl::text FROM pg_class "
    "WHERE relname LIKE 'reconciler_%' ORDER BY 1"
)
POLICIES = "SELECT * FROM pg_policies WHERE tablename LIKE 'reconciler_%'"


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_keep_every_text_is_refused(postgres: Server, tmp_path: Path, encoding: str) -> None:
    name = f"test_{encoding}_{os.getpid()}".lower()
    postgres.sql("postgres", f"CREATE DATABASE {name} TEMPLATE template0 LOCALE 'C' ENCODING {encoding}")
    postgres.sql(name, APP_SCHEMA)
    told = called(tmp_path, postgres.url(name), "check", "--offline")
    postgres.drop(name)
    assert told.exit_code == UNFIT
    assert f"its encoding is {encoding}" in told.output
    assert "Move the app to a database of encoding UTF8" in told.output


def printed(tmp_path: Path, *options: str) -> str:
    """Without any database: nothing is there."""
    result = called(tmp_path, "sqlite:///no/such/file.db", "schema", "--dialect", "postgres", *options)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("version", [15, 17])
def test_the_sql_that_is_printed_makes_what_the_program_makes(
    request: pytest.FixtureRequest, tmp_path: Path, version: int
) -> None:
    server = request.getfixturevalue("postgres" if version == 17 else "postgres15")
    with home_on(server) as by_hand, home_on(server) as by_program:
        by_program.database(SUPERUSER).close()
        by_hand.sql(json.loads(printed(tmp_path, "--json"))["tables"])
        for layout in (LAYOUT, INDEXES, GUARDS, POLICIES):
            assert by_hand.sql(layout) == by_program.sql(layout)
        by_hand.put()
        with closing(by_hand.database(SUPERUSER)) as database:
            assert worked(database) is Commit.COMMITTED
        assert by_hand.sql("SELECT image_url FROM tracks") == [(URL,)]


def test_the_whole_output_can_be_run_and_the_index_finds_what_is_missing(home: Home, tmp_path: Path) -> None:
    home.sql(printed(tmp_path))
    assert len(home.tables()) == len(OWN)
    assert home.sql("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'tracks'::regclass")[-1] == (
        "reconciler_without_image",
    )


def test_an_empty_database_needs_no_table_of_the_apps_for_it(postgres: Server, tmp_path: Path) -> None:
    with home_on(postgres, schema="") as empty:
        empty.sql(json.loads(printed(tmp_path, "--json"))["tables"])
        assert len(empty.tables()) == len(OWN)


def test_the_configured_database_decides_what_is_printed(home: Home, tmp_path: Path) -> None:
    url = home.url(SUPERUSER)
    assert "ENABLE ROW LEVEL SECURITY" in called(tmp_path, url, "schema").stdout
    assert "ENABLE ROW LEVEL SECURITY" not in called(tmp_path, url, "schema", "--dialect", "sqlite").stdout
    assert home.tables() == set()


def test_applying_makes_the_tables_of_the_configured_database_alone(home: Home, tmp_path: Path) -> None:
    url = home.url(SUPERUSER)
    refused = called(tmp_path, url, "schema", "--apply", "--dialect", "sqlite")
    assert (refused.exit_code, home.tables()) == (2, set())
    assert "which is postgres" in refused.stderr
    for options in ([], ["--dialect", "postgres"]):
        assert called(tmp_path, url, "schema", "--apply", *options).exit_code == 0
        assert len(home.tables()) == len(OWN)
