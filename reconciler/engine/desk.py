"""Where the outcome of steps is saved: memory, standing and row in one commit, of several tracks at once; and when to
look again."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from reconciler.domain.actions import Action, Fetch, Job, Measure, Wait, Write
from reconciler.domain.attempts import Attempt, Replaced, write_attempt
from reconciler.domain.case import Case
from reconciler.domain.learn import after_conflict, after_lock, after_write
from reconciler.domain.learn_pictures import lost_on
from reconciler.domain.model import Cell, Memory, Track
from reconciler.domain.plan import farewell, plan
from reconciler.domain.purchases import abandoned
from reconciler.domain.scope import COMPLETED
from reconciler.domain.standing import Standing, classify, standing
from reconciler.domain.states import Reason, State
from reconciler.engine.events import Listener, Mistake, Moved, Unwritten, Wrote
from reconciler.engine.lines import Lines
from reconciler.engine.parts import Parts
from reconciler.engine.purse import Purse
from reconciler.ports import Change, Commit, DatabaseError, DatabaseLocked, Ending, Lease, RowWrite, Step

Attempts = tuple[Attempt, ...]

COMMITS = 3
"""What is to be saved may have been paid for: a database that is busy is asked so often before it is given up."""


@dataclass(frozen=True, slots=True)
class After:
    """What is done once an ending was saved, and what if it could not be."""

    saved: Callable[[], None] = lambda: None
    failed: Callable[[], None] = lambda: None


NOTHING = After()


@dataclass(frozen=True, slots=True)
class Parting:
    """An ending that waits to be saved."""

    ending: Ending
    saved: Callable[[Commit | Lease], None]
    failed: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Writing:
    """A step at whose end a row is written."""

    lease: Lease
    case: Case
    write: Write
    tried: Attempts
    after: After

    def all_tried(self, came: Commit) -> Attempts:
        """The write, too, and what came of it."""
        return (*self.tried, write_attempt(self.write, came, Replaced.of(self.case)))


class Desk:
    """Endings are collected, and saved together by `flush`; so is what is begun under leases that go on.

    `ready`: tracks whose next step can be taken at once. `soonest`: when another one may be due. `next_step`: what
    a track is leased anew for as its step ends, to be taken at once by `goes_on`.
    """

    def __init__(
        self,
        parts: Parts,
        purse: Purse,
        lines: Lines,
        listener: Listener,
        *,
        next_step: Callable[[Case, Action], Step | None],
        goes_on: Callable[[Lease, Case, Action], None],
    ) -> None:
        self._leases, self._policy, self._clock = parts.leases, parts.policy, parts.clock
        self._purse, self._lines, self._tell = purse, lines, listener
        self._next_step, self._goes_on = next_step, goes_on
        self._partings: list[Parting] = []
        self.ready: deque[str] = deque()
        self.soonest: datetime | None = parts.clock()

    # -- saving --------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Save what waits. Raises DatabaseError when something could not be saved; all that could be was."""
        failed: list[DatabaseError] = []
        while self._partings:
            partings, self._partings = self._partings, []
            for parting, outcome in zip(partings, self._commit(partings), strict=True):
                if isinstance(outcome, DatabaseError):
                    if parting.ending.changes:  # else nothing is lost: something else is done instead
                        failed.append(outcome)
                    parting.failed()
                    continue
                try:
                    parting.saved(outcome)
                except DatabaseError as error:
                    failed.append(error)
        if failed:
            raise failed[0]

    def has_in_line(self, shape: str) -> bool:
        """Somebody is about to be saved as waiting for this shape's turn."""
        return any(change.standing.held == shape for parting in self._partings for change in parting.ending.changes)

    def _commit(self, partings: Sequence[Parting]) -> Sequence[Commit | Lease | DatabaseError]:
        outcomes = self._tried([parting.ending for parting in partings])
        for _ in range(COMMITS - 1):
            again = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, DatabaseLocked)]
            if not again:
                break
            tried = self._tried([partings[number].ending for number in again])
            for number, outcome in zip(again, tried, strict=True):
                outcomes[number] = outcome
        return outcomes

    def _tried(self, endings: Sequence[Ending]) -> list[Commit | Lease | DatabaseError]:
        try:
            return list(self._leases.commit_all(endings))
        except DatabaseError as error:
            return [error] * len(endings)

    def begin(self, lease: Lease, step: Step, after: After = NOTHING) -> None:
        """Under a lease that goes on; where that is lost, nothing is done."""

        def saved(outcome: Commit | Lease) -> None:
            if isinstance(outcome, Lease):
                after.saved()

        self._partings.append(Parting(Ending(lease, None, then=step), saved, after.failed))

    # -- endings -------------------------------------------------------------------------------------------------

    def settle(self, lease: Lease, case: Case, action: Action, tried: Attempts = ()) -> None:
        self.stand(lease, case.memory, standing(case, action, self._purse.view()), tried)

    def stand(
        self, lease: Lease, memory: Memory, where: Standing, tried: Attempts = (), after: After = NOTHING
    ) -> None:
        def saved(outcome: Commit | Lease) -> None:
            if outcome is Commit.COMMITTED:
                self._tell(Moved(lease.track_id, where.state, where.reason))
            self._due(where)
            after.saved()

        self._partings.append(Parting(Ending(lease, Change(memory, where, tried)), saved, after.failed))

    def _due(self, where: Standing) -> None:
        if where.held is not None:
            self._lines.entered(where.held)
        if where.due_at is not None:
            self.soonest = min(self.soonest or where.due_at, where.due_at)

    def put_off(self, lease: Lease, case: Case, action: Action, until: datetime) -> None:
        self.stand(lease, case.memory, replace(standing(case, action, self._purse.view()), due_at=until))

    def part(self, lease: Lease, memory: Memory, now: datetime, tried: Attempts = (), after: After = NOTHING) -> None:
        """The row is gone: remembered for a while, so that what was paid for is known if it comes back."""
        memory = abandoned(replace(memory, gone_since=memory.gone_since or now), now)
        action = farewell(memory, now, asks=self._policy.asks_tasks)
        where = Standing(None, None, action.until if isinstance(action, Wait) else now)
        self.stand(lease, memory, where, tried, after)

    def mishap(self, track_id: str, error: Exception, lease: Lease | None, memory: Memory | None) -> None:
        """Nobody knows what to do with this track: it is left alone for long."""
        self._tell(Mistake(track_id, error))
        if lease is None or memory is None:
            self._leases.put_off(track_id)
            return
        later = self._clock() + self._policy.retry_max
        self.stand(lease, memory, Standing(State.INVALID, Reason.INVALID_ROW, later))

    def conclude(self, lease: Lease, case: Case, action: Action, tried: Attempts, after: After) -> None:
        """A step is over: write what is to be written, save the rest, go on at once if there is more to do."""
        if isinstance(action, Write):
            self.write(lease, case, action, tried, after)
            return
        where = standing(case, action, self._purse.view())

        def saved(outcome: Commit | Lease) -> None:
            if outcome is not Commit.LEASE_LOST:
                self._tell(Moved(case.track.id, where.state, where.reason))
            if isinstance(outcome, Lease):
                self._goes_on(outcome, case, action)
            elif outcome is Commit.COMMITTED:
                self._go_on(case, where)
            after.saved()

        change, then = Change(case.memory, where, tried), self._next_step(case, action)
        self._partings.append(Parting(Ending(lease, change, then=then), saved, after.failed))

    def _go_on(self, case: Case, where: Standing) -> None:
        """What can go on at once does so before anything else is begun."""
        if where.due_at is not None and where.due_at <= case.now:
            self.ready.append(case.track.id)
        else:
            self._due(where)

    # -- writing -------------------------------------------------------------------------------------------------

    def write(self, lease: Lease, case: Case, write: Write, tried: Attempts = (), after: After = NOTHING) -> None:
        """Row and memory in one transaction; where somebody was faster, only what we know of that is kept."""
        step = Writing(lease, case, write, tried, after)
        written = replace(case, track=_as_written(case, write), memory=after_write(case, write))
        change = self._change(written, step.all_tried(Commit.COMMITTED))
        otherwise = self._change(replace(case, memory=after_conflict(case)), step.all_tried(Commit.CONFLICT))

        def saved(outcome: Commit | Lease) -> None:
            match outcome:
                case Commit.COMMITTED:
                    self._wrote(step, outcome, change.standing)
                case Commit.CONFLICT | Commit.REFUSED:
                    self._wrote(step, outcome, otherwise.standing)
                case Commit.LEASE_LOST:
                    self._wrote(step, outcome, None)
                case Commit.PAUSED:
                    self._write_once_resumed(step)
                case Commit.EXPIRED:
                    self._write_under_another_lease(step)
                case Commit.LOCKED:
                    self._write_later(step)
                case Lease():  # pragma: no cover
                    raise AssertionError("a row is written by a step that nothing follows")
                case _:  # pragma: no cover
                    assert_never(outcome)

        def failed() -> None:
            self._tell(Unwritten(case.track.id))
            after.failed()

        row = RowWrite(write, case.track, case.now, otherwise)
        self._partings.append(Parting(Ending(lease, change, row), saved, failed))

    def _wrote(self, step: Writing, outcome: Commit, where: Standing | None) -> None:
        """Or somebody else did. `where` None: the track is another's by now."""
        self._tell_of(step, outcome)
        if where is not None:
            self._tell(Moved(step.case.track.id, where.state, where.reason))
            self._go_on(step.case, where)
        step.after.saved()

    def _write_once_resumed(self, step: Writing) -> None:
        paused = replace(step.case, memory=replace(step.case.memory, paused=True))
        self.conclude(step.lease, paused, plan(paused), step.tried, step.after)

    def _write_under_another_lease(self, step: Writing) -> None:
        self._tell_of(step, Commit.EXPIRED)
        at_once = standing(step.case, step.write, self._purse.view())
        self.stand(step.lease, step.case.memory, at_once, step.tried, step.after)

    def _write_later(self, step: Writing) -> None:
        self._tell_of(step, Commit.LOCKED)
        later = self._change(replace(step.case, memory=after_lock(step.case)), step.all_tried(Commit.LOCKED))
        self.stand(step.lease, later.memory, later.standing, later.tried, step.after)

    def _tell_of(self, step: Writing, outcome: Commit) -> None:
        case = step.case
        stuck_for = case.now - case.memory.needy_since if case.memory.needy_since else None
        self._tell(Wrote(case.track.id, step.write, outcome, stuck_for))

    def _change(self, case: Case, tried: Attempts) -> Change:
        return Change(case.memory, classify(case, self._purse.view()), tried)

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
