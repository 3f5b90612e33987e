"""The job that is measured: tracks without a picture, a Kie that limits nothing, and the work that nobody can spare.

Half of the pictures come in the target's size, half are to be fitted. They have 75 and 102 kB; grainy ones, 0.9 and
1.3 MB.
"""

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from PIL import Image, ImageChops, ImageOps

from reconciler.kie.simulated import API_KEY, Settings, SimulatedKie, Succeed
from reconciler.kie.simulated.painter import paint

MODEL = "bytedance/seedream-v4-text-to-image"
INPUT = {"image_size": "landscape_16_9", "image_resolution": "2K", "max_images": 1}
SIZE = (2048, 1152)


def free_kie(lasting: timedelta = timedelta(0), *, grainy: bool = False) -> SimulatedKie:
    """Every task runs for so long."""
    free = Settings(credits=1e9, creation_limit=10**9, max_running=10**9)
    kie = SimulatedKie(lambda: datetime.now(UTC), settings=free)
    for word, size in (("even", SIZE), ("odd", (2560, 1440))):
        picture = paint(word, *size)
        content = grained(picture) if grainy else picture
        kie.script.when(Succeed(run=lasting, content=content), prompt_contains=word)
    return kie


def grained(picture: bytes) -> bytes:
    with Image.open(io.BytesIO(picture)) as smooth:
        noise = Image.effect_noise(smooth.size, 12).convert("RGB")
        file = io.BytesIO()
        ImageChops.add(smooth, noise, 1, -128).save(file, "JPEG", quality=88)
        return file.getvalue()


def prompt(number: int) -> str:
    return f"a lighthouse called {number}, {'odd' if number % 2 else 'even'}, in morning mist"


def stuck_rows(tracks: int) -> Iterator[dict[str, str]]:
    """For the app's table: old enough for anybody to work them."""
    born = datetime.now(UTC) - timedelta(days=2)
    for number in range(tracks):
        yield {
            "id": f"t{number}",
            "title": f"Song {number}",
            "prompt": "Generated Vibe",
            "status": "completed",
            "created_at": born.isoformat(),
            "updated_at": born.replace(tzinfo=None).isoformat(" "),
            "extended_prompt_image": prompt(number),
        }


class PlainKie:
    """Kie's calls, with no more care than it takes to make them."""

    def __init__(self, url: str) -> None:
        self._url = url
        headers = {"Authorization": f"Bearer {API_KEY}", "User-Agent": "plain/1"}
        self._api = httpx.Client(headers=headers, timeout=60)
        self._files = httpx.Client(headers={"User-Agent": "plain/1"}, timeout=60)

    def order(self, prompt: str) -> str:
        """The task's id."""
        order = {"model": MODEL, "input": {**INPUT, "prompt": prompt}}
        return str(_data(self._api.post(f"{self._url}/api/v1/jobs/createTask", json=order))["taskId"])

    def result(self, task_id: str) -> str | None:
        """The picture's URL; None while the task runs."""
        record = _data(self._api.get(f"{self._url}/api/v1/jobs/recordInfo", params={"taskId": task_id}))
        if record["state"] == "fail":
            raise RuntimeError(record["failMsg"])
        return str(json.loads(record["resultJson"])["resultUrls"][0]) if record["state"] == "success" else None

    def picture(self, url: str) -> bytes:
        return self._files.get(url).raise_for_status().content


def _data(answer: httpx.Response) -> Any:
    body = answer.raise_for_status().json()
    if body["code"] != 200:
        raise RuntimeError(body["msg"])
    return body["data"]


def fitted(data: bytes) -> bytes:
    """Decoded whole, and in the target's size."""
    picture = Image.open(io.BytesIO(data))
    picture.load()
    if picture.size == SIZE:
        return data
    file = io.BytesIO()
    ImageOps.fit(picture, SIZE, Image.Resampling.LANCZOS).save(file, "JPEG", quality=92)
    return file.getvalue()
