"""What was tried for each track and what came of it. For people only: nothing is decided by it."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from reconciler.database.connection import Connection
from reconciler.database.statements import Slot, slots
from reconciler.database.tables import Tried
from reconciler.domain.attempts import Attempt

_SHOWN = (Tried.first_at, Tried.at, Tried.times, Tried.step, Tried.about, Tried.came, Tried.detail)
_SAME = ("step", "about", "came", "detail")


class Told(NamedTuple):
    """One line of a track's history: `times` attempts from `first_at` to `at`, alike in all that follows."""

    first_at: datetime
    at: datetime
    times: int
    step: str
    about: str
    came: str
    detail: str


class History:
    """Works inside the caller's transaction."""

    def __init__(self, connection: Connection) -> None:
        newest = Tried.select(Tried.id, *(getattr(Tried, name) for name in _SAME)).order_by(Tried.id.desc()).limit(1)
        mine = Tried.track_id == Slot("track_id")
        fields = (Tried.track_id, Tried.first_at, Tried.at, *(getattr(Tried, name) for name in _SAME))
        shown = Tried.select(*_SHOWN).where(mine).order_by(Tried.id.desc()).limit(Slot("limit"))
        again = Tried.update({Tried.at: Slot("at"), Tried.times: Tried.times + 1}).where(Tried.id == Slot("id"))
        self._newest = connection.statement(newest.where(mine), *[None] * (1 + len(_SAME)))
        self._add = connection.statement(Tried.insert({**slots(fields), Tried.times: 1}))
        self._again = connection.statement(again)
        self._shown = connection.statement(shown, *_SHOWN)

    def add(self, track_id: str, attempts: Iterable[Attempt], now: datetime) -> None:
        for attempt in attempts:
            said = {name: _storable(getattr(attempt, name)) for name in _SAME}
            newest = self._newest.one(track_id=track_id)
            if newest is not None and dict(zip(_SAME, newest[1:], strict=True)) == said:
                self._again.run(id=newest[0], at=now)
            else:
                self._add.run(track_id=track_id, first_at=now, at=now, **said)

    def of(self, track_id: str, limit: int) -> Sequence[Told]:
        """Newest first."""
        return [Told(*row) for row in self._shown.rows(track_id=track_id, limit=limit)]


def _storable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
