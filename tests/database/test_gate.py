"""The only door to money: what it refuses, what it remembers, and that its limits hold in every window."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from reconciler.database.callbacks import Callbacks
from reconciler.database.datetimes import own
from reconciler.database.gate import SqlGate
from reconciler.database.leases import SqlLeases
from reconciler.domain.actions import Buy
from reconciler.domain.breaker import FAULTS_TO_OPEN, Breaker, Stage
from reconciler.domain.gate import Closure, GateName, NotNow, Proof, Usage
from reconciler.domain.model import Callback, Outcome, Purchase, Task, TaskState, Verdict
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing
from reconciler.domain.states import Reason, State
from reconciler.ports import Change, Held
from tests.domain.builders import purchase

ORDER = Buy("model", "prompt", "shape", 5.0, "song")
SECOND = timedelta(seconds=1)


class Till:
    """One process that buys: a lease, an order, an answer."""

    def __init__(self, app: Any, policy: Policy | None = None, owner: str = "one") -> None:
        self.app, self.policy = app, policy or Policy()
        self.leases: SqlLeases = app.leases(owner, self.policy)
        self.gate: SqlGate = app.gate(self.policy)
        self.gate.balance(1000, app.clock())

    def lease(self, track_id: str = "a") -> Held:
        if not self.app.sql("SELECT 1 FROM tracks WHERE id = ?", track_id):
            self.app.put(track_id)
        held = self.leases.lease(track_id)
        assert held is not None
        return held

    def order(self, track_id: str = "a", **changes: Any) -> Purchase | NotNow:
        """Reserve and leave the answer open."""
        held = self.lease(track_id)
        answer = self.gate.reserve(held, replace(ORDER, **changes))
        self.end(held, self.leases.peek(track_id).memory.purchases)
        return answer

    def bought(self, track_id: str = "a", **changes: Any) -> Purchase:
        answer = self.order(track_id, **changes)
        assert isinstance(answer, Purchase), answer
        return answer

    def end(self, held: Held, purchases: tuple[Purchase, ...], *tasks: Task) -> None:
        memory = replace(held.memory, purchases=purchases, tasks={task.id: task for task in tasks})
        self.leases.commit(held.lease, Change(memory, Standing(State.MISSING, Reason.DUE, None)))

    def answered(self, purchase: Purchase, *tasks: Task, **changes: Any) -> Purchase:
        held = self.lease(purchase.track_id)
        changed = replace(purchase, **{"answered_at": self.app.clock(), "outcome": Outcome.ACCEPTED, **changes})
        others = tuple(p for p in held.memory.purchases if p.token != purchase.token)
        self.end(held, (*others, changed), *tasks)
        return changed

    def failed(self, track_id: str = "a") -> Purchase:
        """A purchase that came to nothing and is out of everybody's way."""
        return self.answered(self.bought(track_id), task_id=None, verdict=Verdict.FAILED)


@pytest.fixture
def till(app: Any) -> Till:
    return Till(app)


def refused(
    answer: Purchase | NotNow, reason: Reason, until: datetime | None = None, detail: str | None = None
) -> None:
    assert isinstance(answer, NotNow), answer
    assert (answer.reason, answer.until) == (reason, until)
    assert answer.detail == (answer.detail if detail is None else detail)


def test_an_intent_is_committed_before_anything_is_sent(app: Any, till: Till) -> None:
    purchase = till.bought()
    now = app.clock()
    assert len(purchase.token) == 32
    assert (purchase.at, purchase.send_before, purchase.deadline) == (now, now + 15 * SECOND, now + 45 * SECOND)
    assert (purchase.prompt, purchase.song, purchase.outcome) == ("prompt", "song", Outcome.OPEN)
    assert app.sql("SELECT token, outcome FROM reconciler_purchase") == [(purchase.token, "open")]
    assert till.leases.peek("a").memory.purchases == (purchase,)
    assert till.bought("b").token != purchase.token


def test_one_without_the_lease_buys_nothing(app: Any, till: Till) -> None:
    held = till.lease()
    for stale in (
        replace(held.lease, generation=0),
        replace(held.lease, owner="other"),
        replace(held.lease, track_id="b"),
    ):
        answer = till.gate.reserve(replace(held, lease=stale), ORDER)
        refused(answer, Reason.IN_FLIGHT, None, "somebody else works this track now")
    app.clock.at = held.lease.until
    refused(till.gate.reserve(held, ORDER), Reason.IN_FLIGHT)
    assert app.sql("SELECT count(*) FROM reconciler_purchase") == [(0,)]


