"""One living line on a terminal while a run works."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from reconciler.console.text import amount
from reconciler.domain.states import State
from reconciler.engine.events import Event, Listener
from reconciler.engine.tally import Tally

UNDER_WAY = frozenset({State.SUBMITTING, State.AWAITING, State.FETCHING})


def line(tally: Tally) -> str:
    where, result = tally.touched(), tally.result
    by_state: Counter[State] = Counter()
    for (state, _), tracks in where.items():
        by_state[state] += tracks
    parts = [
        f"{where.total()} looked at",
        f"{by_state[State.OK]} ok",
        f"{sum(by_state[state] for state in UNDER_WAY)} in flight",
        f"{result.purchases} bought ({amount(result.credits_spent)} credits)",
        f"{result.writes} written",
    ]
    reasons: Counter[str] = Counter()
    for (state, reason), tracks in where.items():
        if state.stuck and reason is not None and state not in UNDER_WAY:
            reasons[str(reason)] += tracks
    stuck = ", ".join(f"{tracks} {reason}" for reason, tracks in reasons.most_common(3))
    return " · ".join(parts) + (f" · stuck: {stuck}" if stuck else "")


@contextmanager
def progress(console: Console) -> Iterator[Listener]:
    """A listener; on anything but a terminal it shows nothing."""
    tally = Tally(lambda _: None)
    if not console.is_terminal:
        yield tally
        return
    text, row = Text("starting", overflow="ellipsis", no_wrap=True), Table.grid(padding=(0, 1))
    row.add_row(Spinner("dots"), text)
    with Live(row, console=console, transient=True, refresh_per_second=8):

        def listen(event: Event) -> None:
            tally(event)
            text.plain = line(tally)

        yield listen
