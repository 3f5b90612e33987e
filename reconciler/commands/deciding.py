"""An operator's decisions: `retry`, `ignore`, `pause` and `resume`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from reconciler.app.inside import known_track, looked_into, opened
from reconciler.config import Settings, policy_of
from reconciler.database import Database
from reconciler.domain.amending import orders_left, reopened, stays_given_up
from reconciler.domain.case import Case
from reconciler.domain.catalogue import offers
from reconciler.domain.gate import GateName
from reconciler.domain.learn import noticed
from reconciler.domain.model import Memory
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing, classify
from reconciler.domain.states import Reason, State
from reconciler.engine.amend import Amended, amend


class Declined(Exception):
    """What was asked for makes no sense; nothing was changed. The text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of one track, in a few words."""

    track_id: str
    before: Standing
    after: Standing
    said: str


@dataclass(frozen=True, slots=True)
class GivenUp:
    """How many tracks are: of those that can be tried again, and of those whose rows must be mended first. `orders`:
    the purchases that may be made for the first."""

    to_be_tried: int
    to_be_mended: int
    orders: int


@dataclass(frozen=True, slots=True)
class Decisions:
    """Taken one after the other, over one connection."""

    settings: Settings
    database: Database
    policy: Policy

    def known(self, track_ids: Iterable[str]) -> Sequence[str]:
        """Their ids as we write them, each once. Raises NoSuchTrack for the first of which neither the app nor we know
        anything."""
        app, peek = self.database.app, self.database.leases.peek
        return [*dict.fromkeys(known_track(self.settings, app, peek, each).lease.track_id for each in track_ids)]

    def amend(self, track_id: str, change: Callable[[Case, Standing], Memory]) -> Amended:
        """Of a track that is known. Raises Busy, and Declined where the row is gone."""
        amended = amend(self.database.leases, self.database.gate, self.policy, track_id, change)
        if amended is None:
            raise Declined(f"the row of track {track_id} is gone; nothing is written or bought for it any more")
        return amended

    # -- retry -----------------------------------------------------------------------------------------------------

    def given_up_for(self, reason: Reason) -> Sequence[str]:
        """Longest in need first."""
        return self.database.finder.standing(State.FAILED, reason)

    def seen(self, track_id: str) -> tuple[Case, Standing] | None:
        """The track and where it stands, without leasing it. None: its row is gone."""
        held = self.database.leases.peek(track_id)
        if held.track is None:
            return None
        case = noticed(held.track, held.memory, self.policy, held.now)
        return case, classify(case, self.database.gate.view())

    def given_up(self, track_ids: Sequence[str]) -> GivenUp:
        """How many of them."""
        found = [seen for track_id in track_ids if (seen := self.seen(track_id)) is not None]
        cases = [case for case, stands in found if stands.state is State.FAILED]
        tried = [case for case in cases if not stays_given_up(case)]
        return GivenUp(len(tried), len(cases) - len(tried), sum(map(orders_left, tried)))

    def price(self, orders: int) -> float:
        """Credits that they cost at most."""
        return orders * max((price for _, price in offers(self.policy)), default=0.0)

    def retry(self, track_id: str) -> Decided:
        """Re-open a track that is given up, and grant it one purchase beyond its limits. Any other is left alone."""
        seen = self.seen(track_id)
        if seen is None:
            return Decided(track_id, _GONE, _GONE, "its row is gone, so nothing was changed")
        case, stands = seen
        if stands.state is not State.FAILED:
            return Decided(track_id, stands, stands, _NOT_GIVEN_UP)
        if stays_given_up(case):
            return Decided(track_id, stands, stands, _STAYS)

        def change(case: Case, before: Standing) -> Memory:
            reopens = before.state is State.FAILED and not stays_given_up(case)
            return reopened(case) if reopens else case.memory

        amended = self.amend(track_id, change)
        return Decided(track_id, amended.before, amended.after, _retried(amended))

    # -- gates -----------------------------------------------------------------------------------------------------

    def held_for(self, reason: Reason) -> int:
        """How many tracks a gate holds back: as `status` counts them."""
        with looked_into(self.settings) as reader:
            tracks = reader.overview().tracks
        return sum(tracks.get((state, reason), 0) for state in (State.MISSING, State.BELOW_TARGET))

    def closed(self, reason: Reason) -> Sequence[str]:
        """What is configured and closed for a reason of the gate: shapes, of which one more order may be tried."""
        view = self.database.gate.view()
        closed = (closure for closure in view.closures if closure.active(view.now))
        rejected = {closure.shape for closure in closed if closure.name is GateName.REQUEST_REJECTED}
        exhausted = {shape for shape, proof in view.proofs.items() if proof.exhausted}
        shut = rejected if reason is Reason.REQUEST_REJECTED else exhausted
        return [shape for shape, _ in offers(self.policy) if shape in shut]

    def let_through(self, reason: Reason) -> int:
        """One order more of each model that is closed for this reason. How many models."""
        closed, gate = self.closed(reason), self.database.gate
        for shape in closed:
            if reason is Reason.REQUEST_REJECTED:
                gate.try_once(shape)
            else:
                gate.grant(shape)
        return len(closed)

    def release_hosts(self) -> int:
        """What is dead at suspect hosts may be replaced. How many tracks waited for that."""
        return self.database.release_suspects()

    # -- the rest --------------------------------------------------------------------------------------------------

    def ignore(self, track_id: str, *, undo: bool) -> Decided:
        """Take a track out of scope, or back into it."""
        (track_id,) = self.known([track_id])
        was: list[bool] = []

        def change(case: Case, _: Standing) -> Memory:
            was.append(case.memory.ignored)
            return replace(case.memory, ignored=not undo)

        amended = self.amend(track_id, change)
        word = "not ignored" if undo else "ignored"
        said = f"was {word} already" if was[0] is not undo else f"is {word} from now on"
        return Decided(track_id, amended.before, amended.after, said)

    def pause(self, *, paused: bool) -> bool:
        """For all tracks: purchases and writes to rows stop, or go on. False: it was so already."""
        return self.database.gate.pause(paused=paused)


GATES = frozenset({Reason.MODEL_UNPROVEN, Reason.REQUEST_REJECTED, Reason.HOST_SUSPECT})
"""Reasons that hold tracks back without giving them up: an operator lets them through, and grants nothing."""

_NOT_GIVEN_UP = "not given up, so nothing was changed"
_STAYS = "still given up: the row itself must be mended"
_GONE = Standing(None, None, None)


def _retried(amended: Amended) -> str:
    if amended.before.state is not State.FAILED:
        return _NOT_GIVEN_UP
    if amended.after.state is State.FAILED:
        return _STAYS
    if amended.after.held is not None:
        return "re-opened; it goes on when the gate opens"
    return "tried again at the next sweep"


@contextmanager
def deciding(settings: Settings) -> Iterator[Decisions]:
    """Creates or updates the own tables. Who may not write the app's rows may decide: to stop, above all."""
    with opened(settings, works=False) as database:
        yield Decisions(settings, database, policy_of(settings))
