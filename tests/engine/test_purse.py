"""What a run may spend, when the credit call is due, and what answers teach the gate."""

from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from reconciler.database import Database, DatabaseError
from reconciler.domain.breaker import FAULTS_TO_OPEN, Breaker, Stage
from reconciler.domain.catalogue import offers
from reconciler.domain.findings import (
    Accepted,
    AnswerLost,
    Call,
    Credits,
    Failed,
    NothingMade,
    Refusal,
    Running,
    Trouble,
)
from reconciler.domain.gate import Closure, GateName, NotNow
from reconciler.domain.model import Purchase
from reconciler.domain.standing import Stood
from reconciler.domain.states import Reason, State
from reconciler.engine.events import BreakerMoved, CreditsRead, CreditsUntold, Event, GateClosed, Mistake
from reconciler.engine.lately import Lately
from reconciler.engine.purse import Purse
from reconciler.testing.cutting import Scissors
from reconciler.testing.world import World
from tests.domain.builders import purchase
from tests.engine.conftest import MakeWorld
from tests.engine.test_answers_outlive_a_locked_database import Locked

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world(3)


def purse(world: World, database: Database, told: list[Event] | None = None, **more: Any) -> Purse:
    policy = replace(world.policy, **{k: v for k, v in more.items() if k != "spend"})
    return Purse(database.gate, policy, world.clock, (told if told is not None else []).append, more.get("spend"))


def shape(world: World) -> tuple[str, float]:
    return offers(world.policy)[0]


def ordered(world: World, name: str | None = None) -> Purchase:
    """Just now."""
    return purchase(shape=name or shape(world)[0], at=world.clock())


def order(world: World, database: Database, one: Purse, track_id: str = "t000") -> Purchase | NotNow:
    from reconciler.domain.actions import Buy

    held = database.leases.lease(track_id)
    assert held is not None
    name, price = shape(world)
    return one.reserve(held, Buy(world.policy.model, "a lake", name, price))


def test_nothing_is_bought_before_the_balance_is_known(world: World, database: Database) -> None:
    one = purse(world, database)
    refused = order(world, database, one)
    assert isinstance(refused, NotNow)
    assert refused.reason is Reason.GATE_CLOSED
    assert one.wants_credit_call()
    assert one.opens_at(*shape(world)) is None, "the call that is due comes first"


def test_a_run_spends_what_it_may_and_not_more(world: World, database: Database) -> None:
    one = purse(world, database, spend=1)
    one.credit_answer(Credits(1000), world.clock())
    assert [one.spent, isinstance(order(world, database, one), Purchase), one.spent] == [False, True, True]
    refused = order(world, database, one, "t001")
    assert refused == NotNow(Reason.BUDGET, None, "--max-purchases is spent")
    assert one.opens_at(*shape(world)) is None


@pytest.mark.parametrize(("spend", "most", "places"), [(None, 2, 2), (1, 2, 1), (2, 1, 1), (0, 2, 0), (None, 9, 3)])
def test_no_more_places_are_told_than_are_asked_for_than_may_be_spent_and_than_there_are(
    world: World, database: Database, spend: int | None, most: int, places: int
) -> None:
    """Three of a model that is not proven yet."""
    one = purse(world, database, spend=spend)
    one.credit_answer(Credits(1000), world.clock())
    assert one.places(*shape(world), most) == places


def test_a_place_that_was_taken_is_none_any_more(world: World, database: Database) -> None:
    one = purse(world, database)
    one.credit_answer(Credits(1000), world.clock())
    assert isinstance(order(world, database, one), Purchase)
    assert one.places(*shape(world), 9) == 2


def test_a_refused_order_costs_the_run_nothing(world: World, database: Database) -> None:
    one = purse(world, database, spend=1)
    assert isinstance(order(world, database, one), NotNow)
    assert not one.spent


