"""Where this machine's clock is not the server's, runs end when they should: their length goes by neither."""

from datetime import timedelta
from typing import Any

import pytest

from reconciler.app import outside as surroundings
from reconciler.app.clock import ServerClock, steady, utc_now
from reconciler.app.counted import metrics_of
from reconciler.app.jobs import UNTIL, Jobs
from reconciler.app.once import Narrowed, run_once
from reconciler.app.outside import provider
from reconciler.app.sweeping import Ears
from reconciler.domain.states import State
from reconciler.engine.events import Result
from reconciler.engine.sweep import Bounds, Sweep
from reconciler.service.vitals import Vitals
from tests.daemons import settings_of
from tests.postgresql.installs import PostgresInstall, install

__all__ = ["install"]

pytestmark = pytest.mark.slow

HOUR = timedelta(hours=1)


@pytest.fixture(params=[-HOUR, HOUR], ids=["behind", "ahead"], autouse=True)
def _off(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "ServerClock", lambda: ServerClock(lambda: utc_now() + request.param))


def test_a_run_works_and_ends_within_its_time(install: PostgresInstall) -> None:
    install.add("t")
    settings, given, untils = settings_of(install), timedelta(minutes=5), list[timedelta]()
    began = steady()

    def started(sweep: Sweep) -> None:
        untils.append(sweep._bounds.until)

    result = run_once(settings, Narrowed(timeout=given), metrics_of(settings), lambda _: None, started)
    (until,) = untils
    assert began <= until - given <= steady()
    assert result.states == {(State.OK, None): 1}


def test_a_daemons_first_sweep_ends_within_its_time(install: PostgresInstall, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, untils = settings_of(install), list[timedelta]()
    given = UNTIL * settings.schedule.sweep_interval

    def run(_: Any, bounds: Bounds, *more: Any) -> Result:
        untils.append(bounds.until)
        return Result()

    with provider(settings) as outside:
        jobs = Jobs(outside, Ears(lambda _: None, lambda _: lambda _: None, metrics_of(settings)), Vitals())
        monkeypatch.setattr(jobs._sweeping, "run", run)
        began = steady()
        jobs.sweep()
        jobs._working.drop()
    (until,) = untils
    assert began <= until - given <= steady()
