"""Where tracks stand, as all commands tell it."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from reconciler.domain.states import Place, Reason, State

Tracks = Mapping[Place, int]

NO_MEMORY = (
    "Our own tables are not there yet (the first `run` makes them): every track counts as never looked at, and no "
    "earlier purchase is known."
)

_ORDER = tuple(State)


def words(state: State | None, reason: Reason | None) -> str:
    return " ".join(filter(None, (state or "out of scope", reason)))


def document(tracks: Tracks) -> list[dict[str, Any]]:
    return [{"state": state, "reason": reason, "tracks": count} for state, reason, count in _in_order(tracks)]


def table(tracks: Tracks) -> Table:
    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    shown.add_column("state")
    shown.add_column("reason")
    shown.add_column("tracks", justify="right")
    for state, reason, count in _in_order(tracks):
        shown.add_row(state, reason or "", str(count), style="red" if state is State.FAILED else "")
    return shown


def _in_order(tracks: Tracks) -> Iterator[tuple[State, Reason | None, int]]:
    for state, reason in sorted(tracks, key=lambda where: (_ORDER.index(where[0]), where[1] or "")):
        if tracks[state, reason]:
            yield state, reason, tracks[state, reason]
