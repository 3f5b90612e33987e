"""What the stories play on: the simulated Kie with its files, and the app's database."""

import sqlite3
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

from reconciler.demo.story import Story, song_id
from reconciler.domain.policy import Target
from reconciler.images.fit import prepare
from reconciler.images.local_store import LocalStore
from reconciler.kie.simulated import SimulatedKie, Song, Succeed, paint
from reconciler.kie.simulated.behaviour import Outcome
from reconciler.ports import Prepared

KIE_HOST, STORAGE_HOST = "127.0.0.1", "localhost"
"""One server under two names: the first stands for Kie's file hosts, where files die, the second for the app's own
storage, where they last."""

Size = tuple[int, int]
TARGET: Size = (2048, 1152)


class Stage:
    """`now`: when the curtain rises; the rows' ages are counted from it."""

    def __init__(self, kie: SimulatedKie, now: datetime) -> None:
        self.kie, self.now = kie, now

    def kie_file(self, name: str, scene: str, size: Size = TARGET, *, gone: bool = False) -> str:
        return self.kie.add_file(f"p/{name}", text=scene, size=size, life=timedelta(0) if gone else None)

    def storage_file(self, name: str, scene: str, size: Size = TARGET, *, gone: bool = False) -> str:
        url = self.kie.add_file(f"storage/{name}", text=scene, size=size, life=timedelta(0) if gone else None)
        return url.replace(KIE_HOST, STORAGE_HOST)

    def missing_storage_file(self, name: str) -> str:
        return f"{self.kie.files_url}/storage/{name}".replace(KIE_HOST, STORAGE_HOST)

    def signed(self, url: str, age: timedelta) -> str:
        """The URL as a storage service signs it: for twenty minutes, begun so long ago."""
        begun = self.now - age
        return f"{url}?X-Amz-Date={begun:%Y%m%dT%H%M%SZ}&X-Amz-Expires=1200&X-Amz-Signature=5eed"

    def task(
        self, task_id: str, scene: str, behaviour: Outcome | None = None, age: timedelta = timedelta(hours=2)
    ) -> str:
        """An image task that the app bought."""
        behaviour = behaviour or Succeed(run=timedelta(seconds=40))
        self.kie.add_task(task_id, prompt=scene, behaviour=behaviour, created_at=self.now - age)
        return task_id

    def song(self, title: str, song: Song) -> None:
        """What Kie's record of the story's music task says; without it there is none."""
        self.kie.add_song(song_id(title), song, created_at=self.now)


def create_database(path: Path, stories: Iterable[Story], now: datetime) -> None:
    """The app's table as found in production, with a row for each story."""
    schema = files("reconciler.demo").joinpath("app-schema-sqlite.sql").read_text(encoding="utf-8")
    connection = sqlite3.connect(path)
    try:
        connection.executescript(schema)
        with connection:
            for story in stories:
                _insert(connection, "tracks", _row(story, now))
    finally:
        connection.close()


def fill_store(path: Path, stories: Iterable[Story]) -> None:
    store = LocalStore(path)
    store.adopt(None)
    for story in stories:
        if story.in_store:
            picture = prepare(paint(story.scene, *TARGET), Target(), interim=False)
            if isinstance(picture, Prepared):
                store.put(story.id, picture)


def hand_over(path: Path, stories: Iterable[Story]) -> None:
    """What the app tells the reconciler, in the table made for that."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            for story in stories:
                if story.handed_over is not None:
                    pair = {"track_id": story.id, "task_id": story.handed_over}
                    _insert(connection, "reconciler_image_task", pair)
    finally:
        connection.close()


def read_rows(path: Path) -> dict[str, dict[str, str | None]]:
    """Every row of the app's table, by id."""
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        return {row["id"]: dict(row) for row in connection.execute("SELECT * FROM tracks")}
    finally:
        connection.close()


def _row(story: Story, now: datetime) -> Mapping[str, str | None]:
    born = now - story.age
    return {
        "id": story.id,
        "task_id": story.song_id,
        "title": story.title,
        "prompt": "Generated Vibe",
        "audio_url": f"https://music.example/{story.song_id}.mp3",
        "created_at": born.isoformat(),
        "updated_at": born.astimezone(UTC).replace(tzinfo=None).isoformat(" "),
        "status": "completed",
        "extended_prompt_image": story.scene,
        **story.columns,
    }


def _insert(connection: sqlite3.Connection, table: str, row: Mapping[str, str | None]) -> None:
    places = ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", tuple(row.values()))  # noqa: S608
