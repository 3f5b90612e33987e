"""The breaker: after a run of provider faults, money is risked again only step by step."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from reconciler.domain.backoff import delay
from reconciler.domain.policy import Policy

FAULTS_TO_OPEN = 5
FREE_CALL_PAUSE = timedelta(minutes=10)
"""Between two free calls at the longest: they cost nothing, and tell when an outage is over."""


class Stage(StrEnum):
    CLOSED = "closed"
    """Purchases flow."""
    OPEN = "open"
    """Nothing is bought; the free credit call is tried at `retry_at`."""
    PROBING = "probing"
    """One purchase may go out: one that is no repeat, or, where none came by `retry_at`, a repeat."""
    RAMPING = "ramping"
    """1, 2, 4, ... purchases per window."""


@dataclass(frozen=True, slots=True)
class Breaker:
    stage: Stage = Stage.CLOSED
    faults: int = 0
    """In a row."""
    orders: int = 0
    """Faults of purchases in a row; questions that are answered in between do not end it."""
    trips: int = 0
    """How often it opened without closing in between."""
    waits_since: datetime | None = None
    retry_at: datetime | None = None
    ramp_since: datetime | None = None

    def allowance(self, now: datetime, policy: Policy) -> int:
        """How many purchases a window may hold."""
        match self.stage:
            case Stage.CLOSED:
                return policy.purchase_limit
            case Stage.OPEN:
                return 0
            case Stage.PROBING:
                return 1
            case Stage.RAMPING:
                windows = (now - (self.ramp_since or now)) / policy.purchase_window
                return min(policy.purchase_limit, 1 << int(min(max(windows, 0), 10)))
            case _:  # pragma: no cover
                assert_never(self.stage)

    def lets_repeats(self, now: datetime, policy: Policy) -> bool:
        """A second lost answer would end its track: a repeat is no probe, unless there was nothing else for long."""
        match self.stage:
            case Stage.CLOSED:
                return True
            case Stage.OPEN:
                return False
            case Stage.PROBING:
                return self.retry_at is not None and self.retry_at <= now
            case Stage.RAMPING:
                return self.allowance(now, policy) >= policy.purchase_limit
            case _:  # pragma: no cover
                assert_never(self.stage)

    def wants_free_call(self, now: datetime) -> bool:
        return self.stage is Stage.OPEN and (self.retry_at is None or now >= self.retry_at)


def heard(breaker: Breaker, *, healthy: bool, bought: bool, now: datetime, policy: Policy) -> Breaker:
    """The breaker after one call. `bought`: the call was a purchase. Faults are the provider's, never refusals."""
    if not healthy:
        return _after_fault(breaker, now, policy, bought=bought)
    match breaker.stage:
        case Stage.CLOSED:
            return replace(breaker, faults=0, orders=0 if bought else breaker.orders)
        case Stage.OPEN if breaker.wants_free_call(now):
            until = now + policy.hold_unknown
            return replace(breaker, stage=Stage.PROBING, faults=0, waits_since=now, retry_at=until)
        case Stage.OPEN:
            return breaker
        case Stage.PROBING:
            ramping = replace(breaker, stage=Stage.RAMPING, waits_since=None, retry_at=None, ramp_since=now)
            return ramping if bought else breaker
        case Stage.RAMPING:
            return Breaker() if breaker.allowance(now, policy) >= policy.purchase_limit else breaker
        case _:  # pragma: no cover
            assert_never(breaker.stage)


def _after_fault(breaker: Breaker, now: datetime, policy: Policy, *, bought: bool) -> Breaker:
    """Calls that were under way when it opened say nothing new: only a try that was due makes the pause longer."""
    faults, orders = breaker.faults + 1, breaker.orders + bought
    closed = breaker.stage is Stage.CLOSED and max(faults, orders) < FAULTS_TO_OPEN
    if closed or (breaker.stage is Stage.OPEN and not breaker.wants_free_call(now)):
        return replace(breaker, faults=faults, orders=orders)
    trips = breaker.trips + 1
    longest = min(FREE_CALL_PAUSE, policy.retry_max) if breaker.stage is Stage.OPEN else policy.retry_max
    pause = delay(trips, policy.retry_min, longest, spin=0.5)
    return Breaker(stage=Stage.OPEN, faults=faults, trips=trips, waits_since=now, retry_at=now + pause)
