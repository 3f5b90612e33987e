"""Which metrics there are: the contract with dashboards and alerts. Whoever changes this list breaks theirs."""

import platform
from datetime import timedelta
from itertools import product

import pytest
from prometheus_client import REGISTRY, CollectorRegistry

from reconciler.domain.policy import Policy
from reconciler.kie.answers import Odd
from reconciler.service.catalogue import Described
from reconciler.service.metrics import Metrics, described

STATES = (
    *("ok", "expiring", "unverified", "settling", "missing", "below_target", "submitting", "unknown", "awaiting"),
    *("fetching", "backing_off", "failed", "invalid"),
)
REASONS = (
    *("due", "budget", "out_of_credits", "unauthorized", "gate_closed", "paused", "model_unproven"),
    *("request_rejected", "host_suspect", "in_flight", "unknown_purchase", "overdue", "download_failed"),
    *("storage_failed", "provider_failed", "content_rejected", "image_rejected", "write_conflict", "host_refused"),
    *("no_prompt", "attempts_spent", "invalid_row"),
)
GATES = ("rate_limit", "credits", "key", "breaker", "request_rejected", "model_unproven", "paused")
SOURCES = ("already_good", "restored", "rehosted", "adopted", "suno", "generated")
FLAWS = ("too_small", "aspect", "truncated", "undecodable", "format", "too_large", "blank")
CALLS = (
    *("ok", "not_found", "rejected", "rate_limited", "no_credits", "unauthorized", "server_error", "timeout"),
    *("connect_error", "malformed"),
)
OPERATIONS = ("create", "record", "suno_record", "credit")
STORAGE = (
    *("ok", "not_found", "rejected", "unauthorized", "rate_limited", "server_error", "timeout", "connect_error"),
    "malformed",
)
KINDS = ("state", "code", "shape", "status")

CONTRACT: dict[str, tuple[str, dict[str, tuple[str, ...]]]] = {
    "tracks": ("gauge", {"state": STATES}),
    "tracks_stuck": ("gauge", {"reason": REASONS}),
    "oldest_stuck_track_timestamp_seconds": ("gauge", {}),
    "earliest_expiry_timestamp_seconds": ("gauge", {}),
    "snapshot_timestamp_seconds": ("gauge", {}),
    "snapshot_duration_seconds": ("gauge", {}),
    "snapshot_failures_total": ("counter", {}),
    "sweeps_total": ("counter", {"trigger": ("startup", "schedule", "once")}),
    "sweep_failures_total": ("counter", {"reason": ("database", "storage", "mistake")}),
    "last_sweep_attempt_timestamp_seconds": ("gauge", {}),
    "last_sweep_success_timestamp_seconds": ("gauge", {}),
    "sweep_interval_seconds": ("gauge", {}),
    "sweep_duration_seconds": ("histogram", {}),
    "tracks_resolved_total": ("counter", {"how": SOURCES}),
    "time_to_resolution_seconds": ("histogram", {}),
    "purchases_total": ("counter", {}),
    "repeat_purchases_total": ("counter", {}),
    "unknown_purchases_total": ("counter", {}),
    "purchase_budget_remaining": ("gauge", {"window": ("hour", "day")}),
    "kie_credits": ("gauge", {}),
    "kie_credits_timestamp_seconds": ("gauge", {}),
    "kie_requests_total": ("counter", {"operation": OPERATIONS, "outcome": CALLS}),
    "kie_request_duration_seconds": ("histogram", {"operation": OPERATIONS}),
    "kie_unexpected_total": ("counter", {"kind": KINDS}),
    "callbacks_total": (
        "counter",
        {"outcome": ("taken", "unknown", "unsigned", "limited", "unreadable", "failed")},
    ),
    "kie_gate_closed": ("gauge", {"reason": GATES}),
    "polls_per_result": ("histogram", {}),
    "downloads_total": ("counter", {"outcome": ("ok", "flawed", "refused", "fault")}),
    "images_rejected_total": ("counter", {"reason": FLAWS}),
    "writes_total": ("counter", {"outcome": ("written", "conflict", "failed")}),
    "write_overwritten_total": ("counter", {}),
    "storage_requests_total": ("counter", {"operation": ("put", "get", "list"), "outcome": STORAGE}),
    "scheduler_missed_total": ("counter", {}),
    "scheduler_overlaps_total": ("counter", {}),
    "log_messages_total": ("counter", {"level": ("debug", "info", "warning", "error")}),
    "build_info": ("gauge", {"version": (), "python": ()}),
}
NOT_ZERO = {
    ("reconciler_sweep_interval_seconds", ()): 300,
    ("reconciler_purchase_budget_remaining", (("window", "hour"),)): 7,
    ("reconciler_purchase_budget_remaining", (("window", "day"),)): 9,
    ("reconciler_build_info", (("python", platform.python_version()), ("version", "1.2.3"))): 1,
}

