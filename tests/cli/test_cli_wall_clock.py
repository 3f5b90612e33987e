"""The program proper goes by the wall clock."""

import json
from datetime import datetime, timedelta

import pytest
from freezegun import freeze_time

from reconciler.app import dry
from reconciler.commands import checking, explaining
from tests.cli.conftest import Install

IMPORTED = (checking, dry, explaining)
"""Before the clock is frozen: compiled modules do not take a frozen `date` for one."""

NOON = datetime(2026, 11, 22, 12, 0)  # noqa: DTZ001 - what freezegun takes for UTC


@pytest.mark.parametrize(
    ("after", "state", "exit_code"),
    [
        (timedelta(minutes=10), "settling", 0),
        (timedelta(minutes=24), "settling", 0),
        (timedelta(minutes=26), "missing", 3),
    ],
)
def test_grace_ends_by_the_wall_clock(install: Install, after: timedelta, state: str, exit_code: int) -> None:
    at_noon = "2026-11-22 12:00:00"
    install.add("fresh", created_at=f"{at_noon}+00:00", updated_at=at_noon)
    with freeze_time(NOON + after):
        result = install.call("run", "--once", "--dry-run", "--offline", "--json")
        explained = json.loads(install.call("explain", "fresh", "--json").stdout)
    assert [track["state"] for track in json.loads(result.stdout)["tracks"]] == [state]
    assert result.exit_code == exit_code
    assert explained["state"] == state