def test_a_refusal_that_ran_out_does_not_count(world: World, database: Database) -> None:
    one = purse(world, database)
    one.credit_answer(Credits(1000), world.clock())
    one.heard(NothingMade(Refusal.RATE, Call.RATE_LIMITED, "slow down"), ordered(world))
    until = one.opens_at(*shape(world))
    assert until == world.clock() + world.policy.purchase_window
    world.pass_time(world.policy.purchase_window - timedelta(milliseconds=100))
    assert one.refusal(*shape(world)) is not None
    world.pass_time(timedelta(milliseconds=100))
    assert one.refusal(*shape(world)) is None
    assert one.opens_at(*shape(world)) == world.clock() + SECOND


def test_what_is_refused_by_shape_is_so_for_this_shape(world: World, database: Database) -> None:
    one, (name, price) = purse(world, database), shape(world)
    one.credit_answer(Credits(1000), world.clock())
    one.credit_answer(Trouble(Call.TIMEOUT, "silent"), world.clock())
    one.heard(NothingMade(Refusal.RATE, Call.RATE_LIMITED, "slow down"), ordered(world))
    one.heard(NothingMade(Refusal.REQUEST, Call.REJECTED, "no such field"), ordered(world))
    one.view()
    world.pass_time(world.policy.purchase_window - SECOND / 2)
    assert [refused and refused.reason for refused in (one.refusal(name, price),)] == [Reason.GATE_CLOSED]
    world.pass_time(SECOND / 2)
    assert [refused and refused.reason for refused in (one.refusal(name, price),)] == [Reason.REQUEST_REJECTED]
    assert one.opens_at(name, price) is None, "the free call that is made again opens nothing"
    assert one.refusal("another", price) is None


def test_who_asks_for_a_refusal_asks_for_an_order_that_is_no_repeat(world: World, database: Database) -> None:
    one = purse(world, database)
    one.credit_answer(Credits(1000), world.clock())
    for _ in range(FAULTS_TO_OPEN):
        database.gate.heard(healthy=False, bought=False)
    world.pass_time(MINUTE)
    database.gate.heard(healthy=True, bought=False)
    assert one.view().breaker.stage is Stage.PROBING
    assert one.refusal(*shape(world)) is None
    one.heard(NothingMade(Refusal.RATE, Call.RATE_LIMITED, "slow down"))
    world.pass_time(world.policy.purchase_window - SECOND / 2)
    assert one.refusal(*shape(world)) is not None
    world.pass_time(SECOND / 2)
    assert one.refusal(*shape(world)) is None


def test_an_order_changes_the_view_as_the_gate_would(world: World, database: Database) -> None:
    one = purse(world, database)
    one.credit_answer(Credits(1000), world.clock())
    before = one.view()
    bought = order(world, database, one)
    assert isinstance(bought, Purchase)
    one._gate = Locked(database.gate, {"view"}, 1, lambda: True)
    assert one.view() == before.with_intent(bought, world.policy) == database.gate.view(), "without asking it"
    one._gate = database.gate
    one.forget_view()
    assert isinstance(order(world, database, one, "t001"), Purchase)
    assert one.view().running == 2


def test_a_place_that_was_left_since_is_known_without_asking_the_gate(world: World, database: Database) -> None:
    one = purse(world, database, purchase_limit=1)
    one.credit_answer(Credits(1000), world.clock())
    bought = order(world, database, one)
    assert isinstance(bought, Purchase)
    left = bought.deadline + world.policy.purchase_window
    world.pass_time(left - world.clock() - SECOND / 2)
    one.forget_view()
    refused = one.refusal(*shape(world))
    assert refused is not None
    assert refused.until == left
    one._gate = Locked(database.gate, {"view"}, 1, lambda: True)
    world.pass_time(SECOND / 2)
    assert one.refusal(*shape(world)) is None
    assert one.places(*shape(world), 9) == 1


