"""When what the operator decided has changed, every track is looked at once more: where each stands rests on that.

Otherwise a track that waits for a model that is no more configured would wait for ever, and a new target or a moved
`public_url` would be noticed only when each picture is next measured. A look costs no request.

Tracks are called a stretch of keys at a time, each in a transaction of its own, since nobody else can write meanwhile,
the app neither. What was reached is kept with the stretch: who is killed goes on there, and who begins beside it helps.

Two who decided otherwise and work side by side, such as a daemon and a job with another budget, do not keep each other
from ending, and call all tracks `AT_MOST` times a day: beyond that, who decides again as before waits for the next day.
Whom one of them leaves waiting for what the other does not offer, an audit of the other's finds.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from reconciler.database import datetimes
from reconciler.database.changes import change
from reconciler.database.connection import Connection, breathe
from reconciler.database.finder import IN_SCOPE
from reconciler.database.notes import DECIDED, Notes
from reconciler.database.tables import ANEW, Remembered
from reconciler.domain.catalogue import offers
from reconciler.domain.policy import Policy

R = Remembered

STRETCH = 2000
"""Tracks that are called at once: some hundredths of a second."""
AT_MOST, DAY = 8, timedelta(days=1)


class _Call(NamedTuple):
    """Of all tracks, since a digest was new. `reached`: the last one's id so far; None: it is over."""

    decided: str
    began: str
    reached: str | None


def look_again_if_changed(connection: Connection, policy: Policy) -> None:
    notes, decided = Notes(connection), _digest(policy)
    if any(call.decided == decided and call.reached is None for call in _calls(notes.get(DECIDED))[:1]):
        return
    _begin(connection, notes, decided)
    while not _all_called(connection, notes, decided):
        breathe()


def would_look_again(connection: Connection, policy: Policy) -> bool:
    """Whether `look_again_if_changed` would call any, which is not done here."""
    with connection.snapshot() as now:
        if connection.one(R.select(R.track_id).where(IN_SCOPE).limit(1)) is None:
            return False
        calls = _begun(_calls(Notes(connection).kept(DECIDED)), _digest(policy), now)
    place = _place(calls, _digest(policy))
    return place is not None and calls[place].reached is not None


def _digest(policy: Policy) -> str:
    return hashlib.sha256(repr((policy, offers(policy))).encode()).hexdigest()


def _begin(connection: Connection, notes: Notes, decided: str) -> None:
    with connection.writing(gate=True) as now:
        calls = _calls(notes.kept(DECIDED))
        begun = _begun(calls, decided, now)
        if begun != calls:
            _keep(notes, begun)


def _begun(calls: list[_Call], decided: str, now: datetime) -> list[_Call]:
    """With a new call, where this is not what was decided last."""
    known = [call.decided for call in calls]
    if known[:1] == [decided] or (decided in known and _too_often(calls, now)):
        return calls
    return [_Call(decided, datetimes.own(now), ""), *calls[: AT_MOST - 1]]


def _place(calls: Sequence[_Call], decided: str) -> int | None:
    return next((place for place, call in enumerate(calls) if call.decided == decided), None)


def _too_often(calls: Sequence[_Call], now: datetime) -> bool:
    return len(calls) == AT_MOST and abs(now - datetime.fromisoformat(calls[-1].began)) < DAY


def _all_called(connection: Connection, notes: Notes, decided: str) -> bool:
    """Call the next stretch."""
    with connection.writing(gate=True) as now:
        calls = _calls(notes.kept(DECIDED))
        mine = _place(calls, decided)
        if mine is None or (reached := calls[mine].reached) is None:
            return True
        rest = IN_SCOPE & (R.track_id > reached)
        some = connection.rows(R.select(R.track_id).where(rest).order_by(R.track_id).limit(STRETCH))
        if some:
            again = {R.due_at: now, R.held: None, R.stands_until: ANEW}
            change(connection, rest & (R.track_id <= some[-1][0]), again)
        is_over = len(some) < STRETCH
        calls[mine] = calls[mine]._replace(reached=None if is_over else some[-1][0])
        _keep(notes, calls)
        return is_over


def _calls(note: str | None) -> list[_Call]:
    """None where another version wrote the note."""
    return [_Call(*call) for call in json.loads(note)] if note and note.startswith("[") else []


def _keep(notes: Notes, calls: Sequence[_Call]) -> None:
    notes.keep(DECIDED, json.dumps(calls))
