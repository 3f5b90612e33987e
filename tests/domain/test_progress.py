"""Every history converges: plan, a finding out of the hat, learn, again, on a virtual clock, until the world is well.

The world here is the hands, Kie and the store in a few lines: it answers any action with a fitting finding, drawn while
the trouble lasts and healthy afterwards. Every attempt to buy is let through, as an open gate would.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import count
from typing import Any

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from reconciler.domain import purchases
from reconciler.domain.actions import (
    AskSong,
    AskTask,
    Buy,
    Fetch,
    GiveUp,
    Job,
    ListStore,
    Measure,
    StoredKey,
    TaskResult,
    Wait,
    Write,
)
from reconciler.domain.case import Case
from reconciler.domain.findings import (
    Accepted,
    AnswerLost,
    Call,
    Failed,
    Fault,
    Finding,
    Flawed,
    Listing,
    NotFound,
    NothingMade,
    Refusal,
    Refused,
    Running,
    Sized,
    SongFinal,
    SongPending,
    Stored,
    Succeeded,
    Trouble,
)
from reconciler.domain.learn import after_conflict, after_write, learn, notice
from reconciler.domain.look import Dying, Good
from reconciler.domain.model import Cell, Memory, Outcome, Purchase, Track
from reconciler.domain.plan import plan
from reconciler.domain.policy import Policy
from reconciler.domain.states import Flaw, Reason
from tests.domain.builders import COVER, DAY, DURABLE, INLINE, NOW, RESULT, SECOND, SONG, track
from tests.domain.strategies import policies

OUTAGE = Trouble(Call.SERVER_ERROR, "internal error")
TIMED_OUT = Fault(Reason.DOWNLOAD_FAILED, "no answer")
STORE_DOWN = Fault(Reason.STORAGE_FAILED, "no space left")
GONE = Refused("HTTP 404")
BROKEN = Flawed(Flaw.TRUNCATED, "cut")
SMALL = Flawed(Flaw.TOO_SMALL, "360x360")
GOOD = Stored("", 2048, 1152, "ab")

MEASURED: tuple[Finding, ...] = (Sized(2048, 1152), Sized(2560, 1440), Sized(360, 360), TIMED_OUT, GONE, BROKEN)
FETCHED: tuple[Finding, ...] = (GOOD, TIMED_OUT, STORE_DOWN, GONE, BROKEN, SMALL)
ASKED: tuple[Finding, ...] = (
    *(Succeeded((RESULT,)), Running()),
    *(Failed(refusal, "") for refusal in (Refusal.CONTENT, Refusal.REQUEST, None)),
    *(NotFound(), OUTAGE),
)
COVERS = COVER, COVER.replace("cdn2", "cdn1")
SUNG: tuple[Finding, ...] = (
    *(SongFinal(COVERS[:number]) for number in (1, 2, 0)),
    *(SongPending(), NotFound(), OUTAGE),
)
REFUSALS = (Refusal.CONTENT, Refusal.OUTAGE, Refusal.STORE, Refusal.CREDITS)
BOUGHT: tuple[Finding, ...] = (
    Accepted("task"),
    Accepted("task", (RESULT,)),
    AnswerLost(Call.TIMEOUT, ""),
    *(NothingMade(refusal, Call.REJECTED, "") for refusal in REFUSALS),
)


def sound(case: Case) -> bool:
    """The row's picture is good and may stay: for good, or, where nothing is stored, as long as it lives."""
    return isinstance(case.look, Good) or (isinstance(case.look, Dying) and case.look.good is not None)


