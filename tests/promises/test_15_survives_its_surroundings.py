"""Promise 15: survives its surroundings. Database away and back, a pooler that restarts, disk full, storage refusing,
provider down for hours, clock jumping: it says what is wrong, goes on by itself, and buys nothing twice.

Real parts, but for the time that hours and jumps take. More of the database: tests/postgresql/test_restarts.py.
"""

import errno
import os
import random
import stat
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from reconciler.domain.states import Reason, State
from reconciler.engine.events import Moved
from reconciler.kie.simulated import Succeed, page
from reconciler.kie.simulated.wire import Request, Response
from reconciler.testing.world import World
from tests import s3
from tests.app.test_keeping import in_bucket
from tests.cli.conftest import PROGRAM, Install, clean_environment, installed
from tests.daemons import eventually, running, small
from tests.living import living
from tests.postgres import Bouncer, Server, hasty, postgres
from tests.postgresql.installs import installed_on
from tests.proxy import Proxy
from tests.tools import _give_up

__all__ = ["hasty", "postgres"]

pytestmark = pytest.mark.slow

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
GOOD = "160x90"
OFTEN = {"schedule__sweep_interval": '"1s"'}
HASTY = {**OFTEN, "kie__request_timeout": '"2s"'}
RUN = ("run", "--once", "--timeout", "30s")


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    with installed(tmp_path) as made:
        yield made


def good(install: Install) -> int:
    return sum(row["resolution"] == GOOD for row in install.rows())


def reasons(install: Install) -> set[str]:
    """Why tracks were stuck when they were looked at last: while no sweep can begin, one whose time has come is due."""
    rows = install.sql("SELECT reason FROM reconciler_memory")
    return {row["reason"] for row in rows if row["reason"] is not None}


def at_a_download(made: Install | World, happens: Callable[[], object]) -> None:
    """Once: before the next picture is sent."""
    answer = made.kie.handle

    def handle(request: Request) -> Response:
        if request.url_path.endswith((".jpg", ".png")):
            made.kie.handle = answer  # type: ignore[method-assign]
            happens()
        return answer(request)

    made.kie.handle = handle  # type: ignore[method-assign]


def bought(kie: Install | World) -> list[int]:
    """How often for each prompt."""
    return list(Counter(purchase.prompt for purchase in kie.kie.book.purchases).values())


# -- the database ------------------------------------------------------------------------------------------------------


def test_the_database_goes_away_and_comes_back(postgres: Server, hasty: Bouncer, tmp_path: Path) -> None:
    with installed_on(postgres, hasty, tmp_path) as install:
        small(install, **HASTY)
        with running(install) as daemon:
            install.when("/files/", postgres.stop)
            install.add("a")
            eventually(lambda: "sweep: postgresql://" in daemon.says("/readyz")[1])
            assert daemon.says("/metrics")[0] == 200
            assert install.bouncer.connections(install.name) <= 3
            postgres.start()
            eventually(lambda: install.bouncer_answers() and good(install) == 1)
            eventually(lambda: daemon.says("/readyz")[0] == 200)
            assert daemon.stop() == 0
        assert bought(install) == [1]


def test_the_pooler_in_between_is_restarted(postgres: Server, hasty: Bouncer, tmp_path: Path) -> None:
    """While an order is on its way: its answer is saved by another connection."""
    with installed_on(postgres, hasty, tmp_path) as install:
        small(install, **OFTEN)
        with running(install) as daemon:
            install.when("createTask", hasty.restart)
            install.add("a")
            eventually(lambda: good(install) == 1)
            assert daemon.stop() == 0
        assert bought(install) == [1]


# -- the store ---------------------------------------------------------------------------------------------------------

ON_A_SMALL_DISK = 'mount -t tmpfs -o size=6m none "$1" && shift && exec "$@"'


def small_disk(install: Install) -> list[str]:
    """Before a command: its store is a file system of its own."""
    install.store.mkdir()
    apart = ["unshare", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK, "sh", str(install.store)]
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        _give_up("no file system may be mounted here, even in a name space of its own")
    return apart


