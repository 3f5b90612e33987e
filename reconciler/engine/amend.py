"""An operator's word about one track: taken in under the track's lease, as any step is, so that nothing is lost."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from reconciler.domain.case import Case
from reconciler.domain.learn import noticed
from reconciler.domain.model import Memory
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing, classify
from reconciler.ports import Change, Commit, Gate, Held, Leases

AGAIN_S = 0.2


class Busy(Exception):
    """Somebody else works the track for longer than a step may take."""


@dataclass(frozen=True, slots=True)
class Amended:
    """Where the track stood and stands now."""

    before: Standing
    after: Standing


def amend(
    leases: Leases,
    gate: Gate,
    policy: Policy,
    track_id: str,
    change: Callable[[Case, Standing], Memory],
    sleep: Callable[[float], None] = time.sleep,
) -> Amended | None:
    """Change the memory of a track, given where it stands, and have it stand anew. None: its row is gone.

    Raises Busy, and whatever `change` raises; the track then stands as before.
    """
    held = _leased(leases, track_id, policy.lease, sleep)
    if held.track is None:
        leases.commit(held.lease, Change(held.memory, Standing(None, None, held.now)))
        return None
    case = noticed(held.track, held.memory, policy, held.now)
    view = gate.view()
    before = classify(case, view)
    try:
        case = replace(case, memory=change(case, before))
    except BaseException:
        leases.commit(held.lease, Change(case.memory, before))
        raise
    after = classify(case, view)
    if leases.commit(held.lease, Change(case.memory, after)) is not Commit.COMMITTED:
        raise Busy(f"track {track_id} was taken over by another process; say it again")
    return Amended(before, after)


def _leased(leases: Leases, track_id: str, patience: timedelta, sleep: Callable[[float], None]) -> Held:
    """A step takes less than a lease, so waiting for one is enough."""
    for _ in range(int(patience.total_seconds() / AGAIN_S) + 1):
        held = leases.lease(track_id)
        if held is not None:
            return held
        sleep(AGAIN_S)
    raise Busy(f"track {track_id} is being worked for longer than a step may take; `reconciler status` tells by whom")
