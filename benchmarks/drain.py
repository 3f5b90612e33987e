"""How long it takes until everybody is served where very many tracks are stuck, and what deciding costs for each: one
daemon and two over one database, on a virtual clock.

    python benchmarks/drain.py [--tracks N,N] [--daemons N,N] [--json FILE]

The yardstick is the time that the account's limit asks for: a place in the window is free again one window after the
answer to its order came, so 20 orders in a window and a round trip. Pictures are tiny, files are kept in memory where
the machine has such a place: what is left is deciding, remembering and the simulated Kie. The cost is compared between
the second and the last fifth of the orders, of one run; while the first is ordered everybody is looked at. Judges
nothing.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.figures import Figures
from reconciler.domain.policy import Policy, Target
from reconciler.domain.states import State
from reconciler.engine.crew import WORKERS
from reconciler.kie.simulated import Settings, Succeed
from reconciler.kie.simulated.painter import paint
from reconciler.kie.simulated.wire import Request, Response
from reconciler.testing.delayed import DelayedCrew, Stage
from reconciler.testing.inline import InlineCrew
from reconciler.testing.world import PUBLIC_URL, World

LIMIT, WINDOW, TRIP = 20, timedelta(seconds=10), timedelta(milliseconds=100)
SIZE = (160, 90)
RUN = timedelta(seconds=20)
IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--tracks", default="1000,10000")
    parser.add_argument("--daemons", default="1,2")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures = Figures("drain", tracks=given.tracks)
    for tracks in map(int, given.tracks.split(",")):
        for daemons in map(int, given.daemons.split(",")):
            figures.add(f"{tracks:,} tracks, {daemons} at work", drained(tracks, daemons))
    figures.tell(given.json)


def drained(tracks: int, daemons: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as folder:
        world = stuck(Path(folder), tracks)
        orders = ordered(world)
        begun = time.process_time()
        together(world, daemons, 1.1 * possible(tracks) + timedelta(minutes=10))
        used = time.process_time() - begun
        states = world.overview().tracks
        assert states == {(State.OK, None): tracks + 1}, states
    assert len(orders) == tracks, len(orders)
    fifth = tracks // 5
    second, last = orders[2 * fifth] - orders[fifth], orders[-1] - orders[-1 - fifth]
    return told(world, tracks) | {
        "CPU, ms a track": used / tracks * 1000,
        "second fifth, ms": second / fifth * 1000,
        "last fifth, ms": last / fifth * 1000,
        "last to second": last / second,
    }


def stuck(folder: Path, tracks: int) -> World:
    """One was bought for before, so that the model is proven."""
    policy = Policy(
        public_url=PUBLIC_URL,
        per_hour=10**9,
        per_day=10**9,
        purchase_limit=LIMIT,
        purchase_window=WINDOW,
        max_concurrent_tasks=100,
        target=Target(*SIZE),
    )
    account = Settings(credits=1e12, creation_limit=LIMIT, creation_window=WINDOW)
    world = World(folder, policy=policy, kie=account)
    world.kie.script.when(Succeed(run=RUN, content=paint("tiny", *SIZE)))
    world.add("t0000000")
    world.settle(days=1)
    world.sql(
        "INSERT INTO tracks (id, title, prompt, status, audio_url, created_at, updated_at, extended_prompt_image)"
        " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        " SELECT 't' || substr('000000' || i, -7), title, prompt, status, audio_url, created_at, created_at,"
        " 'a lighthouse called ' || i FROM n, tracks",
        tracks,
    )
    world.pass_time(2 * WINDOW)
    world.events = Unheard()
    return world


class Unheard(list):  # type: ignore[type-arg]
    """Of events, which would be many."""

    def append(self, _: object) -> None:
        pass


def ordered(world: World) -> list[float]:
    """Seconds of CPU that the process had used when each order came."""
    orders, answer = list[float](), world.kie.handle

    def handle(request: Request) -> Response:
        if "createTask" in request.url_path:
            orders.append(time.process_time())
        return answer(request)

    world.kie.handle = handle  # type: ignore[method-assign]
    return orders


def together(world: World, daemons: int, length: timedelta) -> None:
    stage = Stage(world.clock)

    def trip(_: str) -> tuple[timedelta, timedelta]:
        return TRIP / 2, TRIP / 2

    crews = iter([DelayedCrew(stage, trip, size=WORKERS, actor=actor) for actor in range(daemons)])
    world.crew = lambda: next(crews)

    def one(owner: str) -> Callable[[], object]:
        return lambda: world.run(length, owner=owner, audit=False)

    stage.play(*(one(f"daemon {number}") for number in range(daemons)))
    world.crew = lambda: InlineCrew(world.clock)


def told(world: World, tracks: int) -> dict[str, float]:
    arrivals = [made.arrived_at for made in world.kie.book.creations[-tracks:]]
    took = arrivals[-1] - arrivals[0]
    rejected = sum(made.answer != "200" for made in world.kie.book.creations)
    return {"hours": took / timedelta(hours=1), "to what is possible": took / possible(tracks), "rejected": rejected}


def possible(tracks: int) -> timedelta:
    """The first window's orders are there at once; what follows has to wait for places."""
    return (tracks - LIMIT) / LIMIT * (WINDOW + TRIP)


if __name__ == "__main__":
    main()
