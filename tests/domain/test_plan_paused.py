"""A pause holds writes back; asking, downloading and storing go on, since results die."""

from typing import Any

import pytest

from reconciler.domain.actions import Action, AskSong, AskTask, Buy, Fetch, ListStore, Measure, Wait, Write
from reconciler.domain.gate import GateName
from reconciler.domain.model import Memory, Track
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
    memory,
    planned,
    seen,
    task,
    tasks,
    track,
)
from tests.domain.test_standing import GATE

HELD = Wait(None, None, Reason.PAUSED)


def paused(**changes: Any) -> Memory:
    return memory(paused=True, **changes)


WRITES: list[tuple[Track, dict[str, Any], tuple[State, Reason | None]]] = [
    (track(), {"kept": (kept(),)}, (State.MISSING, Reason.PAUSED)),
    (track(COVER), {"kept": (kept(),), "sighting": seen(COVER, 360, 360)}, (State.BELOW_TARGET, Reason.PAUSED)),
    (track(), {"kept": (kept(was_written=True),), "restores": (NOW - DAY,)}, (State.MISSING, Reason.PAUSED)),
    (track(RESULT), {"kept": (kept(origin=RESULT),), "sighting": seen(RESULT)}, (State.EXPIRING, None)),
    (track(DURABLE), {"sighting": seen(DURABLE)}, (State.OK, None)),
]


@pytest.mark.parametrize(("the_track", "known", "place"), WRITES)
def test_what_would_be_written_waits_for_the_end_of_the_pause(
    the_track: Track, known: dict[str, Any], place: tuple[State, Reason | None]
) -> None:
    assert isinstance(planned(the_track, memory(**known)), Write)
    assert planned(the_track, paused(**known)) == HELD
    one = case(the_track, paused(**known))
    where = classify(one, GATE)
    assert (where.state, where.reason) == place
    assert (where.due_at, where.held, where.wants) == (None, GateName.PAUSED, None)


@pytest.mark.parametrize(
    ("the_track", "known", "action"),
    [
        (track(DURABLE), {}, Measure),
        (track(), {"listed": False}, ListStore),
        (track(TASK), {}, AskTask),
        (track(), {"song": None}, AskSong),
        (track(), {"tasks": tasks(done_task(RESULT)), "purchases": (accepted(),)}, Fetch),
        (track(), {"kept": (kept(checked_at=NOW - HOUR),)}, Fetch),
        (track(), {}, Buy),
    ],
)
def test_everything_else_goes_on_and_purchases_are_held_at_the_gate(
    the_track: Track, known: dict[str, Any], action: type[Action]
) -> None:
    assert isinstance(planned(the_track, paused(**known)), action)
    assert planned(the_track, paused(**known)) == planned(the_track, memory(**known))


def test_a_track_whose_write_is_held_still_asks_what_was_paid_for() -> None:
    def late(next_poll: object) -> dict[str, Any]:
        running = task(created_at=NOW - 9 * HOUR, next_poll=next_poll)
        return {"kept": (kept(),), "tasks": tasks(running), "purchases": (accepted(at=NOW - 9 * HOUR),)}

    assert planned(track(), paused(**late(NOW))) == AskTask(TASK)
    assert planned(track(), paused(**late(NOW + MINUTE))) == Wait(NOW + MINUTE, None, Reason.PAUSED)
    one = case(track(), paused(**late(NOW + MINUTE)))
    where = classify(one, GATE)
    assert (where.due_at, where.held) == (NOW + MINUTE, GateName.PAUSED)
