"""Where the outcome of a step is saved: memory, standing and row in one commit, and when to look again."""

from collections import deque
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from reconciler.domain.actions import Action, Fetch, Measure, Wait, Write
from reconciler.domain.attempts import Attempt, write_attempt
from reconciler.domain.case import Case
from reconciler.domain.learn import after_conflict, after_write
from reconciler.domain.learn_pictures import lost_on
from reconciler.domain.model import Cell, Memory, Track
from reconciler.domain.plan import farewell, plan_case
from reconciler.domain.policy import Policy
from reconciler.domain.scope import COMPLETED
from reconciler.domain.standing import Standing, standing
from reconciler.domain.states import Reason, State
from reconciler.engine.effects import Job
from reconciler.engine.events import Listener, Mistake, Moved, Unwritten, Wrote
from reconciler.engine.purse import Purse
from reconciler.ports import Change, Clock, Commit, DatabaseError, DatabaseLocked, Lease, Leases, RowWrite

COMMITS = 3
"""What is to be saved may have been paid for: a database that is busy is asked so often before it is given up."""


class Desk:
    """`ready`: tracks whose next step can be taken at once. `soonest`: when another one may be due."""

    def __init__(self, leases: Leases, purse: Purse, policy: Policy, clock: Clock, listener: Listener) -> None:
        self._leases, self._purse, self._policy, self._clock, self._tell = leases, purse, policy, clock, listener
        self.ready: deque[str] = deque()
        self.soonest: datetime | None = clock()

    def settle(self, lease: Lease, case: Case, action: Action) -> None:
        self.stand(lease, case.memory, standing(case, action, self._purse.view()))

    def stand(self, lease: Lease, memory: Memory, where: Standing, *tried: Attempt) -> None:
        self._tell(Moved(lease.track_id, where.state, where.reason))
        self._commit(lease, Change(memory, where, tried))
        self._due(where)

    def _commit(self, lease: Lease, change: Change, row: RowWrite | None = None) -> Commit:
        for _ in range(COMMITS - 1):
            with suppress(DatabaseLocked):
                return self._leases.commit(lease, change, row)
        return self._leases.commit(lease, change, row)

    def _commit_row(self, lease: Lease, change: Change, row: RowWrite) -> Commit:
        try:
            return self._commit(lease, change, row)
        except DatabaseError:
            self._tell(Unwritten(lease.track_id))
            raise

    def _due(self, where: Standing) -> None:
        if where.due_at is not None:
            self.soonest = min(self.soonest or where.due_at, where.due_at)

    def put_off(self, lease: Lease, case: Case, action: Action, until: datetime) -> None:
        self.stand(lease, case.memory, replace(standing(case, action, self._purse.view()), due_at=until))

    def part(self, lease: Lease, memory: Memory, now: datetime, *tried: Attempt) -> None:
        """The row is gone: remembered for a while, so that what was paid for is known if it comes back."""
        memory, action = replace(memory, gone_since=memory.gone_since or now), farewell(memory, now)
        self.stand(lease, memory, Standing(None, None, action.until if isinstance(action, Wait) else now), *tried)

    def mishap(self, track_id: str, error: Exception, lease: Lease | None, memory: Memory | None) -> None:
        """Nobody knows what to do with this track: it is left alone for long."""
        self._tell(Mistake(track_id, error))
        if lease is not None and memory is not None:
            later = self._clock() + self._policy.retry_max
            self.stand(lease, memory, Standing(State.INVALID, Reason.INVALID_ROW, later))

    def conclude(self, lease: Lease, case: Case, *tried: Attempt) -> None:
        """A step is over: write what is to be written, save the rest, go on at once if there is more to do."""
        action = plan_case(case)
        if isinstance(action, Write):
            self.write(lease, case, action, *tried)
            return
        where = standing(case, action, self._purse.view())
        self._tell(Moved(case.track.id, where.state, where.reason))
        if self._commit(lease, Change(case.memory, where, tried)) is Commit.COMMITTED:
            self._go_on(case, where)

    def _go_on(self, case: Case, where: Standing) -> None:
        """What can go on at once does so before anything else is begun."""
        if where.due_at is not None and where.due_at <= case.now:
            self.ready.append(case.track.id)
        else:
            self._due(where)

    def write(self, lease: Lease, case: Case, write: Write, *tried: Attempt) -> None:
        """Row and memory in one transaction; where somebody was faster, only what we know of that is kept."""
        written = replace(case, track=_as_written(case, write), memory=after_write(case, write))
        conflicted = replace(case, memory=after_conflict(case))
        change = self._change(written, *tried, write_attempt(write, Commit.COMMITTED))
        otherwise = self._change(conflicted, *tried, write_attempt(write, Commit.CONFLICT))
        outcome = self._commit_row(lease, change, RowWrite(write, case.track, case.now, otherwise))
        if outcome is Commit.PAUSED:
            self.conclude(lease, replace(case, memory=replace(case.memory, paused=True)), *tried)
            return
        stuck_for = case.now - case.memory.needy_since if case.memory.needy_since else None
        self._tell(Wrote(case.track.id, write, outcome, stuck_for))
        if outcome is not Commit.LEASE_LOST:
            where = change.standing if outcome is Commit.COMMITTED else otherwise.standing
            self._tell(Moved(case.track.id, where.state, where.reason))
            self._go_on(case, where)

    def _change(self, case: Case, *tried: Attempt) -> Change:
        return Change(case.memory, standing(case, plan_case(case), self._purse.view()), tried)

    def watch_host(self, case: Case, job: Job, after: Memory) -> None:
        host = lost_on(case, job.source, after) if isinstance(job, Measure | Fetch) else None
        if host:
            self._leases.host_lost(host)


def _as_written(case: Case, write: Write) -> Track:
    track = case.track
    return replace(
        track,
        image=Cell(write.url, len(write.url)) if write.url is not None else track.image,
        resolution=write.resolution or track.resolution,
        status=COMPLETED if write.revive else track.status,
        updated_at=case.now,
    )
