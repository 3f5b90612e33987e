"""What a status page shows beside the counts. Each question reads a bounded number of rows, so that on SQLite nobody
waits for it."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from peewee import Select

from reconciler.database.connection import Connection
from reconciler.database.statements import Slot
from reconciler.database.tables import Bought, Remembered, Tried
from reconciler.domain.model import Outcome, Verdict
from reconciler.domain.states import Reason, State

R = Remembered

AMONG = 200
"""Remembered tracks of a state and reason of which those longest in need are taken."""
LOOK_BACK = 5000
"""Attempts among which the last writes are sought."""
WRITES = 60
MOST_BOUGHT = 20_000
DAY = timedelta(days=1)


class WroteLast(NamedTuple):
    track_id: str
    at: datetime
    url: str
    """Redacted."""
    detail: str


class BoughtLast(NamedTuple):
    """A purchase that counts in the budget of the day."""

    at: datetime
    outcome: Outcome
    verdict: Verdict


class Showing:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        so = (R.state == Slot("state")) & (R.reason == Slot("reason"))
        stuck = R.select(R.track_id, R.needy_since).where(so).limit(AMONG)
        recent = Tried.select().order_by(Tried.at.desc()).limit(LOOK_BACK).alias("recent")
        columns = [getattr(recent.c, name) for name in ("track_id", "at", "about", "detail")]
        written = (recent.c.step == "write") & (recent.c.came == "committed") & (recent.c.about != "resolution")
        wrote = Select([recent], columns).where(written).order_by(recent.c.at.desc()).limit(WRITES)
        sent = (Bought.sent == True) & (Bought.over_at > Slot("after"))  # noqa: E712
        bought = Bought.select(Bought.at, Bought.outcome, Bought.verdict).where(sent)
        bought = bought.order_by(Bought.over_at.desc()).limit(MOST_BOUGHT)
        self._stuck = connection.statement(stuck, None, R.needy_since)
        self._wrote = connection.statement(wrote, None, Tried.at, None, None)
        self._bought = connection.statement(bought, Bought.at, Bought.outcome, Bought.verdict)

    def stuck(self, places: Iterable[tuple[State, Reason]]) -> Sequence[Sequence[str]]:
        """Ids of remembered tracks that stood so, by place, longest in need first."""
        asked = [self._stuck.given(state=state, reason=reason) for state, reason in places]
        with self._connection.snapshot() as now:
            answers = self._connection.ask(*asked)
        return [[key for key, _ in sorted(answer.rows, key=lambda row: (row[1] or now, row[0]))] for answer in answers]

    def wrote(self) -> Sequence[WroteLast]:
        """The last pictures that were written, newest first."""
        with self._connection.reading():
            return [WroteLast(*row) for row in self._wrote.rows()]

    def bought(self) -> Sequence[BoughtLast]:
        with self._connection.snapshot() as now:
            return [BoughtLast(*row) for row in self._bought.rows(after=now - DAY)]
