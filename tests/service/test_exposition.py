"""A scrape reads as the library would write it, whatever it remembers of the one before."""

import math

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from reconciler.service.exposition import Exposition

ODD = 'a "quoted" \\ one\nof two lines\u2028and a half'


def test_a_scrape_reads_as_the_library_writes_it() -> None:
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    gauge, counter = Gauge("level", ODD, ["of"], registry=registry), Counter("turns", "", registry=registry)
    histogram = Histogram("times", "", ["of"], registry=registry, buckets=(0.1, 1))
    exposition = Exposition(registry)

    def turn(of: str, level: float) -> None:
        gauge.labels(of).set(level)
        histogram.labels(of).observe(level)
        counter.inc(1e9)

    assert exposition.text() == generate_latest(registry)  # of two there is no series yet
    for of, level in ((ODD, math.inf), (ODD, 0.5), ("new", math.nan), ("new", -3e-9), (ODD, 0.0)):
        turn(of, level)
        assert exposition.text() == generate_latest(registry)
    gauge.remove(ODD)
    assert exposition.text() == generate_latest(registry)


def test_metrics_without_series_are_described() -> None:
    registry = CollectorRegistry()
    Gauge("level", "How high", ["of"], registry=registry)
    assert Exposition(registry).text() == generate_latest(registry) != b""
