"""What each event, call and message adds to which number, and that it adds to no other."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from reconciler.domain.actions import (
    AskSong,
    AskTask,
    Fetch,
    ListStore,
    Measure,
    RowImage,
    Source,
    StoredKey,
    SunoCover,
    TaskResult,
    Write,
)
from reconciler.domain.findings import (
    Accepted,
    AnswerLost,
    Call,
    Creation,
    Fault,
    Flawed,
    Listing,
    NothingMade,
    PictureFinding,
    Refusal,
    Refused,
    Running,
    Sized,
    SongFinal,
    Stored,
    Succeeded,
)
from reconciler.domain.gate import Closure, GateName
from reconciler.domain.policy import Policy
from reconciler.domain.states import Flaw, How, Reason, State
from reconciler.engine.events import (
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
from reconciler.ports import Commit
from reconciler.service.callbacks import Reception
from reconciler.service.counting import SweepFailure, Trigger
from reconciler.service.metrics import Metrics
from tests.domain.builders import COVER, DURABLE, INLINE, KEY, NOW, RESULT, TASK, purchase

GENERATED = Write(DURABLE, "2048x1152", How.GENERATED, key=KEY)
STORED = Stored(KEY, 2048, 1152, "0" * 64)
UNSENT = NothingMade(Refusal.OUTAGE, Call.CONNECT_ERROR, "", sent=False)
ROW, COVERED, MADE = RowImage(DURABLE), SunoCover(COVER, "s"), TaskResult(RESULT, TASK, How.GENERATED)
CUT = RowImage(DURABLE, inline=True, identity="9999:ab")
"""A URL so long that only its head was read."""


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(Policy(), version="1", sweep_interval=timedelta(minutes=5), kinds=("state",))


def numbers(metrics: Metrics) -> dict[str, float]:
    """By series in short, as `name` or `name{value,...}`; not the buckets."""
    samples = [sample for metric in metrics.registry.collect() for sample in metric.samples]
    ours = [s for s in samples if s.name.startswith("reconciler_") and "le" not in s.labels]
    return {s.name[11:] + (f"{{{','.join(s.labels.values())}}}" if s.labels else ""): s.value for s in ours}


def changed(metrics: Metrics, *deeds: Callable[[], None]) -> dict[str, float]:
    """What the deeds added, of all there is."""
    before = numbers(metrics)
    for deed in deeds:
        deed()
    after = numbers(metrics)
    return {name: n - before.get(name, 0) for name, n in after.items() if n != before.get(name, 0)}


def heard(metrics: Metrics, *events: Event) -> dict[str, float]:
    return changed(metrics, *(lambda event=event: metrics(event) for event in events))


def bucket(metrics: Metrics, name: str, below: str) -> float | None:
    return metrics.registry.get_sample_value(f"reconciler_{name}_bucket", {"le": below})


# -- writes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", list(How))
def test_a_resolving_write_counts_by_its_source_and_its_time(metrics: Metrics, how: How) -> None:
    write = Write(DURABLE, "2048x1152", how, key=KEY)
    assert heard(metrics, Wrote("t1", write, Commit.COMMITTED, timedelta(minutes=2))) == {
        "writes_total{written}": 1,
        f"tracks_resolved_total{{{how}}}": 1,
        "time_to_resolution_seconds_count": 1,
        "time_to_resolution_seconds_sum": 120,
    }


def test_a_track_that_was_never_in_need_has_no_time(metrics: Metrics) -> None:
    assert heard(metrics, Wrote("t1", GENERATED, Commit.COMMITTED, None)) == {
        "writes_total{written}": 1,
        "tracks_resolved_total{generated}": 1,
    }


def test_a_write_of_the_resolution_alone_resolves_nothing(metrics: Metrics) -> None:
    write = Write(None, "2048x1152", None)
    assert heard(metrics, Wrote("t1", write, Commit.COMMITTED, timedelta(1))) == {"writes_total{written}": 1}


@pytest.mark.parametrize(
    ("outcome", "counted"),
    [
        (Commit.CONFLICT, "writes_total{conflict}"),
        (Commit.LOCKED, "writes_total{conflict}"),
        (Commit.REFUSED, "writes_total{failed}"),
        (Commit.LEASE_LOST, "writes_total{failed}"),
        (Commit.EXPIRED, "writes_total{failed}"),
    ],
)
def test_a_write_that_was_not_made_resolves_nothing(metrics: Metrics, outcome: Commit, counted: str) -> None:
    assert heard(metrics, Wrote("t1", GENERATED, outcome, timedelta(1))) == {counted: 1}


def test_a_write_that_the_database_did_not_take(metrics: Metrics) -> None:
    assert changed(metrics, lambda: metrics(Unwritten("t1"))) == {"writes_total{failed}": 1}


def test_a_clock_set_back_makes_no_sum_fall(metrics: Metrics) -> None:
    told = heard(metrics, Wrote("t1", GENERATED, Commit.COMMITTED, timedelta(hours=-1)))
    assert told["time_to_resolution_seconds_count"] == 1
    assert "time_to_resolution_seconds_sum" not in told


def test_times_to_resolution_are_told_apart_from_ten_seconds_to_thirty_days(metrics: Metrics) -> None:
    for stuck_for in (timedelta(seconds=9), timedelta(days=29), timedelta(days=31)):
        metrics(Wrote("t1", GENERATED, Commit.COMMITTED, stuck_for))
    counts = [bucket(metrics, "time_to_resolution_seconds", edge) for edge in ("10.0", "2.592e+06", "+Inf")]
    assert counts == [1, 2, 3]


def test_recognised_and_overwritten(metrics: Metrics) -> None:
    assert heard(metrics, Recognised("t1"), Overwritten("t2"), Overwritten("t2")) == {
        "tracks_resolved_total{already_good}": 1,
        "write_overwritten_total": 2,
    }


def test_other_events_count_nothing(metrics: Metrics) -> None:
    assert not heard(
        metrics,
        Moved("t1", State.MISSING, Reason.DUE),
        Ordered(purchase()),
        GateClosed(Closure(GateName.KEY, NOW)),
        Mistake("t1", ValueError()),
        Found("t1", ListStore(), Listing(())),
        Found("t1", ListStore(), Fault(Reason.STORAGE_FAILED, "")),
        Found("t1", AskSong("s"), SongFinal()),
    )


# -- purchases -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("finding", "counted"),
    [
        (Accepted(TASK), {"purchases_total": 1}),
        (AnswerLost(Call.TIMEOUT, ""), {"purchases_total": 1, "unknown_purchases_total": 1}),
        (NothingMade(Refusal.CONTENT, Call.REJECTED, ""), {"purchases_total": 1}),
        (UNSENT, {}),
    ],
)
def test_purchases_that_were_sent(metrics: Metrics, finding: Creation, counted: dict[str, float]) -> None:
    assert heard(metrics, Found("t1", purchase("a"), finding)) == counted


def test_repeats_that_were_sent(metrics: Metrics) -> None:
    repeat = purchase("b", repeat_of="a")
    assert heard(metrics, Found("t1", repeat, UNSENT), Found("t1", repeat, Accepted(TASK))) == {
        "purchases_total": 1,
        "repeat_purchases_total": 1,
    }


def test_polls_count_once_there_is_a_result(metrics: Metrics) -> None:
    told = heard(
        metrics,
        Found("t1", AskTask(TASK), Running(), asked=1),
        Found("t1", AskTask(TASK), Succeeded((RESULT,)), asked=3),
    )
    assert told == {"polls_per_result_count": 1, "polls_per_result_sum": 3}
    assert [bucket(metrics, "polls_per_result", edge) for edge in ("2.0", "3.0")] == [0, 1]


# -- pictures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [ROW, CUT, COVERED, MADE])
@pytest.mark.parametrize(
    ("finding", "counted"),
    [
        (STORED, "ok"),
        (Refused("404"), "refused"),
        (Fault(Reason.DOWNLOAD_FAILED, ""), "fault"),
        (Fault(Reason.HOST_REFUSED, ""), "fault"),
        (Fault(Reason.STORAGE_FAILED, "the picture came, the disk is full"), "ok"),
    ],
)
def test_downloads(metrics: Metrics, source: Source, finding: PictureFinding, counted: str) -> None:
    assert heard(metrics, Found("t1", Fetch(source), finding)) == {f"downloads_total{{{counted}}}": 1}


def test_measuring_elsewhere_is_a_download_too(metrics: Metrics) -> None:
    assert heard(metrics, Found("t1", Measure(ROW), Sized(1, 1))) == {"downloads_total{ok}": 1}


@pytest.mark.parametrize("flaw", list(Flaw))
def test_flawed_pictures_count_by_flaw(metrics: Metrics, flaw: Flaw) -> None:
    assert heard(metrics, Found("t1", Fetch(MADE), Flawed(flaw, ""))) == {
        "downloads_total{flawed}": 1,
        f"images_rejected_total{{{flaw}}}": 1,
    }


@pytest.mark.parametrize("source", [StoredKey(KEY), RowImage(INLINE, inline=True)])
def test_what_is_ours_or_inline_is_no_download(metrics: Metrics, source: StoredKey | RowImage) -> None:
    told = heard(
        metrics,
        Found("t1", Measure(source), Sized(1, 1)),
        Found("t1", Fetch(source), STORED),
        Found("t1", Fetch(source), Flawed(Flaw.TRUNCATED, "")),
    )
    assert told == {"images_rejected_total{truncated}": 1}


# -- calls, sweeps, messages ---------------------------------------------------------------------------------------


def test_a_call_counts_by_operation_and_outcome(metrics: Metrics) -> None:
    assert changed(metrics, lambda: metrics.called("record", Call.RATE_LIMITED, 0.25)) == {
        "kie_requests_total{record,rate_limited}": 1,
        "kie_request_duration_seconds_count{record}": 1,
        "kie_request_duration_seconds_sum{record}": 0.25,
    }


def test_what_nobody_named_beforehand_is_counted_by_its_own_name(metrics: Metrics) -> None:
    deeds = (lambda: metrics.unexpected("state"), lambda: metrics.unexpected("new"), lambda: metrics.unexpected("new"))
    assert changed(metrics, *deeds) == {"kie_unexpected_total{state}": 1, "kie_unexpected_total{new}": 2}
    assert changed(metrics, lambda: metrics.called("delete", Call.OK, 0))["kie_requests_total{delete,ok}"] == 1


def test_calls_from_many_threads_are_all_counted(metrics: Metrics) -> None:
    def call(_: int) -> None:
        for _ in range(500):
            metrics.called("credit", Call.OK, 1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(8)))
    counts = numbers(metrics)
    assert counts["kie_requests_total{credit,ok}"] == counts["kie_request_duration_seconds_sum{credit}"] == 4000


@pytest.mark.parametrize("trigger", list(Trigger))
def test_a_sweep_begins(metrics: Metrics, trigger: Trigger) -> None:
    assert changed(metrics, lambda: metrics.sweeps.begun(trigger, NOW)) == {
        f"sweeps_total{{{trigger}}}": 1,
        "last_sweep_attempt_timestamp_seconds": NOW.timestamp(),
    }


def test_a_sweep_ends_well(metrics: Metrics) -> None:
    assert changed(metrics, lambda: metrics.sweeps.done(NOW, timedelta(seconds=90))) == {
        "last_sweep_success_timestamp_seconds": NOW.timestamp(),
        "sweep_duration_seconds_count": 1,
        "sweep_duration_seconds_sum": 90,
    }


@pytest.mark.parametrize("reason", list(SweepFailure))
def test_a_sweep_fails(metrics: Metrics, reason: SweepFailure) -> None:
    assert changed(metrics, lambda: metrics.sweeps.failed(reason)) == {f"sweep_failures_total{{{reason}}}": 1}


def test_an_unknown_trigger_or_failure_is_refused_and_makes_no_series(metrics: Metrics) -> None:
    before = numbers(metrics)
    with pytest.raises(ValueError, match="cron"):
        metrics.sweeps.begun("cron", NOW)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="boredom"):
        metrics.sweeps.failed("boredom")  # type: ignore[arg-type]
    assert numbers(metrics) == before


def test_the_scheduler(metrics: Metrics) -> None:
    deeds = (metrics.sweeps.missed.inc, metrics.sweeps.overlaps.inc, metrics.sweeps.overlaps.inc)
    assert changed(metrics, *deeds) == {"scheduler_missed_total": 1, "scheduler_overlaps_total": 2}


@pytest.mark.parametrize(
    ("level", "counted"),
    [
        *(("TRACE", "debug"), ("DEBUG", "debug"), ("INFO", "info"), ("SUCCESS", "info"), ("WARNING", "warning")),
        *(("ERROR", "error"), ("CRITICAL", "error"), ("error", "error"), ("HOUSE", "info")),
    ],
)
def test_messages_count_by_one_of_four_levels(metrics: Metrics, level: str, counted: str) -> None:
    assert changed(metrics, lambda: metrics.logged(level)) == {f"log_messages_total{{{counted}}}": 1}


@pytest.mark.parametrize("heard_", Reception)
def test_callbacks_are_counted_by_what_came_of_them(metrics: Metrics, heard_: Reception) -> None:
    assert changed(metrics, lambda: metrics.called_back(heard_)) == {f"callbacks_total{{{heard_}}}": 1}
