"""Promise 10: a dry run touches nothing: not the provider, not the database, not the store.

It looks through the real parts, over HTTP, at an install with every kind of track, before its first run and in the
middle of its life.
"""

import gc
import types
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import peewee
import pytest

from reconciler.app.dry import Preview, preview
from reconciler.app.once import Narrowed
from reconciler.config import Settings
from reconciler.database.connection import Connection
from reconciler.domain.actions import Buy, Fetch, GiveUp, ListStore, Wait, Write
from reconciler.domain.states import State
from reconciler.engine.effects import Eyes
from reconciler.engine.preview import Forecast
from reconciler.kie.client import KieClient, KieReader
from reconciler.kie.simulated import API_KEY, LOST, KieServer, Song, Stall, Succeed, paint
from reconciler.testing.world import World

TASK, SLOW, SONG = "a1" * 16, "b2" * 16, "c3" * 16
DONE = Succeed(width=640, height=360, run=timedelta(0))
CHANGING = ("create", "put", "prove", "reserve", "commit", "adopt", "perform")


@pytest.fixture
def world(make_world: Callable[..., World]) -> Iterator[World]:
    """Its clock stands at the real now, for the program's own clock is asked here."""
    world = make_world(insecure_hosts=("127.0.0.1",), file_hosts=("127.0.0.1", "aiquickdraw.com"))
    world.clock.time = datetime.now(UTC)
    with KieServer(world.kie) as server:
        world.kie.files_url = server.base_url + "/files"
        yield world


def settings_of(world: World) -> Settings:
    base, _, _ = world.kie.files_url.rpartition("/")
    return Settings.model_validate(
        {
            "database": {"url": f"sqlite:///{world.path}"},
            "target": {"width": 640, "height": 360},
            "kie": {
                "base_url": base,
                "api_key": API_KEY,
                "allow_insecure_hosts": ["127.0.0.1"],
                "file_hosts": list(world.policy.file_hosts),
            },
            "storage": {"path": str(images_of(world)), "public_url": world.policy.public_url},
        }
    )


def images_of(world: World) -> Path:
    return world.path.parent / "images"


def add_every_kind(world: World) -> None:
    world.kie.add_task(TASK, prompt="adopted", behaviour=DONE)
    world.kie.add_task(SLOW, prompt="slow", behaviour=Stall())
    world.kie.add_song(SONG, Song(title="with the song", cover=(640, 360)))
    world.add("buy")
    world.add("adopt", extended_prompt=f"x | image_task_id: {TASK}")
    world.add("await", image_url=SLOW)
    world.add("suno", task_id=SONG)
    world.add("rehost", image_url=world.kie.add_file("/p/dying.jpg", text="dying", size=(640, 360)))
    inline = b64encode(paint("inline", 640, 360)).decode()
    world.add("inline", image_url=f"data:image/jpeg;base64,{inline}")
    world.add("dead", image_url=world.kie.add_file("/p/dead.jpg", life=timedelta(0)), age=timedelta(days=30))
    world.add("refused", image_url="http://169.254.169.254/latest/meta-data")
    world.add("young", age=timedelta(minutes=1))
    world.add("failed", status="failed")
    world.add("hopeless", title="", prompt="Generated", extended_prompt_image="")


def give_it_a_past(world: World) -> None:
    """Half an hour ago a run left our tables, with every kind of memory in them."""
    now = world.clock()
    world.clock.time = now - timedelta(minutes=30)
    for name in ("good", "undone", "lost", "unknown", "running"):
        world.add(name)
    world.kie.script.next("create", LOST)
    world.run(timedelta(minutes=2))
    world.sql("UPDATE tracks SET image_url = NULL WHERE id = 'undone'")
    for stored in (images_of(world) / "tracks" / "lost").iterdir():
        stored.unlink()
    world.add("late")
    world.clock.time = now


def everything(world: World) -> dict[str, Any]:
    """Every byte and every time of change of the install, directories included."""
    found = sorted(world.path.parent.rglob("*"))
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None) for path in found}


@contextmanager
def dry(world: World, **how: Any) -> Iterator[Preview]:
    with preview(settings_of(world), Narrowed(), lambda: False, offline=how.get("offline", False)) as seen:
        yield seen


def look(world: World, **how: Any) -> dict[str, Forecast]:
    with dry(world, **how) as seen:
        return {forecast.case.track.id: forecast for forecast in seen.forecasts}


