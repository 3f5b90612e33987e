"""One sweep and one audit pass, with everything that can fetch, store, write and buy."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from reconciler.app.clock import steady, utc_now
from reconciler.app.counted import each
from reconciler.app.forgetting import forget_if_due
from reconciler.app.inside import known_id, looked_into, opened
from reconciler.app.outside import provider
from reconciler.app.work import parts_of
from reconciler.config import Settings
from reconciler.database import ONCE_REACHED, AppTable, Database
from reconciler.engine.crew import Threads
from reconciler.engine.events import Listener, Result
from reconciler.engine.lately import Lately
from reconciler.engine.sweep import Bounds, Sweep
from reconciler.ports import Held
from reconciler.service.counting import Trigger
from reconciler.service.metrics import Metrics

FORGETTING = 0.1
"""Of a run's time, at most."""


@dataclass(frozen=True, slots=True)
class Narrowed:
    """How far a one-off run may go; all limits are the operator's."""

    timeout: timedelta = timedelta(minutes=10)
    only: tuple[str, ...] | None = None
    limit: int | None = None
    max_purchases: int | None = None
    audit: bool = True


def run_once(
    settings: Settings,
    narrowed: Narrowed,
    metrics: Metrics,
    listener: Listener,
    started: Callable[[Sweep], None],
    lately: Lately | None = None,
) -> Result:
    """One sweep and one audit pass, counted by `metrics` too. `started` gets the sweep, to stop it. `lately`: what is
    known beforehand."""
    with provider(settings) as outside, opened(settings, outside.clock.heard) as database:
        narrowed = known(settings, narrowed, database.app, database.leases.peek)
        bounds, crew = _bounds(narrowed, database), Threads()
        parts = parts_of(database, outside, crew, metrics, lately or Lately())
        sweep = Sweep(parts, bounds, each(metrics, listener))
        started(sweep)
        if narrowed.only is None:
            # First: whatever happens to the work, it is done now and then.
            within = FORGETTING * narrowed.timeout
            forget_if_due(settings, database, outside.clock, within, lambda: not sweep.is_over)
        begun = steady()
        metrics.sweeps.begun(Trigger.ONCE, utc_now())
        try:
            result = sweep.run()
        finally:
            crew.close()
            if narrowed.only is None and narrowed.audit:
                database.notes.put(ONCE_REACHED, sweep.audit_key)
        metrics.sweeps.done(utc_now(), steady() - begun)
        return result


def known(settings: Settings, narrowed: Narrowed, app: AppTable, peek: Callable[[str], Held]) -> Narrowed:
    """To tracks by their ids as we write them. Raises NoSuchTrack."""
    if narrowed.only is None:
        return narrowed
    ids = (known_id(settings, app, peek, track_id) for track_id in narrowed.only)
    return replace(narrowed, only=tuple(dict.fromkeys(ids)))


def write_metrics(settings: Settings, metrics: Metrics, path: Path) -> None:
    """All that `metrics` counted, and where every track stands now, as a textfile. OSError tells why it cannot be."""
    with looked_into(settings) as reader:
        begun = steady()
        metrics.overview(reader.overview(), steady() - begun)
    metrics.write_textfile(path)


def _bounds(narrowed: Narrowed, database: Database) -> Bounds:
    return Bounds(
        until=steady() + narrowed.timeout,
        only=narrowed.only,
        limit=narrowed.limit,
        max_purchases=narrowed.max_purchases,
        audit=narrowed.audit,
        audit_from=database.notes.get(ONCE_REACHED) if narrowed.only is None else None,
    )