def test_the_view_is_kept_for_a_second_and_until_something_was_learned(world: World, database: Database) -> None:
    one = purse(world, database)
    first = one.view()
    assert one.view() is first
    one.forget_view()
    second = one.view()
    assert second is not first
    world.pass_time(SECOND)
    assert one.view() is not second
    third = one.view()
    world.pass_time(-SECOND)
    assert one.view() is not third, "the clock was set back"


def test_a_track_stands_by_the_gate_as_it_is_and_by_what_the_run_may_still_spend(
    world: World, database: Database
) -> None:
    waiting = Stood(State.MISSING, Reason.DUE, shape(world)[0], repeats=False)
    one, poor = purse(world, database), purse(world, database, spend=0)
    assert one.stands(waiting) == (State.MISSING, Reason.GATE_CLOSED)
    one.credit_answer(Credits(1000), world.clock())
    assert one.stands(waiting) == (State.MISSING, Reason.DUE)
    assert poor.stands(waiting) == (State.MISSING, Reason.BUDGET)
    for other in (waiting._replace(wants=None), waiting._replace(reason=None)):
        assert poor.stands(other) == (other.state, other.reason)


def test_while_the_database_cannot_be_asked_an_older_view_will_do(world: World, database: Database) -> None:
    def locked() -> Any:
        return Locked(database.gate, {"view"}, 1, lambda: True)

    with pytest.raises(DatabaseError):
        Purse(locked(), world.policy, world.clock, print).view()
    one = purse(world, database)
    before = one.view()
    one._gate = locked()
    one.forget_view()
    assert one.view() is before


@pytest.mark.parametrize(
    ("trouble", "gates"),
    [
        (Trouble(Call.CONNECT_ERROR, "refused"), []),
        (Trouble(Call.MALFORMED, "code 200: success"), []),
        (Trouble(Call.UNAUTHORIZED, "no", Refusal.KEY), [GateName.KEY]),
    ],
)
def test_credits_that_were_asked_for_in_vain_are_told_unless_a_gate_tells_of_them(
    world: World, database: Database, trouble: Trouble, gates: list[GateName]
) -> None:
    told: list[Event] = []
    purse(world, database, told).credit_answer(trouble, world.clock())
    assert [event.closure.name for event in told if isinstance(event, GateClosed)] == gates
    assert [event for event in told if isinstance(event, CreditsUntold)] == ([] if gates else [CreditsUntold(trouble)])


@pytest.mark.parametrize(("balance", "low"), [(20, True), (50, False), (1000, False)])
def test_a_balance_that_stops_orders_is_told_as_the_gate_tells_it(
    world: World, database: Database, balance: float, low: bool
) -> None:
    told: list[Event] = []
    purse(world, database, told).credit_answer(Credits(balance), world.clock())
    closures = [event.closure for event in told if isinstance(event, GateClosed)]
    assert [(closure.name, closure.until) for closure in closures] == [(GateName.CREDITS, None)] * low
    assert [closure.detail for closure in closures] == ["20 credits left, budget.min_credits = 50"] * low
    assert database.gate.view().closures == (), "it opens as soon as a balance is enough"


# -- the free call -------------------------------------------------------------------------------------------------


def test_when_the_free_call_is_due(world: World, database: Database) -> None:
    assert not purse(world, database, per_day=0).wants_credit_call()
    assert not purse(world, database, per_hour=0).wants_credit_call()
    one = purse(world, database)
    one.credit_answer(Credits(1000), world.clock())
    assert not one.wants_credit_call()
    world.pass_time(11 * MINUTE)
    assert one.wants_credit_call()
    database.gate.pause(paused=True)
    one.forget_view()
    assert not one.wants_credit_call()


