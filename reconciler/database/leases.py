"""Working tracks: leased, looked at, changed, in short transactions, several tracks in each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from peewee import Case

from reconciler.database import codec
from reconciler.database.app_tracks import AppTracks
from reconciler.database.connection import Connection
from reconciler.database.errors import DatabaseDenied, RowRefused, SchemaError
from reconciler.database.history import History
from reconciler.database.hosts import count_lost
from reconciler.database.memories import Halts, Memories, callbacks_in, halts_in
from reconciler.database.schema import AppTable, refuse_missing_rights
from reconciler.database.statements import Answer, Question, Several, Slot, slots
from reconciler.database.tables import ANEW, Remembered
from reconciler.domain.altered import altered
from reconciler.domain.gate import GateName
from reconciler.domain.model import Callback, Memory, Outcome, Track
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing
from reconciler.domain.states import Reason
from reconciler.domain.unswept import Left
from reconciler.ports import Change, Commit, DatabaseError, DatabaseLocked, Ending, Held, Lease, RowWrite, Step

R = Remembered

_KNOWN = (R.track_id, R.doc, R.due_at, R.held, R.lease_owner, R.lease_until, R.lease_step, R.generation)
_LEASE = (R.lease_owner, R.lease_until, R.lease_step, R.generation, R.due_at)
_MEMORY = (R.first_seen, R.needy_since, R.seen, R.stamp, R.gone_since, R.ignored, R.doc)
_STANDING = (R.state, R.reason, R.due_at, R.held, R.settles_at, R.expires_at, R.stands_until, R.wants, R.repeats)
_FREE = {"lease_owner": None, "lease_until": None, "lease_step": None}
_HOLDER = (R.track_id, R.lease_owner, R.generation, R.lease_until)

MINE = (R.track_id == Slot("id")) & (R.lease_owner == Slot("owner")) & (R.generation == Slot("number"))
"""Nobody took the lease over. One that only ran out still holds: what was paid for must be saved."""


OF_ONE_ROW = (RowRefused, DatabaseDenied, SchemaError, DatabaseError)
"""By what the app's own rules and triggers may refuse a row, or its table is out of reach. Of the last, no other
kind."""


class _Known(NamedTuple):
    """What is kept of a track."""

    doc: str
    due_at: datetime | None
    held: str | None
    lease_owner: str | None
    lease_until: datetime | None
    lease_step: Step | None
    generation: int

    def is_held(self, now: datetime) -> bool:
        return self.lease_until is not None and self.lease_until > now

    def is_of_a_death(self, owner: str) -> bool:
        """At a picture; not by `owner`, who is alive, and could not give it back while the database was away."""
        return self.lease_until is not None and self.lease_step is Step.PICTURE and self.lease_owner != owner


class _Seen(NamedTuple):
    """A track as it is now; `memory` is an exception where it cannot be read."""

    track: Track | None
    known: _Known | None
    memory: Memory | Exception


class Peek:
    """Looking at tracks without touching them."""

    def __init__(self, connection: Connection, app: AppTable, policy: Policy) -> None:
        self.connection, self.policy = connection, policy
        self.tracks = AppTracks(connection, app)
        self.memories = Memories(connection, app, policy)
        self._known = self._spelled(R.select(*_KNOWN))

    def peek(self, track_id: str) -> Held:
        """The track as it is now, with a lease that is none."""
        found = self.peek_all([track_id])[track_id]
        if isinstance(found, Exception):
            raise found
        return found

    def peek_all(self, track_ids: Sequence[str]) -> Mapping[str, Held | Exception]:
        """The same of several, in one transaction. In the place of one whose memory cannot be read stands why."""
        if not track_ids:
            return {}
        with self.connection.snapshot() as now:
            answers = self.connection.ask(*self._wanted(track_ids, self._known))
            seen = self._seen(track_ids, answers, now)
        return {track_id: _peeked(track_id, each, now) for track_id, each in seen.items()}

    def inline_image(self, track_id: str) -> str | None:
        with self.connection.reading():
            return self.tracks.whole_image(track_id)

    def _wanted(self, track_ids: Sequence[str], known: Several) -> list[Question]:
        return [known.given(track_ids), self.tracks.of(track_ids), *self.memories.of(track_ids)]

    def _seen(self, track_ids: Sequence[str], answers: Sequence[Answer], now: datetime) -> dict[str, _Seen]:
        found, rows, *rest = answers
        kept = {track_id: _Known(*row) for track_id, *row in found.rows}
        tracks = self.tracks.tracks(rows)
        docs = {track_id: kept[track_id].doc if track_id in kept else None for track_id in track_ids}
        memories = self.memories.load(docs, tracks, rest, now)
        return {track_id: _Seen(tracks.get(track_id), kept.get(track_id), memories[track_id]) for track_id in docs}

    def _spelled(self, query: Any) -> Several:
        return Several(lambda ids: self.connection.statement(query.where(R.track_id.in_(ids)), *_KNOWN))


def _peeked(track_id: str, seen: _Seen, now: datetime) -> Held | Exception:
    if isinstance(seen.memory, Exception):
        return seen.memory
    left = Left(seen.known.due_at, seen.known.held) if seen.known else Left()
    return Held(Lease(track_id, "", 0, now), seen.track, seen.memory, now, left)


class SqlLeases(Peek):
    def __init__(self, connection: Connection, app: AppTable, policy: Policy, owner: str) -> None:
        super().__init__(connection, app, policy)
        self.owner = owner
        self.history = History(connection)
        this, dialect = R.track_id == Slot("id"), connection.dialect
        saved: dict[Any, Any] = slots((*_MEMORY, *_STANDING, R.lease_owner, R.lease_until, R.lease_step, R.generation))
        stood = (R.wants == Slot("line")) & (R.tried_at <= Slot("now"))
        saved[R.tried_at] = Case(None, [(stood, R.tried_at)], Slot("now"))
        first: Any = R.insert({R.track_id: Slot("id"), **slots((*_LEASE, *_MEMORY))})
        first = first.on_conflict(conflict_target=[R.track_id], action="NOTHING")
        holders = dialect.locked(R.select(*_HOLDER).order_by(R.track_id))
        self._known_free = self._spelled(dialect.locked(R.select(*_KNOWN).order_by(R.track_id), skip=True))
        self._insert = connection.statement(first)
        self._lease = connection.statement(R.update(slots(_LEASE)).where(this))
        self._remember = connection.statement(R.update(slots(_MEMORY)).where(this))
        self._begin = connection.statement(R.update({R.lease_step: Slot("step")}).where(MINE))
        self._save = connection.statement(R.update(saved).where(MINE))
        at_once = {R.due_at: Slot("now"), R.stands_until: ANEW, R.held: None}
        self._make_due = connection.statement(R.update(at_once).where(this))
        later = {R.due_at: Slot("later"), R.tried_at: Slot("now"), R.held: None}
        later |= dict.fromkeys((R.lease_owner, R.lease_until, R.lease_step))
        free = R.lease_until.is_null() | (R.lease_until <= Slot("now"))
        self._put_off = connection.statement(R.update(later).where(this & free))
        self._holders = Several(lambda ids: connection.statement(holders.where(R.track_id.in_(ids)), *_HOLDER))

    # -- leasing -------------------------------------------------------------------------------------------------

    def lease(self, track_id: str) -> Held | None:
        """One alone. Raises what is wrong with its memory."""
        found = self.lease_all([track_id]).get(track_id)
        if isinstance(found, Exception):
            raise found
        return found

    def lease_all(
        self, track_ids: Sequence[str], step: Callable[[Held], Step] = lambda _: Step.LOOK
    ) -> Mapping[str, Held | Exception]:
        ids = sorted(set(track_ids))
        if not ids:
            return {}
        with self.connection.opening(*self._wanted(ids, self._known_free)) as (now, found):
            seen = self._seen(ids, found, now)
            taken = {
                i: self._take(i, each, now) for i, each in seen.items() if not (each.known and each.known.is_held(now))
            }
            held = {i: each for i, each in taken.items() if isinstance(each, Held)}
            asked = {i: self._taken(seen[i], each, step(each), now) for i, each in held.items()}
            answers = self.connection.ask(*(each for questions in asked.values() for each in questions), last=True)
        counts = iter(answer.written for answer in answers)
        lost = {i for i, questions in asked.items() for _ in questions if next(counts) == 0}
        return {i: taken[i] for i in track_ids if i in taken and i not in lost}

    def _take(self, track_id: str, seen: _Seen, now: datetime) -> Held | Exception:
        if isinstance(seen.memory, Exception):
            return seen.memory
        lease = self._next_lease(track_id, seen.known.generation if seen.known else 0, seen.memory, now)
        memory = seen.memory
        if seen.known is not None and seen.known.is_of_a_death(self.owner):
            memory = altered(memory, interruptions=memory.interruptions + 1, interrupted_at=now)
        return Held(lease, seen.track, memory, now)

    def _taken(self, seen: _Seen, held: Held, step: Step, now: datetime) -> list[Question]:
        """What is written of a lease. None touches no row, unless somebody else was faster: one of a track that is not
        remembered yet is inserted, or is that of whoever inserted it first."""
        named, memory = {"id": held.lease.track_id, **_leased(held.lease, step, now)}, _memory(held.memory)
        if seen.known is not None:
            died = seen.known.is_of_a_death(self.owner)
            counted = [self._remember.given(id=held.lease.track_id, **memory)] if died else []
            return [self._lease.given(**named), *counted]
        # An id that neither the app nor we know is not remembered: its lease holds nothing.
        return [self._insert.given(**named, **memory)] if seen.track is not None else []

    def put_off(self, track_id: str) -> None:
        with self.connection.writing() as now:
            self._put_off.run(id=track_id, now=now, later=now + self.policy.retry_max)

    # -- ending --------------------------------------------------------------------------------------------------

    def commit(self, lease: Lease, change: Change) -> Commit:
        """One alone. Raises DatabaseError."""
        (outcome,) = self.commit_all([Ending(lease, change)])
        if isinstance(outcome, DatabaseError):
            raise outcome
        return outcome if isinstance(outcome, Commit) else Commit.COMMITTED

    def commit_all(self, endings: Sequence[Ending]) -> Sequence[Commit | Lease | DatabaseError]:
        if not endings:
            return []
        try:
            return self._commit(endings)
        except DatabaseError as error:
            # What the database refuses of one is not to cost the others theirs; other failures are everybody's.
            of_all = self._of_all(error)
            if of_all is not None:
                return self._apart(endings, of_all)
            if len(endings) > 1:
                return [outcome for ending in endings for outcome in self.commit_all([ending])]
            lease, row = endings[0].lease, endings[0].row
            return [error] if row is None else self._unwritten(lease, _refused(row.otherwise, error))

    def _of_all(self, error: DatabaseError) -> DatabaseError | None:
        """What to tell everybody, unless the error is of one row: a trigger lacks rights too."""
        if type(error) not in OF_ONE_ROW:
            return error
        if isinstance(error, DatabaseDenied):
            try:
                refuse_missing_rights(self.connection, self.tracks.app, revives=self.policy.restore_archived)
            except DatabaseError as missing:
                return missing
        return None

    def _apart(self, endings: Sequence[Ending], error: DatabaseError) -> Sequence[Commit | Lease | DatabaseError]:
        """Who locks the app's table, or takes the right to it, stops only those who write there."""
        others = [ending for ending in endings if ending.row is None]
        is_locked = isinstance(error, DatabaseLocked) and self.connection.dialect.locks_rows
        is_of_table = is_locked or isinstance(error, DatabaseDenied)
        if not is_of_table or len(others) == len(endings):
            return [error] * len(endings)
        saved = iter(self.commit_all(others))
        return [next(saved) if ending.row is None else error for ending in endings]

    def _unwritten(self, lease: Lease, otherwise: Change) -> Sequence[Commit | Lease | DatabaseError]:
        (outcome,) = self.commit_all([Ending(lease, otherwise)])
        return [Commit.REFUSED if outcome is Commit.COMMITTED else outcome]

    def _commit(self, endings: Sequence[Ending]) -> Sequence[Commit | Lease]:
        is_lifting, own = any(map(_may_be_lifted, endings)), all(ending.row is None for ending in endings)
        first = self._asked_first(endings)
        with self.connection.opening(*first.values(), gate=is_lifting, own=own) as (now, answers):
            before = self._before(endings, dict(zip(first, answers, strict=True)), now)
            verdicts = {ending.lease.track_id: _verdict(ending, before, now) for ending in endings}
            left = [(e.lease.track_id, e.change, e.row) for e in endings if e.change is not None]
            rows = [(i, change, row) for i, change, row in left if row is not None and verdicts[i] is None]
            self._save_answers([change.memory for i, change, _ in left if _is_lost(verdicts[i])], now)
            settled = {**verdicts, **self._write_rows(rows, before)}
            ended = [(ending, settled[ending.lease.track_id]) for ending in endings]
            again = self._end([(ending, verdict) for ending, verdict in ended if verdict is not None], before, now)
        return [again.get(i) or verdict.outcome for i, verdict in settled.items() if verdict is not None]

    def _asked_first(self, endings: Sequence[Ending]) -> Mapping[str, Question]:
        """What is to be known, as far as it matters, all rows that are to change locked."""
        ids = [ending.lease.track_id for ending in endings]
        written = [ending.lease.track_id for ending in endings if ending.row is not None]
        changes = [change for ending in endings for change in ending.changes]
        memories = [change.memory for change in changes]
        asked = {
            "holders": [self._holders.given(ids)],
            "halts": [self.memories.asks_halts],
            "unheld": self.tracks.unheld(written),
            "samples": [self.tracks.updated_at(written)] if written else [],
            "newest": [self.history.newest(ids)] if any(change.tried for change in changes) else [],
            "callbacks": self.memories.callbacks_of(ids),
            "answered": self.memories.answered_of(memories),
            "tasks": self.memories.tasks_of(memories),
        }
        return {name: question for name, questions in asked.items() for question in questions}

    def _before(self, endings: Sequence[Ending], found: Mapping[str, Answer], now: datetime) -> "_Before":
        samples, rows = found.get("samples"), [ending.row for ending in endings if ending.row is not None]
        others = [row for row in rows if samples and self.tracks.is_others(row, samples, self.policy, now)]
        return _Before(
            {track_id: _Holder(*row) for track_id, *row in found["holders"].rows},
            halts_in(found["halts"]),
            samples,
            frozenset(row.seen.id for row in others),
            _keys(found["samples"]) - _keys(found["unheld"]) if "unheld" in found else frozenset(),
            found.get("newest"),
            callbacks_in([found["callbacks"]] if "callbacks" in found else []),
            frozenset(track_id for (track_id,) in found["answered"].rows) if "answered" in found else frozenset(),
            found.get("tasks"),
        )

    def _save_answers(self, memories: Sequence[Memory], now: datetime) -> None:
        """Of orders that nobody knows the answers to yet, though the leases are lost: they may have been paid for. Who
        took the tracks over took the orders for lost."""
        purchases = [purchase for memory in memories for purchase in memory.purchases]
        asked = [self.memories.answer_saved(purchase) for purchase in purchases if purchase.outcome is not Outcome.OPEN]
        answers = self.connection.ask(*asked)
        if any(answer.written for answer in answers):
            self.connection.ask(*(self._make_due.given(id=memory.track_id, now=now) for memory in memories))

    def _write_rows(self, rows: Sequence[tuple[str, Change, RowWrite]], before: "_Before") -> dict[str, "_Verdict"]:
        if before.samples is None:
            return {}
        answers = self.connection.ask(*self.tracks.writes([row for *_, row in rows], before.samples))
        verdicts: dict[str, _Verdict] = {}
        for (track_id, change, row), wrote, known in zip(rows, answers[::2], answers[1::2], strict=True):
            if wrote.written and len(known.rows) > 1:
                raise RowRefused("two rows have its id", self.connection.place, "Give each row an id of its own")
            undone = wrote.written == 1 and self.tracks.shows_another(row, known)
            if undone:
                self._refuse_kept(row.seen)
            if wrote.written == 1 and not undone:
                known_again = _known_again(change, row, *self.tracks.known_by(known))
                verdicts[track_id] = _Verdict(Commit.COMMITTED, known_again)
            else:
                verdicts[track_id] = _Verdict(Commit.CONFLICT, row.otherwise)
        return verdicts

    def _refuse_kept(self, seen: Track) -> None:
        """Raises RowRefused where the row shows the picture that it showed before: nothing else of the write is to be
        left in it."""
        (found,) = self.connection.ask(self.tracks.of([seen.id]))
        shown = self.tracks.tracks(found).get(seen.id)
        if shown is not None and shown.image == seen.image:
            raise RowRefused("the row keeps the picture that it had", self.connection.place, "See the table's triggers")

    def _end(
        self, settled: Sequence[tuple[Ending, "_Verdict"]], before: "_Before", now: datetime
    ) -> Mapping[str, Lease]:
        """By track, the leases that hold or were taken anew."""
        going_on = [ending for ending, verdict in settled if ending.change is None and not _is_lost(verdict)]
        asked = [self._begin.given(step=ending.then, **named(ending.lease)) for ending in going_on]
        again = {ending.lease.track_id: ending.lease for ending in going_on}
        saved = [(ending, verdict.change) for ending, verdict in settled if verdict.change is not None]
        for ending, change in saved:
            lease, standing = ending.lease, {field.name: getattr(change.standing, field.name) for field in _STANDING}
            left: dict[str, Any] = {**_FREE, "generation": lease.generation}
            is_answered = lease.track_id in before.answered
            if is_answered or _was_lifted(change.standing, before) or _was_called(change.memory, before):
                standing |= {"held": None, "due_at": now, "stands_until": ANEW}
            elif ending.then is not None and before.halts.paused == change.memory.paused:
                again[lease.track_id] = anew = self._next_lease(lease.track_id, lease.generation, change.memory, now)
                left = _leased(anew, ending.then, now)
            written = {**_memory(change.memory), **standing, **left}
            line = change.standing.wants if _keeps_its_place(ending, change, now) else None
            asked.append(self._save.given(**named(lease), **written, line=line, now=now))
        tried = [(ending.lease.track_id, change.tried) for ending, change in saved]
        asked += self.history.added(tried, before.newest, now)
        memories = [(change.memory, frozenset(ending.lease.saved)) for ending, change in saved]
        asked += self.memories.saved(memories, before.tasks, now)
        self.connection.ask(*asked, last=True)
        return again

    def _next_lease(self, track_id: str, generation: int, memory: Memory, now: datetime) -> Lease:
        return Lease(track_id, self.owner, generation + 1, now + self.policy.lease, memory.purchases)

    def host_lost(self, host: str) -> None:
        count_lost(self.connection, host, self.policy.audit_interval)


