"""What is typed wrong is told, with exit code 2; what is asked for help comes without loading the program."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from reconciler import __version__
from reconciler.cli import app

COMMANDS = (
    *("run", "check", "status", "explain", "schema", "demo"),
    *("retry", "adopt", "resolve", "ignore", "pause", "resume"),
)
HEAVY = ("PIL", "peewee", "httpx", "rich", "pydantic", "loguru", "prometheus_client", "apscheduler")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("run --offline", "--offline goes with --once or --dry-run only: the daemon works whatever is due"),
        ("run --track a", "--track goes with --once or --dry-run only"),
        ("run --limit 3", "--limit goes"),
        ("run --max-purchases 0", "--max-purchases goes"),
        ("run --timeout 2h", "--timeout goes"),
        ("run --due-only", "--due-only goes"),
        ("run --metrics-file a.prom", "--metrics-file goes"),
        ("run --json --limit 3", "--limit, --json goes with --once"),
        ("run --once --metrics-file a.prom --dry-run", "--metrics-file goes with --once only"),
        ("run --once --metrics-file=", "--metrics-file names no file: name one, or leave it out"),
        ("run --once --offline", "--offline goes with --dry-run only"),
        ("run --once --timeout soon", "must be a duration"),
        ("run --once --timeout 10", "must be a duration: a whole number and a unit"),
        ("run --once --limit 0", "--limit"),
        ("run --once --max-purchases -1", "--max-purchases"),
        ("run --once --bogus", "--bogus"),
        ("schema --dialect oracle", "oracle"),
        ("explain", "TRACK"),
        ("retry", "one of the two"),
        ("adopt a", "TASK"),
        ("resolve a", "one of the two"),
        ("pause now", "now"),
        ("restart", "restart"),
        ("--log-level LOUD check", "LOUD"),
        (f"demo --tracks {'9' * 30}", "--tracks"),
    ],
)
def test_bad_usage_is_told_and_exits_with_2(arguments: str, said: str) -> None:
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"reconciler {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "--help" in result.stdout


def test_the_commands_are_these() -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    assert sorted(group.commands) == sorted(COMMANDS)


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import sys, json\nfrom reconciler.cli import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
