"""Callbacks, remembered with the track that each wakes."""

from collections import Counter
from collections.abc import Iterable, Sequence

from reconciler.database.changes import change
from reconciler.database.connection import Connection
from reconciler.database.tables import ANEW, Bought, CalledBack, Remembered
from reconciler.domain.model import Callback

R = Remembered

TOLD_AT_MOST = 8
"""Tasks of one order that are remembered: Kie names one, and who makes up more is not to fill the table."""


class Callbacks:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def take(self, callbacks: Sequence[Callback]) -> frozenset[str]:
        """Remember them and wake their tracks, in one transaction; the tokens that are known. One that says again what
        was said before wakes nobody."""
        with self.connection.reading(own=True):
            tracks = self._tracks(callbacks)
        if tracks:
            with self.connection.writing(own=True) as now:
                new = self._new(callback for callback in callbacks if callback.token in tracks)
                for token, task_id in new:
                    row = {"token": token, "task_id": task_id, "track_id": tracks[token], "at": now}
                    self.connection.run(CalledBack.insert(row).on_conflict_ignore())
                woken = sorted({tracks[token] for token, _ in new})
                # Who works one looks again when that step ends.
                change(self.connection, R.track_id.in_(woken), {R.due_at: now, R.stands_until: ANEW, R.held: None})
        return frozenset(tracks)

    def _tracks(self, callbacks: Sequence[Callback]) -> dict[str, str]:
        tokens = sorted({callback.token for callback in callbacks})
        return dict(self.connection.rows(Bought.select(Bought.token, Bought.track_id).where(Bought.token.in_(tokens))))

    def _new(self, callbacks: Iterable[Callback]) -> list[tuple[str, str]]:
        """Tokens and task ids."""
        told = dict.fromkeys((callback.token, callback.task_id) for callback in callbacks)
        tokens = sorted({token for token, _ in told})
        query = CalledBack.select(CalledBack.token, CalledBack.task_id).where(CalledBack.token.in_(tokens))
        known = set(self.connection.rows(query))
        counts, new = Counter(token for token, _ in known), []
        for token, task_id in told:
            if (token, task_id) not in known and counts[token] < TOLD_AT_MOST:
                counts[token] += 1
                new.append((token, task_id))
        return new
