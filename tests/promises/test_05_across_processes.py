"""More of promise 5: the limits hold across processes. Two of them buy on PostgreSQL as fast as they can through a
pooler, slow between what they see at the gate and what they note there, their orders late on the way, and the clock of
one an hour fast. What counts is what Kie saw, and the server's time."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from reconciler.kie.simulated import AnswerPicture, Stall, Succeed
from tests.cli.conftest import clean_environment
from tests.daemons import QUICK, small
from tests.postgres import Bouncer, Server
from tests.postgresql.installs import PostgresInstall, id_of, installed_on
from tests.promises.later import pass_time
from tests.promises.test_05_the_limits_hold import DAY, HOUR, SECOND
from tests.promises.witnesses import most

pytestmark = pytest.mark.slow

HALVES = [f"a{number}" for number in range(7)], [f"b{number}" for number in range(7)]
"""What either process works: less than what an hour allows, so that both must have bought."""
HOPELESS = "a0"
START = """
import time
from pathlib import Path
from reconciler.database.gate import SqlGate
from tests.promises.haste import clock_fast, late_orders, together
late_orders(seconds=0.3)
clock_fast(hours={ahead})
intend = SqlGate._intend
def intend_slowly(*given):
    time.sleep(0.05)
    return intend(*given)
SqlGate._intend = intend_slowly
together(Path({gate!r}), processes=2)
from reconciler.cli import main
main()
"""


@pytest.fixture
def install(postgres: Server, bouncer: Bouncer, tmp_path: Path) -> Iterator[PostgresInstall]:
    with installed_on(postgres, bouncer, tmp_path) as made:
        small(made)
        prove_the_model(made)
        for track in (*HALVES[0], *HALVES[1]):
            made.add(track)
        yield made


def prove_the_model(install: PostgresInstall) -> None:
    """Else a process ends that waits for the first good result of another's."""
    install.add("proof")
    install.kie.script.next("create", AnswerPicture())
    assert install.call("run", "--once").exit_code == 0
    install.kie.script.clear()
    pass_time(install, 2 * DAY)


def run_both(install: PostgresInstall, timeout: str) -> None:
    """From the same moment on. They end when nothing can be done any more, or at the time-out."""
    gate = install.folder / f"gate-{len(list(install.folder.glob('gate-*')))}"
    gate.mkdir()
    both = []
    for half, ahead in zip(HALVES, (0, 1), strict=True):
        tracks = [word for track in half for word in ("--track", id_of(track))]
        program = [sys.executable, "-c", START.format(ahead=ahead, gate=str(gate)), "--config", str(install.config)]
        command = [*program, "run", "--once", "--timeout", timeout, *tracks]
        both.append(Popen(command, cwd=install.folder, env=clean_environment(), stdout=PIPE, stderr=PIPE))
    said = [process.communicate(timeout=60) for process in both]
    assert {process.returncode for process in both} <= {0, 3}, said


def arrivals(install: PostgresInstall) -> list[datetime]:
    """Of every order but the proof, as Kie saw it."""
    return sorted(creation.arrived_at for creation in install.kie.book.creations[1:])


def intents(install: PostgresInstall) -> Sequence[datetime]:
    """Of every order, by the server's clock and as hours were made to pass."""
    return [row["at"] for row in install.sql("SELECT at FROM reconciler.reconciler_purchase WHERE sent ORDER BY at")]


def test_windows_and_budgets_are_used_up_and_never_exceeded(install: PostgresInstall) -> None:
    install.configure(
        **QUICK,
        kie__purchase_limit="3",
        kie__purchase_window='"1s"',
        budget__per_hour="8",
        budget__per_day="12",
        budget__per_track="2",
    )
    install.kie.script.when(AnswerPicture(), operation="create")  # so that nobody waits for a task
    install.kie.script.when(Succeed(width=80, height=45), prompt_contains=f"called {HOPELESS} ")
    install.kie.script.when(Succeed(width=160, height=90))
    densest, before = [], 0
    for bought, then in ((8, HOUR), (12, DAY), (15, DAY)):
        run_both(install, "20s")
        assert len(arrivals(install)) == bought
        # Of this round: for the program an hour or a day lies between two, for Kie perhaps less than a second.
        densest.append(most(arrivals(install)[before:], SECOND))
        before = bought
        assert (most(intents(install), HOUR), most(intents(install), DAY)) == (8, min(bought, 12))
        pass_time(install, then)
    assert max(densest) == 3
    tracks = Counter(purchase.prompt for purchase in install.kie.book.purchases)  # the proof's too
    hopeless = f"a lighthouse called {HOPELESS} in morning mist"
    assert {count for prompt, count in tracks.items() if prompt != hopeless} == {1}
    assert tracks[hopeless] == 2


def test_no_more_tasks_run_at_once_than_configured(install: PostgresInstall) -> None:
    install.configure(**QUICK, kie__max_concurrent_tasks="2")
    install.kie.script.when(Stall())
    run_both(install, "3s")
    assert len(arrivals(install)) == 2