@pytest.mark.parametrize(
    ("balance", "troubles", "passes", "is_looked_at"),
    [
        (1000, [], 10 * MINUTE, False),
        (1000, [], 11 * MINUTE, True),
        (1000, [], -MINUTE, True),
        (1, [], MINUTE, True),
        (1, [], MINUTE - SECOND, False),
        (1000, [Trouble(Call.UNAUTHORIZED, "no", Refusal.KEY)], MINUTE, True),
        (1000, [Trouble(Call.TIMEOUT, "silent")] * FAULTS_TO_OPEN, MINUTE, True),
        (1000, [Trouble(Call.TIMEOUT, "silent")] * (FAULTS_TO_OPEN - 1), MINUTE, False),
    ],
)
def test_the_next_run_looks_at_the_gate_for_the_free_calls_sake_unless_it_was_well(
    world: World, database: Database, balance: float, troubles: list[Trouble], passes: timedelta, is_looked_at: bool
) -> None:
    lately, looks = Lately(), Scissors()
    one = Purse(database.gate, world.policy, world.clock, print, lately=lately)
    one.credit_answer(Credits(balance), world.clock())
    for trouble in troubles:
        one.heard(trouble)
    one.view()
    world.clock.jump(passes)
    gate = looks.wrap("gate", database.gate)
    wanted = Purse(gate, world.policy, world.clock, print, lately=lately).wants_credit_call()
    assert bool(looks.places) is is_looked_at
    assert wanted is Purse(database.gate, world.policy, world.clock, print).wants_credit_call()


@pytest.mark.parametrize("answer", [Trouble(Call.TIMEOUT, "silent"), RuntimeError("bad")])
def test_after_a_fruitless_call_it_is_made_again_a_while_later(
    world: World, database: Database, answer: Trouble | RuntimeError
) -> None:
    told: list[Event] = []
    one = purse(world, database, told)
    one.credit_answer(answer, world.clock())
    assert not one.wants_credit_call()
    assert one.opens_at(*shape(world)) == world.clock() + world.policy.retry_min
    world.pass_time(world.policy.retry_min)
    assert one.wants_credit_call()
    assert one.opens_at(*shape(world)) is None, "it is being made"
    assert told == [Mistake("", answer) if isinstance(answer, RuntimeError) else CreditsUntold(answer)]


def test_the_free_call_tries_an_open_breaker_and_tells_nothing_of_purchases(world: World, database: Database) -> None:
    told: list[Event] = []
    one = purse(world, database, told)
    for _ in range(FAULTS_TO_OPEN):
        one.credit_answer(Trouble(Call.TIMEOUT, "silent"), world.clock())
    assert one.provider_fails
    assert [event.breaker.stage for event in told if isinstance(event, BreakerMoved)] == [Stage.OPEN]
    for _ in range(2):
        world.pass_time(world.policy.retry_max)
        assert one.wants_credit_call()
        one.credit_answer(Credits(1000), world.clock())
        assert database.gate.view().breaker.stage is Stage.PROBING
    assert not one.provider_fails


def test_while_the_breaker_is_open_nothing_is_asked_before_its_time(world: World, database: Database) -> None:
    one, silent = purse(world, database), Trouble(Call.TIMEOUT, "silent")
    for _ in range(FAULTS_TO_OPEN):
        one.credit_answer(silent, world.clock())
    world.pass_time(world.policy.retry_min)
    one.credit_answer(silent, world.clock())
    retry_at = one.view().breaker.retry_at
    assert retry_at is not None
    assert retry_at > world.clock() + world.policy.retry_min
    assert one.opens_at(*shape(world)) == retry_at
    world.pass_time(retry_at - world.clock())
    database.gate.heard(healthy=True, bought=False)
    assert one.view().breaker.stage is Stage.PROBING
    assert one.wants_credit_call()


def test_a_balance_is_told_and_opens_a_gate_closed_for_the_key(world: World, database: Database) -> None:
    told: list[Event] = []
    one = purse(world, database, told)
    one.heard(Trouble(Call.RATE_LIMITED, "slow down", Refusal.RATE))
    assert one.key_refused_until is None
    one.heard(Trouble(Call.UNAUTHORIZED, "no", Refusal.KEY))
    before = one.key_refused_until
    one.credit_answer(Credits(70), world.clock())
    assert (before is None, one.key_refused_until) == (False, None)
    assert told[-1] == CreditsRead(70, world.clock())


