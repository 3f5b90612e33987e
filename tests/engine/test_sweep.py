"""The loop: it ends when it should, never spins, and leaves nothing behind."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any

import pytest

from reconciler.domain.breaker import Breaker
from reconciler.domain.catalogue import offers
from reconciler.domain.findings import Accepted, Listing
from reconciler.domain.model import Outcome
from reconciler.domain.states import How, Reason, State
from reconciler.engine.events import Found, Mistake, Moved, Ordered, Wrote
from reconciler.kie.simulated import (
    SERVER_ERROR,
    UNAUTHORIZED,
    Break,
    Face,
    Fault,
    NotFound,
    Settings,
    Stall,
    Succeed,
    page,
)
from reconciler.ports import Commit, DatabaseError, DatabaseLocked, Ending, Held, Lease, Step
from reconciler.testing.delayed import DelayedCrew, Stage
from reconciler.testing.world import World
from tests.engine.conftest import SMALL, MakeWorld, leased, lose_leases, slow_crew, sweeping

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
MOMENT = timedelta(milliseconds=10)


def purchases(world: World) -> list[dict[str, Any]]:
    return world.sql("SELECT * FROM reconciler_purchase ORDER BY at, token")


class Around:
    """Puts `before` in front of one method of one port."""

    def __init__(self, port: str, method: str, before: Callable[..., None]) -> None:
        self.port, self.method, self.before = port, method, before

    def __call__(self, name: str, port: Any) -> Any:
        return _Guarded(port, self.method, self.before) if name == self.port else port


def each(before: Callable[..., None]) -> Callable[[Sequence[Ending]], None]:
    """For `commit_all`: before each of the endings that are saved together."""

    def of_all(endings: Sequence[Ending]) -> None:
        for ending in endings:
            before(ending.lease, ending.change, ending.row)

    return of_all


LOCKED = DatabaseLocked("locked", "app.db", "Try again")


class Refusing:
    """The leases, of which endings that `refuses` names cannot be saved; `told`: what becomes of these."""

    def __init__(self, leases: Any, refuses: Callable[[Ending], bool], told: Commit | DatabaseError = LOCKED) -> None:
        self._leases, self._refuses, self._told = leases, refuses, told

    def __getattr__(self, name: str) -> Any:
        return getattr(self._leases, name)

    def commit_all(self, endings: Sequence[Ending]) -> Sequence[Commit | DatabaseError]:
        saved = iter(self._leases.commit_all([ending for ending in endings if not self._refuses(ending)]))
        return [self._told if self._refuses(ending) else next(saved) for ending in endings]


class _Guarded:
    def __init__(self, port: Any, method: str, before: Callable[..., None]) -> None:
        self._port, self._method, self._before = port, method, before

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._port, name)
        if name != self._method:
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            self._before(*args, **kwargs)
            return value(*args, **kwargs)

        return call


# -- it does what there is to do, and no more ----------------------------------------------------------------------


@pytest.mark.slow
def test_with_slow_workers_it_waits_and_does_not_spin(make_world: MakeWorld) -> None:
    world = make_world(40)
    crew = slow_crew(world)
    assert world.run(HOUR).states == {(State.OK, None): 40}
    answers = sum(isinstance(event, Found) for event in world.events)
    assert crew.idle <= 1
    assert crew.turns <= 2 * answers


def test_a_step_that_outlives_its_lease_is_neither_begun_again_nor_spun_for(make_world: MakeWorld) -> None:
    world = make_world(1)
    day = timedelta(days=1)
    crew = DelayedCrew(Stage(world.clock), lambda tag: (timedelta(0), day if tag else timedelta(0)))
    world.crew = lambda: crew
    length = world.policy.lease + MINUTE
    result = world.run(length)
    assert result.stopped
    assert crew.turns < length / timedelta(seconds=1)


def test_no_more_steps_at_once_than_workers(make_world: MakeWorld) -> None:
    world = make_world(20)
    crew = slow_crew(world, size=3)
    most = 0

    def count(lease: Lease, change: object, row: object = None) -> None:
        nonlocal most
        most = max(most, len(crew._jobs) + len(crew._answers))

    assert world.run(HOUR, wrap=Around("leases", "commit_all", each(count))).states == {(State.OK, None): 20}
    assert most <= 3


def test_with_nothing_to_do_it_ends_at_once(make_world: MakeWorld) -> None:
    world = make_world()
    began = world.clock()
    result = world.run(HOUR)
    assert (result.at_rest, result.states) == (True, {})
    assert world.clock() - began < timedelta(seconds=1)


def test_it_does_not_wait_for_what_is_due_after_its_time(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.kie.script.clear()
    world.kie.script.when(Stall())
    began = world.clock()
    result = world.run(MINUTE)
    assert result.states == {(State.AWAITING, Reason.IN_FLIGHT): 1}
    assert not result.stopped
    assert world.clock() - began < MINUTE


def test_who_is_due_in_a_moment_is_begun_in_a_moment(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.kie.script.clear()
    world.kie.script.when(Stall())
    due = world.run(MINUTE).next_at
    assert due is not None
    world.clock.time = due - timedelta(milliseconds=300)
    asked: list[datetime] = []

    def look(track_ids: Sequence[str], *_: object) -> None:
        asked.extend(world.clock() for _ in track_ids)

    world.run(timedelta(seconds=2), wrap=Around("leases", "lease_all", look))
    assert timedelta(0) <= asked[0] - due < timedelta(milliseconds=100)


class Saved:
    """When endings were saved, and how many together."""

    def __init__(self, world: World) -> None:
        self.world, self.times = world, dict[datetime, int]()

    def __call__(self, endings: Sequence[Ending]) -> None:
        self.times[self.world.clock()] = len(endings)


def picture_crew(world: World, pictures: int) -> None:
    """Six workers. `p0` and so on are measured within a second; then their pictures take three, the first of them, and
    each a moment longer. For others each step takes 1.5 s."""
    for number in range(pictures):
        world.add(f"p{number}", image_url=world.kie.add_file(f"/p/{number}.jpg", size=(160, 90)))
    begun = Counter[str]()

    def delay(tag: str) -> tuple[timedelta, timedelta]:
        begun[tag] += 1
        if not tag.startswith("p"):
            return timedelta(0), 150 * MOMENT
        is_measured = begun[tag] <= 2  # each step asks twice: until it is done, and until that is told
        return timedelta(0), (100 if is_measured else 300 + int(tag[1:])) * MOMENT

    crew = DelayedCrew(Stage(world.clock), delay, size=6)
    world.crew = lambda: crew


def test_pictures_that_come_soon_after_another_are_saved_with_it_while_half_of_all_hands_have_one(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    picture_crew(world, 6)
    saved, began = Saved(world), world.clock()
    world.run(MINUTE, wrap=Around("leases", "commit_all", saved))
    together = {(at - began) / MOMENT: count for at, count in saved.times.items()}
    assert together == {100: 6, 403: 4, 404: 1, 405: 1}


def test_what_comes_back_of_an_order_is_saved_at_once(make_world: MakeWorld) -> None:
    """What the store holds, which is asked for before, can wait."""
    world = make_world(1)
    picture_crew(world, 5)
    saved, began, ordered = Saved(world), world.clock(), list[float]()

    def order(*_: object) -> None:
        ordered.append((world.clock() - began) / MOMENT)

    def wrap(name: str, port: Any) -> Any:
        return Around("gate", "reserve", order)(name, Around("leases", "commit_all", saved)(name, port))

    world.run(MINUTE, wrap=wrap)
    assert ordered == [155]
    assert [(at - began) / MOMENT for at in saved.times][:2] == [100, 305]


@pytest.mark.parametrize("limit", [0, 1, 3, 7])
def test_a_limit_is_the_number_of_tracks_worked(make_world: MakeWorld, limit: int) -> None:
    world = make_world(7)
    result = world.run(HOUR, limit=limit)
    assert result.states == ({(State.OK, None): limit} if limit else {})
    assert len(world.kie.book.purchases) == limit
    assert len({event.track_id for event in world.events if isinstance(event, Moved)}) == limit


def test_a_limit_stays_one_while_the_gate_holds_more_back(make_world: MakeWorld) -> None:
    world = make_world(6, per_hour=2)
    assert world.run().states == {(State.OK, None): 2, (State.MISSING, Reason.BUDGET): 4}
    world.pass_time(HOUR)
    assert world.run(limit=1).purchases == 1


def test_a_walk_that_a_limit_cut_is_resumed_where_it_was_cut(make_world: MakeWorld) -> None:
    world = make_world()
    for number in range(6):
        url = world.kie.add_file(f"/p/{number}.jpg", size=(160, 90))
        world.add(f"t{number}", image_url=url, resolution="160x90", age=timedelta(days=9))
    key, seen = None, []
    for _ in range(3):
        with sweeping(world, HOUR, limit=2, audit_from=key) as sweep:
            sweep.run()
            key = sweep.audit_key
        seen.append(sum(state["state"] == "ok" for state in world.sql("SELECT state FROM reconciler_memory")))
    assert seen == [2, 4, 6]


def test_a_walk_resumes_at_its_key_and_is_over_when_it_went_all_round(make_world: MakeWorld) -> None:
    world = make_world()
    for name in "abc":
        url = world.kie.add_file(f"/p/{name}.jpg", size=(160, 90))
        world.add(name, image_url=url, resolution="160x90", age=timedelta(days=9))
    with sweeping(world, HOUR, audit_from="b") as sweep:
        assert sum(sweep.run().states.values()) == 3
        assert sweep.audit_key is None


def test_without_audit_only_what_is_due_is_worked(make_world: MakeWorld) -> None:
    world = make_world(1)
    url = world.kie.add_file("/p/a.jpg", size=(160, 90))
    world.add("unmeasured", image_url=url, resolution="160x90", age=timedelta(days=9))
    assert world.run(audit=False).states == {(State.OK, None): 1}


def test_only_the_tracks_named_are_worked_and_counted(make_world: MakeWorld) -> None:
    world = make_world(5)
    assert world.run(only=("t001", "t003")).states == {(State.OK, None): 2}
    assert len(world.kie.book.purchases) == 2


def test_what_a_run_may_spend_is_spent_and_the_rest_waits_for_the_next(make_world: MakeWorld) -> None:
    world = make_world(5)
    result = world.run(max_purchases=2)
    assert result.purchases == 2
    assert result.states == {(State.OK, None): 2, (State.MISSING, Reason.BUDGET): 3}
    assert world.run().states == {(State.OK, None): 5}


def test_nothing_at_all_may_be_spent(make_world: MakeWorld) -> None:
    world = make_world(2)
    assert world.run(max_purchases=0).states == {(State.MISSING, Reason.BUDGET): 2}
    assert not world.kie.book.creations


# -- waiting -------------------------------------------------------------------------------------------------------


def test_paused_it_ends_at_once_and_holds_everything_back(make_world: MakeWorld) -> None:
    world = make_world(3)
    database = world.open()
    database.gate.pause(paused=True)
    began = world.clock()
    assert world.run(HOUR).states == {(State.MISSING, Reason.PAUSED): 3}
    assert world.clock() - began < MINUTE
    database.gate.pause(paused=False)
    database.close()
    assert world.run(HOUR).states == {(State.OK, None): 3}


def test_who_waits_for_one_model_does_not_wait_for_all_who_wait_for_another(make_world: MakeWorld) -> None:
    world = make_world(8, per_hour=1)
    world.run()
    (_, (fallback, _)) = offers(world.policy)
    world.sql("UPDATE reconciler_memory SET held = ? WHERE track_id = 't007'", fallback)
    world.run(2.5 * HOUR)
    bought = [event.purchase.track_id for event in world.events if isinstance(event, Ordered)]
    assert len(bought) == 3
    assert "t007" in bought


def test_a_budget_is_waited_for_within_the_time_given(make_world: MakeWorld) -> None:
    world = make_world(5, per_hour=2)
    crew = slow_crew(world)
    assert world.run(timedelta(hours=2, minutes=10)).states == {(State.OK, None): 5}
    assert crew.turns < 100


def test_never_buying_ends_at_once(make_world: MakeWorld) -> None:
    world = make_world(3, per_day=0)
    assert world.run(HOUR).states == {(State.MISSING, Reason.BUDGET): 3}
    assert not world.kie.book.creations


def test_a_balance_too_low_ends_the_run_and_is_asked_for_again_by_the_next(make_world: MakeWorld) -> None:
    world = make_world(2, kie=Settings(credits=20))
    assert world.run(HOUR).states == {(State.MISSING, Reason.OUT_OF_CREDITS): 2}
    world.kie.top_up(1000)
    world.pass_time(MINUTE)
    assert world.run(HOUR).states == {(State.OK, None): 2}


def test_a_credit_call_that_always_fails_is_made_once_a_minute_and_nothing_is_bought(make_world: MakeWorld) -> None:
    world = make_world(3)
    crew = slow_crew(world)
    world.kie.script.when(page(404), operation="credit")
    world.run(timedelta(minutes=30))
    assert 2 <= len(world.kie.book.visits_of("credit")) <= 31
    assert not world.kie.book.creations
    assert crew.turns < 200


def test_a_credit_call_that_raises_is_told_and_made_again(make_world: MakeWorld) -> None:
    world = make_world(1)
    calls = 0

    def break_twice() -> None:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise RuntimeError("credit")

    result = world.run(wrap=Around("kie", "credit", break_twice))
    assert result.states == {(State.OK, None): 1}
    assert result.mistakes == 2
    assert [event.track_id for event in world.events if isinstance(event, Mistake)] == ["", ""]


@pytest.mark.slow
def test_repeats_that_the_open_breaker_refuses_do_not_keep_the_probe_from_going_out(make_world: MakeWorld) -> None:
    """The order of a track whose answer was not lost is what closes the breaker, and then come the repeats."""
    world = make_world(8)
    world.run(only=("t000",))
    world.kie.script.next("create", *[Break(Fault.HANG, done=True)] * 5)
    world.kie.script.outage(world.clock() + MINUTE, world.clock() + HOUR, page(502))
    result = world.run(timedelta(hours=4))
    assert result.states == {(State.OK, None): 8}
    assert (result.unknown, result.repeats) == (5, 5)


def test_a_key_that_is_refused_stops_all_asking_until_it_may_be_tried_again(make_world: MakeWorld) -> None:
    world = make_world(5)
    for number in range(5):
        world.add(f"song{number}", task_id=f"{number}" * 32)
    world.kie.script.when(NotFound(Face.NULL_DATA), operation="suno_record")
    world.kie.script.outage(world.clock(), world.clock() + timedelta(minutes=25), UNAUTHORIZED)
    result = world.run(timedelta(minutes=20))
    assert len(world.kie.book.visits) <= 16
    assert not world.kie.book.purchases
    assert result.closures["key"].detail
    assert world.run(timedelta(minutes=40)).states == {(State.OK, None): 10}


def run_for_minutes(world: World) -> None:
    """So long do tasks take from now on."""
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=160, height=90, run=timedelta(minutes=3)))


def test_a_deleted_row_is_followed_until_its_task_ends_and_nothing_is_bought(make_world: MakeWorld) -> None:
    world = make_world(1)
    run_for_minutes(world)
    world.run(timedelta(seconds=10))
    world.sql("DELETE FROM tracks")
    before = len(world.kie.book.visits_of("record"))
    result = world.run(timedelta(minutes=10))
    assert result.states == {}
    assert len(world.kie.book.visits_of("record")) - before >= 3
    (task,) = world.sql("SELECT state FROM reconciler_task")
    assert task == {"state": "succeeded"}
    assert not world.kie.book.purchases[1:]


def test_since_when_a_row_is_gone_is_kept(make_world: MakeWorld) -> None:
    """Else one whose task is asked for would never be forgotten."""
    world = make_world(1)
    run_for_minutes(world)
    world.run(timedelta(seconds=10))
    world.sql("DELETE FROM tracks")
    gone, polls = set[str](), set[int]()
    for _ in range(3):
        world.run(MINUTE)
        gone |= {row["gone_since"] for row in world.sql("SELECT gone_since FROM reconciler_memory")}
        polls.add(len(world.kie.book.visits_of("record")))
    assert len(polls) == 3
    assert len(gone) == 1


def test_pictures_whose_rows_were_deleted_do_not_keep_the_first_of_a_model_from_being_awaited(
    make_world: MakeWorld,
) -> None:
    world = make_world(3)
    run_for_minutes(world)
    world.run(timedelta(seconds=10))
    assert len(world.kie.book.purchases) == 3, "no more while none of a shape was good"
    world.sql("DELETE FROM tracks")
    world.run()
    world.add("new")
    assert world.run().states == {(State.OK, None): 1}
    assert {row["verdict"] for row in world.sql("SELECT verdict FROM reconciler_purchase")} == {"good", "lost"}


def test_a_row_that_comes_back_is_given_what_was_bought_for_it(make_world: MakeWorld) -> None:
    world = make_world(1)
    run_for_minutes(world)
    world.run(timedelta(seconds=10))
    world.sql("DELETE FROM tracks")
    world.run()
    world.add("t000")
    assert world.run().states == {(State.OK, None): 1}
    assert len(world.kie.book.purchases) == 1


def test_a_row_deleted_with_nothing_under_way_is_forgotten_quietly(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.run()
    world.sql("DELETE FROM tracks")
    assert world.run().states == {}
    assert world.sql("SELECT state, due_at FROM reconciler_memory") == [{"state": None, "due_at": None}]


# -- stopping ------------------------------------------------------------------------------------------------------


def stop_after(world: World, events: int) -> Callable[[Any], None]:
    """Lets the world's sweep stop when so many events were told."""

    def run(sweep: Any) -> None:
        told = world.events.append

        def count(event: Any) -> None:
            told(event)
            if len(world.events) == events:
                sweep.stop()

        sweep._tally._onward = count
        result = sweep.run()
        assert result.stopped
        assert not result.at_rest

    return run