class _Holder(NamedTuple):
    owner: str | None
    generation: int
    lease_until: datetime | None


@dataclass(frozen=True, slots=True)
class _Before:
    """What is found before leases are ended, as far as it matters. `samples`: when the rows to be written were changed;
    `others`: those of them that somebody wrote since they were seen, or gave another row the id of; `locked`: those
    that somebody else has locked; `newest`: the tracks' newest attempts; `answered`: tracks with an order whose answer
    somebody else saved since they were looked at."""

    holders: Mapping[str, _Holder]
    halts: Halts
    samples: Answer | None
    others: frozenset[str]
    locked: frozenset[str]
    newest: Answer | None
    callbacks: Mapping[str, Sequence[Callback]]
    answered: frozenset[str]
    tasks: Answer | None


class _Verdict(NamedTuple):
    """`change`: what is saved, if anything."""

    outcome: Commit
    change: Change | None


def _verdict(ending: Ending, before: _Before, now: datetime) -> _Verdict | None:
    """None: that depends on the row."""
    lease, holder = ending.lease, before.holders.get(ending.lease.track_id)
    if holder is None or (holder.owner, holder.generation) != (lease.owner, lease.generation):
        return _Verdict(Commit.LEASE_LOST, None)
    if ending.row is None:
        return _Verdict(Commit.COMMITTED, ending.change)
    if before.halts.paused:
        return _Verdict(Commit.PAUSED, None)
    if holder.lease_until is None or holder.lease_until <= now:
        return _Verdict(Commit.EXPIRED, None)
    if lease.track_id in before.locked:
        return _Verdict(Commit.LOCKED, None)
    return _Verdict(Commit.CONFLICT, ending.row.otherwise) if lease.track_id in before.others else None


