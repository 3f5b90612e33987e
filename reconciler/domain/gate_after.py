"""What the gate knows once the outcome of a step was saved, as far as it need not be asked for that."""

from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.domain.gate import GateView, Proof, Usage
from reconciler.domain.model import Memory, Outcome, Purchase, TaskState, Verdict
from reconciler.domain.policy import Policy


def gate_after(view: GateView, before: Memory, after: Memory, policy: Policy) -> GateView | None:
    """The view once a track is remembered as `after`; None where the gate is to be looked at again."""
    if len(before.purchases) != len(after.purchases):
        return None
    for was, purchase in zip(before.purchases, after.purchases, strict=True):
        view = replace(view, running=view.running - _runs(was, before) + _runs(purchase, after))
        if was.outcome is not purchase.outcome:
            place = was.deadline + policy.purchase_window
            if not _is_plain(was, purchase, view) or place not in view.window or view.overspent(policy):
                return None
            view = _answered(view, purchase, place, policy)
        if was.verdict is not purchase.verdict:
            proof = view.proofs.get(purchase.shape, Proof())
            was_out = was.verdict is Verdict.PENDING and was.shape == purchase.shape
            if not was_out or purchase.verdict is not Verdict.GOOD or not proof.proven:
                return None
            view = replace(view, proofs={**view.proofs, purchase.shape: replace(proof, out=proof.out - 1)})
    return view


def _runs(purchase: Purchase, memory: Memory) -> bool:
    if purchase.outcome is not Outcome.ACCEPTED or purchase.task_id is None:
        return purchase.outcome is Outcome.OPEN
    task = memory.tasks.get(purchase.task_id)
    return purchase.verdict is Verdict.PENDING and (task is None or task.state is TaskState.RUNNING)


def _is_plain(was: Purchase, purchase: Purchase, view: GateView) -> bool:
    """An order's answer in time: a task that runs."""
    is_task = purchase.outcome is Outcome.ACCEPTED and purchase.task_id is not None and not purchase.urls
    return is_task and was.outcome is Outcome.OPEN and not was.lost(view.now)


def _answered(view: GateView, purchase: Purchase, place: datetime, policy: Policy) -> GateView:
    """Its place in each period is free sooner."""
    places = list(view.window)
    places.remove(place)
    places.append(purchase.over_at + policy.purchase_window)
    return replace(
        view,
        window=tuple(sorted(places)),
        hour=_sooner(view.hour, purchase.over_at + timedelta(hours=1)),
        day=_sooner(view.day, purchase.over_at + timedelta(days=1)),
        open=view.open - 1,
    )


def _sooner(usage: Usage, until: datetime) -> Usage:
    return replace(usage, frees_at=min(usage.frees_at or until, until))