@pytest.mark.slow
@pytest.mark.parametrize("events", [1, 5, 9, 15, 25, 60])
def test_a_stop_at_any_moment_hands_everything_back_and_the_next_run_goes_on_at_once(
    make_world: MakeWorld, events: int
) -> None:
    world = make_world(12)
    slow_crew(world)
    with sweeping(world, HOUR) as sweep:
        stop_after(world, events)(sweep)
    assert leased(world) == []
    world.pass_time(timedelta(seconds=1))
    late = world.sql(
        "SELECT track_id FROM reconciler_memory WHERE due_at > ? AND state NOT IN ('awaiting', 'submitting', 'ok')",
        world.clock().isoformat(),
    )
    assert late == []
    slow_crew(world)
    assert world.run(HOUR).states == {(State.OK, None): 12}
    assert len(world.kie.book.purchases) == 12


def test_workers_that_hang_are_left_after_a_calls_time_and_their_leases_end(make_world: MakeWorld) -> None:
    world = make_world(4)
    slow_crew(world, 7200)
    with sweeping(world, HOUR) as sweep:
        began = world.clock()
        sweep.stop()
        sweep._stop = False
        sweep._fill()
        assert len(leased(world)) == 4
        sweep.stop()
        assert sweep.run().stopped
        assert world.clock() - began <= world.policy.request_timeout + timedelta(seconds=1)
    assert leased(world) == []
    slow_crew(world)
    assert world.run().states == {(State.OK, None): 4}


