"""What a dry run found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from reconciler.console import standings
from reconciler.domain.actions import AskSong, AskTask, ListStore, Measure
from reconciler.domain.states import Reason, State
from reconciler.domain.texts import amount, plain
from reconciler.engine.preview import Forecast, describe

TOGETHER = 1000
"""Rows of a table, which is laid out as a whole; and so many that are not due are named for people."""
_LONGEST_ID, _UNFOLDED = 60, 40
"""In cells: of 80, the other columns need the rest."""


@dataclass(frozen=True, slots=True)
class Line:
    """What is told of one track: all of it, since there may be very many. `credits`: what it would buy for."""

    track: str
    state: State | None
    reason: Reason | None
    next: str
    credits: float
    work: bool
    unasked: bool

    @classmethod
    def of(cls, forecast: Forecast) -> "Line":
        where, action = forecast.standing, forecast.action
        unasked = isinstance(action, Measure | AskTask | AskSong | ListStore)
        told = describe(action), forecast.price, forecast.is_work, unasked
        return cls(forecast.case.track.id, where.state, where.reason, *told)


@dataclass(frozen=True, slots=True)
class Seen:
    """`not_due`: so many others are not at rest; `waiting`: those of them that are named. `unheard`: what Kie did
    not tell, and why. `remembers`: our tables are there. `cut_short`: it ended before all was looked at."""

    lines: Sequence[Line]
    waiting: Sequence[Line]
    not_due: int
    unheard: Sequence[str]
    remembers: bool
    cut_short: bool

    @property
    def is_work(self) -> bool:
        return bool(self.not_due) or any(line.work for line in self.lines)


_FIELDS = [field.name for field in fields(Line) if field.name != "unasked"]


def document(seen: Seen, at_most: int | None) -> dict[str, Any]:
    """`at_most`: so many purchases; those beyond are held back."""
    now, later, beyond = _orders(seen.lines, at_most)
    held = later + beyond
    return {
        "tracks": _told(seen.lines),
        "purchases": len(now),
        "credits": _credits(now),
        "held_back": {"purchases": len(held), "credits": _credits(held)},
        "not_due": seen.not_due,
        "waiting": _told(seen.waiting),
        "memory": "known" if seen.remembers else "empty",
    }


def _told(lines: Sequence[Line]) -> list[dict[str, Any]]:
    return [{name: getattr(line, name) for name in _FIELDS} for line in lines]


def render(seen: Seen, at_most: int | None) -> Iterator[RenderableType]:
    lines = seen.lines
    if not seen.remembers:
        yield Text(standings.NO_MEMORY)
    for first in range(0, len(lines), TOGETHER):
        yield _table(lines[first : first + TOGETHER])
    now, later, beyond = _orders(lines, at_most)
    work = sum(line.work for line in lines)
    yield Text(
        f"{len(lines)} looked at, {work} of them work. Would buy {len(now)} at once, for "
        f"{amount(_credits(now))} credits at most; nothing was changed."
    )
    if later:
        held = f"{len(later)} more wait until purchases go on, for {amount(_credits(later))} credits at most"
        yield Text(f"{held}; the reason of each tells what stops it.")
    if beyond:
        left = f"{len(beyond)} more are left to a later run, for {amount(_credits(beyond))} credits at most"
        yield Text(f"{left}: --max-purchases allows {at_most}.")
    unasked = sum(line.unasked for line in lines)
    if unasked:
        yield Text(f"{unasked} would first be looked into, for free; they may need a purchase after that.")
    if seen.not_due:
        yield from _not_due(seen)


def _not_due(seen: Seen) -> Iterator[RenderableType]:
    yield Text(f"{seen.not_due} not looked at, since not due: in flight, waiting, given up, or worked by others now.")
    if seen.waiting:
        yield _table(seen.waiting, priced=False)
    if seen.not_due > TOGETHER:
        yield Text(f"And {seen.not_due - TOGETHER} more, which --json names.")


def _orders(lines: Sequence[Line], at_most: int | None) -> tuple[list[Line], list[Line], list[Line]]:
    """Who would buy at once, who waits for the gate, and who is one too many."""
    buying = [line for line in lines if line.credits > 0]
    now = [line for line in buying if line.reason is Reason.DUE]
    later = [line for line in buying if line.reason is not Reason.DUE]
    places = len(now) if at_most is None else at_most
    return now[:places], later, now[places:]


def _credits(lines: Sequence[Line]) -> float:
    return round(sum(line.credits for line in lines), 2)


def _table(lines: Sequence[Line], *, priced: bool = True) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    ids = [plain(line.track, _LONGEST_ID) for line in lines]
    is_whole = all(cell_len(track_id) <= _UNFOLDED for track_id in ids)
    for heading in ("track", "state", "next"):
        table.add_column(heading, overflow="fold", no_wrap=is_whole and heading == "track")
    if priced:
        table.add_column("credits", justify="right")
    for track_id, line in zip(ids, lines, strict=True):
        price = [amount(line.credits) if line.credits else ""] * priced
        table.add_row(track_id, standings.words(line.state, line.reason), plain(line.next, 120), *price)
    return table
