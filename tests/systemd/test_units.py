"""The units by themselves: systemd knows every line, they are confined alike, and their times fit the program's."""

import re
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.config.reference import CREDENTIALS
from reconciler.domain.policy import Policy
from tests.systemd.machine import UNITS, tool

pytestmark = pytest.mark.timeout(600)  # systemd may have to be installed first

DAEMON, SWEEP = UNITS / "reconciler.service", UNITS / "reconciler-sweep.service"
OWN = {
    *("Type", "NotifyAccess", "ExecStart", "SuccessExitStatus", "Restart", "RestartSec", "RestartPreventExitStatus"),
    *("TimeoutStartSec", "TimeoutAbortSec", "WatchdogSec"),
}
"""What a daemon and a single sweep need not have in common."""
each_unit = pytest.mark.parametrize("unit", [DAEMON, SWEEP], ids=lambda unit: unit.stem)


def lines(unit: Path) -> Iterator[tuple[str, str]]:
    for line in unit.read_text(encoding="utf-8").splitlines():
        if re.match(r"[A-Za-z]", line):
            key, _, value = line.partition("=")
            yield key, value


def values(unit: Path, key: str) -> list[str]:
    return [value for name, value in lines(unit) if name == key]


def span(unit: Path, key: str) -> timedelta:
    """As systemd reads it."""
    (value,) = values(unit, key)
    told = analyze("timespan", value).stdout
    return timedelta(microseconds=int(re.findall(r"[μu]s: (\d+)", told)[0]))


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """stdout and stderr in one text."""
    command = [tool("systemd-analyze", "systemd"), "--no-pager", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def verified(text: str, unit: Path, folder: Path) -> str:
    """What systemd has to say of a unit; its program is put where one is."""
    copy = folder / unit.name
    copy.write_text(text.replace("/opt/reconciler/.venv/bin/reconciler", "/bin/true"), encoding="utf-8")
    return analyze("verify", str(copy)).stdout


@each_unit
def test_systemd_has_nothing_to_say(unit: Path, tmp_path: Path) -> None:
    assert verified(unit.read_text(encoding="utf-8"), unit, tmp_path) == ""


@each_unit
def test_systemd_would_tell_of_any_line_that_it_does_not_know(unit: Path, tmp_path: Path) -> None:
    misspelt = re.sub(r"^([A-Z]\w+)=", r"\1x=", unit.read_text(encoding="utf-8"), flags=re.MULTILINE)
    complaints = re.findall(r"Unknown key (?:name )?'(\w+)x'", verified(misspelt, unit, tmp_path))
    assert set(complaints) == {key for key, _ in lines(unit)}


@each_unit
def test_exposure_is_small(unit: Path) -> None:
    judged = analyze("security", "--offline=true", "--threshold=12", str(unit))
    told = re.search(rf"Overall exposure level for {unit.name}: ([\d.]+)", judged.stdout)
    assert told, judged.stdout
    assert float(told[1]) <= 1.2
    assert judged.returncode == 0


def test_the_judgement_can_be_a_bad_one(tmp_path: Path) -> None:
    bare = tmp_path / "bare.service"
    bare.write_text("[Service]\nExecStart=/bin/true\n")
    assert analyze("security", "--offline=true", "--threshold=12", str(bare)).returncode != 0


def test_both_are_confined_alike() -> None:
    confined = [[line for line in lines(unit) if line[0] not in OWN] for unit in (DAEMON, SWEEP)]
    assert {key for key, _ in confined[0]} >= {"User", "ProtectSystem", "SystemCallFilter", "MemoryMax", "LimitCORE"}
    unlike = {key for key, _ in set(confined[0]) ^ set(confined[1])}
    assert unlike == {"Description", "StartLimitIntervalSec", "StartLimitBurst", "WantedBy"}
    filters = [[value for key, value in part if key == "SystemCallFilter"] for part in confined]
    assert filters[0] == filters[1], "whose order matters"


@each_unit
def test_nothing_blinds_it_or_runs_before_it(unit: Path) -> None:
    assert not {"ProcSubset", "ExecStartPre", "ExecCondition"} & {key for key, _ in lines(unit)}


@each_unit
def test_every_credential_is_given_and_none_is_needed(unit: Path) -> None:
    """A file that is missing is an error where its path is absolute. A name is looked for in /etc/credstore."""
    assert values(unit, "LoadCredential") == [f"{name}:reconciler.{name}" for name in CREDENTIALS]


@each_unit
def test_the_group_may_read_pictures_and_others_may_not(unit: Path) -> None:
    assert values(unit, "UMask") == ["0027"]
    assert values(unit, "StateDirectoryMode") == ["0750"]


@each_unit
def test_it_may_stop_in_order(unit: Path) -> None:
    assert span(unit, "TimeoutStopSec") > Policy().request_timeout + timedelta(seconds=5)


def test_a_sweep_is_let_to_its_end() -> None:
    assert "--timeout 10m" in values(SWEEP, "ExecStart")[0]
    least = timedelta(minutes=10) + Policy().request_timeout + timedelta(seconds=5)
    assert span(SWEEP, "TimeoutStartSec") > least


def test_a_slow_call_is_no_hang() -> None:
    assert timedelta(minutes=5) >= span(DAEMON, "WatchdogSec") >= 2 * Policy().request_timeout


def test_it_is_given_up_after_about_an_hour_of_nothing_but_failures() -> None:
    """Where it fails at once."""
    tried = span(DAEMON, "RestartSec") * int(values(DAEMON, "StartLimitBurst")[0])
    assert timedelta(minutes=45) <= tried <= span(DAEMON, "StartLimitIntervalSec")


def test_what_does_not_mend_itself_is_not_tried_again() -> None:
    assert values(DAEMON, "Restart") == ["on-failure"]
    assert values(DAEMON, "RestartPreventExitStatus") == ["2 78"]
    assert values(SWEEP, "Restart") == []
