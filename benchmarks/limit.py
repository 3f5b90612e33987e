"""How much of the account's limit is used while hundreds of tracks wait: 20 orders in a window, scaled to a second.
Kie's own window is of ten.

    python benchmarks/limit.py [--tracks N] [--runs N] [--window S] [--json FILE]

The yardstick is what can be had at all: a place in the window is free again one window after the answer to its order
came, so 20 orders in a window and a round trip. Prints medians. Judges nothing, but tells of windows that held more.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.figures import Figures
from benchmarks.latency import RealClock
from reconciler.domain.policy import Policy, Target
from reconciler.engine.crew import Threads
from reconciler.kie.simulated import Settings, SimulatedKie, Succeed
from reconciler.kie.simulated.wire import Request, Response
from reconciler.testing.world import FILES_URL, PUBLIC_URL, World

LIMIT = 20
SIZE = (160, 90)
TRIP_S = 0.05


class Timed:
    """A port whose calls of one name are timed."""

    def __init__(self, port: Any, name: str) -> None:
        self._port, self._name, self.took = port, name, list[float]()

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._port, name)
        if name != self._name:
            return call

        def timed(*given: Any, **more: Any) -> Any:
            begun = time.monotonic()
            try:
                return call(*given, **more)
            finally:
                self.took.append(time.monotonic() - begun)

        return timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--tracks", type=int, default=600)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--window", type=float, default=1.0, help="seconds in which 20 orders are let through")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures = Figures("limit", tracks=given.tracks, window_s=given.window)
    for _ in range(given.runs):
        figures.add("limit", drained(given.tracks, timedelta(seconds=given.window)))
    figures.tell(given.json)


def drained(tracks: int, window: timedelta) -> dict[str, float]:
    kie = SimulatedKie(
        lambda: datetime.now(UTC),
        settings=Settings(credits=1e9, creation_limit=LIMIT, creation_window=window, max_running=10**6),
    )
    kie.script.when(Succeed(width=SIZE[0], height=SIZE[1], run=timedelta(0)))
    with tempfile.TemporaryDirectory() as folder:
        policy = Policy(
            public_url=PUBLIC_URL,
            per_hour=10**6,
            per_day=10**6,
            purchase_limit=LIMIT,
            purchase_window=window,
            max_concurrent_tasks=10**6,
            target=Target(*SIZE),
        )
        world = World(Path(folder), policy=policy)
        world.clock, world.kie, world.crew = RealClock(), kie, Threads
        kie.files_url = FILES_URL
        far_away(kie)
        for number in range(tracks + 1):
            world.add(f"t{number:05}")
        world.run(only=("t00000",))  # so that the model is proven
        before, timed = len(kie.book.creations), list[Timed]()

        def around(name: str, port: Any) -> Any:
            if name != "kie":
                return port
            timed.append(Timed(port, "create"))
            return timed[0]

        world.run(wrap=around)
    return told([made.arrived_at for made in kie.book.creations[before:]], timed[0].took, kie, window)


def far_away(kie: SimulatedKie) -> None:
    answer = kie.handle

    def later(request: Request) -> Response:
        time.sleep(TRIP_S / 2)
        answered = answer(request)
        time.sleep(TRIP_S / 2)
        return answered

    kie.handle = later  # type: ignore[method-assign]


def told(
    arrivals: Sequence[datetime], trips: Sequence[float], kie: SimulatedKie, window: timedelta
) -> dict[str, float]:
    second = timedelta(seconds=1)
    trip = median(trips)
    most = max(sum(at <= other < at + window for other in arrivals) for at in arrivals)
    rejected = sum(creation.answer != "200" for creation in kie.book.creations)
    # The first window's orders are there at once; what follows has to wait for places.
    took, windows = (arrivals[-1] - arrivals[0]) / second, (len(arrivals) - 1) // LIMIT
    possible = windows * (window / second + trip)
    return {
        "orders a second": windows * LIMIT / took,
        "share of what is possible": possible / took,
        "round trip, ms": trip * 1000,
        "most in a window": most,
        "rejected": rejected,
    }


if __name__ == "__main__":
    main()
