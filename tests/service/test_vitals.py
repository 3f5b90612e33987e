"""What is past its time is told, and nothing else."""

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from reconciler.service.vitals import Vitals


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vitals(clock: Clock) -> Vitals:
    return Vitals(clock)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def test_all_is_well_when_nothing_goes_on(vitals: Vitals) -> None:
    assert vitals.complaints() == ()


def test_what_does_not_end_in_time_is_told_until_it_ends(vitals: Vitals, clock: Clock) -> None:
    with vitals.within("step fetch of track 17", seconds(120)):
        clock.now += 120
        assert vitals.complaints() == ()
        clock.now += 10
        assert vitals.complaints() == ("step fetch of track 17 is under way for 130s, allowed are 120s",)
    assert vitals.complaints() == ()


def test_what_fails_has_ended(vitals: Vitals, clock: Clock) -> None:
    with pytest.raises(ValueError, match="bad"), vitals.within("step", seconds(1)):
        raise ValueError("bad")
    clock.now += 2
    assert vitals.complaints() == ()


def test_two_of_one_name_are_two(vitals: Vitals, clock: Clock) -> None:
    with vitals.within("step", seconds(10)):
        clock.now += 5
        with vitals.within("step", seconds(10)):
            clock.now += 6
            assert vitals.complaints() == ("step is under way for 11s, allowed are 10s",)
            clock.now += 5
            assert len(vitals.complaints()) == 2
        assert vitals.complaints() == ("step is under way for 16s, allowed are 10s",)


def test_what_does_not_begin_in_time_is_told_until_it_begins(vitals: Vitals, clock: Clock) -> None:
    vitals.expect("job sweep", seconds(60))
    clock.now += 60
    assert vitals.complaints() == ()
    clock.now += 45
    assert vitals.complaints() == ("job sweep was to begin 45s ago",)
    vitals.expect("job sweep", seconds(60))
    assert vitals.complaints() == ()
    clock.now += 61
    assert vitals.complaints() == ("job sweep was to begin 1s ago",)


def test_a_promise_that_is_released_is_not_missed(vitals: Vitals, clock: Clock) -> None:
    vitals.expect("job sweep", seconds(1))
    vitals.expect("job audit", seconds(1))
    vitals.release("job sweep")
    vitals.release("job unheard of")
    clock.now += 2
    assert vitals.complaints() == ("job audit was to begin 1s ago",)


def test_all_that_hangs_is_told(vitals: Vitals, clock: Clock) -> None:
    vitals.expect("job sweep", seconds(1))
    with vitals.within("first", seconds(1)), vitals.within("second", seconds(2)), vitals.within("third", seconds(9)):
        clock.now += 3
        assert vitals.complaints() == (
            "first is under way for 3s, allowed are 1s",
            "second is under way for 3s, allowed are 2s",
            "job sweep was to begin 2s ago",
        )


def test_a_moment_too_long_reads_as_too_long(vitals: Vitals, clock: Clock) -> None:
    vitals.expect("job", seconds(10))
    with vitals.within("step", seconds(10)):
        clock.now += 10.25
        assert vitals.complaints() == (
            "step is under way for 11s, allowed are 10s",
            "job was to begin 1s ago",
        )


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless")
def test_threads_do_not_disturb_each_other() -> None:
    """What one of them raises is a warning, and so an error."""
    vitals, begin = Vitals(), threading.Barrier(9)

    def work(name: str) -> None:
        begin.wait()
        for _ in range(200):
            with vitals.within(name, seconds(999)):
                vitals.expect(name, seconds(999))
                vitals.complaints()
            vitals.release(name)

    threads = [threading.Thread(target=work, args=(f"step {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    begin.wait()
    for thread in threads:
        thread.join()
    assert vitals.complaints() == ()