def test_who_waits_for_anothers_question_is_handed_back_too(make_world: MakeWorld) -> None:
    """The run ends sooner than the question may take."""
    world = make_world()
    task = "a" * 32
    world.kie.add_task(task, prompt="shared", behaviour=SMALL)
    for name in "abc":
        world.add(name, extended_prompt=f"x | image_task_id: {task}")
    slow_crew(world, 7200)
    with sweeping(world, timedelta(seconds=5), patience=timedelta(seconds=1)) as sweep:
        sweep._fill()
        for track_id in list(sweep._steps.flights):  # the store was listed; the task is asked next
            job = sweep._steps.flights[track_id].job
            sweep._steps.finish([(track_id, sweep._hands.perform(track_id, job, lambda: True))])
        sweep._fill()
        assert len(sweep._steps.flights) == 1
        sweep.run()
    slow_crew(world)
    began = world.clock()
    assert world.run(timedelta(seconds=20)).states == {(State.OK, None): 3}
    assert world.clock() - began < timedelta(seconds=20)
    assert len(world.kie.book.visits_of("record")) == 1
    assert not world.kie.book.creations


def test_at_the_time_limit_the_answers_under_way_are_waited_for(make_world: MakeWorld) -> None:
    world = make_world(3)
    slow_crew(world, 20)
    result = world.run(timedelta(seconds=50))
    assert result.stopped
    assert [purchase["outcome"] for purchase in purchases(world)] == [Outcome.ACCEPTED] * result.purchases
    assert result.purchases > 0


