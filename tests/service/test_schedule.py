"""Jobs on a schedule: none twice at once, what is late is told, and what does not begin shows."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event, Lock
from typing import Any

import pytest

from reconciler.service import schedule as scheduling
from reconciler.service.events import Late, ServiceEvent
from reconciler.service.schedule import AT_LEAST, Job, Schedule
from reconciler.service.vitals import Vitals

HOUR, SECOND, MOMENT = timedelta(hours=1), timedelta(seconds=1), timedelta(milliseconds=10)
LONG_S = 30.0
"""Nothing here takes so long, unless it never happens."""


class Clock:
    """The wall clock, set wrong by `ahead`, or standing still `at` a time."""

    def __init__(self) -> None:
        self.ahead, self.at = timedelta(0), None  # type: timedelta, datetime | None

    def __call__(self) -> datetime:
        return self.at or datetime.now(UTC) + self.ahead


class Told:
    """What the schedule told, and a way to wait for it."""

    def __init__(self) -> None:
        self.events: list[ServiceEvent] = []
        self.heard = Event()

    def __call__(self, event: ServiceEvent) -> None:
        self.events.append(event)
        self.heard.set()

    def wait(self) -> None:
        assert self.heard.wait(LONG_S)


class Work:
    """Counts its runs, each of which lasts until `go` is set; `most`: so many at once. Returns `again_at`."""

    def __init__(self, *, blocked: bool = False, again_at: Callable[[], datetime | None] = lambda: None) -> None:
        self.runs = self.most = self._now = 0
        self.begun, self.ended, self.go = Event(), Event(), Event()
        self._again_at, self._lock, self._wanted = again_at, Lock(), Event()
        self._until = 0
        if not blocked:
            self.go.set()

    def __call__(self) -> datetime | None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        self.begun.set()
        assert self.go.wait(LONG_S)
        again_at = self._again_at()
        with self._lock:
            self.runs += 1
            self._now -= 1
            if self.runs >= self._until:
                self._wanted.set()
        self.ended.set()
        return again_at

    def wait(self, runs: int) -> None:
        with self._lock:
            self._until = runs
            if self.runs < runs:
                self._wanted.clear()
        assert self._wanted.wait(LONG_S) or self.runs >= runs


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def now() -> list[float]:
    """Of the vitals, in seconds."""
    return [1000.0]


@pytest.fixture
def vitals(now: list[float]) -> Vitals:
    return Vitals(lambda: now[0])


Begin = Callable[..., Schedule]


@pytest.fixture
def begin(told: Told, clock: Clock, vitals: Vitals) -> Iterator[Begin]:
    """A schedule of these jobs, started; ended with the test."""
    made: list[Schedule] = []

    def start(*jobs: Job) -> Schedule:
        schedule = Schedule(vitals, told, clock)
        for job in jobs:
            schedule.add(job)
        schedule.start()
        made.append(schedule)
        return schedule

    yield start
    for schedule in made:
        if schedule._scheduler.running:
            schedule.stop(timedelta(seconds=LONG_S))


def job(work: Callable[[], datetime | None], every: timedelta = HOUR, **given: Any) -> Job:
    return Job(**{"name": "sweep", "work": work, "every": every, "allowed": SECOND, "lane": "sweep", **given})


def next_run(schedule: Schedule, name: str = "sweep") -> datetime:
    time: datetime = schedule._scheduler.get_job(name).next_run_time
    return time


@contextmanager
def released(*works: Work) -> Iterator[None]:
    try:
        yield
    finally:
        for work in works:
            work.go.set()


# -- one at a time -----------------------------------------------------------------------------------------------------


def test_a_job_runs_at_once_and_again_and_again(begin: Begin) -> None:
    work = Work()
    begin(job(work, MOMENT))
    work.wait(3)
    assert work.most == 1


def test_a_job_waits_for_its_first_time(begin: Begin) -> None:
    late, soon = Work(), Work()
    schedule = begin(job(late, first_after=HOUR), job(soon, name="soon"))
    soon.wait(1)
    assert not late.begun.is_set()
    assert next_run(schedule) > datetime.now(UTC) + HOUR / 2


def test_a_job_that_still_runs_is_not_begun_again_and_that_is_told(begin: Begin, told: Told) -> None:
    work = Work(blocked=True)
    with released(work):
        begin(job(work, MOMENT))
        for _ in range(3):
            told.wait()
            told.heard.clear()
        work.go.set()
        work.wait(2)
    assert work.most == 1
    assert set(told.events) == {Late("sweep", overlap=True)}


def test_jobs_of_one_lane_take_turns_and_others_do_not_wait(begin: Begin) -> None:
    first, second, other = Work(blocked=True), Work(), Work()
    with released(first):
        begin(job(first, lane="aside"), job(second, name="second", lane="aside"), job(other, name="other"))
        assert first.begun.wait(LONG_S)
        other.wait(1)
        assert not second.begun.is_set()
        first.go.set()
        second.wait(1)


def test_a_job_that_raises_runs_again(begin: Begin, caplog: pytest.LogCaptureFixture) -> None:
    """It must not, but it is no reason to stop for ever."""
    work = Work()

    def raising() -> None:
        work()
        raise ValueError("a mistake")

    schedule = begin(job(raising, MOMENT))
    work.wait(3)
    assert schedule.stop(timedelta(seconds=LONG_S))
    assert "raised an exception" in caplog.text
    caplog.clear()


# -- what is late ------------------------------------------------------------------------------------------------------


def test_what_begins_after_another_of_its_times_has_passed_is_told_once(
    begin: Begin, told: Told, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the machine slept."""
    work, schedule = Work(), begin()
    clock.ahead = -3 * HOUR
    schedule.add(job(work))
    clock.ahead = timedelta(0)
    told.wait()
    work.wait(1)
    assert told.events == [Late("sweep", overlap=False)]
    assert next_run(schedule) > datetime.now(UTC) + HOUR / 2


