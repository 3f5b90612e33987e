"""The rungs that write: a picture in our store that the row does not show yet, or no longer."""

from datetime import timedelta

from reconciler.domain.actions import Action, Fetch, GiveUp, StoredKey, Wait, Write
from reconciler.domain.backoff import delay, spin_of
from reconciler.domain.case import Case
from reconciler.domain.look import Absent, Place
from reconciler.domain.model import Kept
from reconciler.domain.scope import ARCHIVED
from reconciler.domain.sources import stored
from reconciler.domain.states import How, Reason, State

RESTORES_PER_WEEK = 3
CONFLICTS = 6
"""So many conflicts in a row are somebody who rewrites the row all the time."""


def write_own_copy(case: Case, source: Place) -> Action | None:
    """The row's own picture lies in our store already, and only the row still names the old place."""
    copies = (k for k in case.memory.kept if source.name in (k.origin, f"store:{k.key}") and not k.interim)
    copy = next(copies, None)
    if copy is None:
        return None
    how = How.RESTORED if source.name == f"store:{copy.key}" else How.REHOSTED
    return _write(case, copy, how, restore=False)


def write_stored(case: Case) -> Action | None:
    for source in stored(case):
        kept = next(k for k in case.memory.kept if k.key == source.key)
        if kept.checked_at is not None and not case.policy.target.usable(kept.width, kept.height):
            continue
        if kept.was_written:
            return _restore(case, kept)
        return _write(case, kept, kept.how, restore=False)
    return _write_interim(case)


def _write_interim(case: Case) -> Action | None:
    if not case.policy.interim_thumbnail or not isinstance(case.look, Absent):
        return None
    fresh = (k for k in case.memory.kept if k.interim and not k.was_written and case.for_this_song(k.song))
    kept = next(fresh, None)
    return _write(case, kept, None, restore=False) if kept is not None else None


def _restore(case: Case, kept: Kept) -> Action:
    """Somebody undid our write. Not fought for ever: each restore waits longer, the fourth in a week is not made."""
    recent = [at for at in case.memory.restores if at > case.now - timedelta(days=7)]
    if len(recent) >= RESTORES_PER_WEEK:
        return GiveUp(Reason.WRITE_CONFLICT, recheck=min(recent) + timedelta(days=7))
    if recent:
        policy = case.policy
        pause = delay(len(recent), policy.retry_min, policy.retry_max, spin_of(case.track.id, len(recent)))
        if max(recent) + pause > case.now:
            return Wait(max(recent) + pause, State.BACKING_OFF, Reason.WRITE_CONFLICT)
    return _write(case, kept, How.RESTORED, restore=True)


def _write(case: Case, kept: Kept, how: How | None, *, restore: bool) -> Action:
    """Write the URL of a stored picture, its bytes compared since the row last changed."""
    if case.memory.conflicts >= CONFLICTS:
        return GiveUp(Reason.WRITE_CONFLICT)
    later = case.later(case.memory.ailing("write"))
    if later is not None:
        return later
    if case.settles_at is not None:
        return Wait(case.settles_at, None if restore else State.FETCHING, None if restore else Reason.IN_FLIGHT)
    if kept.checked_at is None or case.now - kept.checked_at > case.policy.step_deadline:
        ailment = case.memory.ailing(f"store:{kept.key}")
        return case.hopeless(ailment) or case.later(ailment) or Fetch(StoredKey(kept.key, kept.song))
    return Write(
        case.policy.url_of(kept.key),
        None if kept.interim else f"{kept.width}x{kept.height}",
        how,
        key=kept.key,
        revive=case.track.status == ARCHIVED,
        restore=restore,
    )
