"""The same `app-schema.sql`, the same tracks: SQLite and PostgreSQL end in the same state.

The tracks are the demo's: every kind of trouble that is known. Kie is simulated from one seed, the clock is virtual, so
that all can be compared to the letter: the app's rows, what we remember, what Kie saw, what the store holds.
"""

import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import count, groupby
from pathlib import Path
from typing import Any

import pytest

from reconciler.database.datetimes import own, parse
from reconciler.database.finder import SqlFinder
from reconciler.database.tables import ALL, Own, Remembered
from reconciler.demo.cast import cast
from reconciler.demo.stage import KIE_HOST, STORAGE_HOST, TARGET, Size, Stage, _row
from reconciler.demo.story import Story
from reconciler.domain.policy import Policy, Target
from reconciler.domain.states import State
from reconciler.images.fit import prepare
from reconciler.kie.simulated import Expired, Settings, Song, Succeed, paint
from reconciler.kie.simulated.behaviour import Outcome
from reconciler.ports import Prepared
from reconciler.testing.store import MemoryStore
from reconciler.testing.world import PUBLIC_URL, World
from tests.postgres import Bouncer, Server
from tests.postgresql.worlds import SCHEMA, AppServer

pytestmark = pytest.mark.slow

SECOND = timedelta(seconds=1)
SCALE = 8
"""Pictures are so much smaller than the demo's, and so is the target."""
TIMES = ("created_at", "updated_at")
ALL_OF_THEM = 1000
STAMPED = re.compile(r"\d{4}-\d\d-\d\d[ T][\d:.]+(?=\|)")
NO_INDEX = re.sub(r"CREATE INDEX .*\bimage_url\b.*", "", SCHEMA)
"""As installs are that hold pictures inline: no btree takes such a text."""


def small(size: Size) -> Size:
    return size[0] // SCALE, size[1] // SCALE


def smaller(outcome: Any) -> Any:
    if not isinstance(outcome, Succeed):
        return outcome
    width, height = small((outcome.width or TARGET[0], outcome.height or TARGET[1]))
    return replace(outcome, width=width, height=height)


class SmallStage(Stage):
    def kie_file(self, name: str, scene: str, size: Size = TARGET, *, gone: bool = False) -> str:
        return super().kie_file(name, scene, small(size), gone=gone)

    def storage_file(self, name: str, scene: str, size: Size = TARGET, *, gone: bool = False) -> str:
        return super().storage_file(name, scene, small(size), gone=gone)

    def task(
        self, task_id: str, scene: str, behaviour: Outcome | None = None, age: timedelta = timedelta(hours=2)
    ) -> str:
        return super().task(task_id, scene, smaller(behaviour or Succeed(run=timedelta(seconds=40))), age)

    def song(self, title: str, song: Song) -> None:
        super().song(title, replace(song, cover=small(song.cover) if song.cover is not None else None))


def policy(**given: Any) -> Policy:
    hosts: dict[str, Any] = {"file_hosts": (KIE_HOST,), "insecure_hosts": (KIE_HOST, STORAGE_HOST)}
    return Policy(public_url=PUBLIC_URL, target=Target(*small(TARGET)), per_hour=200, per_day=200, **hosts, **given)


def world_of_all_kinds(folder: Path, app: AppServer | None, policy: Policy, *, inline: bool) -> World:
    """Without those that hold pictures inline, or with them and then only those whose own row tells what they are."""
    kie = Settings(credits=5000, min_run=SECOND, max_run=9 * SECOND, expired=Expired.XML_403)
    world = World(folder, policy=policy, kie=kie, seed=1, app=app)
    world.kie.files_url = f"http://{KIE_HOST}/files"
    world.store = MemoryStore()
    chapters = cast(SmallStage(world.kie, world.clock()), 0)
    told = [story for chapter in (chapters[:2] if inline else chapters) for story in chapter.stories]
    stories = [story for story in told if inline or "inline" not in story.trouble]
    rules = [replace(rule, behaviour=smaller(rule.behaviour)) for rule, _ in world.kie.script._met]
    world.kie.script.clear()
    world.kie.script.add(*rules)
    world.kie.script.when(smaller(Succeed()))
    world.open().close()
    for story in stories:
        put(world, story)
    return world


