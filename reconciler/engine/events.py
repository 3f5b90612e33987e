"""What happens during a sweep, told to whoever counts, prints or logs. Values; the engine itself logs nothing."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from reconciler.domain.actions import Job, Write
from reconciler.domain.breaker import Breaker
from reconciler.domain.findings import Finding, Trouble
from reconciler.domain.gate import Closure
from reconciler.domain.model import Purchase
from reconciler.domain.states import AT_REST, How, Place, Reason, State
from reconciler.ports import Commit


@dataclass(frozen=True, slots=True)
class Found:
    """A step came back. `asked`: how often its image task was asked by now, where it was one that was asked."""

    track_id: str
    job: Job
    finding: Finding
    asked: int = 0


@dataclass(frozen=True, slots=True)
class Moved:
    """A track stands somewhere, after a look or a step."""

    track_id: str
    state: State | None
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class Wrote:
    """What came of a write: never that writes are paused, for then it is made later. `stuck_for`: since the track was
    first seen in need."""

    track_id: str
    write: Write
    outcome: Commit
    stuck_for: timedelta | None


@dataclass(frozen=True, slots=True)
class Unwritten:
    """The database failed while a row was to be written; nothing of that step is saved."""

    track_id: str


@dataclass(frozen=True, slots=True)
class Recognised:
    """A picture that nobody had measured turned out good and durable."""

    track_id: str


@dataclass(frozen=True, slots=True)
class Overwritten:
    """A write of ours was found undone."""

    track_id: str


@dataclass(frozen=True, slots=True)
class Ordered:
    """An intent was committed; its order goes out now."""

    purchase: Purchase


@dataclass(frozen=True, slots=True)
class GateClosed:
    closure: Closure


@dataclass(frozen=True, slots=True)
class BreakerMoved:
    """Kie failed so often that purchases stop, or they come back by a step."""

    breaker: Breaker


@dataclass(frozen=True, slots=True)
class CreditsRead:
    balance: float
    at: datetime


@dataclass(frozen=True, slots=True)
class CreditsUntold:
    """They were asked for in vain, and no gate was closed for what came back."""

    trouble: Trouble


@dataclass(frozen=True, slots=True)
class Mistake:
    """An exception that should not have been possible; the track's step counts as failed.

    `track_id` '': it came from the credit call.
    """

    track_id: str
    error: Exception


Event = (
    Found
    | Moved
    | Wrote
    | Unwritten
    | Recognised
    | Overwritten
    | Ordered
    | GateClosed
    | BreakerMoved
    | CreditsRead
    | CreditsUntold
    | Mistake
)


Listener = Callable[[Event], None]


@dataclass(slots=True)
class Result:
    """What one run did, and where it left the tracks."""

    states: Mapping[Place, int] = field(default_factory=dict)
    """Of all that were looked at, by this run or before; of one that its limit ended, or that is one of many, by this
    run alone."""
    resolved: Counter[How] = field(default_factory=Counter)
    purchases: int = 0
    """Orders that were sent, whatever came of them."""
    accepted: int = 0
    repeats: int = 0
    unknown: int = 0
    credits_spent: float = 0.0
    writes: int = 0
    conflicts: int = 0
    failed_writes: int = 0
    """Neither made nor kept from being made by a conflict."""
    closures: dict[str, Closure] = field(default_factory=dict)
    mistakes: int = 0
    refuses_key: bool = False
    """Kie does, by what is known at the end."""
    keeps: bool = True
    """Pictures are stored."""
    purse_spent: bool = False
    """All that this run was allowed to buy was bought."""
    next_at: datetime | None = None
    """When something can be done again; None: not before the world changes."""
    stopped: bool = False
    """Ended by a signal or the time limit while there was still work to do."""

    @property
    def at_rest(self) -> bool:
        return not self.stopped and all(state in AT_REST for state, _ in self.states)
