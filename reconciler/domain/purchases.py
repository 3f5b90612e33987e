"""What a track's purchases amount to: what is out, what counts against its limits, what failed and how."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.domain.catalogue import judged_by
from reconciler.domain.model import Memory, Outcome, Purchase, Task, TaskState, Verdict
from reconciler.domain.policy import Policy
from reconciler.domain.states import Reason

REFUNDED = (Verdict.FAILED, Verdict.CONTENT)


def overdue(task: Task, policy: Policy, now: datetime) -> bool:
    """Known to have run longer than `task_timeout`: one whose record cannot be read just now may have ended."""
    runs = task.state is TaskState.RUNNING and not task.faults and not task.not_found
    return runs and now - task.since() > policy.task_timeout


def judged(memory: Memory, policy: Policy, now: datetime) -> Memory:
    """The memory with every accepted purchase's verdict drawn from its task and its results.

    It is final, but for results that were refused and are good after all.
    """
    for purchase in memory.purchases:
        verdict = _verdict(purchase, memory, policy, now)
        if verdict is not purchase.verdict:
            refusal = _refusal(purchase, verdict, memory)
            shape = judged_by(policy.target, purchase.shape) if verdict in _OF_RESULTS else purchase.shape
            ended = replace(purchase, verdict=verdict, refusal=refusal, shape=shape, ended_at=now)
            memory = memory.with_purchase(ended)
    return memory


_OF_RESULTS = (Verdict.GOOD, Verdict.REJECTED)


def _refusal(purchase: Purchase, verdict: Verdict, memory: Memory) -> Reason | None:
    task = memory.tasks.get(purchase.task_id or "")
    is_wrong = verdict is Verdict.FAILED and task is not None and task.failure is Reason.REQUEST_REJECTED
    return Reason.REQUEST_REJECTED if is_wrong else purchase.refusal


def to_be_judged_anew(memory: Memory, results: Collection[str]) -> Memory:
    """What was refused is pending again where it has one of these results."""
    for purchase in memory.purchases:
        if purchase.verdict is Verdict.REJECTED and not set(results).isdisjoint(results_of(purchase, memory)):
            memory = memory.with_purchase(replace(purchase, verdict=Verdict.PENDING, ended_at=None))
    return memory


def abandoned(memory: Memory, now: datetime) -> Memory:
    """The row is gone: nobody fetches what its tasks made, so no result of them is awaited any more."""
    for purchase in memory.purchases:
        task = memory.tasks.get(purchase.task_id or "")
        is_made = bool(purchase.urls) or (task is not None and task.state is TaskState.SUCCEEDED)
        if purchase.outcome is Outcome.ACCEPTED and purchase.verdict is Verdict.PENDING and is_made:
            memory = memory.with_purchase(replace(purchase, verdict=Verdict.LOST, ended_at=now))
    return memory


def _verdict(purchase: Purchase, memory: Memory, policy: Policy, now: datetime) -> Verdict:
    if purchase.verdict not in (Verdict.PENDING, Verdict.REJECTED) or purchase.outcome is not Outcome.ACCEPTED:
        return purchase.verdict
    task = memory.tasks.get(purchase.task_id or "")
    if purchase.urls or (task is not None and task.state is TaskState.SUCCEEDED):
        return _verdict_of_results(purchase, memory, policy, now)
    if purchase.verdict is Verdict.REJECTED:
        return purchase.verdict
    if task is not None and task.state is TaskState.FAILED:
        return Verdict.CONTENT if task.failure is Reason.CONTENT_REJECTED else Verdict.FAILED
    return Verdict.LOST if task is not None and task.state is TaskState.GONE else Verdict.PENDING


def _verdict_of_results(purchase: Purchase, memory: Memory, policy: Policy, now: datetime) -> Verdict:
    """A success of which nothing can be used was paid for: without a result, or each flawed or not to be had."""
    results = results_of(purchase, memory)
    copies = (kept for kept in memory.kept if not set(kept.origins).isdisjoint(results))
    if any(policy.target.usable(kept.width, kept.height) for kept in copies):
        return Verdict.GOOD
    ailments = (memory.ailing(url) for url in results)
    in_vain = memory.deadly or all(a.dead or a.flaw is not None or a.hopeless(now) for a in ailments)
    return Verdict.REJECTED if in_vain else purchase.verdict


def results_of(purchase: Purchase, memory: Memory) -> tuple[str, ...]:
    task = memory.tasks.get(purchase.task_id or "")
    return tuple(dict.fromkeys((*purchase.urls, *(task.urls if task is not None else ()))))


def unanswered(purchases: Iterable[Purchase], now: datetime) -> Purchase | None:
    """The purchase whose answer may still come."""
    return next((p for p in purchases if p.outcome is Outcome.OPEN and not p.lost(now)), None)


def lost_attempt(purchases: Iterable[Purchase], now: datetime) -> tuple[Purchase, ...]:
    """The latest attempt of which every sent order stayed unanswered: the purchase, and its repeat if any."""
    attempts: dict[str, list[Purchase]] = {}
    for p in purchases:
        if p.outcome is not Outcome.NOTHING:
            attempts.setdefault(p.attempt, []).append(p)
    unresolved = (group for group in attempts.values() if all(p.verdict is Verdict.PENDING for p in group))
    lost = [tuple(group) for group in unresolved if all(p.lost(now) for p in group)]
    return lost[-1] if lost else ()


def repeated(purchases: Iterable[Purchase]) -> bool:
    """The one repeat that a track may have was sent."""
    return any(p.repeat_of is not None and p.outcome is not Outcome.NOTHING for p in purchases)


def spent(purchases: Iterable[Purchase]) -> int:
    """Attempts that count in `per_track`: accepted, open or lost, and not refunded."""
    return len({p.attempt for p in purchases if p.outcome is not Outcome.NOTHING and p.verdict not in REFUNDED})


def attempts(purchases: Iterable[Purchase]) -> int:
    """Attempts that count in `attempts_per_track`: accepted, open or lost."""
    return len({p.attempt for p in purchases if p.outcome is not Outcome.NOTHING})


_FAILURES = {
    Verdict.FAILED: Reason.PROVIDER_FAILED,
    Verdict.LOST: Reason.PROVIDER_FAILED,
    Verdict.CONTENT: Reason.CONTENT_REJECTED,
    Verdict.REJECTED: Reason.IMAGE_REJECTED,
}


def failure(purchase: Purchase) -> Reason | None:
    """How the purchase failed, or None: it is out, good, or its refusal was no fault of this track."""
    if purchase.outcome is Outcome.NOTHING:
        return purchase.refusal
    return _FAILURES.get(purchase.verdict) if purchase.refusal is None else None


def recent_failures(purchases: Iterable[Purchase], lull: timedelta) -> tuple[Purchase, ...]:
    """The failures since the last success or lull, content refusals aside (another prompt needs no pause)."""
    trailing: list[Purchase] = []
    for p in purchases:
        why = failure(p)
        if trailing and p.at - ended(trailing[-1]) > lull:
            trailing.clear()
        if why is None and p.outcome is not Outcome.NOTHING and p.refusal is None:
            trailing.clear()
        elif why not in (None, Reason.CONTENT_REJECTED):
            trailing.append(p)
    return tuple(trailing)


def ended(purchase: Purchase) -> datetime:
    return purchase.ended_at or purchase.at


def refused_prompts(purchases: Iterable[Purchase]) -> frozenset[tuple[str, str]]:
    """(model, prompt) pairs whose content was refused."""
    return frozenset((p.model, p.prompt) for p in purchases if failure(p) is Reason.CONTENT_REJECTED)


def why_spent(purchases: Iterable[Purchase]) -> Reason:
    """The one way in which all attempts failed, or `attempts_spent`."""
    reasons = {failure(p) for p in purchases if p.outcome is not Outcome.NOTHING}
    only = reasons.pop() if len(reasons) == 1 else None
    return only or Reason.ATTEMPTS_SPENT
