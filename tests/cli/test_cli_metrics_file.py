"""`run --once --metrics-file F`: all metrics, as `status` counts, in a file that is whole at any time."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reconciler.app import once
from reconciler.domain.gate import GateName
from reconciler.domain.states import Reason, State
from reconciler.kie.answers import Odd
from reconciler.kie.simulated import CONTENT_REFUSED_AT_ONCE
from reconciler.service.metrics import described
from tests.rights import unreadable

if TYPE_CHECKING:
    from tests.cli.conftest import Install

Samples = dict[tuple[str, tuple[str, ...]], float]


def samples(path: Path) -> Samples:
    """By name and values of labels."""
    families = text_string_to_metric_families(path.read_text())
    return {(s.name, tuple(s.labels.values())): s.value for family in families for s in family.samples}


def counted(found: Samples, name: str, *labels: str) -> float:
    return found["reconciler_" + name, labels]


@pytest.fixture
def worked(install: Install) -> Install:
    install.kie.script.when(CONTENT_REFUSED_AT_ONCE, operation="create")
    install.add("refused")
    install.add("good", image_url=install.kie.add_file("good.jpg", text="good"))
    install.add("ignored", status="failed")
    return install


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "metrics" / "reconciler.prom"


def run(install: Install, file: Path, *options: str) -> Any:
    file.parent.mkdir(exist_ok=True)
    result = install.call("run", "--once", "--json", "--metrics-file", str(file), *options)
    assert result.exit_code in (0, 3), result.output
    return result


def test_it_holds_every_metric_and_nothing_of_the_process(worked: Install, file: Path) -> None:
    run(worked, file)
    types = {family.name: family.type for family in text_string_to_metric_families(file.read_text())}
    expected = {
        described_.name.removesuffix("_total") if described_.type == "counter" else described_.name: described_.type
        for described_ in described(Odd)
    }
    assert types == expected
    assert not [name for name in types if "process" in name or name.startswith("python")]


def test_it_takes_the_place_of_one_that_may_not_be_read(
    worked: Install, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.parent.mkdir()
    file.write_text("of another user")
    with monkeypatch.context() as patch:
        unreadable(patch, file)
        run(worked, file)
    assert samples(file)


def test_its_gauges_are_what_status_tells_afterwards(worked: Install, file: Path) -> None:
    run(worked, file)
    found, told = samples(file), json.loads(worked.call("status", "--json").stdout)
    states, reasons = dict.fromkeys(State, 0), dict.fromkeys(Reason, 0)
    for each in told["states"]:
        states[State(each["state"])] += each["tracks"]
        if State(each["state"]).stuck:
            reasons[Reason(each["reason"])] += each["tracks"]
    assert sum(states.values()) == told["tracks"] == 2
    assert {state: counted(found, "tracks", state) for state in State} == states
    assert {reason: counted(found, "tracks_stuck", reason) for reason in Reason} == reasons
    assert reasons[Reason.CONTENT_REJECTED] == 1
    for window in ("hour", "day"):
        assert counted(found, "purchase_budget_remaining", window) == told["budget"][window]["remaining"]
    assert counted(found, "kie_credits") == told["credits"]["balance"]
    oldest = datetime.fromisoformat(told["oldest_stuck"]).timestamp()
    assert 0 <= counted(found, "oldest_stuck_track_timestamp_seconds") - oldest < 1


def test_it_counts_what_this_run_did(worked: Install, file: Path) -> None:
    result = run(worked, file)
    found, orders = samples(file), len(worked.kie.book.creations)
    assert counted(found, "sweeps_total", "once") == 1
    assert counted(found, "purchases_total") == orders == json.loads(result.stdout)["purchases"]
    assert counted(found, "kie_requests_total", "create", "rejected") == orders
    assert counted(found, "tracks_resolved_total", "already_good") == 1
    assert counted(found, "writes_total", "written") == json.loads(result.stdout)["writes"]
    shown = [json.loads(line)["level"] for line in result.stderr.splitlines()]
    assert counted(found, "log_messages_total", "info") == shown.count("info") > 0
    assert counted(found, "snapshot_timestamp_seconds") > counted(found, "last_sweep_attempt_timestamp_seconds")


def test_its_lengths_are_right_though_the_clock_is_set_back(
    worked: Install, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = count()
    monkeypatch.setattr(once, "utc_now", lambda: datetime.now(UTC) - next(read) * timedelta(hours=1))
    run(worked, file)
    found = samples(file)
    assert 0 <= counted(found, "sweep_duration_seconds_sum") < 60
    assert 0 <= counted(found, "snapshot_duration_seconds") < 60


def test_closed_gates_are_told(worked: Install, file: Path) -> None:
    worked.call("pause")
    run(worked, file)
    found = samples(file)
    assert {name for name in GateName if counted(found, "kie_gate_closed", name)} == {GateName.PAUSED}


def test_it_replaces_what_was_there_at_once_and_leaves_nothing_beside_it(worked: Install, file: Path) -> None:
    run(worked, file)
    file.write_text("what was there")
    with file.open() as held:
        run(worked, file)
        assert held.read() == "what was there", "who had it open reads on what was whole"
    assert counted(samples(file), "sweeps_total", "once") == 1, "counters are this run's"
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_path_that_cannot_be_written_is_told_before_anything_is_done(worked: Install, file: Path) -> None:
    pipe = worked.folder / "pipe"
    os.mkfifo(pipe)
    cannot = {file: "No such file or directory", worked.folder: "Is a directory", pipe: "Not a regular file"}
    for where, why in cannot.items():
        result = worked.call("run", "--once", "--json", "--metrics-file", str(where))
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == f"reconciler: --metrics-file {where}: {why}. Nothing was done\n"
        assert not list(worked.folder.parent.glob(f"{worked.folder.name}.*"))
    assert worked.kie.book.visits == ()


def test_a_path_that_cannot_be_written_any_more_is_told_after_the_result(
    worked: Install, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun(_: object, narrowed: once.Narrowed, *__: object) -> once.Narrowed:
        file.parent.rmdir()
        return narrowed

    file.parent.mkdir()
    monkeypatch.setattr(once, "known", begun)
    result = worked.call("run", "--once", "--json", "--metrics-file", str(file))
    assert result.exit_code == 1
    assert json.loads(result.stdout)["states"], "the run itself is done and told"
    last, why = result.stderr.splitlines()[-1], "No such file or directory"
    assert last == f"reconciler: --metrics-file {file}: {why}. No metrics were written; the run itself is done"


@pytest.mark.parametrize("form", [(), ("--json",)], ids=str)
def test_it_is_written_though_stdout_takes_nothing(worked: Install, file: Path, form: tuple[str, ...]) -> None:
    file.parent.mkdir()
    with Path("/dev/full").open("w") as full:
        result = worked.program("run", "--once", "--metrics-file", str(file), *form, stdout=full)
    assert (result.returncode, result.stderr.splitlines()[-1]) == (1, "reconciler: stdout: No space left on device")
    assert counted(samples(file), "sweeps_total", "once") == 1


@pytest.mark.parametrize("words", [("run",), ("run", "--once", "--dry-run"), ("run", "--dry-run")])
def test_it_goes_with_a_run_that_counts_only(worked: Install, file: Path, words: tuple[str, ...]) -> None:
    result = worked.call(*words, "--metrics-file", str(file))
    assert result.exit_code == 2
    assert "--metrics-file goes with --once" in result.stderr
    assert worked.kie.book.visits == ()


def test_a_run_that_fails_writes_none(worked: Install, file: Path) -> None:
    file.parent.mkdir()
    result = worked.call("run", "--once", "--metrics-file", str(file), "--track", "nobody")
    assert result.exit_code == 1
    assert not file.exists()
