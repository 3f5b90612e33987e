"""Jobs on a schedule: none twice at once, what is late is told, and what does not begin shows."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Condition, Event, Thread
from typing import Any

import pytest

from reconciler.service import schedule as scheduling
from reconciler.service.events import Late, ServiceEvent
from reconciler.service.schedule import AT_LEAST, Job, Schedule
from reconciler.service.vitals import Vitals

HOUR, SECOND, MOMENT = timedelta(hours=1), timedelta(seconds=1), timedelta(milliseconds=10)
LONG = timedelta(seconds=30)
"""Nothing here takes so long, unless it never happens."""


class Clock:
    """The wall clock, set wrong by `ahead`, or standing still `at` a time."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)
        self.at: datetime | None = None

    def __call__(self) -> datetime:
        return self.at or datetime.now(UTC) + self.ahead


class Told:
    """What the schedule told."""

    def __init__(self) -> None:
        self.events: list[ServiceEvent] = []
        self._changed = Condition()

    def __call__(self, event: ServiceEvent) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait(self, for_: int = 1) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.events) >= for_, LONG.total_seconds())


class Work:
    """Counts its runs, none of which ends before `go` is set. `most`: so many went on at once."""

    def __init__(self, again_at: Callable[[], datetime | None] = lambda: None, *, blocked: bool = False) -> None:
        self.begun = self.ended = self.most = 0
        self.go = Event()
        self._again_at, self._changed = again_at, Condition()
        if not blocked:
            self.go.set()

    def __call__(self) -> datetime | None:
        with self._changed:
            self.begun += 1
            self.most = max(self.most, self.begun - self.ended)
            self._changed.notify_all()
        assert self.go.wait(LONG.total_seconds())
        with self._changed:
            self.ended += 1
            self._changed.notify_all()
        return self._again_at()

    def wait(self, *, begun: int = 0, ended: int = 0) -> None:
        with self._changed:
            assert self._changed.wait_for(
                lambda: self.begun >= begun and self.ended >= ended, timeout=LONG.total_seconds()
            )


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
        made.append(schedule)
        for each in jobs:
            schedule.add(each)
        schedule.start()
        return schedule

    yield start
    for schedule in made:
        if schedule._scheduler.running:
            schedule.stop(LONG)


def job(work: Callable[[], datetime | None], every: timedelta = HOUR, **given: Any) -> Job:
    return Job(**{"name": "sweep", "work": work, "every": every, "allowed": SECOND, "lane": "sweep", **given})


def planned(schedule: Schedule) -> datetime:
    """When the job is to run next, once it does not run."""
    with schedule._ended:
        assert schedule._ended.wait_for(lambda: not schedule._under_way, LONG.total_seconds())
    time: datetime = schedule._scheduler.get_job("sweep").next_run_time
    return time


def idle(schedule: Schedule, lane: str = "sweep") -> None:
    """Wait, after the end, for what was handed to the lane's thread."""
    schedule._scheduler._lookup_executor(lane)._pool.shutdown(wait=True)


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
    work.wait(ended=3)
    assert work.most == 1


def test_a_job_waits_for_its_first_time(begin: Begin) -> None:
    waits, soon = Work(), Work()
    schedule = begin(job(waits, first_after=HOUR), job(soon, name="soon"))
    soon.wait(ended=1)
    assert waits.begun == 0
    assert planned(schedule) > datetime.now(UTC) + HOUR / 2


def test_a_job_that_still_runs_is_not_begun_again_and_that_is_told(begin: Begin, told: Told) -> None:
    work = Work(blocked=True)
    with released(work):
        schedule = begin(job(work, MOMENT))
        told.wait(for_=3)
        assert schedule._scheduler._lookup_executor("sweep")._instances == {"sweep": 1}, "none waits in line"
    work.wait(ended=2)
    assert work.most == 1
    assert Late("sweep", overlap=True) in told.events, "beside what a busy machine begins late"


