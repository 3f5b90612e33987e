"""What a distant database costs: tracks a second with a round trip of 20 ms to it, against none, measured in turn.

    python benchmarks/latency.py [--tracks N] [--runs N] [--latency MS]

Each run buys and writes a picture for every track, at the account's pace (20 purchases in 10 s), through PgBouncer and
a proxy that delays. Needs what the tests need. Prints medians and their ratio. Judges nothing.
"""

import argparse
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from reconciler.app.clock import steady
from reconciler.database import Where
from reconciler.domain.policy import Policy
from reconciler.engine.crew import Threads
from reconciler.kie.simulated import Settings, SimulatedKie, Succeed
from reconciler.testing.inline import VirtualClock
from reconciler.testing.store import MemoryStore
from reconciler.testing.world import FILES_URL, PUBLIC_URL, World
from tests.postgres import HOST, Bouncer, Server
from tests.postgresql.worlds import AppServer
from tests.proxy import Proxy


class RealClock(VirtualClock):
    def __call__(self) -> datetime:
        return datetime.now(UTC)

    def steady(self) -> timedelta:
        return steady()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--tracks", type=int, default=60)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--latency", type=float, default=20, help="milliseconds of a round trip")
    given = parser.parse_args()
    near, far = [], []
    with Server() as server, Bouncer(server) as bouncer, Proxy(HOST, bouncer.port) as proxy:
        for _ in range(given.runs):
            near.append(pace(server, bouncer, proxy, given.tracks, 0))
            far.append(pace(server, bouncer, proxy, given.tracks, given.latency / 1000))
    one, other = statistics.median(near), statistics.median(far)
    print(f"at hand {one:.2f} tracks/s; {given.latency:g} ms away {other:.2f} tracks/s: {other / one:.2f} of it")


def pace(server: Server, bouncer: Bouncer, proxy: Proxy, tracks: int, latency: float) -> float:
    app = AppServer(server, bouncer)
    app.where = Where(f"postgresql://postgres@{proxy.host}:{proxy.port}/{app.name}")
    with tempfile.TemporaryDirectory() as folder:
        policy = Policy(public_url=PUBLIC_URL, per_hour=10_000, per_day=10_000, purchase_limit=20)
        world = World(Path(folder), policy=policy, app=app)
        world.clock = RealClock()
        world.kie = SimulatedKie(world.clock, settings=Settings(credits=100_000))
        world.kie.files_url = FILES_URL
        world.kie.script.when(Succeed(run=timedelta(seconds=4)))
        world.store, world.crew = MemoryStore(), Threads
        for number in range(tracks + 1):
            world.add(f"t{number:03}")
        world.run(only=("t000",))  # so that the model is proven
        proxy.latency = latency
        begun = time.monotonic()
        world.run()
        took = time.monotonic() - begun
        proxy.latency = 0
    app.close()
    return tracks / took


if __name__ == "__main__":
    main()
