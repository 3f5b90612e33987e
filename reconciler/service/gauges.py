"""The gauges of a snapshot: where all tracks, the budget and the gate stood at one moment."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Lock

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from reconciler.domain.catalogue import offers
from reconciler.domain.gate import GateName, GateView, closed
from reconciler.domain.policy import Policy
from reconciler.domain.states import Reason, State
from reconciler.engine.events import CreditsRead
from reconciler.ports import Overview
from reconciler.service.catalogue import Catalogue

_NEVER = datetime.fromtimestamp(0, UTC)
_NOTHING = Overview(_NEVER, {}, None, None, GateView(_NEVER), None, ())

_SHOWN: Mapping[str, tuple[str, Mapping[str, Iterable[str]]]] = {
    "tracks": ("Tracks in scope, by state.", {"state": State}),
    "tracks_stuck": ("Tracks still without a good picture, by reason.", {"reason": Reason}),
    "oldest_stuck_track_timestamp_seconds": ("Unix time since when the longest stuck track is in need; 0: none.", {}),
    "earliest_expiry_timestamp_seconds": ("Unix time from which the next picture may be gone; 0: none.", {}),
    "snapshot_timestamp_seconds": ("Unix time of the snapshot of tracks, budget and gate; 0: none yet.", {}),
    "snapshot_duration_seconds": ("Seconds that the snapshot took.", {}),
    "purchase_budget_remaining": ("Purchases that the rolling window still allows.", {"window": ("hour", "day")}),
    "kie_gate_closed": ("1 while purchases are stopped for this reason, else 0.", {"reason": GateName}),
    "kie_credits": ("Credits left at Kie when last asked for.", {}),
    "kie_credits_timestamp_seconds": ("Unix time at which the credits were asked for; 0: never.", {}),
}


@dataclass(frozen=True, slots=True)
class _Seen:
    """`gauges`: of each one the number by the value of its label, '' where it has none."""

    gauges: Mapping[str, Mapping[str, float]]
    credits: CreditsRead


class Snapshot(Collector):
    """The gauges that are true together: one value, swapped whole, so that no scrape mixes two overviews."""

    def __init__(self, make: Catalogue, policy: Policy) -> None:
        self._policy = policy
        self._entries = {name: make.enter(name, "gauge", text, labels) for name, (text, labels) in _SHOWN.items()}
        self._lock = Lock()
        self._seen = _Seen(_gauges(_NOTHING, timedelta(0), policy), CreditsRead(0, _NEVER))
        make.registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        seen = self._seen
        credits = {"kie_credits": {"": seen.credits.balance}, "kie_credits_timestamp_seconds": _at(seen.credits.at)}
        shown = {**seen.gauges, **credits}
        for name, entry in self._entries.items():
            family = GaugeMetricFamily(entry.name, entry.help, labels=tuple(entry.labels))
            for value, number in shown[name].items():
                family.add_metric((value,) if entry.labels else (), number)
            yield family

    def show(self, overview: Overview, took: timedelta) -> None:
        gauges, told = _gauges(overview, took, self._policy), _credits(overview.gate)
        with self._lock:
            known = self._seen.credits
            known = replace(known, at=min(known.at, overview.at))  # the clock may have been set back
            self._seen = _Seen(gauges, _newer(known, told))

    def credits(self, told: CreditsRead) -> None:
        with self._lock:
            self._seen = replace(self._seen, credits=_newer(self._seen.credits, told))


def _gauges(overview: Overview, took: timedelta, policy: Policy) -> Mapping[str, Mapping[str, float]]:
    view = overview.gate
    shut = closed(view, offers(policy), policy)
    states, reasons = Counter[State](), Counter[Reason | None]()
    for (state, reason), n in overview.tracks.items():
        states[state] += n
        reasons[reason] += n if state.stuck else 0
    return {
        "tracks": {state: states[state] for state in State},
        "tracks_stuck": {reason: reasons[reason] for reason in Reason},
        "oldest_stuck_track_timestamp_seconds": _at(overview.oldest_stuck),
        "earliest_expiry_timestamp_seconds": _at(overview.earliest_expiry),
        "snapshot_timestamp_seconds": _at(overview.at),
        "snapshot_duration_seconds": {"": took.total_seconds()},
        "purchase_budget_remaining": {
            "hour": max(policy.per_hour - view.hour.used, 0),
            "day": max(policy.per_day - view.day.used, 0),
        },
        "kie_gate_closed": {name: name in shut for name in GateName},
    }


def _at(time: datetime | None) -> Mapping[str, float]:
    return {"": time.timestamp() if time is not None else 0}


def _credits(view: GateView) -> CreditsRead:
    if view.balance is None or view.balance_at is None:
        return CreditsRead(0, _NEVER)
    return CreditsRead(view.balance, view.balance_at)


def _newer(known: CreditsRead, told: CreditsRead) -> CreditsRead:
    return told if told.at >= known.at else known
