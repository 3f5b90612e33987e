"""One sweep and one audit pass, with everything that can fetch, store, write and buy."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from reconciler.app.inside import known_track, open_store, opened, utc_now
from reconciler.app.outside import provider
from reconciler.config import Settings
from reconciler.database import AUDIT_REACHED, Database
from reconciler.engine.crew import Threads
from reconciler.engine.effects import Eyes, Hands
from reconciler.engine.events import Listener, Result
from reconciler.engine.sweep import Bounds, Parts, Sweep

WORKERS = 12


@dataclass(frozen=True, slots=True)
class Narrowed:
    """How far a one-off run may go; all limits are the operator's."""

    timeout: timedelta = timedelta(minutes=10)
    only: tuple[str, ...] | None = None
    limit: int | None = None
    max_purchases: int | None = None
    audit: bool = True


def run_once(settings: Settings, narrowed: Narrowed, listener: Listener, started: Callable[[Sweep], None]) -> Result:
    """One sweep and one audit pass. `started` gets the sweep, to stop it."""
    with opened(settings) as database, provider(settings) as outside:
        for track_id in narrowed.only or ():
            known_track(settings, database.leases.peek, track_id)
        store = open_store(settings, database)
        kie, pictures = outside.client(), outside.pictures()
        hands = Hands(Eyes(kie, pictures, store), kie, pictures, store, outside.policy)
        crew = Threads(WORKERS)
        parts = Parts(database.finder, database.leases, database.gate, hands, crew, outside.policy, utc_now)
        sweep = Sweep(parts, _bounds(narrowed, database), listener)
        started(sweep)
        try:
            return sweep.run()
        finally:
            crew.close()
            if narrowed.only is None:
                database.notes.put(AUDIT_REACHED, sweep.audit_key)


def _bounds(narrowed: Narrowed, database: Database) -> Bounds:
    return Bounds(
        until=utc_now() + narrowed.timeout,
        only=narrowed.only,
        limit=narrowed.limit,
        max_purchases=narrowed.max_purchases,
        audit=narrowed.audit,
        audit_from=database.notes.get(AUDIT_REACHED) if narrowed.only is None else None,
    )
