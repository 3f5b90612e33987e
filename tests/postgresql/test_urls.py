"""Every form of address leads to the database, and none that fails gives its password away."""

from contextlib import closing
from typing import Any
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from reconciler.cli import app as command_line
from reconciler.config import Settings
from reconciler.database import DatabaseError, DatabaseGone, DatabaseMissing, Where, open_database, open_reader
from reconciler.domain.policy import Policy
from reconciler.ports import Commit
from tests.postgres import HOST, SUPERUSER, Bouncer, free_port
from tests.postgresql.guest import APP_SCHEMA, TRACK, URL, Home, home, worked

__all__ = ["home"]

pytestmark = pytest.mark.slow

SECRET = "s3cret p@:w/?#%+word"
LOGIN = f"reader:{quote(SECRET, safe='')}@"


@pytest.fixture
def reader(home: Home) -> str:
    """A role with a password of odd letters, and a track for it to read."""
    home.put()
    home.passwords["reader"] = SECRET
    role = home.role("reader", f"LOGIN PASSWORD '{SECRET}'")
    home.sql(f"GRANT SELECT ON tracks TO {role}")
    return role


def accepted(url: str, **database: Any) -> Where:
    """As the configuration takes it."""
    settings = Settings.model_validate({"database": {"url": url, **database}}).database
    return Where(settings.url.get_secret_value(), settings.table, {}, settings.schema_)


def read(url: str, **database: Any) -> tuple[str, ...]:
    with closing(open_reader(accepted(url, **database), Policy())) as reader:
        return tuple(reader.finder.due(9))


# -- forms -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        "postgresql://{login}{host}:{port}/{name}",
        "postgres://{login}{host}:{port}/{name}",
        "postgresql://{login}localhost:{port}/{name}",
        "postgresql://{login}{host}:{port}/{name}?pgbouncer=true",
        "postgresql://{login}{host}:{port}/{name}?sslmode=disable&pgbouncer=true&connect_timeout=5",
        "postgresql://{login}{host}:{port}/{name}?sslmode=prefer",
        "postgresql://{login}{host}:{port}/{name}?application_name=a+b%20c",
        "postgresql://{login}{host}:{port}/{name}?options=-c%20statement_timeout%3D9s%20-c%20search_path%3Dpublic",
        "postgresql://{login}/{name}?host={folder}&port={port}",
        "postgresql://{login}/{name}?host={encoded}&port={port}",
        "postgresql://{login}{encoded}:{port}/{name}",
        "postgresql:///{name}?host={folder}&port={port}&user=reader&password={password}",
        "postgresql://{login}{host}:{closed},{host}:{port}/{name}?target_session_attrs=read-write",
        "postgresql://{login}{host}:{port},{host}:{closed}/{name}?target_session_attrs=read-write",
    ],
)
def test_each_form_leads_there(home: Home, reader: str, form: str) -> None:
    url = form.format(
        login=LOGIN,
        password=quote(SECRET, safe=""),
        host=HOST,
        port=home.server.port,
        name=home.name,
        folder=home.server.folder,
        encoded=quote(str(home.server.folder), safe=""),
        closed=free_port(),
    )
    assert read(url) == (TRACK,)


def test_odd_names_of_role_and_database_are_encoded(home: Home) -> None:
    role, name = home.role("an odd@name", f"LOGIN PASSWORD '{SECRET}'"), f"odd {home.name}/?"
    home.passwords[role] = SECRET
    home.server.sql(SUPERUSER, f'CREATE DATABASE "{name}"')
    try:
        home.server.sql(name, f'{APP_SCHEMA} GRANT SELECT ON tracks TO "{role}"')
        assert read(home.server.url(name, role, SECRET).replace(quote(name), quote(name, safe=""))) == ()
    finally:
        home.server.drop(name)


def test_parameters_reach_the_server_as_they_are(home: Home, reader: str) -> None:
    url = f"{home.url(reader)}?application_name=a+b%20c&options=-c%20search_path%3Dpublic%20-c%20work_mem%3D123kB"
    with closing(open_reader(accepted(url), Policy())) as opened, opened.connection.reading():
        asked = "SELECT current_setting('application_name'), current_setting('work_mem')"
        assert opened.connection.db.execute_sql(asked).fetchall() == [("a+b c", "123kB")]


def test_the_same_through_a_pooler(home: Home, bouncer: Bouncer, reader: str) -> None:
    bouncer.admit(reader, SECRET)
    for options in ("", "?pgbouncer=true&sslmode=prefer"):
        assert read(bouncer.url(home.name, reader, SECRET) + options) == (TRACK,)


# -- where the table is ------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(home: Home) -> Home:
    """The app's table lies in a schema of its own."""
    home.put()
    home.sql("CREATE SCHEMA music; ALTER TABLE tracks SET SCHEMA music")
    return home


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("way", ["named", "of the role", "of the database"])
def test_a_table_in_another_schema_is_found(elsewhere: Home, bouncer: Bouncer, way: str, pooled: bool) -> None:
    role = elsewhere.role("worker")
    elsewhere.sql(f"GRANT ALL ON SCHEMA music TO {role}; GRANT ALL ON music.tracks TO {role}")
    elsewhere.sql(f"GRANT CREATE ON DATABASE {elsewhere.name} TO {role}")
    elsewhere.bouncer = bouncer if pooled else None
    whose = {"of the role": f"ROLE {role}", "of the database": f"DATABASE {elsewhere.name}"}
    if way in whose:
        elsewhere.sql(f"ALTER {whose[way]} SET search_path = nowhere, music")
    where = accepted(elsewhere.url(role), table="music.tracks" if way == "named" else "tracks", schema="mine")
    with closing(open_database(where, Policy())) as database:
        assert worked(database) is Commit.COMMITTED
    assert elsewhere.sql("SELECT image_url FROM music.tracks") == [(URL,)]
    assert {"music.reconciler_image_task", "mine.reconciler_memory"} <= elsewhere.tables()


