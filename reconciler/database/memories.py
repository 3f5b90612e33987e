"""Our memory of tracks: one row each, with its purchases and the tasks that it names."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, NamedTuple

from peewee import EXCLUDED, JOIN, Model

from reconciler.database import codec
from reconciler.database.connection import Connection
from reconciler.database.hosts import SUSPECT
from reconciler.database.schema import AppTable
from reconciler.database.statements import Answer, Question, Several, Slot, Statement, slots
from reconciler.database.tables import Bought, CalledBack, GateRow, HandedOver, LosingHost, Polled
from reconciler.domain import urls
from reconciler.domain.altered import altered
from reconciler.domain.case import tasks_named
from reconciler.domain.model import Callback, Memory, Outcome, Purchase, Task, TaskState, Track
from reconciler.domain.policy import Policy

LONGEST_TASK_ID = 200

Docs = Mapping[str, str | None]
"""By track id, the document of its memory; None where nothing is remembered yet."""


class Halts(NamedTuple):
    """What holds tracks back: an operator's pause; hosts that are suspect."""

    paused: bool
    hosts: frozenset[str]


class Memories:
    """Works inside the caller's transaction."""

    def __init__(self, connection: Connection, app: AppTable, policy: Policy) -> None:
        self.connection, self.app, self.policy = connection, app, policy
        dialect = connection.dialect
        bought = Bought.select(*codec.PURCHASE_COLUMNS).order_by(Bought.at, Bought.token)
        handed = HandedOver.select(HandedOver.track_id, HandedOver.task_id)
        handed = handed.order_by(HandedOver.created_at.desc(), HandedOver.task_id)
        task = Polled.select(*codec.TASK_COLUMNS)

        def spelled(query: Any, column: Any, *result: Any) -> Several:
            return Several(lambda values: connection.statement(query.where(column.in_(values)), *result))

        self._bought = spelled(bought, Bought.track_id, *codec.PURCHASE_COLUMNS)
        self._handed = spelled(handed, HandedOver.track_id, None, None)
        called = CalledBack.select(CalledBack.track_id, CalledBack.token, CalledBack.task_id)
        called = called.order_by(CalledBack.at, CalledBack.task_id)
        self._called = spelled(called, CalledBack.track_id, None, None, None)
        answered = Bought.select(Bought.track_id).where(Bought.outcome != Outcome.OPEN)
        self._answered = spelled(answered, Bought.token, None)
        self._tasks = spelled(task, Polled.id, *codec.TASK_COLUMNS)
        self._tasks_locked = spelled(dialect.locked(task.order_by(Polled.id)), Polled.id, *codec.TASK_COLUMNS)
        halts = GateRow.select(GateRow.paused, LosingHost.host).join(LosingHost, JOIN.LEFT_OUTER, on=SUSPECT)
        self._halts = connection.statement(halts, GateRow.paused, None)
        purchase = (*codec.PURCHASE_COLUMNS, Bought.over_at)
        no_step_back = (Bought.outcome == Outcome.OPEN) | (EXCLUDED.outcome != Outcome.OPEN)
        self._save_purchase = _upsert(
            connection, Bought, purchase, Bought.token, kept=codec.ORDERED, where=no_step_back
        )
        self._save_answer = _upsert(
            connection, Bought, purchase, Bought.token, kept=codec.ORDERED, where=Bought.outcome == Outcome.OPEN
        )
        # See `_newer`: of a task that nobody knew, no row was locked.
        no_less = (EXCLUDED.state != TaskState.RUNNING) | (EXCLUDED.polls >= Polled.polls)
        still_runs = Polled.state == TaskState.RUNNING
        self._save_task = _upsert(connection, Polled, codec.TASK_COLUMNS, Polled.id, where=still_runs & no_less)

    # -- loading: in two messages, whatever else is asked in the first -------------------------------------------------

    def of(self, track_ids: Sequence[str]) -> list[Question]:
        """To be asked, and read by `load`."""
        return [
            self._bought.given(track_ids),
            self._handed.given([*self._spellings(track_ids)]),
            self.asks_halts,
            *self.callbacks_of(track_ids),
        ]

    def _spellings(self, track_ids: Iterable[str]) -> dict[str, str]:
        """By each way to write it, the id."""
        return {spelling: track_id for track_id in track_ids for spelling in self.app.spellings(track_id)}

    def _given(self, handed: Answer, track_ids: Iterable[str]) -> Mapping[str, Sequence[str]]:
        """By track the tasks that were handed over, newest first."""
        ids, found = self._spellings(track_ids), defaultdict[str, list[str]](list)
        for spelling, name in handed.rows:
            if spelling in ids:
                found[ids[spelling]].append(name)
        return found

    def callbacks_of(self, track_ids: Sequence[str]) -> list[Question]:
        """To be asked, and read by `callbacks_in`. None where none is to come."""
        return [self._called.given(track_ids)] if self.policy.callback_url else []

    def answered_of(self, memories: Iterable[Memory]) -> list[Question]:
        """To be asked: tracks with an order whose answer was saved since, as far as it is not known to them. None where
        no answer is awaited."""
        tokens = [p.token for memory in memories for p in memory.purchases if p.outcome is Outcome.OPEN]
        return [self._answered.given(tokens)] if tokens else []

    def load(
        self, docs: Docs, tracks: Mapping[str, Track], answers: Sequence[Answer], now: datetime
    ) -> dict[str, Memory | Exception]:
        """The memories whose documents were found, or fresh ones, with all that other tables say of them. In the place
        of one that cannot be read stands why."""
        bought, handed, halted, *called = answers
        halts = halts_in(halted)
        purchases, given, callbacks = _by_track(bought), self._given(handed, docs), callbacks_in(called)
        found: dict[str, Memory | Exception] = {}
        for track_id, doc in docs.items():
            try:
                memory = Memory(track_id, first_seen=now) if doc is None else codec.load_memory(doc)
                found[track_id] = altered(
                    memory,
                    purchases=tuple(codec.purchase(row) for row in purchases[track_id]),
                    callbacks=callbacks.get(track_id, ()),
                    handed=tuple(dict.fromkeys(filter(usable_task_id, given[track_id]))),
                    host_suspect=_host(tracks.get(track_id)) in halts.hosts,
                    paused=halts.paused,
                )
            except Exception as error:  # noqa: BLE001 - one bad track stops nobody
                found[track_id] = error
        return self._with_tasks(found, tracks)

    def _with_tasks(
        self, memories: Mapping[str, Memory | Exception], tracks: Mapping[str, Track]
    ) -> dict[str, Memory | Exception]:
        named = {
            track_id: dict.fromkeys(_named(memory, tracks.get(track_id), self.policy))
            for track_id, memory in memories.items()
            if isinstance(memory, Memory)
        }
        tasks = self._read_tasks(list(dict.fromkeys(chain.from_iterable(named.values()))))
        return {
            track_id: altered(memory, tasks={name: tasks[name] for name in named[track_id] if name in tasks})
            if isinstance(memory, Memory)
            else memory
            for track_id, memory in memories.items()
        }

    def _read_tasks(self, names: Sequence[str]) -> dict[str, Task]:
        if not names:
            return {}
        return _tasks(self.connection.ask(self._tasks.given(names))[0])

    def paused(self) -> bool:
        """An operator paused purchases and writes."""
        return halts_in(self.connection.ask(self.asks_halts)[0]).paused

    @property
    def asks_halts(self) -> Question:
        """To be read by `halts_in`."""
        return self._halts.given()

    # -- saving --------------------------------------------------------------------------------------------------------

    def tasks_of(self, memories: Iterable[Memory]) -> list[Question]:
        """To be asked before `saved`: what is known of the tasks by now. None where there are none."""
        names = sorted(set(chain.from_iterable((*memory.handed, *memory.tasks) for memory in memories)))
        return [self._tasks_locked.given(names)] if names else []

    def saved(
        self, memories: Iterable[tuple[Memory, frozenset[Purchase]]], known: Answer | None, now: datetime
    ) -> list[Question]:
        """Purchases, but for those that are known to be saved so, and tasks. Handed-over tasks are remembered even if
        nobody asked for them yet."""
        asked: list[Question] = []
        tasks = _tasks(known) if known is not None else {}
        for memory, saved in memories:
            asked += [self.purchase_saved(purchase) for purchase in memory.purchases if purchase not in saved]
            stubs = {name: Task(name, first_seen=now) for name in memory.handed}
            for name, task in {**stubs, **memory.tasks}.items():
                newer = _newer(tasks.get(name), task)
                if newer != tasks.get(name):
                    tasks[name] = newer
                    asked.append(self._save_task.given(**codec.task_row(newer)))
        return asked

    def answer_saved(self, purchase: Purchase) -> Question:
        """Written where its order is not answered yet, or was lost with a server whose standby had not heard of it."""
        return self._save_answer.given(**codec.purchase_row(purchase))

    def purchase_saved(self, purchase: Purchase) -> Question:
        """An answer that somebody else heard since is not forgotten."""
        return self._save_purchase.given(**codec.purchase_row(purchase))


