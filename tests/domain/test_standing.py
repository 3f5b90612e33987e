"""Where a track stands: one state, and for a stuck one exactly one reason."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from reconciler.domain.breaker import Breaker, Stage
from reconciler.domain.gate import Closure, GateName, GateView, Proof
from reconciler.domain.look import is_picture
from reconciler.domain.model import Ailment, Memory, Song, Track
from reconciler.domain.standing import Standing, Stood, classify, newcomer, reason_at
from reconciler.domain.states import AT_REST, Reason, State
from tests.domain.builders import (
    COVER,
    DAY,
    DURABLE,
    HOUR,
    LONG_AGO,
    MINUTE,
    NOW,
    OURS,
    POLICY,
    RESULT,
    SECOND,
    SHAPE,
    SONG,
    TASK,
    accepted,
    case,
    done_task,
    faulty,
    kept,
    lost,
    memory,
    nothing,
    purchase,
    seen,
    task,
    tasks,
    track,
)

GATE = GateView(NOW, balance=1000, balance_at=NOW, proofs={SHAPE: Proof(proven=True)})
PROBING = replace(GATE, breaker=Breaker(Stage.PROBING, retry_at=NOW + HOUR))
GRACE: dict[str, Any] = {"updated_at": NOW}


def place(the_track: Track, the_memory: Memory | None = None, gate: GateView = GATE) -> tuple[object, object]:
    where = stands(the_track, the_memory, gate)
    return where.state, where.reason


def stands(the_track: Track, the_memory: Memory | None = None, gate: GateView = GATE) -> Standing:
    return classify(case(the_track, the_memory), gate)


GOOD = memory(sighting=seen(DURABLE))
DEAD = Ailment(refusals=3, dead=True)
SMALL = memory(sighting=seen(COVER, 360, 360))


@pytest.mark.parametrize(
    ("the_track", "the_memory", "state", "reason"),
    [
        (track(status="failed"), memory(), None, None),
        (track(flaw="id"), memory(), State.INVALID, Reason.INVALID_ROW),
        (track(flaw="id"), memory(ignored=True), None, None),
        # the look of the picture
        (track(DURABLE, resolution="2048x1152"), GOOD, State.OK, None),
        (track(DURABLE), GOOD, State.OK, None),
        (track(DURABLE, **GRACE), GOOD, State.OK, None),
        (track(RESULT), memory(sighting=seen(RESULT)), State.EXPIRING, None),
        (track(RESULT), memory(sighting=seen(RESULT), ailments={RESULT: faulty()}), State.EXPIRING, None),
        (track(DURABLE), memory(), State.UNVERIFIED, None),
        (track(), memory(), State.MISSING, Reason.DUE),
        (track(), memory(song=None), State.MISSING, Reason.DUE),
        (track(), memory(song=Song(SONG, next_ask=NOW + MINUTE)), State.MISSING, Reason.DUE),
        (track(), memory(host_suspect=True), State.MISSING, Reason.HOST_SUSPECT),
        (track(DURABLE), memory(host_suspect=True, ailments={DURABLE: DEAD}), State.MISSING, Reason.HOST_SUSPECT),
        (track(COVER), SMALL, State.BELOW_TARGET, Reason.DUE),
        (track(DURABLE), memory(sighting=seen(DURABLE, 4096, 2304)), State.BELOW_TARGET, Reason.DUE),
        (track(), memory(kept=(kept(was_written=True),)), State.MISSING, Reason.DUE),
        # settling wins over it
        (track(**GRACE), memory(), State.SETTLING, None),
        (track(COVER, **GRACE), SMALL, State.SETTLING, None),
        (track(DURABLE, **GRACE), memory(), State.SETTLING, None),
        (track(RESULT, **GRACE), memory(sighting=seen(RESULT)), State.SETTLING, None),
        (track(**GRACE), memory(kept=(kept(was_written=True),)), State.SETTLING, None),
        # work begun wins over both
        (track(), memory(purchases=(purchase(at=NOW),)), State.SUBMITTING, Reason.IN_FLIGHT),
        (track(**GRACE), memory(purchases=(purchase(at=NOW),)), State.SUBMITTING, Reason.IN_FLIGHT),
        (track(), memory(purchases=(lost(at=NOW - HOUR),)), State.UNKNOWN, Reason.UNKNOWN_PURCHASE),
        (track(TASK), memory(), State.AWAITING, Reason.IN_FLIGHT),
        (track(TASK), memory(tasks=tasks(task())), State.AWAITING, Reason.IN_FLIGHT),
        (track(TASK), memory(tasks=tasks(task(created_at=LONG_AGO, next_poll=NOW))), State.AWAITING, Reason.OVERDUE),
        (track(TASK), memory(tasks=tasks(done_task(RESULT))), State.FETCHING, Reason.IN_FLIGHT),
        (track(), memory(kept=(kept(),)), State.FETCHING, Reason.IN_FLIGHT),
        (track(**GRACE), memory(kept=(kept(),)), State.FETCHING, Reason.IN_FLIGHT),
        # what failed
        (track(DURABLE), memory(ailments={DURABLE: faulty()}), State.BACKING_OFF, Reason.DOWNLOAD_FAILED),
        (
            track(),
            memory(purchases=(nothing("p1", Reason.PROVIDER_FAILED, NOW),)),
            State.BACKING_OFF,
            Reason.PROVIDER_FAILED,
        ),
        (track(DURABLE), memory(ailments={DURABLE: faulty(7 * DAY)}), State.FAILED, Reason.DOWNLOAD_FAILED),
        (track(DURABLE), memory(interruptions=3), State.FAILED, Reason.IMAGE_REJECTED),
        (
            track(RESULT),
            memory(sighting=seen(RESULT), ailments={RESULT: faulty(7 * DAY)}),
            State.FAILED,
            Reason.DOWNLOAD_FAILED,
        ),
    ],
)
def test_every_track_has_its_place(
    the_track: Track, the_memory: Memory, state: State | None, reason: Reason | None
) -> None:
    assert place(the_track, the_memory) == (state, reason)


SHUT = {
    Reason.PAUSED: replace(GATE, paused=True),
    Reason.OUT_OF_CREDITS: replace(GATE, balance=1),
    Reason.UNAUTHORIZED: replace(GATE, closures=(Closure(GateName.KEY, NOW, NOW + MINUTE),)),
    Reason.MODEL_UNPROVEN: replace(GATE, proofs={SHAPE: Proof(refused=3)}),
}


@pytest.mark.parametrize("reason", SHUT)
def test_a_track_that_the_gate_holds_back_says_why_and_is_due_when_it_opens(reason: Reason) -> None:
    assert place(track(), gate=SHUT[reason]) == (State.MISSING, reason)
    assert place(track(COVER), SMALL, SHUT[reason]) == (State.BELOW_TARGET, reason)
    held = stands(track(), gate=SHUT[reason])
    assert (held.due_at, held.held) == (None, SHAPE)
    free = stands(track())
    assert (free.due_at, free.held) == (NOW, None)


def test_a_track_that_the_gate_holds_back_still_asks_its_overdue_task() -> None:
    late = memory(tasks=tasks(task(created_at=LONG_AGO, next_poll=NOW + MINUTE)), handed=(TASK,))
    held = stands(track(), late, SHUT[Reason.PAUSED])
    assert (held.due_at, held.held) == (NOW + MINUTE, SHAPE)


def test_a_track_that_the_gate_holds_back_still_tries_to_fetch_what_was_paid_for() -> None:
    bought = {"purchases": (accepted(song="6" * 32),), "tasks": tasks(done_task(RESULT))}
    awaited = replace(GATE, proofs={SHAPE: Proof(out=3)})
    held = stands(track(), memory(**bought, ailments={RESULT: faulty()}), awaited)
    assert (held.due_at, held.held) == (NOW + MINUTE, SHAPE)


@pytest.mark.parametrize(
    ("the_track", "the_memory"), [(track(TASK), memory()), (track(), memory(song=None))], ids=["task", "song"]
)
def test_a_track_that_would_ask_kie_next_waits_for_a_key_that_kie_takes(the_track: Track, the_memory: Memory) -> None:
    refused = SHUT[Reason.UNAUTHORIZED]
    held = stands(the_track, the_memory, refused)
    assert (held.due_at, held.held) == (None, GateName.KEY)
    for gate in (GATE, replace(refused, now=NOW + MINUTE)):
        asks = stands(the_track, the_memory, gate)
        assert (asks.due_at, asks.held) == (NOW, None)


def test_who_would_buy_stands_as_the_gate_says_now() -> None:
    shut = replace(GateView(NOW), paused=True)
    waiting = Stood(State.MISSING, Reason.BUDGET, SHAPE, False)
    assert waiting.stands(shut, POLICY) == (State.MISSING, Reason.PAUSED)
    for other in (
        waiting._replace(wants=None),
        waiting._replace(wants="a shape of other days"),
        waiting._replace(reason=None),
    ):
        assert other.stands(shut, POLICY) == (State.MISSING, other.reason)
    few = replace(POLICY, min_credits=0)
    assert waiting.stands(replace(GATE, balance=5), few) == (State.MISSING, Reason.DUE)
    assert waiting.stands(replace(GATE, balance=4), few) == (State.MISSING, Reason.OUT_OF_CREDITS)
    assert waiting.stands(SHUT[Reason.MODEL_UNPROVEN], POLICY) == (State.MISSING, Reason.MODEL_UNPROVEN)
    assert waiting.stands(PROBING, POLICY) == (State.MISSING, Reason.DUE)
    assert waiting._replace(repeats=True).stands(PROBING, POLICY) == (State.MISSING, Reason.GATE_CLOSED)


def test_a_repeat_waits_for_a_time_of_its_own_since_others_may_pass() -> None:
    again = memory(purchases=(lost(),))
    shut = stands(track(), again, SHUT[Reason.UNAUTHORIZED])
    assert (shut.due_at, shut.held) == (NOW + MINUTE, None)
    assert stands(track(), again, SHUT[Reason.PAUSED]).held == SHAPE


@pytest.mark.parametrize(
    ("the_track", "the_memory", "due_at"),
    [
        (track(DURABLE), memory(), NOW),
        (track(TASK), memory(tasks=tasks(task())), NOW + MINUTE),
        (track(), memory(purchases=(purchase(at=NOW),)), NOW + 46 * SECOND),
        (track(DURABLE), memory(ailments={DURABLE: faulty(7 * DAY)}), None),
        (track(), memory(kept=(kept(was_written=True),), restores=(NOW - DAY,) * 3), NOW + 6 * DAY),
    ],
)
def test_when_a_track_is_due(the_track: Track, the_memory: Memory, due_at: datetime | None) -> None:
    assert stands(the_track, the_memory).due_at == due_at


def test_what_dies_and_what_settles_say_when() -> None:
    where = stands(track(RESULT, **GRACE), memory(sighting=seen(RESULT)))
    assert (where.settles_at, where.expires_at) == (NOW + POLICY.grace, NOW + DAY)
    assert stands(track(OURS)).expires_at is None
    assert stands(track(DURABLE), memory(ailments={DURABLE: faulty()})).stands_until == NOW + MINUTE
    asked = stands(track(), memory(purchases=(nothing("p1", Reason.PROVIDER_FAILED, NOW),)))
    assert asked.stands_until == asked.due_at


def test_stuck_states_are_those_from_missing_down() -> None:
    assert {s for s in State if not s.stuck} == {State.OK, State.EXPIRING, State.UNVERIFIED, State.SETTLING}
    assert {State.OK, State.SETTLING} == AT_REST
    assert place(track(DURABLE), memory(ailments={DURABLE: Ailment(dead=True)})) == (State.MISSING, Reason.DUE)
    assert place(track(), memory(purchases=(accepted(),))) == (State.AWAITING, Reason.IN_FLIGHT)


@pytest.mark.parametrize("reason", SHUT)
def test_the_reason_of_a_track_that_would_buy_can_be_told_later_from_what_it_wants(reason: Reason) -> None:
    where = stands(track())
    assert (where.wants, where.repeats, where.reason) == (SHAPE, False, Reason.DUE)
    assert reason_at(SHUT[reason], SHAPE, 5, POLICY, repeat=False) is reason
    assert reason_at(GATE, SHAPE, 5, POLICY, repeat=False) is Reason.DUE


def test_a_repeat_says_that_it_is_one_since_the_gate_lets_others_pass_before() -> None:
    where = stands(track(), memory(purchases=(lost(),)))
    assert (where.wants, where.repeats) == (SHAPE, True)
    assert reason_at(PROBING, SHAPE, 5, POLICY, repeat=True) is Reason.GATE_CLOSED
    assert reason_at(PROBING, SHAPE, 5, POLICY, repeat=False) is Reason.DUE
    waits = stands(track(), memory(purchases=(lost(),)), PROBING)
    assert (waits.reason, waits.due_at, waits.held) == (Reason.GATE_CLOSED, NOW + HOUR, None)
    passes = stands(track(), gate=PROBING)
    assert (passes.reason, passes.due_at) == (Reason.DUE, NOW)


@pytest.mark.parametrize(
    "the_memory",
    [memory(song=None), memory(kept=(kept(),)), memory(purchases=(purchase(at=NOW),)), memory(listed=False)],
)
def test_who_would_not_buy_next_wants_nothing(the_memory: Memory) -> None:
    assert stands(track(), the_memory).wants is None


@pytest.mark.parametrize("url", [None, "", "not a url", TASK, COVER, DURABLE, OURS, RESULT])
@pytest.mark.parametrize("changes", [{}, GRACE, {"flaw": "id"}])
def test_a_row_that_nobody_looked_at_stands_as_it_will_be_judged(url: str | None, changes: dict[str, Any]) -> None:
    row = track(url, **changes)
    found = newcomer(flawed="flaw" in changes, settles=changes == GRACE, has_picture=is_picture(url or "", POLICY))
    assert found == place(row, Memory("t1", first_seen=NOW))
