"""The daemon's pages: metrics, health and pictures, as a WSGI application."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from wsgiref.types import StartResponse, WSGIEnvironment

from reconciler.images.formats import Format
from reconciler.ports import StoreError

PIECE = 65536
"""Bytes that are sent or read at a time."""

_TEXT = "text/plain; charset=utf-8"
_THUMBNAIL = re.compile(r"/thumbnails/([0-9a-f]{32})\.jpg")
_HTML = "text/html; charset=utf-8"
_PART = r"[A-Za-z0-9_~-][A-Za-z0-9_~.-]*"
_IMAGE = re.compile(rf"/images/((?:{_PART}/)*({_PART}\.({'|'.join(Format)})))")
"""Key, file name, extension. No part begins with a dot, so that nothing leads out of the store or to a hidden file."""
_CALLBACKS = "/callback/"
_CALLBACK = re.compile(_CALLBACKS + "([A-Za-z0-9_-]{32})")
"""The token of an order: 24 random bytes."""
_FRESH = (("Cache-Control", "no-store"),)
_GUARDED = (("Referrer-Policy", "no-referrer"), ("Cross-Origin-Resource-Policy", "same-origin"))


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    content_type: str = _TEXT
    headers: tuple[tuple[str, str], ...] = _FRESH


Page = Callable[[WSGIEnvironment], Answer]
Complaints = Callable[[], tuple[str, ...]]
"""One line each; empty when all is well."""


@dataclass(frozen=True, slots=True)
class Pages:
    """A WSGI application. What a page raises is answered with 500 or 503, without its text, and told to `failed`."""

    metrics: Callable[[], tuple[bytes, str]]
    """Body and content type."""
    health: Complaints
    ready: Complaints
    picture: Callable[[str], bytes | None] | None
    """By the store's key, may raise StoreError; None: pictures are not served here."""
    callback: Callable[[WSGIEnvironment, str], Answer] | None = None
    """With the token of the path, which is told to nobody else; None: callbacks are not heard."""
    status: Callable[[], tuple[bytes, str]] | None = None
    """The page for people, as HTML, and its Content-Security-Policy; None: there is none."""
    thumbnail: Callable[[str], bytes | None] = lambda name: None  # noqa: ARG005
    """A JPEG on that page, by its name."""
    failed: Callable[[str, Exception], None] = lambda path, error: None  # noqa: ARG005

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = self._answer(environ)
        start_response(
            f"{answer.status} {HTTPStatus(answer.status).phrase}",
            [
                ("Content-Type", answer.content_type),
                ("Content-Length", str(len(answer.body))),
                ("X-Content-Type-Options", "nosniff"),
                ("Server", "reconciler"),
                *answer.headers,
            ],
        )
        if environ["REQUEST_METHOD"] == "HEAD" or answer.status == HTTPStatus.NOT_MODIFIED:
            return []
        # The time-out counts for each piece, so that a slow client may still have a large picture.
        return (answer.body[at : at + PIECE] for at in range(0, len(answer.body), PIECE))

    def _answer(self, environ: WSGIEnvironment) -> Answer:
        path = environ["PATH_INFO"]
        pages = self._at(path)
        if not pages:
            return _plain(404, "there is no such page")
        page = pages.get(environ["REQUEST_METHOD"])
        if page is None:
            allowed = ", ".join(pages)
            return Answer(405, f"only {allowed}\n".encode(), headers=(*_FRESH, ("Allow", allowed)))
        try:
            return page(environ)
        except StoreError as error:
            self.failed(path, error)
            return _plain(503, "the store cannot be read")
        except Exception as error:  # noqa: BLE001 - whatever it is, the next request is served
            self.failed(_CALLBACKS if path.startswith(_CALLBACKS) else path, error)
            return _plain(500, "this page has failed; the log tells why")

    def _at(self, path: str) -> Mapping[str, Page]:
        """What answers there, by method."""
        match path:
            case "/metrics":
                return _read(self._metrics)
            case "/healthz":
                return _read(lambda _: _verdict(self.health()))
            case "/readyz":
                return _read(lambda _: _verdict(self.ready()))
            case _ if self.picture is not None and (found := _IMAGE.fullmatch(path)):
                return _read(_image(self.picture, *found.groups()))
            case _ if self.callback is not None and (found := _CALLBACK.fullmatch(path)):
                return {"POST": _called(self.callback, found[1])}
        return self._for_people(path)

    def _for_people(self, path: str) -> Mapping[str, Page]:
        if path == "/" and self.status is not None:
            return _read(_status(self.status))
        found = _THUMBNAIL.fullmatch(path)
        return _read(_thumbnail(self.thumbnail, found[1])) if found else {}

    def _metrics(self, _: WSGIEnvironment) -> Answer:
        body, content_type = self.metrics()
        return Answer(200, body, content_type)


def _read(page: Page) -> Mapping[str, Page]:
    return {"GET": page, "HEAD": page}


def _plain(status: int, *lines: str) -> Answer:
    return Answer(status, "".join(" ".join(line.split()) + "\n" for line in lines).encode(errors="replace"))


def _verdict(complaints: tuple[str, ...]) -> Answer:
    return _plain(503, *complaints) if complaints else _plain(200, "ok")


def _called(callback: Callable[[WSGIEnvironment, str], Answer], token: str) -> Page:
    return lambda environ: callback(environ, token)


def _status(status: Callable[[], tuple[bytes, str]]) -> Page:
    def page(_: WSGIEnvironment) -> Answer:
        body, policy = status()
        return Answer(200, body, _HTML, (*_FRESH, ("Content-Security-Policy", policy), *_GUARDED))

    return page


def _thumbnail(thumbnail: Callable[[str], bytes | None], name: str) -> Page:
    def page(_: WSGIEnvironment) -> Answer:
        data = thumbnail(name)
        if data is None:
            return _plain(404, "there is no such thumbnail")
        headers = (("Cache-Control", "private, max-age=3600, immutable"), *_GUARDED)
        return Answer(200, data, Format.JPEG.content_type, headers)

    return page


def _image(picture: Callable[[str], bytes | None], key: str, name: str, extension: str) -> Page:
    """A key names its bytes, so they never change and the file's name is tag enough."""
    tag = f'"{name}"'
    headers = (("Cache-Control", "public, max-age=31536000, immutable"), ("ETag", tag))

    def page(environ: WSGIEnvironment) -> Answer:
        data = picture(key)
        if data is None:
            return _plain(404, "there is no such picture")
        known = {part.strip().removeprefix("W/") for part in environ.get("HTTP_IF_NONE_MATCH", "").split(",")}
        return Answer(304 if known & {tag, "*"} else 200, data, Format(extension).content_type, headers)

    return page
