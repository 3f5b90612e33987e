"""The arithmetic of the only door to money: may one more purchase be made now, and if not, why and until when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from reconciler.domain.breaker import Breaker, Stage
from reconciler.domain.model import Purchase
from reconciler.domain.policy import Policy
from reconciler.domain.states import Reason

PROOF_LIMIT = 3
"""Purchases of an unproven shape that may be out at once, or succeeded without a usable picture."""

CREDITS_FRESH_FOR = timedelta(minutes=10)
"""A balance older than this is asked for again before buying."""

WARY_FOR = timedelta(minutes=10)
"""After a closure ran out, so long one order at a time is sent: all that go at once may be refused as one, and each
costs budget."""


class GateName(StrEnum):
    """What closes the gate; the labels of `kie_gate_closed`."""

    RATE_LIMIT = "rate_limit"
    CREDITS = "credits"
    KEY = "key"
    BREAKER = "breaker"
    REQUEST_REJECTED = "request_rejected"
    MODEL_UNPROVEN = "model_unproven"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Closure:
    """A reason remembered for not buying. `until` None: until something opens it. `shape`: only this one is closed.

    `trial`: an operator lets one order through, whose answer opens or closes it again.
    """

    name: GateName
    at: datetime
    until: datetime | None = None
    detail: str = ""
    shape: str | None = None
    trial: bool = False

    def active(self, now: datetime) -> bool:
        return not self.trial and (self.until is None or now < self.until)

    def lately(self, now: datetime) -> bool:
        """It ran out not long ago."""
        return self.until is not None and self.until <= now < self.until + WARY_FOR


@dataclass(frozen=True, slots=True)
class NotNow:
    """Why no order is let through. `until` None: not before the world changes."""

    reason: Reason
    until: datetime | None
    detail: str
    gate: GateName | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """Experience with one shape: a good result, purchases out (open, running, unknown and held), successes without
    a usable picture."""

    proven: bool = False
    out: int = 0
    refused: int = 0
    granted: int = 0

    @property
    def exhausted(self) -> bool:
        """So many succeeded without a usable picture that no more is ordered."""
        return not self.proven and self.refused >= PROOF_LIMIT + self.granted


@dataclass(frozen=True, slots=True)
class Usage:
    """Purchases within a rolling period, and when the oldest leaves it; of more than the budget allows by now: when so
    many have left that one more may be made, None where none ever may."""

    used: int = 0
    frees_at: datetime | None = None

    def with_one_more(self, until: datetime) -> "Usage":
        return Usage(self.used + 1, min(self.frees_at or until, until))


@dataclass(frozen=True, slots=True)
class GateView:
    """All that the gate knows at `now`. `closures`: those that ran out too. `window`: when each occupant of the sliding
    window leaves it, soonest first."""

    now: datetime
    paused: bool = False
    closures: tuple[Closure, ...] = ()
    breaker: Breaker = field(default_factory=Breaker)
    balance: float | None = None
    balance_at: datetime | None = None
    spent_since: float = 0.0
    window: tuple[datetime, ...] = ()
    hour: Usage = field(default_factory=Usage)
    day: Usage = field(default_factory=Usage)
    running: int = 0
    open: int = 0
    proofs: Mapping[str, Proof] = field(default_factory=dict)

    def with_intent(self, purchase: Purchase, policy: Policy) -> "GateView":
        """As it is once this one was let through."""
        return self.with_one_more(purchase.shape, purchase.price, purchase.deadline, policy)

    def with_one_more(self, shape: str, price: float, over_at: datetime, policy: Policy) -> "GateView":
        """`over_at`: until when the request may be under way."""
        proof = self.proofs.get(shape, Proof())
        return replace(
            self.with_one_sent(price, over_at),
            window=tuple(sorted((*self.window, over_at + policy.purchase_window))),
            running=self.running + 1,
            proofs={**self.proofs, shape: replace(proof, out=proof.out + 1)},
        )

    def with_one_sent(self, price: float, over_at: datetime) -> "GateView":
        """The same, but for what is over within a run: places in the window, among the tasks, of unproven shapes."""
        return replace(
            self,
            spent_since=self.spent_since + price,
            hour=self.hour.with_one_more(over_at + timedelta(hours=1)),
            day=self.day.with_one_more(over_at + timedelta(days=1)),
            open=self.open + 1,
        )

    def later(self, now: datetime) -> "GateView":
        """As it is once places in the window were left, if nothing else happened."""
        return replace(self, window=tuple(at for at in self.window if at > now))

    def overspent(self, policy: Policy) -> bool:
        """A budget was lowered below what had been bought."""
        return self.hour.used > policy.per_hour or self.day.used > policy.per_day

    def refuses_key(self) -> bool:
        """Kie does, so that nothing is asked there either."""
        return any(closure.name is GateName.KEY and closure.active(self.now) for closure in self.closures)

    def credits_left(self) -> float | None:
        return None if self.balance is None else self.balance - self.spent_since

    def wants_balance(self, policy: Policy) -> bool:
        """The free credit call is due before the next purchase."""
        stale = self.balance_at is None or self.now - self.balance_at > CREDITS_FRESH_FOR
        low = (self.credits_left() or 0.0) < policy.min_credits and not self._recently_asked()
        return stale or low

    def _recently_asked(self) -> bool:
        return self.balance_at is not None and self.now - self.balance_at < timedelta(minutes=1)


def closed(view: GateView, offers: Sequence[tuple[str, float]], policy: Policy) -> frozenset[GateName]:
    """What stops purchases now. `offers`: shape and price of all that may be ordered. A balance that Kie has not told
    yet has no name here: where the question fails again and again, the breaker tells it."""
    offered = (None, *(shape for shape, _ in offers))
    names = [closure.name for closure in view.closures if closure.active(view.now) and closure.shape in offered]
    names += [GateName.PAUSED] if view.paused else []
    names += [GateName.BREAKER] if view.breaker.stage in (Stage.OPEN, Stage.PROBING) else []
    return frozenset([*names, *reckoned(view, offers, policy)])


def reckoned(view: GateView, offers: Sequence[tuple[str, float]], policy: Policy) -> dict[GateName, str]:
    """What of this stops purchases by numbers alone, without an answer of Kie that closed it, and why."""
    refused = [_unproven(view, shape) for shape, _ in reversed(offers)]
    refused += [_poor(view, price, policy) for _, price in reversed(offers)]
    return {each.gate: each.detail for each in refused if each is not None and each.gate is not None}


def refusal(view: GateView, shape: str, price: float, policy: Policy, *, repeat: bool) -> NotNow | None:
    """Why one more purchase of `shape` (credits `price`) may not be made now, or None."""
    if policy.budget_of_none is not None:
        return NotNow(Reason.BUDGET, None, f"{policy.budget_of_none}: nothing is ever bought")
    return (
        _closed(view, shape)
        or _unproven(view, shape)
        or _poor(view, price, policy)
        or _broken(view, policy, repeat=repeat)
        or _over_budget(view, policy)
        or _crowded(view, policy)
        or _wary(view, policy)
    )


def places(view: GateView, shape: str, price: float, policy: Policy, most: int) -> int:
    """How many orders of `shape` would be let through now, one after the other; `most`: no more are asked for."""
    count = 0
    while count < most and refusal(view, shape, price, policy, repeat=False) is None:
        view = view.with_one_more(shape, price, view.now, policy)
        count += 1
    return count


_REASONS = {
    GateName.RATE_LIMIT: Reason.GATE_CLOSED,
    GateName.CREDITS: Reason.OUT_OF_CREDITS,
    GateName.KEY: Reason.UNAUTHORIZED,
    GateName.BREAKER: Reason.GATE_CLOSED,
    GateName.REQUEST_REJECTED: Reason.REQUEST_REJECTED,
    GateName.MODEL_UNPROVEN: Reason.MODEL_UNPROVEN,
    GateName.PAUSED: Reason.PAUSED,
}
HELD_FOR = tuple(dict.fromkeys((Reason.BUDGET, *_REASONS.values())))
"""Every reason to let nothing through, whichever track asks."""


def _closed(view: GateView, shape: str) -> NotNow | None:
    if view.paused:
        return NotNow(Reason.PAUSED, None, "paused by an operator; `reconciler resume` ends it", GateName.PAUSED)
    for closure in view.closures:
        if closure.active(view.now) and closure.shape in (None, shape):
            return NotNow(_REASONS[closure.name], closure.until, closure.detail, closure.name)
    return None


def _unproven(view: GateView, shape: str) -> NotNow | None:
    proof = view.proofs.get(shape, Proof())
    if proof.proven or proof.out + proof.refused < PROOF_LIMIT + proof.granted:
        return None
    if proof.exhausted:
        text = f"{proof.refused} tasks of {shape} succeeded without a usable picture and none with one"
        return NotNow(Reason.MODEL_UNPROVEN, None, text, GateName.MODEL_UNPROVEN)
    return NotNow(Reason.GATE_CLOSED, None, f"waiting for the first good result of {shape}")


def _poor(view: GateView, price: float, policy: Policy) -> NotNow | None:
    left = view.credits_left()
    if left is None:
        return NotNow(Reason.GATE_CLOSED, None, "Kie has not told the balance yet")
    if left < max(policy.min_credits, price):
        is_dear = price > policy.min_credits
        wanted = f"a picture costs {price:g}" if is_dear else f"budget.min_credits = {policy.min_credits:g}"
        text = f"{left:g} credits left, {wanted}"
        return NotNow(Reason.OUT_OF_CREDITS, None, text, GateName.CREDITS)
    return None


def _broken(view: GateView, policy: Policy, *, repeat: bool) -> NotNow | None:
    breaker, now = view.breaker, view.now
    if breaker.stage is Stage.CLOSED:
        return None
    too_soon = repeat and not breaker.lets_repeats(now, policy)
    probed = breaker.stage is Stage.PROBING and view.open > 0
    if too_soon or probed or len(view.window) >= breaker.allowance(now, policy):
        soon = now + policy.purchase_window
        waits_for = breaker.retry_at if too_soon or breaker.stage is Stage.OPEN else None
        text = f"the provider failed; breaker {breaker.stage}"
        return NotNow(Reason.GATE_CLOSED, max(waits_for or soon, soon), text, GateName.BREAKER)
    return None


def _over_budget(view: GateView, policy: Policy) -> NotNow | None:
    if view.day.used >= policy.per_day:
        return NotNow(Reason.BUDGET, view.day.frees_at, f"budget.per_day = {policy.per_day} is spent")
    if view.hour.used >= policy.per_hour:
        return NotNow(Reason.BUDGET, view.hour.frees_at, f"budget.per_hour = {policy.per_hour} is spent")
    return None


def _crowded(view: GateView, policy: Policy) -> NotNow | None:
    if view.running >= policy.max_concurrent_tasks:
        text = f"{view.running} tasks run, kie.max_concurrent_tasks = {policy.max_concurrent_tasks}"
        return NotNow(Reason.GATE_CLOSED, None, text)
    excess = len(view.window) - policy.purchase_limit
    if excess >= 0:
        return NotNow(Reason.GATE_CLOSED, view.window[excess], f"{policy.purchase_limit} purchases per window")
    return None


def _wary(view: GateView, policy: Policy) -> NotNow | None:
    """The answer to the one that is out tells whether the next may follow."""
    last = next((closure for closure in view.closures if closure.lately(view.now)), None)
    if last is None or view.open == 0:
        return None
    text = f"refused not long ago, so that one order at a time is tried; {last.detail}"
    return NotNow(Reason.GATE_CLOSED, view.now + policy.purchase_window, text)
