"""The clock ran ahead and was set right: nobody waits until the wrong time comes again, and no run lasts longer."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from reconciler.domain.backoff import LONGEST_POLL
from reconciler.domain.states import Reason, State
from reconciler.engine.crew import Answer, Done
from reconciler.kie.simulated import SERVER_ERROR, Succeed
from reconciler.testing.inline import InlineCrew
from reconciler.testing.world import World
from tests.engine.conftest import MakeWorld
from tests.engine.test_sweep import Around

SECOND, MINUTE, HOUR, DAYS = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize("ahead", [timedelta(hours=2), 3650 * DAYS], ids=["two hours", "ten years"])
def test_a_running_task_is_asked_for_soon(make_world: Callable[..., World], ahead: timedelta) -> None:
    world = make_world(1)
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=160, height=90, run=timedelta(minutes=20)))
    world.pass_time(ahead)
    world.add("later")
    assert world.run(timedelta(minutes=1)).states == {(State.AWAITING, Reason.IN_FLIGHT): 2}
    world.clock.time -= ahead
    asked = len(world.kie.book.visits_of("record"))
    world.run(LONGEST_POLL + timedelta(minutes=1))
    assert len(world.kie.book.visits_of("record")) > asked


def test_a_pause_ends_after_its_own_length(make_world: Callable[..., World]) -> None:
    world = make_world(1, retry_max=timedelta(hours=1))
    world.pass_time(3650 * DAYS)
    world.kie.script.when(SERVER_ERROR, operation="create")
    result = world.run(timedelta(minutes=5), audit=False)
    assert result.purchases > 0
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=160, height=90, run=timedelta(seconds=2)))
    world.clock.time -= 3650 * DAYS
    assert world.run(timedelta(hours=8)).states == {(State.OK, None): 1}


ONCE_SET = pytest.mark.parametrize("by", [-HOUR, -400 * DAYS, 9 * MINUTE], ids=["back", "far back", "forward"])


@ONCE_SET
def test_a_run_that_waits_lasts_no_longer_than_it_may(make_world: MakeWorld, by: timedelta) -> None:
    world = make_world(1)
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=160, height=90, run=HOUR))
    begun = world.clock.true()
    world.run(10 * MINUTE, wrap=Around("kie", "create", setting_once(world, by)))
    assert 5 * MINUTE < world.clock.true() - begun <= 10 * MINUTE, "while the next time it is asked for lies within"


@ONCE_SET
def test_a_run_with_a_backlog_lasts_no_longer_than_it_may(make_world: MakeWorld, by: timedelta) -> None:
    world = make_world()
    for number in range(40):
        world.add(f"t{number:02}", age=500 * DAYS)
    set_it = setting_once(world, by)

    def slow(*_: object) -> None:
        world.pass_time(5 * SECOND)
        set_it()

    begun = world.clock.true()
    assert world.run(MINUTE, wrap=Around("kie", "create", slow), waits=False).stopped
    assert MINUTE <= world.clock.true() - begun <= MINUTE + 5 * SECOND


class Away(InlineCrew):
    """Whoever is sent does not come back; while they are waited for, the clock is set an hour back once."""

    def submit(self, tag: str, job: Callable[[], Answer]) -> None:
        self.set_back = iter([-HOUR])

    def finished(self, wait: timedelta) -> Done | None:
        done = super().finished(wait)
        self._clock.jump(next(self.set_back, timedelta(0)))
        return done


def test_steps_under_way_are_waited_for_no_longer_than_they_may_take(make_world: MakeWorld) -> None:
    world = make_world(1)
    crew = Away(world.clock)
    world.crew = lambda: crew
    begun = world.clock.true()
    assert world.run(MINUTE, patience=MINUTE).stopped
    assert world.clock.true() - begun <= 2 * MINUTE + SECOND


def setting_once(world: World, by: timedelta) -> Callable[..., None]:
    """Sets the clock when it is called first."""
    times = iter([by])
    return lambda *_: world.clock.jump(next(times, timedelta(0)))
