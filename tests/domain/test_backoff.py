from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.backoff import delay, poll_after, spin_of

spins = st.floats(0, 1, exclude_max=True)
counts = st.integers(-5, 10**9)
lengths = st.timedeltas(timedelta(milliseconds=1), timedelta(days=9_000))
ages = st.timedeltas(timedelta(days=-9), timedelta(days=900_000))
MINUTE, SIX_HOURS = timedelta(minutes=1), timedelta(hours=6)


@given(counts, lengths, lengths, spins)
def test_a_delay_lies_between_half_the_envelope_and_the_whole(
    failures: int, low: timedelta, high: timedelta, spin: float
) -> None:
    envelope = high
    if failures <= 60:
        envelope = timedelta(seconds=min(high.total_seconds(), low.total_seconds() * 2 ** max(failures - 1, 0)))
    assert envelope * 0.5 <= delay(failures, low, high, spin) <= envelope


@given(counts, lengths, lengths, spins)
def test_the_envelope_never_falls_with_more_failures(
    failures: int, low: timedelta, high: timedelta, spin: float
) -> None:
    assert delay(failures, low, high, spin) <= delay(failures + 1, low, high, spin)


@pytest.mark.parametrize(
    ("failures", "spin", "expected"),
    [(1, 0.0, 30), (1, 0.5, 45), (2, 0.0, 60), (5, 0.5, 720), (10**18, 0.0, 3 * 3600), (0, 0.0, 30)],
)
def test_delays_by_example(failures: int, spin: float, expected: float) -> None:
    assert delay(failures, MINUTE, SIX_HOURS, spin) == timedelta(seconds=expected)


@given(ages, counts, spins)
def test_polls_are_neither_hasty_nor_forgotten(age: timedelta, polls: int, spin: float) -> None:
    assert timedelta(seconds=2) <= poll_after(age, polls, spin) <= timedelta(minutes=30)
    if age < timedelta(minutes=15):
        assert poll_after(age, polls, spin) <= MINUTE


@given(ages, ages, st.integers(1, 10**9), spins)
def test_an_older_task_is_not_asked_sooner(one: timedelta, other: timedelta, polls: int, spin: float) -> None:
    younger, older = sorted((one, other))
    assert poll_after(younger, polls, spin) <= poll_after(older, polls, spin)


@pytest.mark.parametrize(
    ("age", "polls", "seconds"),
    [
        *[(0, 0, 2), (1, 0, 2), (600, 0, 2), (-99, 0, 2), (4, 1, 2), (10, 1, 3.5)],
        *[(100, 8, 35), (600, 20, 60), (1200, 30, 300), (7 * 3600, 90, 1800), (-99, 5, 2 * 1.35**4)],
        *[(899, 30, 60), (900, 30, 300), (6 * 3600 - 1, 90, 300), (6 * 3600, 90, 1800)],
    ],
)
def test_polls_by_example(age: float, polls: int, seconds: float) -> None:
    almost_one = 1 - 2**-53
    found = poll_after(timedelta(seconds=age), polls, almost_one)
    assert found.total_seconds() == pytest.approx(seconds, abs=1e-3)
    assert poll_after(timedelta(seconds=age), polls, 0.0).total_seconds() == pytest.approx(max(2, seconds * 0.8))


def test_a_task_that_runs_two_minutes_is_asked_a_dozen_times() -> None:
    age, polls = timedelta(), 0
    while age < timedelta(seconds=128):
        age += poll_after(age, polls, 0.5)
        polls += 1
    assert 8 <= polls <= 16


@given(st.lists(st.one_of(st.text(), st.integers(), st.none())))
def test_a_spin_is_stable_and_within_its_bounds(words: list[object]) -> None:
    assert 0 <= spin_of(*words) < 1
    assert spin_of(*words) == spin_of(*words)


def test_spins_of_neighbours_differ() -> None:
    assert len({spin_of("track", number) for number in range(1000)}) == 1000
    assert spin_of("a", "b") != spin_of("ab")
    assert spin_of("track", 1) == pytest.approx(spin_of("track", "1"))
    assert 0.45 < sum(spin_of(number) for number in range(1000)) / 1000 < 0.55
    assert 0 <= spin_of("\ud800") < 1
