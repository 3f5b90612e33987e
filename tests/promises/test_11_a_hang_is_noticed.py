"""Promise 11: A hang is noticed: the watchdog is fed only while no step is past its deadline and no job overdue.

Nothing waits for a deadline here: the daemon's sense of time is moved ahead once something hangs.
"""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from reconciler.app import jobs
from reconciler.database import Database, Reader
from reconciler.database.finder import SqlFinder
from reconciler.domain import findings
from reconciler.engine.events import Found
from reconciler.images.local_store import LocalStore
from reconciler.images.pictures import WebPictures
from reconciler.kie.client import KieClient
from reconciler.kie.simulated import AnswerPicture, Break, Fault, Succeed
from reconciler.service.events import Hung, Swept
from tests.cli.conftest import Install, installed
from tests.daemons import Inside, eventually, inside, running, small

CALL = 5
STEP = 4 * CALL
"""Seconds that a step may take, at a request_timeout of five."""
JOB = 5 * CALL + 60
"""Seconds that a job may take, beyond the interval where it works through all of it: a lease and a minute."""
SONG = "ab" * 16


@dataclass
class Block:
    """A function that does not return before the test is over; the first `skip` calls pass."""

    skip: int = 0
    met: Event = field(default_factory=Event)
    over: Event = field(default_factory=Event)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def blocked(*args: Any, **kwargs: Any) -> Any:
            self.skip -= 1
            if self.skip < 0:
                self.met.set()
                self.over.wait(60)
            return function(*args, **kwargs)

        return blocked


@pytest.fixture
def block(monkeypatch: pytest.MonkeyPatch) -> Iterator[Block]:
    made = Block()
    yield made
    made.over.set()


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Install]:
    """Little is begun twice."""
    with installed(tmp_path) as install:
        small(install, schedule__snapshot_interval='"1h"', kie__file_hosts='["127.0.0.1"]')
        yield install


def bought(install: Install) -> None:
    install.kie.script.when(AnswerPicture(), operation="create")
    install.add("a")


def followed(install: Install) -> None:
    """A task that somebody handed over."""
    install.kie.add_task(SONG, prompt="a task", behaviour=Succeed(width=160, height=90, run=timedelta(0)))
    install.add("a", image_url=SONG)


def sung(install: Install) -> None:
    install.add("a", task_id=SONG)


def dying(install: Install) -> None:
    install.add("a", image_url=install.kie.add_file("/p/a.jpg", size=(160, 90)), resolution="160x90")


STEPS = {
    "measure": (dying, WebPictures, "measure"),
    "fetch": (bought, WebPictures, "fetch"),
    "decode": (bought, WebPictures, "prepare"),
    "store": (bought, LocalStore, "put"),
    "list": (bought, LocalStore, "keys"),
    "ask": (followed, KieClient, "task"),
    "song": (sung, KieClient, "song"),
    "buy": (bought, KieClient, "create"),
}


def noticed(daemon: Inside, complaint: str) -> None:
    """It is told everywhere, and the process ends by itself."""
    eventually(lambda: daemon.of(Hung))
    fed = daemon.systemd.beats()
    status, told = daemon.says("/healthz")
    assert status == 503
    assert complaint in told
    assert len(told.splitlines()) == 1
    daemon.later += CALL + 1
    assert daemon.exit_code() == 1
    assert daemon.systemd.beats() == fed
    assert daemon.systemd.said[-1].startswith(f"STATUS=hangs: {complaint}")
    (hung,) = daemon.of(Hung)
    assert complaint in hung.complaints[0]


def well(daemon: Inside) -> None:
    fed = daemon.systemd.beats()
    eventually(lambda: daemon.systemd.beats() > fed)
    assert daemon.says("/healthz") == (200, "ok\n")
    assert not daemon.of(Hung)


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_step(
    quick: Install, monkeypatch: pytest.MonkeyPatch, block: Block, step: str, capfd: pytest.CaptureFixture[str]
) -> None:
    fill, place, name = STEPS[step]
    fill(quick)
    monkeypatch.setattr(place, name, block.around(getattr(place, name)))
    with inside(quick, monkeypatch) as daemon:
        assert block.met.wait(30)
        daemon.ahead += STEP / 2
        well(daemon)
        daemon.ahead += STEP / 2 + 1
        noticed(daemon, "a step of track a is under way for ")
    stacks = capfd.readouterr().err
    assert stacks.count("most recent call first") > 3
    assert ", line " in stacks
    assert " in blocked" in stacks


@pytest.mark.slow
def test_the_question_for_credits_of_a_sweep(quick: Install, monkeypatch: pytest.MonkeyPatch, block: Block) -> None:
    monkeypatch.setattr(jobs.Jobs, "credits", lambda _: None)
    monkeypatch.setattr(KieClient, "credit", block.around(KieClient.credit))
    bought(quick)
    with inside(quick, monkeypatch) as daemon:
        assert block.met.wait(30)
        daemon.ahead += STEP + 1
        noticed(daemon, "the question for credits is under way for ")