def _keeps_its_place(ending: Ending, change: Change, now: datetime) -> bool:
    """In the line to buy, if it stood there: it still waits, or is to go on at once, and ordered nothing meanwhile."""
    stands = change.standing
    waits = stands.held is not None or (stands.due_at is not None and stands.due_at <= now)
    return waits and change.memory.purchases == ending.lease.saved


def _keys(answer: Answer) -> frozenset[str]:
    return frozenset(str(key) for key, *_ in answer.rows)


def _refused(change: Change, error: DatabaseError) -> Change:
    """Of the write, which was tried last, is told what the database said of it."""
    wrote = (replace(attempt, came=f"refused: {error.what}"[:300]) for attempt in change.tried[-1:])
    return replace(change, tried=(*change.tried[:-1], *wrote))


def _is_lost(verdict: _Verdict | None) -> bool:
    return verdict is not None and verdict.outcome is Commit.LEASE_LOST


def _was_lifted(standing: Standing, before: _Before) -> bool:
    """What holds the track back ended while it was worked: others were woken then, and nobody wakes this one."""
    if standing.held == GateName.PAUSED:
        return not before.halts.paused
    return standing.reason is Reason.HOST_SUSPECT and not before.halts.hosts


def _was_called(memory: Memory, before: _Before) -> bool:
    """Since the track was looked at; whoever took the callback could not wake it."""
    return not set(before.callbacks.get(memory.track_id, ())) <= set(memory.callbacks)


