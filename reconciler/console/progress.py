"""One living line on a terminal while a run works."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from reconciler.domain.states import UNDER_WAY, State
from reconciler.domain.texts import amount
from reconciler.engine.events import Event
from reconciler.engine.tally import Tally


def line(tally: Tally) -> str:
    where, result = tally.touched(), tally.result
    by_state: Counter[State] = Counter()
    for (state, _), tracks in where.items():
        by_state[state] += tracks
    parts = [
        f"{where.total()} looked at",
        f"{by_state[State.OK]} ok",
        f"{sum(by_state[state] for state in UNDER_WAY)} in flight",
        f"{result.purchases} ordered ({amount(result.credits_spent)} credits)",
        f"{result.writes} written",
    ]
    reasons: Counter[str] = Counter()
    for (state, reason), tracks in where.items():
        if state.stuck and reason is not None and state not in UNDER_WAY:
            reasons[str(reason)] += tracks
    stuck = ", ".join(f"{tracks} {reason}" for reason, tracks in reasons.most_common(3))
    return " · ".join(parts) + (f" · stuck: {stuck}" if stuck else "")


class Shown:
    """A listener that keeps a text up to date."""

    def __init__(self) -> None:
        self.tally = Tally(lambda _: None)
        self._prefix = ""
        self.text = Text("starting", overflow="ellipsis", no_wrap=True)

    def __call__(self, event: Event) -> None:
        self.tally(event)
        self.text.plain = self._prefix + line(self.tally)

    def stopping(self) -> None:
        """Safe in a signal handler."""
        self._prefix = "stopping (once more: at once) · "
        self.text.plain = self._prefix + self.text.plain


@contextmanager
def progress(console: Console) -> Iterator[Shown]:
    """On anything but a terminal nothing is shown."""
    shown = Shown()
    with living(console, shown.text):
        yield shown


@contextmanager
def living(console: Console, text: Text) -> Iterator[None]:
    """The text as it is at any time, on a terminal."""
    if not console.is_terminal:
        yield
        return
    row = Table.grid(padding=(0, 1))
    row.add_row(Spinner("dots"), text)
    live = Live(row, console=console, transient=True, refresh_per_second=8)
    live.start()
    try:
        yield
    finally:
        with suppress(OSError):  # the terminal may be gone, the result is to be told all the same
            live.stop()
