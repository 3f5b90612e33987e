"""Without a key nothing is asked of Kie and nothing bought in the place of what is not known; the rest goes on."""

from typing import Any

import pytest

from reconciler.domain.actions import Action, AskSong, AskTask, Buy, Fetch, Measure, Wait, Write
from reconciler.domain.gate import GateName
from reconciler.domain.model import Memory, Track
from reconciler.domain.plan import farewell, plan
from reconciler.domain.standing import classify
from reconciler.domain.states import Reason, State
from tests.domain.builders import (
    COVER,
    DAY,
    DURABLE,
    HOUR,
    MINUTE,
    NOW,
    RESULT,
    TASK,
    accepted,
    case,
    done_task,
    kept,
    lost,
    memory,
    planned,
    seen,
    task,
    tasks,
    track,
)
from tests.domain.test_standing import GATE

KEYLESS: dict[str, Any] = {"asks_tasks": False, "asks_songs": False, "per_day": 0}
UNASKED = Wait(None, None, Reason.UNAUTHORIZED)
BOUGHT = {"purchases": (accepted(),), "tasks": tasks(task(next_poll=NOW))}

QUESTIONS: list[tuple[Track, Memory, tuple[State, Reason | None]]] = [
    (track(TASK), memory(), (State.MISSING, Reason.UNAUTHORIZED)),
    (track(), memory(**BOUGHT), (State.MISSING, Reason.UNAUTHORIZED)),
    (track(), memory(song=None), (State.MISSING, Reason.UNAUTHORIZED)),
    (track(updated_at=NOW), memory(song=None), (State.SETTLING, None)),
    (track(COVER), memory(sighting=seen(COVER, 360, 360), **BOUGHT), (State.BELOW_TARGET, Reason.UNAUTHORIZED)),
]


@pytest.mark.parametrize(("the_track", "known", "place"), QUESTIONS)
def test_who_is_to_be_asked_for_waits_for_a_key(
    the_track: Track, known: Memory, place: tuple[State, Reason | None]
) -> None:
    assert isinstance(planned(the_track, known), AskTask | AskSong)
    one = case(the_track, known, **KEYLESS)
    assert plan(one) == UNASKED
    where = classify(one, GATE)
    assert (where.state, where.reason) == place
    assert (where.due_at, where.held, where.wants) == (None, GateName.KEY, None)


@pytest.mark.parametrize(
    ("the_track", "known", "action"),
    [
        (track(DURABLE), {}, Measure),
        (track(), {"kept": (kept(),)}, Write),
        (track(), {"tasks": tasks(done_task(RESULT)), "purchases": (accepted(),)}, Fetch),
        (track(), {"purchases": (lost(at=NOW - MINUTE),)}, Wait),
        (track(), {}, Buy),
    ],
)
def test_whatever_needs_none_goes_on_and_purchases_are_held_at_the_gate(
    the_track: Track, known: dict[str, Any], action: type[Action]
) -> None:
    found = planned(the_track, memory(**known), **KEYLESS)
    assert isinstance(found, action)
    assert found == planned(the_track, memory(**known))


def test_with_a_key_for_songs_alone_they_are_asked_and_tasks_passed_over() -> None:
    only_songs = {**KEYLESS, "asks_songs": True}
    assert isinstance(planned(track(), memory(song=None), **only_songs), AskSong)
    assert isinstance(planned(track(TASK), memory(song=None), **only_songs), AskSong)
    assert planned(track(TASK), **only_songs) == UNASKED


def test_what_was_paid_for_is_not_asked_for_meanwhile() -> None:
    stale = {"kept": (kept(),), "sighting": seen(DURABLE), **BOUGHT}
    the_track = track(DURABLE, resolution="2048x1152")
    assert planned(the_track, memory(**stale)) == AskTask(TASK)
    again = planned(the_track, memory(**stale), **KEYLESS)
    assert again == planned(the_track, memory(**{**stale, "tasks": {}, "purchases": ()}))
    assert isinstance(again, Wait)


def test_nor_when_the_row_is_gone() -> None:
    assert farewell(memory(**BOUGHT), NOW, asks=True) == AskTask(TASK)
    assert farewell(memory(**BOUGHT), NOW, asks=False) == Wait(NOW + DAY)
    soon = memory(purchases=(accepted(),), tasks=tasks(task(next_poll=NOW + HOUR)))
    assert farewell(soon, NOW, asks=False) == Wait(NOW + HOUR)
