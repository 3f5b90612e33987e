"""Promise 1: never pays twice, on both engines. On PostgreSQL behind a pooler one run is cut at every call of every
port; on both, real processes are killed in each window that has a name."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from subprocess import Popen
from threading import Timer
from typing import Any

import pytest

from reconciler.domain.policy import Policy, Target
from reconciler.kie.simulated import AnswerPicture, Fault, Request, Response, Settings, Succeed, belongs_to
from reconciler.testing.cutting import Scissors
from reconciler.testing.store import MemoryStore
from reconciler.testing.world import PUBLIC_URL, World
from tests.cli.conftest import Install, installed
from tests.daemons import running, small
from tests.postgres import Bouncer, Server
from tests.postgresql.installs import PostgresInstall, id_of, installed_on
from tests.postgresql.worlds import AppServer
from tests.promises.later import pass_time
from tests.promises.test_01_never_pays_twice import _leaves_a_trace, bought, run_cut

pytestmark = pytest.mark.slow

SHARDS = 3
SIZE = (160, 90)
PICTURES = {"buy": "a lighthouse called buy in morning mist", "adopt": "adopted picture", "rehost": "dying picture"}


# -- every call of every port ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app(postgres: Server, bouncer: Bouncer) -> Iterator[AppServer]:
    made = AppServer(postgres, bouncer)
    yield made
    made.close()


def world_with_every_way(app: AppServer, folder: Path) -> World:
    """One track to be bought for, one whose paid task is known, one whose own picture dies."""
    app.empty()
    policy = Policy(public_url=PUBLIC_URL, target=Target(*SIZE))
    quick = Settings(credits=100_000, min_run=timedelta(seconds=1), max_run=timedelta(seconds=2))
    world = World(folder, policy=policy, kie=quick, app=app)
    world.store = MemoryStore()
    good = Succeed(width=160, height=90)
    world.kie.script.when(good)
    world.add("buy")
    world.kie.add_task("a" * 32, prompt=PICTURES["adopt"], created_at=world.clock(), behaviour=good)
    world.add("adopt", extended_prompt=f"calm | Visual: x | image_task_id: {'a' * 32}")
    dying = world.kie.add_file("/p/dying.jpg", text=PICTURES["rehost"], size=SIZE)
    world.add("rehost", image_url=dying, resolution="160x90")
    return world


@pytest.fixture(scope="module")
def places(app: AppServer, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, str]]:
    """Where a death leaves a state behind that none before did."""
    scissors = Scissors()
    world_with_every_way(app, tmp_path_factory.mktemp("whole")).run(wrap=scissors.wrap)
    return [(number, place) for number, place in enumerate(scissors.places) if not number or _leaves_a_trace(place)]


@pytest.mark.parametrize("shard", range(SHARDS))
def test_cut_at_every_call_of_every_port_each_attempt_is_bought_once(
    app: AppServer, tmp_path: Path, places: list[tuple[int, str]], shard: int
) -> None:
    assert len(places) > 25
    for number, name in places[shard::SHARDS]:
        world = world_with_every_way(app, tmp_path)
        assert run_cut(world, number) == name
        world.pass_time(timedelta(seconds=1))
        world.settle()
        check_end(world, f"cut {number}: {name}")


def check_end(world: World, where: str) -> None:
    repeats = world.sql("SELECT count(*) AS n FROM reconciler_purchase WHERE repeat_of IS NOT NULL")[0]["n"]
    counts = bought(world)
    assert set(counts) == {PICTURES["buy"]}, where
    assert counts.total() <= 1 + repeats <= 2, where
    for row in world.rows():
        assert row["resolution"] == "160x90", (where, row)
        assert belongs_to(world.picture(row["id"]) or b"", PICTURES[row["id"]]), (where, row)


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
    for number in (25, 20):
        dies(install, f"die_after_transaction({number})")
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
        dies(install, "", at_request=ASKED[window])
    else:
        dies(install, f"die_at{WITHIN[window]!r}")


def dies(install: Install, how: str, at_request: str = "") -> None:
    """One run, killed by itself or when Kie gets such a request."""
    arguments = ("run", "--once", "--timeout", "20s", "--metrics-file", str(install.folder / "metrics"))
    victims: list[Popen[bytes]] = []
    if at_request:
        on_request(install, at_request, victims)
    with running(install, *arguments, before=f"from tests.promises.dying import *\n{how}", ready=False) as run:
        victims.append(run.process)
        assert run.ended() == -9, run.stderr()


def on_request(install: Install, part: str, victims: Sequence["Popen[bytes]"]) -> None:
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
