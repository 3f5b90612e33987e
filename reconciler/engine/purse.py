"""The buying side of one run: what the gate says, what this run may still spend, and what answers teach the gate."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeGuard

from reconciler.domain.actions import Buy
from reconciler.domain.breaker import Breaker, Stage
from reconciler.domain.catalogue import offers
from reconciler.domain.closing import UNHEALTHY, closure_for, order_taken
from reconciler.domain.findings import (
    OURS,
    Accepted,
    AnswerLost,
    Creation,
    Credits,
    Finding,
    NothingMade,
    Refusal,
    Trouble,
)
from reconciler.domain.gate import Closure, GateName, GateView, NotNow, places, reckoned, refusal
from reconciler.domain.gate_after import gate_after
from reconciler.domain.model import Memory, Purchase
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Stood
from reconciler.domain.states import Place, Reason
from reconciler.engine.crew import Answer
from reconciler.engine.events import BreakerMoved, CreditsRead, CreditsUntold, GateClosed, Listener, Mistake
from reconciler.engine.lately import Lately
from reconciler.ports import Clock, DatabaseError, Gate, Held

FRESH_FOR = timedelta(seconds=1)
_OF_THE_REQUEST = frozenset({Refusal.REQUEST, Refusal.CONTENT})
"""All other refusals say nothing of it."""


class Purse:
    """`tries_key`: a key that was refused before is tried once more, in case it has been set right."""

    def __init__(
        self,
        gate: Gate,
        policy: Policy,
        clock: Clock,
        listener: Listener,
        max_purchases: int | None = None,
        *,
        tries_key: bool = True,
        lately: Lately | None = None,
    ) -> None:
        self._gate, self._policy, self._clock, self._tell = gate, policy, clock, listener
        self._left = max_purchases
        self._view: GateView | None = None
        self._lately = lately or Lately()
        self._key_tried = not tries_key

    def view(self) -> GateView:
        """The gate as it was less than a second ago; `reserve` always looks afresh."""
        now = self._clock()
        if self._view is None or not timedelta(0) <= now - self._view.now < FRESH_FOR:
            self._view = self._lately.gate = self._look()
        return self._view

    def _look(self) -> GateView:
        """While the database cannot be asked, an older view will do to say where a track stands."""
        try:
            return self._gate.view()
        except DatabaseError:
            if self._lately.gate is None:
                raise
            return self._lately.gate

    def forget_view(self) -> None:
        """Whatever is asked next is to be answered by the gate as it is then."""
        self._view = None

    def learned(self, before: Memory, after: Memory) -> None:
        """What was saved of a track just now may have opened a gate that was shut: a task that ended, a first good
        result."""
        if self._view is not None:
            self._view = gate_after(self._view, before, after, self._policy)

    def refusal(self, shape: str, price: float) -> NotNow | None:
        """A refusal that has run out since the gate was looked at does not count."""
        now = self._clock()
        refused = self._spent() or refusal(self.view().later(now), shape, price, self._policy, repeat=False)
        if refused is None or refused.until is None or refused.until > now:
            return refused
        self._view = None
        return refusal(self.view(), shape, price, self._policy, repeat=False)

    def places(self, shape: str, price: float, most: int) -> int:
        """How many orders would be let through one after the other, so many `most`."""
        may_spend = most if self._left is None else min(most, self._left)
        return places(self.view().later(self._clock()), shape, price, self._policy, may_spend)

    def stands(self, stood: Stood) -> Place:
        """Where a track stands that stood so when it was last looked at."""
        spent = self._spent()
        if spent is not None and stood.wants is not None and stood.reason is not None:
            return stood.state, spent.reason
        return stood.stands(self.view(), self._policy)

    def opens_at(self, shape: str, price: float) -> datetime | None:
        """When an order may be let through by itself, or None: not before the world changes.

        Where the gate is open by now, who waits for it was asked for while it was not yet: once more when the view is
        old.
        """
        refused = self.refusal(shape, price)
        if refused is None:
            return self._clock() + FRESH_FOR
        return refused.until or (self._credits_asked_again_at() if self.view().balance is None else None)

    def _credits_asked_again_at(self) -> datetime | None:
        """An open breaker is tried by the same call, at its own time."""
        now, breaker = self._clock(), self.view().breaker
        times = (self._lately.no_credit_call_until, breaker.retry_at if breaker.stage is Stage.OPEN else None)
        return max((at for at in times if at is not None and at > now), default=None)

    def reserve(self, held: Held, order: Buy) -> Purchase | NotNow:
        spent = self._spent()
        if spent is not None:
            return spent
        before, self._view = self._view, None
        reserved = self._gate.reserve(held, order)
        if isinstance(reserved, Purchase):
            self._left = None if self._left is None else self._left - 1
            self._view = before.with_intent(reserved, self._policy) if before is not None else None
        return reserved

    @property
    def spent(self) -> bool:
        return self._left == 0

    def _spent(self) -> NotNow | None:
        if self._left is None or self._left > 0:
            return None
        return NotNow(Reason.BUDGET, None, "--max-purchases is spent")

    @property
    def key_refused_until(self) -> datetime | None:
        """While Kie refuses the key, nothing is asked there either."""
        now = self._clock()
        shut = (c for c in self.view().closures if c.name is GateName.KEY and c.active(now))
        return next((c.until for c in shut), None)

    @property
    def is_key_refused(self) -> bool:
        """By the last look at the gate, whenever that was."""
        known = self._view or self._lately.gate
        return known is not None and known.refuses_key()

    @property
    def provider_fails(self) -> bool:
        """No free call has gone well since its last faults."""
        return self.view().breaker.stage is Stage.OPEN

    def wants_credit_call(self) -> bool:
        """The free credit call is due: before buying on an old balance, to try an open breaker, and once a run to see
        whether a key that was refused has been set right."""
        if self._policy.budget_of_none is not None or (self._view is None and self._was_well()):
            return False
        view, now = self.view(), self._clock()
        if view.paused or self._credits_asked_again_at() is not None:
            return False
        if self.key_refused_until is not None:
            return not self._key_tried
        if view.breaker.stage is Stage.OPEN:
            return view.breaker.wants_free_call(now)
        return view.wants_balance(self._policy)

    def _was_well(self) -> bool:
        """A gate that needed nothing of Kie a while ago need not be looked at to know that its balance is not old."""
        last, now = self._lately.gate, self._clock()
        if last is None or last.now > now or last.breaker.stage is Stage.OPEN:
            return False
        return not (last.refuses_key() or replace(last, now=now).wants_balance(self._policy))

    def credit_answer(self, answer: Answer | Exception, asked_at: datetime) -> None:
        self._view, self._key_tried = None, True
        if isinstance(answer, Credits):
            self._gate.balance(answer.balance, asked_at)
            self._tell(CreditsRead(answer.balance, asked_at))
            self._hear(healthy=True, bought=False)
            self._tell_if_poor()
            return
        self._lately.no_credit_call_until = self._clock() + self._policy.retry_min
        if isinstance(answer, Trouble):
            if closure_for(answer, None, self._policy, self._clock()) is None:
                self._tell(CreditsUntold(answer))
            self.heard(answer)
        elif isinstance(answer, Exception):
            self._tell(Mistake("", answer))

    def _tell_if_poor(self) -> None:
        view = self.view()
        why = reckoned(view, offers(self._policy), self._policy).get(GateName.CREDITS)
        if why is not None:
            self._tell(GateClosed(Closure(GateName.CREDITS, view.now, None, why)))

    def heard(self, finding: Finding, order: Purchase | None = None) -> None:
        """What an answer of Kie says of the provider and of the account. `order`: it is of this one, or of its task."""
        shape = order.shape if order is not None else None
        closure = closure_for(finding, shape, self._policy, self._clock())
        if closure is not None:
            self._view = None
            ordered = isinstance(finding, NothingMade)
            self._key_tried = self._key_tried or (ordered and closure.name is GateName.KEY)
            self._tell(GateClosed(self._gate.close(closure, ordered=ordered)))
        if isinstance(finding, NothingMade) and finding.refusal not in _OF_THE_REQUEST and self._is_trial(order):
            self._view = None
            self._gate.try_once(order.shape)
        if isinstance(finding, NothingMade) and finding.refusal in OURS:
            return
        if isinstance(finding, Accepted) and order is not None:
            self._order_taken(order)
        troubled = isinstance(finding, Trouble | AnswerLost | NothingMade) and finding.call in UNHEALTHY
        self._hear(healthy=not troubled, bought=isinstance(finding, Creation))

    def _order_taken(self, order: Purchase) -> None:
        if any(order_taken(closure, order) != closure for closure in self.view().closures):
            self._view = None
            self._gate.order_taken(order)

    def _is_trial(self, order: Purchase | None) -> TypeGuard[Purchase]:
        """Of a request that Kie had called wrong. Where only tasks fail it takes all those that are under way."""
        if order is None:
            return False
        rejected = (c for c in self.view().closures if c.name is GateName.REQUEST_REJECTED and c.shape == order.shape)
        return any(closure.at <= order.at for closure in rejected)

    def _hear(self, *, healthy: bool, bought: bool) -> None:
        before = self.view().breaker
        if healthy and before == Breaker():
            return
        self._view = None
        self._gate.heard(healthy=healthy, bought=bought)
        after = self.view().breaker
        if after.stage is not before.stage:
            self._tell(BreakerMoved(after))
