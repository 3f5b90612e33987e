"""The few doors between engine and world. Kie and the store have a shipped stand-in and a conformance suite each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from reconciler.domain.actions import Buy, Write
from reconciler.domain.attempts import Attempt
from reconciler.domain.findings import Creation, Credits, Fault, Flawed, Refused, Sized, SongAnswer, TaskAnswer, Trouble
from reconciler.domain.gate import Closure, GateView, NotNow
from reconciler.domain.model import Memory, Purchase, Track
from reconciler.domain.policy import Target
from reconciler.domain.standing import Standing, Stood, is_waiting
from reconciler.domain.states import Place
from reconciler.domain.unswept import Left

Clock = Callable[[], datetime]
"""Aware UTC time."""

Steady = Callable[[], timedelta]
"""Tells how long something lasts: nobody sets it."""


# -- Kie -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Order:
    """What is sent to Kie. Not written to the wire after `send_before`."""

    model: str
    prompt: str
    target: Target
    send_before: datetime
    callback_url: str | None = None


class KieReader(Protocol):
    """Every call answers within the request time-out, with a value; none raises for what the provider does."""

    def task(self, task_id: str) -> TaskAnswer: ...

    def song(self, song_id: str) -> SongAnswer: ...

    def credit(self) -> Credits | Trouble: ...


class Kie(KieReader, Protocol):
    """Kie with the right to buy."""

    def create(self, order: Order) -> Creation: ...


# -- pictures ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture verified whole and fit for the store: its bytes and their SHA-256."""

    data: bytes
    extension: str
    content_type: str
    width: int
    height: int
    sha256: str


class Pictures(Protocol):
    """Getting and judging pictures.

    A URL may be a `data:` URI, unless it is `bound`: from an answer of Kie, and so to lie on `file_hosts`.
    """

    def measure(self, url: str) -> Sized | Flawed | Refused | Fault: ...

    def measure_bytes(self, data: bytes) -> Sized | Flawed: ...

    def fetch(self, url: str, *, bound: bool) -> bytes | Flawed | Refused | Fault: ...

    def prepare(self, data: bytes, *, interim: bool) -> Prepared | Flawed: ...


class StoreError(Exception):
    """The store failed; nothing is known of what it holds. The text says what and where."""


class StoreReader(Protocol):
    """Content-addressed pictures under `tracks/<id>/`. Every method raises StoreError and nothing else."""

    def check(self) -> str:
        """The marker's id; raises when the marker is missing, not readable, or another than is known."""
        ...

    def get(self, key: str) -> bytes | None:
        """The bytes, or None when there is surely no such picture."""
        ...

    def keys(self, track_id: str) -> Sequence[str]:
        """What the store holds for a track, newest first."""
        ...


class Store(StoreReader, Protocol):
    """The store with the right to write."""

    def adopt(self, marker: str | None) -> str:
        """Make the store ours: create the marker (`marker` or a new id) where there is none; return the id found."""
        ...

    def put(self, track_id: str, picture: Prepared) -> str:
        """Store durably, read back, compare; return the key. Same bytes, same key, no second write."""
        ...

    def prove(self, track_id: str) -> None:
        """Raises where a picture of the track could not be stored and read back now. What was proven of the store
        holds until a `put` fails."""
        ...


# -- the database --------------------------------------------------------------------------------------------------


class DatabaseError(Exception):
    """The database could not be used. Nothing of a failed transaction is kept, so all of it may be tried again."""

    def __init__(self, what: str, where: str, todo: str) -> None:
        super().__init__(f"{where}: {what}. {todo}")
        self.what, self.where, self.todo = what, where, todo


class DatabaseLocked(DatabaseError):
    """Somebody else held the lock for longer than the busy timeout."""


class Step(StrEnum):
    """What is done under a lease. A death in a picture step counts as an interruption of the track."""

    LOOK = "look"
    PICTURE = "picture"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work one track until `until`. A commit with an older generation is refused (fencing).

    `saved`: the purchases that were remembered when it was given; they are saved again where they differ by now.
    """

    track_id: str
    owner: str
    generation: int
    until: datetime
    saved: tuple[Purchase, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Held:
    """A leased track, as it is in this instant of the database's clock. `track` is None when the row is gone."""

    lease: Lease
    track: Track | None
    memory: Memory
    now: datetime
    left: Left = Left()
    """Told of one that was only looked at."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a finished step leaves: the memory to save, where the track stands, and what was tried, for its history."""

    memory: Memory
    standing: Standing
    tried: tuple[Attempt, ...] = ()


