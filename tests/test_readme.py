"""What the README says is so: its tables, its words, and its commands as they stand."""

import os
import re
import runpy
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer

from reconciler import cli
from reconciler.cli import face
from reconciler.config.reference import CREDENTIALS, ENV_PREFIX, keys, sections
from reconciler.database.tables import ALL
from reconciler.domain.states import How, Reason, State
from reconciler.images import marker
from reconciler.kie.simulated import API_KEY, KieServer, Settings, SimulatedKie
from reconciler.service.metrics import described
from reconciler.service.pages import Answer, Pages

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCHEMA = ROOT / "reconciler" / "demo" / "app-schema-sqlite.sql"
MADE: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "readme.py"))
PAGES = ("/metrics", "/healthz", "/readyz", "/images/…", "/callback/…")
GROUP: Any = typer.main.get_command(cli.app)
COMMANDS = set(GROUP.commands)


def section(heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", README, re.DOTALL | re.MULTILINE)
    assert found, f"the README has no section {heading}"
    return found[1]


def fenced(text: str, language: str = "sh") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def prose(text: str) -> str:
    """Without what is generated, and without fenced blocks."""
    text = re.sub(r"<!-- generated.*?<!-- end -->", "", text, flags=re.DOTALL)
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(text))


# -- generated parts -----------------------------------------------------------------------------------------------


def test_the_generated_parts_are_as_the_code_says() -> None:
    assert MADE["generated"](README) == README, "run `make readme`"


def test_every_part_that_can_be_generated_is_there_once() -> None:
    assert sorted(re.findall(r"<!-- generated: ([a-z-]+) -->", README)) == sorted(MADE["PARTS"])


def test_a_drift_is_found() -> None:
    drifted = MADE["generated"](README).replace("| `ok` |", "| `fine` |")
    assert "`fine`" in drifted
    assert MADE["generated"](drifted) != drifted


def test_the_exit_codes_told_are_those_that_are_used() -> None:
    assert set(MADE["codes"]()) == {face.DONE, face.FAILED, face.USAGE, face.WORK_REMAINS, face.UNFIT}


# -- words ---------------------------------------------------------------------------------------------------------


def flags() -> set[str]:
    commands = (GROUP, *GROUP.commands.values())
    return {"--help"} | {name for command in commands for p in command.params for name in p.opts}


def words() -> set[str]:
    """All that prose may name."""
    columns = re.findall(r"^    (\w+) ", SCHEMA.read_text(encoding="utf-8"), re.MULTILINE)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return {
        *(key.path for key in keys()),
        *(key.env for key in keys()),
        *(name for name, _, _ in sections()),
        *CREDENTIALS,
        *State,
        *Reason,
        *How,
        *COMMANDS,
        *columns,
        *(f"make {target}" for target in targets),
        *(model._meta.table_name for model in ALL),
        *(each.name for each in described()),
        *PAGES,
        *("completed", "archived", "tracks", "2048x1152", "journalctl -u reconciler -p warning"),
        *(ENV_PREFIX, "$RECONCILER_CONFIG", "$CREDENTIALS_DIRECTORY", "LoadCredential=", "a,b", "generated"),
        *("90s", "20m", "6h", "14d"),
        *("./config.toml", "/etc/reconciler/config.toml", "$HOME/app.db", ".venv", marker.NAME, "reconciler_…"),
        "artefacts/",  # made by a test, which may run later
    }


def is_known(span: str, known: set[str]) -> bool:
    if span in known or (ROOT / span).exists():
        return True
    program, *rest = span.split()
    if program == "reconciler" and rest:
        return rest[0] in COMMANDS and all(word in flags() for word in rest if word.startswith("--"))
    if program.startswith("--"):
        return program in flags()
    name, _, value = span.partition(" = ")
    return bool(value) and name in known


def test_whatever_the_prose_names_exists() -> None:
    known = words()
    assert [span for span in spans(README) if not is_known(span, known)] == []


def test_words_that_exist_nowhere_are_noticed() -> None:
    known = words()
    wrong = ["--forever", "budget.per_week", "reconciler dance", "reconciler run --slow", "stranded", "make coffee"]
    assert [word for word in wrong if is_known(word, known)] == []


def test_every_page_that_is_told_is_served() -> None:
    called: Any = lambda environ, token: Answer(200, b"")  # noqa: E731
    pages, told = Pages(lambda: (b"", ""), tuple, tuple, lambda _: b"", called), list[str]()
    for page in PAGES:
        name, method = ("t" * 32, "POST") if "callback" in page else ("tracks/t/a.jpg", "GET")
        environ = {"PATH_INFO": page.replace("…", name), "REQUEST_METHOD": method}
        pages(environ, lambda status, _: told.append(status))  # type: ignore[arg-type]
    assert told == ["200 OK"] * len(PAGES)


def test_every_command_that_an_operator_may_need_is_told() -> None:
    asked = re.findall(r"`reconciler ([a-z]+)", section("At 3 a.m."))
    assert {"status", "explain", "retry", "adopt", "resolve", "ignore", "pause", "resume", "check", "run"} == set(asked)


def test_exit_codes_named_in_prose_exist() -> None:
    named = {int(code) for code in re.findall(r"[Ee]xit\s+code\s+(\d+)", prose(README))}
    assert named
    assert named <= set(MADE["codes"]())


