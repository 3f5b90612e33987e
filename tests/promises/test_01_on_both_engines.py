"""More of promise 1: never pays twice, on both engines. On PostgreSQL behind a pooler one run is cut at every call of
every port; on both, real processes are killed in each window that has a name."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import groupby
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from reconciler.kie.simulated import AnswerPicture, Fault, Request, Response, Succeed, belongs_to
from reconciler.testing.store import MemoryStore
from tests.cli.conftest import Install, installed
from tests.daemons import LONG_S, small
from tests.postgres import Bouncer, Server
from tests.postgresql.installs import PostgresInstall, id_of, installed_on
from tests.postgresql.worlds import AppServer
from tests.promises.forks import alone, command, started
from tests.promises.later import pass_time
from tests.promises.matrix import CutWorld, Place, die_on_server

pytestmark = pytest.mark.slow

SIZE = (160, 90)
COMMITS = 8
"""At so many of the places around them a process is killed, or some more."""


# -- every call of every port, and commits -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app(postgres: Server, bouncer: Bouncer) -> Iterator[AppServer]:
    made = AppServer(postgres, bouncer)
    yield made
    made.close()


def world(app: AppServer, folder: Path) -> CutWorld:
    app.empty()
    made = CutWorld(folder, app)
    made.store = MemoryStore()
    return made


@pytest.fixture(scope="module")
def places(app: AppServer, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Place]:
    """Where a death leaves behind what none before did."""
    whole = world(app, tmp_path_factory.mktemp("whole") / "world")
    whole.run()
    found = [Place(number, name) for number, name in enumerate(whole.scissors.places)]
    traces = [place for place in found if place.name in TRACES]
    assert {place.name for place in traces} == TRACES
    return [*found[:1], *traces]


TRACES = {
    f"after {call}"
    for call in (
        *("leases.lease_all", "leases.commit_all", "gate.balance", "gate.reserve"),
        *("kie.create", "store.put"),
    )
}


@pytest.mark.parametrize("shard", range(2))
def test_cut_at_every_call_of_every_port_each_attempt_is_bought_once(
    app: AppServer, tmp_path: Path, places: Sequence[Place], shard: int
) -> None:
    for number, name in places[shard::2]:
        dying = world(app, tmp_path / str(number))
        assert dying.cut(number) == name
        dying.finish()
        assert dying.end(f"{number}: {name}").bought in {1, dying.intents()}


def test_killed_before_or_after_a_commit_each_attempt_is_bought_once(
    postgres: Server, bouncer: Bouncer, tmp_path: Path
) -> None:
    ends = alone(tmp_path / "log", die_on_server, tmp_path, (postgres.port, bouncer.port), COMMITS)
    assert len(ends) >= COMMITS
    assert {place for end in ends for place in end.places} == {"before database.commit", "after database.commit"}
    assert [intents for intents, _ in groupby(end.intents for end in ends)] == [1, 2, 1]


# -- real processes ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgres"])
def install(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Install]:
    def made() -> Any:
        if request.param == "sqlite":
            return installed(tmp_path)
        return installed_on(request.getfixturevalue("postgres"), request.getfixturevalue("bouncer"), tmp_path)

    with made() as install:
        small(install)
        yield install


GATE, LEASES = "reconciler.database.gate:SqlGate", "reconciler.database.leases:SqlLeases"
ORDERED = "after reconciler.kie.client:KieClient.create"
STORED = "after reconciler.images.local_store:LocalStore.put"
DOWNLOAD = "/files/"
WITHIN: Mapping[str, tuple[str, ...]] = {
    "before the intent is committed": (f"before {GATE}._intend",),
    "after the intent, before the POST": ("before reconciler.kie.client:KieClient.create",),
    "answer read, task id not committed": (ORDERED,),
    "task id committed": (ORDERED, f"after {LEASES}.commit_all"),
    "stored, row not updated": (STORED,),
    "row updated, not committed with our record": (STORED, f"before {LEASES}._end"),
    "row updated, and committed with our record": (STORED, f"after {LEASES}.commit_all"),
    "in the middle of a snapshot": ("after reconciler.database.overview:SqlOverview._times",),
}
"""Places in the process itself."""
ASKED = {
    "POST written, no answer": "createTask",
    "result known, download half done": DOWNLOAD,
}
"""What Kie was asked for and has not answered yet, or not wholly."""
LOST = {"after the intent, before the POST", "POST written, no answer", "answer read, task id not committed"}
"""Where nobody can know any more whether there is a task."""
LEASE, HOLD = timedelta(seconds=26), timedelta(hours=2)
"""Longer than those of an install."""
TRACK = "buy"


@pytest.mark.parametrize("window", [*WITHIN, *ASKED])
def test_a_process_that_is_killed_pays_once_and_its_successor_finishes(install: Install, window: str) -> None:
    install.add(TRACK)
    before = install.rows()
    if window != "task id committed":
        install.kie.script.when(AnswerPicture(), operation="create")  # so that nobody waits for a task
    killed(install, window)
    lost = has_lost_an_answer(install)
    assert lost == (window in LOST)

    finish(install, LEASE)
    assert is_fixed(install, TRACK) is not lost
    assert sum(bought_by(install).values()) == (window != "after the intent, before the POST")

    if lost:
        finish(install, HOLD)
    assert is_fixed(install, TRACK)
    repeats = sum(repeated(install).values())
    assert repeats == lost
    assert sum(bought_by(install).values()) == 1 + repeats - (window == "after the intent, before the POST")
    assert all_but_the_picture(install.rows()) == all_but_the_picture(before)


def test_two_deaths_in_the_middle_of_everything_do_not_buy_twice(install: Install) -> None:
    small(install, kie__file_hosts='["127.0.0.1"]')
    install.kie.add_task("a" * 32, prompt=prompt_of("adopt"), behaviour=Succeed(width=160, height=90))
    dying = install.kie.add_file("p/dying.jpg", text=prompt_of("rehost"), size=SIZE)
    tracks: Mapping[str, dict[str, str]] = {
        "buy": {},
        "buy another": {},
        "adopt": {"extended_prompt": f"calm | Visual: x | image_task_id: {'a' * 32}"},
        "rehost": {"image_url": dying, "resolution": "160x90"},
    }
    for track, columns in tracks.items():
        install.add(track, **columns)
    before = install.rows()
    for number in (20, 15):
        dies(install, "die_after_transaction", number)
        pass_time(install, LEASE)
    finish(install, LEASE)
    finish(install, HOLD)
    repeats = repeated(install)
    assert set(bought_by(install)) == {prompt_of("buy"), prompt_of("buy another")}
    for prompt, count in bought_by(install).items():
        assert count <= 1 + repeats[prompt] <= 2, prompt
    assert [track for track in tracks if not is_fixed(install, track)] == []
    assert all_but_the_picture(install.rows()) == all_but_the_picture(before)


# -- killing -----------------------------------------------------------------------------------------------------------


def killed(install: Install, window: str) -> None:
    if window in ASKED:
        dies(install, at_request=ASKED[window])
    else:
        dies(install, "die_at", *WITHIN[window])


def dies(install: Install, how: str = "", *given: object, at_request: str = "") -> None:
    """One run, killed by itself or when Kie gets such a request."""
    options = ("run", "--once", "--timeout", "20s", "--metrics-file", str(install.folder / "metrics"))
    arguments = ("--config", str(install.config), *options)
    victims: list[ForkServerProcess] = []
    if at_request:
        on_request(install, at_request, victims)
    log = install.folder / "log"
    victims.append(started(log, command, str(install.folder), arguments, how, given))
    victims[0].join(LONG_S)
    assert victims[0].exitcode == -9, log.read_text()


def on_request(install: Install, part: str, victims: Sequence[ForkServerProcess]) -> None:
    """Kie has done what it was asked, and the one who asked is killed before it is answered, or while a file comes
    byte by byte."""
    answer = install.kie.handle

    def handle(request: Request) -> Response:
        response = answer(request)
        if part not in request.url_path:
            return response
        install.kie.handle = answer  # type: ignore[method-assign]
        if part == DOWNLOAD:
            Timer(0.2, victims[0].kill).start()
            return replace(response, fault=Fault.DRIP)
        victims[0].kill()
        return response

    install.kie.handle = handle  # type: ignore[method-assign]


# -- afterwards --------------------------------------------------------------------------------------------------------


def finish(install: Install, after: timedelta) -> None:
    pass_time(install, after)
    run = install.call("run", "--once", "--timeout", "20s")
    assert run.exit_code in (0, 3), run.output


def prompt_of(track: str) -> str:
    return f"a lighthouse called {track} in morning mist"


def purchases(install: Install, condition: str) -> list[dict[str, Any]]:
    schema = "reconciler." if isinstance(install, PostgresInstall) else ""
    return install.sql(f"SELECT * FROM {schema}reconciler_purchase WHERE {condition}")


def has_lost_an_answer(install: Install) -> bool:
    return bool(purchases(install, "outcome = 'open'"))


def repeated(install: Install) -> Counter[str]:
    return Counter(row["prompt"] for row in purchases(install, "repeat_of IS NOT NULL"))


def bought_by(install: Install) -> Counter[str]:
    return Counter(purchase.prompt for purchase in install.kie.book.purchases)


def is_fixed(install: Install, track: str) -> bool:
    """Its picture is in the store, its own, and of the right size."""
    track_id = id_of(track) if isinstance(install, PostgresInstall) else track
    (row,) = (row for row in install.rows() if str(row["id"]) == track_id)
    _, found, key = (row["image_url"] or "").partition("/images/")
    return row["resolution"] == "160x90" and bool(found) and belongs_to(install.pictures()[key], prompt_of(track))


def all_but_the_picture(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | dict.fromkeys(("image_url", "resolution", "updated_at")) for row in rows]