@contextmanager
def on_a_small_disk(install: Install) -> Iterator[Path]:
    """A daemon whose store is a file system of its own; where that is reached from here."""
    command, log = [*small_disk(install), *PROGRAM, "--config", str(install.config), "run"], install.folder / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(command, cwd=install.folder, env=clean_environment(), stderr=errors)
    try:
        eventually(lambda: '"started"' in log.read_text())
        yield Path(f"/proc/{process.pid}/root{install.store}")
        process.terminate()
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def test_the_disk_is_full_and_then_is_not(install: Install) -> None:
    """From when a picture is downloaded."""
    small(install, **OFTEN)
    with on_a_small_disk(install) as disk:
        filler = disk / "filler"
        at_a_download(install, lambda: fill(disk))
        install.add("a")
        eventually(lambda: reasons(install) == {"storage_failed"})
        assert "No space left on device; make room on the disk" in install.call("explain", "a").stdout
        assert not list(disk.rglob("*.part"))
        filler.unlink()
        eventually(lambda: good(install) == 1)
        assert [path.stat().st_size > 0 for path in disk.rglob("*.jpg")] == [True]
    assert bought(install) == [1]


def test_on_a_full_disk_nothing_is_bought(install: Install) -> None:
    small(install, **OFTEN, schedule__retry_min='"1s"')
    with on_a_small_disk(install) as disk:
        filler = fill(disk)
        for track_id in "abc":
            install.add(track_id)
        refused = "SELECT 1 FROM reconciler_memory WHERE reason = 'storage_failed'"
        eventually(lambda: len(install.sql(refused)) == 3)
        assert "No space left on device; make room on the disk" in install.call("explain", "a").stdout
        assert bought(install) == []
        filler.unlink()
        eventually(lambda: good(install) == 3)
        assert [path for path in disk.rglob("*") if path.name.endswith(".part")] == []
    assert bought(install) == [1, 1, 1]


def test_check_is_not_content_with_a_disk_that_takes_small_files_alone(install: Install) -> None:
    """A run buys nothing there, and sends to `check`."""
    filled = ("sh", "-c", 'head -c 3M /dev/zero >"$0" && exec "$@"', f"{install.store}/filler")
    done = install.program("check", "--offline", by=(*small_disk(install), *filled))
    assert done.returncode == 78, done.stdout
    said = " ".join(done.stdout.split())
    assert f"failed storage write a probe: {install.store}/tracks/" in said
    assert "No space left on device; make room on the disk" in said


