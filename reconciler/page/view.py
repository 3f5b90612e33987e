"""What the page says, in the order in which somebody wants to know it at 3 a.m."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from reconciler.domain.advice import advice, to_do
from reconciler.domain.attempts import Replaced
from reconciler.domain.breaker import Stage
from reconciler.domain.policy import Policy
from reconciler.domain.shut import Shut, shut
from reconciler.domain.states import Reason, State
from reconciler.page.charts import GIVEN_UP, Hour, hours
from reconciler.page.values import Example, Recovery, Seen, Shown, Thumbnail, Told
from reconciler.page.words import counted, length, spaced

STALE = 3
"""A snapshot that is older than so many of its intervals says so loudly."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`look`: good, busy or bad; `sign`: what is drawn beside it."""

    look: str
    words: str
    sign: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """What wants somebody's eye, and what there is to do about it."""

    what: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Stuck tracks of one reason. `count` may be more than there are examples."""

    reason: Reason
    states: Sequence[State]
    count: int
    advice: str
    examples: Sequence[Example]


@dataclass(frozen=True, slots=True)
class Tile:
    """A recovery. `before`, `after`: a thumbnail, or words in its place."""

    recovery: Recovery
    before: Thumbnail | str
    after: Thumbnail | str


@dataclass(frozen=True, slots=True)
class View:
    """Of one snapshot at `now`, the time by the database's clock."""

    now: datetime
    seen: Seen
    states: Sequence[tuple[State, int]]
    groups: Sequence[Group]
    tiles: Sequence[Tile]
    hours: Sequence[Hour]
    shut: Sequence[Shut]
    breaker: str
    given_up: int


def verdict(told: Told) -> Verdict:
    """The title: at one glance."""
    seen, health = told.seen, told.health
    stuck = seen.overview.stuck if seen is not None else 0
    also = f", {counted(stuck, 'track')} stuck" if stuck else ""
    if health.hangs:
        return Verdict("bad", f"It hangs{also}", "cross")
    if health.fails:
        return Verdict("bad", f"Something fails{also}", "cross")
    if seen is None:
        return Verdict("busy", "It has only just started", "clock")
    if seen.overview.gate.paused:
        return Verdict("busy", f"Paused{also}", "pause")
    if stuck:
        return Verdict("busy", f"{counted(stuck, 'track')} stuck", "bang")
    return Verdict("good", "All is well", "check")


def troubles(told: Told, policy: Policy, here: datetime) -> Iterator[Trouble]:
    """`here`: the time by this machine's clock."""
    for what in told.health.hangs:
        yield Trouble(f"It hangs: {what}", "The watchdog ends a process that stays so; the log has the stacks.")
    for what in told.health.fails:
        yield Trouble(what, "It is tried again by itself; `reconciler check` looks at everything that a run rests on.")
    if told.health.store_trouble:
        yield Trouble(f"The store: {told.health.store_trouble}", "See what `reconciler check` says of it.")
    if told.seen is None:
        return
    unstored = sum(n for (_, reason), n in told.seen.overview.tracks.items() if reason is Reason.STORAGE_FAILED)
    if unstored and not told.health.store_trouble:
        yield Trouble(f"The store failed for {counted(unstored, 'track')}", to_do(Reason.STORAGE_FAILED))
    old = here - told.seen.taken
    if old > STALE * told.health.snapshot_interval:
        yield Trouble(f"What stands here is {length(old)} old", "The counts could not be taken since.")
    for gate in shut(told.seen.overview.gate, policy):
        detail = f": {gate.detail}" if gate.detail else ""
        yield Trouble(f"Purchases are stopped ({spaced(gate.name)}){detail}", gate.todo)


def view(seen: Seen, shown: Shown, policy: Policy, here: datetime) -> View:
    overview = seen.overview
    states = Counter[State]()
    for (state, _), count in overview.tracks.items():
        states[state] += count
    stopped, stage = shut(overview.gate, policy), overview.gate.breaker.stage
    return View(
        seen.now(here),
        seen,
        [(state, states[state]) for state in State if states[state]],
        list(_groups(seen)),
        [_tile(recovery, shown) for recovery in seen.recoveries],
        hours(seen.bought, overview.at),
        stopped,
        "closed, purchases flow" if stage is Stage.CLOSED and policy.budget_of_none is None and not stopped else stage,
        sum(states[state] for state in GIVEN_UP),
    )


def _groups(seen: Seen) -> Iterator[Group]:
    """What was given up first, what is under way last; the largest first among those."""
    counts = Counter[Reason]()
    for (state, reason), count in seen.overview.tracks.items():
        if state.stuck and reason is not None:
            counts[reason] += count
    # Examples are judged a moment later than all were counted.
    counts |= Counter(example.reason for example in seen.examples)
    stand = {reason: _states(seen, reason) for reason in counts}
    for reason, count in sorted(counts.items(), key=lambda each: (_calm(each[0], stand[each[0]]), -each[1])):
        if count:
            states = stand[reason]
            examples = [example for example in seen.examples if example.reason is reason]
            yield Group(reason, states, count, _advice(seen, states, reason), examples)


def _advice(seen: Seen, states: Sequence[State], reason: Reason) -> str:
    if State.AWAITING in states and seen.overview.gate.refuses_key():
        return advice(State.AWAITING, reason, refuses_key=True)
    return advice(states[0], reason) if len(states) == 1 else to_do(reason)


def _states(seen: Seen, reason: Reason) -> Sequence[State]:
    found = {state for (state, why), count in seen.overview.tracks.items() if count and why is reason and state.stuck}
    found |= {example.state for example in seen.examples if example.reason is reason}
    return [state for state in State if state in found]


def _calm(reason: Reason, states: Sequence[State]) -> int:
    """How little it wants somebody."""
    if reason is Reason.IN_FLIGHT:
        return 2
    return 0 if any(state in GIVEN_UP for state in states) else 1


def _tile(recovery: Recovery, shown: Shown) -> Tile:
    after = shown.get(recovery.key, "on its way") if recovery.key is not None else "replaced since"
    return Tile(recovery, _before(recovery, shown), after)


def _before(recovery: Recovery, shown: Shown) -> Thumbnail | str:
    was = recovery.replaced
    if was is None:
        return "not noted"
    if was.inline:
        return f"an inline picture{_of(was.size)}"
    if not was.url:
        return "no picture"
    if was.askable is None:
        return f"{_unasked(was)}{_of(was.size)}"
    found = shown.get(was.askable, "on its way")
    return f"{found}{_of(was.size)}" if isinstance(found, str) else found


def _unasked(was: Replaced) -> str:
    if was.dead:
        return "a dead link"
    return "a signed or long link" if "://" in was.url else "no link"


def _of(size: str) -> str:
    return f", {size.replace('x', '×')}" if size else ""
