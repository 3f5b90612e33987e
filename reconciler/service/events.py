"""What happens around the sweeps of a daemon, told to whoever logs. Values; the service itself logs nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from reconciler.engine.events import Result
from reconciler.service.counting import Trigger


@dataclass(frozen=True, slots=True)
class Started:
    """Configuration, database, store and handlers stand; work begins. `url`: where the pages are served.

    `rests_on`: what it works with, in words, without secrets.
    """

    url: str
    rests_on: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Swept:
    """`trigger` None: a slice of the audit."""

    sweep: str
    trigger: Trigger | None
    result: Result
    took: timedelta


@dataclass(frozen=True, slots=True)
class JobFailed:
    """It runs again on schedule. What failed is the database's or the store's fault, unless it is a `mistake`."""

    job: str
    error: Exception
    mistake: bool


@dataclass(frozen=True, slots=True)
class JobRecovered:
    """It ended well after it had failed."""

    job: str


@dataclass(frozen=True, slots=True)
class Late:
    """A job began after more of its times had passed, or a time came while it still ran (`overlap`)."""

    job: str
    overlap: bool


@dataclass(frozen=True, slots=True)
class ClockJumped:
    """The wall clock was set; all jobs begin at once, since the times they wait for mean nothing any more."""

    by: timedelta


@dataclass(frozen=True, slots=True)
class Hung:
    """Something is past its deadline: the watchdog is not fed, and the process ends if that lasts."""

    complaints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Old records were pruned."""

    tracks: int
    attempts: int


@dataclass(frozen=True, slots=True)
class PageFailed:
    path: str
    error: Exception


@dataclass(frozen=True, slots=True)
class Stopped:
    """`in_order`: every job had ended."""

    in_order: bool


ServiceEvent = Started | Swept | JobFailed | JobRecovered | Late | ClockJumped | Hung | Forgotten | PageFailed | Stopped

Tell = Callable[[ServiceEvent], None]
