"""What was tried for each track and what came of it. For people only: nothing is decided by it."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from peewee import fn

from reconciler.database import codec
from reconciler.database.connection import Connection
from reconciler.database.statements import Answer, Question, Rows, Several, Slot, Statement
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
        self._add = Rows(connection, Tried, fields)
        self._again = connection.statement(Tried.update(more).where(Tried.id == Slot("id")))
        self._shown = connection.statement(shown, *_SHOWN)

    def newest(self, track_ids: Sequence[str]) -> Question:
        """To be asked before `added`."""
        return self._newest.given(track_ids)

    def added(
        self, tried: Iterable[tuple[str, Sequence[Attempt]]], newest: Answer | None, now: datetime
    ) -> list[Question]:
        """By track, in order. What came before and came again is counted there, all else is added at once."""
        before = {track_id: (number, tuple(told)) for track_id, number, *told in newest.rows} if newest else {}
        asked: list[Question] = []
        rows: list[dict[str, Any]] = []
        for track_id, attempts in tried:
            said = (tuple(codec.storable(getattr(attempt, name)) for name in _SAME) for attempt in attempts)
            runs = [(same, len(list(run))) for same, run in groupby(said)]
            last, last_said = before.get(track_id, (None, None))
            if runs and runs[0][0] == last_said:
                asked.append(self._again.given(id=last, at=now, times=runs.pop(0)[1]))
            rows += (self._row(track_id, same, times, now) for same, times in runs)
        return [*asked, self._add.given(rows)] if rows else asked

    def _row(self, track_id: str, same: tuple[str, ...], times: int, now: datetime) -> dict[str, Any]:
        return {"track_id": track_id, "first_at": now, "at": now, "times": times, **dict(zip(_SAME, same, strict=True))}

    def of(self, track_id: str, limit: int) -> Sequence[Told]:
        """Newest first."""
        return [Told(*row) for row in self._shown.rows(track_id=track_id, limit=limit)]