JOBS = {
    "sweep": (SqlFinder, "due", 60 + JOB),
    "snapshot": (Reader, "overview", 600),
    "audit": (jobs, "pass_at", 60 + JOB),
    "credits": (KieClient, "credit", JOB),
    "prune": (Database, "prune", 600),
}


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_a_job(quick: Install, monkeypatch: pytest.MonkeyPatch, block: Block, job: str) -> None:
    """The database may hold it up for long, and not for ever."""
    place, name, allowed = JOBS[job]
    if job == "sweep":
        small(quick, schedule__sweep_interval='"1m"', schedule__snapshot_interval='"1h"')
    with inside(quick, monkeypatch) as daemon:
        daemon.rest()
        monkeypatch.setattr(place, name, block.around(getattr(place, name)))
        daemon.begin(job)
        assert block.met.wait(30)
        daemon.ahead += allowed - 2
        well(daemon)
        daemon.ahead += 3
        noticed(daemon, f"job {job} is under way for ")


@pytest.mark.slow
def test_a_job_that_does_not_begin(quick: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its scheduler has died."""
    small(quick, schedule__sweep_interval='"1m"', schedule__snapshot_interval='"1h"')
    with inside(quick, monkeypatch) as daemon:
        daemon.rest()
        daemon.daemon._schedule._scheduler.pause()
        daemon.ahead += 60 + 60 + JOB - 5
        well(daemon)
        daemon.ahead += 10
        noticed(daemon, "job sweep was to begin ")


@pytest.mark.slow
def test_what_ends_after_all_is_well_again(quick: Install, monkeypatch: pytest.MonkeyPatch, block: Block) -> None:
    """A disk that slept, not a thread that hangs."""
    bought(quick)
    monkeypatch.setattr(LocalStore, "put", block.around(LocalStore.put))
    with inside(quick, monkeypatch) as daemon:
        assert block.met.wait(30)
        daemon.ahead += STEP + 1
        eventually(lambda: daemon.of(Hung))
        fed = daemon.systemd.beats()
        block.over.set()
        eventually(lambda: daemon.systemd.beats() > fed)
        daemon.later += CALL + 1
        assert daemon.says("/healthz") == (200, "ok\n")
        eventually(lambda: quick.rows()[0]["image_url"])


@pytest.mark.slow
def test_two_hangs_long_apart_are_two(quick: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is given its time."""
    with inside(quick, monkeypatch) as daemon:
        for times in (1, 2):
            with daemon.daemon._vitals.within("a test", timedelta(seconds=-1)):
                eventually(lambda n=times: len(daemon.of(Hung)) == n)  # type: ignore[misc]
            daemon.later += CALL - 1
            fed = daemon.systemd.beats()
            eventually(lambda n=fed: daemon.systemd.beats() > n)  # type: ignore[misc]
        assert daemon.thread.is_alive()


# -- what is no hang ---------------------------------------------------------------------------------------------------

SLOW = {
    "buy": (bought, "create", Break(Fault.HANG)),
    "buy, a byte now and then": (bought, "create", Break(Fault.DRIP)),
    "ask": (followed, "record", Break(Fault.HANG)),
    "fetch": (dying, "file", Break(Fault.DRIP)),
    "credits": (bought, "credit", Break(Fault.HANG)),
}


@pytest.mark.slow
@pytest.mark.parametrize("step", SLOW)
def test_a_provider_that_never_answers_is_none_since_every_call_has_its_deadline(
    quick: Install, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    fill, operation, stalled = SLOW[step]
    fill(quick)
    quick.kie.script.clear()
    quick.kie.script.when(stalled, operation=operation)
    small(quick, kie__request_timeout='"300ms"', kie__file_hosts='["127.0.0.1"]')
    with inside(quick, monkeypatch) as daemon:
        eventually(lambda: timed_out(daemon))
        well(daemon)
        eventually(lambda: daemon.of(Swept))


def timed_out(daemon: Inside) -> bool:
    calls = sum(n for name, n in daemon.gauges().items() if name.endswith("{outcome=timeout}"))
    return calls > 0 or any(isinstance(event.finding, findings.Fault) for event in daemon.of(Found))


# -- a process ---------------------------------------------------------------------------------------------------------

HANGING = """
import sys, threading
from reconciler.images.local_store import LocalStore
def put_that_hangs(*_):
    print("it hangs", file=sys.stderr, flush=True)
    threading.Event().wait()
LocalStore.put = put_that_hangs
"""


@pytest.mark.slow
def test_a_process_that_hangs_shows_its_stacks_and_ends(quick: Install) -> None:
    bought(quick)
    small(quick, kie__request_timeout='"300ms"')
    with running(quick, before=HANGING) as daemon:
        assert daemon.ended() == 1
    said = daemon.systemd.said
    assert said[0].startswith("READY=1")
    assert "WATCHDOG=1" in said
    assert said[-1].startswith("STATUS=hangs: a step of track a is under way for ")
    stacks = daemon.stderr()
    assert "in put_that_hangs" in stacks
    assert stacks.count("most recent call first") > 3
    assert '"event": "hung"' in stacks
    assert quick.sql("SELECT outcome FROM reconciler_purchase") == [{"outcome": "accepted"}]
    assert quick.program("run", "--once").returncode == 0
    assert len(quick.kie.book.purchases) == 1


@pytest.mark.slow
def test_a_process_that_hangs_shows_its_stacks_when_the_watchdog_ends_it(quick: Install) -> None:
    bought(quick)
    with running(quick, before=HANGING) as daemon:
        eventually(lambda: "it hangs" in daemon.stderr())
        ended = daemon.stop(signal.SIGABRT)
    assert "Fatal Python error: Aborted" in daemon.stderr()
    if ended != -signal.SIGSEGV:  # faulthandler reads the stacks of running threads without a lock
        assert ended == -signal.SIGABRT
        assert "in put_that_hangs" in daemon.stderr()