class Commit(StrEnum):
    COMMITTED = "committed"
    CONFLICT = "conflict"
    """The row was changed by somebody else and is not written; or it shows a third picture as soon as ours is written,
    as by a trigger of the app's. `otherwise` is saved."""
    REFUSED = "refused"
    """By a rule or a trigger of the app's. `otherwise` is saved."""
    LEASE_LOST = "lease_lost"
    """Somebody else works the track now: nothing is saved."""
    PAUSED = "paused"
    """An operator paused writes since the row was looked at: nothing is saved, and the lease holds."""
    EXPIRED = "expired"
    """The lease ran out before the row was written: nothing is saved, and so far nobody took it over."""
    LOCKED = "locked"
    """Somebody else's transaction has the row locked: nothing is saved, and the lease holds."""

    @property
    def is_conflict(self) -> bool:
        """Somebody else's hand on the row kept it from being written, which is no failure."""
        return self in (Commit.CONFLICT, Commit.LOCKED)


@dataclass(frozen=True, slots=True)
class RowWrite:
    """A write to the app's row, made only if picture, status and music task are still as `seen`, and nobody else
    wrote it since and within grace. `at`: the new `updated_at`."""

    write: Write
    seen: Track
    at: datetime
    otherwise: Change


@dataclass(frozen=True, slots=True)
class Ending:
    """How the step under a lease ended; with `row`, also what is written to the app's row; with `then`, the step that
    the track is leased anew for in the same transaction.

    `change` None: nothing is saved yet, and `then` is done under the same lease; it is named so that a death in it is
    known.
    """

    lease: Lease
    change: Change | None
    row: RowWrite | None = None
    then: Step | None = None

    @property
    def changes(self) -> tuple[Change, ...]:
        """Each that may be saved."""
        found = (self.change, self.row.otherwise if self.row else None)
        return tuple(change for change in found if change is not None)


@dataclass(frozen=True, slots=True)
class AuditPage:
    """One page of the walk over the app's table by key. `work`: ids that need a look. `last` None: the walk is over."""

    work: tuple[str, ...]
    last: str | None


@dataclass(frozen=True, slots=True)
class Ahead:
    """What may become due. `due_at`: when the next remembered track will be (a leased one: when its lease ends).

    `waiting`: the shapes, or parts of the gate, that somebody waits for and nobody holds.
    """

    due_at: datetime | None
    waiting: frozenset[str]


@dataclass(frozen=True, slots=True)
class Working:
    """A lease that is held now. `step`: what is done under it."""

    track_id: str
    owner: str
    step: Step
    until: datetime


@dataclass(frozen=True, slots=True)
class Overview:
    """Where every track in scope stands at `at`, as `classify` would say of each, and what the gate says then."""

    at: datetime
    tracks: Mapping[Place, int]
    oldest_stuck: datetime | None
    """Since when the track that is stuck longest is seen in need."""
    earliest_expiry: datetime | None
    gate: GateView
    next_due: datetime | None
    working: tuple[Working, ...]
    unseen_settling: int = 0
    """So many of those within grace nobody looked at yet."""
    for_audit: int = 0
    """So many whose time has come, and that no sweep sees: the next audit does."""

    @property
    def stuck(self) -> int:
        return sum(count for (state, _), count in self.tracks.items() if state.stuck)

    @property
    def work_due(self) -> datetime | None:
        """Rows that nobody looked at yet are due although nothing is remembered of them."""
        return min(self.next_due or self.at, self.at) if self._waiting else self.next_due

    @property
    def sweep_due(self) -> datetime | None:
        """The same, of what a sweep sees."""
        return self.work_due if self._waiting > self.for_audit else self.next_due

    @property
    def _waiting(self) -> int:
        waits = (count for (state, reason), count in self.tracks.items() if is_waiting(state, reason))
        return sum(waits) + self.unseen_settling


