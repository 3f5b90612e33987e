"""The rules and the scrape example, by Prometheus' own judge."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.tools import debian_tool

MONITORING = Path(__file__).parents[2] / "monitoring"


@pytest.fixture(scope="module")
def promtool() -> Path:
    return debian_tool("prometheus", "usr/bin/promtool")


def run(promtool: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    frugal = {**os.environ, "GOGC": "400"}  # a fifth less time, for memory that is there
    return subprocess.run(
        [promtool, *arguments], cwd=MONITORING, check=False, capture_output=True, text=True, env=frugal
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "--lint=all", "--lint-fatal", "rules.yml"),
        ("check", "config", "--lint=all", "--lint-fatal", "prometheus.yml"),
    ],
    ids=lambda arguments: arguments[1],
)
def test_promtool_has_no_complaint(promtool: Path, arguments: tuple[str, ...]) -> None:
    done = run(promtool, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert all("SUCCESS" in line for line in done.stdout.splitlines() if line and not line.startswith("Checking"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_rule_does_what_its_tests_say(promtool: Path) -> None:
    done = run(promtool, "test", "rules", "tests.yml", "tests-of-days.yml")
    assert (done.returncode, done.stderr) == (0, "")
