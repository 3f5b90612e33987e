"""After the clock was set back nothing that is remembered lies further ahead than it could."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from reconciler.domain.backoff import LONGEST_POLL, poll_called_after, poll_task_after
from reconciler.domain.clock_jumps import not_ahead
from reconciler.domain.model import Ailment, Memory, Song, Written
from reconciler.domain.runs import Runs
from tests.domain.builders import (
    DAY,
    HOUR,
    KEY,
    LONG_AGO,
    MINUTE,
    NOW,
    OTHER_TASK,
    OURS,
    POLICY,
    SONG,
    TASK,
    accepted,
    kept,
    memory,
    seen,
    task,
    tasks,
)

LATER = NOW + 400 * DAY
RETRY, POLL = NOW + POLICY.retry_max, NOW + LONGEST_POLL
LONG = Runs((60 * DAY,))
PROMISED = accepted(at=LATER)


def dated(happened: datetime | None, retry: datetime | None, poll: datetime | None, song_faults: int = 0) -> Memory:
    """Everything that may have happened did then; what is to come comes at `retry` after a fault, else at `poll`."""
    at = happened or LONG_AGO
    known = task(first_seen=at, created_at=happened, first_not_found=happened, first_fault=happened)
    return memory(
        first_seen=at,
        needy_since=happened,
        gone_since=happened,
        listed_at=happened,
        reopened_at=happened,
        interrupted_at=happened,
        restores=(LONG_AGO, at),
        sighting=seen(OURS, at=at, first_at=at),
        written=Written(OURS, KEY, at, None),
        purchases=(replace(PROMISED, at=at, answered_at=happened, ended_at=happened),),
        kept=(kept(at=at, checked_at=happened),),
        ailments={"a": Ailment(first_refused=happened, first_fault=happened, retry_at=retry, detail="why")},
        song=Song(
            SONG,
            first_asked=happened,
            first_fault=happened,
            faults=song_faults,
            next_ask=retry if song_faults else poll,
        ),
        tasks=tasks(
            replace(known, completed_at=happened, next_poll=poll),
            replace(known, id=OTHER_TASK, completed_at=happened, next_poll=retry, faults=2),
        ),
    )


@pytest.mark.parametrize("song_faults", [0, 3])
def test_what_happened_happened_by_now_and_what_is_to_come_comes_within_the_longest_wait(song_faults: int) -> None:
    mended = not_ahead(dated(LATER, LATER, LATER, song_faults), POLICY, NOW)
    assert mended == dated(NOW, RETRY, POLL, song_faults)
    assert mended.purchases[0].deadline == PROMISED.deadline, "the gate's to mend"


@pytest.mark.parametrize(
    "sound", [dated(LONG_AGO, RETRY - MINUTE, POLL - MINUTE), dated(None, None, None), memory(song=None)]
)
def test_what_is_as_it_can_be_stays(sound: Memory) -> None:
    assert not_ahead(sound, POLICY, NOW) == sound
    assert list(sound.tasks) in ([], [TASK, OTHER_TASK])


@pytest.mark.parametrize("age", [10 * MINUTE, 5 * HOUR, DAY, 40 * DAY])
def test_the_next_poll_stays_when_it_was_to_come(age: timedelta) -> None:
    for pause in (poll_task_after(age, 9, 0.999, LONG), poll_called_after(age, 0.999, LONG)):
        running = memory(tasks=tasks(task(next_poll=NOW + pause)))
        assert not_ahead(running, POLICY, NOW) == running
