"""Some days of a month in small: what a daemon keeps stays in proportion to the tracks. In full: benchmarks."""

from pathlib import Path

import pytest

from reconciler.domain.states import State
from tests.soaking import Soak

pytestmark = pytest.mark.slow

ENDS = {State.OK, State.FAILED, State.SETTLING, State.BACKING_OFF, State.EXPIRING}


def test_nothing_grows_and_nobody_stays_behind(tmp_path: Path) -> None:
    soak = Soak(tmp_path, tracks=40)
    days = list(soak.days(9))
    early, late = days[3], days[-1]
    assert (late.handles, late.threads) == (early.handles, early.threads)
    assert late.resident - early.resident < 8e6
    assert sum(late.own.values()) < 5.8 * late.own["memory"], "the same again and again is one row"
    assert late.stuck <= late.tracks / 20
    assert {state for state, _ in soak.world.overview().tracks} <= ENDS
