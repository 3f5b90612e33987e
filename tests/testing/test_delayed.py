"""Workers that take their time on one clock."""

from datetime import datetime, timedelta

import pytest

from reconciler.domain.findings import Credits
from reconciler.engine.crew import Done
from reconciler.testing.delayed import DelayedCrew, Stage
from reconciler.testing.inline import InlineCrew, VirtualClock

SECOND = timedelta(seconds=1)


def delayed(clock: VirtualClock, before: float = 2, after: float = 3) -> DelayedCrew:
    return DelayedCrew(Stage(clock), lambda tag: (before * SECOND, after * SECOND))


def test_a_job_is_done_after_its_delay_and_answers_after_another() -> None:
    clock, done_at = VirtualClock(), []
    began, crew = clock(), delayed(clock)

    def job() -> Credits:
        done_at.append(clock())
        return Credits(1)

    crew.submit("a", job)
    assert crew.finished(4 * SECOND) is None
    assert (clock() - began, done_at) == (4 * SECOND, [began + 2 * SECOND])
    assert crew.finished(60 * SECOND) == Done("a", Credits(1))
    assert clock() - began == 5 * SECOND
    assert (crew.turns, crew.idle) == (2, 0)


def test_a_crew_that_is_asked_without_waiting_is_idle_and_time_goes_on_a_little() -> None:
    clock = VirtualClock()
    began, crew = clock(), delayed(clock)
    for _ in range(5):
        assert crew.finished(-SECOND) is None
    assert crew.idle == 5
    assert timedelta(0) < clock() - began < SECOND
    crew.wake()
    crew.submit("a", lambda: Credits(1))
    crew.close()
    assert crew.finished(60 * SECOND) is None


def test_engines_on_one_stage_act_in_the_order_of_their_times() -> None:
    clock = VirtualClock()
    stage, said = Stage(clock), list[tuple[str, datetime]]()

    def part(name: str, actor: int, step: float) -> None:
        crew = DelayedCrew(stage, lambda tag: (SECOND, SECOND), actor=actor)
        for _ in range(3):
            crew.finished(step * SECOND)
            said.append((name, clock()))

    began = clock()
    stage.play(lambda: part("a", 0, 2), lambda: part("b", 1, 3))
    assert [(name, (at - began) / SECOND) for name, at in said] == [
        ("a", 2), ("b", 3), ("a", 4), ("a", 6), ("b", 6), ("b", 9),
    ]  # fmt: skip


def test_what_a_part_raises_is_raised_when_all_have_ended() -> None:
    clock, ended = VirtualClock(), []
    stage = Stage(clock)

    def good() -> None:
        DelayedCrew(stage, lambda tag: (SECOND, SECOND), actor=1).finished(60 * SECOND)
        ended.append("good")

    def bad() -> None:
        raise KeyError("bad")

    with pytest.raises(KeyError, match="bad"):
        stage.play(bad, good)
    assert ended == ["good"]


def test_the_crew_that_works_at_once_moves_the_clock_only_by_waiting() -> None:
    clock = VirtualClock()
    began, crew = clock(), InlineCrew(clock)
    crew.submit("a", lambda: Credits(1))
    assert crew.finished(60 * SECOND) == Done("a", Credits(1))
    assert clock() == began
    assert crew.finished(60 * SECOND) is None
    assert clock() == began + 60 * SECOND
    crew.wake()
    crew.submit("b", lambda: Credits(1))
    crew.close()
    assert crew.finished(SECOND) is None
