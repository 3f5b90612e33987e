"""What was tried for each track and what came of it. For people only: nothing is decided by it."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

from peewee import fn

from reconciler.database import codec
from reconciler.database.connection import Connection
from reconciler.database.statements import Answer, Question, Several, Slot, Statement, slots
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
        same = [getattr(Tried, name) for name in _SAME]

        def newest(track_ids: list[Slot]) -> Statement:
            ids = [Tried.select(fn.max(Tried.id)).where(Tried.track_id == track_id) for track_id in track_ids]
            query = Tried.select(Tried.track_id, Tried.id, *same).where(Tried.id.in_(ids))
            return connection.statement(query, *[None] * (2 + len(same)))

        mine = Tried.track_id == Slot("track_id")
        fields = (Tried.track_id, Tried.first_at, Tried.at, *(getattr(Tried, name) for name in _SAME), Tried.times)
        shown = Tried.select(*_SHOWN).where(mine).order_by(Tried.id.desc()).limit(Slot("limit"))
        more = {Tried.at: Slot("at"), Tried.times: Tried.times + Slot("times")}
        self._newest = Several(newest)
        self._add = connection.statement(Tried.insert(slots(fields)))
        self._again = connection.statement(Tried.update(more).where(Tried.id == Slot("id")))
        self._shown = connection.statement(shown, *_SHOWN)

    def newest(self, track_ids: Sequence[str]) -> Question:
        """To be asked before `added`."""
        return self._newest.given(track_ids)

    def added(self, track_id: str, attempts: Iterable[Attempt], newest: Answer, now: datetime) -> list[Question]:
        said = (tuple(codec.storable(getattr(attempt, name)) for name in _SAME) for attempt in attempts)
        runs = [(same, len(list(run))) for same, run in groupby(said)]
        asked: list[Question] = []
        last, last_said = next(((each, tuple(told)) for of, each, *told in newest.rows if of == track_id), (None, None))
        if runs and runs[0][0] == last_said:
            asked.append(self._again.given(id=last, at=now, times=runs.pop(0)[1]))
        for same, times in runs:
            texts = dict(zip(_SAME, same, strict=True))
            asked.append(self._add.given(track_id=track_id, first_at=now, at=now, times=times, **texts))
        return asked

    def of(self, track_id: str, limit: int) -> Sequence[Told]:
        """Newest first."""
        return [Told(*row) for row in self._shown.rows(track_id=track_id, limit=limit)]