@dataclass
class World:
    """One row and one memory. `troubles`: which of the possible findings comes next; then all is well."""

    track: Track
    policy: Policy
    troubles: list[int]
    conflicts: list[bool] = field(default_factory=list)
    now: datetime = NOW
    names: "count[int]" = field(default_factory=count)
    keys: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.memory = Memory("t1", first_seen=self.now)

    def case(self) -> Case:
        self.memory = notice(self.memory, self.track, self.policy, self.now)
        return Case(self.track, self.memory, self.policy, self.now)

    def run(self, steps: int) -> Wait | GiveUp:
        """Until nothing more is to be done; so many steps must be enough."""
        end = self.walk(steps)
        assert end is not None, f"still at work: {plan(self.case())}"
        return end

    def walk(self, steps: int) -> Wait | GiveUp | None:
        """So many steps, or fewer where nothing more is to be done for a day: then what is waited for."""
        for _ in range(steps):
            case = self.case()
            action = plan(case)
            if isinstance(action, Wait | GiveUp):
                until = action.until if isinstance(action, Wait) else action.recheck
                if until is None or (sound(case) and until - self.now >= DAY / 2):
                    return action
                assert until > self.now
                self.now = until
            elif isinstance(action, Write):
                self.write(case, action)
            else:
                self.perform(case, action)
            self.check()
        return None

    def write(self, case: Case, write: Write) -> None:
        if self.conflicts and self.conflicts.pop():
            self.memory = after_conflict(case)
            return
        self.memory = after_write(case, write)
        url = write.url or self.track.image.text
        self.track = replace(
            self.track, image=Cell(url), resolution=write.resolution or self.track.resolution, updated_at=self.now
        )

    def perform(self, case: Case, action: Measure | Fetch | AskTask | AskSong | ListStore | Buy) -> None:
        done: Job
        if isinstance(action, Buy):
            done = self.intend(action)
            case = replace(case, memory=case.memory.with_purchase(done))
        else:
            done = action
        before = {p.token for p in case.memory.purchases}
        finding = self.finding(action)
        self.now += 2 * SECOND
        self.memory = learn(replace(case, now=self.now), done, finding)
        assert {p.token for p in self.memory.purchases} == before, "no purchase is ever lost"

    def intend(self, order: Buy) -> Purchase:
        return Purchase(
            f"p{next(self.names)}",
            "t1",
            order.model,
            order.shape,
            order.prompt,
            order.price,
            self.now,
            self.now + 15 * SECOND,
            self.now + 45 * SECOND,
            repeat_of=order.repeat_of,
            song=order.song,
        )

    def finding(self, action: Measure | Fetch | AskTask | AskSong | ListStore | Buy) -> Finding:
        match action:
            case Measure(source=StoredKey()):
                return self.one_of((Sized(2048, 1152), TIMED_OUT, STORE_DOWN, GONE))
            case Measure():
                return self.one_of(MEASURED)
            case Fetch(source=StoredKey(key=key)):
                return self.one_of((replace(GOOD, key=key), STORE_DOWN, GONE))
            case Fetch(source=source, interim=interim):
                small = not isinstance(source, TaskResult) and source.name in COVERS
                found = self.one_of((SMALL, *FETCHED[1:]) if small else FETCHED)
                key = self.key(source.name) if self.policy.keeps else source.name
                if found is SMALL and interim:
                    return Stored(key, 360, 360, "cd", interim=True)
                return replace(GOOD, key=key) if found is GOOD else found
            case AskTask():
                found = self.one_of(ASKED)
                return Succeeded((f"{RESULT}?{next(self.names)}",)) if isinstance(found, Succeeded) else found
            case AskSong():
                return self.one_of(SUNG)
            case ListStore():
                return self.one_of((Listing(()), STORE_DOWN, Listing(("tracks/t1/0000000000000000.jpg",))))
            case Buy():
                return self.bought()

    def key(self, source: str) -> str:
        """By the bytes, which may be those of another source."""
        if source not in self.keys:
            name = f"same-{self.troubles.pop() % 2}" if self.troubles else next(self.names)
            self.keys[source] = f"tracks/t1/{sha256(str(name).encode()).hexdigest()[:16]}.jpg"
        return self.keys[source]

    def bought(self) -> Finding:
        found = self.one_of(BOUGHT)
        if not isinstance(found, Accepted):
            return found
        name = f"task_{next(self.names)}"
        return Accepted(name, tuple(f"{url}?{name}" for url in found.urls))

    def one_of(self, findings: tuple[Finding, ...]) -> Finding:
        return findings[self.troubles.pop() % len(findings) if self.troubles else 0]

    def check(self) -> None:
        """The limits hold after every step."""
        mine = self.memory.purchases
        assert purchases.spent(mine) <= self.policy.per_track
        assert purchases.attempts(mine) <= self.policy.attempts_per_track
        kept_paid = [p for p in mine if p.outcome is Outcome.ACCEPTED and p.verdict not in purchases.REFUNDED]
        repeated = {p.repeat_of for p in mine if p.repeat_of is not None}
        assert len(kept_paid) <= self.policy.per_track + len(repeated)
        for token in repeated:
            made = [p for p in mine if p.repeat_of == token and p.outcome is not Outcome.NOTHING]
            assert len(made) <= 1


