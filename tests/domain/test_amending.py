"""What an operator's word changes: whatever was given up goes on, for one purchase at most."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import event, example, given, settings

from reconciler.domain import purchases
from reconciler.domain.actions import Buy, Fetch, GiveUp, Measure, Wait, Write
from reconciler.domain.amending import (
    created,
    lost_orders,
    not_created,
    orders_left,
    reopened,
    same_prompt,
    stays_given_up,
)
from reconciler.domain.case import Case
from reconciler.domain.look import Absent, Huge, Small
from reconciler.domain.model import Ailment, Memory, Outcome, Purchase, Song, TaskState, Track, Verdict
from reconciler.domain.plan import plan
from reconciler.domain.policy import Policy
from reconciler.domain.prompts import ladder
from reconciler.domain.purchases import judged
from reconciler.domain.states import Flaw, Reason
from tests.domain.builders import (
    COVER,
    DAY,
    DURABLE,
    HOUR,
    KEY,
    MINUTE,
    NOW,
    OTHER_TASK,
    POLICY,
    RESULT,
    SONG,
    TASK,
    accepted,
    case,
    done_task,
    failed,
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
from tests.domain.strategies import known

WEEK = 7 * DAY
OVER_A_WEEK = range(8, -1, -1)
SILENT = track(extended_prompt_image=None, title="", mood=None, vibe=None, prompt="Generated Vibe")
REFUSED = tuple(
    replace(nothing(f"p{n}", Reason.CONTENT_REJECTED), model=model, prompt=prompt)
    for n, (model, prompt) in enumerate(ladder(track(), POLICY))
)


def having(*purchases: Purchase) -> Memory:
    """With their tasks, all of which ended."""
    return memory(
        purchases=purchases, tasks=tasks(*(task(p.task_id, TaskState.FAILED) for p in purchases if p.task_id))
    )


def spent(verdict: Verdict, count: int = 3) -> Memory:
    return having(*(failed(f"p{n}", verdict, NOW - (9 - n) * DAY) for n in range(count)))


def after(one: Case) -> Case:
    """As it stands at the next look."""
    return replace(one, memory=judged(reopened(one), one.policy, one.now))


def test_of_those_that_are_given_up_only_what_the_row_lacks_outlasts_an_operators_word() -> None:
    assert not any(stays_given_up(one) for _, one in GIVEN_UP.values())
    silent = track(extended_prompt_image=None, title="", mood=None, vibe=None, prompt="Generated Vibe")
    assert stays_given_up(case(silent))
    assert stays_given_up(case(silent, spent(Verdict.REJECTED)))


def fetched(given_up: Memory) -> Memory:
    return replace(given_up, tasks=tasks(done_task(RESULT)), purchases=(accepted(),))


GIVEN_UP: dict[str, tuple[Reason, Case]] = {
    "pictures that killed the process": (Reason.IMAGE_REJECTED, case(track(DURABLE), memory(interruptions=3))),
    "a picture never measured": (
        Reason.DOWNLOAD_FAILED,
        case(track(DURABLE), memory(ailments={DURABLE: faulty(WEEK)})),
    ),
    "a picture at a host we may not ask": (
        Reason.HOST_REFUSED,
        case(track(DURABLE), memory(ailments={DURABLE: faulty(WEEK, why=Reason.HOST_REFUSED)})),
    ),
    "bytes that never arrive whole": (
        Reason.IMAGE_REJECTED,
        case(track(DURABLE), memory(ailments={DURABLE: faulty(WEEK, why=Reason.IMAGE_REJECTED)})),
    ),
    "a good picture that cannot be measured again": (
        Reason.DOWNLOAD_FAILED,
        case(
            track(DURABLE, resolution="2048x1152"),
            memory(
                sighting=seen(DURABLE, at=NOW - 40 * DAY, first_at=NOW - 90 * DAY), ailments={DURABLE: faulty(WEEK)}
            ),
        ),
    ),
    "a dying picture": (
        Reason.DOWNLOAD_FAILED,
        case(track(RESULT), memory(sighting=seen(RESULT), ailments={RESULT: faulty(WEEK)})),
    ),
    "a larger picture": (
        Reason.DOWNLOAD_FAILED,
        case(track(DURABLE), memory(sighting=seen(DURABLE, 2560, 1440), ailments={DURABLE: faulty(WEEK)})),
    ),
    "a result": (Reason.DOWNLOAD_FAILED, case(track(), fetched(memory(ailments={RESULT: faulty(WEEK)})))),
    "a picture that came with the music": (
        Reason.DOWNLOAD_FAILED,
        case(track(), memory(song=Song(SONG, final=True, urls=(COVER,)), ailments={COVER: faulty(WEEK)})),
    ),
    "a task that cannot be asked for": (
        Reason.PROVIDER_FAILED,
        case(track(TASK), memory(tasks=tasks(task(first_fault=NOW - WEEK, faults=9)))),
    ),
    "music that cannot be asked for": (
        Reason.PROVIDER_FAILED,
        case(track(), memory(song=Song(SONG, next_ask=NOW + MINUTE, faults=9, first_fault=NOW - WEEK))),
    ),
    "tasks that all failed": (Reason.PROVIDER_FAILED, case(track(), spent(Verdict.FAILED, 6))),
    "results that are gone": (Reason.PROVIDER_FAILED, case(track(), spent(Verdict.LOST))),
    "orders that were never taken": (
        Reason.PROVIDER_FAILED,
        case(
            track(),
            memory(purchases=tuple(nothing(f"p{n}", Reason.PROVIDER_FAILED, NOW - n * DAY) for n in OVER_A_WEEK)),
        ),
    ),
    "results that were no good": (Reason.IMAGE_REJECTED, case(track(), spent(Verdict.REJECTED))),
    "tasks that all refused the content": (Reason.CONTENT_REJECTED, case(track(), spent(Verdict.CONTENT, 6))),
    "every prompt refused": (Reason.CONTENT_REJECTED, case(track(), memory(purchases=REFUSED))),
    "failures of several kinds": (
        Reason.ATTEMPTS_SPENT,
        case(
            track(),
            having(*spent(Verdict.REJECTED, 2).purchases, failed("p9", Verdict.LOST, NOW - DAY)),
        ),
    ),
    "two lost answers": (
        Reason.UNKNOWN_PURCHASE,
        case(track(), memory(purchases=(lost(at=NOW - DAY), lost("p2", repeat_of="p1")))),
    ),
    "two orders never answered": (
        Reason.UNKNOWN_PURCHASE,
        case(track(), memory(purchases=(purchase(at=NOW - DAY), purchase("p2", NOW - HOUR, repeat_of="p1")))),
    ),
    "a write undone four times": (
        Reason.WRITE_CONFLICT,
        case(track(), memory(kept=(kept(was_written=True),), restores=(NOW - DAY,) * 3)),
    ),
    "a row that others always change": (
        Reason.WRITE_CONFLICT,
        case(
            track(),
            memory(
                kept=(kept(),),
                conflicts=6,
                ailments={"write": Ailment(retry_at=NOW - MINUTE, reason=Reason.WRITE_CONFLICT)},
            ),
        ),
    ),
}


@pytest.mark.parametrize(("reason", "one"), GIVEN_UP.values(), ids=GIVEN_UP)
def test_whatever_was_given_up_goes_on(reason: Reason, one: Case) -> None:
    before = plan(one)
    assert isinstance(before, GiveUp)
    assert before.reason is reason
    assert isinstance(plan(replace(one, memory=reopened(one))), Buy | Fetch | Measure | Write)
    assert isinstance(plan(after(one)), Buy | Fetch | Measure | Write)


def test_every_reason_to_give_up_is_tried_here() -> None:
    fatal = {
        *(Reason.CONTENT_REJECTED, Reason.PROVIDER_FAILED, Reason.IMAGE_REJECTED, Reason.DOWNLOAD_FAILED),
        *(Reason.HOST_REFUSED, Reason.UNKNOWN_PURCHASE, Reason.NO_PROMPT, Reason.WRITE_CONFLICT),
        Reason.ATTEMPTS_SPENT,
    }
    assert {reason for reason, _ in GIVEN_UP.values()} | {Reason.NO_PROMPT} == fatal


def test_without_any_words_it_stays_given_up_until_the_row_has_some() -> None:
    one = case(SILENT)
    assert plan(one) == plan(after(one)) == GiveUp(Reason.NO_PROMPT)
    assert isinstance(plan(replace(after(one), track=track())), Buy)


MORE_THAN_WE_TAKE = Ailment(reason=Reason.IMAGE_REJECTED, flaw=Flaw.TOO_LARGE)


@pytest.mark.slow
@settings(max_examples=100)
@given(known())
@example((track(DURABLE), memory(ailments={DURABLE: MORE_THAN_WE_TAKE}), POLICY))
def test_whatever_is_known_of_it(given_: tuple[Track, Memory, Policy]) -> None:
    """But of what only the row can mend."""
    one = Case(*given_, NOW)
    event(str(type(plan(one)).__name__))
    action = plan(after(one))
    assert not isinstance(action, GiveUp) or action.reason is Reason.NO_PROMPT or isinstance(after(one).look, Huge)
    assert [p.token for p in after(one).memory.purchases] == [p.token for p in one.memory.purchases]


# -- one purchase --------------------------------------------------------------------------------------------------


def bought(one: Case, verdict: Verdict) -> Case:
    """It buys, and the result is judged so."""
    action = plan(one)
    assert isinstance(action, Buy)
    number = len(one.memory.purchases)
    another = failed(f"q{number}", verdict, one.now + MINUTE, model=action.model, prompt=action.prompt)
    memory_ = one.memory.with_purchase(another).with_task(task(f"task_q{number}", TaskState.FAILED))
    return replace(one, memory=memory_, now=one.now + 2 * DAY)


def purchases_left(one: Case, verdict: Verdict) -> int:
    """How many it makes until it is given up."""
    made = 0
    while not isinstance(plan(one), GiveUp):
        one, made = bought(one, verdict), made + 1
    return made


@pytest.mark.parametrize(
    ("verdict", "others", "policy"),
    [
        (Verdict.REJECTED, 3, {}),
        (Verdict.LOST, 3, {}),
        (Verdict.FAILED, 6, {}),
        (Verdict.REJECTED, 3, {"per_track": 1}),
        (Verdict.FAILED, 6, {"attempts_per_track": 3}),
        (Verdict.REJECTED, 6, {"per_track": 3}),
    ],
)
def test_exactly_one_purchase_beyond_the_limits(verdict: Verdict, others: int, policy: dict[str, Any]) -> None:
    one = case(track(), spent(verdict, others), **policy)
    assert isinstance(plan(one), GiveUp)
    once = after(one)
    assert purchases_left(once, verdict) == 1
    twice = after(once)
    assert twice == once
    again = after(bought(once, verdict))
    assert purchases_left(again, verdict) == 1
    assert again.memory.granted == once.memory.granted + 1


def test_where_the_limits_leave_room_nothing_is_granted() -> None:
    one = case(track(), memory(purchases=REFUSED))
    assert after(one).memory.granted == 0
    assert after(case(track(), memory(granted=4))).memory.granted == 4


@pytest.mark.parametrize(
    ("verdict", "per_track", "attempts", "left"),
    [
        (Verdict.FAILED, 3, 6, 3),
        (Verdict.FAILED, 3, 3, 1),
        (Verdict.REJECTED, 6, 6, 4),
        (Verdict.REJECTED, 2, 6, 1),
        (Verdict.REJECTED, 0, 0, 1),
    ],
)
def test_once_re_opened_as_many_orders_are_left_as_its_limits_leave_and_one_at_least_and_its_one_repeat(
    verdict: Verdict, per_track: int, attempts: int, left: int
) -> None:
    one = case(track(), spent(verdict, 2), per_track=per_track, attempts_per_track=attempts)
    assert orders_left(one) == left + 1
    repeat = replace(one.memory.purchases[-1], token="repeat", repeat_of=one.memory.purchases[-1].token)
    assert orders_left(replace(one, memory=one.memory.with_purchase(repeat))) == left


def test_prompts_refused_before_may_be_asked_for_once_more_and_failures_before_need_no_pause() -> None:
    one = case(track(), memory(purchases=REFUSED))
    action = plan(after(one))
    assert isinstance(action, Buy)
    assert (action.model, action.prompt) == ladder(track(), POLICY)[0]
    paused = case(track(), memory(purchases=(nothing("p1", Reason.PROVIDER_FAILED, NOW),)))
    assert isinstance(plan(paused), Wait)
    assert isinstance(plan(after(paused)), Buy)


def test_a_picture_that_killed_the_process_may_do_so_three_times_again() -> None:
    assert reopened(case(track(DURABLE), memory(interruptions=3))).interruptions == 0


def test_what_is_refused_and_fails_afterwards_counts_again() -> None:
    later = replace(after(case(track(), memory(purchases=REFUSED))), now=NOW + MINUTE)
    model, prompt = ladder(track(), POLICY)[0]
    no = replace(nothing("q1", Reason.CONTENT_REJECTED, NOW + MINUTE), model=model, prompt=prompt)
    action = plan(replace(later, memory=later.memory.with_purchase(no)))
    assert isinstance(action, Buy)
    assert (action.model, action.prompt) == ladder(track(), POLICY)[1]
    outage = nothing("q2", Reason.PROVIDER_FAILED, NOW + MINUTE)
    assert isinstance(plan(replace(later, memory=later.memory.with_purchase(outage))), Wait)


# -- dead and lost -------------------------------------------------------------------------------------------------


def ailment_after(ailment: Ailment, url: str = DURABLE) -> Ailment:
    return reopened(case(track(url), memory(ailments={url: ailment}))).ailing(url)


def test_nothing_but_faults_for_seven_days_counts_as_dead_and_less_does_not() -> None:
    silent = Ailment(reason=Reason.DOWNLOAD_FAILED, detail="no answer", dead=True)
    assert ailment_after(replace(faulty(WEEK), detail="no answer")) == silent
    for living in (
        faulty(WEEK - MINUTE),
        faulty(WEEK, why=Reason.STORAGE_FAILED),
        Ailment(refusals=2, first_refused=NOW),
    ):
        assert ailment_after(living) == living


def test_a_picture_that_was_seen_to_be_small_is_still_there() -> None:
    """A stand-in may be written over nothing only."""
    small = Ailment(faults=1, first_fault=NOW - WEEK, reason=Reason.IMAGE_REJECTED, flaw=Flaw.TOO_SMALL)
    one = case(track(COVER), replace(spent(Verdict.REJECTED), ailments={COVER: small}))
    assert (one.look, after(one).look) == (Small(), Small())
    assert isinstance(after(case(track(DURABLE), memory(ailments={DURABLE: faulty(WEEK)}))).look, Absent)


def test_a_copy_in_our_store_whose_bytes_never_arrive_whole_is_lost() -> None:
    name = f"store:{KEY}"
    one = case(track(), memory(kept=(kept(),), ailments={name: faulty(WEEK, why=Reason.IMAGE_REJECTED)}))
    assert not after(one).intact(kept())


def test_tasks_and_music_that_gave_only_faults_are_gone_and_others_run_on() -> None:
    silent = task(first_fault=NOW - WEEK, faults=9)
    heard, done = task(OTHER_TASK, first_fault=NOW - DAY, faults=2), done_task(RESULT, name="task_3")
    song = Song(SONG, next_ask=NOW + MINUTE, faults=9, first_fault=NOW - WEEK)
    one = case(track(TASK), memory(tasks=tasks(silent, heard, done), song=song))
    found = reopened(one)
    assert found.tasks == tasks(replace(silent, state=TaskState.GONE, next_poll=None), heard, done)
    assert found.song == replace(song, final=True, next_ask=None)
    for other in (None, Song(SONG, final=True), Song(SONG, next_ask=NOW + MINUTE, faults=2, first_fault=NOW - DAY)):
        assert reopened(case(track(), memory(song=other))).song == other


def test_tasks_and_music_that_nobody_asked_for_since_one_fault_run_on() -> None:
    silent = task(first_fault=NOW - WEEK, faults=1, next_poll=NOW - WEEK + MINUTE)
    song = Song(SONG, next_ask=NOW - WEEK + MINUTE, faults=1, first_fault=NOW - WEEK)
    found = reopened(case(track(TASK), memory(tasks=tasks(silent), song=song)))
    assert (found.tasks, found.song) == (tasks(silent), song)


def test_a_lost_order_is_lost_for_good_and_one_that_may_be_answered_is_left_alone() -> None:
    open_, held = purchase("p2", at=NOW), lost(at=NOW - DAY)
    found = reopened(case(track(), memory(purchases=(held, open_)))).purchases
    assert found == (replace(held, verdict=Verdict.LOST, ended_at=NOW), open_)
    assert purchases.spent(found) == 2


def test_a_row_that_others_change_is_written_at_once_and_may_be_fought_over_anew() -> None:
    fought = {"write": Ailment(retry_at=NOW + MINUTE, reason=Reason.WRITE_CONFLICT)}
    one = case(track(), memory(kept=(kept(),), conflicts=5, ailments=fought))
    assert isinstance(plan(one), Wait)
    assert isinstance(plan(after(one)), Write)
    assert after(one).memory.conflicts == 0


# -- settling lost orders ------------------------------------------------------------------------------------------

BOTH = (purchase(at=NOW - DAY), lost("p2", repeat_of="p1"))


def test_lost_orders_are_those_that_nobody_answered_or_settled() -> None:
    settled = replace(lost("p4"), verdict=Verdict.LOST)
    others = (accepted("p3"), settled, nothing("p5", None), purchase("p6", at=NOW), purchase("p7", NOW - HOUR))
    assert [p.token for p in lost_orders(memory(purchases=(*BOTH, *others)), NOW)] == ["p1", "p2", "p7"]


def test_orders_of_which_nothing_was_created_count_against_no_limit() -> None:
    found = not_created(memory(purchases=BOTH), NOW)
    word = "an operator: nothing was created"
    closed = (replace(p, outcome=Outcome.NOTHING, detail=word, ended_at=NOW) for p in BOTH)
    assert found.purchases == tuple(closed)
    assert purchases.attempts(found.purchases) == 0
    assert lost_orders(found, NOW) == ()
    action = plan(case(track(), found))
    assert isinstance(action, Buy)
    assert action.repeat_of is None


def test_the_oldest_lost_order_is_the_task_that_is_named() -> None:
    found = created(memory(purchases=BOTH), TASK, NOW)
    first, second = found.purchases
    assert first == replace(BOTH[0], outcome=Outcome.ACCEPTED, task_id=TASK, detail="an operator named its task")
    assert second == BOTH[1]
    assert found.tasks == tasks(task(first_seen=NOW, created_at=first.at, next_poll=None))
    known_task = done_task(RESULT)
    known_ = created(memory(purchases=BOTH, tasks=tasks(known_task)), TASK, NOW)
    assert known_.tasks == tasks(known_task)
    assert isinstance(plan(case(track(), known_)), Fetch)


@pytest.mark.parametrize(
    ("recorded", "wanted", "same"),
    [
        ("A red kite", "a red  kite\n", True),
        ("STRASSE", "straße", True),
        ("", " ", True),
        ("a red kite", "a red kit", False),
        ("a redkite", "a red kite", False),
    ],
)
def test_prompts_are_the_same_but_for_white_space_and_letter_case(recorded: str, wanted: str, same: bool) -> None:
    assert same_prompt(recorded, wanted) is same
