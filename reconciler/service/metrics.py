"""All metrics of one process, in a registry of their own. Who knows something tells it here; a scrape asks nobody."""

import platform
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Metric,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.registry import Collector

from reconciler.domain.findings import Call
from reconciler.domain.policy import Policy
from reconciler.engine.events import CreditsRead, Event
from reconciler.images.s3_errors import Operation, Outcome
from reconciler.ports import Overview
from reconciler.service.callbacks import Reception
from reconciler.service.catalogue import Catalogue, Described
from reconciler.service.counting import CallCounts, StepCounts, StoreCounts, SweepCounts
from reconciler.service.exposition import Exposition
from reconciler.service.gauges import Snapshot
from reconciler.service.textfile import write_textfile

LEVELS = ("debug", "info", "warning", "error")
_LEVELS = {"trace": "debug", **{level: level for level in LEVELS}, "critical": "error"}


class Metrics:
    """An engine listener and the observer of calls to Kie and to a bucket. Safe in several threads.

    `sweeps` is told of sweeps as a whole. `kinds`: the words that Kie's client has for what it does not understand.
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
        self.sweeps, self._steps = SweepCounts(make, sweep_interval), StepCounts(make, policy)
        self._calls, self._store = CallCounts(make, kinds), StoreCounts(make)
        text = "Calls of Kie, or of whoever found the address, by what came of them."
        self._heard = make.counter("callbacks_total", text, outcome=Reception)
        self._logged = make.counter("log_messages_total", "Log messages, by level.", level=LEVELS)
        info = make.gauge("build_info", "Always 1; the labels tell what runs.", version=(), python=())
        info.labels(version, platform.python_version()).set(1)
        ProcessCollector(registry=self.registry)
        self._exposition = Exposition(self.registry)

    # -- what sweeps do ----------------------------------------------------------------------------------------

    def __call__(self, event: Event) -> None:
        self._steps(event)
        if isinstance(event, CreditsRead):
            self._snapshot.credits(event)

    # -- what others tell --------------------------------------------------------------------------------------

    def called(self, operation: str, call: Call, seconds: float) -> None:
        self._calls.called(operation, call, seconds)

    def unexpected(self, kind: str) -> None:
        self._calls.unexpected(kind)

    def store_asked(self, operation: Operation, outcome: Outcome) -> None:
        self._store.asked(operation, outcome)

    def called_back(self, heard: Reception) -> None:
        self._heard.labels(heard).inc()

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
        return self._exposition.text(), CONTENT_TYPE_PLAIN_0_0_4

    def write_textfile(self, path: Path) -> None:
        """The same but `process_*`. Raises OSError, which names `path` and leaves what was there."""
        write_textfile(path, generate_latest(_Ours(self.registry)))


class _Ours(Collector):
    """All but `process_*`: node_exporter, which reads textfiles, exposes those of itself and refuses any name twice."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        return (metric for metric in self._registry.collect() if not metric.name.startswith("process_"))


def described(kinds: Iterable[str] = ()) -> list[Described]:
    """Every metric but `process_*`, as `Metrics` makes it."""
    return Metrics(Policy(), version="", sweep_interval=timedelta(0), kinds=kinds).made
