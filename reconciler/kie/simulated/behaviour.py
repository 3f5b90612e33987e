"""What a rule can make Kie do: how one call is answered, and what becomes of a task.

Answers befall a call; outcomes are decided when a task is made, notices when it has ended. The texts are those that
were met in the wild.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from reconciler.kie.simulated.painter import Format
from reconciler.kie.simulated.wire import HTML_TYPE, Fault, html_page

# -- answers to one call -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refuse:
    """The envelope with this code; nothing is made."""

    code: int
    message: str
    http_status: int = 200


@dataclass(frozen=True, slots=True)
class Reply:
    """Any bytes at all. With `done` the call is carried out first (a task is made), and only its answer is replaced."""

    status: int
    body: bytes
    content_type: str = HTML_TYPE
    done: bool = False


@dataclass(frozen=True, slots=True)
class Break:
    """The connection fails. With `done` the creation is carried out first; a GET always carries its true answer."""

    fault: Fault = Fault.CUT
    done: bool = False


@dataclass(frozen=True, slots=True)
class OmitTaskId:
    """A creation answered with code 200 and no task id."""

    made: bool = True


@dataclass(frozen=True, slots=True)
class AnswerPicture:
    """A creation answered with a finished picture (`data.response.imageUrl`)."""

    with_task_id: bool = True


class Face(StrEnum):
    """The faces of "not found"."""

    JOBS = "jobs"  # 422 "recordInfo is null"
    CODE_404 = "code_404"
    NULL_DATA = "null_data"  # 200 with data: null
    NO_RECORD = "no_record"  # 422 "The record does not exist"
    CODE_500 = "code_500"


@dataclass(frozen=True, slots=True)
class NotFound:
    face: Face = Face.JOBS


Answer = Refuse | Reply | Break | OmitTaskId | AnswerPicture | NotFound


def page(status: int, *, done: bool = False) -> Reply:
    """An edge's HTML error page, such as 502 or 503."""
    return Reply(status, html_page(status).body, done=done)


LOST: Final = Break(Fault.CUT, done=True)  # the task is made, its answer never arrives
DROPPED: Final = Break(Fault.CUT)  # cut before anything is made
UNAUTHORIZED: Final = Refuse(401, "Unauthorized – Authentication failed.")
NO_CREDITS: Final = Refuse(402, "The current credits are insufficient. Please top up.")
KEY_CAPPED: Final = Refuse(433, "The API key has reached its usage cap.")
TOO_FREQUENT: Final = Refuse(430, "Your call frequency is too high. Please try again later.")
RATE_LIMITED: Final = Refuse(429, "Your call frequency is too high. Please try again later.")
MAINTENANCE: Final = Refuse(455, "The service is under maintenance. Please try again later.")
SERVER_ERROR: Final = Refuse(500, "Internal Error, Please try again later.")
FEATURE_DISABLED: Final = Refuse(505, "This feature is currently disabled.")
QUEUE_FULL: Final = Refuse(550, "The queue is full. Please try again later.")

# -- outcomes of a task --------------------------------------------------------------------------------------------


class ResultForm(StrEnum):
    """How a success tells its URLs."""

    TEXT = "text"  # {"resultUrls": [...]} as JSON text
    OBJECT = "object"  # the same as an object
    RESULT_OBJECT = "result_object"  # JSON text, with the URL inside `resultObject`
    MUSIC = "music"  # JSON text {"data": [{"image_url": ...}]}
    NULL = "null"
    EMPTY_TEXT = "empty_text"
    EMPTY_OBJECT = "empty_object"  # the text "{}"
    EMPTY_LIST = "empty_list"  # {"resultUrls": []}


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeed:
    """A picture after `run` (default: drawn from the settings), of the model's size unless one is given.

    `content` replaces the painting by any bytes, `urls` replaces the URLs by any texts.
    """

    run: timedelta | None = None
    width: int | None = None
    height: int | None = None
    format: Format = "JPEG"
    count: int = 1
    result: ResultForm = ResultForm.TEXT
    running_state: str | None = None
    extension: str | None = None
    content: bytes | None = None
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """State `fail` after `run`; refunded. With a `run` of zero it fails at the first poll."""

    code: str | None
    message: str | None
    run: timedelta | None = None
    timed: bool = True  # whether the record tells cost and completion time
    running_state: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """Never ends: any state word for ever, with a URL beside it if wanted (the state decides: it is no result)."""

    state: str = "waiting"
    with_url: bool = False


Outcome = Succeed | Fail | Stall

_FLAGGED: Final = "The input or output was flagged as sensitive. Please try again with different inputs."
CONTENT_REFUSED: Final = Fail(code="422", message=_FLAGGED, run=timedelta(seconds=4))
SENSITIVE_WORD: Final = Fail(
    code="SENSITIVE_WORD_ERROR", message="The prompt contains prohibited words.", run=timedelta(seconds=4)
)
COPYRIGHT: Final = Fail(
    code="400", message="The content may be related to copyright restrictions.", run=timedelta(seconds=4)
)
CONTENT_REFUSED_AT_ONCE: Final = Refuse(400, "Your prompt was caught by our AI moderator. Please change it.")
UPSTREAM_OUTAGE: Final = Fail(code="422", message="generate playground failed, task id is blank", timed=False)
FAILED_AT_ONCE: Final = Fail(code="500", message="Internal Error, Please try again later.", run=timedelta(0))
TASK_SERVER_ERROR: Final = Fail(
    code="500", message="internal error, please try again later.", run=timedelta(seconds=60)
)

# -- notices of a task that has ended ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """Its callback comes so often, so long after the end; 0 times is never, retries included."""

    times: int = 1
    late: timedelta = timedelta(0)


UNTOLD: Final = Notify(times=0)
TOLD_TWICE: Final = Notify(times=2)
Behaviour = Answer | Outcome | Notify
