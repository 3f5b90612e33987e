"""Values that the page is made of."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from reconciler.domain.attempts import Replaced
from reconciler.domain.gate import GateView
from reconciler.domain.policy import Policy
from reconciler.domain.states import Reason, State
from reconciler.page.rendering import render
from reconciler.page.values import Example, Health, Recovery, Seen, Shown, Told
from reconciler.ports import Overview

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
POLICY = Policy()
Tracks = Mapping[tuple[State, Reason | None], int]
GOOD: Tracks = {(State.OK, None): 1000}
STUCK: Tracks = {**GOOD, (State.AWAITING, Reason.IN_FLIGHT): 9, (State.FAILED, Reason.NO_PROMPT): 2}
NOTHING = Replaced()
URL = "https://ref.supabase.co/a.jpg"
HOSTILE = "</style><script>hack()</script><img src=x onerror=hack()>\"'&{{ 7*7 }}"


def overview(tracks: Tracks = GOOD, **gate: Any) -> Overview:
    return Overview(NOW, tracks, NOW - timedelta(hours=3), None, GateView(NOW, **gate), None, ())


def seen(tracks: Tracks = GOOD, **changes: Any) -> Seen:
    return replace(Seen(overview(tracks), NOW), **changes)


def example(
    track_id: str = "t1", state: State = State.FAILED, reason: Reason = Reason.NO_PROMPT, **told: Any
) -> Example:
    return replace(
        Example(track_id, "Overture", state, reason, NOW - timedelta(hours=3), "at the next run", "nothing"), **told
    )


def recovery(track_id: str = "t1", replaced: Replaced | None = NOTHING, key: str | None = "k.jpg") -> Recovery:
    return Recovery(track_id, "Overture", NOW - timedelta(minutes=5), "generated", key, replaced)


def html(
    value: Seen | None, shown: Shown | None = None, here: datetime = NOW, policy: Policy = POLICY, **health: Any
) -> str:
    return render(Told(value, Health(**health), shown or {}), policy, here).decode()
