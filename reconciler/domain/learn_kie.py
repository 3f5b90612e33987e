"""What is learned from Kie's answers about tasks, songs and purchases."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.domain.backoff import delay, poll_after, poll_called_after, poll_task_after, spin_of
from reconciler.domain.callbacks import confirms, heeding, name_of
from reconciler.domain.case import Case
from reconciler.domain.findings import (
    Accepted,
    AnswerLost,
    Failed,
    Finding,
    NotFound,
    NothingMade,
    Refusal,
    Running,
    SongFinal,
    SongPending,
    Succeeded,
    Trouble,
)
from reconciler.domain.model import Callback, Memory, Outcome, Purchase, Song, Task, TaskState
from reconciler.domain.states import Reason

NOT_FOUNDS_TO_BE_GONE = 3
NOT_FOUND_FOR = timedelta(minutes=10)
NOT_FOUND_YOUNG = timedelta(days=1)
"""An id younger than this is not believed to be gone; a fresh task may be invisible for a while."""


def learn_task(case: Case, task_id: str, finding: Finding) -> Memory:
    task = case.memory.task(task_id, case.now)
    tokens = {purchase.token for purchase in case.memory.purchases if purchase.task_id == task_id}
    memory = heeding(case.memory, lambda callback: callback.token in tokens)
    return memory.with_task(_followed(case, task, finding))


def learn_confirmation(case: Case, task_id: str, token: str, finding: Finding) -> Memory:
    """Whether this task, named by a callback, is the lost order: only if it was ordered with the order's token."""
    name, ailment = name_of(task_id), case.memory.ailing(name_of(task_id))
    match finding:
        case Running() | Succeeded() | Failed():
            memory = _dealt_with(case.memory, token, task_id)
            return _adopted(case, memory, task_id, token, finding) if confirms(finding.call_back_url, token) else memory
        case NotFound(detail=detail):
            count, first = ailment.refusals + 1, ailment.first_refused or case.now
            if count >= NOT_FOUNDS_TO_BE_GONE and case.now - first >= NOT_FOUND_FOR:
                return _dealt_with(case.memory, token, task_id)
            pause = delay(count, case.policy.retry_min, NOT_FOUND_FOR / 2, spin_of(name, count))
            ailment = replace(ailment, refusals=count, first_refused=first, retry_at=case.now + pause, detail=detail)
        case Trouble(detail=detail):
            count, first = ailment.faults + 1, case.failing_since(ailment.first_fault, ailment.retry_at)
            until = case.now + _pause(case, name, count, finding)
            ailment = replace(ailment, faults=count, first_fault=first, retry_at=until, detail=detail)
        case _:
            raise TypeError(f"a task cannot come back with {type(finding).__name__}")
    return case.memory.with_ailment(name, replace(ailment, reason=Reason.UNKNOWN_PURCHASE))


def _dealt_with(memory: Memory, token: str, task_id: str) -> Memory:
    memory = memory.without_ailments(name_of(task_id))
    return heeding(memory, lambda callback: callback == Callback(token, task_id))


def _adopted(case: Case, memory: Memory, task_id: str, token: str, finding: Finding) -> Memory:
    purchase = next(p for p in memory.purchases if p.token == token)
    found = replace(purchase, outcome=Outcome.ACCEPTED, task_id=task_id, detail="a callback named its task")
    memory = memory.with_purchase(found)
    return memory.with_task(_followed(case, memory.task(task_id, case.now), finding))


def _followed(case: Case, task: Task, finding: Finding) -> Task:
    match finding:
        case Running(created_at=created):
            task = replace(task, created_at=task.created_at or _past(case, created), not_found=0, first_not_found=None)
            task = _answered(task)
            age = max(case.now - task.since(), timedelta(0))
            return replace(task, next_poll=case.now + _pause_of(case, task, age, is_ours=task.id in case.own_tasks))
        case Succeeded():
            ended = _past(case, finding.completed_at) or case.now
            created = task.created_at or _past(case, finding.created_at)
            task = replace(task, urls=finding.urls, completed_at=ended, created_at=created)
            return replace(_answered(task), state=TaskState.SUCCEEDED, next_poll=None)
        case Failed():
            failure = _FAILURES.get(finding.refusal, Reason.PROVIDER_FAILED)
            task = replace(task, failure=failure, detail=finding.detail, completed_at=case.now)
            return replace(_answered(task), state=TaskState.FAILED, next_poll=None)
        case NotFound():
            return _not_found(case, task, finding)
        case Trouble():
            return _troubled(case, task, finding)
        case _:
            raise TypeError(f"a task cannot come back with {type(finding).__name__}")


_FAILURES: Mapping[Refusal | None, Reason] = {
    Refusal.CONTENT: Reason.CONTENT_REJECTED,
    Refusal.REQUEST: Reason.REQUEST_REJECTED,
}
"""By what a failed task's words say; a task that failed for anything else may be ordered again as it was."""


def _past(case: Case, at: datetime | None) -> datetime | None:
    """A date by Kie's clock, at the latest now: a task from the future would never be overdue or gone."""
    return None if at is None else min(at, case.now)


def _answered(task: Task) -> Task:
    return replace(task, polls=task.polls + 1, faults=0, first_fault=None)


