"""While the app's table is out of reach, what touches only our own is saved all the same: it may have been paid for."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from reconciler.database import Database, DatabaseError, DatabaseLocked, Where, open_database
from reconciler.domain.actions import Buy
from reconciler.domain.breaker import Stage
from reconciler.domain.gate import Closure, GateName
from reconciler.domain.model import Callback, Outcome, Purchase
from reconciler.domain.policy import Policy, Target
from reconciler.domain.states import State
from reconciler.kie.simulated import Settings, Succeed
from reconciler.ports import Change, Commit, Ending
from reconciler.testing.store import MemoryStore
from reconciler.testing.world import PUBLIC_URL, World
from tests.engine.test_sweep import Around
from tests.postgres import Server
from tests.postgresql.guest import PASSWORD, STUCK, TRACK, Home, ending, held_by, home
from tests.postgresql.worlds import AppServer

__all__ = ["home"]

pytestmark = pytest.mark.slow

OUTAGES: Mapping[str, tuple[str, str]] = {
    "renamed": ("ALTER TABLE tracks RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO tracks"),
    "hidden": ("ALTER TABLE tracks ENABLE ROW LEVEL SECURITY", "ALTER TABLE tracks DISABLE ROW LEVEL SECURITY"),
}
GUEST = f"""
    CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}';
    GRANT SELECT, UPDATE (image_url, resolution, updated_at) ON tracks TO guest;
    CREATE SCHEMA reconciler;
    GRANT CREATE, USAGE ON SCHEMA reconciler, public TO guest
"""


@pytest.fixture
def world(postgres: Server, tmp_path: Path) -> Iterator[World]:
    app = AppServer(postgres, postgres)
    postgres.sql(app.name, GUEST)
    app.where = Where(postgres.url(app.name, "guest", PASSWORD))
    policy = Policy(public_url=PUBLIC_URL, per_hour=10_000, per_day=10_000, target=Target(160, 90))
    made = World(tmp_path, policy=policy, kie=Settings(credits=100_000), app=app)
    made.store = MemoryStore()
    made.kie.script.when(Succeed(width=160, height=90, run=timedelta(seconds=20)))
    yield made
    app.close()
    postgres.sql("postgres", "DROP ROLE guest")


@pytest.mark.parametrize("outage", OUTAGES)
def test_an_order_that_is_answered_meanwhile_is_not_sent_again(world: World, outage: str) -> None:
    gone, back = OUTAGES[outage]
    world.add("a")

    def take_away(_: object) -> None:
        world.sql(gone)

    with pytest.raises(DatabaseError, match=r"public\.tracks"):
        world.run(wrap=Around("kie", "create", take_away))
    world.sql(back)
    assert world.run(timedelta(hours=4)).states == {(State.OK, None): 1}
    assert len(world.kie.book.creations) == 1


OTHER = TRACK.replace("1", "2")


def answered(database: Database) -> Ending:
    """An order for the track that was sent and accepted, to be saved."""
    held = held_by(database)
    database.gate.balance(100, held.now)
    purchase = database.gate.reserve(held, Buy("model", "prompt", "shape", 5.0))
    assert isinstance(purchase, Purchase)
    heard = replace(purchase, outcome=Outcome.ACCEPTED, task_id="task", answered_at=held.now)
    return Ending(held.lease, Change(held.memory.with_purchase(heard), STUCK))


@pytest.mark.parametrize("outage", OUTAGES)
def test_what_writes_no_row_is_saved_together_with_what_does(home: Home, outage: str) -> None:
    gone, back = OUTAGES[outage]
    home.put()
    home.put(OTHER)
    with closing(home.database(home.guest())) as database:
        endings = [answered(database), ending(held_by(database, OTHER))]
        home.sql(gone)
        assert database.leases.commit_all(endings) == [Commit.COMMITTED, Commit.REFUSED]
        (token,) = (purchase.token for change in endings[0].changes for purchase in change.memory.purchases)
        assert database.callbacks.take([Callback(token, "task")]) == {token}
        for _ in range(2):
            with pytest.raises(DatabaseError):
                database.leases.lease(TRACK)
        home.sql(back)
        assert [purchase.task_id for purchase in database.leases.peek(TRACK).memory.purchases] == ["task"]
    assert home.sql("SELECT image_url FROM tracks") == [(None,), (None,)]
    assert home.sql("SELECT gone_since FROM reconciler.reconciler_memory") == [(None,), (None,)]


@pytest.mark.parametrize("outage", OUTAGES)
def test_what_an_answer_tells_of_the_account_is_saved(home: Home, outage: str) -> None:
    gone, back = OUTAGES[outage]
    home.put()
    with closing(home.database(home.guest())) as database:
        now, gate = held_by(database).now, database.gate
        home.sql(gone)
        gate.close(Closure(GateName.CREDITS, now, now + timedelta(hours=1), "Kie: none left"))
        gate.balance(7, now)
        for _ in range(9):
            gate.heard(healthy=False, bought=False)
        assert gate.pause(paused=True)
        database.leases.host_lost("cdn.example")
        home.sql(back)
        view = gate.view()
    assert [closure.name for closure in view.closures] == [GateName.CREDITS]
    assert (view.balance, view.paused, view.breaker.stage) == (7, True, Stage.OPEN)


def test_who_holds_the_whole_table_keeps_only_those_waiting_who_write_there(home: Home) -> None:
    home.put()
    home.put(OTHER)
    with (
        closing(open_database(Where(home.url(home.guest())), Policy(), busy_timeout_s=0.1)) as database,
        psycopg.connect(home.server.url(home.name)) as holder,
    ):
        endings = [ending(held_by(database, OTHER)), answered(database)]
        holder.execute("LOCK TABLE tracks")
        locked, saved = database.leases.commit_all(endings)
        assert isinstance(locked, DatabaseLocked)
        assert saved is Commit.COMMITTED
        holder.rollback()
        assert database.leases.commit_all(endings[:1]) == [Commit.COMMITTED]
