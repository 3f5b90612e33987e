"""The gate once a step was saved, reckoned: what it may do, and where the gate is to be asked."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.domain.gate import GateView, Proof, Usage
from reconciler.domain.gate_after import gate_after
from reconciler.domain.model import Memory, Outcome, Purchase, Task, TaskState, Verdict
from tests.domain.builders import DAY, HOUR, NOW, POLICY, RESULT, SECOND, SHAPE, TASK, memory, purchase

OPEN = purchase(at=NOW - 5 * SECOND, outcome=Outcome.OPEN, answered_at=None, task_id=None)
ANSWERED = replace(OPEN, outcome=Outcome.ACCEPTED, answered_at=NOW, task_id=TASK)
PLACE = OPEN.deadline + POLICY.purchase_window
BEFORE = GateView(
    NOW,
    window=(NOW + SECOND, PLACE),
    hour=Usage(2, NOW + SECOND),
    day=Usage(1, OPEN.deadline + DAY),
    running=3,
    open=1,
    proofs={SHAPE: Proof(proven=True, out=2)},
)


def known(bought: Purchase = ANSWERED, state: TaskState | None = TaskState.RUNNING) -> Memory:
    tasks = {TASK: Task(TASK, NOW, state=state, urls=(RESULT,))} if state is not None else {}
    return memory(purchases=(bought,), tasks=tasks)


def test_an_answer_frees_its_place_sooner() -> None:
    assert gate_after(BEFORE, known(OPEN, None), known(), POLICY) == replace(
        BEFORE,
        window=(NOW + SECOND, NOW + POLICY.purchase_window),
        day=Usage(1, NOW + DAY),
        open=0,
    )
    alone = replace(BEFORE, hour=Usage(1, OPEN.deadline + HOUR))
    after = gate_after(alone, known(OPEN, None), known(), POLICY)
    assert after is not None
    assert after.hour == Usage(1, NOW + HOUR)


def test_an_answer_that_took_longer_than_it_may_frees_nothing() -> None:
    late = replace(ANSWERED, answered_at=OPEN.deadline + HOUR)
    after = gate_after(BEFORE, known(OPEN, None), known(late), POLICY)
    assert after == replace(BEFORE, open=0)


def test_a_task_that_ended_makes_room_for_another() -> None:
    for ended in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.GONE):
        assert gate_after(BEFORE, known(), known(state=ended), POLICY) == replace(BEFORE, running=2)
    assert gate_after(BEFORE, known(state=None), known(), POLICY) == BEFORE, "one that nobody asked about runs too"


def test_one_more_good_result_of_a_shape_that_is_proven() -> None:
    good = known(replace(ANSWERED, verdict=Verdict.GOOD), TaskState.SUCCEEDED)
    assert gate_after(BEFORE, known(state=TaskState.SUCCEEDED), good, POLICY) == replace(
        BEFORE, proofs={SHAPE: Proof(proven=True, out=1)}
    )
    assert gate_after(BEFORE, known(), good, POLICY) == replace(
        BEFORE, running=2, proofs={SHAPE: Proof(proven=True, out=1)}
    )


def test_nothing_was_bought() -> None:
    assert gate_after(BEFORE, memory(), memory(), POLICY) == BEFORE


@pytest.mark.parametrize(
    ("was", "purchases", "view"),
    [
        (OPEN, (ANSWERED, ANSWERED), {}),
        (OPEN, (), {}),
        (OPEN, (replace(ANSWERED, outcome=Outcome.NOTHING, task_id=None),), {}),
        (OPEN, (replace(ANSWERED, outcome=Outcome.UNKNOWN, task_id=None),), {}),
        (OPEN, (replace(ANSWERED, task_id=None, urls=(RESULT,)),), {}),
        (OPEN, (replace(ANSWERED, urls=(RESULT,)),), {}),
        (replace(OPEN, outcome=Outcome.UNKNOWN), (ANSWERED,), {}),
        (replace(ANSWERED, verdict=Verdict.REJECTED), (replace(ANSWERED, verdict=Verdict.GOOD),), {}),
        (ANSWERED, (replace(ANSWERED, verdict=Verdict.GOOD, shape="another"),), {}),
        (OPEN, (ANSWERED,), {"now": OPEN.deadline + SECOND}),
        (OPEN, (ANSWERED,), {"window": (NOW + SECOND,)}),
        (OPEN, (ANSWERED,), {"hour": Usage(POLICY.per_hour + 1, NOW + HOUR)}),
        (OPEN, (ANSWERED,), {"day": Usage(POLICY.per_day + 1, NOW + HOUR)}),
        (ANSWERED, (replace(ANSWERED, verdict=Verdict.GOOD),), {"proofs": {SHAPE: Proof(out=2)}}),
        (ANSWERED, (replace(ANSWERED, verdict=Verdict.GOOD),), {"proofs": {}}),
        (ANSWERED, (replace(ANSWERED, verdict=Verdict.FAILED),), {}),
        (ANSWERED, (replace(ANSWERED, verdict=Verdict.REJECTED),), {}),
    ],
    ids=[
        "a purchase that was not known",
        "one that is gone",
        "nothing was made",
        "the answer was lost",
        "the answer was a result",
        "a task with a result",
        "an answer after it was lost",
        "a result that was refused and is good after all",
        "a result judged by another target",
        "an answer too late",
        "an order that has no place",
        "more in an hour than the budget allows by now",
        "more in a day",
        "the first good result",
        "a shape that nobody knows",
        "a task that failed",
        "a result that was refused",
    ],
)
def test_where_more_may_follow_the_gate_is_asked(
    was: Purchase, purchases: tuple[Purchase, ...], view: dict[str, Any]
) -> None:
    before, after = known(was), replace(known(), purchases=purchases)
    assert gate_after(replace(BEFORE, **view), before, after, POLICY) is None
