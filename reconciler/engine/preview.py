"""The dry run: what would be done to a track, found out by looking only.

Nothing here can buy, write or store: it has eyes and no hands. Free questions are asked and learned from in memory
alone, until the next thing to do would cost, change something, or take time.
"""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice

from reconciler.domain.actions import (
    Action,
    AskSong,
    AskTask,
    Buy,
    Fetch,
    GiveUp,
    ListStore,
    Measure,
    RowImage,
    Source,
    StoredKey,
    SunoCover,
    TaskResult,
    Wait,
    Write,
)
from reconciler.domain.advice import AT_AUDIT
from reconciler.domain.case import Case
from reconciler.domain.findings import Finding, Refusal, Trouble
from reconciler.domain.following import list_before_buying
from reconciler.domain.gate import GateView
from reconciler.domain.learn import learn, notice
from reconciler.domain.plan import plan
from reconciler.domain.standing import Standing, standing
from reconciler.domain.states import AT_REST, Reason
from reconciler.engine.effects import Asking, Eyes, whole

QUESTIONS_PER_TRACK = 12
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Subject:
    """A track to look at. `inline`: the whole of a picture held inline, which the case has only the head of."""

    case: Case
    inline: str | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would be done next to one track, and where it stands until then. `unswept`: no sweep sees it."""

    case: Case
    action: Action
    standing: Standing
    unswept: bool = False

    @property
    def price(self) -> float:
        """Credits."""
        return self.action.price if isinstance(self.action, Buy) else 0.0

    @property
    def buys_at_once(self) -> bool:
        return self.price > 0 and self.standing.reason is Reason.DUE

    @property
    def when(self) -> datetime | str:
        """When that will be, or in words where there is no time for it."""
        due_at = self.standing.due_at
        if due_at is None:
            return "when the gate opens" if self.standing.held is not None else "not before something changes"
        at_once = AT_AUDIT if self.unswept else "at the next run"
        return at_once if due_at <= self.case.now else due_at

    @property
    def is_work(self) -> bool:
        return self.standing.state is not None and self.standing.state not in AT_REST


def forecasts(
    subjects: Iterable[Subject], eyes: Eyes | None, gate: GateView, ended: Callable[[], bool]
) -> Generator[Forecast, None, None]:
    """One forecast per subject, in order: each by what orders of those before it leave of budgets and credits. `eyes`
    None: offline, nothing is asked. Once `ended`, which is for good, nothing more is asked and there are no more."""
    # After one that ran out a run sends them one by one, but all of them.
    gate = replace(gate, closures=tuple(closure for closure in gate.closures if closure.active(gate.now)))
    with closing(_looked_around(subjects, eyes, ended)) as cases:
        for case in cases:
            if ended():  # perhaps before all was asked of this one
                return
            found = forecast(case, gate)
            if found.buys_at_once:
                gate = gate.with_one_sent(found.price, gate.now)
            yield found


def _looked_around(
    subjects: Iterable[Subject], eyes: Eyes | None, ended: Callable[[], bool]
) -> Generator[Case, None, None]:
    if eyes is None:
        yield from (subject.case for subject in subjects)
        return
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="look") as pool:
        pending = iter(subjects)
        running = [pool.submit(_look_around, subject, eyes, ended) for subject in islice(pending, AT_ONCE)]
        while running:
            yield running.pop(0).result()
            running += [pool.submit(_look_around, subject, eyes, ended) for subject in islice(pending, 1)]


def _look_around(subject: Subject, eyes: Eyes, ended: Callable[[], bool]) -> Case:
    case = subject.case
    for _ in range(QUESTIONS_PER_TRACK):
        action = plan(case)
        if isinstance(action, Buy):
            action = list_before_buying(case, case.now) or action
        if not isinstance(action, Measure | AskTask | AskSong | ListStore) or ended():
            break
        found = eyes.ask(case.track.id, whole(action, subject.inline))
        if isinstance(found, Trouble) and found.refusal is Refusal.KEY:
            break  # which says nothing of the track: a run asks once the key is set right
        case = _taught(case, action, found)
    return case


def _taught(case: Case, action: Asking, found: Finding) -> Case:
    case = replace(case, memory=learn(case, action, found))
    return replace(case, memory=notice(case.memory, case.track, case.policy, case.now))


def forecast(case: Case, gate: GateView, *, unswept: bool = False) -> Forecast:
    """Without asking anything."""
    action = plan(case)
    return Forecast(case, action, standing(case, action, gate), unswept)


_PLACES: dict[type[Source], str] = {
    StoredKey: "our store",
    RowImage: "the row",
    TaskResult: "an image task",
    SunoCover: "the music task",
}


def describe(action: Action) -> str:
    """The action in a few words, for people."""
    match action:
        case Measure():
            return "measure the picture"
        case Fetch(source=source):
            return f"fetch and store the picture from {_PLACES[type(source)]}"
        case AskTask(task_id=task_id, order=order):
            return f"ask image task {task_id}" + (", which may be an order whose answer was lost" if order else "")
        case AskSong(song_id=song_id):
            return f"ask music task {song_id}"
        case ListStore():
            return "look into the store"
        case Buy(model=model, price=price):
            return f"buy from {model} for {price:g} credits"
        case Write(url=None, resolution=resolution):
            return f"set resolution to {resolution}"
        case Write(how=how):
            return f"write the stored picture ({how or 'interim'})"
        case GiveUp(reason=reason):
            return f"nothing: given up, {reason}"
        case Wait(until=None):
            return "nothing"
        case Wait(until=until):
            return f"wait until {until:%Y-%m-%d %H:%M:%S}Z"
