"""Brute force: over any history of purchases no window, hour or day ever holds more requests than allowed."""

import multiprocessing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reconciler.database import Database, Where, open_database
from reconciler.domain.actions import Buy
from reconciler.domain.model import Outcome, Purchase, Verdict
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing
from reconciler.ports import Change

POLICY = Policy(purchase_limit=3, purchase_window=timedelta(seconds=10), per_hour=7, per_day=9)
LIMITS = ((timedelta(seconds=10), 3), (timedelta(hours=1), 7), (timedelta(days=1), 9))
CREDITS = 10.0**9
UNHURRIED = "PRAGMA synchronous = OFF"

pauses = st.one_of(st.integers(0, 12), st.integers(0, 3600), st.integers(0, 86_400))
answers = st.sampled_from(["at once", "late", "never", "nothing", "unknown", "not sent"])
steps = st.lists(st.tuples(pauses, answers, st.integers(0, 14), st.booleans()), max_size=25)


@pytest.mark.slow
@pytest.mark.sqlite
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(steps)
@example([(0, "never", 14, False)] * 3 + [(10, "never", 0, True)] + [(0, "never", 0, False)] * 2)
def test_no_period_holds_more_requests_than_allowed(make_app: Any, history: list[tuple[int, str, int, bool]]) -> None:
    """Each purchase arrives at Kie anywhere between its intent and `send_before`; the process may begin anew."""
    app = make_app()
    with app.ready().writing():
        app.opened[-1].db.execute_sql("INSERT INTO reconciler_shape VALUES ('shape', 1000)")
        for number in range(len(history)):
            app.opened[-1].db.execute_sql("INSERT INTO tracks (id, title, prompt) VALUES (?, '', '')", [f"t{number}"])
    database = reopened(app)
    arrivals = []
    for number, (pause, answer, delay_s, restart) in enumerate(history):
        app.clock.on(seconds=pause)
        if restart:
            database.close()
            database = reopened(app)
        arrivals += try_to_buy(app, database, f"t{number}", answer, delay_s)
    database.close()
    for period, limit in LIMITS:
        assert densest(arrivals, period) <= limit


def reopened(app: Any) -> Database:
    database = open_database(Where(app.url), POLICY, app.clock)
    database.connection.db.execute_sql(UNHURRIED)
    return database


def try_to_buy(app: Any, database: Any, track_id: str, answer: str, delay_s: int) -> list[datetime]:
    database.gate.balance(CREDITS, app.clock())
    held = database.leases.lease(track_id)
    purchase = database.gate.reserve(held, Buy("model", "prompt", "shape", 5.0))
    if not isinstance(purchase, Purchase):
        return []
    arrived = purchase.at + timedelta(seconds=delay_s)
    assert arrived <= purchase.send_before
    if answer != "never":
        app.clock.at = max(app.clock.at, arrived + timedelta(seconds=20 if answer == "late" else 0))
        finish(database, held, purchase, answer, app.clock())
    return [] if answer == "not sent" else [arrived]


def finish(database: Any, held: Any, purchase: Purchase, answer: str, now: datetime) -> None:
    outcomes = {"nothing": Outcome.NOTHING, "not sent": Outcome.NOTHING, "unknown": Outcome.UNKNOWN}
    done = replace(
        purchase,
        answered_at=now,
        outcome=outcomes.get(answer, Outcome.ACCEPTED),
        sent=answer != "not sent",
        verdict=Verdict.FAILED if answer in ("at once", "late") else Verdict.PENDING,
    )
    database.leases.commit(held.lease, Change(held.memory.with_purchase(done), Standing(None, None, None)))


def densest(times: list[datetime], period: timedelta) -> int:
    """The most that any half-open period of this length holds; one that does begins at one of them."""
    return max((sum(start <= t < start + period for t in times) for start in times), default=0)


def test_the_limits_are_also_used(app: Any) -> None:
    """Refusing everything would keep every limit."""
    database = open_database(Where(app.url), POLICY, app.clock)
    counts = []
    for number in range(12):
        app.put(f"t{number}")
        counts += try_to_buy(app, database, f"t{number}", "at once", 0)
    database.close()
    assert len(counts) == 3


@pytest.mark.slow
@pytest.mark.sqlite
def test_two_processes_share_one_gate(app: Any) -> None:
    """Real processes, begun together, on one file."""
    for number in range(30):
        app.put(f"t{number}")
    app.ready()
    app.sql("INSERT INTO reconciler_shape VALUES ('shape', 1000)")
    app.sql("UPDATE reconciler_gate SET balance = ?, balance_at = ?", CREDITS, datetime.now(UTC).isoformat())
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    processes = [context.Process(target=buyer, args=(app.url, start)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    rows = app.sql("SELECT track_id, token FROM reconciler_purchase")
    assert len(rows) == 5
    assert len({track_id for track_id, _ in rows}) == len({token for _, token in rows}) == 5


def buyer(url: str, start: Any) -> None:
    policy = Policy(purchase_limit=5, per_hour=50)
    database = open_database(Where(url), policy, lambda: datetime.now(UTC))
    start.wait()
    for number in range(30):
        held = database.leases.lease(f"t{number}")
        if held is not None:
            database.gate.reserve(held, Buy("model", "prompt", "shape", 5.0))
            memory = database.leases.peek(f"t{number}").memory
            database.leases.commit(held.lease, Change(memory, Standing(None, None, None)))
    database.close()
