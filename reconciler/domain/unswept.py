"""What no sweep sees: it asks what is due by memory, who waits in its own lines, and which rows are new or without a
picture. An audit sees all."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.domain.catalogue import offers
from reconciler.domain.gate import GateName
from reconciler.domain.model import Memory, Track
from reconciler.domain.policy import Policy


def new_for(policy: Policy) -> timedelta:
    """So long after it was created a row that nobody looked at is found whatever picture it has."""
    return policy.stale_after + policy.grace


def lines(policy: Policy) -> tuple[str, ...]:
    """All that a track may wait for. Who waits for anything else was put there by somebody who decided otherwise, such
    as a job with another model; no sooner than an audit, since that one may still be at work, and take it back."""
    return (*GateName, *(shape for shape, _ in offers(policy)))


@dataclass(frozen=True, slots=True)
class Left:
    """How the last look left a track: due then, or waiting in that line."""

    due_at: datetime | None = None
    line: str | None = None


def is_unswept(track: Track, memory: Memory, policy: Policy, now: datetime, left: Left) -> bool:
    """Something is to be looked at that no sweep sees before an audit does. `memory`: as it was left, too."""
    if left.line is not None:
        return left.line not in lines(policy)
    if left.due_at is not None and left.due_at <= now + policy.audit_interval:
        return False
    if memory.seen is None:
        is_new = track.created_at is not None and track.created_at >= now - new_for(policy)
        return bool(track.image.identity) and not is_new and not memory.handed
    was_emptied = memory.seen and not track.image.identity
    return (memory.seen, memory.stamp) != (track.image.identity, track.stamp) and not was_emptied