def test_jobs_of_one_lane_take_turns_and_others_do_not_wait_for_them(begin: Begin) -> None:
    first, second, other = Work(blocked=True), Work(), Work()
    with released(first):
        begin(job(first, lane="aside"), job(second, name="second", lane="aside"), job(other, name="other"))
        first.wait(begun=1)
        other.wait(ended=1)
        assert second.begun == 0
    second.wait(ended=1)


def test_a_job_that_raises_runs_again(begin: Begin, caplog: pytest.LogCaptureFixture) -> None:
    """It must not, and it is said."""
    work = Work()

    def raising() -> None:
        work()
        raise ValueError("a mistake")

    begin(job(raising, MOMENT))
    work.wait(ended=3)
    assert "raised an exception" in caplog.text


# -- what is late ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [3 * HOUR / 2, 3 * HOUR])
def test_what_begins_after_another_of_its_times_has_passed_is_told_once(
    begin: Begin, told: Told, clock: Clock, late: timedelta
) -> None:
    """As when the machine slept."""
    work, schedule = Work(), begin()
    clock.ahead = -late
    schedule.add(job(work))
    clock.ahead = timedelta(0)
    told.wait()
    work.wait(ended=1)
    assert planned(schedule) > datetime.now(UTC) + HOUR / 2
    assert told.events == [Late("sweep", overlap=False)]
    assert work.begun == 1


def test_what_begins_before_another_of_its_times_is_not_late(begin: Begin, told: Told, clock: Clock) -> None:
    work, schedule = Work(), begin()
    clock.ahead = -HOUR / 2
    schedule.add(job(work))
    clock.ahead = timedelta(0)
    work.wait(ended=1)
    schedule.stop(LONG)
    assert told.events == []


def test_a_clock_that_is_set_right_by_decades_keeps_nobody_counting(begin: Begin, told: Told, clock: Clock) -> None:
    """A machine without a clock of its own begins in 1970: a job that runs each second has missed a billion times."""
    work, schedule = Work(), begin()
    clock.at = datetime(1970, 1, 1, tzinfo=UTC)
    schedule.add(job(work, SECOND))
    clock.at = None
    work.wait(ended=1)
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
    work = Work(lambda: datetime.now(UTC))
    begin(job(work))
    work.wait(ended=3)
    assert work.most == 1


@pytest.mark.parametrize(
    ("wants", "gets"),
    [(-HOUR, AT_LEAST), (timedelta(0), AT_LEAST), (AT_LEAST / 2, AT_LEAST), (20 * SECOND, 20 * SECOND)],
)
def test_that_is_sooner_than_by_its_interval_and_not_at_once(
    begin: Begin, clock: Clock, wants: timedelta, gets: timedelta
) -> None:
    ended = datetime.now(UTC) + HOUR / 2
    work, schedule = Work(lambda: ended + wants), begin()
    schedule.add(job(work))
    clock.at = ended
    work.wait(ended=1)
    assert planned(schedule) == ended + gets


def test_nothing_is_put_off_by_what_it_wants(begin: Begin) -> None:
    began = datetime.now(UTC)
    work = Work(lambda: began + 9 * HOUR)
    schedule = begin(job(work))
    work.wait(ended=1)
    assert planned(schedule) < datetime.now(UTC) + 2 * HOUR


# -- somebody wants it ------------------------------------------------------------------------------------------------


def test_a_job_that_is_wanted_runs_at_once(begin: Begin) -> None:
    work = Work()
    begin(job(work, first_after=HOUR)).soon("sweep")
    work.wait(ended=1)


def test_one_that_is_wanted_while_it_runs_runs_once_more_and_not_twice_at_once(begin: Begin, told: Told) -> None:
    work = Work(blocked=True)
    with released(work):
        schedule = begin(job(work))
        work.wait(begun=1)
        schedule.soon("sweep")
        schedule.soon("sweep")
    work.wait(ended=2)
    assert (work.most, told.events) == (1, [])
    assert planned(schedule) > datetime.now(UTC) + HOUR / 2


def test_after_the_end_nothing_is_wanted(begin: Begin) -> None:
    work = Work()
    schedule = begin(job(work, first_after=HOUR))
    schedule.stop(LONG)
    schedule.soon("sweep")
    assert work.begun == 0


