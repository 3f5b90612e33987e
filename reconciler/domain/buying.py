"""The last rung: order one picture, or say why none is ordered."""

from datetime import timedelta

from reconciler.domain import purchases
from reconciler.domain.actions import Action, Buy, GiveUp, Measure, Wait
from reconciler.domain.backoff import GIVE_UP_AFTER
from reconciler.domain.case import Case
from reconciler.domain.catalogue import MODELS, Model
from reconciler.domain.look import shown
from reconciler.domain.model import Outcome, Purchase
from reconciler.domain.prompts import original, rungs
from reconciler.domain.states import Reason, State

REPLACEMENTS = 1
"""An overdue task may be replaced once."""


def buy(case: Case) -> Action:
    return (
        _answer_outstanding(case)
        or _answer_lost(case)
        or _settle_first(case)
        or _spent_up(case)
        or _after_failures(case)
        or _replacement(case)
        or _unless_suspended(case, _next_rung(case))
    )


def last_resort(case: Case) -> Buy | GiveUp:
    """What `buy` comes to, as things stand, once there is nothing to wait for."""
    action = buy(case)
    if isinstance(action, Buy | GiveUp):
        return action
    lost = purchases.lost_attempt(case.memory.purchases, case.now)
    return _repetition(case, lost[0]) if lost else _spent_up(case) or _next_rung(case)


def _answer_outstanding(case: Case) -> Action | None:
    purchase = purchases.unanswered(case.memory.purchases, case.now)
    if purchase is None:
        return None
    return Wait(purchase.deadline + timedelta(seconds=1), State.SUBMITTING, Reason.IN_FLIGHT)


def _answer_lost(case: Case) -> Action | None:
    """Hold a purchase whose answer was lost, then repeat it; after a track's second lost answer, stop."""
    lost = purchases.lost_attempt(case.memory.purchases, case.now)
    if not lost:
        return None
    first = lost[0]
    if purchases.repeated(case.memory.purchases):
        return GiveUp(Reason.UNKNOWN_PURCHASE)
    if first.held_until(case.policy.hold_unknown) > case.now:
        return Wait(first.held_until(case.policy.hold_unknown), State.UNKNOWN, Reason.UNKNOWN_PURCHASE)
    return _settle_first(case) or _after_failures(case) or _unless_suspended(case, _repetition(case, first))


def _repetition(case: Case, first: Purchase) -> Buy | GiveUp:
    """In the same words, unless they were for another song, for a model that is not configured any more, or refused."""
    configured = first.model in (case.policy.model, *case.policy.fallback_models)
    if not configured or not case.for_this_song(case.song_of(first)) or (first.model, first.prompt) in _refused(case):
        return _next_rung(case, first.token)
    return _purchase(case, MODELS[first.model], first.prompt, first.token)


def _settle_first(case: Case) -> Action | None:
    return Wait(case.settles_at) if case.settles_at is not None else None


def _spent_up(case: Case) -> GiveUp | None:
    mine, granted = case.memory.purchases, case.memory.granted
    spent_up = purchases.spent(mine) >= case.policy.per_track + granted
    if spent_up or purchases.attempts(mine) >= case.policy.attempts_per_track + granted:
        return GiveUp(purchases.why_spent(mine))
    return None


def _after_failures(case: Case) -> Action | None:
    mine = case.memory.purchases
    failed = purchases.recent_failures((p for p in mine if not _forgiven(case, p)), case.policy.lull)
    if not failed:
        return None
    reason = purchases.failure(failed[-1]) or Reason.PROVIDER_FAILED
    nothing_made = all(p.outcome is Outcome.NOTHING and p.refusal is not Reason.STORAGE_FAILED for p in failed)
    last = purchases.ended(failed[-1])
    if nothing_made and last - failed[0].at >= GIVE_UP_AFTER:
        return GiveUp(reason)
    until = last + case.pause(len(failed))
    return Wait(until, State.BACKING_OFF, reason) if until > case.now else None


def _replacement(case: Case) -> Action | None:
    late = [task for task in case.tasks if purchases.overdue(task, case.policy, case.now)]
    if len(late) <= REPLACEMENTS or not any(task in case.bought for task in late):
        return None
    return Wait(min(t.next_poll for t in late if t.next_poll is not None), State.AWAITING, Reason.OVERDUE)


def _next_rung(case: Case, repeat_of: str | None = None) -> Buy | GiveUp:
    refused = _refused(case)
    choice = next((rung for rung in rungs(case.track, case.policy) if rung not in refused), None)
    if choice is None:
        return GiveUp(Reason.CONTENT_REJECTED if original(case.track) else Reason.NO_PROMPT)
    return _purchase(case, MODELS[choice[0]], choice[1], repeat_of)


def _refused(case: Case) -> frozenset[tuple[str, str]]:
    return purchases.refused_prompts(p for p in case.memory.purchases if not _forgiven(case, p))


def _forgiven(case: Case, purchase: Purchase) -> bool:
    """An operator had the track tried again since."""
    return case.memory.reopened_at is not None and purchase.at <= case.memory.reopened_at


def _unless_suspended(case: Case, order: Buy | GiveUp) -> Action:
    """By its host, or since the store, which is asked right before, could not tell what it holds."""
    if isinstance(order, GiveUp):
        return order
    return look_for_lost(case) or case.later(case.memory.ailing("store")) or order


def look_for_lost(case: Case) -> Wait | Measure | None:
    """So many pictures of one host died at once that a mistake is likelier than their death: they are looked for again
    now and then."""
    if not case.memory.host_suspect:
        return None
    source = shown(case.track, case.memory, case.policy)
    if source is None or not (ailment := case.memory.ailing(source.name)).dead:
        return Wait(None, None, Reason.HOST_SUSPECT)
    is_due = ailment.retry_at is None or ailment.retry_at <= case.now
    return Measure(source) if is_due else Wait(ailment.retry_at, None, Reason.HOST_SUSPECT)


def _purchase(case: Case, model: Model, prompt: str, repeat_of: str | None) -> Buy:
    return Buy(model.name, prompt, model.shape(case.policy.target), model.price, case.track.task_id, repeat_of)
