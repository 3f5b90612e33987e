"""Between us and PostgreSQL: what was answered meanwhile is saved as soon as that can be done.

That a request comes twice cannot befall a session: each byte has its place there, and TCP keeps it.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.database import DatabaseGone, Where, open_database
from reconciler.database.connection import connect
from reconciler.database.postgres import Limits
from reconciler.testing.cutting import Scissors
from tests.faults.wired import ALL_OK, SILENT, TRACKS, Wired, cases, each, wired
from tests.postgres import HOST, Server
from tests.postgresql.worlds import AppServer
from tests.proxy import Fault, Proxy

LATER = 100
"""In another message of an answer than the first."""
HASTY = Limits(answer_s=2, statement_s=1)
SHORT = timedelta(seconds=2)
"""For so long a run that lost its database tries to save what is answered, by the world's clock."""
ORDERED = "after kie.create"
ASKED = ("before finder.", "before gate.", "before leases.")
GONE_ON = {Fault.DRIP, Fault.ANSWER_TWICE}
"""What may come late is waited for, and what was not asked for is thrown away by the driver."""


@pytest.fixture(scope="module")
def network(postgres: Server) -> Iterator[Proxy]:
    with Proxy(HOST, postgres.port) as made:
        yield made


@pytest.fixture(scope="module")
def app(postgres: Server, network: Proxy) -> Iterator[AppServer]:
    made = AppServer(postgres, postgres)
    made.where = Where(f"postgresql://postgres@{network.host}:{network.port}/{made.name}?sslmode=disable")
    yield made
    made.close()


@pytest.fixture
def world(tmp_path: Path, app: AppServer, network: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wired]:
    app.empty()
    for opens, limits in ((connect, {"limits": HASTY}), (open_database, {"busy_timeout_s": 0.1})):
        monkeypatch.setattr(opens, "__kwdefaults__", {**(opens.__kwdefaults__ or {}), **limits})
    with wired(tmp_path, app=app, request_timeout=SHORT) as made:
        yield made
    network.heal()


class Befalling(Scissors):
    """From when the first order is answered; `questions`: to the database, after which the fault is over."""

    def __init__(self, network: Proxy, fault: Fault, after: int, questions: int = 1000) -> None:
        super().__init__()
        self._network, self._fault, self._after, self._questions = network, fault, after, questions

    def at(self, place: str) -> None:
        if ORDERED in self.places and place.startswith(ASKED):
            if self._questions == 0:
                self._network.heal()
            self._questions -= 1
        super().at(place)
        if place == ORDERED and self.places.count(ORDERED) == 1:
            self._network.befall(self._fault, after=self._after, every_s=0.0005)


@cases(0, LATER, without={Fault.ASK_TWICE})
def test_what_was_answered_is_saved_when_the_database_is_back(
    world: Wired, network: Proxy, fault: Fault, after: int
) -> None:
    """The answer is saved by another connection, if need be."""
    befalling = Befalling(network, fault, after, questions=1)
    if fault in GONE_ON:
        assert world.run(wrap=befalling.wrap).states == ALL_OK
    else:
        it_ends(lambda: world.run(wrap=befalling.wrap))
    assert world.recovered().repeats == 0
    assert world.bought() == each(1)


@cases(LATER, without={Fault.ASK_TWICE, Fault.BLACKHOLE, *GONE_ON})
def test_an_answer_that_a_run_cannot_save_is_lost(world: Wired, network: Proxy, fault: Fault, after: int) -> None:
    """Nobody knows of the answer then: as if this machine had died."""
    it_ends(lambda: world.run(wrap=Befalling(network, fault, after).wrap))
    it_ends(world.run)
    assert world.bought() == {**each(0), TRACKS[0]: 1}
    network.heal()
    assert world.recovered().repeats == 1
    assert world.bought() == {**each(1), TRACKS[0]: 2}


@pytest.mark.parametrize("fault", sorted(SILENT))
def test_a_run_that_cannot_begin_ends(world: Wired, network: Proxy, fault: Fault) -> None:
    network.befall(fault)
    it_ends(world.run)
    assert not world.kie.book.creations
    network.heal()
    world.recovered()
    assert world.bought() == each(1)


def it_ends(run: Callable[[], object]) -> None:
    with pytest.raises(DatabaseGone, match="See whether the server runs and can be reached; a daemon tries again"):
        run()