rows = st.sampled_from(
    (
        track(),
        track(COVER),
        track(DURABLE),
        track(RESULT),
        track(INLINE),
        track("task_bytedance_9"),
        track(extended_prompt="x | image_task_id: task_a | image_task_id: task_b"),
        track(task_id=None),
        track(created_at=NOW, updated_at=NOW),
        track(status="pending", created_at=NOW),
    )
)
CHANGES: tuple[dict[str, Any], ...] = (
    {"image": Cell(None)},
    {"image": Cell(COVER), "resolution": None},
    {"image": Cell(RESULT), "resolution": "2048x1152"},
    {"image": Cell(DURABLE)},
    {"task_id": "6" * 32},
    {"status": "failed"},
    {"status": "completed"},
    {"extended_prompt_image": "a red kite"},
    {"resolution": "unknown"},
)
troubles = st.integers(0, 100).flatmap(lambda n: st.lists(st.integers(0, 6), min_size=n, max_size=n))


@pytest.mark.slow
@given(rows, policies, troubles, st.lists(st.booleans(), max_size=8))
def test_every_history_that_ends_healthy_converges(
    row: Track, policy: Policy, trouble: list[int], conflicts: list[bool]
) -> None:
    world = World(row, policy, trouble, conflicts)
    end = world.run(steps=400)
    event(str(end.reason) if isinstance(end, GiveUp) else "good")
    assert isinstance(end, GiveUp) or sound(world.case())
    assert world.now - NOW < timedelta(days=150)


@pytest.mark.slow
@given(rows, policies, troubles)
def test_what_has_ended_well_stays_and_costs_nothing_more(row: Track, policy: Policy, trouble: list[int]) -> None:
    world = World(row, policy, trouble)
    assume(not isinstance(world.run(steps=400), GiveUp))
    world.troubles.clear()
    bought, shown = [p.token for p in world.memory.purchases], world.track.image
    for _ in range(5):
        world.now += 31 * DAY
        world.run(steps=10)
        assert sound(world.case())
    assert [p.token for p in world.memory.purchases] == bought
    assert world.track.image == shown


@given(st.integers(1, 4))
def test_in_a_healthy_world_one_purchase_is_enough(rounds: int) -> None:
    """However often somebody empties the row, the picture is bought once."""
    world = World(track(), Policy(), [])
    for _ in range(rounds):
        assert isinstance(world.run(steps=60), Wait)
        world.track = replace(world.track, image=Cell(None))
        world.now += 3 * DAY
    assert [p.outcome for p in world.memory.purchases] == [Outcome.ACCEPTED]
    assert world.memory.song_id == SONG


@pytest.mark.slow
@given(rows, policies, troubles, st.lists(st.sampled_from(CHANGES), max_size=6))
def test_it_converges_whatever_others_do_to_the_row(
    row: Track, policy: Policy, trouble: list[int], changes: list[dict[str, Any]]
) -> None:
    world = World(row, policy, trouble)
    for change in changes:
        world.walk(steps=12)
        world.track = replace(world.track, updated_at=world.now, **change)
    end = world.run(steps=400)
    assert isinstance(end, GiveUp) or sound(world.case()) or not world.case().in_scope
