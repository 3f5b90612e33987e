"""What no sweep sees: it asks what is due by memory and which rows are new or without a picture. An audit sees all."""

from datetime import datetime, timedelta

from reconciler.domain.model import Memory, Track
from reconciler.domain.policy import Policy


def new_for(policy: Policy) -> timedelta:
    """So long after it was created a row that nobody looked at is found whatever picture it has."""
    return policy.stale_after + policy.grace


def is_unswept(track: Track, memory: Memory, policy: Policy, now: datetime) -> bool:
    """Something is to be looked at that a sweep does not see. `memory`: as it was left by the last look."""
    if memory.seen is None:
        is_new = track.created_at is not None and track.created_at >= now - new_for(policy)
        return bool(track.image.identity) and not is_new and not memory.handed
    was_emptied = memory.seen and not track.image.identity
    return (memory.seen, memory.stamp) != (track.image.identity, track.stamp) and not was_emptied