class Finder(Protocol):
    """Finding work, without reading the whole table."""

    def due(self, limit: int, only: Sequence[str] | None = None, *, new: bool = True) -> Sequence[str]:
        """Ids of tracks whose time has come and that nobody holds, at most `limit`, most urgent first:
        about to expire, never tried, least recently tried.

        Remembered tracks that are due and, with `new`, rows in scope without a picture or created within `stale_after`
        plus grace that are not remembered, rows with a handed-over task that is not remembered. To look for what is new
        takes time for each row without a picture, remembered or not. `only` narrows to these ids.
        """
        ...

    def held_back(self, shape: str, limit: int, only: Sequence[str] | None = None) -> Sequence[str]:
        """Ids of tracks that wait for the gate to open for `shape`, least recently tried first."""
        ...

    def ahead(self, shapes: Sequence[str], only: Sequence[str] | None = None) -> Ahead:
        """Of these shapes, or parts of the gate, tells whether anybody waits for them."""
        ...

    def page(
        self, after: str | None, limit: int, only: Sequence[str] | None = None, *, until: str | None = None
    ) -> AuditPage:
        """`until`: the last key of a walk that ends there, over rows alone; else deleted rows are found at its end."""
        ...

    def tally(self, only: Sequence[str] | None = None) -> Mapping[Stood, int]:
        """How many remembered tracks in scope stood where."""
        ...


class Leases(Protocol):
    """Working one track: leased, looked at, changed, in short transactions."""

    def lease(self, track_id: str) -> Held | None:
        """Take the lease (step `look`), read row and memory, in one transaction; None when somebody else holds it.

        Taking over an expired lease whose step was `picture` adds an interruption to the memory.
        """
        ...

    def lease_all(
        self, track_ids: Sequence[str], step: "Callable[[Held], Step]" = lambda _: Step.LOOK
    ) -> Mapping[str, Held | Exception]:
        """The same of several, in one transaction. Those that somebody else holds are left out; in the place of one
        whose memory cannot be read stands why. `step` names what will be done under each; it must not raise."""
        ...

    def put_off(self, track_id: str) -> None:
        """One that cannot be leased, since its memory cannot be read, is left alone for long; the memory stays."""
        ...

    def commit(self, lease: Lease, change: Change) -> Commit:
        """End the lease: memory (with its purchases and tasks) and standing in one transaction."""
        ...

    def commit_all(self, endings: Sequence[Ending]) -> Sequence[Commit | Lease | DatabaseError]:
        """The same of several, with their rows, in one transaction where none of them is refused; what became of each,
        in order.

        A lease: committed, and leased anew for what is `then` to be done. It is not where something was learned of the
        track meanwhile that what comes next may depend on. Where nothing was to be saved it is the same lease, if that
        holds.
        """
        ...

    def host_lost(self, host: str) -> None:
        """One picture more was found dead on this host, within its known life.

        More than 20 within an audit are more likely the host's fault: its tracks are held back (`host_suspect`).
        """
        ...

    def inline_image(self, track_id: str) -> str | None:
        """The whole `image_url` of one row, for a picture that is held inline."""
        ...


class Gate(Protocol):
    """The only door to money."""

    def reserve(self, held: Held, order: Buy) -> Purchase | NotNow:
        """One transaction under the gate's lock: check everything, insert the intent, commit.

        Refused too where the row or what was handed over for the track changed since it was `held`.
        """
        ...

    def view(self) -> GateView: ...

    def balance(self, credits: float, asked_at: datetime) -> None:
        """A free call was answered: Kie takes the key."""
        ...

    def close(self, closure: Closure, *, ordered: bool = False) -> Closure:
        """What holds then: a closure of the same that lasts longer, by whichever process, is not cut short. `ordered`:
        an order met it."""
        ...

    def order_taken(self, order: Purchase) -> None:
        """Kie accepted it: what refused such ones before does no more."""
        ...

    def try_once(self, shape: str) -> None:
        """Let one order of a shape through whose request Kie called wrong."""
        ...

    def heard(self, *, healthy: bool, bought: bool) -> None:
        """Tell the breaker how a call to the provider went; faults are the provider's own, never refusals."""
        ...
