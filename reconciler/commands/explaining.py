"""The `explain` command: all that is known of one track, and what comes next. Read-only, without the network."""

from typing import Any

from reconciler.app.dry import supposed
from reconciler.app.inside import known_track, looked_into
from reconciler.config import Settings, policy_of
from reconciler.database import Reader, Told
from reconciler.domain import urls
from reconciler.domain.actions import Action, Buy, GiveUp
from reconciler.domain.advice import advice
from reconciler.domain.buying import last_resort
from reconciler.domain.case import Case
from reconciler.domain.gate import GateName, GateView, refusal
from reconciler.domain.learn import noticed
from reconciler.domain.look import Absent, Dying, Good, Huge, Larger, Look, Small, Unmeasured, shown
from reconciler.domain.model import Ailment, Kept, Memory, Outcome, Purchase, Song, Task, Track, Verdict
from reconciler.domain.states import Reason, State
from reconciler.domain.texts import moment
from reconciler.domain.unswept import is_unswept
from reconciler.engine.preview import Forecast, describe, forecast
from reconciler.ports import Held

HISTORY = 40
"""Lines of the history that are told."""

LOOKS: dict[type[Look], str] = {
    Absent: "no usable picture",
    Unmeasured: "never measured, or not since it changed",
    Small: "not good enough, and no fitting helps",
    Huge: "more than is taken, at a place that lasts: left as it is",
    Larger: "of the right shape and larger than the target: fitting makes it good",
    Dying: "good, but at a place that does not last",
    Good: "good and durable",
}


def explain(settings: Settings, track_id: str) -> dict[str, Any]:
    """Values that JSON takes. Raises NoSuchTrack, MemoryUnread, DatabaseError."""
    with looked_into(settings) as reader:
        held = known_track(settings, reader.app, reader.peek, track_id)
        return _known(settings, reader, held, held.track)


def _known(settings: Settings, reader: Reader, held: Held, track: Track | None) -> dict[str, Any]:
    history = {"history": [_told(told) for told in reader.history(held.lease.track_id, HISTORY)]}
    head = {"track": held.lease.track_id, "memory": None if reader.remembers else "empty: our tables are not there yet"}
    if track is None:
        return head | {"row": "gone; nothing is written or bought for it any more"} | _remembered(held.memory) | history
    policy = policy_of(settings)
    case = noticed(track, held.memory, policy, held.now)
    gate = reader.view() if reader.remembers else supposed(reader.view())
    unswept = is_unswept(track, held.memory, policy, held.now, held.left)
    return {
        **head,
        "title": track.title,
        **_next(forecast(case, gate, unswept=unswept), gate),
        "row": _row(case),
        **_remembered(case.memory),
        **history,
    }


# -- what comes next -----------------------------------------------------------------------------------------------


def _next(ahead: Forecast, gate: GateView) -> dict[str, Any]:
    case, action, where = ahead.case, ahead.action, ahead.standing
    return {
        "state": where.state or "out of scope",
        "reason": where.reason,
        "next": {
            "what": describe(action),
            "when": ahead.when if isinstance(ahead.when, str) else moment(ahead.when),
            "grace_ends": moment(where.settles_at),
            **(_order(case, action, gate) if isinstance(action, Buy) else {"credits": 0}),
        },
        "if_nothing_free_is_found": _last_resort(case) if _may_come_to_it(where.state, action) else None,
        "would_change": advice(
            where.state,
            Reason.UNAUTHORIZED if where.held == GateName.KEY else where.reason,
            refuses_key=gate.refuses_key(),
            keeps=case.policy.keeps,
        ),
    }


def _order(case: Case, order: Buy, gate: GateView) -> dict[str, Any]:
    refused = refusal(gate, order.shape, order.price, case.policy, repeat=order.repeat_of is not None)
    return {
        "credits": order.price,
        "prompt": order.prompt,
        "repeats_lost_order": order.repeat_of is not None,
        "held_back_by": refused.detail if refused is not None else None,
        "held_back_until": moment(refused.until) if refused is not None else None,
    }


def _may_come_to_it(state: State | None, action: Action) -> bool:
    return state is not None and state.stuck and state is not State.INVALID and not isinstance(action, GiveUp)


def _last_resort(case: Case) -> str:
    if case.policy.budget_of_none is not None:
        return f"nothing: {case.policy.budget_of_none} buys none"
    match last_resort(case):
        case GiveUp(reason=reason):
            return f"nothing, as things stand: {reason}"
        case Buy(model=model, price=price):
            return f"a picture is bought from {model} for {price:g} credits, as far as budgets allow"


# -- what was seen -------------------------------------------------------------------------------------------------


