"""All metrics of one process, in a registry of their own. Who knows something tells it here; a scrape asks nobody."""

import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
    write_to_textfile,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from reconciler.domain.findings import Call
from reconciler.domain.gate import GateName, GateView, closed
from reconciler.domain.models import shapes
from reconciler.domain.policy import Policy
from reconciler.domain.states import Reason, State
from reconciler.engine.events import CreditsRead, Event
from reconciler.ports import Overview
from reconciler.service.counting import (
    LEVELS,
    CallCounts,
    Catalogue,
    Described,
    StepCounts,
    SweepCounts,
    SweepFailure,
    Trigger,
)

_LEVELS = {"trace": "debug", **{level: level for level in LEVELS}, "critical": "error"}
_NEVER = datetime.fromtimestamp(0, UTC)
_NOTHING = Overview(_NEVER, {}, None, None, GateView(_NEVER), None, ())

_SHOWN: Mapping[str, tuple[str, Mapping[str, Iterable[str]]]] = {
    "tracks": ("Tracks in scope, by state.", {"state": State}),
    "tracks_stuck": ("Tracks still without a good picture, by reason.", {"reason": Reason}),
    "oldest_stuck_track_timestamp_seconds": ("Unix time since when the longest stuck track is in need; 0: none.", {}),
    "earliest_expiry_timestamp_seconds": ("Unix time from which the next picture may be gone; 0: none.", {}),
    "snapshot_timestamp_seconds": ("Unix time of the snapshot of tracks, budget and gate; 0: none yet.", {}),
    "snapshot_duration_seconds": ("Seconds that the snapshot took.", {}),
    "purchase_budget_remaining": ("Purchases that the rolling window still allows.", {"window": ("hour", "day")}),
    "kie_gate_closed": ("1 while purchases are stopped for this reason, else 0.", {"reason": GateName}),
    "kie_credits": ("Credits left at Kie when last asked for.", {}),
    "kie_credits_timestamp_seconds": ("Unix time at which the credits were asked for; 0: never.", {}),
}


@dataclass(frozen=True, slots=True)
class _Seen:
    """`gauges`: of each one the number by the value of its label, '' where it has none."""

    gauges: Mapping[str, Mapping[str, float]]
    credits: CreditsRead


class Snapshot(Collector):
    """The gauges that are true together: one value, swapped whole, so that no scrape mixes two overviews."""

    def __init__(self, make: Catalogue, policy: Policy) -> None:
        self._policy = policy
        self._entries = {name: make.enter(name, "gauge", text, labels) for name, (text, labels) in _SHOWN.items()}
        self._lock = Lock()
        self._seen = _Seen(_gauges(_NOTHING, timedelta(0), policy), CreditsRead(0, _NEVER))
        make.registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        seen = self._seen
        credits = {"kie_credits": {"": seen.credits.balance}, "kie_credits_timestamp_seconds": _at(seen.credits.at)}
        shown = {**seen.gauges, **credits}
        for name, entry in self._entries.items():
            family = GaugeMetricFamily(entry.name, entry.help, labels=tuple(entry.labels))
            for value, number in shown[name].items():
                family.add_metric((value,) if entry.labels else (), number)
            yield family

    def show(self, overview: Overview, took: timedelta) -> None:
        gauges, told = _gauges(overview, took, self._policy), _credits(overview.gate)
        with self._lock:
            self._seen = _Seen(gauges, _newer(self._seen.credits, told))

    def credits(self, told: CreditsRead) -> None:
        with self._lock:
            self._seen = replace(self._seen, credits=_newer(self._seen.credits, told))


