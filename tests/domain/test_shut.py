"""What keeps the gate closed, as people are told of it."""

from reconciler.domain.breaker import Breaker, Stage
from reconciler.domain.catalogue import offers
from reconciler.domain.gate import Closure, GateName, GateView, Proof
from reconciler.domain.shut import Shut, shut
from tests.domain.builders import HOUR, NOW, POLICY


def told(**gate: object) -> list[Shut]:
    return list(shut(GateView(NOW, **gate), POLICY))  # type: ignore[arg-type]


def test_an_open_gate_is_told_nothing_of() -> None:
    assert told() == []


def test_each_closure_is_told_with_what_there_is_to_do() -> None:
    key, paused = told(closures=(Closure(GateName.KEY, NOW, NOW + HOUR, "code 401"),), paused=True)
    assert (key.name, key.until, key.detail) == (GateName.KEY, NOW + HOUR, "code 401")
    assert key.todo.startswith("Kie refuses the key")
    assert (paused.name, paused.until, paused.detail) == (GateName.PAUSED, None, "")


def test_what_is_closed_by_no_answer_of_kie_is_told_with_why() -> None:
    (poor,) = told(balance=20.0, balance_at=NOW)
    assert (poor.name, poor.until, poor.detail) == (GateName.CREDITS, None, "20 credits left, budget.min_credits = 50")
    proofs = {shape: Proof(refused=3) for shape, _ in offers(POLICY)}
    (unproven,) = told(proofs=proofs)
    first = next(iter(proofs))
    assert unproven.detail == f"3 tasks of {first} succeeded without a usable picture and none with one"
    refused = Closure(GateName.CREDITS, NOW, NOW + HOUR, "code 402")
    assert [each.detail for each in told(closures=(refused,), balance=20.0, balance_at=NOW)] == ["code 402"]


def test_the_breaker_is_told_with_when_it_is_tried_again() -> None:
    (broken,) = told(breaker=Breaker(Stage.OPEN, retry_at=NOW + HOUR))
    assert (broken.name, broken.until, broken.detail) == (GateName.BREAKER, NOW + HOUR, "Kie failed again and again")
    (probing,) = told(breaker=Breaker(Stage.PROBING, retry_at=NOW + HOUR))
    assert (probing.until, probing.detail) == (None, "")
