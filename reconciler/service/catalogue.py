"""Which metrics there are: each is made once, with all its series, and described as it is exposed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

PREFIX = "reconciler_"


@dataclass(frozen=True, slots=True)
class Described:
    """One metric as it is exposed. `labels`: each with its values; none, where they are not known beforehand."""

    name: str
    type: str
    labels: Mapping[str, tuple[str, ...]]
    help: str


M = TypeVar("M", Counter, Gauge, Histogram)


class Catalogue:
    """Makes metrics, every series of them at 0 from the start, and keeps a list of what it made."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.made: list[Described] = []

    def enter(self, name: str, kind: str, text: str, labels: Mapping[str, Iterable[str]]) -> Described:
        values = {label: tuple(str(value) for value in known) for label, known in labels.items()}
        self.made.append(Described(PREFIX + name, kind, values, text))
        return self.made[-1]

    def counter(self, name: str, text: str, **labels: Iterable[str]) -> Counter:
        entry = self.enter(name, "counter", text, labels)
        return _begun(Counter(entry.name, text, tuple(labels), registry=self.registry), entry)

    def gauge(self, name: str, text: str, **labels: Iterable[str]) -> Gauge:
        entry = self.enter(name, "gauge", text, labels)
        return _begun(Gauge(entry.name, text, tuple(labels), registry=self.registry), entry)

    def histogram(self, name: str, text: str, buckets: Iterable[float], **labels: Iterable[str]) -> Histogram:
        entry = self.enter(name, "histogram", text, labels)
        return _begun(Histogram(entry.name, text, tuple(labels), registry=self.registry, buckets=tuple(buckets)), entry)


def _begun(metric: M, entry: Described) -> M:
    for values in product(*entry.labels.values()) if entry.labels else ():
        metric.labels(*values)
    return metric
