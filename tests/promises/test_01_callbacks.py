"""More of promise 1: where Kie calls back, an order whose answer was lost is found again and not repeated. And of
callbacks themselves: they can only help."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from statistics import median
from typing import Any

import pytest

from reconciler.domain.model import Callback
from reconciler.domain.policy import Target
from reconciler.kie.simulated import LOST, UNTOLD, Rule, Stall, Succeed
from reconciler.kie.simulated.wire import Request, Response
from reconciler.testing.cutting import Killed, Scissors
from reconciler.testing.store import MemoryStore
from reconciler.testing.world import World

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
CALLED = "https://ops.example"
TRACKS, SHARE_LOST = 15, 0.3


class Asked:
    """How often each task was asked for."""

    def __init__(self, world: World) -> None:
        self.times, self._answer = Counter[str](), world.kie.handle
        world.kie.handle = self._handle  # type: ignore[method-assign]

    def _handle(self, request: Request) -> Response:
        if "recordInfo" in request.url_path:
            self.times[request.query["taskId"]] += 1
        return self._answer(request)


@pytest.fixture
def make_world(make_world: Callable[..., World]) -> Callable[..., World]:
    """Pictures of few pixels."""

    def make(**policy: Any) -> World:
        world = make_world(target=Target(160, 90), **policy)
        world.kie.script.clear()
        world.kie.script.when(Succeed(width=160, height=90, run=2 * SECOND))
        return world

    return make


@pytest.fixture
def filled(make_world: Callable[..., World]) -> Callable[..., World]:
    """A world of tracks to buy for; their tasks take 12 to 128 s."""

    def fill(**policy: Any) -> World:
        world = make_world(**policy)
        world.store = MemoryStore()
        world.kie.script.clear()
        for number in range(TRACKS):
            world.add(f"t{number:02}")
            run = (12 + 8 * number) * SECOND
            world.kie.script.when(Succeed(width=160, height=90, run=run), prompt_contains=f"t{number:02} ")
        return world

    return fill


def good(world: World) -> int:
    return sum(row["resolution"] == "160x90" for row in world.rows())


def repeated(world: World) -> int:
    return len(world.kie.book.purchases) - len({purchase.prompt for purchase in world.kie.book.purchases})


def delays(world: World) -> list[timedelta]:
    """From the end of each task until its picture was written."""
    tasks = {purchase.prompt: world.kie.ends_at(purchase.task_id or "") for purchase in world.kie.book.purchases}
    rows = {row["extended_prompt_image"]: row["updated_at"] for row in world.rows()}
    ends = ((datetime.fromisoformat(rows[prompt]).replace(tzinfo=UTC), end) for prompt, end in tasks.items())
    return [written - end for written, end in ends if end is not None]


@pytest.mark.slow
def test_with_callbacks_each_task_is_asked_once_and_its_picture_is_there_within_seconds(
    filled: Callable[..., World],
) -> None:
    world = filled(callback_url=CALLED)
    asked = Asked(world)
    world.run(HOUR)
    assert (good(world), len(world.kie.book.purchases)) == (TRACKS, TRACKS)
    assert median(asked.times.values()) == 1
    assert max(delays(world)) < 5 * SECOND


@pytest.mark.slow
def test_with_every_callback_lost_nothing_but_the_delay_changes(filled: Callable[..., World]) -> None:
    called, silent = filled(callback_url=CALLED), filled(callback_url=CALLED)
    silent.kie.script.when(UNTOLD)
    for world in (called, silent):
        world.run(HOUR)
    assert good(silent) == good(called) == TRACKS
    bought = [sorted(purchase.prompt for purchase in world.kie.book.purchases) for world in (called, silent)]
    assert bought[0] == bought[1]
    assert 5 * SECOND < max(delays(silent)) < 180 * SECOND


@pytest.mark.slow
def test_orders_whose_answers_were_lost_are_found_again_and_none_is_repeated(filled: Callable[..., World]) -> None:
    world = filled(callback_url=CALLED)
    world.kie.script.when(LOST, operation="create", chance=SHARE_LOST)
    world.run(24 * HOUR)
    assert sum("cut" in creation.answer for creation in world.kie.book.creations) > TRACKS / 6
    assert (good(world), repeated(world)) == (TRACKS, 0)
    assert max(delays(world)) < 5 * SECOND


@pytest.mark.slow
def test_without_callbacks_each_is_repeated_once_at_most_after_its_hold(filled: Callable[..., World]) -> None:
    world = filled()
    world.kie.script.when(LOST, operation="create", chance=SHARE_LOST)
    world.run(24 * HOUR)
    orders: dict[str, list[datetime]] = {}
    for purchase in world.kie.book.purchases:
        orders.setdefault(purchase.prompt, []).append(purchase.arrived_at)
    assert 0 < repeated(world) <= TRACKS
    assert max(map(len, orders.values())) == 2
    assert all(later - first >= HOUR for first, later in (pair for pair in orders.values() if len(pair) == 2))


def test_a_task_that_never_ends_is_repeated_after_its_hold_as_ever(make_world: Callable[..., World]) -> None:
    world = make_world(callback_url=CALLED)
    world.kie.script.next("create", LOST)
    world.kie.script.add(Rule(behaviour=Stall(), times=1))
    world.add("t")
    world.run(24 * HOUR)
    assert (good(world), repeated(world)) == (1, 1)


def orders(world: World) -> list[str]:
    return [row["token"] for row in world.sql("SELECT token FROM reconciler_purchase ORDER BY at")]


def call(world: World, token: str, told: str) -> frozenset[str]:
    database = world.open("page")
    try:
        return database.callbacks.take([Callback(token, told)])
    finally:
        database.close()


def test_who_knows_a_token_can_pass_off_no_other_task_for_the_lost_one(make_world: Callable[..., World]) -> None:
    """Kie's own record of it does not carry the token. The order is held and repeated as if nobody had called."""
    world = make_world(callback_url=CALLED)
    world.kie.script.when(UNTOLD)
    world.kie.script.next("create", LOST)
    world.kie.add_task("another's", prompt="a picture of another's", behaviour=Succeed(width=160, height=90))
    world.add("t")
    world.run(2 * SECOND)
    assert call(world, orders(world)[0], "another's") == set(orders(world))
    asked = Asked(world)
    world.run(HOUR / 2)
    assert (asked.times["another's"], good(world), len(world.kie.book.purchases)) == (1, 0, 1)
    world.run(2 * HOUR)
    assert (good(world), len(world.kie.book.purchases)) == (1, 2)
    assert not world.sql("SELECT 1 FROM reconciler_task WHERE id = ?", "another's")


