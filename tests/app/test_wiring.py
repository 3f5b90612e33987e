"""What the daemon is made of, before anything runs: its jobs and their pace, its pages, and when it is ready."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from itertools import cycle
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from reconciler.app import jobs as module
from reconciler.app.daemon import Daemon
from reconciler.app.jobs import Jobs
from reconciler.app.outside import provider
from reconciler.app.status import Status
from reconciler.app.sweeping import Haste, Sweeping
from reconciler.images.pace import HostPace
from reconciler.service.vitals import Vitals
from tests.cli.conftest import Install
from tests.daemons import Inside, settings_of

Make = Callable[..., Daemon]


@pytest.fixture
def make(install: Install) -> Iterator[Make]:
    with ExitStack() as stack:

        def made(**changes: Any) -> Daemon:
            install.configure(**changes)
            settings = settings_of(install)
            outside, ears = stack.enter_context(provider(settings)), Inside(Mock()).ears(settings)
            return Daemon(settings, outside, ears, Mock(), Vitals())

        yield made


def test_an_audit_works_calmly_and_a_sweep_does_not(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Mock(return_value=SimpleNamespace(next_at=None))
    monkeypatch.setattr(Sweeping, "run", run)
    jobs = make()._jobs
    jobs.audit()
    jobs.sweep()
    jobs._working.drop()
    audit, sweep = run.call_args_list
    (calm,) = (given for given in audit.args if isinstance(given, Haste))
    assert not any(isinstance(given, Haste) for given in sweep.args)
    assert isinstance(calm.pace, HostPace)
    assert (calm.workers, calm.pace._gap) == (2, 0.2)


def test_what_the_app_adds_to_its_table_is_known_to_the_next_sweep_and_count(
    install: Install, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Mock(return_value=SimpleNamespace(next_at=None))
    monkeypatch.setattr(Sweeping, "run", run)
    monkeypatch.setattr(Status, "look", look := Mock())
    install.sql("ALTER TABLE tracks DROP COLUMN updated_at")
    jobs = make()._jobs
    for _ in range(2):  # making our own tables changed the file
        jobs.sweep()
        jobs.snapshot()
    install.sql("ALTER TABLE tracks ADD COLUMN updated_at TEXT")
    for _ in range(2):
        jobs.sweep()
        jobs.snapshot()
    for kept, calls in ((jobs._working, run.call_args_list), (jobs._looking, look.call_args_list)):
        kept.drop()
        _, before, after, again = (call.args[0] for call in calls)
        assert [each.app.has("updated_at") for each in (before, after)] == [False, True]
        assert again is after, "it is kept"


def test_the_balance_is_not_asked_for_where_nothing_is_ever_bought(make: Make) -> None:
    jobs = {job.name for job in make()._all()}
    assert jobs == {"sweep", "snapshot", "audit", "credits", "thumbnails", "prune"}
    assert {job.name for job in make(budget__per_day="0")._all()} == jobs - {"credits"}


def test_a_start_is_not_burdened_with_forgetting(make: Make) -> None:
    (prune,) = (job for job in make()._all() if job.name == "prune")
    assert prune.first_after == timedelta(minutes=5)


def test_only_pictures_that_lie_on_its_own_disk_are_served(make: Make) -> None:
    assert make()._pages(None).picture is not None
    assert make(storage__kind='"none"')._pages(None).picture is None


@pytest.mark.parametrize("job", ["sweep", "snapshot", "audit"])
def test_it_is_not_ready_while_what_runs_often_fails(make: Make, job: str) -> None:
    daemon = make()
    assert daemon._readiness() == ("starting",)
    daemon._ready = True
    assert daemon._readiness() == ()
    daemon._jobs.troubles[job] = "the database refused"
    assert daemon._readiness() == ("the database refused",)


def test_it_is_not_ready_while_it_stops(make: Make) -> None:
    daemon = make()
    daemon._ready = True
    daemon.stop()
    assert daemon._readiness() == ("stopping",)


@pytest.mark.parametrize(("took_s", "pause_s"), [(1, 0), (2, 20), (3600, 600)])
def test_after_a_slow_count_a_pause_follows(
    make: Make, monkeypatch: pytest.MonkeyPatch, took_s: int, pause_s: int
) -> None:
    """Else a large table would be counted all the time."""
    at, counted = Mock(), list[float]()

    def count(_: Jobs) -> Mock:
        counted.append(at.return_value)
        return Mock()

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=at))
    monkeypatch.setattr(module, "steady", cycle([timedelta(0), timedelta(seconds=took_s)]).__next__)
    monkeypatch.setattr(Jobs, "_counted", count)
    jobs = make()._jobs
    jobs._metrics, jobs.status = Mock(), Mock()
    for at.return_value in (0, pause_s / 2, pause_s):
        jobs.snapshot()
    assert counted == ([0, pause_s] if pause_s else [0, 0, 0])