def test_a_table_that_no_path_leads_to_is_not_found(elsewhere: Home) -> None:
    with pytest.raises(DatabaseError, match="there is no table tracks"):
        read(elsewhere.url(SUPERUSER))


# -- what fails --------------------------------------------------------------------------------------------------------

WRONG = "postgresql://reader:wr0ng%40secret@"
FAILURES = {
    "wrong password": (WRONG + "{host}:{port}/{name}", DatabaseMissing, "password authentication failed", 78),
    "unknown role": ("postgresql://who:wr0ng@{host}:{port}/{name}", DatabaseMissing, "authentication failed", 78),
    "no password": ("postgresql://reader@{host}:{port}/{name}", DatabaseMissing, "no password supplied", 78),
    "unknown database": ("postgresql://{login}{host}:{port}/nosuch", DatabaseMissing, '"nosuch" does not exist', 78),
    "no way in": ("postgresql://{login}{host}:{port}/{shut}", DatabaseMissing, "permission denied for database", 78),
    "no encryption": ("postgresql://{login}{host}:{port}/{name}?sslmode=require", DatabaseMissing, "sslmode", 78),
    "no certificate": ("postgresql://{login}{host}:{port}/{name}?sslmode=verify-full", DatabaseMissing, "sslmode", 78),
    "wrong mode": ("postgresql://{login}{host}:{port}/{name}?sslmode=maybe", DatabaseMissing, "database.url", 78),
    "wrong parameter": ("postgresql://{login}{host}:{port}/{name}?colour=red", DatabaseMissing, "database.url", 78),
    "unknown host": (WRONG + "nowhere.invalid:5432/{name}", DatabaseGone, "nowhere.invalid", 1),
    "closed port": (WRONG + "{host}:{closed}/{name}", DatabaseGone, "Connection refused", 1),
    "all closed": (WRONG + "{host}:{closed},{host}:{closed}/{name}", DatabaseGone, "Connection refused", 1),
    "no socket": ("postgresql://{login}/{name}?host=/no/such/folder", DatabaseGone, "/no/such/folder", 1),
    "none to write": (
        "postgresql://{login}{host}:{port}/{name}?target_session_attrs=standby",
        DatabaseGone,
        "hot standby",
        1,
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_says_what_where_and_what_to_do_and_no_password(
    home: Home, reader: str, case: str, tmp_path: Any
) -> None:
    form, kind, says, code = FAILURES[case]
    shut = home.server.create()
    home.server.sql(SUPERUSER, f"REVOKE CONNECT ON DATABASE {shut} FROM PUBLIC")
    url = form.format(login=LOGIN, host=HOST, port=home.server.port, name=home.name, shut=shut, closed=free_port())
    try:
        with pytest.raises(DatabaseError) as caught:
            open_reader(accepted(url), Policy())
        assert type(caught.value) is kind
        told = [str(caught.value), *cli(tmp_path, url, code, "status"), *cli(tmp_path, url, code, "check", "--offline")]
    finally:
        home.server.drop(shut)
    for text in told:
        assert says in text
        assert not [part for part in (SECRET, quote(SECRET, safe=""), "wr0ng") if part in text]


@pytest.mark.parametrize("command", [("check", "--offline"), ("run", "--once")], ids=" ".join)
@pytest.mark.parametrize(
    "rest",
    [
        "u:wr0ng%00secret@h/n",
        "u:wr0ng%FFsecret@h/n",
        "u@h/n?sslpassword=wr0ng%00secret",
        "u@h/n?password=wr0ng&secret",
        "u:wr0ng\uff1asecret@h/n",
        "u:wr0ng\udcffsecret@h/n",
    ],
)
def test_an_address_that_cannot_be_read_is_not_quoted(
    rest: str, command: tuple[str, ...], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILER_DATABASE__URL", f"postgresql://{rest}")
    monkeypatch.setenv("RECONCILER_KIE__API_KEY", "key")
    (told,) = cli(tmp_path, "sqlite:///not-this-one.db", 78, *command)
    assert "database" in told.lower()
    assert not [part for part in ("wr0ng", "secret") if part in told]


def cli(folder: Any, url: str, code: int, *arguments: str) -> list[str]:
    config = folder / "config.toml"
    kie, storage = 'allow_insecure_hosts = ["127.0.0.1"]', f'path = "{folder}/images"'
    config.write_text(f'[database]\nurl = "{url}"\n[kie]\n{kie}\n[storage]\n{storage}\n')
    result = CliRunner().invoke(command_line, ["--config", str(config), *arguments])
    assert result.exit_code == code, result.output
    return [result.output]
