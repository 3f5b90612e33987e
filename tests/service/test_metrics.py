"""The gauges of a snapshot, and how the metrics leave the process."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.domain.breaker import Breaker, Stage
from reconciler.domain.gate import Closure, GateName, GateView, Proof, Usage
from reconciler.domain.states import Reason, State
from reconciler.engine.events import CreditsRead
from reconciler.ports import Overview
from reconciler.service.metrics import Metrics
from tests.domain.builders import DAY, HOUR, MINUTE, NOW, POLICY, SECOND, SHAPE

GATE = GateView(NOW, balance=500, balance_at=NOW - MINUTE, spent_since=5)
EMPTY = Overview(NOW, {}, None, None, GATE, None, ())


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(POLICY, version="1", sweep_interval=5 * MINUTE)


def value(metrics: Metrics, name: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(f"reconciler_{name}", labels)
    assert found is not None, (name, labels)
    return found


def by_label(metrics: Metrics, name: str) -> Mapping[str, float]:
    """The series of a metric that are not 0, by the value of its one label."""
    metric = next(m for m in metrics.registry.collect() if m.name == f"reconciler_{name}")
    return {next(iter(s.labels.values())): s.value for s in metric.samples if s.value}


# -- the snapshot --------------------------------------------------------------------------------------------------


def test_tracks_by_state_and_the_stuck_ones_by_reason(metrics: Metrics) -> None:
    tracks: dict[tuple[State, Reason | None], int] = {
        (State.OK, None): 7,
        (State.SETTLING, None): 1,
        (State.EXPIRING, Reason.PAUSED): 2,
        (State.MISSING, Reason.BUDGET): 3,
        (State.MISSING, Reason.DUE): 4,
        (State.BELOW_TARGET, Reason.BUDGET): 5,
    }
    metrics.overview(replace(EMPTY, tracks=tracks), SECOND)
    assert by_label(metrics, "tracks") == {"ok": 7, "settling": 1, "expiring": 2, "missing": 7, "below_target": 5}
    assert by_label(metrics, "tracks_stuck") == {"budget": 8, "due": 4}


def test_times(metrics: Metrics) -> None:
    overview = replace(EMPTY, oldest_stuck=NOW - DAY, earliest_expiry=NOW + HOUR)
    metrics.overview(overview, timedelta(seconds=1.5))
    assert value(metrics, "oldest_stuck_track_timestamp_seconds") == (NOW - DAY).timestamp()
    assert value(metrics, "earliest_expiry_timestamp_seconds") == (NOW + HOUR).timestamp()
    assert value(metrics, "snapshot_timestamp_seconds") == NOW.timestamp()
    assert value(metrics, "snapshot_duration_seconds") == 1.5


def test_an_overview_replaces_all_of_the_one_before(metrics: Metrics) -> None:
    paused = replace(GATE, paused=True, hour=Usage(3))
    before = replace(EMPTY, tracks={(State.MISSING, Reason.DUE): 4}, oldest_stuck=NOW, earliest_expiry=NOW, gate=paused)
    metrics.overview(before, SECOND)
    metrics.overview(replace(EMPTY, at=NOW + HOUR), 2 * SECOND)
    assert not by_label(metrics, "tracks")
    assert not by_label(metrics, "tracks_stuck")
    assert not by_label(metrics, "kie_gate_closed")
    assert value(metrics, "oldest_stuck_track_timestamp_seconds") == 0
    assert value(metrics, "earliest_expiry_timestamp_seconds") == 0
    assert value(metrics, "purchase_budget_remaining", window="hour") == POLICY.per_hour
    assert value(metrics, "snapshot_timestamp_seconds") == (NOW + HOUR).timestamp()


def test_a_scrape_never_mixes_two_overviews(metrics: Metrics) -> None:
    """A second overview, with its credits, comes after each metric of a scrape in turn."""
    first = replace(EMPTY, tracks={(State.MISSING, Reason.DUE): 1}, oldest_stuck=NOW, earliest_expiry=NOW)
    gate = replace(GATE, now=NOW + HOUR, balance=1, balance_at=NOW + HOUR, paused=True, hour=Usage(9), day=Usage(9))
    tracks: dict[tuple[State, Reason | None], int] = {(State.FAILED, Reason.NO_PROMPT): 2}
    second = Overview(NOW + HOUR, tracks, NOW - DAY, NOW + DAY, gate, None, ())

    def scrape(metrics: Metrics, change_after: int) -> list[tuple[str, Any]]:
        shown = []
        for n, metric in enumerate(metrics.registry.collect()):
            shown += [(s.name, (s.labels, s.value)) for s in metric.samples if s.name in of_snapshot]
            if n == change_after:
                metrics.overview(second, 2 * SECOND)
        return shown

    families = [m for m in metrics.registry.collect() if not m.name.startswith("process_")]
    of_snapshot = {f.name for f in families if f.type == "gauge"} - {"reconciler_sweep_interval_seconds"}
    metrics.overview(first, SECOND)
    whole = scrape(metrics, change_after=-1)
    for n in range(len(families)):
        fresh = Metrics(POLICY, version="1", sweep_interval=5 * MINUTE)
        fresh.overview(first, SECOND)
        assert scrape(fresh, change_after=n) == whole, families[n].name
        assert value(fresh, "tracks", state="failed") == 2


def test_a_snapshot_that_failed_leaves_the_last_one(metrics: Metrics) -> None:
    metrics.overview(EMPTY, SECOND)
    metrics.snapshot_failed()
    assert value(metrics, "snapshot_failures_total") == 1
    assert value(metrics, "snapshot_timestamp_seconds") == NOW.timestamp()


# -- the gate ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "left"),
    [((0, 0), (30, 100)), ((4, 11), (26, 89)), ((31, 150), (0, 0))],
    ids=["none", "some", "more than the limit, which was lowered"],
)
def test_the_budget_that_remains(metrics: Metrics, used: tuple[int, int], left: tuple[int, int]) -> None:
    hour, day = map(Usage, used)
    metrics.overview(replace(EMPTY, gate=replace(GATE, hour=hour, day=day)), SECOND)
    shown = [value(metrics, "purchase_budget_remaining", window=window) for window in ("hour", "day")]
    assert shown == [*left]


@pytest.mark.parametrize(
    ("view", "closed"),
    [
        (GATE, set()),
        (replace(GATE, paused=True), {"paused"}),
        (
            replace(GATE, closures=(Closure(GateName.KEY, NOW), Closure(GateName.RATE_LIMIT, NOW))),
            {"key", "rate_limit"},
        ),
        (replace(GATE, closures=(Closure(GateName.RATE_LIMIT, NOW, NOW - SECOND),)), set()),
        (replace(GATE, breaker=Breaker(Stage.OPEN)), {"breaker"}),
        (replace(GATE, balance=POLICY.min_credits), {"credits"}),
        (replace(GATE, proofs={SHAPE: Proof(refused=3)}), {"model_unproven"}),
    ],
)
def test_the_gate_by_what_closes_it(metrics: Metrics, view: GateView, closed: set[str]) -> None:
    metrics.overview(replace(EMPTY, gate=view), SECOND)
    assert by_label(metrics, "kie_gate_closed") == dict.fromkeys(closed, 1)


# -- credits -------------------------------------------------------------------------------------------------------


def credits(metrics: Metrics) -> tuple[float, float]:
    return value(metrics, "kie_credits"), value(metrics, "kie_credits_timestamp_seconds")


def test_credits_as_they_were_read(metrics: Metrics) -> None:
    metrics(CreditsRead(321.5, NOW))
    assert credits(metrics) == (321.5, NOW.timestamp())


def test_credits_that_another_process_read(metrics: Metrics) -> None:
    metrics(CreditsRead(321.5, NOW - HOUR))
    metrics.overview(EMPTY, SECOND)
    assert credits(metrics) == (500, (NOW - MINUTE).timestamp())


def test_an_older_reading_does_not_replace_a_newer_one(metrics: Metrics) -> None:
    metrics(CreditsRead(321.5, NOW))
    metrics.overview(EMPTY, SECOND)
    metrics(CreditsRead(7, NOW - HOUR))
    assert credits(metrics) == (321.5, NOW.timestamp())


def test_an_overview_that_knows_no_balance_leaves_the_one_known(metrics: Metrics) -> None:
    metrics(CreditsRead(321.5, NOW))
    metrics.overview(replace(EMPTY, gate=GateView(NOW + HOUR)), SECOND)
    assert credits(metrics) == (321.5, NOW.timestamp())


def test_after_the_clock_was_set_back_credits_are_shown_as_they_are_read(metrics: Metrics) -> None:
    metrics(CreditsRead(321.5, NOW + DAY))
    metrics.overview(replace(EMPTY, gate=GateView(NOW)), SECOND)
    assert credits(metrics) == (321.5, NOW.timestamp()), "a time that lies ahead counts as now"
    metrics(CreditsRead(7, NOW + MINUTE))
    assert credits(metrics) == (7, (NOW + MINUTE).timestamp())


def test_after_the_clock_was_set_back_credits_that_another_process_read_are_shown(metrics: Metrics) -> None:
    metrics(CreditsRead(321.5, NOW + DAY))
    metrics.overview(replace(EMPTY, gate=replace(GATE, balance_at=NOW)), SECOND)
    assert credits(metrics) == (500, NOW.timestamp())


# -- leaving the process -------------------------------------------------------------------------------------------


def told_by(body: bytes) -> dict[str, list[bytes]]:
    """Lines by the metric that they are of, comments included."""
    found: dict[str, list[bytes]] = {}
    for line in body.splitlines():
        name = line.removeprefix(b"# HELP ").removeprefix(b"# TYPE ").replace(b"{", b" ").split()[0]
        found.setdefault(name.decode(), []).append(line)
    return found


def test_the_textfile_is_what_a_scrape_would_show_but_for_the_process(metrics: Metrics, tmp_path: Path) -> None:
    """Node_exporter, which reads such files, has `process_*` of its own."""
    metrics(CreditsRead(321.5, NOW))
    path = tmp_path / "reconciler.prom"
    path.write_text("from the last run")
    metrics.write_textfile(path)
    scraped = told_by(metrics.exposition()[0])
    of_process = {name for name in scraped if name.startswith("process_")}
    assert {"process_cpu_seconds_total", "process_start_time_seconds"} <= of_process
    assert told_by(path.read_bytes()) == {name: told for name, told in scraped.items() if name not in of_process}
    assert b"\nreconciler_kie_credits 321.5\n" in path.read_bytes()
    assert [*tmp_path.iterdir()] == [path], "nothing else is left behind"


def test_a_textfile_in_no_directory(metrics: Metrics, tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "reconciler.prom"
    with pytest.raises(FileNotFoundError) as raised:
        metrics.write_textfile(path)
    assert raised.value.filename == str(path)


def test_a_textfile_that_is_a_directory(metrics: Metrics, tmp_path: Path) -> None:
    path = tmp_path / "reconciler.prom"
    path.mkdir()
    with pytest.raises(IsADirectoryError) as raised:
        metrics.write_textfile(path)
    assert raised.value.filename == str(path)
    assert [*tmp_path.iterdir()] == [path], "nothing half-written is left behind"
