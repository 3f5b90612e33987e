"""For processes that are to buy at the same time."""

import random
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import reconciler.database.connection as connecting
from reconciler.app.clock import ServerClock, utc_now
from reconciler.kie.client import KieClient


def late_orders(seconds: float) -> None:
    """An order is up to so long on its way."""
    create = KieClient.create

    def late(self: KieClient, order: Any) -> Any:
        time.sleep(random.uniform(0, seconds))
        return create(self, order)

    KieClient.create = late  # type: ignore[method-assign]


def clock_fast(hours: int) -> None:
    """This machine's, as far as the program asks it for the time of day."""
    true = utc_now

    def fast() -> datetime:
        return true() + timedelta(hours=hours)

    for module in list(sys.modules.values()):
        if getattr(module, "utc_now", None) is true:
            module.utc_now = fast  # type: ignore[attr-defined]
    connecting._utc_now = fast
    _, *others = ServerClock.__init__.__defaults__ or ()
    ServerClock.__init__.__defaults__ = (fast, *others)


def together(gate: Path, processes: int) -> None:
    """Returns when so many came here."""
    (gate / str(time.monotonic_ns())).touch()
    while len(list(gate.iterdir())) < processes:
        time.sleep(0.005)
