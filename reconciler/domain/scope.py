"""Which rows we work, and from when on we may write to them."""

from datetime import datetime

from reconciler.domain.model import Memory, Track
from reconciler.domain.policy import Policy

ARCHIVED = "archived"
COMPLETED = "completed"
UNFINISHED = (None, "pending", "processing")
"""Rows from before the status column have these too; with audio and old enough they are songs like any other."""


def in_scope(track: Track, memory: Memory, policy: Policy, now: datetime) -> bool:
    if memory.ignored or track.status in policy.excluded_statuses:
        return False
    if track.status in policy.statuses:
        return True
    if track.status == ARCHIVED:
        return is_revived(track, policy)
    if track.flaw is not None:
        return True
    return track.status in UNFINISHED and bool(track.audio_url) and now >= enters_scope(track, memory, policy)


def is_revived(track: Track, policy: Policy) -> bool:
    """A picture makes it `completed` again: by the operator's choice alone, and where there is something to hear."""
    return track.status == ARCHIVED and policy.restore_archived and bool(track.audio_url)


def enters_scope(track: Track, memory: Memory, policy: Policy) -> datetime:
    """When an unfinished row with audio counts as left behind."""
    return min(track.created_at or memory.first_seen, memory.first_seen) + policy.stale_after


def settles_at(track: Track, memory: Memory, policy: Policy, now: datetime) -> datetime | None:
    """Until when the row is left to its other writers (grace), or None when it may be written.

    Counts others' writes, not our own; a time in the future counts as now, so grace also ends `stale_after` after
    the row was first seen in need. One that is not, its picture being good or good but where files die, has none at all
    from `stale_after` after it was first seen, whoever wrote it since. A row without any timestamp counts from when we
    first saw it.
    """
    ends = min(_others_wrote(track, memory), now) + policy.grace
    bound = (memory.needy_since or memory.first_seen) + policy.stale_after
    settles = min(ends, bound)
    return settles if settles > now else None


def _others_wrote(track: Track, memory: Memory) -> datetime:
    ours = memory.written is not None and track.updated_at == memory.written.updated_at
    times = [track.created_at, None if ours else track.updated_at]
    return max((t for t in times if t is not None), default=memory.first_seen)