@pytest.mark.parametrize(
    "meanwhile",
    [
        "UPDATE tracks SET image_url = 'https://app.example/its-own.jpg'",
        "UPDATE tracks SET title = 'another song'",
        "UPDATE tracks SET status = 'archived'",
        "DELETE FROM tracks",
        "INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('a', 'by-the-app')",
    ],
)
def test_nothing_is_bought_for_a_track_that_was_changed_since_it_was_looked_at(
    app: Any, till: Till, meanwhile: str
) -> None:
    held, other = till.lease(), till.lease("b")
    app.sql(meanwhile + (" WHERE id = 'a'" if "INSERT" not in meanwhile else ""))
    refused(till.gate.reserve(held, ORDER), Reason.IN_FLIGHT, None, "the row was changed since it was looked at")
    assert isinstance(till.gate.reserve(other, ORDER), Purchase)


def test_nothing_is_bought_again_for_a_track_whose_lost_order_kie_called_about_since_it_was_looked_at(app: Any) -> None:
    till = Till(app, Policy(callback_url="https://ops.example"))
    lost = till.answered(till.bought(), outcome=Outcome.UNKNOWN, task_id=None)
    app.clock.on(hours=3)
    held, repeat = till.lease(), replace(ORDER, repeat_of=lost.token)
    Callbacks(app.ready()).take([Callback(lost.token, "t")])
    refused(till.gate.reserve(held, repeat), Reason.IN_FLIGHT, None, "the row was changed since it was looked at")
    till.end(held, held.memory.purchases)
    till.gate.balance(1000, app.clock())
    assert isinstance(till.gate.reserve(till.lease(), repeat), Purchase)


def test_a_track_waits_for_its_answer(till: Till) -> None:
    purchase = till.bought()
    refused(till.order(), Reason.IN_FLIGHT, purchase.deadline, "a purchase for this track waits for its answer")


def test_a_track_waits_for_its_task(app: Any, till: Till) -> None:
    purchase = till.bought()
    till.answered(purchase, Task("t", app.clock(), next_poll=app.clock()), task_id="t")
    refused(till.order(), Reason.IN_FLIGHT, app.clock(), "task t of this track runs")
    app.clock.at += till.policy.task_timeout + SECOND
    till.gate.balance(1000, app.clock())
    assert isinstance(till.order(), Purchase), "an overdue task may be replaced"


def test_a_lost_answer_is_held_then_repeated_once(app: Any, till: Till) -> None:
    first = till.bought()
    app.clock.at = first.deadline + SECOND
    until = first.held_until(till.policy.hold_unknown)
    refused(till.order(), Reason.UNKNOWN_PURCHASE, until, "the answer to a purchase of this track was lost")
    refused(till.order(repeat_of=first.token), Reason.UNKNOWN_PURCHASE, until)
    app.clock.at = until
    till.gate.balance(1000, app.clock())
    refused(till.order(), Reason.UNKNOWN_PURCHASE)
    refused(till.order(repeat_of="another"), Reason.UNKNOWN_PURCHASE)
    second = till.bought(repeat_of=first.token)
    app.clock.at = second.deadline + timedelta(days=9)
    refused(till.order(repeat_of=first.token), Reason.UNKNOWN_PURCHASE)
    refused(till.order(repeat_of=second.token), Reason.UNKNOWN_PURCHASE)


def test_an_answer_that_came_after_all_is_not_repeated(app: Any, till: Till) -> None:
    first = till.failed()
    refused(till.order(repeat_of=first.token), Reason.IN_FLIGHT, app.clock(), "there is nothing to repeat")


@pytest.mark.parametrize(("limit", "verdict"), [("per_track", Verdict.GOOD), ("attempts_per_track", Verdict.FAILED)])
def test_a_track_has_so_many_attempts(app: Any, limit: str, verdict: Verdict) -> None:
    till = Till(app, Policy(**{limit: 2}))  # type: ignore[arg-type]
    for _ in range(2):
        till.answered(till.bought(), verdict=verdict)
    refused(till.order(), Reason.ATTEMPTS_SPENT, None, f"budget.{limit} = 2 is spent")
    held = till.lease()
    till.leases.commit(held.lease, Change(replace(held.memory, granted=1), Standing(None, None, None)))
    till.bought()


