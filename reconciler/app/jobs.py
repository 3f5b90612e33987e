"""What the daemon does on schedule. Each job raises nothing: it tells what failed, and runs again in time."""

import math
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from reconciler.app.clock import steady, utc_now
from reconciler.app.counted import each
from reconciler.app.errors import StoreAway, StoreUnfit
from reconciler.app.forgetting import forget
from reconciler.app.inside import file_of, looked_into, opened
from reconciler.app.kept_open import KeptOpen
from reconciler.app.outside import Provider
from reconciler.app.status import Status
from reconciler.app.sweeping import Ears, Haste, Sweeping
from reconciler.database import AUDIT_BEGAN, AUDIT_REACHED, Database, DatabaseError, Reader
from reconciler.database.datetimes import own, parse
from reconciler.engine.audit import pass_at, rows_due, tick_of
from reconciler.engine.events import Result
from reconciler.engine.purse import Purse
from reconciler.engine.sweep import Bounds
from reconciler.images.pace import HostPace
from reconciler.ports import Overview, StoreError
from reconciler.service.counting import SweepFailure, Trigger
from reconciler.service.events import Forgotten, JobFailed, JobRecovered
from reconciler.service.vitals import Vitals

UNTIL = 0.8
"""Of its interval, within which a sweep begins steps: the next one is not to find it at work."""
SLOW, COUNTING = timedelta(seconds=1), 10
"""After a snapshot that was slow, so many times its length pass before the next."""
LONGEST_UNCOUNTED = timedelta(minutes=10)
AUDITORS = 2
"""So many requests of an audit are under way at most."""
PER_HOST = 5.0
"""Requests a second that an audit asks of one host."""

T = TypeVar("T")


