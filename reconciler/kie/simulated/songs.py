"""Music tasks: the records of Suno, camelCase, with their square covers."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from reconciler.kie.simulated.files import Painting, StoredFile

_WITH_SONGS: Final = ("FIRST_SUCCESS", "SUCCESS", "CALLBACK_EXCEPTION")
_SNAKE: Final = {
    "audioUrl": "audio_url",
    "imageUrl": "image_url",
    "sourceImageUrl": "source_image_url",
    "modelName": "model_name",
    "createTime": "create_time",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Song:
    """A music task. It says PENDING until `ready_after`, then `status` with its error, if any.

    `cover` is the size of `imageUrl`'s picture; None leaves the URL null. `cover_urls` replaces the URLs by any texts.
    `api_key`: the only key that sees this record, where the app bought music with another one.
    """

    title: str = "Quiet Lake"
    status: str = "SUCCESS"
    ready_after: timedelta = timedelta(0)
    error_code: int | None = None
    error_message: str | None = None
    cover: tuple[int, int] | None = (360, 360)
    cover_urls: tuple[str, ...] = ()
    snake_case: bool = False
    api_key: str | None = None


GOOD_COVER: Final = (2048, 1152)
LOST_SONG: Final = Song(status="PENDING", error_code=413, error_message="The uploaded audio matches an existing work")


def song_files(task_id: str, song: Song, created_at: datetime, life: timedelta) -> Sequence[StoredFile]:
    """The covers, and the larger square variants that can be guessed from their URLs."""
    if song.cover is None:
        return []
    ready_at = created_at + song.ready_after
    large = (1024, 1024) if song.cover == (360, 360) else song.cover
    return [
        StoredFile(
            path=f"/{kind}_{_song_id(task_id, index)}.jpeg",
            content=Painting(song.title, width, height, "JPEG", index),
            content_type="image/jpeg",
            ready_at=ready_at,
            dies_at=ready_at + life,
            task_id=task_id,
            prompt=song.title,
        )
        for index in range(2)
        for kind, (width, height) in (("image", song.cover), ("image_large", large))
    ]


def song_record(task_id: str, song: Song, created_at: datetime, now: datetime, files_url: str) -> dict[str, object]:
    """The `data` of the music task's record."""
    ready = now >= created_at + song.ready_after
    status = song.status if ready else "PENDING"
    stamp = int(created_at.timestamp() * 1000)
    count = {"FIRST_SUCCESS": 1}.get(status, 2)
    data = [_entry(task_id, song, index, stamp, files_url) for index in range(count)]
    return {
        "taskId": task_id,
        "parentMusicId": "",
        "param": "{}",
        "response": {"taskId": task_id, "sunoData": data} if status in _WITH_SONGS else None,
        "status": status,
        "type": "chirp-v5",
        "operationType": "generate",
        "errorCode": song.error_code if ready else None,
        "errorMessage": song.error_message if ready else None,
        "createTime": stamp,
    }


def _song_id(task_id: str, index: int) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{task_id}/{index}")


def _entry(task_id: str, song: Song, index: int, stamp: int, files_url: str) -> dict[str, object]:
    song_id = _song_id(task_id, index)
    cover = None if song.cover is None else f"{files_url}/image_{song_id}.jpeg"
    if song.cover_urls:
        cover = song.cover_urls[index % len(song.cover_urls)]
    entry: dict[str, object] = {
        "id": str(song_id),
        "audioUrl": f"{files_url}/r/{song_id}.mp3",
        "imageUrl": cover,
        "sourceImageUrl": cover,
        "title": song.title,
        "tags": "ambient",
        "modelName": "chirp-v5",
        "createTime": stamp,
        "duration": 198.44,
    }
    return {_SNAKE.get(key, key): value for key, value in entry.items()} if song.snake_case else entry
