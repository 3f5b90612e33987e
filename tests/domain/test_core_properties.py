"""What holds for every track, memory and time."""

from dataclasses import replace

import pytest
from hypothesis import event, given, settings

from reconciler.domain import purchases
from reconciler.domain.actions import Action, AskSong, AskTask, Buy, Fetch, GiveUp, Measure, Wait, Write
from reconciler.domain.case import Case
from reconciler.domain.gate import GateName, GateView
from reconciler.domain.learn import after_conflict, after_write, notice
from reconciler.domain.look import Absent, Dying, Good, Larger
from reconciler.domain.model import Memory, Outcome, TaskState, Track
from reconciler.domain.plan import farewell, plan
from reconciler.domain.policy import Policy
from reconciler.domain.purchases import judged
from reconciler.domain.sources import task_results
from reconciler.domain.standing import classify, standing
from reconciler.domain.states import Reason, State
from tests.domain.builders import HOUR, MINUTE, NOW
from tests.domain.strategies import gates, known

pytestmark = pytest.mark.untraced
"""Tracing what draws a memory takes longer than drawing it; each line has tests of its own."""

few = settings(max_examples=50)
"""A whole memory takes ten milliseconds to draw, and every property draws its own."""

Known = tuple[Track, Memory, Policy]
GATED = (Reason.DUE, Reason.BUDGET, Reason.OUT_OF_CREDITS, Reason.UNAUTHORIZED, Reason.GATE_CLOSED, Reason.PAUSED)
HELD = {*GATED, Reason.MODEL_UNPROVEN, Reason.REQUEST_REJECTED, Reason.HOST_SUSPECT}
TRANSFER = {Reason.DOWNLOAD_FAILED, Reason.STORAGE_FAILED}
REASONS: dict[State, set[Reason]] = {
    State.MISSING: HELD,
    State.BELOW_TARGET: HELD,
    State.SUBMITTING: {Reason.IN_FLIGHT},
    State.UNKNOWN: {Reason.UNKNOWN_PURCHASE},
    State.AWAITING: {Reason.IN_FLIGHT, Reason.OVERDUE},
    State.FETCHING: {Reason.IN_FLIGHT, *TRANSFER},
    State.BACKING_OFF: {
        *TRANSFER,
        *(Reason.PROVIDER_FAILED, Reason.CONTENT_REJECTED, Reason.IMAGE_REJECTED),
        *(Reason.WRITE_CONFLICT, Reason.HOST_REFUSED),
    },
    State.FAILED: {
        *(Reason.CONTENT_REJECTED, Reason.PROVIDER_FAILED, Reason.IMAGE_REJECTED, Reason.DOWNLOAD_FAILED),
        *(Reason.HOST_REFUSED, Reason.UNKNOWN_PURCHASE, Reason.NO_PROMPT, Reason.WRITE_CONFLICT),
        Reason.ATTEMPTS_SPENT,
    },
    State.INVALID: {Reason.INVALID_ROW},
}
"""The interface's table; states that are not in it have no reason."""


def case_of(given_: Known) -> Case:
    track, memory, policy = given_
    return Case(track, memory, policy, NOW)


def planned(given_: Known) -> tuple[Case, Action]:
    case = case_of(given_)
    action = plan(case)
    event(type(action).__name__)
    return case, action


# -- plan ----------------------------------------------------------------------------------------------------------


@few
@given(known())
def test_plan_is_total_and_pure(given_: Known) -> None:
    case, action = planned(given_)
    assert plan(case_of(given_)) == action
    assert isinstance(farewell(case.memory, NOW, asks=case.policy.asks_tasks), AskTask | Wait)


@few
@given(known())
def test_whatever_waits_waits_for_something_to_come(given_: Known) -> None:
    _, action = planned(given_)
    until = action.until if isinstance(action, Wait) else action.recheck if isinstance(action, GiveUp) else None
    assert until is None or until > NOW


@few
@given(known())
def test_grace_forbids_writes_and_purchases_and_nothing_else(given_: Known) -> None:
    case, action = planned(given_)
    if case.settles_at is not None:
        assert not isinstance(action, Write | Buy)
        assert not isinstance(case.look, Good | Dying) or not isinstance(action, GiveUp) or action.reason


@few
@given(known())
def test_rows_out_of_scope_are_neither_written_nor_bought_for(given_: Known) -> None:
    case, action = planned(given_)
    if not case.in_scope or case.track.flaw is not None:
        assert isinstance(action, Wait | AskTask | Fetch)


@few
@given(known())
def test_nothing_is_bought_while_a_purchase_may_be_on_its_way(given_: Known) -> None:
    case, action = planned(given_)
    if not isinstance(action, Buy):
        return
    mine = case.memory.purchases
    assert purchases.unanswered(mine, NOW) is None
    for task in case.tasks:
        assert task.state is not TaskState.RUNNING or purchases.overdue(task, case.policy, NOW)
    lost = purchases.lost_attempt(mine, NOW)
    if lost:
        assert action.repeat_of == lost[0].token
        assert len(lost) == 1
        assert lost[0].held_until(case.policy.hold_unknown) <= NOW
    else:
        assert action.repeat_of is None


