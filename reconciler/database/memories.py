"""Our memory of tracks: one row each, with its purchases and the tasks that it names."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from peewee import Model

from reconciler.database import codec
from reconciler.database.connection import Connection
from reconciler.database.hosts import SUSPECT
from reconciler.database.statements import Slot, Statement, slots
from reconciler.database.tables import Bought, GateRow, HandedOver, LosingHost, Polled
from reconciler.domain import urls
from reconciler.domain.model import Memory, Purchase, Task, TaskState, Track
from reconciler.domain.policy import Policy

_LONGEST_TASK_ID = 200


class Memories:
    def __init__(self, connection: Connection, policy: Policy) -> None:
        self.policy = policy
        bought = Bought.select(*codec.PURCHASE_COLUMNS).where(Bought.track_id == Slot("track_id"))
        handed = HandedOver.select(HandedOver.task_id).where(HandedOver.track_id == Slot("track_id"))
        task = Polled.select(*codec.TASK_COLUMNS).where(Polled.id == Slot("id"))
        suspect = LosingHost.select(LosingHost.host).where(SUSPECT & (LosingHost.host == Slot("host")))
        self._bought = connection.statement(bought.order_by(Bought.at, Bought.token), *codec.PURCHASE_COLUMNS)
        self._handed = connection.statement(
            handed.order_by(HandedOver.created_at.desc(), HandedOver.task_id), HandedOver.task_id
        )
        self._task = connection.statement(task, *codec.TASK_COLUMNS)
        self._suspect = connection.statement(suspect, LosingHost.host)
        self._paused = connection.statement(GateRow.select(GateRow.paused), GateRow.paused)
        self._save_purchase = _upsert(connection, Bought, (*codec.PURCHASE_COLUMNS, Bought.over_at), Bought.token)
        self._save_task = _upsert(connection, Polled, codec.TASK_COLUMNS, Polled.id)

    def load(self, track_id: str, track: Track | None, doc: str | None, now: datetime) -> Memory:
        """The memory whose document was found, or a fresh one, with all that other tables say of it."""
        memory = Memory(track_id, first_seen=now) if doc is None else codec.load_memory(doc)
        purchases = tuple(Purchase(**row) for row in self._bought.dicts(track_id=track_id))
        handed = tuple(name for (name,) in self._handed.rows(track_id=track_id) if usable_task_id(name))
        named = (*(p.task_id for p in purchases if p.task_id), *handed, *_named(track, self.policy))
        tasks, suspect = self._tasks(named), self._is_suspect(track)
        loaded = replace(memory, purchases=purchases, handed=handed, tasks=tasks, host_suspect=suspect)
        return replace(loaded, paused=self.paused())

    def paused(self) -> bool:
        """An operator paused purchases and writes."""
        return bool((self._paused.one() or (False,))[0])

    def save(self, memory: Memory, now: datetime) -> None:
        """Purchases and tasks. Handed-over tasks are remembered even if nobody asked for them yet."""
        for purchase in memory.purchases:
            self.save_purchase(purchase)
        stubs = {name: Task(name, first_seen=now) for name in memory.handed}
        tasks = {**stubs, **memory.tasks}
        known = self._tasks(tasks)
        for name, task in tasks.items():
            newer = _newer(known.get(name), task)
            if newer != known.get(name):
                self._save_task.run(**codec.task_row(newer))

    def save_purchase(self, purchase: Purchase) -> None:
        self._save_purchase.run(**codec.purchase_row(purchase))

    def _tasks(self, names: Iterable[str]) -> dict[str, Task]:
        rows = (self._task.dicts(id=name) for name in dict.fromkeys(names))
        return {row[0]["id"]: Task(**row[0]) for row in rows if row}

    def _is_suspect(self, track: Track | None) -> bool:
        host = urls.host_of(track.image.text or "") if track else ""
        return bool(host) and self._suspect.one(host=host) is not None


def usable_task_id(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= _LONGEST_TASK_ID and name.isascii() and name.isprintable()


def _upsert(connection: Connection, model: type[Model], columns: Iterable[Any], key: Any) -> Statement:
    row: Mapping[Any, Slot] = slots(columns)
    return connection.statement(model.insert(row).on_conflict(conflict_target=[key], update=row))


def _named(track: Track | None, policy: Policy) -> tuple[str, ...]:
    if track is None:
        return ()
    text = track.image.text or ""
    bare = (text,) if urls.classify(text, policy) is urls.Kind.TASK_ID else ()
    return (*bare, *urls.image_task_ids(track.extended_prompt))


def _newer(known: Task | None, task: Task) -> Task:
    """Tracks share tasks: what another one learned since we looked is not undone. An end stays, more polls win."""
    if known is None:
        return task
    if known.state is not TaskState.RUNNING:
        return known
    return task if task.state is not TaskState.RUNNING or task.polls >= known.polls else known
