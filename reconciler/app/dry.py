"""The dry run: the database is opened read-only, and nothing that could buy, store or write is built."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from math import inf
from sys import maxsize
from typing import TypeVar

from reconciler.app.inside import looked_into
from reconciler.app.keeping import found_by
from reconciler.app.once import Narrowed, known
from reconciler.app.outside import provider
from reconciler.config import Settings
from reconciler.database import Reader
from reconciler.domain.breaker import heard
from reconciler.domain.case import Case
from reconciler.domain.catalogue import offers
from reconciler.domain.closing import UNHEALTHY, closure_for, key_taken
from reconciler.domain.findings import Call, Credits, Refusal, SongAnswer, TaskAnswer, Trouble
from reconciler.domain.gate import GateName, GateView
from reconciler.domain.learn import noticed
from reconciler.domain.look import Huge
from reconciler.domain.policy import Policy
from reconciler.engine.effects import Eyes
from reconciler.engine.preview import Forecast, Subject, forecast, forecasts
from reconciler.kie.client import KieReader

PAGE = 200
TOGETHER = 50
"""Read at once: few enough that they are as they were read when their turn comes."""
MOST = 100_000
"""That are due, or in one line."""

A = TypeVar("A", TaskAnswer, SongAnswer, Credits | Trouble)


@dataclass(slots=True)
class Questions:
    """Asked of Kie until it refuses the key: as a run does, no more are asked then. `unheard`: what it did not tell,
    and why."""

    kie: KieReader
    unheard: list[str] = field(default_factory=list)
    _refused: Trouble | None = None

    def task(self, task_id: str) -> TaskAnswer:
        return self._refused or self._heard(self.kie.task(task_id))

    def song(self, song_id: str) -> SongAnswer:
        return self._refused or self._heard(self.kie.song(song_id))

    def credit(self) -> Credits | Trouble:
        answer = self._refused or self._heard(self.kie.credit())
        if isinstance(answer, Trouble) and answer.call is not Call.UNAUTHORIZED:
            why = f"{answer.call}: {answer.detail}"
            rests = "What is told here rests on what was known before"
            self.unheard.append(f"Kie could not be asked for the credits ({why}). {rests}")
        return answer

    def _heard(self, answer: A) -> A:
        if isinstance(answer, Trouble) and answer.call is Call.UNAUTHORIZED:
            is_for_songs = answer.refusal is not Refusal.KEY
            said = answer.detail if is_for_songs else f"Kie refuses the key (kie.api_key): {answer.detail}"
            said += ". What it would have told is missing here: put a valid key there"
            if said not in self.unheard:
                self.unheard.append(said)
            self._refused = self._refused if is_for_songs else answer
        return answer


@dataclass(frozen=True, slots=True)
class Preview:
    """`remembers`: our tables are there; without them memory is empty. `unheard`: what neither Kie nor memory told so
    far, and why. `not_due`: who else is not at rest, once all is forecast; as of a run, nothing is said of others than
    those that were named, or that came within the limit. `remembered`: of these, from memory alone; those whose memory
    cannot be read are left out."""

    remembers: bool
    forecasts: Iterator[Forecast]
    unheard: Sequence[str]
    not_due: Callable[[], Sequence[str]]
    remembered: Callable[[Sequence[str]], Iterator[Forecast]]


@contextmanager
def preview(settings: Settings, narrowed: Narrowed, ended: Callable[[], bool], *, offline: bool) -> Iterator[Preview]:
    """What would be done to each track that needs a look, waits for the gate, or was named, until it has `ended`."""
    with looked_into(settings) as reader, provider(settings) as outside:
        narrowed = known(settings, narrowed, reader.app, reader.peek)
        kie, view = Questions(outside.reader()), reader.view()
        eyes = None if offline else Eyes(kie, outside.pictures(), found_by(settings, reader.known_store()))
        gate = supposed(view) if offline else _asked(view, outside.policy, kie)
        met: set[str] = set()
        subjects = _subjects(reader, narrowed, met, kie.unheard)
        # Who looks is done before what it looks with goes.
        with closing(forecasts(subjects, eyes, gate, ended)) as found:
            not_due = partial(_not_due, reader, narrowed, met)
            yield Preview(reader.remembers, found, kie.unheard, not_due, partial(_remembered, reader, gate))


def supposed(view: GateView) -> GateView:
    """A balance that is not known yet is taken as enough."""
    return view if view.balance is not None else replace(view, balance=inf, balance_at=view.now)


def _asked(view: GateView, policy: Policy, kie: Questions) -> GateView:
    """As it would be once a run had asked for the credits, which tells too whether Kie takes the key, and is up."""
    asks = view.refuses_key() or view.breaker.wants_free_call(view.now) or view.wants_balance(policy)
    if policy.budget_of_none is not None or not asks:
        return view
    answer = kie.credit()
    if isinstance(answer, Credits):
        closures = tuple(key_taken(closure, view.now) for closure in view.closures)
        breaker = heard(view.breaker, healthy=True, bought=False, now=view.now, policy=policy)
        known_now = replace(view, balance=answer.balance, balance_at=view.now, spent_since=0.0)
        return replace(known_now, closures=closures, breaker=breaker)
    breaker = heard(view.breaker, healthy=answer.call not in UNHEALTHY, bought=False, now=view.now, policy=policy)
    closure = closure_for(answer, None, policy, view.now)
    return replace(view, breaker=breaker, closures=(*view.closures, closure) if closure is not None else view.closures)


def _not_due(reader: Reader, narrowed: Narrowed, met: Set[str]) -> list[str]:
    if narrowed.only is not None or len(met) >= (narrowed.limit or inf):
        return []
    return [track_id for track_id in reader.finder.restless() if track_id not in met]


def _remembered(reader: Reader, gate: GateView, track_ids: Sequence[str]) -> Iterator[Forecast]:
    return (forecast(case, gate) for _, case in _cases(reader, track_ids) if isinstance(case, Case))


def _subjects(reader: Reader, narrowed: Narrowed, met: set[str], unheard: list[str]) -> Iterator[Subject]:
    """Whose memory cannot be read is left out, as a run leaves it alone, and has not been met."""
    in_need = islice(_in_need(reader, narrowed, met), min(narrowed.limit or maxsize, maxsize))
    for track_id, case in _cases(reader, in_need):
        if isinstance(case, Exception):
            met.discard(track_id)
            why = f"what is remembered of it cannot be read ({type(case).__name__})"
            said = f"track {track_id[:200]} is left out, as by a run: {why}"
            if said not in unheard:
                unheard.append(said)
            continue
        is_read = case.track.image.digest is not None and not isinstance(case.look, Huge)
        yield Subject(case, reader.inline_image(case.track.id) if is_read else None)


def _cases(reader: Reader, track_ids: Iterable[str]) -> Iterator[tuple[str, Case | Exception]]:
    """In the place of one whose memory cannot be read stands why."""
    waiting = iter(track_ids)
    while some := list(islice(waiting, TOGETHER)):
        for track_id, held in reader.peek_all(some).items():
            if isinstance(held, Exception):
                yield track_id, held
            elif held.track is not None:
                yield track_id, noticed(held.track, held.memory, reader.finder.policy, held.now)


def _in_need(reader: Reader, narrowed: Narrowed, met: set[str]) -> Iterator[str]:
    """As a run comes to them: what is due, what an audit would work, and what waits for the gate to open; then whatever
    else was named. Each once: `met` keeps them."""
    anew = reader.would_look_again()
    due = reader.finder.due(min(narrowed.limit or MOST, MOST), narrowed.only, anew=anew)
    gates = GateName.KEY, *(shape for shape, _ in offers(reader.finder.policy))
    lines = (reader.finder.held_back(gate, MOST, narrowed.only) for gate in gates)
    walked = _walked(reader, narrowed.only, anew=anew) if narrowed.audit else ()
    for track_id in chain(due, walked, chain.from_iterable(lines), narrowed.only or ()):
        if track_id not in met:
            met.add(track_id)
            yield track_id


def _walked(reader: Reader, only: Sequence[str] | None, *, anew: bool) -> Iterator[str]:
    after: str | None = None
    while True:
        page = reader.finder.page(after, PAGE, only, anew=anew)
        yield from page.work
        after = page.last
        if after is None:
            return
