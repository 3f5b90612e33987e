"""Where a day holds very many purchases, what was counted once is counted on; the same comes out."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest

from reconciler.database import datetimes, gate_view
from reconciler.database.connection import Connection
from reconciler.database.gate import SqlGate
from reconciler.database.schema import probe
from reconciler.domain.gate import GateView
from reconciler.domain.policy import Policy
from tests.database.test_plans import noting, work

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
POLICY = Policy(per_hour=10**6, per_day=10**6)


@pytest.fixture(autouse=True)
def three_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_view, "MANY", 3)


def buy(app: Any, *times: datetime) -> None:
    columns = "token, track_id, model, shape, prompt, price, at, send_before, deadline, outcome, sent, urls, detail"
    for at in times:
        (number,) = app.sql("SELECT count(*) FROM reconciler_purchase")[0]
        moment = datetimes.own(at)
        app.sql(
            f"INSERT INTO reconciler_purchase ({columns}, verdict, over_at) "
            f"VALUES ('{number}', 'a', 'm', 's', '', 5, '{moment}', '{moment}', '{moment}', 'accepted', TRUE, '[]', "
            f"'', 'good', '{moment}')"
        )


def anew(app: Any, policy: Policy = POLICY) -> GateView:
    view: GateView = app.gate(policy).view()
    return view


def moments(dice: Random) -> Iterator[timedelta]:
    """For two days, with hours in which nothing is bought, and a clock that is set back now and then."""
    for _ in range(60):
        yield dice.choice([MINUTE, 9 * MINUTE, HOUR, 5 * HOUR, -2 * HOUR, 25 * HOUR if dice.random() < 0.1 else MINUTE])


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_is_counted_anew(app: Any, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(gate_view, "COUNTED_FOR", 9 * DAY)
    gate, dice, most = app.gate(POLICY), Random(seed), 0
    for pause in moments(dice):
        buy(app, *[app.clock() - dice.random() * MINUTE for _ in range(dice.randrange(3))])
        app.clock.on(seconds=pause.total_seconds())
        found = gate.view()
        assert (found.day, found.hour) == (anew(app).day, anew(app).hour)
        most = max(most, found.day.used - found.hour.used)
    assert most > gate_view.MANY


def test_it_is_counted_anew_after_a_while(app: Any) -> None:
    gate, now = app.gate(POLICY), app.clock()
    buy(app, *[now - (2 + number) * HOUR for number in range(4)])
    assert gate.view().day.used == 4
    buy(app, now - 3 * HOUR)
    for _ in range(2):
        assert gate.view().day.used == 4, "what was counted is not looked at"
        app.clock.on(seconds=0.6 * gate_view.COUNTED_FOR.total_seconds())
    assert gate.view().day.used == 5


def test_near_the_budget_it_is_counted_anew_each_time(app: Any) -> None:
    now = app.clock()
    near = Policy(per_hour=10**6, per_day=gate_view.NEAR + 5)
    gate = app.gate(near)
    buy(app, *[now - (2 + number) * HOUR for number in range(4)], now)
    assert gate.view().day.used == 5
    buy(app, now - 3 * HOUR)
    assert gate.view().day.used == 6


def test_few_are_counted_anew_each_time(app: Any) -> None:
    gate, now = app.gate(POLICY), app.clock()
    buy(app, now - 2 * HOUR, now - 4 * HOUR)
    assert gate.view().day.used == 2
    buy(app, now - 3 * HOUR)
    assert gate.view().day.used == 3


@pytest.mark.sqlite
def test_a_look_at_the_gate_costs_the_same_after_however_many(make_app: Any) -> None:
    few, many = (look(make_app(), purchases) for purchases in (20, 200))
    assert few <= 1.05 * many
    assert many <= 1.05 * few


def look(app: Any, purchases: int) -> int:
    connection: Connection = app.ready()
    gate = SqlGate(connection, probe(connection, "tracks"), POLICY)
    buy(app, *[app.clock() - 2 * HOUR - number * MINUTE for number in range(purchases)])
    app.sql("ANALYZE")
    gate.view()
    with noting(connection) as asked:
        assert gate.view().day.used == purchases
    return work(connection, asked)