def test_a_repeat_is_no_new_attempt(app: Any) -> None:
    till = Till(app, Policy(per_track=1, attempts_per_track=1))
    first = till.bought()
    app.clock.at = first.held_until(till.policy.hold_unknown) + SECOND
    till.gate.balance(1000, app.clock())
    till.bought(repeat_of=first.token)


def test_nothing_is_bought_blindly(app: Any, till: Till) -> None:
    app.sql("UPDATE reconciler_gate SET balance = NULL, balance_at = NULL")
    refused(till.order(), Reason.GATE_CLOSED)


def test_credits_count_every_intent_that_the_balance_may_not_know(app: Any, till: Till) -> None:
    open_one = till.bought("a")
    settled = till.answered(till.bought("b"))
    till.answered(till.bought("c"), outcome=Outcome.NOTHING)
    assert till.gate.view().spent_since == 10
    app.clock.on(seconds=1)
    till.gate.balance(500, app.clock())
    assert till.gate.view().spent_since == 5, "the open one may be charged after the balance was read"
    till.answered(open_one)
    assert till.gate.view().credits_left() == 495
    app.clock.on(seconds=1)
    till.gate.balance(400, app.clock())
    assert till.gate.view().credits_left() == 400
    till.gate.balance(401, app.clock())
    assert till.gate.view().balance == 401
    till.gate.balance(400, app.clock())
    till.gate.balance(999, settled.at)
    assert till.gate.view().balance == 400, "an old answer that came late"


def test_what_an_order_changes_is_known_without_asking(app: Any, till: Till) -> None:
    for track_id in ("a", "b"):
        before = till.gate.view()
        purchase = till.bought(track_id)
        assert before.with_intent(purchase, till.policy) == till.gate.view()
        till.answered(purchase, Task(f"task of {track_id}", app.clock()), task_id=f"task of {track_id}")
        app.clock.on(seconds=1)


def test_pausing(till: Till) -> None:
    till.gate.pause(paused=True)
    assert till.gate.view().paused
    refused(till.order(), Reason.PAUSED)
    till.gate.pause(paused=False)
    till.bought()


def test_closures(app: Any, till: Till) -> None:
    now = app.clock()
    key = Closure(GateName.KEY, now, None, "401")
    rate = Closure(GateName.RATE_LIMIT, now, now + SECOND)
    model = Closure(GateName.REQUEST_REJECTED, now, None, "no such field", "shape")
    for closure in (key, rate, model, replace(model, shape="other"), replace(model, detail="again")):
        till.gate.close(closure)
    assert set(till.gate.view().closures) == {key, rate, replace(model, detail="again"), replace(model, shape="other")}
    refused(till.order(), Reason.UNAUTHORIZED)
    older = Closure(GateName.CREDITS, now - SECOND, now + SECOND)
    till.gate.close(older)
    assert till.gate.view().closures[0] == older, "the first reason is told first"
    till.gate.order_taken(purchase(at=now, shape="shape"))
    till.gate.balance(1000, now)
    key_taken = replace(key, until=now)
    assert set(till.gate.view().closures) == {older, key_taken, rate, replace(model, shape="other")}
    refused(till.order(), Reason.OUT_OF_CREDITS, now + SECOND)
    app.clock.on(seconds=1)
    till.bought()


def test_after_an_order_was_accepted_a_refusal_is_the_first_one_again(app: Any, till: Till) -> None:
    def refused(*, after: timedelta) -> timedelta:
        app.clock.on(seconds=after.total_seconds())
        now: datetime = app.clock()
        until = till.gate.close(Closure(GateName.CREDITS, now, now + 600 * SECOND), ordered=True).until
        assert until is not None
        return until - now

    assert refused(after=SECOND) == 600 * SECOND
    assert refused(after=601 * SECOND) == 1200 * SECOND
    early = purchase(at=app.clock())
    app.clock.on(seconds=1201)
    till.gate.order_taken(early)
    assert refused(after=SECOND) == 1800 * SECOND
    app.clock.on(seconds=1801)
    till.gate.order_taken(purchase(at=app.clock()))
    assert till.gate.view().closures[0].lately(app.clock())
    assert refused(after=SECOND) == 600 * SECOND


