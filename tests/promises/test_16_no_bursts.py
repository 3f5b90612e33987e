"""Promise 16: A restart with 10,000 tracks backing off asks for nothing early."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from reconciler.domain.policy import Target
from reconciler.domain.states import Reason, State
from reconciler.kie.simulated import Fail, Operation, Rule, Stall, Succeed, page
from reconciler.testing.store import MemoryStore
from reconciler.testing.world import World
from tests.living import CREDITS, living, watch
from tests.promises.witnesses import most

pytestmark = pytest.mark.slow

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
MakeWorld = Callable[..., World]
EACH = 2000
RESTARTS, PAUSE = 20, 5 * SECOND


@pytest.fixture
def small_world(make_world: MakeWorld) -> MakeWorld:
    def make(**given: Any) -> World:
        world = make_world(target=Target(160, 90), **given)
        world.store = MemoryStore()
        world.kie.script.clear()
        return world

    return make


TASK = "ab" * 16

# -- ten thousand that wait --------------------------------------------------------------------------------------------


def waiting(world: World) -> None:
    """A good track, and one that waits for a task, one after faults, one after a failure, and one for a budget."""
    script = world.kie.script
    script.when(Fail(code="500", message="internal error", run=2 * SECOND), prompt_contains="always fails")
    script.add(Rule(behaviour=page(502), operation=Operation.FILE, path_contains="away"))
    script.when(Succeed(width=160, height=90, run=2 * SECOND))
    world.add("good")
    world.kie.add_task(TASK, prompt="a task that takes long", behaviour=Stall())
    world.add("task", image_url=TASK)
    world.add("away", image_url=world.kie.add_file("/p/away.jpg", size=(160, 90)))
    with living(world, audit_interval=10 * MINUTE) as daemon:
        daemon.live(50 * MINUTE)
        world.add("fails", extended_prompt_image="a task that always fails")
        daemon.live(19 * MINUTE)
    world.with_policy(per_day=1)
    world.add("poor")
    with living(world, audit_interval=10 * MINUTE) as daemon:
        daemon.live(MINUTE)
    assert world.overview().tracks == dict.fromkeys(WAITING, 1)


WAITING = (
    (State.OK, None),
    (State.AWAITING, Reason.IN_FLIGHT),
    (State.BACKING_OFF, Reason.DOWNLOAD_FAILED),
    (State.BACKING_OFF, Reason.PROVIDER_FAILED),
    (State.MISSING, Reason.BUDGET),
)
OWN = {"tracks": "id", "reconciler_memory": "track_id", "reconciler_purchase": "track_id"}
"""Tables with a row or more for each track, and the column that names it."""
IDS = {"reconciler_purchase": ("token", "task_id")}


def copied(world: World, times: int) -> None:
    """Each track so many times, with all that is remembered of it, as if they had all met the same."""
    numbers = f"WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {times - 1})"
    for table, key in OWN.items():
        renamed = (key, *IDS.get(table, ()))
        columns = [row["name"] for row in world.sql(f"PRAGMA table_info({table})")]
        values = ", ".join(f"{name} || '-' || n" if name in renamed else name for name in columns)
        world.sql(f"{numbers} INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table}, n")


def restarted(world: World) -> None:
    looks = "SELECT sum(generation) AS taken FROM reconciler_memory"
    taken = world.sql(looks)
    with living(world, audit_interval=RESTARTS * PAUSE) as daemon:
        daemon.live(PAUSE)
    assert world.sql(looks) == taken, "nobody is looked at"


def test_twenty_restarts(small_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world = small_world()
    waiting(world)
    restarted(world)  # of a few first: looking at all would take minutes
    copied(world, EACH)
    assert world.overview().tracks == dict.fromkeys(WAITING, EACH)
    (due,) = world.sql("SELECT min(due_at) AS first FROM reconciler_memory")
    first = datetime.fromisoformat(due["first"])
    assert first > world.clock() + RESTARTS * PAUSE
    asked = watch(world, monkeypatch)
    for _ in range(RESTARTS):
        restarted(world)
    assert set(asked) == {CREDITS}
    assert asked[CREDITS] <= RESTARTS + 1, "the balance is asked for at each start"
    assert world.overview().tracks == dict.fromkeys(WAITING, EACH)

    world.clock.time = first
    world.run(limit=3, waits=False, audit=False)
    assert len(set(asked)) > 1, "when it is time, they are asked for"


# -- limits ------------------------------------------------------------------------------------------------------------


def test_a_restart_opens_no_window_and_no_budget_anew(small_world: MakeWorld) -> None:
    world = small_world(purchase_limit=2, per_hour=8, per_day=12)
    world.kie.script.when(Succeed(width=160, height=90, run=2 * SECOND))
    for number in range(20):
        world.add(f"t{number:02}")
    for _ in range(25):
        with living(world, audit_interval=None) as daemon:
            daemon.live(3 * SECOND)
    times = [creation.arrived_at for creation in world.kie.book.creations]
    assert len(times) == 8
    assert most(times, 10 * SECOND) == 2
    for _ in range(3):
        world.pass_time(HOUR)
        with living(world, audit_interval=None) as daemon:
            daemon.live(2 * MINUTE)
    assert len(world.kie.book.creations) == 12
