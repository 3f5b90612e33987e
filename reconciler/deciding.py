"""An operator's decisions: `retry`, `ignore`, `pause` and `resume`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from reconciler.app import known_track, opened
from reconciler.config import Settings, policy_of
from reconciler.database import Database
from reconciler.domain.amending import REOPENS_GATE, reopened
from reconciler.domain.case import Case
from reconciler.domain.model import Memory
from reconciler.domain.models import shapes
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing
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
class Decisions:
    """Taken one after the other, over one connection."""

    settings: Settings
    database: Database
    policy: Policy

    def known(self, track_ids: Sequence[str]) -> None:
        """Raises NoSuchTrack for the first of which neither the app nor we know anything."""
        for track_id in track_ids:
            known_track(self.settings, self.database.leases.peek, track_id)

    def amend(self, track_id: str, change: Callable[[Case, Standing], Memory]) -> Amended:
        """Raises NoSuchTrack, Busy, and Declined where the row is gone."""
        self.known([track_id])
        amended = amend(self.database.leases, self.database.gate, self.policy, track_id, change)
        if amended is None:
            raise Declined(f"the row of track {track_id} is gone; nothing is written or bought for it any more")
        return amended

    # -- retry -----------------------------------------------------------------------------------------------------

    def waiting(self, reason: Reason) -> Sequence[str]:
        """The tracks that `retry --reason` is about: given up for it, or held back by a gate."""
        held = (State.MISSING, State.BELOW_TARGET)
        states = held if reason in GATES else (State.FAILED,)
        return [track_id for state in states for track_id in self.database.finder.standing(state, reason)]

    def price(self, tracks: int) -> float:
        """Credits that one purchase for each of them costs at most."""
        return tracks * max((price for _, price in shapes(self.policy)), default=0.0)

    def retry(self, track_id: str) -> Decided:
        """Re-open a track that is given up, and grant it one purchase beyond its limits."""

        def change(case: Case, before: Standing) -> Memory:
            return reopened(case) if before.state is State.FAILED else case.memory

        amended = self.amend(track_id, change)
        return Decided(track_id, amended.before, amended.after, _retried(amended))

    def let_through(self, reason: Reason) -> int:
        """Open a gate once. How many models, or tracks of suspect hosts, that concerns."""
        gate = self.database.gate
        if reason is Reason.HOST_SUSPECT:
            return self.database.release_suspects()
        if reason is Reason.REQUEST_REJECTED:
            return sum(gate.try_once(shape) for shape, _ in shapes(self.policy))
        proofs = gate.view().proofs
        exhausted = [shape for shape, _ in shapes(self.policy) if shape in proofs and proofs[shape].exhausted]
        for shape in exhausted:
            gate.grant(shape)
        return len(exhausted)

    # -- the rest --------------------------------------------------------------------------------------------------

    def ignore(self, track_id: str, *, undo: bool) -> Decided:
        """Take a track out of scope, or back into it."""
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


GATES = REOPENS_GATE | {Reason.HOST_SUSPECT}
"""Reasons that hold tracks back without giving them up: an operator lets them through, and grants nothing."""

GIVEN_UP = frozenset(
    {
        *(Reason.CONTENT_REJECTED, Reason.PROVIDER_FAILED, Reason.IMAGE_REJECTED, Reason.DOWNLOAD_FAILED),
        *(Reason.HOST_REFUSED, Reason.UNKNOWN_PURCHASE, Reason.NO_PROMPT, Reason.WRITE_CONFLICT),
        Reason.ATTEMPTS_SPENT,
    }
)
"""Reasons for which a track may be given up."""


def _retried(amended: Amended) -> str:
    if amended.before.state is not State.FAILED:
        return "not given up, so nothing was changed"
    if amended.after.state is State.FAILED:
        return "still given up: the row itself must be mended"
    return "tried again at the next sweep"


@contextmanager
def deciding(settings: Settings) -> Iterator[Decisions]:
    """Creates or updates the own tables."""
    with opened(settings) as database:
        yield Decisions(settings, database, policy_of(settings))
