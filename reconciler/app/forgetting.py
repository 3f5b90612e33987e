"""Forgetting what is too old to matter: once a day, by the daemon or by whichever run is the next."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from reconciler.app.keeping import tidy
from reconciler.config import Settings
from reconciler.database import FORGOT_AT, Database, DatabaseError, Pruned
from reconciler.database.datetimes import own, parse
from reconciler.ports import Clock

PRUNE_EVERY = timedelta(days=1)


def forget(
    settings: Settings, database: Database, now: datetime, may_go_on: Callable[[], bool] = lambda: True
) -> Pruned:
    """Of the database's records and the store's leftovers. Noted, unless it had to end before all records were seen to;
    of the store all is reached some day."""
    pruned = database.prune(may_go_on)
    if may_go_on():
        database.notes.put(FORGOT_AT, own(now))
    tidy(settings, may_go_on)
    return pruned


def forget_if_due(
    settings: Settings, database: Database, clock: Clock, within: timedelta, may_go_on: Callable[[], bool]
) -> None:
    """Where no daemon does it. What is wrong with the database is told by the work that this is not to keep from."""
    now = clock()
    with suppress(DatabaseError):
        last = parse(database.notes.get(FORGOT_AT))
        if last is None or not last <= now < last + PRUNE_EVERY:
            forget(settings, database, now, lambda: may_go_on() and clock() < now + within)
