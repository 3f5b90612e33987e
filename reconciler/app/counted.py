"""What counts, beside whatever else listens."""

from reconciler import __version__
from reconciler.config import Settings, policy_of
from reconciler.engine.events import Event, Listener
from reconciler.kie.answers import Odd
from reconciler.service.events import Late, ServiceEvent, Tell
from reconciler.service.metrics import Metrics


def metrics_of(settings: Settings) -> Metrics:
    interval = settings.schedule.sweep_interval
    return Metrics(policy_of(settings), version=__version__, sweep_interval=interval, kinds=tuple(Odd))


def counting(metrics: Metrics, tell: Tell) -> Tell:
    """What the service tells, counted where there is a counter for it."""

    def told(event: ServiceEvent) -> None:
        if isinstance(event, Late):
            (metrics.sweeps.overlaps if event.overlap else metrics.sweeps.missed).inc()
        tell(event)

    return told


def each(*listeners: Listener) -> Listener:
    """All of them hear everything, in this order."""

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell
