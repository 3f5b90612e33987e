"""Which answers of Kie close the gate for every track, and for how long."""

from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.domain.findings import Call, Failed, Finding, NothingMade, Refusal, Trouble
from reconciler.domain.gate import Closure, GateName
from reconciler.domain.model import Purchase
from reconciler.domain.policy import Policy

KEY_RETRY = timedelta(minutes=10)
CREDITS_RETRY = timedelta(minutes=10)
CAP_RETRY = timedelta(hours=1)
LONGEST_PAUSE = timedelta(minutes=30)
"""Of a refusal that is met again and again."""

UNHEALTHY = frozenset({Call.SERVER_ERROR, Call.TIMEOUT, Call.CONNECT_ERROR, Call.MALFORMED})
"""Outcomes that are the provider's own fault; the breaker counts them."""


def closure_for(finding: Finding, shape: str | None, policy: Policy, now: datetime) -> Closure | None:
    """What this answer closes. `shape`: what was ordered, by this call or as the task that it asks for; None: nothing.

    Of a task that failed, only words that call the request wrong say something of others.
    """
    match finding:
        case NothingMade(refusal=refusal, detail=detail, retry_after_s=after):
            return _closure(refusal, detail, after, shape, policy, now)
        case Trouble(refusal=refusal, detail=detail, retry_after_s=after):
            return _closure(refusal, detail, after, None, policy, now)
        case Failed(refusal=Refusal.REQUEST, detail=detail):
            return _closure(Refusal.REQUEST, detail, None, shape, policy, now)
        case _:
            return None


def lengthened(closure: Closure, before: Closure | None, *, ordered: bool) -> Closure:
    """What is to hold after the last one of its name: that one, while it ends later. `ordered`: an order met it.

    What orders meet again soon after the last one ended is left alone twice as long: each try costs budget. Of a key,
    whose free calls tell when it is taken, it is known by that that they do not.
    """
    if closure.until is None or before is None or before.until is None:
        return closure
    if before.active(closure.at) and before.until > closure.until:
        return before
    last, since = max(before.until - before.at, closure.until - closure.at), closure.at - before.until
    if since > 2 * last or before.at == before.until:
        return closure
    if not ordered:  # the length that orders met is not forgotten
        return replace(closure, at=closure.until - last)
    longer = min(last if since < timedelta(0) else 2 * last, LONGEST_PAUSE)
    return replace(closure, until=max(closure.until, closure.at + longer))


def key_taken(closure: Closure, now: datetime) -> Closure:
    """What is left of it once a free call shows that Kie takes the key.

    That opens the gate, unless orders were refused again after an earlier free call had opened it.
    """
    if closure.name is not GateName.KEY or not closure.active(now):
        return closure
    is_doubted = closure.until is not None and closure.until - closure.at > KEY_RETRY
    return closure if is_doubted else replace(closure, until=now)


def order_taken(closure: Closure, order: Purchase) -> Closure | None:
    """What is left of it once Kie accepted this order; None: nothing. What ran out before is not met again and again:
    it is as short as if it had never been, and stays for those who are wary of it."""
    if closure.shape == order.shape:
        return closure if closure.at > order.at else None
    if closure.shape is not None or closure.until is None or closure.until > order.at:
        return closure
    return replace(closure, at=closure.until)


def _closure(
    refusal: Refusal, detail: str, after_s: float | None, shape: str | None, policy: Policy, now: datetime
) -> Closure | None:
    match refusal:
        case Refusal.RATE:
            pause = max(policy.purchase_window, timedelta(seconds=min(after_s or 0.0, 3600.0)))
            return Closure(GateName.RATE_LIMIT, now, now + pause, f"Kie: {detail}")
        case Refusal.CREDITS:
            return Closure(GateName.CREDITS, now, now + CREDITS_RETRY, f"Kie: {detail}")
        case Refusal.KEY_CAP:
            return Closure(GateName.CREDITS, now, now + CAP_RETRY, f"Kie, the key's own cap: {detail}")
        case Refusal.KEY:
            return Closure(GateName.KEY, now, now + KEY_RETRY, f"Kie refuses the key (kie.api_key): {detail}")
        case Refusal.REQUEST if shape is not None:
            return Closure(GateName.REQUEST_REJECTED, now, None, f"Kie calls the request wrong: {detail}", shape)
        case _:
            return None
