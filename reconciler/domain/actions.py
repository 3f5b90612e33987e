"""What can be done next for a track, and where a picture can come from."""

from dataclasses import dataclass
from datetime import datetime

from reconciler.domain.model import Purchase
from reconciler.domain.states import How, Reason, State


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A picture in our own store; where nothing is stored, one that was verified where it lies."""

    key: str
    song: str | None = None

    @property
    def name(self) -> str:
        """A URL is the same source wherever it is met."""
        return self.key if "://" in self.key else f"store:{self.key}"


@dataclass(frozen=True, slots=True)
class RowImage:
    """The picture that the row's `image_url` points at, or holds. `inline`: `url` is the head of a value read later."""

    url: str
    inline: bool = False
    identity: str = ""

    @property
    def name(self) -> str:
        return self.identity or self.url


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A result of an image task."""

    url: str
    task_id: str
    how: How
    song: str | None = None

    @property
    def name(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class SunoCover:
    """A picture that came with the music."""

    url: str
    song_id: str

    @property
    def name(self) -> str:
        return self.url


RowPicture = StoredKey | RowImage
Source = RowPicture | TaskResult | SunoCover


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until` (None: not before the world changes).

    `state` and `reason` say where that leaves the track; None leaves it to the look of its picture.
    """

    until: datetime | None
    state: State | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """Find the size of a picture from its first bytes."""

    source: RowPicture


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get a picture whole, verify and fit it, store it, read it back. `interim`: keep it even below the target."""

    source: Source
    interim: bool = False


@dataclass(frozen=True, slots=True)
class AskTask:
    """`order`: the token of the order whose lost answer this task may be, which its record has to confirm."""

    task_id: str
    order: str | None = None


@dataclass(frozen=True, slots=True)
class AskSong:
    song_id: str


@dataclass(frozen=True, slots=True)
class ListStore:
    """Ask the store which pictures it holds for this track."""


@dataclass(frozen=True, slots=True)
class Buy:
    """Order one image task. `repeat_of`: the token of the purchase whose answer was lost."""

    model: str
    prompt: str
    shape: str
    price: float
    song: str | None = None
    repeat_of: str | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """Set the row right. `url` None: only the resolution. `key` None: the URL is not in our store."""

    url: str | None
    resolution: str | None
    how: How | None
    key: str | None = None
    revive: bool = False
    """Set status to completed in the same statement (an archived row with audio)."""
    restore: bool = False
    """Somebody undid a write of ours."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nothing more will be tried until an operator or a change of the world re-opens the track."""

    reason: Reason
    recheck: datetime | None = None


Effect = Measure | Fetch | AskTask | AskSong | ListStore | Buy
Job = Measure | Fetch | AskTask | AskSong | ListStore | Purchase
"""What is carried out: an effect, an order as the purchase that the gate let through."""

Action = Effect | Wait | Write | GiveUp
