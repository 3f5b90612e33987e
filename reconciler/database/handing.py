"""Image tasks and whose they are: handed over by the app or an operator, bought by us, or named in the app's rows."""

from collections.abc import Iterator, Sequence
from typing import Any

from peewee import JOIN, Value, fn

from reconciler.database.app_tracks import CAPS
from reconciler.database.connection import Connection
from reconciler.database.dialect import and_then, flag
from reconciler.database.schema import AppTable
from reconciler.database.scope_sql import TRUE
from reconciler.database.tables import Bought, HandedOver, Polled
from reconciler.domain.model import TaskState
from reconciler.domain.urls import image_task_ids


class Handing:
    def __init__(self, connection: Connection, app: AppTable) -> None:
        self.connection, self.app = connection, app

    def owners(self, task_id: str) -> tuple[str, ...]:
        """Every track that the task is known to be for. Looks through the whole table: for people, not for sweeps."""
        with self.connection.snapshot():
            found = [*self._ours(task_id), *self._named(task_id)]
        return tuple(dict.fromkeys(found))

    def hand_over(self, track_id: str, task_id: str) -> None:
        """As the app would. Once is enough."""
        row = {HandedOver.track_id: track_id, HandedOver.task_id: task_id}
        both = [HandedOver.track_id, HandedOver.task_id]
        with self.connection.writing():
            self.connection.run(HandedOver.insert(row).on_conflict(conflict_target=both, action="NOTHING"))

    def astray(self) -> Sequence[str]:
        """For each task handed over that nobody will ever look at, what it has for a track: no row's id, as far as can
        be told. Looks through the whole table of them: for people."""
        nobodys = ~self.app.has_row_written_so(self.app.spelled(HandedOver.track_id))
        query = unseen(HandedOver.track_id, so=nobodys).order_by(HandedOver.track_id)
        with self.connection.reading():
            return [str(track_id) for (track_id,) in self.connection.rows(query)]

    def forget_end(self, task_id: str) -> None:
        """That Kie knew nothing of the task, or ended it without a picture: it is asked anew. A result stays."""
        with self.connection.writing():
            no_urls = Polled.urls == Value((), Polled.urls.db_value, unpack=False)
            in_vain = (Polled.state != TaskState.RUNNING) & no_urls
            self.connection.delete(Polled, (Polled.id == task_id) & in_vain)

    def _ours(self, task_id: str) -> Iterator[str]:
        for model in (Bought, HandedOver):
            query: Any = model.select(model.track_id).where(model.task_id == task_id)
            yield from (self.app.canonical(str(track_id)) for (track_id,) in self.connection.rows(query))

    def _named(self, task_id: str) -> Iterator[str]:
        """As the picture's URL, or noted behind the prompt: found roughly in SQL, then by equality."""
        image, noted = self.app.column("image_url"), self.app.column("extended_prompt")
        near = (image == task_id) | self.app.dialect.contains(noted, task_id)
        text = fn.substr(noted, 1, CAPS["extended_prompt"])
        query = self.app.table.select(self.app.told_id, flag(image == task_id), text)
        for key, is_image, text in self.connection.rows(query.where(near)):
            if is_image or task_id in image_task_ids(text if isinstance(text, str) else None):
                yield str(key)


def unseen(*columns: Any, so: Any = TRUE) -> Any:
    """Tasks handed over that nobody looked at yet, whatever they have for a track. `so`: a condition for them, not
    asked of the others: an app may hand over all that it buys, and all of it stays there."""
    on, is_unseen = Polled.id == HandedOver.task_id, Polled.id.is_null()
    query = HandedOver.select(*columns).join(Polled, JOIN.LEFT_OUTER, on=on)
    return query.where(is_unseen & and_then(is_unseen, so))