@pytest.mark.parametrize("by_signal", [True, False])
def test_what_is_ordered_but_not_sent_when_the_run_ends_is_left_to_the_next(
    make_world: MakeWorld, *, by_signal: bool
) -> None:
    """Nobody would wait for the whole of its answer."""
    world = make_world(3)
    slow = timedelta(seconds=10), timedelta(seconds=5)
    crew = DelayedCrew(Stage(world.clock), lambda tag: slow if tag else (timedelta(0), timedelta(0)))
    world.crew = lambda: crew
    with sweeping(world, HOUR if by_signal else timedelta(seconds=20)) as sweep:
        told = world.events.append

        def hear(event: Any) -> None:
            told(event)
            if by_signal and isinstance(event, Ordered):
                sweep.stop()

        sweep._tally._onward = hear
        result = sweep.run()
    assert result.stopped
    assert result.purchases == 0
    assert not world.kie.book.creations
    assert {(order["outcome"], order["sent"]) for order in purchases(world)} == {(Outcome.NOTHING, 0)}
    assert leased(world) == []
    slow_crew(world)
    assert world.run(MINUTE, max_purchases=3).states == {(State.OK, None): 3}


# -- a failing database --------------------------------------------------------------------------------------------


class Locked:
    """Raises DatabaseLocked at the `first`th call and `times` in all."""

    def __init__(self, first: int, times: int) -> None:
        self.calls, self.first, self.times = 0, first, times

    def __call__(self, *_: Any, **__: Any) -> None:
        self.calls += 1
        if self.first <= self.calls < self.first + self.times:
            raise DatabaseLocked("locked", "app.db", "Try again")


