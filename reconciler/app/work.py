"""A sweep's parts, put together: the database, Kie, pictures, the store, and workers."""

from collections.abc import Callable
from typing import Protocol

from reconciler.app.clock import steady
from reconciler.app.keeping import open_store
from reconciler.app.outside import Provider
from reconciler.database import Database
from reconciler.engine.crew import Crew
from reconciler.engine.effects import Hands
from reconciler.engine.lately import Lately
from reconciler.engine.parts import Parts
from reconciler.images.s3_errors import Operation, Outcome
from reconciler.kie.client import Observer

Pace = Callable[[str], None]


class Counter(Observer, Protocol):
    """Hears of every call to Kie, and of every request to a bucket."""

    def store_asked(self, operation: Operation, outcome: Outcome) -> None: ...


def unhurried(_: str) -> None:
    """No host is spared."""


def parts_of(
    database: Database, outside: Provider, crew: Crew, observer: Counter, lately: Lately, pace: Pace = unhurried
) -> Parts:
    """Raises StoreUnfit where the store is not the one that the database knows, StoreAway where it does not answer."""
    outside.proof.lapse()
    store = open_store(outside.settings, database, observer.store_asked, outside.proof)
    kie, pictures = outside.client(observer), outside.pictures(pace)
    hands = Hands(kie, pictures, store, outside.policy, outside.clock)
    ports = database.finder, database.leases, database.gate
    return Parts(*ports, hands, crew, outside.policy, outside.clock, steady, lately)
