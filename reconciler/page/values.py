"""All that the status page tells, as plain values. Each is taken whole by a job, and never changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from reconciler.domain.attempts import Replaced
from reconciler.domain.states import Reason, State
from reconciler.ports import Overview


@dataclass(frozen=True, slots=True)
class Example:
    """A stuck track, as `explain` would tell of it. `when`: of the next step; words where there is no time for it."""

    track_id: str
    title: str | None
    state: State
    reason: Reason
    since: datetime | None
    when: datetime | str
    what: str


@dataclass(frozen=True, slots=True)
class Recovery:
    """A picture that was written. `key`: in the store, or where nothing is stored its URL; None: it is not ours any
    more. `replaced` None: what was there before was not noted."""

    track_id: str
    title: str | None
    at: datetime
    how: str
    key: str | None
    replaced: Replaced | None


class Fate(StrEnum):
    """What became of a purchase."""

    GOOD = "good"
    FAILED = "failed"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a snapshot found. `bought`: when, and what became of it, in the day before; `taken`: by this machine's
    clock, the rest goes by the database's."""

    overview: Overview
    taken: datetime
    remembers: bool = True
    examples: Sequence[Example] = ()
    recoveries: Sequence[Recovery] = ()
    bought: Sequence[tuple[datetime, Fate]] = ()

    def now(self, here: datetime) -> datetime:
        """By the database's clock."""
        return self.overview.at + (here - self.taken)


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """Served as `/thumbnails/<name>.jpg`. Size in pixels."""

    name: str
    width: int
    height: int


Shown = Mapping[str, Thumbnail | str]
"""By key or URL, the thumbnail, or in words why there is none. What is not in it is yet to be made."""


@dataclass(frozen=True, slots=True)
class Health:
    """How the daemon itself is. `hangs`, `fails`: a line each, empty when all is well."""

    version: str = ""
    hangs: Sequence[str] = ()
    fails: Sequence[str] = ()
    swept_at: datetime | None = None
    """When the last sweep that went well ended, by this machine's clock."""
    sweep_interval: timedelta = timedelta(minutes=1)
    snapshot_interval: timedelta = timedelta(seconds=30)
    database: str = ""
    store: str = ""
    store_trouble: str | None = None
    callbacks: bool = False
    """Whether Kie is asked to call."""
    called_at: datetime | None = None
    """When it last did."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one page is made of."""

    seen: Seen | None
    health: Health
    shown: Shown = field(default_factory=dict)
