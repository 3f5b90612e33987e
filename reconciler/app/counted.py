"""What counts, beside whatever else listens."""

from reconciler import __version__
from reconciler.config import Settings, policy_of
from reconciler.engine.events import Event, Listener
from reconciler.kie.answers import Odd
from reconciler.service.metrics import Metrics


def metrics_of(settings: Settings) -> Metrics:
    interval = settings.schedule.sweep_interval
    return Metrics(policy_of(settings), version=__version__, sweep_interval=interval, kinds=tuple(Odd))


def each(*listeners: Listener) -> Listener:
    """All of them hear everything, in this order."""

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell
