"""A daemon on a world's virtual clock: its jobs, when they would be due, one after the other."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from functools import partial

import pytest

from reconciler.app.forgetting import PRUNE_EVERY
from reconciler.database import AUDIT_BEGAN, AUDIT_REACHED, Database
from reconciler.database.datetimes import own, parse
from reconciler.domain.gate import CREDITS_FRESH_FOR
from reconciler.engine.audit import pass_at, rows_due, tick_of
from reconciler.engine.events import Result
from reconciler.engine.purse import Purse
from reconciler.engine.sweep import Bounds, Sweep
from reconciler.kie.simulated.wire import Request, Response
from reconciler.service.schedule import AT_LEAST
from reconciler.testing.world import World

CREDITS = "/api/v1/chat/credit"


class Living:
    """`swept`: the results of its sweeps. `audit_interval` None: without audits. `seen` is called after each job."""

    def __init__(
        self,
        world: World,
        database: Database,
        sweep_interval: timedelta,
        audit_interval: timedelta | None,
        seen: Callable[[], None],
    ) -> None:
        self.world, self.swept = world, list[Result]()
        self._database, self._sweep_interval, self._seen = database, sweep_interval, seen
        jobs: list[Callable[[], datetime]] = [self._sweep, self._credits, self._prune]
        if audit_interval is not None:
            jobs.append(partial(self._audit, audit_interval))
        self._due = dict.fromkeys(jobs, world.clock())

    def live(self, length: timedelta) -> None:
        clock = self.world.clock
        ends = clock() + length
        while (due := min(self._due.values())) < ends:
            job = next(job for job, at in self._due.items() if at == due)
            clock.time = max(clock(), due)
            self._due[job] = job()
            self._seen()
        clock.time = max(clock(), ends)

    def _sweep(self) -> datetime:
        latest = self.world.clock() + self._sweep_interval
        until = self.world.clock.steady() + self._sweep_interval
        result = self._work(Bounds(until, tries_key=not self.swept, audit=False, waits=False))
        self.swept.append(result)
        return max(min(result.next_at or latest, latest), self.world.clock() + AT_LEAST)

    def _audit(self, interval: timedelta) -> datetime:
        now, tick, notes = self.world.clock(), tick_of(interval), self._database.notes
        until = self.world.clock.steady() + tick
        walk = pass_at(now, interval, parse(notes.get(AUDIT_BEGAN)), notes.get(AUDIT_REACHED))
        if walk is not None:
            left = self._database.finder.rows_after(walk.reached)
            rows = rows_due(left, walk.began + interval - now, tick)
            self._work(Bounds(until, due=False, audit_from=walk.reached, audit_rows=rows, waits=False))
            notes.put(AUDIT_BEGAN, own(walk.began))
        return now + tick

    def _credits(self) -> datetime:
        world, asked_at = self.world, self.world.clock()
        kie = world.parts(self._database).hands.kie
        purse = Purse(self._database.gate, world.policy, world.clock, world.events.append)
        purse.credit_answer(kie.credit(), asked_at)
        return asked_at + CREDITS_FRESH_FOR

    def _prune(self) -> datetime:
        self._database.prune()
        return self.world.clock() + PRUNE_EVERY

    def _work(self, bounds: Bounds) -> Result:
        sweep = Sweep(self.world.parts(self._database), bounds, self.world.events.append)
        result = sweep.run()
        if bounds.audit:
            self._database.notes.put(AUDIT_REACHED, sweep.audit_key)
        return result


@contextmanager
def living(
    world: World,
    *,
    sweep_interval: timedelta = timedelta(minutes=1),
    audit_interval: timedelta | None = timedelta(hours=6),
    seen: Callable[[], None] = lambda: None,
) -> Iterator[Living]:
    """A daemon that was just started."""
    world.store.adopt(None)
    with closing(world.open()) as database:
        yield Living(world, database, sweep_interval, audit_interval, seen)


def watch(world: World, patch: pytest.MonkeyPatch) -> Counter[str]:
    """How often which path of Kie and of its file hosts is asked for from now on."""
    asked, handle = Counter[str](), world.kie.handle

    def heard(request: Request) -> Response:
        asked[request.url_path] += 1
        return handle(request)

    patch.setattr(world.kie, "handle", heard)
    return asked