def test_what_begins_before_the_next_of_its_times_is_not_late(begin: Begin, told: Told, clock: Clock) -> None:
    work, schedule = Work(), begin()
    clock.ahead = -HOUR / 2
    schedule.add(job(work))
    clock.ahead = timedelta(0)
    work.wait(1)
    schedule.stop(SECOND)
    assert told.events == []


def test_a_clock_that_is_set_right_by_decades_keeps_nobody_counting(begin: Begin, told: Told, clock: Clock) -> None:
    """A machine without a clock of its own begins in 1970: that is a billion times of a job that runs each second."""
    work, schedule = Work(), begin()
    clock.at = datetime(1970, 1, 1, tzinfo=UTC)
    schedule.add(job(work, SECOND))
    clock.at = None
    work.wait(1)
    told.wait()
    assert told.events == [Late("sweep", overlap=False)]


def test_the_library_does_not_say_it_too(begin: Begin, told: Told, caplog: pytest.LogCaptureFixture) -> None:
    work = Work(blocked=True)
    with released(work), caplog.at_level(logging.WARNING):
        begin(job(work, MOMENT))
        told.wait()
    assert caplog.records == []


# -- when it wants to run again ----------------------------------------------------------------------------------------


def test_a_job_runs_again_when_it_wants_to(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "AT_LEAST", MOMENT)
    work = Work(again_at=lambda: datetime.now(UTC))
    begin(job(work))
    work.wait(3)
    assert work.most == 1


@pytest.mark.parametrize(
    ("wants", "gets"),
    [(-HOUR, AT_LEAST), (timedelta(0), AT_LEAST), (AT_LEAST / 2, AT_LEAST), (20 * SECOND, 20 * SECOND)],
)
def test_sooner_than_by_its_interval_but_not_at_once(
    begin: Begin, clock: Clock, wants: timedelta, gets: timedelta
) -> None:
    def again_at() -> datetime:
        clock.at = datetime.now(UTC) + timedelta(minutes=10)
        return clock.at + wants

    work = Work(again_at=again_at)
    schedule = begin(job(work))
    work.wait(1)
    assert schedule.stop(timedelta(seconds=LONG_S)) or pytest.fail("it still runs")


def planned(schedule: Schedule, work: Work) -> datetime:
    """When the job is to run next, once its run is over."""
    work.wait(1)
    with schedule._ended:
        assert schedule._ended.wait_for(lambda: schedule._running == 0, LONG_S)
    return next_run(schedule)
