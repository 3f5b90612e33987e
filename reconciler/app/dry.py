"""The dry run: the database is opened read-only, and nothing that could buy, store or write is built."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from math import inf
from sys import maxsize

from reconciler.app.inside import looked_into
from reconciler.app.keeping import EmptyReader, reader_of
from reconciler.app.once import Narrowed, known
from reconciler.app.outside import provider
from reconciler.config import Settings
from reconciler.database import MARKER, Reader
from reconciler.domain.findings import Credits
from reconciler.domain.gate import GateView
from reconciler.domain.learn import noticed
from reconciler.domain.models import shapes
from reconciler.domain.policy import Policy
from reconciler.engine.effects import Eyes
from reconciler.engine.preview import Forecast, Subject, forecasts
from reconciler.kie.client import KieReader

PAGE = 200
TOGETHER = 50
"""Read at once: few enough that they are as they were read when their turn comes."""
MOST = 100_000
"""That are due, or in one line."""


@dataclass(frozen=True, slots=True)
class Preview:
    """`remembers`: our tables are there; without them memory is empty."""

    remembers: bool
    forecasts: Iterator[Forecast]


@contextmanager
def preview(settings: Settings, narrowed: Narrowed, *, offline: bool) -> Iterator[Preview]:
    """What would be done to each track that needs a look, waits for the gate, or was named."""
    with looked_into(settings) as reader, provider(settings) as outside:
        narrowed = known(settings, narrowed, reader.app, reader.peek)
        store = EmptyReader() if reader.note(MARKER) is None else reader_of(settings)
        eyes = None if offline else Eyes(outside.reader(), outside.pictures(), store)
        kie = None if offline else outside.reader()
        subjects, gate = _subjects(reader, outside.policy, narrowed), gate_of(reader, kie)
        with closing(forecasts(subjects, eyes, gate)) as found:  # who looks is done before what it looks with goes
            yield Preview(reader.remembers, found)


def gate_of(reader: Reader, kie: KieReader | None = None) -> GateView:
    """The gate without opening it: a balance not known yet is asked for, else taken as enough."""
    view = reader.view()
    if view.balance is not None:
        return view
    asked = kie.credit() if kie is not None else None
    return replace(view, balance=asked.balance if isinstance(asked, Credits) else inf, balance_at=view.now)


def _subjects(reader: Reader, policy: Policy, narrowed: Narrowed) -> Iterator[Subject]:
    needy = islice(_in_need(reader, policy, narrowed), min(narrowed.limit or maxsize, maxsize))
    while some := list(islice(needy, TOGETHER)):
        for track_id, held in reader.peek_all(some).items():
            if isinstance(held, Exception):
                raise held
            if held.track is not None:
                case = noticed(held.track, held.memory, policy, held.now)
                inline = reader.inline_image(track_id) if held.track.image.digest is not None else None
                yield Subject(case, inline)


def _in_need(reader: Reader, policy: Policy, narrowed: Narrowed) -> Iterator[str]:
    """As a run comes to them: what is due, what an audit would work, and what waits for the gate to open; then whatever
    else was named."""
    due = reader.finder.due(min(narrowed.limit or MOST, MOST), narrowed.only)
    lines = (reader.finder.held_back(shape, MOST, narrowed.only) for shape, _ in shapes(policy))
    walked = _walked(reader, narrowed.only) if narrowed.audit else ()
    met: set[str] = set()
    for track_id in chain(due, walked, chain.from_iterable(lines), narrowed.only or ()):
        if track_id not in met:
            met.add(track_id)
            yield track_id


def _walked(reader: Reader, only: Sequence[str] | None) -> Iterator[str]:
    after: str | None = None
    while True:
        page = reader.finder.page(after, PAGE, only)
        yield from page.work
        after = page.last
        if after is None:
            return
