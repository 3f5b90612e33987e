"""What a process learned that it need not remember. One for all its sweeps."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from reconciler.domain.findings import Failed, Finding, Succeeded
from reconciler.domain.runs import Runs


@dataclass(slots=True)
class Lately:
    """`no_credit_call_until`: the free call that failed is left alone. `runs`: how long image tasks took; those that
    fail mostly do so at once."""

    no_credit_call_until: datetime | None = None
    runs: Runs = field(default_factory=Runs)

    def hear(self, finding: Finding) -> None:
        match finding:
            case Succeeded(created_at=datetime() as began, completed_at=datetime() as ended) if began <= ended:
                self.runs = self.runs.with_one(ended - began)
            case Failed():
                self.runs = self.runs.with_one(timedelta(0))
            case _:
                pass
