"""What is known: the app's row as it is (Track), what we tried, bought, measured and stored (Memory)."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from reconciler.domain.backoff import long_faulty
from reconciler.domain.states import Flaw, How, Reason


@dataclass(frozen=True, slots=True)
class Cell:
    """The row's `image_url` as read.

    Long values are cut in SQL: `text` is then only the head, `digest` the SHA-256 (hex) of the whole.
    """

    text: str | None
    length: int = 0
    digest: str | None = None

    @property
    def identity(self) -> str:
        """Equal for equal values; '' for NULL and the empty string."""
        return self.text or "" if self.digest is None else f"{self.length}:{self.digest}"


@dataclass(frozen=True, slots=True)
class Track:
    """One row of the app's table. Columns that the app's table lacks are None."""

    id: str
    image: Cell
    status: str | None = None
    task_id: str | None = None
    title: str | None = None
    prompt: str | None = None
    mood: str | None = None
    vibe: str | None = None
    summary: str | None = None
    extended_prompt: str | None = None
    extended_prompt_image: str | None = None
    audio_url: str | None = None
    resolution: str | None = None
    has_resolution: bool = True
    """False where the app's table has no such column."""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    stamp: str | None = None
    """By which a change of the row beside its picture is noticed: `updated_at` and the music task, as they stand."""
    flaw: str | None = None
    """Why the row cannot be worked (`invalid`), else None."""

    def newest(self) -> datetime | None:
        return max((t for t in (self.created_at, self.updated_at) if t is not None), default=None)


@dataclass(frozen=True, slots=True)
class Sighting:
    """The measured size of the row's picture. `first_at`: the first of an unbroken run of measurements of it. `key`:
    under which it lay in our store."""

    identity: str
    width: int
    height: int
    at: datetime
    first_at: datetime
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Ailment:
    """What went wrong with one source of pictures (by its name), with the `store`, a `write`, or a `callback:ID`."""

    refusals: int = 0
    first_refused: datetime | None = None
    faults: int = 0
    first_fault: datetime | None = None
    retry_at: datetime | None = None
    reason: Reason | None = None
    detail: str = ""
    dead: bool = False
    flaw: Flaw | None = None
    size: tuple[int, int] | None = None
    """Where that is the flaw, by the target of the day."""
    hosts: tuple[str, ...] = ()
    """`Policy.hosts` by which it was refused for its host; empty too where that was before they were remembered."""

    def doubted(self) -> "Ailment":
        """Of a dead one that may live again: to find it dead takes one refusal more."""
        return Ailment(refusals=self.refusals, first_refused=self.first_refused)

    def hopeless(self, now: datetime) -> bool:
        """Nothing but faults for seven days. A store that fails is no fault of the picture's."""
        is_its_own = self.reason not in (None, Reason.STORAGE_FAILED)
        return is_its_own and long_faulty(self.first_fault, self.retry_at, now)


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture in our store. `song`: the music task it was made for. `interim`: a stand-in below the target."""

    key: str
    width: int
    height: int
    sha256: str
    how: How
    song: str | None
    at: datetime
    checked_at: datetime | None
    """When its bytes were last read back whole and compared; None: only its name is known."""
    interim: bool = False
    was_written: bool = False
    origin: str = ""
    """Identity of the source it was fetched from."""
    also_from: tuple[str, ...] = ()
    """Other sources with the very same bytes."""

    @property
    def origins(self) -> tuple[str, ...]:
        return (self.origin, *self.also_from)


@dataclass(frozen=True, slots=True)
class Written:
    """Our last write to the row. `updated_at`: the value we set, None where the column is missing."""

    url: str
    key: str | None
    at: datetime
    updated_at: datetime | None


class TaskState(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Task:
    """An image task at Kie, whoever started it. Shared by all tracks that name it."""

    id: str
    first_seen: datetime
    created_at: datetime | None = None
    """By Kie's record or our own purchase; None: of unknown age."""
    state: TaskState = TaskState.RUNNING
    urls: tuple[str, ...] = ()
    failure: Reason | None = None
    detail: str = ""
    polls: int = 0
    next_poll: datetime | None = None
    """None: at once."""
    not_found: int = 0
    first_not_found: datetime | None = None
    faults: int = 0
    first_fault: datetime | None = None
    completed_at: datetime | None = None

    def since(self) -> datetime:
        return self.created_at or self.first_seen


@dataclass(frozen=True, slots=True)
class Song:
    """Kie's record of the music task. `final`: it is not asked again."""

    id: str
    final: bool = False
    urls: tuple[str, ...] = ()
    asked: int = 0
    first_asked: datetime | None = None
    next_ask: datetime | None = None
    faults: int = 0
    first_fault: datetime | None = None


class Outcome(StrEnum):
    """What came back from a purchase's POST."""

    OPEN = "open"
    ACCEPTED = "accepted"
    NOTHING = "nothing"
    UNKNOWN = "unknown"


