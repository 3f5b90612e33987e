"""The demo's outcomes on a contact sheet."""

from collections.abc import Sequence

from reconciler.demo.referee import Outcome
from reconciler.demo.sheet import Card, Section, as_jpeg, compose
from reconciler.demo.tones import told, tone
from reconciler.domain.states import State

MOST = 60
"""Cards of one section; a wall of plain tracks shows nothing more."""
TITLE = "Every kind of trouble, before and after"

Told = Sequence[tuple[str, Sequence[Outcome]]]


def contact_sheet(chapters: Told, line: str) -> bytes:
    """A JPEG."""
    return as_jpeg(compose(TITLE, line, [_section(name, outcomes) for name, outcomes in chapters]))


def _section(name: str, outcomes: Sequence[Outcome]) -> Section:
    left_out = len(outcomes) - MOST
    name = f"{name} ({left_out} more are not shown)" if left_out > 0 else name
    return Section(name, [_card(outcome) for outcome in outcomes[:MOST]])


def _card(outcome: Outcome) -> Card:
    story, found = outcome.story, outcome.ending
    how = found.how.replace("_", " ") if found.how is not None else ""
    verdict = how if found.state is State.OK else told(outcome)
    return Card(story.title, story.trouble, outcome.before, outcome.after, verdict, tone(found.state), _note(outcome))


def _note(outcome: Outcome) -> str:
    number, refunded = outcome.ending.bought, outcome.refunded
    return f"{number} bought{f', {refunded} refunded' if refunded else ''}" if number else ""
