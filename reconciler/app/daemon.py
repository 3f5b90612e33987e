"""The daemon: jobs on a schedule and pages that tell how they go, until a signal ends it.

Its main thread only waits: for a signal, and for the next beat, at which it tells systemd that nothing hangs.
"""

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from faulthandler import dump_traceback
from functools import partial
from queue import Empty, SimpleQueue
from random import uniform
from socket import gaierror

from reconciler import __version__
from reconciler.app.beside import Left, beside
from reconciler.app.calling import Calling
from reconciler.app.clock import utc_now
from reconciler.app.counted import counting
from reconciler.app.errors import HttpAway
from reconciler.app.forgetting import PRUNE_EVERY
from reconciler.app.inside import file_of, opened
from reconciler.app.jobs import Jobs
from reconciler.app.keeping import open_store
from reconciler.app.outside import Provider, provider
from reconciler.app.sweeping import Ears
from reconciler.config import Settings
from reconciler.domain.gate import CREDITS_FRESH_FOR
from reconciler.engine.audit import tick_of
from reconciler.service.callbacks import Callbacks, Reception
from reconciler.service.events import ClockJumped, Hung, PageFailed, Started, Stopped
from reconciler.service.http import HttpServer
from reconciler.service.notify import Notifier, watchdog_interval
from reconciler.service.pages import Pages
from reconciler.service.schedule import Job, Schedule
from reconciler.service.vitals import Vitals

BEAT = timedelta(seconds=5)
"""At the latest. With a watchdog, half its interval if that is sooner."""
JUMP = timedelta(seconds=10)
"""A wall clock that strays from the steady one by more was set."""
TO_OPEN = timedelta(seconds=1)
"""So long it goes on to open the database and the store when it is to stop: nothing rests on them yet."""
WITHOUT_SUCCESS = 5
"""So many sweeps in a row that fail are no progress."""
CREDITS_EVERY = 0.9 * CREDITS_FRESH_FOR
"""So that a sweep need not ask."""
AUDIT_AFTER = timedelta(milliseconds=500)
"""The first sweep takes what is due: what an audit has in hand it would have to wait for."""
_SOON = frozenset({"sweep", "snapshot", "audit"})
"""Jobs that run again within a minute or so, and so find out when what they failed of is over."""