Series = tuple[str, tuple[tuple[str, str], ...]]


def fresh() -> Metrics:
    policy = Policy(per_hour=7, per_day=9)
    return Metrics(policy, version="1.2.3", sweep_interval=timedelta(minutes=5), kinds=Odd)


def series(metrics: Metrics) -> dict[Series, float]:
    """Every series of ours with its number, histograms without their buckets."""
    samples = [sample for metric in metrics.registry.collect() for sample in metric.samples]
    ours = [sample for sample in samples if not sample.name.startswith("process_") and "le" not in sample.labels]
    found = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in ours}
    assert len(found) == len(ours), "a series is there twice"
    return found


def promised() -> set[Series]:
    wanted: set[Series] = set()
    for name, (kind, labels) in CONTRACT.items():
        for values in product(*labels.values()):
            pairs = tuple(sorted(zip(labels, values, strict=True)))
            ends = ("_count", "_sum") if kind == "histogram" else ("",)
            wanted |= {(f"reconciler_{name}{end}", pairs) for end in ends}
    return wanted | set(NOT_ZERO)


def test_every_series_is_there_from_the_start_and_no_other() -> None:
    assert set(series(fresh())) == promised()


def test_all_begin_at_zero_but_what_is_known_beforehand() -> None:
    assert {key: value for key, value in series(fresh()).items() if value} == NOT_ZERO


def test_names_and_types_are_exposed_as_promised() -> None:
    body, content_type = fresh().exposition()
    lines = [line.split() for line in body.decode().splitlines() if line.startswith("# TYPE ")]
    types = {name: kind for _, _, name, kind in lines if not name.startswith("process_")}
    assert types == {f"reconciler_{name}": kind for name, (kind, _) in CONTRACT.items()}
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"


def test_the_description_is_what_is_exposed() -> None:
    entries = described(Odd)
    assert {e.name: (e.type, e.labels) for e in entries} == {f"reconciler_{n}": c for n, c in CONTRACT.items()}
    helps = {metric.name: metric.documentation for metric in fresh().registry.collect()}
    assert all(helps[entry.name.removesuffix("_total")] == entry.help for entry in entries)


@pytest.mark.parametrize("entry", described(), ids=lambda entry: entry.name)
def test_names_and_helps_follow_the_rules(entry: Described) -> None:
    name, kind, text = entry.name, entry.type, entry.help
    assert name.endswith("_total") is (kind == "counter")
    assert text.endswith(".")
    assert len(text) < 100
    assert not name.endswith("_timestamp_seconds") or text.startswith("Unix time")
    assert not name.endswith("_seconds") or text.startswith(("Unix time", "Seconds"))


def test_the_process_tells_of_itself_and_no_other_registry_is_touched() -> None:
    before = set(REGISTRY._names_to_collectors)
    body, _ = fresh().exposition()
    assert b"\nprocess_cpu_seconds_total " in body
    assert b"_created" not in body
    assert b"python_gc" not in body
    assert set(REGISTRY._names_to_collectors) == before


def test_a_given_registry_is_used() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(Policy(), version="1", sweep_interval=timedelta(1), registry=registry)
    assert metrics.registry is registry
    assert registry.get_sample_value("reconciler_purchases_total") == 0