@pytest.mark.parametrize("past", [False, True], ids=["without our tables", "with our tables"])
def test_only_gets_reach_the_provider_and_every_byte_stays(world: World, past: bool) -> None:
    add_every_kind(world)
    if past:
        give_it_a_past(world)
    writes, asked, before = world.kie.book.writes, len(world.kie.book.visits), everything(world)
    found = look(world)
    assert everything(world) == before
    assert world.kie.book.writes == writes
    visits = world.kie.book.visits[asked:]
    assert {visit.method for visit in visits} == {"GET"}
    assert {visit.operation for visit in visits} >= ({"record"} if past else {"record", "suno_record", "file"})
    new = {"buy", "adopt", "await", "suno", "rehost", "inline", "dead", "young", "hopeless"}
    assert found.keys() >= ({"late", "undone"} if past else new)


def test_offline_nobody_is_asked_at_all(world: World) -> None:
    add_every_kind(world)
    before = everything(world)
    assert isinstance(look(world, offline=True)["buy"].action, ListStore)
    assert everything(world) == before
    assert not world.kie.book.visits
    assert not world.kie.book.creations


def test_it_says_what_a_run_would_do_first(world: World) -> None:
    add_every_kind(world)
    found = look(world)
    kinds = {
        track_id: type(found[track_id].action)
        for track_id in ("buy", "adopt", "suno", "rehost", "inline", "dead", "hopeless", "young")
    }
    assert kinds == {
        "buy": Buy,
        "adopt": Fetch,
        "suno": Fetch,
        "rehost": Fetch,
        "inline": Fetch,
        "dead": Buy,
        "hopeless": GiveUp,
        "young": Wait,
    }
    assert sum(forecast.price for forecast in found.values()) == 10
    assert found["await"].standing.state is State.AWAITING


def test_a_memory_is_used_and_not_changed(world: World) -> None:
    give_it_a_past(world)
    with dry(world) as seen:
        assert seen.remembers
        found = {forecast.case.track.id: forecast for forecast in seen.forecasts}
    assert isinstance(found["undone"].action, Write | Fetch)
    (unknown,) = world.sql("SELECT track_id FROM reconciler_purchase WHERE outcome = 'unknown'")
    assert {track_id for track_id, forecast in found.items() if forecast.price} == {"late"}
    assert unknown["track_id"] != "late"


# -- structure -----------------------------------------------------------------------------------------------------


def reachable(start: object) -> list[object]:
    """Every object of ours that can be got at from here: through fields, containers, closures and running frames."""
    seen: dict[int, object] = {}
    waiting: list[object] = [start]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, str | bytes | int | float | type | types.ModuleType | None):
            continue
        seen[id(each)] = each
        waiting.extend(_inside(each))
    ours = (each for each in seen.values() if type(each).__module__.startswith("reconciler"))
    return [each for each in ours if not isinstance(each, peewee.Database)]  # what that was opened for is tried below


def _inside(each: object) -> list[object]:
    match each:
        case types.GeneratorType():
            frame = each.gi_frame
            return [each.gi_yieldfrom, *(frame.f_locals.values() if frame else ())]
        case types.FunctionType():
            return [cell.cell_contents for cell in each.__closure__ or ()]
        case types.FrameType():
            return list(each.f_locals.values())
        case types.MethodType():
            return [each.__self__, each.__func__]
        case _:
            return gc.get_referents(each)


def test_nothing_that_a_dry_run_holds_is_able_to_buy_to_store_or_to_write(world: World) -> None:
    add_every_kind(world)
    with dry(world) as seen:
        next(seen.forecasts)
        parts = reachable(seen.forecasts)
        assert {Eyes, KieReader} <= {type(part) for part in parts}
        able = {(type(part).__qualname__, name) for part in parts for name in CHANGING if hasattr(part, name)}
        assert not able
        (connection,) = (part for part in parts if isinstance(part, Connection))
        with pytest.raises(Exception, match="readonly"):
            connection.db.execute_sql("UPDATE tracks SET title = 'x'")


def test_the_walk_would_find_what_is_able_to_buy(world: World) -> None:
    eyes = Eyes(KieClient(None, base_url="", api_key=""), None, world.store)  # type: ignore[arg-type]
    parts = reachable([lambda: eyes])
    able = {(type(part).__qualname__, name) for part in parts for name in CHANGING if hasattr(part, name)}
    assert {("KieClient", "create"), ("LocalStore", "put")} <= able
