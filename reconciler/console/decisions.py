"""What became of tracks that an operator decided about."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from reconciler.console.text import plain
from reconciler.deciding import Decided
from reconciler.domain.standing import Standing


def document(decided: Sequence[Decided]) -> dict[str, Any]:
    return {
        "tracks": [
            {"track": each.track_id, "before": _where(each.before), "after": _where(each.after), "said": each.said}
            for each in decided
        ]
    }


def _where(standing: Standing) -> dict[str, Any]:
    return {"state": standing.state or "out of scope", "reason": standing.reason}


def render(decided: Sequence[Decided]) -> Iterator[RenderableType]:
    """80 columns wide."""
    if not decided:
        yield Text("No track is given up for that: nothing to do.")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("track", "was", "is", "what"):
        table.add_column(heading, overflow="fold")
    for each in decided:
        table.add_row(plain(each.track_id, 60), _words(each.before), _words(each.after), plain(each.said, 200))
    yield table


def _words(standing: Standing) -> str:
    return " ".join(filter(None, (standing.state or "out of scope", standing.reason)))
