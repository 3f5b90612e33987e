"""A sweep's parts, put together: the database, Kie, pictures, the store, and workers."""

from collections.abc import Callable

from reconciler.app.inside import open_store, utc_now
from reconciler.app.outside import Provider
from reconciler.database import Database
from reconciler.engine.crew import Crew
from reconciler.engine.effects import Eyes, Hands
from reconciler.engine.purse import CreditPatience
from reconciler.engine.sweep import Parts
from reconciler.kie.client import Observer

Pace = Callable[[str], None]


def unhurried(_: str) -> None:
    """No host is spared."""


def parts_of(
    database: Database,
    outside: Provider,
    crew: Crew,
    observer: Observer,
    pace: Pace = unhurried,
    credit: CreditPatience | None = None,
) -> Parts:
    """Raises StoreUnfit where the store is not the one that the database knows."""
    store = open_store(outside.settings, database)
    kie, pictures = outside.client(observer), outside.pictures(pace)
    hands = Hands(Eyes(kie, pictures, store), kie, pictures, store, outside.policy)
    ports = database.finder, database.leases, database.gate
    return Parts(*ports, hands, crew, outside.policy, utc_now, credit or CreditPatience())