def test_a_key_that_a_free_call_takes_is_remembered_as_refused(app: Any, till: Till) -> None:
    now = app.clock()
    key = Closure(GateName.KEY, now, now + 600 * SECOND, "401")
    no_credits = Closure(GateName.CREDITS, now, now + 600 * SECOND)
    others = {no_credits, Closure(GateName.REQUEST_REJECTED, now, shape="other")}
    for closure in (key, *others):
        till.gate.close(closure)
    app.clock.on(seconds=60)
    till.gate.balance(1000, app.clock())
    assert set(till.gate.view().closures) == {replace(key, until=app.clock()), *others}
    refused_again = Closure(GateName.KEY, app.clock(), app.clock() + 600 * SECOND, "401")
    holds = till.gate.close(refused_again, ordered=True)
    till.gate.balance(1000, app.clock())
    assert set(till.gate.view().closures) == {replace(refused_again, until=app.clock() + 1200 * SECOND), *others}
    assert holds in till.gate.view().closures


def test_what_a_free_call_tells_is_kept_whole_or_not_at_all(
    app: Any, till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    till.gate.close(Closure(GateName.KEY, app.clock(), None, "401"))
    before = till.gate.view()
    app.clock.on(seconds=1)
    monkeypatch.setattr(till.gate, "_put", failing)
    with pytest.raises(ConnectionError):
        till.gate.balance(400, app.clock())
    assert replace(till.gate.view(), now=before.now) == before


def failing(closure: Closure) -> None:
    raise ConnectionError


def test_after_a_refusal_the_next_order_waits_for_the_answer_to_the_one_that_is_out(app: Any, till: Till) -> None:
    till.gate.close(Closure(GateName.CREDITS, app.clock(), app.clock() + SECOND, "402"))
    app.clock.on(seconds=1)
    first = till.bought("a")
    refused(till.order("b"), Reason.GATE_CLOSED, app.clock() + 10 * SECOND)
    till.answered(first, verdict=Verdict.GOOD)
    till.bought("b")
    app.clock.on(minutes=10)
    till.bought("c")
    till.bought("d")


def test_what_closes_the_gate_for_longer_holds(app: Any, till: Till) -> None:
    now = app.clock()
    long, short = (Closure(GateName.RATE_LIMIT, now, now + length) for length in (60 * SECOND, SECOND))
    assert till.gate.close(long) == long
    assert till.gate.close(short) == long
    assert till.gate.close(other := replace(short, shape="other")) == other
    assert set(till.gate.view().closures) == {long, other}


def test_the_breaker_is_remembered(app: Any, till: Till) -> None:
    till.gate.heard(healthy=True, bought=False)
    assert app.sql("SELECT breaker FROM reconciler_gate") == [(None,)], "nothing new, nothing written"
    for _ in range(FAULTS_TO_OPEN):
        till.gate.heard(healthy=False, bought=True)
    view = app.gate().view()
    assert view.breaker.stage is Stage.OPEN
    refused(till.order(), Reason.GATE_CLOSED, view.breaker.retry_at)


def test_the_day_begins_before_the_hour(app: Any, till: Till) -> None:
    hour, day, first = timedelta(hours=1), timedelta(days=1), app.clock()
    till.answered(till.bought("a"))
    app.clock.on(seconds=7200)
    till.answered(till.bought("b"))
    view = till.gate.view()
    assert (view.hour, view.day) == (Usage(1, app.clock() + hour), Usage(2, first + day))
    app.clock.on(seconds=7200)
    view = till.gate.view()
    assert (view.hour, view.day) == (Usage(0, None), Usage(2, first + day))


@pytest.mark.parametrize(("limit", "pause"), [("per_hour", timedelta(minutes=5)), ("per_day", timedelta(hours=2))])
def test_a_budget_that_was_lowered_has_room_once_enough_have_left(app: Any, limit: str, pause: timedelta) -> None:
    period, till, times = {"per_hour": timedelta(hours=1), "per_day": timedelta(days=1)}[limit], Till(app), []
    for name in "abcdefghijk":
        till.failed(name)
        times.append(app.clock())
        app.clock.at += pause
    strict = Till(app, replace(till.policy, **{limit: 5}))  # type: ignore[arg-type]
    view, room = strict.gate.view(), times[6] + period
    assert (view.hour if limit == "per_hour" else view.day) == Usage(11, room)
    refused(strict.order("l"), Reason.BUDGET, room)
    app.clock.at = room
    strict.gate.balance(1000, app.clock())
    strict.bought("l")


def test_a_budget_of_nothing_never_has_room(app: Any, till: Till) -> None:
    till.failed()
    view = Till(app, replace(till.policy, per_hour=0, per_day=0)).gate.view()
    assert (view.hour, view.day) == (Usage(1), Usage(1))


def test_of_a_window_that_holds_more_than_it_may_by_now_the_newest_count(app: Any, till: Till) -> None:
    """Where an operator lowered the limit meanwhile."""
    times = []
    for name in "abcde":
        till.failed(name)
        times.append(app.clock())
        app.clock.on(seconds=1)
    strict = Till(app, replace(till.policy, purchase_limit=2))
    leaves = times[3] + till.policy.purchase_window
    refused(strict.order("f"), Reason.GATE_CLOSED, leaves)
    app.clock.at = leaves
    strict.bought("f")


def test_the_window_is_left_after_the_answer(app: Any, till: Till) -> None:
    window = till.policy.purchase_window
    first = till.bought("a")
    app.clock.on(seconds=2)
    till.answered(till.bought("b"))
    till.answered(till.bought("c"), outcome=Outcome.NOTHING, sent=False)
    view, hour, day = till.gate.view(), timedelta(hours=1), timedelta(days=1)
    assert view.window == (app.clock() + window, first.deadline + window)
    assert (view.hour, view.day) == (Usage(2, app.clock() + hour), Usage(2, app.clock() + day))
    app.clock.at += window
    assert till.gate.view().window == (first.deadline + window,)
    app.clock.at = first.deadline + timedelta(hours=2)
    till.answered(first)
    assert till.gate.view().window == (), "an answer that comes hours later prolongs nothing"


def test_an_answer_that_is_lost_is_not_awaited(app: Any, till: Till) -> None:
    till.answered(till.bought("a"), outcome=Outcome.UNKNOWN)
    view = till.gate.view()
    assert (view.running, view.open, view.proofs) == (0, 0, {"shape": Proof(out=1)})
    app.clock.at = till.bought("b").deadline
    view = till.gate.view()
    assert (view.running, view.open) == (1, 1), "it may come at the last moment"
    app.clock.on(seconds=1)
    view = till.gate.view()
    assert (view.running, view.open, view.proofs) == (0, 0, {"shape": Proof(out=2)})


def test_a_gate_that_nothing_was_noted_of_is_open_and_knows_no_balance(app: Any, till: Till) -> None:
    app.sql("DELETE FROM reconciler_gate")
    view = till.gate.view()
    assert (view.paused, view.balance, view.balance_at, view.breaker) == (False, None, None, Breaker())


def test_a_repeat_is_no_probe_of_the_breaker(app: Any, till: Till) -> None:
    lost = till.bought()
    app.clock.at = lost.held_until(till.policy.hold_unknown)
    for _ in range(FAULTS_TO_OPEN):
        till.gate.heard(healthy=False, bought=False)
    app.clock.on(minutes=1)
    till.gate.heard(healthy=True, bought=False)
    till.gate.balance(1000, app.clock())
    probes_at = till.gate.view().breaker.retry_at
    refused(till.order(repeat_of=lost.token), Reason.GATE_CLOSED, probes_at)
    till.bought("b")


def test_what_was_not_sent_counts_in_no_budget(till: Till) -> None:
    till.answered(till.bought("a"), outcome=Outcome.NOTHING, sent=False)
    till.answered(till.bought("b"), outcome=Outcome.NOTHING, sent=True)
    view = till.gate.view()
    assert (view.hour.used, view.day.used, view.spent_since) == (1, 1, 0)


def test_running_tasks(app: Any, till: Till) -> None:
    first, second, third = (till.bought(name) for name in "abc")
    assert (till.gate.view().running, till.gate.view().open) == (3, 3)
    till.answered(first, task_id="t")
    till.answered(second, Task("u", app.clock(), state=TaskState.SUCCEEDED), task_id="u")
    till.answered(third, urls=("https://x/at-once.png",))
    for name, hours in (("d", 5), ("e", 7)):
        old = Task(f"task of {name}", app.clock(), created_at=app.clock() - timedelta(hours=hours))
        till.answered(till.bought(name, shape="other"), old, task_id=old.id)
    assert (till.gate.view().running, till.gate.view().proofs["other"].out) == (2, 1)
    till.answered(till.leases.peek("d").memory.purchases[0], task_id="task of d", verdict=Verdict.LOST)
    assert (till.gate.view().running, till.gate.view().open) == (1, 0)
    assert till.gate.view().proofs == {"shape": Proof(out=3), "other": Proof()}
    app.clock.at += till.policy.task_timeout + SECOND
    assert till.gate.view().running == 0
    assert till.gate.view().proofs["shape"] == Proof(out=2), "an overdue one does not count"


def test_proofs(app: Any, till: Till) -> None:
    lost = till.bought("a")
    till.answered(till.bought("b"), verdict=Verdict.REJECTED)
    till.answered(till.bought("c"), verdict=Verdict.CONTENT)
    till.answered(till.bought("d", shape="other"), verdict=Verdict.GOOD)
    assert till.gate.view().proofs == {"shape": Proof(out=1, refused=1), "other": Proof(proven=True)}
    app.clock.at = lost.deadline + SECOND
    assert till.gate.view().proofs["shape"].out == 1, "lost and held"
    app.clock.at = lost.held_until(till.policy.hold_unknown)
    assert till.gate.view().proofs["shape"].out == 0
    till.gate.grant("shape")
    till.gate.grant("shape")
    till.gate.grant("new")
    assert till.gate.view().proofs["shape"].granted == 2
    assert till.gate.view().proofs["new"] == Proof(granted=1)


def test_three_unproven_ones_may_be_out(till: Till) -> None:
    for name in "abc":
        till.bought(name)
    refused(till.order("d"), Reason.GATE_CLOSED)
    till.bought("d", shape="other")


@pytest.mark.sqlite
def test_a_locked_database_buys_nothing(app: Any) -> None:
    from reconciler.database import DatabaseLocked

    till = Till(app)
    held = till.lease()
    till.gate.connection.db.execute_sql("PRAGMA busy_timeout = 5")
    with closing(sqlite3.connect(app.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseLocked):
            till.gate.reserve(held, ORDER)
    assert app.sql("SELECT count(*) FROM reconciler_purchase") == [(0,)]


@pytest.mark.sqlite
def test_whatever_changes_the_gate_is_done_by_one_at_a_time(
    app: Any, till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What that keeps out, and whom it does not, is asked of a server: in a file, any two writers wait."""
    writing, locks = till.gate.connection.writing, []

    def told(*, gate: bool = False, own: bool = False) -> Any:
        locks.append(gate)
        return writing(gate=gate, own=own)

    held = till.lease()
    monkeypatch.setattr(till.gate.connection, "writing", told)
    app.clock.on(seconds=1)
    till.gate.reserve(held, ORDER)
    till.gate.balance(1, app.clock())
    till.gate.close(Closure(GateName.REQUEST_REJECTED, app.clock(), shape="shape"))
    till.gate.try_once("shape")
    till.gate.order_taken(purchase(at=app.clock(), shape="shape"))
    till.gate.grant("shape")
    till.gate.pause(paused=True)
    till.gate.heard(healthy=False, bought=True)
    app.clock.on(seconds=-1)
    till.gate.view()
    assert locks == [True] * 10


@pytest.mark.sqlite
def test_nobody_else_writes_while_the_gate_is_looked_at(app: Any, till: Till) -> None:
    """Who looks first and writes then would fail if somebody did."""
    locked = pytest.raises(sqlite3.OperationalError, match="locked")
    with closing(sqlite3.connect(app.path, timeout=0)) as other, till.gate.connection.writing(gate=True), locked:
        other.execute("BEGIN IMMEDIATE")


@pytest.mark.sqlite
def test_health_waits_for_no_lock(app: Any, till: Till) -> None:
    till.gate.connection.db.execute_sql("PRAGMA busy_timeout = 5")
    with closing(sqlite3.connect(app.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        till.gate.heard(healthy=True, bought=True)


# -- a clock that is set back ------------------------------------------------------------------------------------------


def test_after_a_clock_was_set_back_an_order_is_judged_by_what_was_mended(app: Any) -> None:
    till = Till(app, Policy(purchase_limit=1))
    app.clock.on(days=1)
    till.gate.balance(1000, app.clock())
    till.failed("a")
    app.clock.on(days=-1)
    refused(till.order("b"), Reason.GATE_CLOSED, app.clock() + 10 * SECOND)
    app.clock.on(seconds=10)
    till.bought("b")


def test_a_clock_set_back_neither_blocks_nor_empties_the_window(app: Any) -> None:
    till = Till(app, Policy(purchase_limit=2))
    app.clock.on(days=1)
    till.gate.balance(1000, app.clock())
    till.failed("a")
    till.bought("b")
    app.clock.on(days=-1)
    view = till.gate.view()
    now = app.clock()
    assert view.window == (now + 10 * SECOND, now + 55 * SECOND)
    assert (view.hour.used, view.balance_at) == (2, now)
    assert isinstance(till.order("c"), NotNow)
    app.clock.on(seconds=56)
    till.bought("c")


def test_a_lease_of_before_the_clock_was_set_back_ends_and_one_of_since_is_kept(app: Any, till: Till) -> None:
    app.clock.on(days=1)
    till.gate.balance(1000, app.clock())
    till.lease("a")
    till.bought("b")
    app.clock.on(days=-1)
    held = till.lease("b")
    till.gate.view()
    leased = app.sql("SELECT track_id, lease_until FROM reconciler_memory ORDER BY track_id")
    assert leased == [("a", own(app.clock())), ("b", own(held.lease.until))]


def test_closures_and_pauses_keep_their_length(app: Any, till: Till) -> None:
    app.clock.on(days=30)
    ahead = app.clock()
    till.gate.close(Closure(GateName.RATE_LIMIT, ahead, ahead + 10 * SECOND))
    till.gate.close(Closure(GateName.KEY, ahead))
    for _ in range(FAULTS_TO_OPEN):
        till.gate.heard(healthy=False, bought=False)
    pause = _until_retried(app, till)
    app.clock.on(days=-30)
    view = till.gate.view()
    assert {c.until for c in view.closures} == {app.clock() + 10 * SECOND, None}
    assert _until_retried(app, till) == pause
    app.clock.on(seconds=1)
    assert till.gate.view().closures == view.closures, "mended once"
    assert _until_retried(app, till) == pause - SECOND, "mended once"


def test_a_closure_of_before_the_clock_was_set_back_makes_none_longer_than_it_was(app: Any, till: Till) -> None:
    app.clock.on(days=30)
    till.gate.close(Closure(GateName.CREDITS, app.clock(), app.clock() + 10 * SECOND))
    app.clock.on(days=-30)
    now = app.clock()
    assert till.gate.close(Closure(GateName.CREDITS, now, now + SECOND)).until == now + 10 * SECOND


def test_a_breaker_that_is_probed_keeps_its_hold_too(app: Any, till: Till) -> None:
    for _ in range(FAULTS_TO_OPEN):
        till.gate.heard(healthy=False, bought=False)
    app.clock.on(days=30)
    till.gate.heard(healthy=True, bought=False)
    assert till.gate.view().breaker.stage is Stage.PROBING
    app.clock.on(days=-30)
    assert _until_retried(app, till) == till.policy.hold_unknown


def test_a_breaker_saved_before_its_pause_was_known_waits_no_longer_than_the_longest(app: Any, till: Till) -> None:
    ahead = (app.clock() + timedelta(days=30)).isoformat()
    doc = f'{{"stage":"open","faults":5,"orders":0,"trips":1,"retry_at":"{ahead}","ramp_since":null}}'
    app.sql("UPDATE reconciler_gate SET breaker = ?", doc)
    assert _until_retried(app, till) == till.policy.retry_max


def _until_retried(app: Any, till: Till) -> timedelta:
    retry_at = till.gate.view().breaker.retry_at
    assert retry_at is not None
    return retry_at - app.clock()  # type: ignore[no-any-return]


def test_what_lies_ahead_is_found_though_nothing_else_does(app: Any, till: Till) -> None:
    """An order, and a closure, each by itself."""
    till.gate.balance(1000, app.clock())
    app.clock.on(hours=1)
    till.failed("a")
    app.clock.on(hours=-1)
    assert till.gate.view().window == (app.clock() + 10 * SECOND,)
    app.clock.on(hours=1)
    till.gate.close(Closure(GateName.KEY, app.clock(), app.clock() + 10 * SECOND))
    app.clock.on(hours=-1, seconds=1)
    assert [closure.until for closure in till.gate.view().closures] == [app.clock() + 10 * SECOND]
