"""A row that somebody has locked keeps nobody waiting: it alone is written later."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from reconciler.database import Database, Where, open_database
from reconciler.domain.policy import Policy, Target
from reconciler.domain.states import Reason, State
from reconciler.engine.events import Wrote
from reconciler.kie.simulated import Settings, Succeed
from reconciler.ports import Change, Commit, Ending
from reconciler.testing.store import MemoryStore
from reconciler.testing.world import PUBLIC_URL, World
from tests.postgres import Server
from tests.postgresql.guest import STUCK, TRACK, Home, ending, held_by, home
from tests.postgresql.worlds import AppServer

__all__ = ["home"]

pytestmark = pytest.mark.slow

MINUTE = timedelta(minutes=1)


class HastyWorld(World):
    """It waits for no lock."""

    def open(self, owner: str = "one") -> Database:
        return open_database(self.app.where, self.policy, self.clock, owner=owner, busy_timeout_s=0.2)

    def sweep(self) -> Mapping[tuple[State, Reason | None], int]:
        """As the daemon does, a minute later; where those stand that were looked at."""
        self.pass_time(MINUTE)
        return self.run(audit=False, waits=False, patience=self.policy.step_deadline).states


@pytest.fixture
def app(postgres: Server) -> Iterator[AppServer]:
    made = AppServer(postgres, postgres)
    yield made
    made.close()


def test_a_row_that_stays_locked_costs_no_other_anything_and_is_written_after_it(
    app: AppServer, postgres: Server, tmp_path: Path
) -> None:
    policy = Policy(public_url=PUBLIC_URL, per_hour=10_000, per_day=10_000, target=Target(160, 90))
    world = HastyWorld(tmp_path, policy=policy, kie=Settings(credits=100_000), app=app)
    world.store = MemoryStore()
    world.kie.script.when(Succeed(width=160, height=90, run=timedelta(seconds=20)))
    for number in range(12):
        world.add(f"t{number:03}")
    with psycopg.connect(postgres.url(app.name)) as holder:
        holder.execute("SELECT FROM tracks WHERE id = 't000' FOR UPDATE")
        *_, states = (world.sweep() for _ in range(15))
        assert states == {(State.BACKING_OFF, Reason.WRITE_CONFLICT): 1}
        assert [row["id"] for row in world.rows() if row["resolution"] != "160x90"] == ["t000"]
    assert world.sweep() == {(State.OK, None): 1}
    *locked, written = [e.outcome for e in world.events if isinstance(e, Wrote) and e.track_id == "t000"]
    assert (set(locked), written) == ({Commit.LOCKED}, Commit.COMMITTED)
    assert len(locked) > 6, "it is never given up"
    assert len(world.kie.book.creations) == 12
    assert len(world.kie.book.visits_of("file")) == 12


OTHER = TRACK.replace("1", "2")


def hasty(home: Home) -> Database:
    return open_database(Where(home.url(home.guest())), Policy(), busy_timeout_s=0.2)


@pytest.mark.parametrize(
    ("lock", "outcome"),
    [
        ("SELECT FROM tracks WHERE id = %s FOR UPDATE", Commit.LOCKED),
        ("SELECT FROM tracks WHERE id = %s FOR SHARE", Commit.LOCKED),
        ("UPDATE tracks SET likes = 1 WHERE id = %s", Commit.LOCKED),
        ("DELETE FROM tracks WHERE id = %s", Commit.LOCKED),
        ("INSERT INTO comments VALUES (%s)", Commit.COMMITTED),
    ],
)
def test_whatever_keeps_a_row_from_being_written_is_seen(home: Home, lock: str, outcome: Commit) -> None:
    home.sql("CREATE TABLE comments (track_id uuid REFERENCES tracks (id))")
    home.put()
    home.put(OTHER)
    with closing(hasty(home)) as database, psycopg.connect(home.server.url(home.name)) as holder:
        endings = [ending(held_by(database, each)) for each in (TRACK, OTHER)]
        holder.execute(lock.encode(), (TRACK,))
        assert database.leases.commit_all(endings) == [outcome, Commit.COMMITTED]
        holder.rollback()
        again = Commit.COMMITTED if outcome is Commit.LOCKED else Commit.LEASE_LOST
        assert database.leases.commit_all(endings[:1]) == [again], "the lease held"


def test_the_gate_is_not_kept_for_a_row_that_is_locked(home: Home) -> None:
    """Who waits for what somebody may be lifting is saved at the gate, together with who writes."""
    home.put()
    home.put(OTHER)
    with closing(hasty(home)) as database, psycopg.connect(home.server.url(home.name)) as holder:
        waits = held_by(database)
        suspect = replace(STUCK, reason=Reason.HOST_SUSPECT)
        endings = [Ending(waits.lease, Change(waits.memory, suspect)), ending(held_by(database, OTHER))]
        holder.execute("SELECT FROM tracks WHERE id = %s FOR UPDATE", (OTHER,))
        assert database.leases.commit_all(endings) == [Commit.COMMITTED, Commit.LOCKED]


def test_a_row_that_is_gone_is_not_taken_for_a_locked_one(home: Home) -> None:
    home.put()
    with closing(hasty(home)) as database:
        held = held_by(database)
        home.sql("DELETE FROM tracks")
        assert database.leases.commit_all([ending(held)]) == [Commit.CONFLICT]
