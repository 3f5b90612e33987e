"""What the demo tells at its end."""

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from reconciler.demo.folder import Folder
from reconciler.demo.referee import Outcome
from reconciler.demo.tones import told, tone
from reconciler.domain.states import State
from reconciler.domain.texts import amount
from reconciler.kie.simulated import Book

EXPLAINED = "Matinee"


def before_and_after(chapters: Sequence[tuple[str, Sequence[Outcome]]]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("track", "trouble", "before", "after", "how", "bought"):
        table.add_column(
            heading, overflow="fold", no_wrap=heading == "track", min_width=30 if heading == "trouble" else None
        )
    for name, outcomes in chapters:
        table.add_section()
        table.add_row(Text(name, style="bold"))
        for outcome in outcomes:
            _add(table, outcome)
    return table


def _add(table: Table, outcome: Outcome) -> None:
    story, found = outcome.story, outcome.ending
    how = found.how.replace("_", " ") if found.how is not None else ""
    after = Text(told(outcome), style=tone(found.state).style)
    table.add_row(story.title, story.trouble, outcome.before.words, after, how, _bought(outcome))


def _bought(outcome: Outcome) -> str:
    number, refunded = outcome.ending.bought, outcome.refunded
    return f"{number or ''}{f', {refunded} refunded' if refunded else ''}"


def sums(outcomes: Sequence[Outcome], book: Book, seconds: float) -> str:
    ok = sum(outcome.ending.state is State.OK for outcome in outcomes)
    free = sum(outcome.ending.state is State.OK and not outcome.ending.bought for outcome in outcomes)
    spent = f"{amount(book.credits_spent)} credits"
    if book.credits_held:
        spent += f" (and {amount(book.credits_held)} held for tasks under way)"
    return (
        f"{ok} of {len(outcomes)} tracks have a good picture, {free} of them without a purchase. "
        f"{len(book.purchases)} pictures were bought for {spent}. {seconds:.0f} s."
    )


def differences(outcomes: Sequence[Outcome], errors: Sequence[str]) -> Iterator[RenderableType]:
    """Nothing where everything went as the stories say."""
    wrong = [outcome for outcome in outcomes if outcome.differences]
    if not wrong and not errors:
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title="Not as the script says", title_style="bold red")
    table.add_column("track", no_wrap=True)
    table.add_column("difference", overflow="fold")
    for outcome in wrong:
        for difference in outcome.differences:
            table.add_row(outcome.story.title, difference)
    for error in errors:
        table.add_row("", error)
    yield table


def commands(folder: Folder, outcomes: Sequence[Outcome], base_url: str) -> str:
    """Three commands that work as they stand, although the simulated Kie has stopped."""
    port = urlsplit(base_url).port
    interesting = next(outcome.story.id for outcome in outcomes if outcome.story.title == EXPLAINED)
    program = f"{_program()} --config {shlex.quote(_near(folder.config))}"
    return "\n".join(
        (
            f"Pictures, database and configuration are in {folder.root}; to look rather than read: {folder.sheet}",
            "",
            "To try next (the simulated Kie has stopped, these do without it):",
            f"  {program} explain {interesting}",
            f"  {program} run --once --dry-run --offline",
            f"  {program} check --offline",
            f"A simulated Kie at the same place, empty: {_python()} -m reconciler.kie.simulated --port {port}",
        )
    )


def _program() -> str:
    """How this program was called, to be called again from here."""
    called = Path(sys.argv[0])
    if called.name == "reconciler" and os.access(called, os.X_OK):
        return shlex.quote(_near(called))
    return f"{_python()} -m reconciler"


def _python() -> str:
    return shlex.quote(_near(Path(sys.executable)))


def _near(path: Path) -> str:
    """Relative where that is shorter."""
    absolute = path if path.is_absolute() else Path.cwd() / path
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)
