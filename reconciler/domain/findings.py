"""What an effect came back with. Values, never exceptions: what is not known is said, not raised."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from reconciler.domain.states import Flaw, Reason


class Call(StrEnum):
    """The outcome of one call to Kie; the words of `kie_requests_total`."""

    OK = "ok"
    NOT_FOUND = "not_found"
    REJECTED = "rejected"
    RATE_LIMITED = "rate_limited"
    NO_CREDITS = "no_credits"
    UNAUTHORIZED = "unauthorized"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECT_ERROR = "connect_error"
    MALFORMED = "malformed"


class Refusal(StrEnum):
    """Why Kie made nothing of a request."""

    CONTENT = "content"
    """The prompt is refused: another prompt is needed."""
    REQUEST = "request"
    """A field, a value or the model is wrong: no repetition helps."""
    CREDITS = "credits"
    KEY_CAP = "key_cap"
    KEY = "key"
    RATE = "rate"
    OUTAGE = "outage"
    """Server error, maintenance, queue full: the same again later."""
    STORE = "store"
    """Ours, not Kie's: nothing is ordered that could not be stored."""
    STOPPED = "stopped"
    """Ours too: nothing is ordered whose answer would not be waited for."""


OURS = frozenset({Refusal.STORE, Refusal.STOPPED})
"""They say nothing of Kie."""


# -- answers of Kie ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trouble:
    """The call gave no knowledge: neither presence nor absence. `call` is never OK or NOT_FOUND."""

    call: Call
    detail: str
    refusal: Refusal = Refusal.OUTAGE
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class NotFound:
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """`call_back_url`: with which the task was ordered, here and below."""

    created_at: datetime | None = None
    call_back_url: str | None = None


@dataclass(frozen=True, slots=True)
class Succeeded:
    """Finished, with one or more result URLs, best first."""

    urls: tuple[str, ...]
    created_at: datetime | None = None
    completed_at: datetime | None = None
    prompt: str | None = None
    call_back_url: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """Ended without a result; refunded. `refusal`: what its words say, None where they say nothing that we know."""

    refusal: Refusal | None
    detail: str
    created_at: datetime | None = None
    call_back_url: str | None = None


TaskAnswer = Running | Succeeded | Failed | NotFound | Trouble


@dataclass(frozen=True, slots=True)
class SongPending:
    pass


@dataclass(frozen=True, slots=True)
class SongFinal:
    """The music record will not change any more. Cover URLs, the song's own first; may be empty."""

    urls: tuple[str, ...] = ()


SongAnswer = SongPending | SongFinal | NotFound | Trouble


@dataclass(frozen=True, slots=True)
class Credits:
    balance: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """A task was made (`task_id`), or a result came at once (`urls`), or both."""

    task_id: str | None
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NothingMade:
    """Surely no task and no cost. `sent`: the request went out (and counts in the budgets)."""

    refusal: Refusal
    call: Call
    detail: str
    sent: bool = True
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class AnswerLost:
    """Whether a task was made is not known. `heard`: something was answered, so the request is not under way."""

    call: Call
    detail: str
    heard: bool = False


Creation = Accepted | NothingMade | AnswerLost


# -- pictures ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sized:
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Flawed:
    """The bytes arrived as they are, and are not a picture that we take. `size`: where it is for its size."""

    flaw: Flaw
    detail: str
    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A clear answer that there is nothing: 403, 404, 410, or 200 with something that is no image."""

    detail: str


@dataclass(frozen=True, slots=True)
class Fault:
    """No knowledge: time-out, 5xx, broken connection, a host we may not ask, a store that fails."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Stored:
    """Fetched, verified, fitted, stored and read back; where nothing is stored, verified, and `key` is its URL."""

    key: str
    width: int
    height: int
    sha256: str
    interim: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """Keys in our store for the track, newest first."""

    keys: tuple[str, ...]


PictureFinding = Stored | Sized | Flawed | Refused | Fault
Finding = PictureFinding | TaskAnswer | SongAnswer | Creation | Listing