def test_every_link_leads_to_a_heading() -> None:
    headings = re.findall(r"^## (.*)$", README, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert [link for link in re.findall(r"\]\(#([^)]+)\)", README) if link not in anchors] == []


def test_the_sql_of_the_readme_works_on_the_own_tables(own_tables: sqlite3.Connection) -> None:
    for block in fenced(section("Handing over image tasks"), "sql"):
        own_tables.executescript(block)
    handed = own_tables.execute("SELECT track_id, task_id, created_at IS NOT NULL FROM reconciler_image_task")
    assert handed.fetchall() == [("the track's id", "the image task's id", 1)]
    forget, uninstall = fenced(section("Its own tables, backups, uninstalling"), "sql")
    own_tables.executescript(forget + uninstall)
    left = own_tables.execute("SELECT name FROM sqlite_master WHERE name LIKE 'reconciler%'")
    assert left.fetchall() == []


@pytest.fixture
def own_tables(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """The app's database with our tables and the optional index."""
    from reconciler.app.inside import opened, own_schema
    from reconciler.config import Settings as Configured

    path = app_database(tmp_path / "app.db")
    settings = Configured.model_validate({"database": {"url": f"sqlite:///{path}"}})
    with opened(settings):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(own_schema(settings, "sqlite")[1])
        yield connection


# -- commands ------------------------------------------------------------------------------------------------------


def app_database(path: Path) -> Path:
    """The reader's own: three tracks, of which two want a picture and one is still settling."""
    now = datetime.now(UTC)
    rows = [("t1", "Harbour", now - timedelta(days=2)), ("t2", "Lantern", now - timedelta(days=3)), ("t3", "New", now)]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(SCHEMA.read_text(encoding="utf-8"))
        for track_id, title, at in rows:
            connection.execute(
                "INSERT INTO tracks (id, title, prompt, status, extended_prompt_image, created_at, updated_at)"
                " VALUES (?, ?, 'Generated Vibe', 'completed', ?, ?, ?)",
                (track_id, title, f"{title} in soft light", at.isoformat(), at.replace(tzinfo=None).isoformat(" ")),
            )
    return path


@pytest.fixture
def newcomer(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs a script of shell commands in a copy of the project, as somebody whose database is in $HOME."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    project = tmp_path / "reconciler"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, project / name)
    # The environment is there already: its programs are this one's, the stamp is newer than what it is made from.
    (project / ".venv").mkdir()
    (project / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (project / ".venv" / "lib").symlink_to(Path(sys.prefix) / "lib")
    (project / ".venv" / ".program").touch()
    app_database(tmp_path / "app.db")

    def run(script: str, stdin: str = "", **environ: str) -> "subprocess.CompletedProcess[str]":
        clean = {name: text for name, text in os.environ.items() if not name.startswith((ENV_PREFIX, "COV", "MAKE"))}
        # The copy's code, not the one that is installed; exit codes other than 0 are told with their commands.
        mine = {"HOME": str(tmp_path), "PYTHONPATH": str(project), "COLUMNS": "100", **environ}
        trap = "trap 'echo \"[exit $?] $BASH_COMMAND\"' ERR\n"
        return subprocess.run(
            ["bash", "-c", trap + script],
            cwd=project,
            env=clean | mine,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run


def failures(ended: "subprocess.CompletedProcess[str]") -> dict[str, int]:
    return {line: int(code) for code, line in re.findall(r"^\[exit (\d+)\] (.*)$", ended.stdout, re.MULTILINE)}


@pytest.mark.slow
def test_the_first_commands_lead_from_nothing_to_a_dry_run(
    newcomer: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    before = (tmp_path / "app.db").read_bytes()
    first, _ = fenced(section("On your own database"))
    ended = newcomer(first)
    dry_run = first.splitlines()[-1]
    assert failures(ended) == {dry_run: face.WORK_REMAINS}, ended.stdout + ended.stderr
    assert "app.db opens" in ended.stdout
    assert re.search(r"t1 .*\n.*t2 ", ended.stdout)
    assert "3 completed (in scope)" in ended.stdout
    assert (tmp_path / "app.db").read_bytes() == before


@pytest.mark.slow
def test_the_first_real_step_buys_one_picture_and_no_more(
    newcomer: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    quick = Settings(min_run=timedelta(milliseconds=100), max_run=timedelta(milliseconds=300))
    kie = SimulatedKie(lambda: datetime.now(UTC), seed=1, settings=quick)
    first, second = fenced(section("On your own database"))
    with KieServer(kie) as server:
        here = {
            "RECONCILER_KIE__BASE_URL": server.base_url,
            "RECONCILER_KIE__ALLOW_INSECURE_HOSTS": "127.0.0.1",
            "RECONCILER_KIE__REQUEST_TIMEOUT": "5s",
        }
        ended = newcomer(first + second, stdin=f"{API_KEY}\n", **here)
    dry_runs_and_run = [line for line in (first + second).splitlines() if "--once" in line]
    assert failures(ended) == dict.fromkeys(dry_runs_and_run, face.WORK_REMAINS), ended.stdout + ended.stderr
    assert len(kie.book.purchases) == 1
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        written = connection.execute("SELECT image_url, resolution FROM tracks WHERE image_url IS NOT NULL").fetchall()
    assert [resolution for _, resolution in written] == ["2048x1152"]
    assert (tmp_path / "reconciler" / "data" / "images" / written[0][0].partition("/images/")[2]).exists()