class Verdict(StrEnum):
    """What became of an accepted purchase."""

    PENDING = "pending"
    GOOD = "good"
    FAILED = "failed"
    CONTENT = "content"
    REJECTED = "rejected"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Purchase:
    """One intent to buy, from the moment it is committed. `shape`: model, request and target, proven together;
    the target is that by which its result was judged, once it was."""

    token: str
    track_id: str
    model: str
    shape: str
    prompt: str
    price: float
    at: datetime
    send_before: datetime
    deadline: datetime
    """After it, an open purchase's answer is lost."""
    repeat_of: str | None = None
    song: str | None = None
    answered_at: datetime | None = None
    outcome: Outcome = Outcome.OPEN
    sent: bool = True
    """False: surely no request went out, so it counts in no budget."""
    task_id: str | None = None
    urls: tuple[str, ...] = ()
    """Where the creation's own answer was already a result."""
    refusal: Reason | None = None
    """Why nothing came of it, as far as its creation's answer or, where that calls the request wrong, its task says."""
    detail: str = ""
    verdict: Verdict = Verdict.PENDING
    ended_at: datetime | None = None

    @property
    def attempt(self) -> str:
        """A purchase whose answer was lost and its repeat are one attempt."""
        return self.repeat_of or self.token

    @property
    def over_at(self) -> datetime:
        """From then on no request of it is under way: a late answer does not prolong the time in which it may be."""
        return min(self.answered_at or self.deadline, self.deadline)

    def lost(self, now: datetime) -> bool:
        return self.outcome is Outcome.UNKNOWN or (self.outcome is Outcome.OPEN and now > self.deadline)

    def held_until(self, hold: timedelta) -> datetime:
        return self.deadline + hold


@dataclass(frozen=True, slots=True)
class Callback:
    """Somebody who knows an order's token says that its task has ended. `task_id`: which task that is, '' if untold."""

    token: str
    task_id: str


INTERRUPTIONS = 3
"""Lives of the process that a track's pictures may cost in a row."""


@dataclass(frozen=True, slots=True)
class Memory:
    """All that we know of one track. `tasks` and `purchases` live in tables of their own and are loaded with it."""

    track_id: str
    first_seen: datetime
    song_id: str | None = None
    seen: str | None = None
    """Identity of the row's picture when last looked at."""
    stamp: str | None = None
    """`Track.stamp` when last looked at."""
    created_at: datetime | None = None
    """The row's own, when last read."""
    orders_before: tuple[str, ...] = ()
    """Tokens of those that were made for a row before this one, under the same id."""
    gone_since: datetime | None = None
    """When the row was first found deleted."""
    needy_since: datetime | None = None
    """Since when the row was seen without a good picture; None while it has one."""
    sighting: Sighting | None = None
    kept: tuple[Kept, ...] = ()
    written: Written | None = None
    restores: tuple[datetime, ...] = ()
    ailments: dict[str, Ailment] = field(default_factory=dict)
    song: Song | None = None
    handed: tuple[str, ...] = ()
    """Image tasks from the hand-over table, newest first; loaded, not saved."""
    tasks: dict[str, Task] = field(default_factory=dict)
    purchases: tuple[Purchase, ...] = ()
    callbacks: tuple[Callback, ...] = ()
    """About its orders, as far as they were known when it was loaded; not saved."""
    heeded: tuple[Callback, ...] = ()
    """Those after which Kie was asked."""
    listed: bool = False
    """The store was asked what it holds for this track, or need not be."""
    listed_at: datetime | None = None
    """When it was asked last; None: what it holds was made for another song."""
    conflicts: int = 0
    interruptions: int = 0
    interrupted_at: datetime | None = None
    """When the last of them was noticed."""
    granted: int = 0
    """Purchases that an operator allowed beyond the limits."""
    reopened_at: datetime | None = None
    """When an operator last had everything tried again: prompts refused before that may be asked for once more."""
    ignored: bool = False
    host_suspect: bool = False
    """The host of the row's dead picture is held back; loaded, not saved."""
    paused: bool = False
    """An operator paused purchases and writes; loaded, not saved."""

    @property
    def deadly(self) -> bool:
        """A picture of the track killed the process so often that none is touched, but once a week later."""
        return self.interruptions >= INTERRUPTIONS

    def task(self, task_id: str, now: datetime) -> Task:
        """As it is remembered, else a new one, which is as old as its order if it is our own."""
        ordered = next((purchase.at for purchase in self.purchases if purchase.task_id == task_id), None)
        return self.tasks.get(task_id) or Task(task_id, first_seen=now, created_at=ordered)

    def with_task(self, task: Task) -> "Memory":
        return replace(self, tasks={**self.tasks, task.id: task})

    def with_purchase(self, purchase: Purchase) -> "Memory":
        others = tuple(p for p in self.purchases if p.token != purchase.token)
        return replace(self, purchases=tuple(sorted((*others, purchase), key=lambda p: (p.at, p.token))))

    def ailing(self, source: str) -> Ailment:
        return self.ailments.get(source, _WELL)

    def with_ailment(self, source: str, ailment: Ailment) -> "Memory":
        return replace(self, ailments={**self.ailments, source: ailment})

    def without_ailments(self, *sources: str) -> "Memory":
        kept = {source: ailment for source, ailment in self.ailments.items() if source not in sources}
        return replace(self, ailments=kept)


_WELL = Ailment()