def test_a_refused_key_is_tried_once_a_run(world: World, database: Database) -> None:
    one = purse(world, database)
    refused = Trouble(Call.UNAUTHORIZED, "no", Refusal.KEY)
    one.heard(refused)
    assert one.wants_credit_call()
    assert not Purse(database.gate, world.policy, world.clock, print, tries_key=False).wants_credit_call()
    one.credit_answer(refused, world.clock())
    world.pass_time(2 * MINUTE)
    assert one.key_refused_until is not None
    assert not one.wants_credit_call()


# -- what answers teach --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("finding", "name"),
    [
        (NothingMade(Refusal.RATE, Call.RATE_LIMITED, "x"), GateName.RATE_LIMIT),
        (NothingMade(Refusal.CREDITS, Call.NO_CREDITS, "x"), GateName.CREDITS),
        (NothingMade(Refusal.KEY_CAP, Call.NO_CREDITS, "x"), GateName.CREDITS),
        (NothingMade(Refusal.KEY, Call.UNAUTHORIZED, "x"), GateName.KEY),
        (NothingMade(Refusal.REQUEST, Call.REJECTED, "x"), GateName.REQUEST_REJECTED),
    ],
)
def test_a_refusal_closes_the_gate_and_is_told(
    world: World, database: Database, finding: NothingMade, name: GateName
) -> None:
    told: list[Event] = []
    purse(world, database, told).heard(finding, ordered(world))
    assert [event.closure.name for event in told if isinstance(event, GateClosed)] == [name]
    assert [closure.name for closure in database.gate.view().closures] == [name]


@pytest.mark.parametrize(
    ("long", "short"),
    [
        (
            NothingMade(Refusal.RATE, Call.RATE_LIMITED, "429", retry_after_s=3600),
            Trouble(Call.RATE_LIMITED, "430", Refusal.RATE),
        ),
        (
            NothingMade(Refusal.KEY_CAP, Call.NO_CREDITS, "433"),
            Trouble(Call.NO_CREDITS, "402", Refusal.CREDITS),
        ),
    ],
)
def test_the_next_answer_does_not_open_the_gate_sooner(
    world: World, database: Database, long: NothingMade, short: Trouble
) -> None:
    one, start = purse(world, database), world.clock()
    one.heard(long)
    world.pass_time(SECOND)
    one.heard(short)
    (closure,) = database.gate.view().closures
    assert closure.until == start + 60 * MINUTE


@pytest.mark.parametrize(
    ("long", "short"),
    [
        (
            Trouble(Call.RATE_LIMITED, "429", Refusal.RATE, retry_after_s=3600),
            Trouble(Call.RATE_LIMITED, "430", Refusal.RATE),
        ),
        (
            Trouble(Call.NO_CREDITS, "433", Refusal.KEY_CAP),
            Trouble(Call.NO_CREDITS, "402", Refusal.CREDITS),
        ),
    ],
)
def test_nor_does_an_answer_to_another_process_that_has_not_seen_it_closed(
    world: World, database: Database, long: Trouble, short: Trouble
) -> None:
    told: list[Event] = []
    with closing(world.open("two")) as another:
        one, other = purse(world, database), purse(world, another, told)
        other.view()
        world.pass_time(SECOND / 2)
        start = world.clock()
        one.heard(long)
        world.pass_time(SECOND / 4)
        other.heard(short)
    (closure,) = database.gate.view().closures
    assert closure.until == start + 60 * MINUTE
    assert told == [GateClosed(closure)], "what holds is told"


