"""What is typed wrong is told, with exit code 2; what is asked for help comes without loading the program."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reconciler import __version__
from reconciler.cli import app

HEAVY = ("PIL", "peewee", "httpx", "rich", "pydantic", "loguru", "prometheus_client", "apscheduler")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("run", "use `reconciler run --once`"),
        ("run --once --offline", "--offline goes with --dry-run only"),
        ("run --once --timeout soon", "must be a duration"),
        ("run --once --timeout 10", "must be a duration"),
        ("run --once --limit 0", "--limit"),
        ("run --once --max-purchases -1", "--max-purchases"),
        ("run --once --bogus", "--bogus"),
        ("schema --dialect postgres", "not built yet"),
        ("schema --dialect oracle", "oracle"),
        ("explain", "TRACK"),
        ("status", "status"),
        ("--log-level LOUD check", "LOUD"),
    ],
)
def test_bad_usage_is_told_and_exits_with_2(arguments: str, said: str) -> None:
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"reconciler {__version__}\n"


@pytest.mark.parametrize("command", ["run", "check", "explain", "schema", "demo"])
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "--help" in result.stdout


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import sys, json\nfrom reconciler.cli import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
