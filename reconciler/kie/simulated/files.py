"""The file hosts: pictures painted when they are asked for, which need no key and die."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, assert_never

from reconciler.kie.simulated.painter import Format, paint
from reconciler.kie.simulated.settings import Expired, Settings
from reconciler.kie.simulated.wire import Request, Response, html_page

MOUNT: Final = "/files"
_DEFAULT_AGENT: Final = re.compile(
    r"$|(python|curl|wget|httpx|aiohttp|requests|go-http-client|okhttp|java|axios|node|undici|libwww|httpie)",
    re.IGNORECASE,
)
_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")
_ACCESS_DENIED: Final = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code></Error>'


@dataclass(frozen=True, slots=True)
class Painting:
    """A picture that is painted when somebody looks."""

    text: str
    width: int
    height: int
    format: Format = "JPEG"
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file between `ready_at` and `dies_at` (never, when None)."""

    path: str
    content: Painting | bytes
    content_type: str
    ready_at: datetime
    dies_at: datetime | None = None
    task_id: str | None = None
    prompt: str = ""

    def read(self) -> bytes:
        match self.content:
            case bytes() as raw:
                return raw
            case Painting(text, width, height, format_, seed):
                return paint(text, width, height, format_, seed)
            case _ as unreachable:
                assert_never(unreachable)


class Shelf:
    """Files by path; the mount point before the path may be left out."""

    def __init__(self) -> None:
        self._files: dict[str, StoredFile] = {}

    def put(self, files: Iterable[StoredFile]) -> None:
        self._files.update((file.path, file) for file in files)

    def find(self, path: str) -> StoredFile | None:
        return self._files.get(path.removeprefix(MOUNT))

    def owns(self, path: str) -> bool:
        """Whether the path is a file's, be there one or not."""
        return path.startswith(MOUNT + "/") or path in self._files


def serve(file: StoredFile | None, request: Request, now: datetime, settings: Settings) -> Response:
    """The answer of a file host."""
    if _DEFAULT_AGENT.match(request.headers.get("user-agent", "")):
        return html_page(403)
    if file is None or now < file.ready_at:
        return html_page(404)
    if file.dies_at is not None and now >= file.dies_at:
        return _expired(settings.expired)
    return _content(file, request.headers.get("range", ""), settings)


def _expired(how: Expired) -> Response:
    match how:
        case Expired.HTML_404:
            return html_page(404)
        case Expired.XML_403:
            return Response(403, {"content-type": "application/xml"}, _ACCESS_DENIED)
        case Expired.EMPTY_200:
            return Response(200, {"content-type": "image/jpeg"}, b"")
        case _ as unreachable:
            assert_never(unreachable)


def _content(file: StoredFile, wanted: str, settings: Settings) -> Response:
    body = file.read()
    headers = {"content-type": file.content_type}
    if not settings.honour_range:
        return Response(200, headers, body)
    headers["accept-ranges"] = "bytes"
    asked = _RANGE.fullmatch(wanted)
    if asked is None or asked.group(1) == asked.group(2) == "":
        return Response(200, headers, body)
    first, last = _span(asked.group(1), asked.group(2), len(body))
    if first > last:
        return Response(416, {"content-range": f"bytes */{len(body)}"}, b"")
    return Response(206, {**headers, "content-range": f"bytes {first}-{last}/{len(body)}"}, body[first : last + 1])


def _span(first: str, last: str, length: int) -> tuple[int, int]:
    """First and last byte, both inclusive; `-n` means the last n bytes."""
    if first == "":
        return max(0, length - int(last)), length - 1
    return int(first), min(int(last), length - 1) if last else length - 1
