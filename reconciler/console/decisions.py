"""What became of tracks that an operator decided about."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from reconciler.commands.deciding import Decided
from reconciler.console import standings
from reconciler.domain.standing import Standing
from reconciler.domain.texts import plain


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
    """80 columns wide. One alone is told in sentences, in which ids are not cut."""
    if len(decided) < 2:
        yield from map(Text, _sentences(decided[0]) if decided else ["No track is given up for that: nothing to do."])
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("track", "was", "is", "what"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "track")
    for each in decided:
        table.add_row(plain(each.track_id, 40), _words(each.before), _words(each.after), plain(each.said, 200))
    yield table


def _sentences(decided: Decided) -> Iterator[str]:
    yield f"{plain(decided.track_id, 60)}: {plain(decided.said, 400)}."
    before, after = _words(decided.before), _words(decided.after)
    yield f"It is {after}, as before." if before == after else f"It was {before} and is {after}."


def _words(standing: Standing) -> str:
    return standings.words(standing.state, standing.reason)
