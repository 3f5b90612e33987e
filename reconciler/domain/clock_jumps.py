"""After the clock was set back: what was remembered from later on must not hold anything up until that comes again."""

from datetime import datetime

from reconciler.domain.altered import altered
from reconciler.domain.backoff import LONGEST_POLL
from reconciler.domain.model import Ailment, Kept, Memory, Purchase, Sighting, Song, Task
from reconciler.domain.policy import Policy


def not_ahead(memory: Memory, policy: Policy, now: datetime) -> Memory:
    """What happened, happened by now; what is to come, comes within the longest wait.

    Until when a purchase may be sent and answered is the gate's to mend.
    """
    retry, poll = now + policy.retry_max, now + LONGEST_POLL
    return altered(
        memory,
        first_seen=min(memory.first_seen, now),
        needy_since=_by(memory.needy_since, now),
        gone_since=_by(memory.gone_since, now),
        listed_at=_by(memory.listed_at, now),
        reopened_at=_by(memory.reopened_at, now),
        interrupted_at=_by(memory.interrupted_at, now),
        restores=tuple(min(at, now) for at in memory.restores),
        sighting=_sighting(memory.sighting, now) if memory.sighting is not None else None,
        written=altered(memory.written, at=min(memory.written.at, now)) if memory.written is not None else None,
        purchases=tuple(_purchase(purchase, now) for purchase in memory.purchases),
        kept=tuple(_kept(kept, now) for kept in memory.kept),
        ailments={name: _ailment(ailment, now, retry) for name, ailment in memory.ailments.items()},
        song=_song(memory.song, now, retry if memory.song.faults else poll) if memory.song is not None else None,
        tasks={name: _task(task, now, retry if task.faults else poll) for name, task in memory.tasks.items()},
    )


def _by(at: datetime | None, latest: datetime) -> datetime | None:
    return None if at is None else min(at, latest)


def _sighting(sighting: Sighting, now: datetime) -> Sighting:
    return altered(sighting, at=min(sighting.at, now), first_at=min(sighting.first_at, now))


def _kept(kept: Kept, now: datetime) -> Kept:
    return altered(kept, at=min(kept.at, now), checked_at=_by(kept.checked_at, now))


def _purchase(purchase: Purchase, now: datetime) -> Purchase:
    answered_at, ended_at = _by(purchase.answered_at, now), _by(purchase.ended_at, now)
    return altered(purchase, at=min(purchase.at, now), answered_at=answered_at, ended_at=ended_at)


def _ailment(ailment: Ailment, now: datetime, latest: datetime) -> Ailment:
    first_refused, first_fault = _by(ailment.first_refused, now), _by(ailment.first_fault, now)
    return altered(
        ailment, first_refused=first_refused, first_fault=first_fault, retry_at=_by(ailment.retry_at, latest)
    )


def _song(song: Song, now: datetime, latest: datetime) -> Song:
    first_asked, first_fault = _by(song.first_asked, now), _by(song.first_fault, now)
    return altered(song, first_asked=first_asked, first_fault=first_fault, next_ask=_by(song.next_ask, latest))


def _task(task: Task, now: datetime, latest: datetime) -> Task:
    return altered(
        task,
        first_seen=min(task.first_seen, now),
        created_at=_by(task.created_at, now),
        next_poll=_by(task.next_poll, latest),
        first_not_found=_by(task.first_not_found, now),
        first_fault=_by(task.first_fault, now),
        completed_at=_by(task.completed_at, now),
    )
