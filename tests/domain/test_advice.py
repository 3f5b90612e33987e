"""Advice is total: there is a sentence for wherever a track can stand, and for every closed gate."""

from itertools import product

import pytest

from reconciler.domain.advice import advice, gate_advice, to_do
from reconciler.domain.gate import GateName
from reconciler.domain.states import Reason, State


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_says_something_of_its_own(reason: Reason) -> None:
    said = advice(State.MISSING, reason)
    assert is_prose(said)
    assert [other for other in Reason if advice(State.MISSING, other) == said] == [reason]


@pytest.mark.parametrize(("state", "reason"), list(product((None, *State), (None, *Reason))))
def test_wherever_a_track_stands_there_is_a_sentence(state: State | None, reason: Reason | None) -> None:
    said = advice(state, reason)
    assert is_prose(said) or (not said and state is not None and state.stuck and reason is None)


def test_what_goes_on_by_itself_is_said_first_then_what_an_operator_can_do() -> None:
    state, reason = advice(State.FAILED, None), to_do(Reason.NO_PROMPT)
    assert advice(State.FAILED, Reason.NO_PROMPT) == f"{state} {reason}"
    assert len({advice(one, None) for one in (None, State.OK, State.EXPIRING, State.FAILED)}) == 4


@pytest.mark.parametrize("reason", [Reason.IN_FLIGHT, Reason.OVERDUE])
def test_a_task_cannot_be_asked_for_while_kie_refuses_the_key(reason: Reason) -> None:
    assert advice(State.AWAITING, reason, refuses_key=True) == to_do(Reason.UNAUTHORIZED)
    assert advice(State.AWAITING, reason) == to_do(reason)
    assert advice(State.FETCHING, reason, refuses_key=True) == to_do(reason), "a host of pictures is asked"


def test_without_a_store_no_picture_is_said_to_be_kept() -> None:
    said = advice(State.EXPIRING, None, keeps=False)
    assert said.endswith("bought as far as budgets allow; set storage.kind to keep pictures.")
    assert advice(State.EXPIRING, None) != said
    assert advice(State.MISSING, Reason.DUE, keeps=False) == advice(State.MISSING, Reason.DUE)


@pytest.mark.parametrize("name", GateName)
def test_every_closed_gate_has_one(name: GateName) -> None:
    assert is_prose(gate_advice(name))


def is_prose(text: str) -> bool:
    sentences = text.split(". ")
    return text.endswith(".") and "  " not in text and all(s[0].isupper() and s != s.upper() for s in sentences)
