"""What is counted as it happens: steps and writes of sweeps, and calls to Kie."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from reconciler.domain.actions import AskTask, Fetch, Measure, Source, StoredKey
from reconciler.domain.findings import AnswerLost, Call, Fault, Finding, Flawed, NothingMade, Refused, Succeeded
from reconciler.domain.model import Purchase
from reconciler.domain.policy import Policy
from reconciler.domain.states import Flaw, How, Reason
from reconciler.domain.urls import Kind, kind_of
from reconciler.engine.events import (
    BreakerMoved,
    CreditsRead,
    CreditsUntold,
    Event,
    Found,
    GateClosed,
    Mistake,
    Moved,
    Ordered,
    Overwritten,
    Recognised,
    Unwritten,
    Wrote,
)
from reconciler.images.s3_errors import Operation, Outcome
from reconciler.ports import Commit
from reconciler.service.catalogue import Catalogue

OPERATIONS = ("create", "record", "suno_record", "credit")
WRITES = ("written", "conflict", "failed")
DOWNLOADS = ("ok", "flawed", "refused", "fault")

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_UNTIL_RESOLVED = (
    *(10, 30, _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR, _DAY, 3 * _DAY, 7 * _DAY, 14 * _DAY, 30 * _DAY),
)
_SWEEP_S = (0.1, 0.5, 1, 5, 15, 30, _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR)
_POLLS = (1, 2, 3, 5, 8, 13, 21, 34, 55, 100)
_CALL_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60)


class Trigger(StrEnum):
    """What begins a sweep."""

    STARTUP = "startup"
    SCHEDULE = "schedule"
    ONCE = "once"


class SweepFailure(StrEnum):
    """What ends a sweep before its time."""

    DATABASE = "database"
    STORAGE = "storage"
    MISTAKE = "mistake"


class StepCounts:
    """An engine listener."""

    def __init__(self, make: Catalogue, policy: Policy) -> None:
        self._policy = policy
        text = "Tracks that were brought to a good and durable picture, by its source."
        self._resolved = make.counter("tracks_resolved_total", text, how=How)
        text = "Seconds from when a track was first seen in need until its row was set right."
        self._time = make.histogram("time_to_resolution_seconds", text, _UNTIL_RESOLVED)
        self._purchases = make.counter("purchases_total", "Orders that were sent to Kie, repeats included.")
        text = "Orders that were sent again since the answer to the first was lost."
        self._repeats = make.counter("repeat_purchases_total", text)
        self._unknown = make.counter("unknown_purchases_total", "Orders whose answer was lost.")
        text = "How often an image task was asked until it had a result."
        self._polls = make.histogram("polls_per_result", text, _POLLS)
        text = "Pictures asked for at other hosts, whole or their first bytes, by what came of it."
        self._downloads = make.counter("downloads_total", text, outcome=DOWNLOADS)
        self._rejected = make.counter("images_rejected_total", "Pictures that were not taken, by flaw.", reason=Flaw)
        text = "Writes to the app's rows; conflict: somebody else changed the row or has it locked."
        self._writes = make.counter("writes_total", text, outcome=WRITES)
        self._overwritten = make.counter("write_overwritten_total", "Writes that were found undone by somebody else.")

    def __call__(self, event: Event) -> None:
        match event:
            case Found():
                self._found(event)
            case Wrote():
                self._wrote(event)
            case Recognised():
                self._solved(How.ALREADY_GOOD, None)
            case Unwritten():
                self._writes.labels("failed").inc()
            case Overwritten():
                self._overwritten.inc()
            case Moved() | Ordered() | GateClosed() | BreakerMoved() | CreditsRead() | CreditsUntold() | Mistake():
                pass
            case _:  # pragma: no cover
                assert_never(event)

    def _wrote(self, event: Wrote) -> None:
        if event.outcome is not Commit.COMMITTED:
            self._writes.labels("conflict" if event.outcome.is_conflict else "failed").inc()
            return
        self._writes.labels("written").inc()
        if event.write.how is not None:
            self._solved(event.write.how, event.stuck_for)

    def _solved(self, how: How, stuck_for: timedelta | None) -> None:
        self._resolved.labels(how).inc()
        if stuck_for is not None:
            # A clock set back must not let the sum fall: Prometheus takes that for a restart.
            self._time.observe(max(stuck_for.total_seconds(), 0))

    def _found(self, event: Found) -> None:
        match event.job, event.finding:
            case Purchase() as purchase, finding:
                self._bought(purchase, finding)
            case AskTask(), Succeeded():
                self._polls.observe(event.asked)
            case ((Measure(source=source) | Fetch(source=source)), finding):
                self._looked(source, finding)
            case _:
                pass

    def _bought(self, purchase: Purchase, finding: Finding) -> None:
        if isinstance(finding, NothingMade) and not finding.sent:
            return
        self._purchases.inc()
        if purchase.repeat_of is not None:
            self._repeats.inc()
        if isinstance(finding, AnswerLost):
            self._unknown.inc()

    def _looked(self, source: Source, finding: Finding) -> None:
        if isinstance(finding, Flawed):
            self._rejected.labels(finding.flaw).inc()
        if not isinstance(source, StoredKey) and kind_of(source.url, self._policy) is not Kind.INLINE:
            self._downloads.labels(_download(finding)).inc()


def _download(finding: Finding) -> str:
    """A picture that only the store did not take was downloaded all the same."""
    match finding:
        case Flawed():
            return "flawed"
        case Refused():
            return "refused"
        case Fault(reason=reason) if reason is not Reason.STORAGE_FAILED:
            return "fault"
        case _:
            return "ok"


class CallCounts:
    """Hears of every call to Kie.

    Never raises, since an order whose answer is here must not be lost for its count: an operation or kind that is not
    known gets a series of its own.
    """

    def __init__(self, make: Catalogue, kinds: Iterable[str]) -> None:
        text = "Calls to Kie that came to an end, by what came of them."
        self._calls = make.counter("kie_requests_total", text, operation=OPERATIONS, outcome=Call)
        text = "Seconds that a call to Kie took."
        self._took = make.histogram("kie_request_duration_seconds", text, _CALL_S, operation=OPERATIONS)
        self._odd = make.counter("kie_unexpected_total", "Answers of Kie that are not understood, by kind.", kind=kinds)

    def called(self, operation: str, call: Call, seconds: float) -> None:
        self._calls.labels(operation, call).inc()
        self._took.labels(operation).observe(seconds)

    def unexpected(self, kind: str) -> None:
        self._odd.labels(kind).inc()


class StoreCounts:
    """Hears of every request to a bucket."""

    def __init__(self, make: Catalogue) -> None:
        text = "Requests to the bucket with the pictures, by what came of them; none where they are files."
        self._asked = make.counter("storage_requests_total", text, operation=Operation, outcome=Outcome)

    def asked(self, operation: Operation, outcome: Outcome) -> None:
        self._asked.labels(operation, outcome).inc()


class SweepCounts:
    """Sweeps as a whole, and the scheduler that begins them."""

    def __init__(self, make: Catalogue, interval: timedelta) -> None:
        self._begun = make.counter("sweeps_total", "Sweeps begun, by what began them.", trigger=Trigger)
        self._failed = make.counter("sweep_failures_total", "Sweeps that failed, by what failed.", reason=SweepFailure)
        text = "Unix time at which a sweep last began; 0: never."
        self._tried_at = make.gauge("last_sweep_attempt_timestamp_seconds", text)
        text = "Unix time at which a sweep last ended well; 0: never."
        self._done_at = make.gauge("last_sweep_success_timestamp_seconds", text)
        make.gauge("sweep_interval_seconds", "Seconds from one sweep to the next.").set(interval.total_seconds())
        self._took = make.histogram("sweep_duration_seconds", "Seconds that a sweep took that ended well.", _SWEEP_S)
        text = "Runs of jobs that began after more of their times had passed."
        self.missed = make.counter("scheduler_missed_total", text)
        self.overlaps = make.counter("scheduler_overlaps_total", "Runs of jobs left out since the one before went on.")

    def begun(self, trigger: Trigger, at: datetime) -> None:
        self._begun.labels(Trigger(trigger)).inc()
        self._tried_at.set(at.timestamp())

    def done(self, at: datetime, took: timedelta) -> None:
        self._done_at.set(at.timestamp())
        self._took.observe(took.total_seconds())

    def failed(self, reason: SweepFailure) -> None:
        self._failed.labels(SweepFailure(reason)).inc()