def usable_task_id(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= LONGEST_TASK_ID and name.isascii() and name.isprintable()


def _by_track(bought: Answer) -> Mapping[str, Sequence[tuple[Any, ...]]]:
    found = defaultdict[str, list[tuple[Any, ...]]](list)
    for row in bought.rows:
        found[row[codec.TRACK]].append(row)
    return found


def callbacks_in(answers: Sequence[Answer]) -> dict[str, tuple[Callback, ...]]:
    """By track, oldest first."""
    rows = sorted((row for answer in answers for row in answer.rows), key=itemgetter(0))
    return {track_id: tuple(Callback(*told) for _, *told in of) for track_id, of in groupby(rows, itemgetter(0))}


def _tasks(answer: Answer) -> dict[str, Task]:
    tasks = (codec.task(row) for row in answer.rows)
    return {task.id: task for task in tasks}


def halts_in(answer: Answer) -> Halts:
    return Halts(any(paused for paused, _ in answer.rows), frozenset(host for _, host in answer.rows if host))


def _host(track: Track | None) -> str | None:
    return (urls.host_of(track.image.text or "") or None) if track else None


def _upsert(
    connection: Connection,
    model: type[Model],
    columns: Iterable[Any],
    key: Any,
    *,
    kept: Collection[str] = (),
    where: Any = None,
) -> Statement:
    """`kept`: columns that never change. Those that are written touch their indexes, whatever is written."""
    row: Mapping[Any, Slot] = slots(columns)
    update = {column: slot for column, slot in row.items() if column.name not in kept}
    return connection.statement(model.insert(row).on_conflict(conflict_target=[key], update=update, where=where))


def _named(memory: Memory, track: Track | None, policy: Policy) -> tuple[str, ...]:
    bought = (p.task_id for p in memory.purchases if p.task_id)
    return (*bought, *(tasks_named(track, memory, policy) if track is not None else memory.handed))


def _newer(known: Task | None, task: Task) -> Task:
    """Tracks share tasks: what another one learned since we looked is not undone. An end stays, more polls win."""
    if known is None:
        return task
    if known.state is not TaskState.RUNNING:
        return known
    return task if task.state is not TaskState.RUNNING or task.polls >= known.polls else known
