"""`domain.scope` in SQL, for finding rows; a test holds the two together."""

from functools import reduce
from operator import or_
from typing import Any

from peewee import SQL, Value, fn

from reconciler.database.app_tracks import CAPS
from reconciler.database.schema import AppTable
from reconciler.database.tables import Remembered
from reconciler.domain.policy import Policy
from reconciler.domain.scope import ARCHIVED, UNFINISHED

TEXTS = ("image_url", *CAPS)

TRUE, FALSE = SQL("TRUE"), SQL("FALSE")


def in_scope(app: AppTable, policy: Policy, stale: Any) -> Any:
    """Of a row of the app's, with the row of our memory joined to it (NULL where there is none).

    `stale`: `stale_after` ago, in the form of our own tables; unfinished rows older than that are left behind.
    """
    status = app.column("status")
    wanted = status.in_([s for s in policy.statuses if s not in policy.excluded_statuses])
    restored = (status == ARCHIVED) & has_audio(app) if _restores(policy) else FALSE
    left_behind = unfinished_with_audio(app, policy) & (since(app) <= stale)
    not_ignored = fn.coalesce(Remembered.ignored, Value(False)) == Value(False)
    return not_ignored & (wanted | restored | left_behind | _flawed(app, policy))


def unfinished_with_audio(app: AppTable, policy: Policy) -> Any:
    """In scope now or later: nobody but time has to act."""
    decided = (*policy.statuses, *policy.excluded_statuses)
    status = app.column("status")
    words = [s for s in UNFINISHED if s is not None and s not in decided]
    return (status.is_null() | status.in_(words)) & has_audio(app)


def since(app: AppTable) -> Any:
    """From when on an unfinished row ages, in the form of our own tables."""
    created, first_seen = app.dialect.instant(app.column("created_at")), Remembered.first_seen
    return fn.coalesce(app.dialect.least(created, first_seen), created, first_seen)


def _flawed(app: AppTable, policy: Policy) -> Any:
    """As far as SQL can tell; what is no UTF-8 is found where the status is in scope anyway."""
    elsewhere = (*policy.excluded_statuses, ARCHIVED)
    return fn.coalesce(app.column("status").not_in(elsewhere), TRUE) & has_flaw(app)


def has_flaw(app: AppTable) -> Any:
    fields = (field for field in TEXTS if app.has(field))
    return reduce(or_, (app.dialect.is_wrong(app.column(field), app.types[field]) for field in fields))


def has_audio(app: AppTable) -> Any:
    return fn.coalesce(app.column("audio_url"), "") != "" if app.has("audio_url") else FALSE


def _restores(policy: Policy) -> bool:
    return policy.restore_archived and ARCHIVED not in (*policy.statuses, *policy.excluded_statuses)