def _row(case: Case) -> dict[str, Any]:
    track = case.track
    return {
        "status": track.status,
        "flaw": track.flaw,
        "in_scope": case.in_scope,
        "image_url": urls.redact(track.image.text) if track.image.text else None,
        "picture": _picture(case),
        "resolution": track.resolution,
        "music_task": track.task_id,
        "audio": bool(track.audio_url),
        "created_at": moment(track.created_at),
        "updated_at": moment(track.updated_at),
    }


def _picture(case: Case) -> dict[str, Any]:
    sighting, look = case.memory.sighting, case.look
    place = shown(case.track, case.memory, case.policy)
    current = sighting if sighting is not None and sighting.identity == case.track.image.identity else None
    return {
        "kind": urls.kind_of(case.track.image.text, case.policy),
        "judged": LOOKS[type(look)],
        "size": f"{current.width}x{current.height}" if current else None,
        "measured_at": moment(current.at) if current else None,
        "flaw": case.memory.ailing(place.name).flaw if place else None,
        "expires_at": moment(look.expires_at) if isinstance(look, Dying) else None,
        "measured_again_at": moment(look.measure_at) if isinstance(look, Good) else None,
        "target": case.policy.target.resolution,
    }


# -- what is remembered --------------------------------------------------------------------------------------------


def _remembered(memory: Memory) -> dict[str, Any]:
    written = memory.written
    return {
        "first_seen": moment(memory.first_seen),
        "needy_since": moment(memory.needy_since),
        "ignored": memory.ignored,
        "interruptions": memory.interruptions,
        "conflicts": memory.conflicts,
        "restored_at": [moment(at) for at in memory.restores],
        "written": {"url": urls.redact(written.url), "at": moment(written.at)} if written else None,
        "kept": [_kept(kept) for kept in memory.kept],
        "tasks": [_task(task) for task in memory.tasks.values()],
        "handed_over": list(memory.handed),
        "song": _song(memory.song) if memory.song else None,
        "purchases": [_purchase(purchase, memory) for purchase in memory.purchases],
        "troubles": [_ailment(source, ailment) for source, ailment in memory.ailments.items()],
    }


def _kept(kept: Kept) -> dict[str, Any]:
    return {
        "key": kept.key,
        "size": f"{kept.width}x{kept.height}",
        "how": kept.how,
        "from": urls.redact(kept.origin),
        "at": moment(kept.at),
        "compared_at": moment(kept.checked_at),
        "interim": kept.interim,
        "was_written": kept.was_written,
    }


def _task(task: Task) -> dict[str, Any]:
    running = task.completed_at is None and task.failure is None
    return {
        "task": task.id,
        "state": task.state,
        "failure": task.failure,
        "detail": task.detail,
        "started_at": moment(task.created_at),
        "completed_at": moment(task.completed_at),
        "asked": task.polls,
        "asked_again_at": moment(task.next_poll) if running else None,
        "results": [urls.redact(url) for url in task.urls],
    }


def _song(song: Song) -> dict[str, Any]:
    return {
        "music_task": song.id,
        "final": song.final,
        "asked": song.asked,
        "asked_again_at": None if song.final else moment(song.next_ask),
        "covers": [urls.redact(url) for url in song.urls],
    }


def _purchase(purchase: Purchase, memory: Memory) -> dict[str, Any]:
    """Not its token, by which a callback is known to be Kie's."""
    accepted = purchase.outcome is Outcome.ACCEPTED
    return {
        "at": moment(purchase.at),
        "model": purchase.model,
        "credits": purchase.price,
        "prompt": purchase.prompt,
        "outcome": purchase.outcome,
        "refusal": purchase.refusal,
        "detail": purchase.detail,
        "sent": purchase.sent,
        "task": purchase.task_id,
        "called_back": any(callback.token == purchase.token for callback in memory.callbacks),
        "verdict": purchase.verdict if accepted or purchase.verdict is not Verdict.PENDING else None,
        "answered_at": moment(purchase.answered_at),
        "ended_at": moment(purchase.ended_at),
        "repeats_lost_order": purchase.repeat_of is not None,
    }


def _ailment(source: str, ailment: Ailment) -> dict[str, Any]:
    return {
        "source": urls.redact(source),
        "dead": ailment.dead,
        "flaw": ailment.flaw,
        "reason": ailment.reason,
        "detail": ailment.detail,
        "refusals": ailment.refusals,
        "faults": ailment.faults,
        "first_at": moment(min(filter(None, (ailment.first_refused, ailment.first_fault)), default=None)),
        "tried_again_at": moment(ailment.retry_at),
    }


def _told(told: Told) -> dict[str, Any]:
    """Newest first; what came back the same again and again is told once, with how often."""
    return {
        "at": moment(told.at),
        "step": told.step,
        "about": told.about,
        "came": told.came,
        "detail": told.detail,
        "times": told.times,
        "since": moment(told.first_at) if told.times > 1 else None,
    }