def test_no_more_is_bought_once_the_disk_is_full(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The marker can be read all the while."""
    world = make_world(purchase_limit=2)
    world.add("first")
    world.run()
    for number in range(12):
        world.add(f"t{number:02}")

    def full(handle: int) -> None:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        at_a_download(world, lambda: patch.setattr(os, "fsync", full))
        world.run(HOUR)
        before = len(bought(world))
        assert before < 13
        world.run(6 * HOUR)
        assert len(bought(world)) == before
    assert world.run(DAY).states == {(State.OK, None): 13}
    assert bought(world) == [1] * 13


def test_storage_refuses_and_then_takes_pictures_again(install: Install) -> None:
    """The server is out of reach from when a picture is downloaded."""
    real = s3.server()
    bucket = real.empty_bucket()
    with Proxy("127.0.0.1", int(real.endpoint.rpartition(":")[2])) as network:
        there = f'"http://127.0.0.1:{network.port}"'
        small(install, **{**in_bucket(real, bucket), **HASTY, "storage__endpoint": there})
        with running(install) as daemon:
            at_a_download(install, lambda: cut_off(network))
            install.add("a")
            eventually(lambda: reasons(install) == {"storage_failed"})
            eventually(lambda: "sweep: storage.bucket: " in daemon.says("/readyz")[1])
            network.refuse = False
            eventually(lambda: good(install) == 1)
            eventually(lambda: daemon.says("/readyz")[0] == 200)
            assert daemon.stop() == 0
    assert bought(install) == [1]


def cut_off(network: Proxy) -> None:
    network.refuse = True
    network.cut()


def test_storage_that_takes_no_such_key_is_told_and_nothing_is_bought(install: Install) -> None:
    real = s3.server()
    given = in_bucket(real, real.empty_bucket())
    small(install, **given)
    assert install.call(*RUN).exit_code == 0
    install.add("a")
    small(install, **{**given, "storage__secret_key": '"another"'})
    refused = install.call(*RUN)
    assert refused.exit_code == 78
    assert "the signature does not match; set storage.secret_key" in refused.stderr
    assert bought(install) == []
    small(install, **given)
    assert install.call(*RUN).exit_code == 0
    assert (good(install), bought(install)) == (1, [1])


# -- the provider, and time --------------------------------------------------------------------------------------------


def test_the_provider_is_down_for_hours(make_world: Callable[..., World]) -> None:
    world = make_world()
    for number in range(20):
        world.add(f"t{number:02}")
    begins = world.clock() + 10 * SECOND
    world.kie.script.outage(begins, begins + 5 * HOUR, page(502))
    with living(world, sweep_interval=10 * MINUTE, audit_interval=None) as daemon:
        daemon.live(5 * HOUR)
        assert 0 < len(bought(world)) < 20
        refused = len(world.kie.book.creations) - len(bought(world))
        assert refused <= 20, "it was left alone"
        daemon.live(2 * HOUR)
    assert {state for (state, _), tracks in world.overview().tracks.items() if tracks} == {State.OK}
    assert bought(world) == [1] * 20
    assert not [event for event in world.events if isinstance(event, Moved) and event.state is State.FAILED]


def jumping(world: World, jump: Callable[[str], timedelta]) -> None:
    """Our clock jumps when Kie has done what it was asked, and before it answers. Kie's own goes on as ever."""
    answer = world.kie.handle

    def handle(request: Request) -> Response:
        response = answer(request)
        world.clock.jump(jump(request.url_path))
        return response

    world.kie.handle = handle  # type: ignore[method-assign]


STILL = timedelta(0)
JUMPS = (MINUTE, 3 * HOUR, 2 * DAY)


@pytest.mark.parametrize("seed", range(3))
def test_the_clock_jumps_forth_and_back_in_the_middle_of_runs(make_world: Callable[..., World], seed: int) -> None:
    patient = {"task_timeout": 100 * DAY, "hold_unknown": 100 * DAY}  # a jump is not to be taken for either
    world, chance = make_world(purchase_limit=3, **patient), random.Random(seed)
    for number in range(30):
        world.add(f"t{number:02}", age=30 * DAY)
    wild = [chance.choice(JUMPS) * chance.choice((-1, 1)) if chance.random() < 0.2 else STILL for _ in range(30)]
    jumps = iter([*wild, 2 * DAY, *[STILL] * 20, -2 * DAY])  # what was bought last lies ahead, and fills the window
    jumping(world, lambda _: next(jumps, STILL))
    begun = world.clock.true()
    for _ in range(20):
        world.run(2 * MINUTE)
    assert next(jumps, None) is None
    assert world.run(12 * HOUR).states == {(State.OK, None): 30}
    assert bought(world) == [1] * 30
    fetched = [visit.at for visit in world.kie.book.visits if visit.operation == "file"]
    assert max(fetched) - begun < HOUR, "nothing was held up"


def test_a_task_is_asked_on_though_its_next_time_lies_days_ahead_since_the_clock_was_set_back(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=640, height=360, run=10 * MINUTE))
    world.add("t", age=30 * DAY)
    world.clock.jump(2 * DAY)
    assert world.run(SECOND).states == {(State.AWAITING, Reason.IN_FLIGHT): 1}
    world.clock.jump(-2 * DAY)
    assert world.run(HOUR, audit=False).states == {(State.OK, None): 1}


@pytest.mark.timeout(20)
def test_an_order_whose_lease_ran_out_on_its_way_keeps_nobody_busy(make_world: Callable[..., World]) -> None:
    """It waited in line, where it is found again."""
    world = make_world(purchase_limit=1)
    for track in "abc":
        world.add(track, age=30 * DAY)
    orders = count()
    jumping(world, lambda path: HOUR if "createTask" in path and next(orders) else STILL)
    assert world.run(DAY).states == {(State.OK, None): 3}
    assert bought(world) == [1] * 3
