"""The rungs that write: a picture in our store that the row does not show yet, or no longer."""

from datetime import datetime, timedelta

from reconciler.domain.actions import Action, Fetch, GiveUp, RowPicture, StoredKey, Wait, Write
from reconciler.domain.case import Case
from reconciler.domain.following import any_of
from reconciler.domain.look import Absent, shown
from reconciler.domain.model import Kept
from reconciler.domain.scope import is_revived
from reconciler.domain.sources import copies
from reconciler.domain.states import How, Reason, State

RESTORES_PER_WEEK = 3
WEEK = timedelta(days=7)
CONFLICTS = 6
"""So many conflicts in a row are somebody who rewrites the row all the time."""


def write_own_copy(case: Case, source: RowPicture) -> Action | None:
    """The row's own picture lies in our store already, and only the row still names the old place."""
    mine = (k for k in copies(case) if not case.is_stand_in(k) and source.name in (*k.origins, f"store:{k.key}"))
    copy = next((k for k in mine if _fits(case, k)), None)
    if copy is None:
        return None
    if isinstance(source, StoredKey):
        return _write(case, copy, How.RESTORED, restore=False)
    return _restore(case, copy) if copy.was_written else _write(case, copy, How.REHOSTED, restore=False)


def write_stored(case: Case) -> Action | None:
    """The first that can be; one that just cannot be read keeps nobody from the next."""
    held_up = []
    for kept in copies(case):
        action = _use(case, kept)
        if action is not None and action != _held_up(case, kept):
            return action
        held_up.append(action)
    return any_of(held_up) or _write_interim(case)


def _use(case: Case, kept: Kept) -> Action | None:
    if not case.is_stand_in(kept) and _fits(case, kept):
        return _restore(case, kept) if kept.was_written else _write(case, kept, kept.how, restore=False)
    return case.pursue(StoredKey(kept.key, kept.song)) if case.meets(kept) else None


def _held_up(case: Case, kept: Kept) -> Wait | GiveUp | None:
    """By faults of its own."""
    ailment = case.memory.ailing(StoredKey(kept.key).name)
    return case.hopeless(ailment) or case.later(ailment)


def write_moved(case: Case) -> Action | None:
    """The row's picture lies in our store and, whatever it is worth, the row still names the store's old address."""
    source = shown(case.track, case.memory, case.policy)
    kept = next((k for k in copies(case) if isinstance(source, StoredKey) and k.key == source.key), None)
    return _write(case, kept, None, restore=False) if kept is not None else None


def write_resolution(case: Case, resolution: str) -> Action:
    if case.settles_at is not None:
        return Wait(case.settles_at)
    fought = _fought(case)
    if fought is None:
        return Write(None, resolution, None)
    return Wait(fought.until if isinstance(fought, Wait) else fought.recheck)


def _fits(case: Case, kept: Kept) -> bool:
    """It can be written as it is, or nobody knows yet: then its bytes are read first."""
    return kept.checked_at is None or case.policy.target.met_by(kept.width, kept.height)


def _write_interim(case: Case) -> Action | None:
    """Only over nothing, and once for a song: a stand-in that was removed does not come back, nor does another."""
    wanted = case.policy.interim_thumbnail and isinstance(case.look, Absent) and case.settles_at is None
    if not wanted or any(case.is_stand_in(kept) and kept.was_written for kept in case.memory.kept):
        return None
    kept = next((k for k in copies(case) if case.is_stand_in(k)), None)
    return _write(case, kept, None, restore=False) if kept is not None else None


def _restore(case: Case, kept: Kept) -> Action:
    """Somebody undid our write. Not fought for ever: each restore waits longer, the fourth in a week is not made."""
    recent = _restores(case)
    if len(recent) >= RESTORES_PER_WEEK:
        return GiveUp(Reason.WRITE_CONFLICT, recheck=min(recent) + WEEK)
    until = restored_again_at(case)
    if until is not None and until > case.now:
        return Wait(until, State.BACKING_OFF, Reason.WRITE_CONFLICT)
    return _write(case, kept, How.RESTORED, restore=True)


def restored_again_at(case: Case) -> datetime | None:
    """No sooner is the next restore made. None: there was none of late."""
    recent = _restores(case)
    return max(recent) + case.pause(len(recent)) if recent else None


def _restores(case: Case) -> list[datetime]:
    return [at for at in case.memory.restores if at > case.now - WEEK]


def _fought(case: Case) -> Wait | GiveUp | None:
    """Somebody else writes the row whenever we are about to: later each time, then once a week."""
    ailment = case.memory.ailing("write")
    if case.memory.conflicts < CONFLICTS or ailment.retry_at is None:
        return case.later(ailment)
    again = ailment.retry_at + WEEK
    return GiveUp(Reason.WRITE_CONFLICT, recheck=again) if again > case.now else None


def _write(case: Case, kept: Kept, how: How | None, *, restore: bool) -> Action:
    """Write the URL of a stored picture, its bytes compared since the row last changed."""
    fought = _fought(case)
    if fought is not None:
        return fought
    if case.settles_at is not None:
        return Wait(case.settles_at, None if restore else State.FETCHING, None if restore else Reason.IN_FLIGHT)
    if kept.checked_at is None or case.now - kept.checked_at > case.policy.step_deadline:
        return _held_up(case, kept) or Fetch(StoredKey(kept.key, kept.song))
    return Write(
        case.policy.url_of(kept.key),
        None if case.is_stand_in(kept) else f"{kept.width}x{kept.height}",
        how,
        key=kept.key,
        revive=is_revived(case.track, case.policy),
        restore=restore,
    )
