"""What the status page shows of the database, looked for after the counts: bounded, however much is stuck."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from reconciler.database import BoughtLast, Reader, WroteLast
from reconciler.domain.actions import GiveUp, Wait
from reconciler.domain.attempts import written
from reconciler.domain.gate import HELD_FOR
from reconciler.domain.learn import noticed
from reconciler.domain.model import Memory, Outcome, Verdict
from reconciler.domain.policy import Policy
from reconciler.domain.states import Reason, State
from reconciler.domain.unswept import is_unswept
from reconciler.engine.preview import Forecast, describe, forecast
from reconciler.page.values import Example, Fate, Recovery, Seen
from reconciler.ports import Held, Overview

PER_REASON, IN_ALL, RECOVERIES = 8, 60, 12
_AT_THE_GATE = (Reason.DUE, *HELD_FOR)
"""A track that would buy is remembered with one of these and may stand with another by now."""
_FATES = {
    Verdict.GOOD: Fate.GOOD,
    Verdict.FAILED: Fate.FAILED,
    Verdict.CONTENT: Fate.FAILED,
    Verdict.REJECTED: Fate.FAILED,
    Verdict.LOST: Fate.OPEN,
    Verdict.PENDING: Fate.OPEN,
}


def look(reader: Reader, overview: Overview, policy: Policy, here: datetime) -> Seen:
    """`here`: the time by this machine's clock when `overview` was taken. Raises DatabaseError."""
    return Seen(
        overview,
        here,
        reader.remembers,
        tuple(_examples(reader, overview, policy)),
        tuple(_recoveries(reader)),
        tuple((order.at, _fate(order)) for order in reader.showing.bought()),
    )


# -- stuck tracks --------------------------------------------------------------------------------------------------


def _examples(reader: Reader, overview: Overview, policy: Policy) -> Iterator[Example]:
    """By where each stands now: since it was remembered, the gate may have moved."""
    found = [ids for ids in reader.showing.stuck(_places(overview)) if ids]
    each = min(PER_REASON, max(IN_ALL // len(found), 1)) if found else 0
    for ids in found[:IN_ALL]:
        for held in reader.peek_all(ids[:each]).values():
            if isinstance(held, Held) and held.track is not None:
                case = noticed(held.track, held.memory, policy, held.now)
                unswept = is_unswept(held.track, held.memory, policy, held.now, held.left)
                yield from _example(forecast(case, overview.gate, unswept=unswept))


def _places(overview: Overview) -> list[tuple[State, Reason]]:
    stuck = [(state, reason) for (state, reason), n in overview.tracks.items() if n and state.stuck and reason]
    moved = [(state, other) for state, reason in stuck if reason in _AT_THE_GATE for other in _AT_THE_GATE]
    return list(dict.fromkeys((*stuck, *moved)))


def _example(ahead: Forecast) -> Iterator[Example]:
    case, where = ahead.case, ahead.standing
    if where.state is not None and where.state.stuck and where.reason is not None:
        since = case.memory.needy_since
        yield Example(case.track.id, case.track.title, where.state, where.reason, since, ahead.when, _what(ahead))


def _what(ahead: Forecast) -> str:
    """Without the time, which is told beside it."""
    match ahead.action:
        case GiveUp():
            return "nothing more"
        case Wait():
            return "it is looked at again" if ahead.standing.due_at is not None else "it waits"
        case action:
            return describe(action)


# -- recoveries ----------------------------------------------------------------------------------------------------


def _recoveries(reader: Reader) -> Iterator[Recovery]:
    last: dict[str, WroteLast] = {}
    for wrote in reader.showing.wrote():
        last.setdefault(wrote.track_id, wrote)
    shown = list(last.values())[:RECOVERIES]
    now = reader.peek_all([wrote.track_id for wrote in shown])
    for wrote in shown:
        held = now[wrote.track_id]
        if isinstance(held, Held) and held.track is not None:
            how, replaced = written(wrote.detail)
            yield Recovery(wrote.track_id, held.track.title, wrote.at, how, _key(held.memory), replaced)


def _key(memory: Memory) -> str | None:
    """Of the picture that was written last, as far as it is known to the store, or where it lies."""
    last = memory.written
    return last.key or last.url if last is not None else None


def _fate(order: BoughtLast) -> Fate:
    return Fate.FAILED if order.outcome is Outcome.NOTHING else _FATES[order.verdict]


def wanted(recoveries: Iterable[Recovery]) -> Iterator[str]:
    """Keys and URLs of the pictures to be shown, newest first."""
    for recovery in recoveries:
        yield from filter(None, (recovery.key, recovery.replaced.askable if recovery.replaced is not None else None))