def test_a_callback_that_comes_after_the_repeat_is_kept_and_nothing_more_is_bought(
    make_world: Callable[..., World],
) -> None:
    world = make_world(callback_url=CALLED)
    world.kie.script.next("create", LOST)
    world.kie.script.add(Rule(behaviour=Succeed(width=160, height=90, run=3 * HOUR), times=1))
    world.add("t")
    world.run(2 * HOUR)
    world.pass_time(2 * HOUR)
    call(world, orders(world)[0], world.kie.book.purchases[0].task_id or "")
    world.run(HOUR)
    assert (good(world), len(world.kie.book.purchases)) == (1, 2)
    outcomes = world.sql("SELECT outcome, verdict FROM reconciler_purchase ORDER BY at")
    assert [(row["outcome"], row["verdict"]) for row in outcomes] == 2 * [("accepted", "good")]


@pytest.mark.parametrize("again", [0, 3])
def test_late_and_repeated_callbacks_ask_nothing_more_than_once(make_world: Callable[..., World], again: int) -> None:
    world = make_world(callback_url=CALLED)
    world.add("t")
    world.run(HOUR)
    assert good(world) == 1
    asked = Asked(world)
    (creation,) = world.kie.book.purchases
    for _ in range(again):
        call(world, orders(world)[0], creation.task_id or "")
    world.run(HOUR)
    assert (asked.times.total(), len(world.kie.book.purchases)) == (0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [False, True])
def test_a_death_at_any_call_buys_once_even_between_an_order_and_its_answer(
    make_world: Callable[..., World], lost: bool
) -> None:
    """As long as Kie calls: the one instant that cannot be closed otherwise."""
    died = 0
    for at in count(step=1 if lost else 2):
        world = make_world(callback_url=CALLED)
        world.store = MemoryStore()
        if lost:
            world.kie.script.next("create", LOST)
        world.add("t")
        scissors = Scissors(at)
        with suppress(Killed):
            world.run(HOUR, wrap=scissors.wrap)
        world.run(24 * HOUR)
        world.pass_time(HOUR)  # a run does not wait for a callback alone
        world.run(HOUR)
        assert (good(world), len(world.kie.book.purchases)) == (1, 1), scissors.places[-1]
        if len(scissors.places) <= at:
            break
        died += 1
    assert died > 20