class Daemon:
    def __init__(self, settings: Settings, outside: Provider, ears: Ears, notifier: Notifier, vitals: Vitals) -> None:
        self._settings, self._ears, self._notifier, self._vitals = settings, ears, notifier, vitals
        self._policy = outside.policy
        self._jobs = Jobs(outside, ears, vitals)
        self._schedule = Schedule(vitals, ears.tell)
        self._signals: SimpleQueue[None] = SimpleQueue()  # may be put to in a signal handler, unlike an Event
        self._ready = self._stopping = False
        self._status = ""
        self._hung_since: float | None = None
        self._drift = _drift()

    def is_stopping(self) -> bool:
        return self._stopping

    def stop(self) -> None:
        """Safe in a signal handler."""
        self._stopping = True
        self._jobs.stop()
        self._signals.put(None)

    def run(self, beat: timedelta) -> None:
        """Until `stop`. Config, database and store are checked by now."""
        with self._called() as callback, _listening(self._settings, self._pages(callback)) as server:
            for job in self._all():
                self._schedule.add(job)
            self._schedule.start()
            self._ready = True
            self._status = f"pages at {server.url}"
            self._notifier.ready(self._status)
            self._ears.tell(Started(server.url, _rests_on(self._settings)))
            while not self._stopping:
                self._wait(beat)
                self._feel()
            self._notifier.stopping()
            in_order = self._schedule.stop(self._policy.request_timeout + timedelta(seconds=3))
        self._ears.tell(Stopped(in_order))

    def _all(self) -> Iterator[Job]:
        jobs, schedule = self._jobs, self._settings.schedule
        slack = self._policy.lease + timedelta(minutes=1)
        """Time for a sweep to end its steps, and for its transactions to wait for locks."""
        first = timedelta(seconds=uniform(0, 2))
        """Several daemons that are started together do not ask together."""
        yield Job("sweep", jobs.sweep, schedule.sweep_interval, schedule.sweep_interval + slack, "sweep", first)
        yield Job("snapshot", jobs.snapshot, schedule.snapshot_interval, timedelta(minutes=10), "snapshot")
        tick = tick_of(schedule.audit_interval)
        yield Job("audit", jobs.audit, tick, tick + slack, "aside", first + AUDIT_AFTER)
        if self._policy.budget_of_none is None:
            yield Job("credits", jobs.credits, CREDITS_EVERY, slack, "aside", 3 * first)
        yield Job(
            "thumbnails", jobs.illustrate, schedule.snapshot_interval, timedelta(minutes=10), "thumbnails", 3 * first
        )
        yield Job("prune", jobs.prune, PRUNE_EVERY, timedelta(minutes=10), "aside", timedelta(minutes=5))

    # -- the main thread -----------------------------------------------------------------------------------------

    def _wait(self, beat: timedelta) -> None:
        with suppress(Empty):
            self._signals.get(timeout=beat.total_seconds())

    def _feel(self) -> None:
        """Tell systemd that all is well, only if it is."""
        self._see_jump()
        complaints = self._vitals.complaints()
        if complaints:
            self._hang(complaints)
        else:
            if self._hung_since is not None:
                self._hung_since = None
                self._notifier.status(self._status)
            self._notifier.alive()

    def _hang(self, complaints: tuple[str, ...]) -> None:
        """Nothing can be done to a thread that hangs: the stacks are shown, and if it lasts the process ends."""
        now = time.monotonic()
        if self._hung_since is None:
            self._hung_since = now
            self._ears.tell(Hung(complaints))
            self._notifier.status(f"hangs: {complaints[0]}")
            with suppress(OSError, RuntimeError):  # stderr may be no file, or closed
                dump_traceback(file=sys.stderr, all_threads=True)
        elif now - self._hung_since > self._policy.request_timeout.total_seconds():
            os._exit(1)

    def _see_jump(self) -> None:
        before, self._drift = self._drift, _drift()
        if abs(self._drift - before) > JUMP:
            self._ears.tell(ClockJumped(self._drift - before))
            self._schedule.all_at_once()

    # -- pages ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _called(self) -> Iterator[Callbacks | None]:
        """The page for callbacks, where there are to be any."""
        settings = self._settings
        if not settings.callback.public_url:
            yield None
            return
        calling = Calling(partial(opened, settings), partial(file_of, settings), self._look_again)
        try:
            key = settings.callback.hmac_key.get_secret_value()
            yield Callbacks(calling.hint, hmac_key=key, heard=self._hear)
        finally:
            calling.close()

    def _hear(self, heard: Reception) -> None:
        self._ears.metrics.called_back(heard)
        if heard is Reception.TAKEN:
            self._jobs.status.called_at = utc_now()

    def _look_again(self) -> None:
        self._jobs.look_again()
        self._schedule.soon("sweep")

    def _pages(self, callback: Callbacks | None) -> Pages:
        local = self._settings.storage.kind == "local"
        return Pages(
            metrics=self._ears.metrics.exposition,
            health=self._health,
            ready=self._readiness,
            picture=self._jobs.status.picture if local else None,
            callback=callback,
            status=lambda: self._jobs.status.page(self._vitals.complaints(), self._failing()),
            thumbnail=self._jobs.status.gallery.file,
            failed=lambda path, error: self._ears.tell(PageFailed(path, error)),
        )

    def _health(self) -> tuple[str, ...]:
        failed = self._jobs.failed_sweeps
        idle = (f"{failed} sweeps in a row failed; {self._jobs.troubles.get('sweep')}",)
        return (*self._vitals.complaints(), *(idle if failed >= WITHOUT_SUCCESS else ()))

    def _readiness(self) -> tuple[str, ...]:
        if not self._ready or self._stopping:
            return ("stopping" if self._stopping else "starting",)
        return self._failing()

    def _failing(self) -> tuple[str, ...]:
        return tuple(said for job, said in tuple(self._jobs.troubles.items()) if job in _SOON)


def _rests_on(settings: Settings) -> dict[str, str]:
    return {
        "version": __version__,
        "database": settings.database.place,
        "store": settings.storage.place,
        "kie": settings.kie.base_url,
    }


def _drift() -> timedelta:
    """The wall clock against the steady one."""
    return utc_now() - datetime.fromtimestamp(0, utc_now().tzinfo) - timedelta(seconds=time.monotonic())


@contextmanager
def _listening(settings: Settings, pages: Pages) -> Iterator[HttpServer]:
    try:
        server = HttpServer(settings.http.host, settings.http.port, pages)
    except OSError as error:
        where = f"http.host, http.port: {settings.http.host}:{settings.http.port}"
        raise HttpAway(f"{where}: {error.strerror or error}; {_how_to_listen(error)}") from error
    with server:
        yield server


def _how_to_listen(error: OSError) -> str:
    if isinstance(error, gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "set http.host to an address of this machine"
    match error.errno:
        case errno.EADDRINUSE:
            return "end what listens there, or choose another port"
        case errno.EACCES:
            return "choose a port from 1024 on, or let the reconciler's user listen on this one"
        case _:
            return "choose another http.host or http.port"


def serve(settings: Settings, ears: Ears, started: Callable[[Daemon], None]) -> None:
    """Run until it is stopped. `started` gets the daemon, to stop it. Raises what is wrong with database or store."""

    def look() -> None:
        with opened(settings, outside.clock.heard) as database:
            open_store(settings, database, ears.metrics.store_asked)

    with provider(settings) as outside:
        tell = counting(ears.metrics, ears.tell)
        daemon = Daemon(settings, outside, replace(ears, tell=tell), Notifier(), Vitals())
        started(daemon)
        try:
            beside(look, daemon.is_stopping, TO_OPEN)
        except Left:
            tell(Stopped(in_order=True))
            return
        watchdog = watchdog_interval(os.environ, os.getpid())
        daemon.run(min(BEAT, watchdog / 2) if watchdog is not None else BEAT)
