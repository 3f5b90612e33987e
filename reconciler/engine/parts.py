"""What a sweep works with."""

from dataclasses import dataclass

from reconciler.domain.policy import Policy
from reconciler.engine.crew import Crew
from reconciler.engine.effects import Hands
from reconciler.engine.lately import Lately
from reconciler.ports import Clock, Finder, Gate, Leases, Steady


@dataclass(frozen=True, slots=True)
class Parts:
    finder: Finder
    leases: Leases
    gate: Gate
    hands: Hands
    crew: Crew
    policy: Policy
    clock: Clock
    steady: Steady
    lately: Lately
