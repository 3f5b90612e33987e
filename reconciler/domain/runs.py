"""How long image tasks ran of late, and from that when one that runs is worth asking about."""

from dataclasses import dataclass, replace
from datetime import timedelta

_KEPT = 80
_USUAL = tuple(timedelta(seconds=12 + 5.8 * (number + 0.5)) for number in range(20))
"""Evenly from 12 to 128 s, as measured in 2026-11."""
_ENDED = 0.25
_ENOUGH = 10
_GROWTH = 0.12


@dataclass(frozen=True, slots=True)
class Runs:
    """The last lengths, newest last; until enough were `learned`, those that were measured beforehand too.

    `called`: Kie calls when a task of ours has ended."""

    lengths: tuple[timedelta, ...] = _USUAL
    learned: int = 0
    called: bool = False

    def with_one(self, length: timedelta) -> "Runs":
        return replace(self, lengths=(*self.lengths, length)[-_KEPT:], learned=self.learned + 1)

    @property
    def longest(self) -> timedelta:
        return max(self.lengths)

    @property
    def is_known(self) -> bool:
        return self.learned >= _ENOUGH

    def pause(self, age: timedelta) -> timedelta | None:
        """Until a quarter of those that ran as long as `age` had ended, at least an eighth of it; None where none did.
        Chosen by simulation: see the test."""
        longer = sorted(length for length in self.lengths if length >= age)
        if not longer:
            return None
        return max(longer[int(_ENDED * len(longer))] - age, age * _GROWTH)
