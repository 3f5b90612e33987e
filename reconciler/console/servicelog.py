"""What happens around the sweeps of a daemon, as log lines.

Names of events: started, sweep, audit, job_failed, job_recovered, job_late, job_overlap, clock_jumped, hung, pruned,
page_failed, stopped. A job that fails again and again is said once an hour until the cause is another, and once more
when it has recovered; pages that fail are said once an hour for each cause.
"""

import time
from collections.abc import Callable
from typing import assert_never

from loguru import logger

from reconciler.console.eventlog import Said, place_of, say
from reconciler.domain.texts import plain
from reconciler.engine.events import Result
from reconciler.ports import StoreError
from reconciler.service.events import (
    ClockJumped,
    Forgotten,
    Hung,
    JobFailed,
    JobRecovered,
    Late,
    PageFailed,
    ServiceEvent,
    Started,
    Stopped,
    Swept,
)


class ServiceLog:
    """For one daemon. May be told by several threads. `monotonic`: seconds."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._failing: dict[str, tuple[str, Said]] = {}
        self._pages = Said(monotonic)

    def __call__(self, event: ServiceEvent) -> None:
        match event:
            case Started(url=url, rests_on=rests_on):
                say("INFO", "started", pages=url, **rests_on)
            case Swept():
                _swept(event)
            case JobFailed():
                self._failed(event)
            case JobRecovered(job=job):
                self._failing.pop(job, None)
                say("INFO", "job_recovered", job=job)
            case Late(job=job, overlap=overlap):
                todo = "It goes on with the next run; if it comes often, lengthen the job's interval."
                say("WARNING", "job_overlap" if overlap else "job_late", job=job, todo=todo)
            case ClockJumped(by=by):
                say("WARNING", "clock_jumped", seconds=round(by.total_seconds()), todo="All jobs begin at once.")
            case Hung(complaints=complaints):
                for complaint in complaints:
                    say("ERROR", "hung", what=complaint, todo="The stacks follow; the process ends if it lasts.")
            case Forgotten(tracks=tracks, attempts=attempts):
                say("INFO" if tracks else "DEBUG", "pruned", tracks=tracks, attempts=attempts)
            case PageFailed():
                self._page(event)
            case Stopped():
                _stopped(event)
            case _:  # pragma: no cover
                assert_never(event)

    def _failed(self, event: JobFailed) -> None:
        error = event.error
        cause = f"{type(error).__name__} at {place_of(error)}" if event.mistake else plain(error)
        last, said = self._failing.get(event.job, ("", None))
        if said is None or last != cause:
            said = Said(self._monotonic)
            self._failing[event.job] = cause, said
        if not said.fresh():
            return
        todo = "Please report it." if event.mistake else "It is tried again on schedule."
        say("ERROR", "job_failed", job=event.job, detail=cause, todo=todo)
        if event.mistake:
            logger.opt(exception=error).debug("job_failed")

    def _page(self, event: PageFailed) -> None:
        error, place = event.error, place_of(event.error)
        name, detail = type(error).__name__, plain(error) if isinstance(error, StoreError) else None
        if self._pages.fresh(name, place):
            say("WARNING", "page_failed", path=event.path, error=name, place=place, detail=detail)


def _stopped(event: Stopped) -> None:
    if event.in_order:
        say("INFO", "stopped")
    else:
        say("WARNING", "stopped", todo="A call still hung; what it left is taken up at the next start.")


def _swept(event: Swept) -> None:
    result, name = event.result, "sweep" if event.trigger is not None else "audit"
    level = "INFO" if _did_something(result) else "DEBUG"
    say(
        level,
        name,
        sweep=event.sweep,
        trigger=event.trigger,
        seconds=round(event.took.total_seconds(), 2),
        looked_at=sum(result.states.values()),
        resolved=sum(result.resolved.values()),
        purchases=result.purchases,
        written=result.writes,
        mistakes=result.mistakes or None,
    )


def _did_something(result: Result) -> bool:
    return bool(result.purchases or result.writes or result.mistakes or result.resolved)