class Jobs:
    """`troubles`: by job, what its last run failed of. `failed_sweeps`: so many in a row."""

    def __init__(self, outside: Provider, ears: Ears, vitals: Vitals) -> None:
        self._outside, self._ears = outside, ears
        self._settings, self._policy, self._metrics = outside.settings, outside.policy, ears.metrics
        self._clock = outside.clock
        place = partial(file_of, self._settings)
        self._working = KeptOpen(lambda: opened(self._settings, self._clock.heard), place, Database.is_as_found)
        self._looking = KeptOpen(lambda: looked_into(self._settings), place, Reader.is_as_found)
        self._sweeping = Sweeping(outside, ears, vitals)
        self._calm = Haste(AUDITORS, HostPace(PER_HOST))
        self._trigger = Trigger.STARTUP
        self._count_after = -math.inf
        self.status = Status(outside)
        self.troubles: dict[str, str] = {}
        self.failed_sweeps = 0

    def stop(self) -> None:
        """End the sweeps that run, in order, and begin none. Safe in a signal handler."""
        self._sweeping.stop()
        self.status.gallery.stop()

    def look_again(self) -> None:
        """A sweep that runs finds at once what somebody made due. Safe in any thread."""
        self._sweeping.look_again()

    # -- jobs ----------------------------------------------------------------------------------------------------

    def sweep(self) -> datetime | None:
        """Work what is due. Returns when something is due next."""
        trigger, self._trigger, begun = self._trigger, Trigger.SCHEDULE, steady()
        self._metrics.sweeps.begun(trigger, utc_now())
        result = self._tried("sweep", lambda: self._sweep(trigger))
        if result is None:
            self.failed_sweeps += 1
            self._working.drop()
            return None
        self.failed_sweeps, self.status.swept_at = 0, utc_now()
        self._metrics.sweeps.done(utc_now(), steady() - begun)
        return self._clock.here(result.next_at) if result.next_at is not None else None

    def audit(self) -> None:
        """Walk a slice of the table, and work what is found there at the audit's pace."""
        self._tried("audit", self._audit)

    def snapshot(self) -> None:
        """Count where all tracks stand, unless that took so long the last time that it would be done all the time."""
        at, begun = utc_now(), steady()
        if time.monotonic() < self._count_after:
            return
        overview = self._tried("snapshot", self._counted)
        if overview is None:
            self._looking.drop()
            self._metrics.snapshot_failed()
            return
        took = steady() - begun
        if took > SLOW:
            self._count_after = time.monotonic() + min(COUNTING * took, LONGEST_UNCOUNTED).total_seconds()
        self._metrics.overview(overview, took)
        self._tried("status page", lambda: self.status.look(self._looking.get(), overview, at))

    def illustrate(self) -> None:
        """Make the status page's thumbnails."""
        self._tried("thumbnails", self.status.illustrate)

    def credits(self) -> None:
        """Ask Kie for the balance, which costs nothing and tells whether purchases may go on."""
        self._tried("credits", self._credits)

    def prune(self) -> None:
        """Forget what is too old to matter."""
        self._tried("prune", self._prune)

    # -- how -----------------------------------------------------------------------------------------------------

    def _tried(self, job: str, work: Callable[[], T]) -> T | None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and the job runs again
            kind = _kind(error)
            self.troubles[job] = f"{job}: {error}" if kind is not SweepFailure.MISTAKE else f"{job}: a mistake"
            if job == "sweep":
                self._metrics.sweeps.failed(kind)
            self._ears.tell(JobFailed(job, error, mistake=kind is SweepFailure.MISTAKE))
            return None
        if self.troubles.pop(job, None) is not None:
            self._ears.tell(JobRecovered(job))
        return result

    def _sweep(self, trigger: Trigger) -> Result:
        database = self._working.get()  # first: to open it may take a while
        bounds = Bounds(
            steady() + UNTIL * self._settings.schedule.sweep_interval,
            tries_key=trigger is Trigger.STARTUP,
            audit=False,
            waits=False,
            patience=self._policy.step_deadline,
        )
        return self._sweeping.run(database, bounds, trigger)

    def _counted(self) -> Overview:
        reader = self._looking.get()
        if reader.lacks:
            # What was not there when it was opened it would not see ever.
            self._looking.drop()
            reader = self._looking.get()
        return reader.overview()

    def _audit(self) -> None:
        interval = self._settings.schedule.audit_interval
        tick = tick_of(interval)
        with opened(self._settings, self._clock.heard) as database:
            now = self._clock()
            noted = parse(database.notes.get(AUDIT_BEGAN)), database.notes.get(AUDIT_REACHED)
            walk = pass_at(now, interval, *noted)
            if walk is None:
                return
            rows = rows_due(database.finder.rows_after(walk.reached), walk.began + interval - now, tick)
            bounds = Bounds(
                steady() + tick,
                tries_key=False,
                due=False,
                audit_from=walk.reached,
                audit_rows=rows,
                waits=False,
                patience=self._policy.step_deadline,
            )
            self._sweeping.run(database, bounds, None, self._calm, lambda key: database.notes.put(AUDIT_REACHED, key))
            # Not before: one that begins and fails at once has reached nothing, which reads as being over.
            database.notes.put(AUDIT_BEGAN, own(walk.began))

    def _credits(self) -> None:
        asked_at, client = self._clock(), self._outside.client(self._metrics)
        answer = client.credit()
        with opened(self._settings) as database:
            purse = Purse(database.gate, self._policy, self._clock, each(self._metrics, self._ears.listen("")))
            purse.credit_answer(answer, asked_at)

    def _prune(self) -> None:
        with opened(self._settings, self._clock.heard) as database:
            pruned = forget(self._settings, database, self._clock())
        self._ears.tell(Forgotten(pruned.tracks, pruned.attempts))


def _kind(error: Exception) -> SweepFailure:
    match error:
        case DatabaseError():
            return SweepFailure.DATABASE
        case StoreUnfit() | StoreAway() | StoreError():
            return SweepFailure.STORAGE
        case _:
            return SweepFailure.MISTAKE