def _may_be_lifted(ending: Ending) -> bool:
    """It waits for what somebody may be lifting just now: not to be missed, it is decided at the gate."""
    standings = [change.standing for change in ending.changes]
    return any(each.held == GateName.PAUSED or each.reason is Reason.HOST_SUSPECT for each in standings)


def named(lease: Lease) -> dict[str, Any]:
    """What MINE compares."""
    return {"id": lease.track_id, "owner": lease.owner, "number": lease.generation}


def _leased(lease: Lease, step: Step, now: datetime) -> dict[str, Any]:
    """Due at once if it is never ended."""
    held = {"lease_owner": lease.owner, "lease_until": lease.until, "lease_step": step}
    return {**held, "generation": lease.generation, "due_at": now}


def _memory(memory: Memory) -> dict[str, Any]:
    columns = {field.name: getattr(memory, field.name) for field in _MEMORY if field is not R.doc}
    return {**columns, "doc": codec.dump_memory(memory)}


def _known_again(change: Change, row: RowWrite, stamp: str | None, updated_at: datetime | None) -> Change:
    """Our own write is known by its `updated_at`: remembered as the column holds it, which may be coarser."""
    written = change.memory.written
    if written is not None and written.updated_at == row.at:
        written = replace(written, updated_at=updated_at)
    return replace(change, memory=replace(change.memory, written=written, stamp=stamp))
