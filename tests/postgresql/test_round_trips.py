"""How often the database is asked: it may be far away, so what can be one message for several tracks is one."""

from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from reconciler.database import Where, connection, open_database
from reconciler.database.statements import Question
from reconciler.domain.policy import Policy, Target
from reconciler.domain.states import State
from reconciler.engine.sweep import Bounds, Sweep
from reconciler.kie.simulated import Settings, Succeed
from reconciler.testing.store import MemoryStore
from reconciler.testing.world import PUBLIC_URL, World
from tests.postgres import HOST, Bouncer, Server
from tests.postgresql.worlds import AppServer
from tests.proxy import Proxy

pytestmark = pytest.mark.slow

TRACKS = 64


def round_trips(world: World, proxy: Proxy) -> float:
    """For each track of a run that helps all of them."""
    before = proxy.round_trips
    assert world.run().states == {(State.OK, None): TRACKS}
    return (proxy.round_trips - before) / TRACKS


@pytest.mark.parametrize(("kind", "most"), [("rehosted", 5), ("generated", 32), ("known", 2)])
def test_tracks_share_their_messages(
    tmp_path: Path, postgres: Server, bouncer: Bouncer, kind: str, most: float
) -> None:
    """A purchase is decided alone, at the gate; nothing else is."""
    app = AppServer(postgres, bouncer)
    with Proxy(HOST, bouncer.port) as proxy:
        app.where = Where(f"postgresql://postgres@{proxy.host}:{proxy.port}/{app.name}")
        policy = Policy(public_url=PUBLIC_URL, per_hour=10_000, per_day=10_000, target=Target(160, 90))
        world = World(tmp_path, policy=policy, kie=Settings(credits=100_000), app=app)
        world.store = MemoryStore()
        world.kie.script.when(Succeed(width=160, height=90, run=timedelta(seconds=2)))
        for number in range(TRACKS):
            dying = world.kie.add_file(f"/p/{number}.jpg", size=(160, 90), text=str(number))
            columns: dict[str, Any] = {"image_url": dying} if kind == "rehosted" else {}
            world.add(f"t{number}", **columns)
        if kind == "known":
            world.run()
        assert round_trips(world, proxy) <= most
    app.close()


def test_a_sweep_that_finds_nothing_asks_twice(tmp_path: Path, postgres: Server, bouncer: Bouncer) -> None:
    """Of a daemon: who is due, and what is ahead, each a whole transaction. The first of a process also asks what the
    gate says."""
    app, asked = AppServer(postgres, bouncer), list[int]()
    with Proxy(HOST, bouncer.port) as proxy:
        app.where = Where(f"postgresql://postgres@{proxy.host}:{proxy.port}/{app.name}")
        world = World(tmp_path, app=app)
        with closing(world.open()) as database:
            parts = world.parts(database)
            for _ in range(3):
                before = proxy.round_trips
                Sweep(parts, Bounds(world.clock.steady() + timedelta(minutes=1), audit=False, waits=False), print).run()
                asked.append(proxy.round_trips - before)
            assert asked[1:] == [2, 2]
    app.close()


def test_to_see_that_the_apps_table_is_what_it_was_takes_one_question(postgres: Server, bouncer: Bouncer) -> None:
    """Before each sweep of a daemon."""
    app = AppServer(postgres, bouncer)
    open_database(app.where, Policy()).close()
    with Proxy(HOST, bouncer.port) as proxy:
        where = Where(f"postgresql://postgres@{proxy.host}:{proxy.port}/{app.name}")
        with closing(open_database(where, Policy())) as database:
            before = proxy.round_trips
            assert database.is_as_found()
            assert proxy.round_trips - before == 1
    app.close()


def test_where_the_server_has_another_time_than_expected_it_is_asked_again_about_its_own(
    postgres: Server, bouncer: Bouncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = AppServer(postgres, bouncer)
    asked: list[datetime] = []

    def nothing(now: datetime) -> list[Question]:
        asked.append(now)
        return []

    with closing(open_database(app.where, Policy())) as database:
        database.connection.asking(nothing)
        later = monotonic() + 3600
        monkeypatch.setattr(connection, "monotonic", lambda: later)
        at, _ = database.connection.asking(nothing)
    first, wrong, right = asked
    assert at == right
    assert wrong - first > timedelta(minutes=59)
    assert timedelta() <= right - first < timedelta(minutes=1)
    app.close()
