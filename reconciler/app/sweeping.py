"""The sweeps of a daemon: each with workers of its own, all ended together."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from secrets import token_hex

from reconciler.app.clock import steady
from reconciler.app.counted import each
from reconciler.app.outside import Provider
from reconciler.app.work import Pace, parts_of, unhurried
from reconciler.database import Database
from reconciler.engine.crew import WORKERS, Threads
from reconciler.engine.events import Listener, Result
from reconciler.engine.lately import Lately
from reconciler.engine.sweep import Bounds, Sweep
from reconciler.service.counting import Trigger
from reconciler.service.events import Swept, Tell
from reconciler.service.metrics import Metrics
from reconciler.service.vitals import Vitals


@dataclass(frozen=True, slots=True)
class Ears:
    """Who hears what goes on. `listen` makes a listener for each sweep, which is told its id."""

    tell: Tell
    listen: Callable[[str], Listener]
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Haste:
    """How many workers a sweep has, and what each asks before it asks a host for a picture."""

    workers: int = WORKERS
    pace: Pace = unhurried


class Sweeping:
    def __init__(self, outside: Provider, ears: Ears, vitals: Vitals) -> None:
        self._outside, self._ears, self._vitals = outside, ears, vitals
        self._lately = Lately(
            is_called=bool(outside.policy.callback_url),
            looks_for_new_every=outside.settings.schedule.sweep_interval / 6,
        )
        self._running: dict[Sweep, None] = {}  # changed by two threads: each change is one step
        self._stopped = False

    def stop(self) -> None:
        """End those that run, in order, and begin none. Safe in a signal handler."""
        self._stopped = True
        for sweep in tuple(self._running):
            sweep.stop()

    def look_again(self) -> None:
        """Those that run find at once what somebody made due."""
        for sweep in tuple(self._running):
            sweep.look_again()

    def run(
        self,
        database: Database,
        bounds: Bounds,
        trigger: Trigger | None,
        haste: Haste = Haste(),
        reached: Callable[[str | None], None] = lambda _: None,
    ) -> Result:
        """`trigger` None: a slice of the audit. `reached` is told in any case at which key the next one resumes."""
        name, begun, metrics = token_hex(4), steady(), self._ears.metrics
        crew = Threads(haste.workers, self._watch)
        parts = parts_of(database, self._outside, crew, metrics, self._lately, haste.pace)
        sweep = Sweep(parts, bounds, each(metrics, self._ears.listen(name)))
        self._running[sweep] = None
        try:
            if self._stopped:
                sweep.stop()
            result = sweep.run()
        finally:
            self._running.pop(sweep, None)
            crew.close()
            reached(sweep.audit_key)
        self._ears.tell(Swept(name, trigger, result, steady() - begun))
        return result

    def _watch(self, track_id: str) -> AbstractContextManager[None]:
        what = f"a step of track {track_id}" if track_id else "the question for credits"
        return self._vitals.within(what, self._outside.policy.step_deadline)