def _gauges(overview: Overview, took: timedelta, policy: Policy) -> Mapping[str, Mapping[str, float]]:
    view = overview.gate
    shut = closed(view, shapes(policy), policy)
    states, reasons = Counter[State](), Counter[Reason | None]()
    for (state, reason), n in overview.tracks.items():
        states[state] += n
        reasons[reason] += n if state.stuck else 0
    return {
        "tracks": {state: states[state] for state in State},
        "tracks_stuck": {reason: reasons[reason] for reason in Reason},
        "oldest_stuck_track_timestamp_seconds": _at(overview.oldest_stuck),
        "earliest_expiry_timestamp_seconds": _at(overview.earliest_expiry),
        "snapshot_timestamp_seconds": _at(overview.at),
        "snapshot_duration_seconds": {"": took.total_seconds()},
        "purchase_budget_remaining": {
            "hour": max(policy.per_hour - view.hour.used, 0),
            "day": max(policy.per_day - view.day.used, 0),
        },
        "kie_gate_closed": {name: name in shut for name in GateName},
    }


def _at(time: datetime | None) -> Mapping[str, float]:
    return {"": time.timestamp() if time is not None else 0}


def _credits(view: GateView) -> CreditsRead:
    if view.balance is None or view.balance_at is None:
        return CreditsRead(0, _NEVER)
    return CreditsRead(view.balance, view.balance_at)


def _newer(known: CreditsRead, told: CreditsRead) -> CreditsRead:
    return told if told.at > known.at else known


class Metrics:
    """An engine listener and the observer of calls to Kie. Safe in several threads.

    `kinds`: the words that Kie's client has for what it does not understand.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        version: str,
        sweep_interval: timedelta,
        kinds: Iterable[str] = (),
        registry: CollectorRegistry | None = None,
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        make = Catalogue(CollectorRegistry() if registry is None else registry)
        self.registry, self.made = make.registry, make.made
        self._snapshot = Snapshot(make, policy)
        self._unseen = make.counter("snapshot_failures_total", "Snapshots that could not be taken.")
        self._sweeps, self._steps = SweepCounts(make, sweep_interval), StepCounts(make, policy)
        self._calls = CallCounts(make, kinds)
        self._logged = make.counter("log_messages_total", "Log messages, by level.", level=LEVELS)
        info = make.gauge("build_info", "Always 1; the labels tell what runs.", version=(), python=())
        info.labels(version, platform.python_version()).set(1)
        ProcessCollector(registry=self.registry)

    # -- what sweeps do ----------------------------------------------------------------------------------------

    def __call__(self, event: Event) -> None:
        self._steps(event)
        if isinstance(event, CreditsRead):
            self._snapshot.credits(event)

    def write_failed(self) -> None:
        """A write that the database did not take."""
        self._steps.write_failed()

    def sweep_begun(self, trigger: Trigger, at: datetime) -> None:
        self._sweeps.begun(trigger, at)

    def sweep_done(self, at: datetime, took: timedelta) -> None:
        self._sweeps.done(at, took)

    def sweep_failed(self, reason: SweepFailure) -> None:
        self._sweeps.failed(reason)

    def scheduler_missed(self) -> None:
        self._sweeps.missed.inc()

    def scheduler_overlap(self) -> None:
        self._sweeps.overlaps.inc()

    # -- what others tell --------------------------------------------------------------------------------------

    def called(self, operation: str, call: Call, seconds: float) -> None:
        self._calls.called(operation, call, seconds)

    def unexpected(self, kind: str) -> None:
        self._calls.unexpected(kind)

    def overview(self, overview: Overview, took: timedelta) -> None:
        self._snapshot.show(overview, took)

    def snapshot_failed(self) -> None:
        self._unseen.inc()

    def logged(self, level: str) -> None:
        """By a logger's name for it, which has more than are told apart: any that is not known counts as info."""
        self._logged.labels(_LEVELS.get(level.lower(), "info")).inc()

    # -- telling -----------------------------------------------------------------------------------------------

    def exposition(self) -> tuple[bytes, str]:
        """Body and content type of a scrape, in the text format that every Prometheus reads."""
        return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4

    def write_textfile(self, path: Path) -> None:
        """The same as a file, replaced atomically. Raises OSError, which names `path` and leaves what was there."""
        try:
            write_to_textfile(str(path), self.registry)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error


def described(kinds: Iterable[str] = ()) -> list[Described]:
    """Every metric but `process_*`, as `Metrics` makes it."""
    return Metrics(Policy(), version="", sweep_interval=timedelta(0), kinds=kinds).made
