"""One picture is bought at last, within the track's limits, and never while another may be on its way."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from reconciler.domain.actions import Action, Buy, GiveUp, ListStore, Measure, RowImage, Wait
from reconciler.domain.backoff import delay, spin_of
from reconciler.domain.buying import last_resort
from reconciler.domain.catalogue import MODELS
from reconciler.domain.following import list_before_buying
from reconciler.domain.model import Ailment, Memory, Outcome, Purchase, TaskState, Track, Verdict
from reconciler.domain.policy import Target
from reconciler.domain.prompts import ladder
from reconciler.domain.states import Flaw, Reason, State
from tests.domain.builders import (
    DAY,
    DURABLE,
    HOUR,
    MINUTE,
    NOW,
    POLICY,
    SECOND,
    SHAPE,
    SONG,
    TASK,
    accepted,
    case,
    failed,
    faulty,
    lost,
    memory,
    nothing,
    planned,
    purchase,
    task,
    tasks,
    track,
)

PROMPTS = ladder(track(), POLICY)
FIRST = Buy(POLICY.model, PROMPTS[0][1], SHAPE, 5, SONG)
SILENT = {"extended_prompt_image": None, "title": "", "mood": None, "vibe": None, "prompt": "Generated Vibe"}


def having(*purchases: Purchase, **changes: Any) -> Memory:
    """With the tasks of those that were judged already."""
    ended = [task(p.task_id, TaskState.FAILED) for p in purchases if p.task_id and p.verdict is not Verdict.PENDING]
    return memory(purchases=purchases, tasks={**tasks(*ended), **changes.pop("tasks", {})}, **changes)


def with_purchases(*purchases: Purchase, **policy: Any) -> Action:
    return planned(track(), having(*purchases), **policy)


# -- the last resort -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("the_track", "the_memory", "comes_to"),
    [
        (track(), memory(), FIRST),
        (track(updated_at=NOW), memory(), FIRST),
        (track(), memory(host_suspect=True), FIRST),
        (track(), memory(purchases=(purchase(at=NOW),)), FIRST),
        (track(), having(nothing("p1", Reason.CONTENT_REJECTED)), replace(FIRST, prompt=PROMPTS[1][1])),
        (track(), having(lost(at=NOW - MINUTE)), replace(FIRST, repeat_of="p1")),
        (track(), having(lost(at=NOW - MINUTE, song="6" * 32)), replace(FIRST, repeat_of="p1")),
        (track(**SILENT), memory(), GiveUp(Reason.NO_PROMPT)),
        (track(updated_at=NOW, **SILENT), memory(), GiveUp(Reason.NO_PROMPT)),
        (track(updated_at=NOW), having(*(failed(f"p{n}", Verdict.LOST) for n in range(3))), "provider_failed"),
    ],
)
def test_what_is_left_where_nothing_is_waited_for(the_track: Track, the_memory: Memory, comes_to: object) -> None:
    expected = GiveUp(Reason(comes_to)) if isinstance(comes_to, str) else comes_to
    assert last_resort(case(the_track, the_memory)) == expected


# -- order ---------------------------------------------------------------------------------------------------------


def test_with_nothing_left_to_try_one_picture_is_ordered() -> None:
    assert planned() == FIRST
    assert PROMPTS[0] == (POLICY.model, "a lighthouse at dusk, oil on canvas")


def test_nothing_is_bought_in_grace() -> None:
    assert planned(track(updated_at=NOW)) == Wait(NOW + POLICY.grace)


def test_without_any_words_nothing_is_bought() -> None:
    assert planned(track(**SILENT)) == GiveUp(Reason.NO_PROMPT)


def test_a_changed_prompt_is_used_by_the_next_purchase() -> None:
    other = planned(track(extended_prompt_image="a red kite"))
    assert isinstance(other, Buy)
    assert other.prompt == "a red kite"


@pytest.mark.parametrize("retry_at", [None, NOW, NOW + MINUTE])
def test_a_dead_picture_of_a_suspect_host_is_measured_again_when_it_is_time(retry_at: datetime | None) -> None:
    dead = Ailment(refusals=3, first_refused=NOW - 2 * DAY, retry_at=retry_at, dead=True)
    action = planned(track(DURABLE), memory(host_suspect=True, ailments={DURABLE: dead}))
    later = retry_at is not None and retry_at > NOW
    again = Measure(RowImage(DURABLE, identity=DURABLE))
    assert action == (Wait(retry_at, None, Reason.HOST_SUSPECT) if later else again)
    small = Ailment(faults=1, reason=Reason.IMAGE_REJECTED, flaw=Flaw.TOO_SMALL)
    known = memory(host_suspect=True, ailments={DURABLE: small})
    assert planned(track(DURABLE), known) == Wait(None, None, Reason.HOST_SUSPECT), "it is there"


@pytest.mark.parametrize(
    ("the_track", "the_memory"),
    [
        (track(DURABLE, **SILENT), memory()),
        (track(DURABLE), having(*(failed(f"p{n}", Verdict.REJECTED) for n in range(3)))),
    ],
    ids=["no prompt", "spent"],
)
def test_so_is_that_of_a_track_for_which_nothing_is_bought(the_track: Track, the_memory: Memory) -> None:
    for retry_at, is_due in ((NOW, True), (NOW + MINUTE, False)):
        dead = Ailment(refusals=3, first_refused=NOW - 2 * DAY, retry_at=retry_at, dead=True)
        known = replace(the_memory, host_suspect=True, ailments={DURABLE: dead})
        action = planned(the_track, known)
        if is_due:
            assert action == Measure(RowImage(DURABLE, identity=DURABLE))
        else:
            assert isinstance(action, GiveUp)
            assert action.recheck == retry_at


def test_tracks_of_a_suspect_host_are_held_back() -> None:
    assert planned(track(), memory(host_suspect=True)) == Wait(None, None, Reason.HOST_SUSPECT)
    overdue = memory(
        host_suspect=True, purchases=(accepted(at=NOW - 7 * HOUR),), tasks=tasks(task(created_at=NOW - 7 * HOUR))
    )
    assert planned(track(), overdue) == Wait(NOW + MINUTE, None, Reason.HOST_SUSPECT)


def test_nothing_is_bought_while_the_store_cannot_tell_what_it_holds() -> None:
    for bought in ((), (lost(),)):
        ill = having(*bought, ailments={"store": faulty(9 * DAY, why=Reason.STORAGE_FAILED)})
        assert planned(track(), ill) == Wait(NOW + MINUTE, State.BACKING_OFF, Reason.STORAGE_FAILED)
        due = having(*bought, ailments={"store": faulty(9 * DAY, -MINUTE, Reason.STORAGE_FAILED)})
        assert isinstance(planned(track(), due), Buy)


def test_right_before_a_purchase_the_store_is_asked_again_unless_it_just_was() -> None:
    def first(listed_at: datetime | None, begun_at: datetime = NOW - DAY, **changes: Any) -> Action | None:
        return list_before_buying(case(track(), memory(listed_at=listed_at, **changes)), begun_at)

    assert first(None) is None
    assert first(NOW - MINUTE, NOW - MINUTE) is None
    assert first(NOW - MINUTE, NOW) == ListStore(), "memory may be a backup's, put back before this run"
    assert first(NOW, NOW + HOUR) is None, "the clock was set back since the run began"
    assert first(NOW - POLICY.step_deadline) is None
    assert first(NOW - HOUR) == ListStore()
    ill = {"store": faulty(why=Reason.STORAGE_FAILED)}
    assert first(NOW - HOUR, ailments=ill) == Wait(NOW + MINUTE, State.BACKING_OFF, Reason.STORAGE_FAILED)


# -- content -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refused", range(1, len(PROMPTS)))
def test_refused_content_is_softened_then_neutral_then_the_fallback_models(refused: int) -> None:
    said_no = [
        replace(nothing(f"p{n}", Reason.CONTENT_REJECTED, NOW), model=model, prompt=prompt)
        for n, (model, prompt) in enumerate(PROMPTS[:refused])
    ]
    model, prompt = PROMPTS[refused]
    assert with_purchases(*said_no) == Buy(model, prompt, MODELS[model].shape(POLICY.target), MODELS[model].price, SONG)


def test_refused_by_the_task_or_by_the_order_is_the_same() -> None:
    by_task = replace(failed("p1", Verdict.CONTENT, NOW), prompt=PROMPTS[0][1])
    action = with_purchases(by_task)
    assert isinstance(action, Buy)
    assert (action.model, action.prompt) == PROMPTS[1]


def test_when_every_prompt_was_refused_the_track_is_given_up() -> None:
    said_no = [
        replace(nothing(f"p{n}", Reason.CONTENT_REJECTED), model=model, prompt=prompt)
        for n, (model, prompt) in enumerate(PROMPTS)
    ]
    assert with_purchases(*said_no) == GiveUp(Reason.CONTENT_REJECTED)


# -- answers outstanding and lost -----------------------------------------------------------------------------------


def test_an_order_without_an_answer_yet_is_waited_for() -> None:
    waits = with_purchases(purchase(at=NOW))
    assert waits == Wait(NOW + 46 * SECOND, State.SUBMITTING, Reason.IN_FLIGHT)


def test_a_lost_answer_is_held_then_repeated_once() -> None:
    held = lost(at=NOW - 30 * MINUTE)
    assert with_purchases(held) == Wait(held.deadline + HOUR, State.UNKNOWN, Reason.UNKNOWN_PURCHASE)
    assert with_purchases(lost()) == replace(FIRST, repeat_of="p1")
    assert with_purchases(lost(at=NOW - HOUR - 45 * SECOND)) == replace(FIRST, repeat_of="p1")
    assert with_purchases(lost(), lost("p2", NOW - MINUTE, repeat_of="p1")) == GiveUp(Reason.UNKNOWN_PURCHASE)


def test_a_track_has_one_repeat_however_many_attempts_it_has() -> None:
    first = (lost(at=NOW - 9 * HOUR), failed("p2", Verdict.REJECTED, NOW - 7 * HOUR, repeat_of="p1"))
    assert with_purchases(*first, lost("p3")) == GiveUp(Reason.UNKNOWN_PURCHASE)


def test_an_order_past_its_deadline_is_lost_whoever_was_to_answer() -> None:
    assert with_purchases(purchase(at=NOW - 2 * HOUR)) == replace(FIRST, repeat_of="p1")


def test_no_repeat_in_grace_nor_for_a_suspect_host() -> None:
    assert planned(track(updated_at=NOW), having(lost())) == Wait(NOW + POLICY.grace)
    assert planned(track(), having(lost(), host_suspect=True)) == Wait(None, None, Reason.HOST_SUSPECT)


def test_a_repeat_uses_the_same_words_even_if_the_prompt_changed() -> None:
    action = planned(track(extended_prompt_image="a red kite"), having(lost()))
    assert isinstance(action, Buy)
    assert action.prompt == PROMPTS[0][1]


def test_a_repeat_for_another_song_or_of_a_model_that_is_no_more_uses_todays_words() -> None:
    for old in (lost(song="6" * 32), lost(model="forgotten")):
        action = planned(track(extended_prompt_image="a red kite"), having(old))
        assert isinstance(action, Buy)
        assert (action.prompt, action.song, action.repeat_of) == ("a red kite", SONG, "p1")


def test_a_repeat_is_proven_with_the_target_of_today() -> None:
    target = Target(1920, 1080)
    action = with_purchases(lost(), target=target)
    assert isinstance(action, Buy)
    assert action.shape == MODELS[POLICY.model].shape(target)


def test_a_repeat_of_which_nothing_was_made_may_be_made_again() -> None:
    never_made = replace(nothing("p2", None, NOW - MINUTE), repeat_of="p1")
    assert with_purchases(lost(), never_made) == replace(FIRST, repeat_of="p1")


def test_a_repeat_whose_words_were_refused_is_made_with_others() -> None:
    refused = replace(nothing("p2", Reason.CONTENT_REJECTED, NOW - MINUTE), repeat_of="p1")
    action = with_purchases(lost(), refused)
    assert isinstance(action, Buy)
    assert action.repeat_of == "p1"
    assert (action.model, action.prompt) != (refused.model, refused.prompt)


def test_a_repeat_that_fails_is_made_again_after_a_pause_and_not_for_ever() -> None:
    def refused(token: str, at: datetime) -> Purchase:
        return replace(nothing(token, Reason.PROVIDER_FAILED, at), repeat_of="p1")

    action = with_purchases(lost(), refused("p2", NOW))
    assert isinstance(action, Wait)
    assert (action.state, action.reason) == (State.BACKING_OFF, Reason.PROVIDER_FAILED)
    assert isinstance(with_purchases(lost(), refused("p2", NOW - DAY)), Buy)
    tries = [refused(f"p{2 + day}", NOW - (8 - day) * DAY) for day in range(9)]
    assert with_purchases(lost(at=NOW - 9 * DAY), *tries) == GiveUp(Reason.PROVIDER_FAILED)


@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.REJECTED, Verdict.LOST, Verdict.CONTENT])
def test_a_repeat_that_was_answered_is_not_repeated_whatever_became_of_it(verdict: Verdict) -> None:
    answered = failed("p2", verdict, NOW - DAY, repeat_of="p1")
    action = with_purchases(lost(at=NOW - 2 * DAY), answered)
    assert isinstance(action, Buy)
    assert action.repeat_of is None


# -- limits --------------------------------------------------------------------------------------------------------


def some(count: int, verdict: Verdict) -> list[Purchase]:
    return [failed(f"p{n}", verdict, NOW - (9 - n) * DAY, prompt=f"words {n}") for n in range(count)]


def test_unusable_results_count_in_per_track() -> None:
    assert isinstance(with_purchases(*some(2, Verdict.REJECTED)), Buy)
    assert with_purchases(*some(3, Verdict.REJECTED)) == GiveUp(Reason.IMAGE_REJECTED)
    assert with_purchases(*some(3, Verdict.LOST)) == GiveUp(Reason.PROVIDER_FAILED)


def test_refunded_failures_count_in_attempts_per_track_only() -> None:
    assert isinstance(with_purchases(*some(5, Verdict.FAILED)), Buy)
    assert with_purchases(*some(6, Verdict.FAILED)) == GiveUp(Reason.PROVIDER_FAILED)


def test_several_ways_of_failing_are_attempts_spent() -> None:
    mixed = (*some(3, Verdict.FAILED), *(replace(p, token=f"q{p.token}") for p in some(3, Verdict.CONTENT)))
    assert with_purchases(*mixed) == GiveUp(Reason.ATTEMPTS_SPENT)


def test_an_operator_may_grant_one_more() -> None:
    assert isinstance(planned(track(), having(*some(3, Verdict.REJECTED), granted=1)), Buy)
    assert isinstance(planned(track(), having(*some(6, Verdict.FAILED), granted=1)), Buy)


def test_a_spent_track_whose_task_still_runs_is_asked_on() -> None:
    late = accepted("p9", TASK, at=NOW - 7 * HOUR)
    known = having(*some(2, Verdict.REJECTED), late, tasks=tasks(task(created_at=NOW - 7 * HOUR)))
    assert planned(track(), known) == GiveUp(Reason.ATTEMPTS_SPENT, recheck=NOW + MINUTE)


def test_a_failure_is_followed_by_a_pause() -> None:
    for verdict, why in ((Verdict.FAILED, Reason.PROVIDER_FAILED), (Verdict.REJECTED, Reason.IMAGE_REJECTED)):
        pause = delay(1, POLICY.retry_min, POLICY.retry_max, spin_of("t1", 1))
        assert with_purchases(failed("p1", verdict, NOW)) == Wait(NOW + pause, State.BACKING_OFF, why)
        assert isinstance(with_purchases(failed("p1", verdict, NOW - pause)), Buy)


def test_pauses_grow() -> None:
    def pause(count: int) -> timedelta:
        waits = with_purchases(*(nothing(f"p{n}", Reason.PROVIDER_FAILED, NOW) for n in range(count)))
        assert isinstance(waits, Wait)
        assert waits.until is not None
        return waits.until - NOW

    assert pause(1) <= MINUTE < pause(5) < pause(9) <= POLICY.retry_max
    hours = [nothing(f"p{n}", Reason.PROVIDER_FAILED, NOW - n * HOUR) for n in (2, 1, 0)]
    undated = with_purchases(*hours[:2], replace(hours[2], ended_at=None))
    assert undated == with_purchases(*hours)
    assert isinstance(undated, Wait)


def test_seven_days_in_which_nothing_could_be_ordered_are_given_up() -> None:
    since = [nothing(f"p{n}", Reason.PROVIDER_FAILED, NOW - n * DAY) for n in range(7, -1, -1)]
    assert with_purchases(*since) == GiveUp(Reason.PROVIDER_FAILED)
    assert isinstance(with_purchases(*since[1:]), Wait)
    assert isinstance(with_purchases(nothing("p1", Reason.PROVIDER_FAILED, NOW - 9 * DAY)), Buy), "once is not for days"


def test_a_store_that_fails_before_the_order_pauses_it_and_is_never_given_up() -> None:
    waits = with_purchases(nothing("p1", Reason.STORAGE_FAILED, NOW))
    assert isinstance(waits, Wait)
    assert (waits.state, waits.reason) == (State.BACKING_OFF, Reason.STORAGE_FAILED)
    assert isinstance(with_purchases(nothing("p1", Reason.STORAGE_FAILED, NOW - 9 * DAY)), Buy)


def test_an_order_that_closed_the_gate_is_no_failure_of_the_track() -> None:
    assert with_purchases(nothing("p1", None, NOW)) == FIRST
    assert nothing("p1", None).outcome is Outcome.NOTHING
