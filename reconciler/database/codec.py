"""Memory, purchases and tasks as rows, and back."""

from dataclasses import fields
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from reconciler.database.tables import Bought, Polled
from reconciler.domain.breaker import Breaker
from reconciler.domain.model import Memory, Purchase, Task

ELSEWHERE = {"callbacks", "purchases", "tasks", "handed", "host_suspect", "paused"}
"""What a memory's document does not hold: it is in tables of its own, or drawn from them."""

_MEMORY = TypeAdapter(Memory)
_BREAKER = TypeAdapter(Breaker)
_PURCHASE = tuple(f.name for f in fields(Purchase))
_TASK = tuple(f.name for f in fields(Task))

PURCHASE_COLUMNS = tuple(getattr(Bought, name) for name in _PURCHASE)
ORDERED = frozenset(("token", "track_id", "model", "prompt", "price", "repeat_of", "song"))
"""What of a purchase is as it was ordered, whatever is learned later."""
TASK_COLUMNS = tuple(getattr(Polled, name) for name in _TASK)


def dump_memory(memory: Memory) -> str:
    """Values at their defaults are left out: most tracks need little."""
    return _MEMORY.dump_json(memory, exclude=ELSEWHERE, exclude_defaults=True).decode()


def load_memory(doc: str) -> Memory:
    return _MEMORY.validate_json(doc)


def dump_breaker(breaker: Breaker) -> str:
    return _BREAKER.dump_json(breaker).decode()


def load_breaker(doc: str | None) -> Breaker:
    return Breaker() if doc is None else _BREAKER.validate_json(doc)


TRACK = _PURCHASE.index("track_id")
"""Where a row of `PURCHASE_COLUMNS` tells its track."""


def purchase(row: tuple[Any, ...]) -> Purchase:
    """From `PURCHASE_COLUMNS`."""
    return Purchase(**dict(zip(_PURCHASE, row, strict=True)))


def task(row: tuple[Any, ...]) -> Task:
    """From `TASK_COLUMNS`."""
    return Task(**dict(zip(_TASK, row, strict=True)))


def purchase_row(purchase: Purchase) -> dict[str, Any]:
    """The track's id is as the app has it."""
    return _row(purchase, _PURCHASE) | {"track_id": purchase.track_id, "over_at": purchase.over_at}


def task_row(task: Task) -> dict[str, Any]:
    return _row(task, _TASK)


def _row(value: Purchase | Task, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _storable(getattr(value, name)) for name in names}


def _storable(value: object) -> object:
    return storable(value) if isinstance(value, str) and not isinstance(value, StrEnum) else value


def storable(text: str) -> str:
    """Texts from a JSON answer may hold what not every database takes: halves of surrogate pairs, and NUL."""
    text = text.replace("\0", "�")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