def put(world: World, story: Story) -> None:
    insert(world, "tracks", _row(story, world.clock()))
    if story.handed_over is not None:
        told = {"track_id": story.id, "task_id": story.handed_over, "created_at": own(world.clock())}
        insert(world, "reconciler_image_task", told)
    if story.in_store:
        picture = prepare(paint(story.scene, *small(TARGET)), world.policy.target, interim=False)
        assert isinstance(picture, Prepared)
        world.store.put(story.id, picture)


def insert(world: World, table: str, row: Any) -> None:
    world.sql(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", *row.values())


@pytest.fixture
def make_app(postgres: Server, bouncer: Bouncer) -> Iterator[Callable[[str], AppServer]]:
    with ExitStack() as undo:
        yield lambda schema: undo.enter_context(closing(AppServer(postgres, bouncer, schema)))


@pytest.mark.parametrize(
    ("schema", "given"),
    [(SCHEMA, {}), (NO_INDEX, {"restore_archived": True, "interim_thumbnail": True})],
    ids=["as installed", "with inline pictures and all that can be switched on"],
)
def test_all_kinds_of_tracks_end_in_the_same_state(
    make_app: Callable[[str], AppServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    schema: str,
    given: dict[str, Any],
) -> None:
    worlds, inline = list[World](), schema is NO_INDEX
    for app in (None, make_app(schema)):
        folder = tmp_path / str(len(worlds))
        folder.mkdir()
        worlds.append(world_of_all_kinds(folder, app, policy(**given), inline=inline))
    for length in (timedelta(minutes=5), timedelta(hours=3)):
        for world in worlds:
            monkeypatch.setattr(secrets, "token_urlsafe", partial(token, world, count()))
            world.run(length, wrap=in_order)
        agree(*worlds)
    ended = worlds[0].overview().tracks
    assert {state for state, _ in ended} >= {State.OK, State.FAILED}
    assert sum(ended.values()) >= (22 if inline else 45)
    assert len(worlds[0].kie.book.purchases) >= (10 if inline else 30)


class InOrder:
    """A finder. Of tracks that are equally urgent each engine finds another first: here the one whose id is less."""

    def __init__(self, finder: SqlFinder) -> None:
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)

    def due(self, limit: int, only: Sequence[str] | None = None, *, new: bool = True) -> list[str]:
        return self._settled(self._finder.due(ALL_OF_THEM, only, new=new))[:limit]

    def held_back(self, shape: str, limit: int, only: Sequence[str] | None = None) -> list[str]:
        return self._settled(self._finder.held_back(shape, ALL_OF_THEM, only))[:limit]

    def _settled(self, found: Sequence[str]) -> list[str]:
        columns = Remembered.track_id, Remembered.expires_at, Remembered.tried_at
        with self._finder.connection.reading():
            urgent = {key: times for key, *times in self._finder.connection.rows(Remembered.select(*columns))}
        return [track_id for _, equals in groupby(found, urgent.get) for track_id in sorted(equals)]


def in_order(name: str, port: Any) -> Any:
    return InOrder(port) if name == "finder" else port


def token(world: World, numbers: Iterator[int], _: int) -> str:
    """In place of chance."""
    return f"{world.clock().isoformat()} {next(numbers)}"


def agree(one: World, other: World) -> None:
    assert rows(one) == rows(other)
    for model in ALL:
        assert remembered(one, model) == remembered(other, model)
    assert one.overview() == other.overview()
    assert one.kie.book.as_json() == other.kie.book.as_json()
    assert pictures(one) == pictures(other)
    assert one.events == other.events


def rows(world: World) -> list[dict[str, Any]]:
    return [row | {name: moment(row[name]) for name in TIMES} for row in world.rows()]


def remembered(world: World, model: type[Own]) -> list[dict[str, Any]]:
    """A track's stamp holds a time in the engine's own form."""
    found = world.sql(f"SELECT * FROM {model.table_name()}")
    for row in found:
        row.update({name: STAMPED.sub(in_one_form, row[name]) for name in ("stamp", "doc") if row.get(name)})
    return sorted(found, key=repr)


def in_one_form(found: re.Match[str]) -> str:
    return str(parse(found[0]))


def moment(text: str) -> datetime | None:
    """Each engine writes times in its way."""
    return parse(text)


def pictures(world: World) -> Sequence[tuple[str, bytes]]:
    assert isinstance(world.store, MemoryStore)
    return sorted(world.store.pictures.items())
