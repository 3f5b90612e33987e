"""What a process learned that it need not remember. One for all its sweeps."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from reconciler.domain.findings import Failed, Finding, Succeeded
from reconciler.domain.gate import GateView
from reconciler.domain.runs import Runs

SILENT_AFTER = 5
"""So many results in a row of which no callback told: none is waited for until one comes again."""


@dataclass(slots=True)
class Lately:
    """`no_credit_call_until`: the free call that failed is left alone. `runs`: how long image tasks took; those that
    fail mostly do so at once. `is_called`: callbacks come to this process. `gate`: as it was last seen.
    `looks_for_new_every`: not sooner, once all was found that is new. `all_known_at`: when it was. `served`: the shape
    in whose line somebody's turn came last."""

    no_credit_call_until: datetime | None = None
    runs: Runs = field(default_factory=Runs)
    is_called: bool = False
    gate: GateView | None = None
    looks_for_new_every: timedelta = timedelta(seconds=30)
    all_known_at: datetime | None = None
    served: str | None = None
    _unannounced: int = 0

    def looks_for_new(self, now: datetime) -> bool:
        return self.all_known_at is None or not timedelta(0) <= now - self.all_known_at < self.looks_for_new_every

    def hear(self, finding: Finding, *, announced: bool | None = None) -> None:
        """`announced`: whether a callback had come about the task; None: none was to come."""
        if announced is not None and isinstance(finding, Succeeded | Failed):
            self._unannounced = 0 if announced else self._unannounced + 1
        self._time(finding)
        self.runs = replace(self.runs, called=self.is_called and self._unannounced < SILENT_AFTER)

    def _time(self, finding: Finding) -> None:
        match finding:
            case Succeeded(created_at=datetime() as began, completed_at=datetime() as ended) if began <= ended:
                self.runs = self.runs.with_one(ended - began)
            case Failed():
                self.runs = self.runs.with_one(timedelta(0))
            case _:
                pass
