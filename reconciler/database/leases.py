"""Working one track: leased, looked at, changed, in short transactions."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from reconciler.database import codec
from reconciler.database.app_tracks import AppTracks
from reconciler.database.connection import Connection
from reconciler.database.history import History
from reconciler.database.hosts import any_suspect, count_lost
from reconciler.database.memories import Memories
from reconciler.database.schema import AppTable
from reconciler.database.statements import Slot, slots
from reconciler.database.tables import Remembered
from reconciler.domain.gate import GateName
from reconciler.domain.model import Memory, Track
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing
from reconciler.domain.states import Reason
from reconciler.ports import Change, Commit, Held, Lease, RowWrite, Step

R = Remembered

_KNOWN = (R.doc, R.lease_until, R.lease_step, R.generation)
_LEASE = (R.lease_owner, R.lease_until, R.lease_step, R.generation, R.due_at)
_MEMORY = (R.first_seen, R.needy_since, R.seen, R.stamp, R.gone_since, R.ignored, R.doc)
_STANDING = (R.state, R.reason, R.due_at, R.held, R.settles_at, R.expires_at, R.stands_until, R.wants, R.repeats)

MINE = (R.track_id == Slot("id")) & (R.lease_owner == Slot("owner")) & (R.generation == Slot("number"))
"""Nobody took the lease over. One that only ran out still holds: what was paid for must be saved."""


class Peek:
    """Looking at one track without touching it."""

    def __init__(self, connection: Connection, app: AppTable, policy: Policy) -> None:
        self.connection, self.policy = connection, policy
        self.tracks = AppTracks(connection, app)
        self.memories = Memories(connection, policy)
        self._known = connection.statement(R.select(*_KNOWN).where(R.track_id == Slot("id")), *_KNOWN)

    def peek(self, track_id: str) -> Held:
        """The track as it is now, with a lease that is none."""
        with self.connection.snapshot() as now:
            track, _, memory = self._look(track_id, now)
            return Held(Lease(track_id, "", 0, now), track, memory, now)

    def inline_image(self, track_id: str) -> str | None:
        with self.connection.reading():
            return self.tracks.whole_image(track_id)

    def _look(self, track_id: str, now: datetime) -> tuple[Track | None, Any, Memory]:
        known = self._known.one(id=track_id)
        track = self.tracks.read(track_id)
        return track, known, self.memories.load(track_id, track, known[0] if known else None, now)


class SqlLeases(Peek):
    def __init__(self, connection: Connection, app: AppTable, policy: Policy, owner: str) -> None:
        super().__init__(connection, app, policy)
        self.owner = owner
        self.history = History(connection)
        this = R.track_id == Slot("id")
        ended = {R.lease_owner: None, R.lease_until: None, R.lease_step: None}
        saved = {**slots((*_MEMORY, *_STANDING, R.tried_at)), **ended}
        self._insert = connection.statement(R.insert({R.track_id: Slot("id"), **slots((*_LEASE, *_MEMORY))}))
        self._lease = connection.statement(R.update(slots(_LEASE)).where(this))
        self._remember = connection.statement(R.update(slots(_MEMORY)).where(this))
        self._mine = connection.statement(R.select(R.generation).where(MINE), R.generation)
        self._begin = connection.statement(R.update({R.lease_step: Slot("step")}).where(MINE))
        self._save = connection.statement(R.update(saved).where(MINE))

    def lease(self, track_id: str) -> Held | None:
        with self.connection.writing() as now:
            track, known, memory = self._look(track_id, now)
            if known is None:
                return self._first(track_id, track, memory, now)
            _, until, step, generation = known
            if until is not None and until > now:
                return None
            lease = Lease(track_id, self.owner, generation + 1, now + self.policy.lease)
            self._lease.run(id=track_id, **_leased(lease, now))
            if until is not None and step is Step.PICTURE:
                memory = replace(memory, interruptions=memory.interruptions + 1)
                self._remember.run(id=track_id, **_memory(memory))
            return Held(lease, track, memory, now)

    def begin(self, lease: Lease, step: Step) -> bool:
        with self.connection.writing():
            return self._begin.run(step=step, **_named(lease)) == 1

    def commit(self, lease: Lease, change: Change, row: RowWrite | None = None) -> Commit:
        with self.connection.writing() as now:
            if self._mine.one(**_named(lease)) is None:
                return Commit.LEASE_LOST
            if row is None:
                self._end(lease, change, now)
                return Commit.COMMITTED
            if self.memories.paused():
                return Commit.PAUSED
            return self._commit_row(lease, change, row, now)

    def _commit_row(self, lease: Lease, change: Change, row: RowWrite, now: datetime) -> Commit:
        updated_at = self.tracks.updated_at_after(row)
        if not self.tracks.write(row):
            self._end(lease, row.otherwise, now)
            return Commit.CONFLICT
        self._end(lease, _stamped(change, row, updated_at, self.tracks.stamp(lease.track_id)), now)
        return Commit.COMMITTED

    def host_lost(self, host: str) -> None:
        count_lost(self.connection, host, self.policy.audit_interval)

    def _first(self, track_id: str, track: Track | None, memory: Memory, now: datetime) -> Held:
        """An id that neither the app nor we know is not remembered: its lease holds nothing."""
        lease = Lease(track_id, self.owner, 1, now + self.policy.lease)
        if track is not None:
            self._insert.run(id=track_id, **_leased(lease, now), **_memory(memory))
        return Held(lease, track, memory, now)

    def _end(self, lease: Lease, change: Change, now: datetime) -> None:
        standing = {field.name: getattr(change.standing, field.name) for field in _STANDING}
        if self._was_lifted(change.standing):
            standing |= {"held": None, "due_at": now, "stands_until": now}
        self._save.run(**_named(lease), **_memory(change.memory), **standing, tried_at=now)
        self.memories.save(change.memory, now)
        self.history.add(lease.track_id, change.tried, now)

    def _was_lifted(self, standing: Standing) -> bool:
        """What holds the track back ended while it was worked: others were woken then, and nobody wakes this one."""
        if standing.held == GateName.PAUSED:
            return not self.memories.paused()
        return standing.reason is Reason.HOST_SUSPECT and not any_suspect(self.connection)


def _named(lease: Lease) -> dict[str, Any]:
    return {"id": lease.track_id, "owner": lease.owner, "number": lease.generation}


def _leased(lease: Lease, now: datetime) -> dict[str, Any]:
    """Due at once if it is never ended."""
    until, generation = lease.until, lease.generation
    step = {"lease_owner": lease.owner, "lease_until": until, "lease_step": Step.LOOK}
    return {**step, "generation": generation, "due_at": now}


def _memory(memory: Memory) -> dict[str, Any]:
    columns = {field.name: getattr(memory, field.name) for field in _MEMORY if field is not R.doc}
    return {**columns, "doc": codec.dump_memory(memory)}


def _stamped(change: Change, row: RowWrite, updated_at: datetime | None, stamp: str | None) -> Change:
    """Our own write is known again by its `updated_at`: remembered as the column holds it, which may be coarser."""
    written = change.memory.written
    if written is not None and written.updated_at == row.at:
        written = replace(written, updated_at=updated_at)
    return replace(change, memory=replace(change.memory, written=written, stamp=stamp))