@pytest.mark.parametrize("first", [1, 2])
def test_a_commit_that_finds_the_database_locked_is_made_again(make_world: MakeWorld, first: int) -> None:
    world = make_world(1)
    locked = Locked(first, times=2)
    assert world.run(wrap=Around("leases", "commit_all", locked)).states == {(State.OK, None): 1}
    assert len(world.kie.book.purchases) == 1
    assert locked.calls >= first


@pytest.mark.parametrize(("error", "times"), [(LOCKED, 3), (DatabaseError("gone", "app.db", "Try again"), 1)])
def test_what_is_no_lock_is_not_tried_again_at_once(make_world: MakeWorld, error: DatabaseError, times: int) -> None:
    world, tried = make_world(1), list[object]()

    def fail(endings: object) -> None:
        tried.append(endings)
        raise error

    with sweeping(world, MINUTE, Around("leases", "commit_all", fail)) as sweep:
        sweep._desk.begin(Lease("t000", "one", 1, world.clock()), Step.LOOK)
        sweep._desk.flush()
    assert len(tried) == times


def test_answers_under_way_are_saved_when_the_database_fails_for_another_track(make_world: MakeWorld) -> None:
    world = make_world(6)
    world.run(only=("t000",))
    slow_crew(world)
    ordered = 0

    def the_first(ending: Ending) -> bool:
        nonlocal ordered
        answered = any(p.outcome is Outcome.ACCEPTED for each in ending.changes for p in each.memory.purchases)
        ordered += answered and ending.lease.track_id == "t001"
        return answered and ending.lease.track_id == "t001"

    with pytest.raises(DatabaseLocked):
        world.run(wrap=lambda name, port: Refusing(port, the_first) if name == "leases" else port)
    assert ordered > 3, "it is tried on while the run may last"
    known = {p["task_id"] for p in purchases(world) if p["outcome"] == Outcome.ACCEPTED}
    lost = {p.task_id for p in world.kie.book.purchases} - known
    assert len(lost) == 1
    assert len(known) >= 5
    told = {e.finding.task_id for e in world.events if isinstance(e, Found) and isinstance(e.finding, Accepted)}
    assert lost <= told


