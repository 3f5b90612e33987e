"""How long to wait before the next try. Chance is an argument: `spin` in [0, 1)."""

import hashlib
from datetime import datetime, timedelta

from reconciler.domain.runs import Runs

GIVE_UP_AFTER = timedelta(days=7)

_LEAST = timedelta(seconds=2)
_SOONEST = timedelta(seconds=1)
"""Where tasks are known to be short. A refusal may take half a second, and is not to be missed by the question."""
_GROWTH = 1.35
_SURELY = 1.25
_UNCALLED = timedelta(seconds=60)
_SPREAD = 0.1
_SLOWEST = timedelta(minutes=30)
LONGEST_POLL = _SLOWEST * (1 + _SPREAD)
"""No question about what runs comes later, whatever chance adds."""


def delay(failures: int, low: timedelta, high: timedelta, spin: float) -> timedelta:
    """Exponential, between half and the whole of `min(high, low * 2**(failures - 1))`."""
    doublings = min(max(failures - 1, 0), 1000)
    grown = low.total_seconds() * 2.0**doublings
    ceiling = timedelta(seconds=grown) if grown < high.total_seconds() else high
    return ceiling * (0.5 + spin / 2)


def long_faulty(since: datetime | None, due: datetime | None, now: datetime) -> bool:
    """Nothing but faults for seven days: time in which it was due and nobody tried says nothing."""
    return since is not None and min(due or now, now) - since >= GIVE_UP_AFTER


def poll_called_after(age: timedelta, spin: float, runs: Runs) -> timedelta:
    """Until the next question about an image task of whose end Kie calls: when any of late would have ended, and its
    callback be lost."""
    surely = max(runs.longest * _SURELY - age, age / 2, _UNCALLED)
    return min(surely, max(_slowest(age), timedelta(minutes=5))) * (1 - _SPREAD + 2 * _SPREAD * spin)


def poll_task_after(age: timedelta, polls: int, spin: float, runs: Runs) -> timedelta:
    """Until the next question about an image task: when it may well have ended, as long as others ran so long. The
    first comes soon while little is known of others, since refusals come at once."""
    likely = runs.pause(max(age, timedelta())) if polls > 0 or runs.is_known else None
    if likely is None:
        return poll_after(age, polls, spin)
    return max(_SOONEST, min(likely, _slowest(age)) * (1 + _SPREAD * spin))


def poll_after(age: timedelta, polls: int, spin: float) -> timedelta:
    """Until the next question about something of this age that was asked about `polls` times.

    Each poll comes when the task is some 1.35 times as old as at the last one, within what `_slowest` allows; the
    number of polls stands in for the age where a clock that jumped back makes it small.
    """
    if polls <= 0:
        return _LEAST
    grown = max(age * (_GROWTH - 1), _LEAST * _GROWTH ** min(polls - 1, 50))
    return max(_LEAST, min(grown, _slowest(age)) * (0.8 + 0.2 * spin))


def spin_of(*words: object) -> float:
    """A number in [0, 1) that is always the same for the same words and looks random between different ones."""
    text = "\x1f".join(map(str, words))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:8]) >> 11) / 2**53


def _slowest(age: timedelta) -> timedelta:
    if age < timedelta(minutes=15):
        return timedelta(seconds=60)
    return timedelta(minutes=5) if age < timedelta(hours=6) else _SLOWEST
