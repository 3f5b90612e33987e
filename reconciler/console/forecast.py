"""What a dry run found."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from reconciler.domain.actions import AskSong, AskTask, ListStore, Measure
from reconciler.domain.states import Reason
from reconciler.domain.texts import amount, plain
from reconciler.engine.preview import Forecast, describe

NO_MEMORY = (
    "Our tables are not in the database yet, so nothing is known of earlier purchases: memory is taken as empty."
)


def document(forecasts: Sequence[Forecast], *, remembers: bool) -> dict[str, Any]:
    now, later = _orders(forecasts)
    return {
        "tracks": [_entry(forecast) for forecast in forecasts],
        "purchases": len(now),
        "credits": _credits(now),
        "held_back": {"purchases": len(later), "credits": _credits(later)},
        "memory": "known" if remembers else "empty",
    }


def _entry(forecast: Forecast) -> dict[str, Any]:
    where = forecast.standing
    return {
        "track": forecast.case.track.id,
        "state": where.state,
        "reason": where.reason,
        "next": describe(forecast.action),
        "credits": forecast.price,
        "work": forecast.is_work,
    }


def render(forecasts: Sequence[Forecast], *, remembers: bool) -> Iterator[RenderableType]:
    if not remembers:
        yield Text(NO_MEMORY)
    if forecasts:
        yield _table(forecasts)
    now, later = _orders(forecasts)
    work = sum(forecast.is_work for forecast in forecasts)
    yield Text(
        f"{len(forecasts)} looked at, {work} of them work. Would buy {len(now)} at once, for "
        f"{amount(_credits(now))} credits at most; nothing was changed."
    )
    if later:
        held = f"{len(later)} more wait until purchases go on, for {amount(_credits(later))} credits at most"
        yield Text(f"{held}; `reconciler status` tells what stops them.")
    unasked = sum(isinstance(forecast.action, Measure | AskTask | AskSong | ListStore) for forecast in forecasts)
    if unasked:
        yield Text(f"{unasked} would first be looked into, for free; they may need a purchase after that.")


def _orders(forecasts: Sequence[Forecast]) -> tuple[list[Forecast], list[Forecast]]:
    """Who would buy at once, and who waits for the gate."""
    buying = [forecast for forecast in forecasts if forecast.price > 0]
    return [f for f in buying if f.standing.reason is Reason.DUE], [
        f for f in buying if f.standing.reason is not Reason.DUE
    ]


def _credits(forecasts: Sequence[Forecast]) -> float:
    return round(sum(forecast.price for forecast in forecasts), 2)


def _table(forecasts: Sequence[Forecast]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("track", "state", "next"):
        table.add_column(heading, overflow="fold")
    table.add_column("credits", justify="right")
    for forecast in forecasts:
        where = forecast.standing
        state = " ".join(filter(None, (where.state or "out of scope", where.reason)))
        price = amount(forecast.price) if forecast.price else ""
        table.add_row(plain(forecast.case.track.id, 60), state, plain(describe(forecast.action), 120), price)
    return table
