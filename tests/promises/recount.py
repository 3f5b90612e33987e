"""The numbers once more, from every row: what is remembered is loaded, and the one judge asked, as by `explain`."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.database import Reader
from reconciler.domain.case import Case
from reconciler.domain.gate import GateView
from reconciler.domain.learn import notice
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing, classify
from reconciler.domain.states import Reason, State
from reconciler.ports import Overview
from reconciler.testing.world import World


@dataclass
class Recount:
    tracks: Counter[tuple[State, Reason | None]] = field(default_factory=Counter)
    oldest_stuck: datetime | None = None
    earliest_expiry: datetime | None = None
    by_id: dict[object, tuple[State, Reason | None]] = field(default_factory=dict)

    def add(self, key: object, where: Standing, since: datetime) -> None:
        if where.state is None:
            return
        self.by_id[key] = where.state, where.reason
        self.tracks[where.state, where.reason] += 1
        if where.state.stuck:
            self.oldest_stuck = min(self.oldest_stuck or since, since)
        if where.state is State.EXPIRING and where.expires_at is not None:
            self.earliest_expiry = min(self.earliest_expiry or where.expires_at, where.expires_at)


def recounted(world: World, reader: Reader) -> Recount:
    """By reading every row. A row that nobody can name is `invalid`."""
    found, gate = Recount(), reader.view()
    for row in world.sql("SELECT rowid, id, status FROM tracks"):
        if isinstance(row["id"], str):
            found.add(row["id"], *stands(reader, row["id"], world.policy, gate))
        elif row["status"] in world.policy.statuses:
            found.add(row["rowid"], Standing(State.INVALID, Reason.INVALID_ROW, None), gate.now)
    return found


def stands(reader: Reader, track_id: str, policy: Policy, gate: GateView) -> tuple[Standing, datetime]:
    held = reader.peek(track_id)
    assert held.track is not None
    memory = notice(held.memory, held.track, policy, held.now)
    case = Case(held.track, memory, policy, held.now)
    return classify(case, gate), memory.needy_since or held.now


def agreed(world: World, reader: Reader) -> Overview:
    """The overview, once it was found to be true."""
    shown, true = reader.overview(), recounted(world, reader)
    assert dict(shown.tracks) == dict(true.tracks), true.by_id
    assert sum(shown.tracks.values()) == len(true.by_id)
    assert (shown.oldest_stuck, shown.earliest_expiry) == (true.oldest_stuck, true.earliest_expiry)
    return shown
