"""Where all tracks stand, what is spent, and who works: what `status` tells."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from reconciler.console import standings
from reconciler.domain.advice import AT_AUDIT
from reconciler.domain.gate import GateView, Usage
from reconciler.domain.policy import Policy
from reconciler.domain.shut import shut
from reconciler.domain.texts import amount, moment, plain, span
from reconciler.ports import Overview

OUTDATED = (
    "The configuration, or this program, is another than that of the last run: the next one looks at every track "
    "again, and these counts are from before."
)


def document(overview: Overview, policy: Policy, *, remembers: bool, outdated: bool) -> dict[str, Any]:
    """As JSON. The counts are those of the gauges. `outdated`: tracks were looked at by another policy."""
    gate = overview.gate
    return {
        "at": moment(overview.at),
        "memory": "known" if remembers else "empty",
        "outdated": outdated,
        "tracks": sum(overview.tracks.values()),
        "stuck": overview.stuck,
        "states": standings.document(overview.tracks),
        "oldest_stuck": moment(overview.oldest_stuck),
        "earliest_expiry": moment(overview.earliest_expiry),
        "next_due": moment(overview.work_due),
        "for_audit": overview.for_audit,
        "paused": gate.paused,
        "gate_closed": _gates(gate, policy),
        "budget": {
            "hour": _usage(gate.hour, policy.per_hour),
            "day": _usage(gate.day, policy.per_day),
            "running_tasks": gate.running,
            "max_concurrent_tasks": policy.max_concurrent_tasks,
        },
        "credits": {
            "balance": gate.balance,
            "read_at": moment(gate.balance_at),
            "left": gate.credits_left(),
            "min_credits": policy.min_credits,
        },
        "working": [
            {"track": w.track_id, "owner": w.owner, "step": w.step, "until": moment(w.until)} for w in overview.working
        ],
    }


def render(overview: Overview, policy: Policy, *, remembers: bool, outdated: bool) -> Iterator[RenderableType]:
    """For people, 80 columns wide."""
    if not remembers:
        yield Text(standings.NO_MEMORY)
    if outdated:
        yield Text(OUTDATED)
    if overview.tracks:
        yield standings.table(overview.tracks)
    gate, total = overview.gate, sum(overview.tracks.values())
    oldest = f", the oldest since {_ago(overview.oldest_stuck, overview.at)}" if overview.oldest_stuck else ""
    yield Text(f"Tracks in scope: {total}. Stuck: {overview.stuck}{oldest}.")
    if overview.earliest_expiry is not None:
        yield Text(f"The first picture that dies may be gone from {moment(overview.earliest_expiry)} on.")
    yield Text(f"Next due: {_due(overview)}. Tasks running at Kie: {gate.running} of {policy.max_concurrent_tasks}.")
    if overview.for_audit:
        yield Text(f"Seen by no sweep: {overview.for_audit}; their turn comes {AT_AUDIT}.")
    spent = (_spent("hour", gate.hour, policy.per_hour), _spent("day", gate.day, policy.per_day))
    yield Text(f"Ordered: {' and '.join(spent)}.")
    yield Text(_credits(gate, policy, overview.at))
    for closed_gate in _gates(gate, policy):
        yield Text(_shut(closed_gate))
    if overview.working:
        yield _workers(overview)


def _gates(gate: GateView, policy: Policy) -> list[dict[str, Any]]:
    return [
        {"name": each.name, "until": moment(each.until), "detail": plain(each.detail) or None, "todo": each.todo}
        for each in shut(gate, policy)
    ]


def _usage(usage: Usage, limit: int) -> dict[str, Any]:
    left = max(limit - usage.used, 0)
    return {"used": usage.used, "limit": limit, "remaining": left, "frees_at": moment(usage.frees_at)}


def _workers(overview: Overview) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("track", "step", "worked by", "until"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "track")
    for working in overview.working[:20]:
        until = f"{working.until:%H:%M:%S}Z"
        table.add_row(plain(working.track_id, 40), working.step, plain(working.owner, 60), until)
    return table


def _ago(at: datetime, now: datetime) -> str:
    return f"{moment(at)} ({_length(now - at)} ago)"


def _length(time: timedelta) -> str:
    number, unit = span(time)
    return f"{number}{unit[0]}"


def _due(overview: Overview) -> str:
    due = overview.sweep_due
    if due is None:
        return "at the next audit" if overview.for_audit else "nothing before the world changes"
    return "now" if due <= overview.at else str(moment(due))


def _spent(period: str, usage: Usage, limit: int) -> str:
    if limit == 0:
        return f"{usage.used} of 0 in the last {period} (nothing is ever bought)"
    frees = f" (more from {moment(usage.frees_at)})" if usage.frees_at is not None and usage.used >= limit else ""
    return f"{usage.used} of {limit} in the last {period}{frees}"


def _shut(gate: dict[str, Any]) -> str:
    until = f" until {gate['until']}" if gate["until"] else ""
    detail = f"{gate['detail'].rstrip('. ')}. " if gate["detail"] else ""
    return f"Purchases are stopped{until} ({gate['name']}): {detail}{gate['todo']}"


def _credits(gate: GateView, policy: Policy, now: datetime) -> str:
    if gate.balance is None or gate.balance_at is None:
        return "Credits: Kie has not told them yet."
    left = gate.credits_left() or 0.0
    read = f"read {_length(now - gate.balance_at)} ago"
    return f"Credits: {amount(left)} ({read}); nothing is bought below {amount(policy.min_credits)}."
