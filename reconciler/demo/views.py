"""What a visitor of the app sees where a row's picture should be."""

import base64
import binascii
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image, UnidentifiedImageError

from reconciler.domain.policy import Policy
from reconciler.domain.urls import Kind, kind_of
from reconciler.kie.simulated import Request, SimulatedKie

_BROWSER = {"user-agent": "reconciler-demo"}


@dataclass(frozen=True, slots=True)
class View:
    """`words`: its size, or what is there in the place of a picture."""

    data: bytes | None
    words: str


Viewer = Callable[[str | None], View]


def viewer(kie: SimulatedKie, images: Path, policy: Policy) -> Viewer:
    """Looks at any `image_url` of the demo: in the store, at the simulated hosts, inline."""

    def view(url: str | None) -> View:
        kind = kind_of(url, policy)
        if url is None or kind is Kind.NOTHING:
            return View(None, "no picture")
        if kind is Kind.TASK_ID:
            return View(None, "a task id")
        key = policy.key_of(url)
        if key is not None:
            return _sized((images / key).read_bytes(), "")
        if kind is Kind.INLINE:
            return _sized(_inline(url), "inline, ")
        answer = kie.handle(Request("GET", urlsplit(url).path, headers=_BROWSER))
        return _sized(answer.body, "") if answer.status == 200 else View(None, f"gone ({answer.status})")

    return view


def _sized(data: bytes, prefix: str) -> View:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            return View(data, f"{prefix}{picture.width}x{picture.height}")
    except (UnidentifiedImageError, OSError):
        return View(None, f"{prefix}broken")


def _inline(url: str) -> bytes:
    try:
        return base64.b64decode(url.partition(",")[2])
    except binascii.Error:
        return b""
