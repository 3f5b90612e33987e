"""What keeps the gate closed now, with all that there is to say of it: for people."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from reconciler.domain.advice import gate_advice
from reconciler.domain.breaker import Stage
from reconciler.domain.catalogue import offers
from reconciler.domain.gate import Closure, GateName, GateView, closed, reckoned
from reconciler.domain.policy import Policy


@dataclass(frozen=True, slots=True)
class Shut:
    """`until` None: not before the world changes. `detail`: what closed it, '' where its name says all."""

    name: GateName
    until: datetime | None
    detail: str
    todo: str


def shut(gate: GateView, policy: Policy) -> Sequence[Shut]:
    """By name."""
    found = reckoned(gate, offers(policy), policy)
    noted = {name: Closure(name, gate.now, None, why) for name, why in found.items()}
    noted |= {closure.name: closure for closure in gate.closures if closure.active(gate.now)}
    if gate.breaker.stage is Stage.OPEN:
        noted[GateName.BREAKER] = Closure(
            GateName.BREAKER, gate.now, gate.breaker.retry_at, "Kie failed again and again"
        )
    names = sorted(closed(gate, offers(policy), policy))
    each = ((name, noted.get(name, Closure(name, gate.now))) for name in names)
    return [Shut(name, closure.until, closure.detail, gate_advice(name)) for name, closure in each]
