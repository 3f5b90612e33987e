"""Advice is total: there is a sentence for wherever a track can stand, and for every closed gate."""

from itertools import product

import pytest

from reconciler.domain.advice import advice, gate_advice
from reconciler.domain.gate import GateName
from reconciler.domain.states import Reason, State


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_says_something_of_its_own(reason: Reason) -> None:
    said = advice(State.MISSING, reason)
    assert said.endswith(".")
    assert [other for other in Reason if advice(State.MISSING, other) == said] == [reason]


@pytest.mark.parametrize(("state", "reason"), list(product((None, *State), (None, *Reason))))
def test_wherever_a_track_stands_there_is_a_sentence(state: State | None, reason: Reason | None) -> None:
    said = advice(state, reason)
    assert said or (state is not None and state.stuck and reason is None)
    assert "  " not in said


@pytest.mark.parametrize("name", GateName)
def test_every_closed_gate_has_one(name: GateName) -> None:
    assert gate_advice(name).endswith(".")