@pytest.mark.parametrize(("port", "method"), [("finder", "due"), ("leases", "lease_all"), ("gate", "view")])
def test_a_database_that_fails_at_looking_ends_the_run_but_loses_no_answer(
    make_world: MakeWorld, port: str, method: str
) -> None:
    world = make_world(6)
    slow_crew(world)
    fails = False

    def fail(*_: Any, **__: Any) -> None:
        if fails:
            raise DatabaseLocked("locked", "app.db", "Try again")

    with sweeping(world, HOUR, wrap=Around(port, method, fail)) as sweep:
        told = sweep._tally._onward

        def watch(event: Any) -> None:
            nonlocal fails
            told(event)
            fails = fails or (len(world.kie.book.creations) >= 2)

        sweep._tally._onward = watch
        # An older view of the gate will do to save what came back.
        with pytest.raises(DatabaseLocked) if port != "gate" else nullcontext():
            sweep.run()
    bought = {p.task_id for p in world.kie.book.purchases}
    assert len(bought) >= 2
    assert {p["task_id"] for p in purchases(world)} - {None} == bought


def test_one_track_that_cannot_be_read_is_told_of_and_the_others_go_on(make_world: MakeWorld) -> None:
    world = make_world(4)

    def corrupt(track_ids: Sequence[str], step: object) -> None:
        if "t001" in track_ids:
            raise ValueError("corrupt")

    crew = slow_crew(world)
    result = world.run(wrap=Around("leases", "lease_all", corrupt))
    assert result.states == {(State.OK, None): 3}
    assert result.mistakes >= 1
    assert crew.turns < 2000
    assert {event.track_id for event in world.events if isinstance(event, Mistake)} == {"t001"}


