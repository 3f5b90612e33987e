"""The text of a scrape, as the library writes it, but names and labels are spelled only when there are new ones."""

from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest

from prometheus_client import Metric, generate_latest
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

_Series = tuple[str, dict[str, str]]
"""Name and labels."""


class Exposition:
    """For metrics without timestamps and without `_created` series, which are not told in their order. Safe in several
    threads."""

    def __init__(self, registry: Collector) -> None:
        self._registry = registry
        self._spelled: tuple[list[_Series] | None, list[str]] = (None, [])

    def text(self) -> bytes:
        metrics = list(self._registry.collect())
        samples = [sample for metric in metrics for sample in metric.samples]
        series, (known, between) = [(sample.name, sample.labels) for sample in samples], self._spelled
        if series != known:
            between = _between(metrics)
            self._spelled = series, between
        values = (floatToGoString(sample.value) for sample in samples)  # type: ignore[no-untyped-call]
        return "".join(chain.from_iterable(zip_longest(between, values, fillvalue=""))).encode()


class _Collected(Collector):
    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _between(metrics: Sequence[Metric]) -> list[str]:
    """What stands before the first value, between two, and behind the last."""
    found = [""]
    for line in generate_latest(_Collected(metrics)).decode().split("\n")[:-1]:
        if line.startswith("#"):
            found[-1] += line + "\n"
        else:
            found[-1] += line[: line.rindex(" ") + 1]
            found.append("\n")
    return found
