"""Jobs on a schedule: none twice at once, none forgotten, each watched while it runs and until it runs again."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Condition

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_SUBMITTED, JobSubmissionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from reconciler.service.events import Late, Tell
from reconciler.service.vitals import Vitals

AT_LEAST = timedelta(seconds=1)
"""Between two runs of a job, whatever it asks for: no mistake of ours may keep it running for nothing."""

_QUIET = logging.getLogger("reconciler.scheduler")
"""The library warns of what is told as Late."""
_QUIET.setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Job:
    """`work` returns when it wants to run again, if that is before `every` has passed; it must raise nothing.

    `allowed`: how long a run may take. `lane`: jobs of one lane share a thread. `first_after`: when it first runs.
    """

    name: str
    work: Callable[[], datetime | None]
    every: timedelta
    allowed: timedelta
    lane: str
    first_after: timedelta = timedelta(0)


class _Every(BaseTrigger):  # type: ignore[misc]  # the library has no types
    """Again when `length` has passed since the job last began, or was left out.

    The library's own interval counts through all the times that have passed: how late a job is could not be told, and
    a clock that was set right by years would keep it counting for minutes.
    """

    def __init__(self, length: timedelta) -> None:
        self._length = length

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        return now + self._length


class Schedule:
    def __init__(self, vitals: Vitals, tell: Tell, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._vitals, self._tell, self._clock = vitals, tell, clock
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            logger=_QUIET,
            # The library's own defaults drop what is late, silently.
            job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None},
        )
        self._scheduler.add_listener(self._submitted, EVENT_JOB_SUBMITTED)
        self._scheduler.add_listener(self._overlapped, EVENT_JOB_MAX_INSTANCES)
        self._jobs: dict[str, Job] = {}
        self._under_way, self._wanted = set[str](), set[str]()
        self._stopped = False
        self._ended = Condition()

    def add(self, job: Job) -> None:
        if job.lane not in {known.lane for known in self._jobs.values()}:
            self._scheduler.add_executor(ThreadPoolExecutor(1), job.lane)
        self._jobs[job.name] = job
        self._scheduler.add_job(
            partial(self._run, job),
            _Every(job.every),
            id=job.name,
            name=job.name,
            executor=job.lane,
            next_run_time=self._clock() + job.first_after,
        )

    def start(self) -> None:
        for job in self._jobs.values():
            self._expect(job, job.first_after)
        self._scheduler.start()

    def all_at_once(self) -> None:
        """The wall clock was set: the times that jobs wait for mean nothing any more."""
        for name in self._jobs:
            self._scheduler.modify_job(name, next_run_time=self._clock())

    def soon(self, name: str) -> None:
        """Run this job as soon as may be; where it runs already, once more after that."""
        with self._ended:
            if name in self._under_way:
                self._wanted.add(name)
                return
        with suppress(JobLookupError):  # stopped meanwhile
            self._scheduler.modify_job(name, next_run_time=self._clock())

    def stop(self, within: timedelta) -> bool:
        """Nothing begins any more; wait for what runs. False: something still runs."""
        with self._ended:
            self._stopped = True  # what waits for its thread would begin yet
            for job in self._jobs.values():
                self._vitals.release(f"job {job.name}")
        self._scheduler.shutdown(wait=False)
        with self._ended:
            return self._ended.wait_for(lambda: not self._under_way, within.total_seconds())

    def _run(self, job: Job) -> None:
        with self._ended:
            if self._stopped:
                return
            self._under_way.add(job.name)
        self._vitals.release(f"job {job.name}")  # it began
        again_at = None
        try:
            with self._vitals.within(f"job {job.name}", job.allowed):
                again_at = job.work()
        finally:
            self._over(job, again_at)

    def _over(self, job: Job, again_at: datetime | None) -> None:
        with self._ended:
            if not self._stopped:
                self._expect(job, job.every)
            if job.name in self._wanted:
                self._wanted.remove(job.name)
                again_at = self._clock()
            if again_at is not None:
                self._again(job, again_at)
            self._under_way.remove(job.name)
            self._ended.notify_all()

    def _again(self, job: Job, at: datetime) -> None:
        now = self._clock()
        if at < now + job.every:
            with suppress(JobLookupError):  # stopped meanwhile
                self._scheduler.modify_job(job.name, next_run_time=max(at, now + AT_LEAST))

    def _expect(self, job: Job, after: timedelta) -> None:
        """It may have to wait until all that share its thread had their turn."""
        turns = sum((other.allowed for other in self._jobs.values() if other.lane == job.lane), timedelta(0))
        self._vitals.expect(f"job {job.name}", after + turns)

    def _submitted(self, event: JobSubmissionEvent) -> None:
        job, planned = self._jobs[event.job_id], event.scheduled_run_times[-1]
        if self._clock() - planned > job.every:
            self._tell(Late(job.name, overlap=False))

    def _overlapped(self, event: JobSubmissionEvent) -> None:
        self._tell(Late(event.job_id, overlap=True))