def test_a_track_nobody_knows_what_to_do_with_is_left_alone_for_long(make_world: MakeWorld) -> None:
    world = make_world(2)

    def strange(held: Held, order: Any) -> None:
        if held.lease.track_id == "t001":
            raise KeyError("strange")

    result = world.run(wrap=Around("gate", "reserve", strange))
    assert result.states == {(State.OK, None): 1, (State.INVALID, Reason.INVALID_ROW): 1}
    assert result.mistakes == 1
    assert leased(world) == []
    assert world.settle().states == {(State.OK, None): 2}


def test_a_finding_that_cannot_be_learned_from_costs_its_track_alone(make_world: MakeWorld) -> None:
    world = make_world(2)
    world.run(only=("t000",))
    result = world.run(wrap=lambda name, port: _Answering(port) if name == "kie" else port)
    assert result.mistakes == 1
    assert result.states == {(State.OK, None): 1, (State.INVALID, Reason.INVALID_ROW): 1}


class _Answering:
    """Answers a question about a task with what is no answer to it."""

    def __init__(self, kie: Any) -> None:
        self._kie = kie

    def __getattr__(self, name: str) -> Any:
        return (lambda *_: Listing(())) if name == "task" else getattr(self._kie, name)


# -- two at once ---------------------------------------------------------------------------------------------------


def test_a_lease_that_another_took_over_saves_nothing_and_writes_nothing(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.run()
    row = world.row("t000")
    world.sql("UPDATE tracks SET image_url = NULL")
    world.pass_time(HOUR)

    def take_over(lease: Lease, change: Any, row: Any = None) -> None:
        if row is not None:
            lose_leases(world)

    result = world.run(timedelta(seconds=5), wrap=Around("leases", "commit_all", each(take_over)))
    assert result.writes == 0
    assert world.row("t000")["image_url"] is None
    world.sql("UPDATE reconciler_memory SET lease_until = '2020-01-01T00:00:00.000000Z'")
    world.pass_time(HOUR)
    assert world.run().resolved == {How.RESTORED: 1}
    assert world.row("t000")["image_url"] == row["image_url"]
    assert any(isinstance(event, Wrote) for event in world.events)


@pytest.mark.slow
def test_a_breaker_that_is_closed_again_lets_the_full_window_through(make_world: MakeWorld) -> None:
    world = make_world(30)
    world.kie.script.next("create", *[SERVER_ERROR] * 5)
    slow_crew(world)
    assert world.run(HOUR * 3).states == {(State.OK, None): 30}
    database = world.open()
    assert database.gate.view().breaker == Breaker()
    database.close()


def test_a_gate_that_opened_since_it_was_tried_is_tried_at_once(make_world: MakeWorld) -> None:
    world = make_world(3, purchase_limit=1)
    world.run(only=("t000",))
    opens = world.kie.book.creations[0].arrived_at + world.policy.purchase_window
    with sweeping(world, HOUR) as sweep:
        while sweep._fill() or sweep._busy():
            sweep._await(None)
        world.clock.time = opens
        assert sweep._wake_at() == opens