def test_a_rate_limit_met_again_soon_is_left_alone_for_longer(world: World, database: Database) -> None:
    one, told = purse(world, database), NothingMade(Refusal.RATE, Call.RATE_LIMITED, "slow down")
    one.credit_answer(Credits(1000), world.clock())
    database.gate.close(Closure(GateName.REQUEST_REJECTED, world.clock(), shape="another"))
    for _ in range(2):
        one.heard(told, ordered(world))
        world.pass_time(SECOND)
    for length in (1, 2, 4, 8):
        opens = one.opens_at(*shape(world))
        assert opens == world.clock() + length * world.policy.purchase_window - SECOND
        world.pass_time(opens - world.clock())
        assert not [c for c in database.gate.view().closures if c.name is GateName.RATE_LIMIT and c.active(opens)]
        one.heard(told, ordered(world))
        world.pass_time(SECOND)


def test_an_order_that_is_taken_opens_the_gate_for_its_shape_and_no_other(world: World, database: Database) -> None:
    one = purse(world, database)
    wrong = NothingMade(Refusal.REQUEST, Call.REJECTED, "no such field")
    one.heard(wrong, ordered(world))
    one.heard(Accepted("t"), ordered(world))
    assert one.view().closures == database.gate.view().closures == ()
    for name in (None, "other"):
        one.heard(wrong, ordered(world, name))
    one.heard(Trouble(Call.UNAUTHORIZED, "no", Refusal.KEY))
    one.heard(Accepted("u"), ordered(world))
    assert {(closure.name, closure.shape) for closure in one.view().closures} == {
        (GateName.REQUEST_REJECTED, "other"),
        (GateName.KEY, None),
    }


def test_a_task_that_fails_since_its_request_is_wrong_closes_the_gate_for_its_shape(
    world: World, database: Database
) -> None:
    one, before = purse(world, database), ordered(world)
    wrong = Failed(Refusal.REQUEST, "no such field")
    one.heard(wrong)
    assert one.view().closures == (), "a task that somebody else ordered"
    world.pass_time(SECOND)
    one.heard(wrong, ordered(world))
    closed = Closure(
        GateName.REQUEST_REJECTED, world.clock(), None, "Kie calls the request wrong: no such field", before.shape
    )
    assert one.view().closures == (closed,)
    one.heard(Accepted("t"), before)
    assert one.view().closures == (closed,), "it was under way, and its task has yet to fail"
    one.heard(Accepted("u"), ordered(world))
    assert one.view().closures == ()


def breaker_after(world: World, database: Database, *findings: Any) -> Breaker:
    one = purse(world, database)
    for finding in findings:
        one.heard(finding, ordered(world))
    return database.gate.view().breaker


def test_faults_in_a_row_open_the_breaker_and_health_in_between_does_not_let_them_add_up(
    world: World, database: Database
) -> None:
    fault, health = Trouble(Call.SERVER_ERROR, "x"), Running()
    assert breaker_after(world, database, *[fault] * 4, health, *[fault] * 4).stage is Stage.CLOSED
    assert breaker_after(world, database, fault).stage is Stage.OPEN


def test_lost_orders_in_a_row_open_the_breaker_and_answers_to_questions_in_between_do_not_end_the_row(
    world: World, database: Database
) -> None:
    lost = AnswerLost(Call.TIMEOUT, "x")
    assert breaker_after(world, database, *[lost, Running()] * 4, Accepted("t"), lost).stage is Stage.CLOSED
    assert breaker_after(world, database, *[lost, Running()] * 4).stage is Stage.OPEN


def test_health_alone_writes_nothing(world: World, database: Database) -> None:
    assert breaker_after(world, database, Running(), Accepted("a")) == Breaker()


@pytest.mark.parametrize("ours", [Refusal.STORE, Refusal.STOPPED])
def test_what_is_not_ordered_for_a_reason_of_ours_says_nothing_of_the_provider(
    world: World, database: Database, ours: Refusal
) -> None:
    lost = AnswerLost(Call.TIMEOUT, "x")
    assert breaker_after(world, database, *[lost] * 5).stage is Stage.OPEN
    world.pass_time(timedelta(hours=1))
    unfit = NothingMade(ours, Call.REJECTED, "the disk", sent=False)
    assert breaker_after(world, database, unfit).stage is Stage.OPEN
