"""One sweep: find what is due, lease it, plan, act, learn, commit, until nothing is due within the time given.

- Tracks come from the finder (what is due), from the audit's walk over the whole table, and from the gate (held back).
- Each is leased for one step: looked at, planned, and either settled at once or handed to the crew.
- What comes back is learned and committed, with the row where the plan says so; the next step is planned anew.
- This thread alone talks to the database; the crew alone talks to the world.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.domain.findings import Credits
from reconciler.domain.models import MODELS
from reconciler.domain.policy import Policy
from reconciler.engine.crew import Crew, Done
from reconciler.engine.effects import Hands
from reconciler.engine.events import Listener, Result
from reconciler.engine.purse import Purse
from reconciler.engine.steps import Steps
from reconciler.engine.tally import Tally
from reconciler.ports import Clock, Finder, Gate, Leases

PAGE = 200
CREDIT_CALL = ""
"""The one job of the crew that belongs to no track."""

WATCH_AGAIN = timedelta(seconds=5)
"""While steps are under way, new work is looked for at least this often."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a sweep works with."""

    finder: Finder
    leases: Leases
    gate: Gate
    hands: Hands
    crew: Crew
    policy: Policy
    clock: Clock


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a run may go. `only`: these tracks; `limit`: so many; `audit_from`: the key at which its walk resumes."""

    until: datetime
    only: tuple[str, ...] | None = None
    limit: int | None = None
    max_purchases: int | None = None
    audit: bool = True
    audit_from: str | None = None

    @property
    def narrowed(self) -> bool:
        return self.limit is not None or not self.audit


class Sweep:
    def __init__(self, parts: Parts, bounds: Bounds, listener: Listener) -> None:
        self._finder, self._crew, self._clock, self._policy = parts.finder, parts.crew, parts.clock, parts.policy
        self._hands, self._bounds = parts.hands, bounds
        self._tally = Tally(listener)
        self._purse = Purse(parts.gate, parts.policy, parts.clock, self._tally, bounds.max_purchases)
        self._steps = Steps(parts.leases, parts.hands, parts.crew, self._purse, parts.policy, parts.clock, self._tally)
        self._queue: deque[str] = deque()
        self._asked_due_at: datetime | None = None
        self._walk_over = not bounds.audit
        self.audit_key = bounds.audit_from
        self._credit_asked_at: datetime | None = None
        self._worked: set[str] = set()
        self._stop = False

    def stop(self) -> None:
        """Take no more work; finish or hand back what is under way. Safe in a signal handler."""
        self._stop = True
        self._crew.wake()

    def run(self) -> Result:
        while not self._over():
            self._fill()
            wake_at = self._wake_at()
            if wake_at is None and not self._busy():
                return self._result(stopped=False)
            self._await(wake_at)
        self._wind_down()
        return self._result(stopped=True)

    # -- taking work -------------------------------------------------------------------------------------------

    def _over(self) -> bool:
        return self._stop or self._clock() >= self._bounds.until

    def _busy(self) -> bool:
        return bool(self._steps.flights) or self._credit_asked_at is not None

    def _fill(self) -> None:
        self._ask_credits()
        if self._steps.alone:
            if not self._steps.flights:
                self._steps.start(self._steps.alone.popleft())
            return
        for track_id in self._candidates():
            self._steps.start(track_id)
            if self._stop or len(self._steps.flights) >= self._crew.size or self._steps.alone:
                return

    def _candidates(self) -> Iterator[str]:
        """What can be started now, most urgent first; ends when there is nothing."""
        if len(self._steps.flights) >= self._crew.size:
            return
        while True:
            track_id = self._next()
            if track_id is None:
                return
            if track_id not in self._steps.flights and self._admitted(track_id):
                yield track_id

    def _next(self) -> str | None:
        if self._steps.ready:
            return self._steps.ready.popleft()
        if not self._queue:
            self._queue.extend(self._look_for_due() or self._walk() or self._held_back())
        return self._queue.popleft() if self._queue else None

    def _admitted(self, track_id: str) -> bool:
        full = self._bounds.limit is not None and len(self._worked) >= self._bounds.limit
        if full and track_id not in self._worked:
            return False
        self._worked.add(track_id)
        return True

    def _look_for_due(self) -> list[str]:
        """Asks the database only when something can have become due since it was last asked."""
        now = self._clock()
        if self._asked_due_at is not None and (self._steps.soonest is None or self._steps.soonest > now):
            return []
        found = [t for t in self._finder.due(PAGE, self._bounds.only) if t not in self._steps.flights]
        self._asked_due_at = now
        self._steps.soonest = now if found else self._finder.next_due(self._bounds.only)
        return found

    def _walk(self) -> list[str]:
        while not self._walk_over:
            page = self._finder.page(self.audit_key, PAGE, self._bounds.only)
            self.audit_key = page.last
            self._walk_over = page.last is None
            if page.work:
                return list(page.work)
        return []

    def _held_back(self) -> list[str]:
        """As many tracks that wait for the gate as it may let through."""
        if self._purse.rests_until is not None and self._clock() < self._purse.rests_until:
            return []
        for shape, price in self._shapes():
            if self._purse.refusal(shape, price) is None:
                room = self._policy.purchase_limit - len(self._purse.view().window)
                held = self._finder.held_back(shape, max(room, 1), self._bounds.only)
                if held:
                    return [track_id for track_id in held if track_id not in self._steps.flights]
        return []

    def _shapes(self) -> list[tuple[str, float]]:
        models = [MODELS[name] for name in (self._policy.model, *self._policy.fallback_models)]
        return [(model.shape(self._policy.target), model.price) for model in models]

    def _ask_credits(self) -> None:
        if self._credit_asked_at is None and self._purse.wants_credit_call():
            self._credit_asked_at = self._clock()
            self._crew.submit(CREDIT_CALL, self._hands.kie.credit)

    # -- waiting and finishing ---------------------------------------------------------------------------------

    def _wake_at(self) -> datetime | None:
        """When something can be done again, or None: not within this run."""
        times = [self._steps.soonest, self._gate_opens_at()]
        soon = min((at for at in times if at is not None), default=None)
        return soon if soon is not None and soon < self._bounds.until else None

    def _gate_opens_at(self) -> datetime | None:
        opens: list[datetime] = []
        for shape, price in self._shapes():
            at = self._purse.opens_at(shape, price)
            if at is not None and self._finder.held_back(shape, 1, self._bounds.only):
                opens.append(at)
        return min(opens, default=None)

    def _await(self, wake_at: datetime | None) -> None:
        now = self._clock()
        wait = min(wake_at - now, self._bounds.until - now) if wake_at is not None else WATCH_AGAIN
        done = self._crew.finished(min(wait, WATCH_AGAIN) if self._busy() else wait)
        if done is not None:
            self._finish(done)

    def _finish(self, done: Done) -> None:
        if done.tag == CREDIT_CALL:
            asked_at, self._credit_asked_at = self._credit_asked_at, None
            if asked_at is not None:
                self._purse.credit_answer(done.answer, asked_at)
        elif done.tag in self._steps.flights and not isinstance(done.answer, Credits):
            self._steps.finish(done.tag, done.answer)

    def _wind_down(self) -> None:
        """Let the calls that are out come back, which takes a call's time at most; hand back the rest."""
        give_up_at = self._clock() + self._policy.request_timeout
        while self._busy() and self._clock() < give_up_at:
            done = self._crew.finished(give_up_at - self._clock())
            if done is not None:
                self._finish(done)
        self._steps.hand_back()

    def _result(self, *, stopped: bool) -> Result:
        result = self._tally.result
        touched_only = self._bounds.narrowed
        result.states = self._tally.touched() if touched_only else self._finder.tally(self._bounds.only)
        result.stopped = stopped
        return result
