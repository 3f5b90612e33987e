"""More of promise 1: the same for a second death during the recovery, and for deaths inside the store and the database.

Pairs, and longer rows of deaths, are sampled, the same ones each time.
"""

from pathlib import Path

import pytest

from tests.promises.forks import alone
from tests.promises.matrix import die_often, die_twice

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("first", [2, 7])
def test_a_second_death_during_the_recovery_changes_nothing(tmp_path: Path, first: int) -> None:
    ends = alone(tmp_path / "log", die_twice, tmp_path, first, 6)
    assert len({end.places for end in ends}) > 12
    assert {end.intents for end in ends} == {1, 2}


@pytest.mark.parametrize("seed", range(4))
def test_deaths_in_many_runs_end_well(tmp_path: Path, seed: int) -> None:
    assert len(alone(tmp_path / "log", die_often, tmp_path, seed).places) > 2
