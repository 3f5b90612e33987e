"""Whether every track ended as its story says: by the app's rows, the files, our memory, and Kie's own book."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from reconciler.app.inside import looked_into
from reconciler.config import Settings, policy_of
from reconciler.database import Reader
from reconciler.demo.story import Ending, Story
from reconciler.demo.views import View, Viewer
from reconciler.domain.case import Case
from reconciler.domain.model import Track
from reconciler.domain.policy import Policy
from reconciler.domain.prompts import ladder
from reconciler.domain.standing import classify
from reconciler.domain.states import How, State
from reconciler.kie.simulated import Book, belongs_to
from reconciler.kie.simulated.book import Creation, Money

Row = Mapping[str, str | None]
OURS_TO_WRITE = {"image_url", "resolution", "updated_at"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one story ended. `differences`: what is not as the story says."""

    story: Story
    ending: Ending
    before: View
    after: View
    orders: tuple[Creation, ...]
    differences: tuple[str, ...]

    @property
    def refunded(self) -> int:
        return sum(order.money is Money.REFUNDED for order in self.orders)


@dataclass(frozen=True, slots=True)
class Evidence:
    before: Mapping[str, Row]
    after: Mapping[str, Row]
    how: Mapping[str, How]
    moved_at: Mapping[str, datetime]
    """A track is judged as of then: what is tried again in a second has not changed since, and is due by now."""
    book: Book
    view: Viewer


def outcomes(stories: Iterable[Story], settings: Settings, evidence: Evidence) -> tuple[Outcome, ...]:
    policy = policy_of(settings)
    with looked_into(settings) as reader:
        return tuple(_outcome(story, reader, policy, evidence) for story in stories)


def _outcome(story: Story, reader: Reader, policy: Policy, evidence: Evidence) -> Outcome:
    held = reader.peek(story.id)
    row, now_row = evidence.before[story.id], evidence.after[story.id]
    prompts = _prompts(held.track, policy)
    orders = tuple(order for order in evidence.book.purchases if order.prompt in prompts)
    state, reason = (None, None)
    if held.track is not None:
        case = Case(held.track, held.memory, policy, evidence.moved_at.get(story.id, held.now))
        where = classify(case, reader.view())
        state, reason = where.state, where.reason
    found = Ending(state, reason, evidence.how.get(story.id), len(orders))
    before, after = evidence.view(row["image_url"]), evidence.view(now_row["image_url"])
    differences = (*_told(story.ending, found), *_changed(row, now_row, found))
    if state is State.OK:
        differences += tuple(_picture(now_row, after, prompts, policy))
    return Outcome(story, found, before, after, orders, differences)


def _prompts(track: Track | None, policy: Policy) -> frozenset[str]:
    """What may be ordered for the track; a picture of it was painted from one of these."""
    return frozenset(prompt for _, prompt in ladder(track, policy)) if track is not None else frozenset()


def _told(expected: Ending, found: Ending) -> Iterator[str]:
    for what in ("state", "reason", "how", "bought"):
        said, is_ = getattr(expected, what), getattr(found, what)
        if said != is_:
            yield f"{what} is {is_}, not {said}"


def _changed(before: Row, after: Row, found: Ending) -> Iterator[str]:
    """Only what is ours to write may have changed, and nothing where nothing was resolved."""
    changed = {name for name in before if before[name] != after[name]}
    strange = changed - OURS_TO_WRITE if found.how is not None else changed
    for name in sorted(strange):
        yield f"column {name} was changed"


def _picture(row: Row, after: View, prompts: frozenset[str], policy: Policy) -> Iterator[str]:
    target = policy.target.resolution
    if after.words != target:
        yield f"the picture is {after.words}, not {target}"
    if row["resolution"] != target:
        yield f"resolution is {row['resolution']}, not {target}"
    if after.data is not None and not any(belongs_to(after.data, prompt) for prompt in prompts):
        yield "the picture is another track's"
