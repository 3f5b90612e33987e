"""The database is restarted while the whole program works: it goes on or says why not, and buys nothing twice."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.daemons import Running, running, small
from tests.postgres import Bouncer, Server, eventually
from tests.postgresql.installs import PostgresInstall, installed_on

pytestmark = pytest.mark.slow

TRACKS = "abcd"
MOMENTS = {"bought": "createTask", "downloaded": "/files/"}
"""Kie has done what it was asked, and its answer is on its way."""
RESTARTS: Mapping[str, Callable[[PostgresInstall], None]] = {
    "fast": lambda install: install.server.restart("fast"),
    "immediate": lambda install: install.server.restart("immediate"),
    "pooler": lambda install: install.bouncer.restart(),
}
PURCHASES = "reconciler.reconciler_purchase"
FAILED = "reconciler_sweep_failures_total{reason=database}"


@pytest.fixture
def install(postgres: Server, hasty: Bouncer, tmp_path: Path) -> Iterator[PostgresInstall]:
    with installed_on(postgres, hasty, tmp_path) as made:
        small(made)
        yield made


def good(install: PostgresInstall) -> int:
    return sum(row["resolution"] == "160x90" for row in install.rows())


def bought(install: PostgresInstall) -> Counter[str]:
    return Counter(purchase.prompt for purchase in install.kie.book.purchases)


def leases_run_out(install: PostgresInstall) -> None:
    """Those of a run that could not give them back."""
    install.sql("UPDATE reconciler.reconciler_memory SET lease_until = now() WHERE lease_until IS NOT NULL")


# -- one sweep ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "restart"),
    [("bought", "immediate"), ("downloaded", "fast")],
)
def test_a_sweep_goes_on_after_a_restart_or_says_why_not(install: PostgresInstall, moment: str, restart: str) -> None:
    for track in TRACKS:
        install.add(track)
    install.when(MOMENTS[moment], lambda: RESTARTS[restart](install))
    run = install.program("run", "--once", "--timeout", "20s")
    if run.returncode:
        told_and_finished(install, run)
    unheard = [row["track_id"] for row in install.sql(f"SELECT track_id FROM {PURCHASES} WHERE outcome = 'open'")]
    assert [row["id"] for row in install.rows() if row["resolution"] != "160x90"] == sorted(unheard)
    assert set(bought(install).values()) == {1}
    assert len(unheard) <= 1, "more than one transaction was lost"


def told_and_finished(install: PostgresInstall, run: CompletedProcess[str]) -> None:
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("reconciler: postgresql://")
    leases_run_out(install)
    again = install.program("run", "--once", "--timeout", "20s")
    # An intent whose commit was not answered is held, though nothing was sent for it.
    assert again.returncode in (0, 3), again.stderr


def test_a_server_that_stays_away_ends_the_run_and_what_it_bought_is_held(install: PostgresInstall) -> None:
    install.add("a")
    install.when(MOMENTS["bought"], install.server.stop)
    run = install.program("run", "--once", "--timeout", "20s")
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("reconciler: postgresql://")
    assert "See whether the server runs" in run.stderr
    install.server.start()
    eventually(install.bouncer_answers)
    leases_run_out(install)
    again = install.program("run", "--once", "--timeout", "10s")
    assert again.returncode == 3
    assert install.sql(f"SELECT outcome FROM {PURCHASES}") == [{"outcome": "open"}]
    assert install.sql("SELECT state FROM reconciler.reconciler_memory") == [{"state": "unknown"}]
    assert sum(bought(install).values()) == 1


# -- the daemon --------------------------------------------------------------------------------------------------------


def repairs(install: PostgresInstall, track: str) -> bool:
    """A track that is stuck from now on."""
    install.add(track)
    before = good(install)
    return eventually(lambda: good(install) > before)


def fails_for_a_while(daemon: Running) -> None:
    failed = daemon.gauges()[FAILED]
    eventually(lambda: daemon.gauges()[FAILED] >= failed + 3)


def is_ready(daemon: Running) -> bool:
    return daemon.says("/readyz")[0] == 200


def test_the_daemon_recovers_by_itself_and_leaks_no_connection(install: PostgresInstall) -> None:
    small(install, schedule__sweep_interval='"1s"')
    with running(install) as daemon:
        assert repairs(install, "first")
        for name in ("immediate", "pooler"):
            RESTARTS[name](install)
            assert repairs(install, f"after {name}")
        install.sql("ALTER TABLE tracks RENAME TO elsewhere")  # of which the connection itself comes to no harm
        fails_for_a_while(daemon)
        install.sql("ALTER TABLE elsewhere RENAME TO tracks")
        eventually(lambda: is_ready(daemon))
        assert repairs(install, "last")
        eventually(lambda: install.bouncer.connections(install.name) == 2)
        assert daemon.stop() == 0
    assert set(bought(install).values()) == {1}