def _not_found(case: Case, task: Task, finding: NotFound) -> Task:
    """Believed only after three over ten minutes, of an id a day old or of unknown age."""
    count, first = task.not_found + 1, task.first_not_found or case.now
    old = task.created_at is None or case.now - task.created_at > NOT_FOUND_YOUNG
    task = replace(_answered(task), not_found=count, first_not_found=first, detail=finding.detail)
    if old and count >= NOT_FOUNDS_TO_BE_GONE and case.now - first >= NOT_FOUND_FOR:
        return replace(task, state=TaskState.GONE, next_poll=None)
    pause = NOT_FOUND_FOR / (NOT_FOUNDS_TO_BE_GONE - 1) if old else poll_after(case.now - task.since(), count, 0.5)
    return replace(task, next_poll=case.now + pause)


def _troubled(case: Case, task: Task, trouble: Trouble) -> Task:
    faults = task.faults + 1
    return replace(
        task,
        faults=faults,
        first_fault=case.failing_since(task.first_fault, task.next_poll),
        next_poll=case.now + _pause(case, task.id, faults, trouble),
        detail=trouble.detail,
    )


def _pause(case: Case, name: str, faults: int, trouble: Trouble) -> timedelta:
    return max(
        case.pause(faults, name),
        timedelta(seconds=min(trouble.retry_after_s or 0.0, case.policy.retry_max.total_seconds())),
    )


def learn_song(case: Case, song_id: str, finding: Finding) -> Memory:
    before = case.memory.song if case.memory.song and case.memory.song.id == song_id else Song(song_id)
    song = replace(before, asked=before.asked + 1, first_asked=before.first_asked or case.now)
    return replace(case.memory, song=_heard(case, song, finding))


def _heard(case: Case, song: Song, finding: Finding) -> Song:
    match finding:
        case SongFinal(urls=covers):
            return replace(song, final=True, urls=covers, next_ask=None, faults=0, first_fault=None)
        case SongPending() | NotFound():
            asked_for = case.now - (song.first_asked or case.now)
            if asked_for >= _patience(case, finding):
                return replace(song, final=True, next_ask=None)
            pause = poll_after(asked_for, song.asked, spin_of(song.id, song.asked))
            return replace(song, next_ask=case.now + pause, faults=0, first_fault=None)
        case Trouble():
            faults = song.faults + 1
            until = case.now + _pause(case, song.id, faults, finding)
            since = case.failing_since(song.first_fault, song.next_ask)
            return replace(song, faults=faults, first_fault=since, next_ask=until)
        case _:
            raise TypeError(f"a song cannot come back with {type(finding).__name__}")


FRESH_INVISIBLE = timedelta(seconds=90)


def _patience(case: Case, finding: SongPending | NotFound) -> timedelta:
    """How long a song may stay unfinished or unfound: a record that hangs, and one of another account, end too."""
    if isinstance(finding, SongPending):
        return case.policy.stale_after
    created = case.track.created_at
    fresh = created is not None and case.now - created < FRESH_INVISIBLE
    return FRESH_INVISIBLE if fresh else timedelta(0)


def learn_creation(case: Case, purchase: Purchase, finding: Finding) -> Memory:
    if not isinstance(finding, AnswerLost) or finding.heard:
        purchase = replace(purchase, answered_at=case.now)
    match finding:
        case Accepted(task_id=task_id, urls=found):
            purchase = replace(purchase, outcome=Outcome.ACCEPTED, task_id=task_id, urls=found)
            memory = case.memory.with_purchase(purchase)
            return memory.with_task(_new_task(case, task_id, found)) if task_id is not None else memory
        case NothingMade():
            refusal = _REFUSALS.get(finding.refusal)
            purchase = replace(purchase, outcome=Outcome.NOTHING, sent=finding.sent, refusal=refusal, ended_at=case.now)
            return case.memory.with_purchase(replace(purchase, detail=finding.detail))
        case AnswerLost():
            return case.memory.with_purchase(replace(purchase, outcome=Outcome.UNKNOWN, detail=finding.detail))
        case _:
            raise TypeError(f"a purchase cannot come back with {type(finding).__name__}")


_REFUSALS = {
    Refusal.CONTENT: Reason.CONTENT_REJECTED,
    Refusal.OUTAGE: Reason.PROVIDER_FAILED,
    Refusal.STORE: Reason.STORAGE_FAILED,
}
"""The refusals that say something of this track's request, or that no closed gate answers for."""


def _new_task(case: Case, task_id: str, found: tuple[str, ...]) -> Task:
    task = Task(task_id, first_seen=case.now, created_at=case.now)
    if found:
        return replace(task, state=TaskState.SUCCEEDED, urls=found, completed_at=case.now)
    return replace(task, next_poll=case.now + _pause_of(case, task, timedelta(0), is_ours=True))


def _pause_of(case: Case, task: Task, age: timedelta, *, is_ours: bool) -> timedelta:
    spin = spin_of(task.id, task.polls)
    if case.runs.called and is_ours:
        return poll_called_after(age, spin, case.runs)
    return poll_task_after(age, task.polls, spin, case.runs)