# -- the clock was set -------------------------------------------------------------------------------------------------


def test_all_begin_at_once(begin: Begin) -> None:
    works = [Work(), Work(), Work()]
    schedule = begin(*(job(work, name=str(at), lane=str(at // 2), first_after=HOUR) for at, work in enumerate(works)))
    assert [work.begun for work in works] == [0, 0, 0]
    schedule.all_at_once()
    for work in works:
        work.wait(ended=1)


# -- the end -----------------------------------------------------------------------------------------------------------


def test_the_end_waits_for_what_runs(begin: Begin) -> None:
    work, in_order = Work(blocked=True), []
    with released(work):
        schedule = begin(job(work))
        work.wait(begun=1)
        stopping = Thread(target=lambda: in_order.append((schedule.stop(LONG), work.ended)))
        stopping.start()
    stopping.join(LONG.total_seconds())
    assert in_order == [(True, 1)]


def test_the_end_waits_for_so_long_only(begin: Begin) -> None:
    work = Work(blocked=True)
    with released(work):
        schedule = begin(job(work))
        work.wait(begun=1)
        assert not schedule.stop(MOMENT)


def test_what_waits_for_its_thread_does_not_begin_after_the_end(begin: Begin) -> None:
    first, second = Work(blocked=True), Work()
    with released(first):
        schedule = begin(job(first, lane="aside"), job(second, name="second", lane="aside"))
        first.wait(begun=1)
        assert not schedule.stop(MOMENT)
    idle(schedule, "aside")
    assert (first.ended, second.begun) == (1, 0)


def test_what_wants_to_run_again_after_the_end_does_not(begin: Begin, caplog: pytest.LogCaptureFixture) -> None:
    work = Work(lambda: datetime.now(UTC), blocked=True)
    with released(work):
        schedule = begin(job(work))
        work.wait(begun=1)
        assert not schedule.stop(MOMENT)
    idle(schedule)
    assert work.begun == 1
    assert caplog.records == []


# -- what hangs --------------------------------------------------------------------------------------------------------


def test_a_job_that_does_not_end_shows(begin: Begin, vitals: Vitals, now: list[float]) -> None:
    work = Work(blocked=True)
    with released(work):
        schedule = begin(job(work, allowed=60 * SECOND))
        work.wait(begun=1)
        now[0] += 60
        assert vitals.complaints() == ()
        now[0] += 1
        assert vitals.complaints() == ("job sweep is under way for 61s, allowed are 60s",)
    planned(schedule)
    assert vitals.complaints() == ()


def test_a_job_that_does_not_begin_shows(begin: Begin, vitals: Vitals, now: list[float]) -> None:
    work = Work()
    schedule = begin(job(work, first_after=HOUR, allowed=60 * SECOND))
    now[0] += 3660
    assert vitals.complaints() == ()
    now[0] += 5
    assert vitals.complaints() == ("job sweep was to begin 5s ago",)
    schedule.all_at_once()
    work.wait(ended=1)
    planned(schedule)
    assert vitals.complaints() == ()
    now[0] += 3600 + 61
    assert vitals.complaints() == ("job sweep was to begin 1s ago",)


def test_a_job_may_wait_for_all_that_share_its_thread(begin: Begin, vitals: Vitals, now: list[float]) -> None:
    both = [job(Work(), name=name, lane="aside", first_after=HOUR, allowed=60 * SECOND) for name in ("audit", "prune")]
    begin(*both, job(Work(), first_after=2 * HOUR))
    now[0] += 3720
    assert vitals.complaints() == ()
    now[0] += 1
    assert vitals.complaints() == ("job audit was to begin 1s ago", "job prune was to begin 1s ago")


def test_after_the_end_nothing_is_awaited(begin: Begin, vitals: Vitals, now: list[float]) -> None:
    work = Work(blocked=True)
    with released(work):
        schedule = begin(job(work), job(Work(), name="snapshot", first_after=HOUR))
        work.wait(begun=1)
        assert not schedule.stop(MOMENT)
    idle(schedule)
    now[0] += 10 * 3600
    assert vitals.complaints() == ()