@few
@given(known())
def test_no_attempt_is_made_beyond_the_tracks_limits_nor_repeated_twice(given_: Known) -> None:
    case, action = planned(given_)
    if not isinstance(action, Buy):
        return
    mine, policy, granted = case.memory.purchases, case.policy, case.memory.granted
    if action.repeat_of is None:
        assert purchases.spent(mine) < policy.per_track + granted
        assert purchases.attempts(mine) < policy.attempts_per_track + granted
    else:
        assert not [p for p in mine if p.repeat_of == action.repeat_of and p.outcome is not Outcome.NOTHING]


@few
@given(known())
def test_nothing_is_bought_while_a_better_picture_may_be_had_for_nothing(given_: Known) -> None:
    case, action = planned(given_)
    if isinstance(action, Buy):
        assert not isinstance(case.look, Good | Dying | Larger)
        assert case.memory.listed
        assert not case.memory.host_suspect
        for source in task_results(case):
            assert not isinstance(case.pursue(source), Fetch) or case.memory.ailing(source.name).flaw is None


@few
@given(known())
def test_only_better_is_written_and_never_nothing(given_: Known) -> None:
    case, action = planned(given_)
    if not isinstance(action, Write):
        return
    assert action.url or action.resolution
    if action.url is None:
        good = case.look.good if isinstance(case.look, Dying) else case.look  # where nothing is stored it stays
        assert isinstance(good, Good)
        return
    assert not isinstance(case.look, Good)
    assert action.url != case.track.image.text
    kept = next(k for k in case.memory.kept if k.key == action.key)
    assert case.policy.url_of(kept.key) == action.url
    assert kept.checked_at is not None
    assert case.for_this_song(kept.song)
    if action.resolution is None:
        assert isinstance(case.look, Absent)
        assert case.policy.interim_thumbnail
    else:
        assert case.policy.target.met_by(kept.width, kept.height)
        assert action.resolution == f"{kept.width}x{kept.height}"


@few
@given(known())
def test_a_good_picture_is_measured_or_left_alone(given_: Known) -> None:
    case, action = planned(given_)
    if case.in_scope and case.track.flaw is None and isinstance(case.look, Good):
        assert isinstance(action, Wait | Measure | Write | AskTask | Fetch | GiveUp)
        assert not isinstance(action, Write) or action.url is None


@few
@given(known())
def test_what_is_restored_is_restored_three_times_a_week(given_: Known) -> None:
    case, action = planned(given_)
    if isinstance(action, Write) and action.restore:
        week_ago = NOW - 7 * 24 * HOUR
        assert len([at for at in case.memory.restores if at > week_ago]) < 3


# -- standing ------------------------------------------------------------------------------------------------------


@few
@given(known(), gates)
def test_every_track_in_scope_has_one_state_and_a_stuck_one_one_reason(given_: Known, gate: GateView) -> None:
    case = case_of(given_)
    where = classify(case, gate)
    state, reason = where.state, where.reason
    event(f"{state} {reason}")
    assert (state is None) == (not case.in_scope)
    if state is None or not state.stuck:
        assert reason is None
    else:
        assert reason in REASONS[state]


@few
@given(known(), gates)
def test_classify_agrees_with_plan(given_: Known, gate: GateView) -> None:
    case, action = planned(given_)
    where = classify(case, gate)
    if not case.in_scope:
        return
    assert (where.state is State.FAILED) == isinstance(action, GiveUp)
    if isinstance(action, Buy) and where.due_at != NOW:
        assert where.held == action.shape or where.due_at is not None
    if not isinstance(action, Wait | GiveUp | Buy):
        asks_in_vain = isinstance(action, AskTask | AskSong) and gate.refuses_key()
        assert (where.due_at, where.held) == ((None, GateName.KEY) if asks_in_vain else (NOW, None))


@few
@given(known(), gates)
def test_nothing_is_due_in_the_past(given_: Known, gate: GateView) -> None:
    case, action = planned(given_)
    where = standing(case, action, gate)
    assert where.due_at is None or where.due_at >= NOW
    assert where.settles_at is None or where.settles_at > NOW
    if isinstance(action, Buy) and where.held is None and where.due_at == NOW:
        open_gate = standing(case, replace(action, repeat_of=None), gate)
        assert open_gate.held is None


# -- memory --------------------------------------------------------------------------------------------------------


@few
@given(known())
def test_looking_and_judging_twice_teaches_nothing_new(given_: Known) -> None:
    track, memory, policy = given_
    once = notice(memory, track, policy, NOW)
    assert notice(once, track, policy, NOW + MINUTE) == replace(once, needy_since=once.needy_since)
    assert judged(once, policy, NOW + MINUTE) == once


@few
@given(known())
def test_looking_writing_and_conflicts_lose_no_purchase(given_: Known) -> None:
    case, action = planned(given_)
    after = [notice(case.memory, replace(case.track, task_id="7" * 32), case.policy, NOW), after_conflict(case)]
    if isinstance(action, Write):
        after.append(after_write(case, action))
    for memory in after:
        assert [p.token for p in memory.purchases] == [p.token for p in case.memory.purchases]
        assert memory.granted == case.memory.granted
