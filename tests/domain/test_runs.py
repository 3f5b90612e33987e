import random
from datetime import timedelta
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.backoff import poll_after, poll_task_after
from reconciler.domain.runs import Runs

SECOND = timedelta(seconds=1)
KNOWN = Runs(tuple(number * SECOND for number in range(10, 20)))


@pytest.mark.parametrize(
    ("age", "pause"),
    [(0, 12), (9, 3), (10, 2), (14, 1.68), (18, 2.16)],
)
def test_a_quarter_of_those_that_ran_so_long_had_ended_by_then(age: float, pause: float) -> None:
    assert KNOWN.pause(age * SECOND) == pause * SECOND


def test_of_one_that_runs_longer_than_any_nothing_is_known() -> None:
    assert KNOWN.pause(20 * SECOND) is None
    assert poll_task_after(20 * SECOND, 7, 0.5, KNOWN) == poll_after(20 * SECOND, 7, 0.5)


def test_the_first_question_comes_soon() -> None:
    assert poll_task_after(timedelta(0), 0, 0.5, KNOWN) == poll_after(timedelta(0), 0, 0.5)
    assert poll_task_after(timedelta(0), 1, 0.0, KNOWN) == 12 * SECOND


def test_where_all_end_at_once_it_stays_soon() -> None:
    runs = Runs()
    for _ in range(40):
        runs = runs.with_one(timedelta(0))
    assert poll_task_after(timedelta(0), 0, 0.5, runs) == poll_task_after(timedelta(0), 1, 0.5, runs) == SECOND


@given(st.timedeltas(SECOND, timedelta(minutes=1)), st.floats(0, 1, exclude_max=True))
def test_where_all_run_as_long_none_is_asked_about_before_its_end(length: timedelta, spin: float) -> None:
    runs = Runs()
    for _ in range(80):
        runs = runs.with_one(length)
    assert length <= poll_task_after(timedelta(0), 0, spin, runs) <= 1.1 * length


def test_it_comes_when_it_is_likely_once_ten_are_known() -> None:
    runs = KNOWN
    for _ in range(10):
        assert poll_task_after(timedelta(0), 0, 0.5, runs) < 4 * SECOND
        runs = runs.with_one(50 * SECOND)
    assert poll_task_after(timedelta(0), 0, 0.0, runs) == 15 * SECOND


def test_only_the_last_eighty_count() -> None:
    runs = Runs()
    for number in range(81):
        runs = runs.with_one(number * SECOND)
    assert runs.lengths == tuple(number * SECOND for number in range(1, 81))


@given(
    st.lists(st.timedeltas(timedelta(0), timedelta(days=60)), max_size=40),
    st.timedeltas(timedelta(days=-9), timedelta(days=90)),
    st.integers(0, 10**9),
    st.floats(0, 1, exclude_max=True),
)
def test_polls_are_neither_hasty_nor_forgotten(
    lengths: list[timedelta], age: timedelta, polls: int, spin: float
) -> None:
    pause = poll_task_after(age, polls, spin, Runs(tuple(lengths)))
    assert SECOND <= pause <= timedelta(minutes=33)
    assert age >= timedelta(minutes=15) or pause <= 66 * SECOND


DISTRIBUTIONS = {
    "uniform": lambda dice: dice.uniform(12, 128),
    "half quick, half slow": lambda dice: dice.gauss(18, 3) if dice.random() < 0.5 else dice.gauss(110, 10),
    "mostly slow": lambda dice: dice.gauss(18, 3) if dice.random() < 0.3 else dice.gauss(110, 10),
    "mostly quick": lambda dice: dice.gauss(18, 3) if dice.random() < 0.7 else dice.gauss(110, 10),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_task_is_asked_about_three_times_and_its_end_is_noticed_soon(name: str) -> None:
    dice, runs = random.Random(1), Runs()
    asked, late = [], []
    for _ in range(1000):
        length, age, polls = max(2.0, DISTRIBUTIONS[name](dice)) * SECOND, timedelta(), 0
        while age < length:
            age += poll_task_after(age, polls, dice.random(), runs)
            polls += 1
        asked.append(polls)
        late.append((age - length) / length)
        runs = runs.with_one(length)
    assert median(asked) <= 3
    assert median(late) <= 0.15
