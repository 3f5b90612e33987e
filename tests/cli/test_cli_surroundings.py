"""Bad input and bad surroundings: a clear message, the right exit code, nothing bought, no secret told."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from reconciler import database
from reconciler.app import inside, once
from reconciler.cli import app as command_line
from tests.rights import unreadable

if TYPE_CHECKING:
    from tests.cli.conftest import Install

COMMANDS = [("run", "--once"), ("run", "--once", "--dry-run"), ("explain", "a"), ("schema", "--apply")]


def test_three_mistakes_in_the_configuration_are_three_lines(install: Install) -> None:
    install.configure(kie__purchase_limit='"many"', kie__modle='"x"', budget__per_track="9")
    result = install.call("run", "--once")
    assert result.exit_code == 78
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    for name in ("purchase_limit", "modle", "per_track"):
        assert sum(f"{install.config}: " in line and name in line for line in lines) >= 1
    assert result.stdout == ""


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_configuration_that_may_not_be_read_is_unfit_and_no_bad_usage(
    install: Install, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable(monkeypatch, install.config)
    result = install.call(*command)
    assert result.exit_code == 78
    assert result.stderr == (
        f"reconciler: {install.config}: cannot be read: Permission denied. Name a readable TOML file.\n"
    )


def test_a_configuration_without_a_name_is_told(install: Install) -> None:
    result = CliRunner().invoke(command_line, ["--config", "", "status"])
    assert result.exit_code == 78
    assert result.stderr == "reconciler: --config: is empty. Name a file, or leave it out.\n"
    named = CliRunner().invoke(command_line, ["--config", str(install.folder), "status"])
    assert named.stderr == f"reconciler: --config: there is no file '{install.folder}'. Name one that exists.\n"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_missing_database_is_named_and_never_made(install: Install, command: tuple[str, ...]) -> None:
    install.database.unlink()
    result = install.call(*command)
    assert result.exit_code == 78
    assert f"{install.database}: there is no such file" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not install.database.exists()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_database_that_cannot_be_looked_at_is_named(install: Install, command: tuple[str, ...]) -> None:
    path = install.folder / ("a" * 300) / "app.db"
    install.configure(database__url=f'"sqlite:///{path}"')
    result = install.call(*command)
    assert result.exit_code == 78
    assert f"{path}: cannot be looked at (File name too long)" in result.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_missing_table_is_named_with_those_that_exist(install: Install, command: tuple[str, ...]) -> None:
    install.configure(database__table='"track"')
    result = install.call(*command)
    assert result.exit_code == 78
    assert "there is no table track (did you mean tracks?)" in result.stderr


def test_a_missing_column_is_named_with_those_that_exist(install: Install) -> None:
    install.sql("ALTER TABLE tracks RENAME COLUMN image_url TO cover")
    result = install.call("run", "--once")
    assert result.exit_code == 78
    assert "table tracks has no column image_url" in result.stderr
    assert "cover" in result.stderr
    assert not install.store.exists()


def test_a_locked_database_fails_in_time_and_changes_nothing(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "open_database", partial(database.open_database, busy_timeout_s=0.05))
    monkeypatch.setattr(inside, "open_reader", partial(database.open_reader, busy_timeout_s=0.05))
    install.add("a")
    with closing(sqlite3.connect(install.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for command in (("run", "--once"), ("run", "--once", "--dry-run"), ("check",)):
            result = install.call(*command)
            assert result.exit_code == 1, result.output
            assert "locked by another program" in result.output
    assert install.kie.book.creations == ()


def test_a_file_that_is_no_database_is_told_as_one_that_is_missing(install: Install) -> None:
    """Nothing mends it but the operator, so a service need not try again."""
    install.database.write_text("This is a letter, and no database at all. " * 40)
    told = f"{install.database}: is no SQLite database (file is not a database). Check database.url"
    for command in (("run",), ("run", "--once"), ("status",), ("check", "--offline")):
        result = install.call(*command)
        assert result.exit_code == 78, result.output
        assert told in result.output


def test_a_store_that_cannot_be_made_is_told_and_nothing_is_bought(install: Install) -> None:
    install.add("a")
    (install.folder / "file").write_text("in the way")
    install.configure(storage__path=f'"{install.folder}/file/images"')
    for command in (("run", "--once"), ("check", "--offline")):
        result = install.call(*command)
        assert result.exit_code == 78
        assert "file/images" in result.output
    assert install.kie.book.creations == ()


def test_another_store_than_the_database_knows_is_told_and_nothing_is_bought(install: Install) -> None:
    assert install.call("run", "--once").exit_code == 0
    install.add("a")
    next(install.store.glob(".reconciler-store")).write_text(json.dumps({"id": "another"}))
    result = install.call("run", "--once")
    assert result.exit_code == 78
    assert "another store than the database knows" in result.stderr
    assert install.call("check", "--offline").exit_code == 78
    next(install.store.glob(".reconciler-store")).unlink()
    assert install.call("run", "--once").exit_code == 78
    assert install.kie.book.creations == ()


def test_an_unexpected_error_is_one_line_without_its_text(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the secret is out")

    monkeypatch.setattr(once, "run_once", broken)
    result = install.call("run", "--once")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "unexpected RuntimeError at " in result.stderr
    assert "--log-level DEBUG" in result.stderr
    assert "the secret is out" not in result.output
    traced = install.call("--log-level", "DEBUG", "run", "--once")
    assert "Traceback" in traced.stderr


@pytest.mark.parametrize("path", ["nope.pem", "empty.pem", "."])
def test_authorities_that_cannot_be_read_are_named_by_their_variable(
    install: Install, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install.add("a")
    (install.folder / "empty.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(install.folder / path))
    for command in (("run", "--once"), ("run", "--once", "--dry-run"), ("adopt", "a", "t")):
        result = install.call(*command)
        assert result.exit_code == 78
        assert result.stderr.startswith(f"reconciler: SSL_CERT_FILE: {install.folder / path} ")
        assert result.stderr.endswith("Name a file of certificates in PEM form, or unset it\n")


@pytest.mark.parametrize(
    ("public_url", "outcome"), [("http://127.0.0.1:1/images", "failed"), ("https://covers.example/i", "failed")]
)
def test_check_tells_all_else_where_the_authorities_cannot_be_read(
    install: Install, public_url: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install.configure(storage__public_url=f'"{public_url}"')
    assert install.call("run", "--once").exit_code == 0
    monkeypatch.setenv("SSL_CERT_FILE", "/nope")
    result = install.call("check", "--json")
    said = [(line["what"], line["outcome"]) for line in json.loads(result.stdout)]
    assert result.exit_code == 78
    assert [*said[-5:]] == [
        ("own tables", "ok"),
        ("storage", "ok"),
        ("storage", "ok"),
        ("public_url", outcome),
        ("kie", "failed"),
    ]
    assert result.stdout.count("SSL_CERT_FILE: /nope cannot be read (No such file or directory)") == 2


@pytest.mark.parametrize("command", ["run --once --timeout 1s", "run --once --dry-run"])
@pytest.mark.parametrize("option", ["--limit", "--max-purchases"])
def test_a_limit_may_be_as_large_as_anybody_likes(install: Install, command: str, option: str) -> None:
    install.add("a", image_url=install.kie.add_file("good.jpg", text="good"))
    result = install.call(*command.split(), option, "9" * 30)
    assert result.exit_code == 0, result.output


def test_no_secret_is_ever_told(install: Install) -> None:
    key, signature = "sk-4f1c77d0b9e24a", "6d0a-very-signed"
    install.configure(kie__api_key=f'"{key}"')
    install.add(
        "a", image_url=f"https://x.r2.cloudflarestorage.com/a.jpg?X-Amz-Signature={signature}", title="\x1b[31mred"
    )
    for command in ("run --once --dry-run --json", "run --once --timeout 1s", "check", "explain a", "explain a --json"):
        result = install.call("--log-level", "DEBUG", *command.split())
        assert result.output
        for harmful in (key, signature, "\x1b"):
            assert harmful not in result.output, command


def test_letters_that_stdout_cannot_encode_are_escaped(install: Install) -> None:
    install.add("a", title="日本語 🎵", extended_prompt_image="naïve")
    told = install.program("explain", "a", PYTHONIOENCODING="latin-1")
    assert (told.returncode, told.stderr) == (0, "")
    assert r"title: \u65e5\u672c\u8a9e \U0001f3b5" in told.stdout
    told = install.program("explain", "a", "--json", PYTHONIOENCODING="latin-1")
    assert (told.returncode, told.stderr) == (0, "")
    assert json.loads(told.stdout)["title"] == "日本語 🎵"


@pytest.mark.parametrize(
    "command", ["explain", "ignore", "retry --yes", "adopt", "resolve --not-created", "run --once --track"]
)
def test_an_id_that_is_no_text_is_no_tracks(install: Install, command: str) -> None:
    install.add("a")
    result = install.call(*command.split(), "\udcff", *(["task"] if command == "adopt" else []))
    assert result.exit_code == 1
    assert r"there is no track '\udcff' in table tracks" in result.stderr


@pytest.mark.parametrize(
    "command", ["status", "status --json", "schema", "--version", "--help", "run --help", "demo --dir {folder}/demo"]
)
def test_a_stdout_that_takes_nothing_is_told(install: Install, command: str) -> None:
    install.add("a")
    with Path("/dev/full").open("w") as full:
        result = install.program(*command.format(folder=install.folder).split(), stdout=full)
    assert (result.returncode, result.stderr) == (1, "reconciler: stdout: No space left on device\n")


@pytest.mark.parametrize("command", ["status", "check --offline", "pause"])
def test_a_terminal_without_a_width_is_told_all_the_same(
    install: Install, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    assert install.call(*command.split()).stdout


@pytest.mark.parametrize("command", ["status", "status --json", "--version", "--help", "run --help"])
def test_a_closed_stdout_is_nobodys_fault(install: Install, command: str) -> None:
    install.add("a")
    result = install.program(*command.split(), by=("sh", "-c", '"$@" >&-', "sh"))
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        *((command, 0) for command in ("status", "status --json", "--version", "--help", "run --help", "run --once")),
        *((command, 3) for command in ("run --once --dry-run", "run --once --json --max-purchases 0 --timeout 1s")),
    ],
)
def test_a_reader_that_has_seen_enough_changes_no_exit_code(install: Install, command: str, code: int) -> None:
    good = install.kie.add_file("good.jpg", text="good")
    install.add("a", image_url=good if code == 0 else None)
    unread, stdout = os.pipe()
    os.close(unread)
    try:
        result = install.program(*command.split(), stdout=stdout)
    finally:
        os.close(stdout)
    assert (result.returncode, [line for line in result.stderr.splitlines() if '"info"' not in line]) == (code, [])


@pytest.mark.parametrize(
    ("command", "said", "code"),
    [
        (("status",), "Tracks in scope: 1.", 0),
        (("pause",), "Paused: nothing is bought", 0),
        (("run", "--once", "--dry-run"), "1 looked at", 0),
        (("run", "--once"), "Resolved: 1 already good", 0),
        (("explain", "nobody"), "", 1),
    ],
)
def test_a_closed_stderr_keeps_nothing_from_being_done(
    install: Install, command: tuple[str, ...], said: str, code: int
) -> None:
    install.add("a", image_url=install.kie.add_file("good.jpg", text="good"))
    result = install.program(*command, by=("sh", "-c", '"$@" 2>&-', "sh"))
    assert (result.returncode, said in result.stdout) == (code, True), result.stdout
