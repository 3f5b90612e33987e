"""The daemon's HTTP server: metrics, health and pictures, without harm from whoever asks."""

import io
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from socketserver import TCPServer, ThreadingMixIn
from threading import Event, Thread
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from reconciler.ports import StoreError

_TEXT = "text/plain; charset=utf-8"
_PICTURES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
_IMAGE = re.compile(r"/images/((?:[A-Za-z0-9_~-][A-Za-z0-9_~.-]*/)*([A-Za-z0-9_~-][A-Za-z0-9_~.-]*\.(jpg|png|webp)))")
"""Key, file name, extension. No part begins with a dot, so that nothing leads out of the store or to a hidden file."""
_FRESH = (("Cache-Control", "no-store"),)
_BUSY = b"HTTP/1.0 503 Service Unavailable\r\nCache-Control: no-store\r\nContent-Length: 5\r\n\r\nbusy\n"
_PIECE = 65536
_POLL_S = 0.5
"""How often connections that are open for too long are looked for."""


# -- the pages -----------------------------------------------------------------------------------------------------


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
        return (answer.body[at : at + _PIECE] for at in range(0, len(answer.body), _PIECE))

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
            self.failed(path, error)
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
        return {}

    def _metrics(self, _: WSGIEnvironment) -> Answer:
        body, content_type = self.metrics()
        return Answer(200, body, content_type)


def _read(page: Page) -> Mapping[str, Page]:
    return {"GET": page, "HEAD": page}


def _plain(status: int, *lines: str) -> Answer:
    return Answer(status, "".join(" ".join(line.split()) + "\n" for line in lines).encode(errors="replace"))


def _verdict(complaints: tuple[str, ...]) -> Answer:
    return _plain(503, *complaints) if complaints else _plain(200, "ok")


def _image(picture: Callable[[str], bytes | None], key: str, name: str, extension: str) -> Page:
    """A key names its bytes, so they never change and the file's name is tag enough."""
    tag = f'"{name}"'
    headers = (("Cache-Control", "public, max-age=31536000, immutable"), ("ETag", tag))

    def page(environ: WSGIEnvironment) -> Answer:
        data = picture(key)
        if data is None:
            return _plain(404, "there is no such picture")
        known = {part.strip().removeprefix("W/") for part in environ.get("HTTP_IF_NONE_MATCH", "").split(",")}
        return Answer(304 if known & {tag, "*"} else 200, data, _PICTURES[extension], headers)

    return page


# -- the server ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limits:
    requests: int = 32
    """At a time; whoever comes then is told 503."""
    silence: timedelta = timedelta(seconds=10)
    """For the client to send, or to take what it is sent."""
    whole: timedelta = timedelta(seconds=60)
    """From connecting to the end, for clients that send a byte now and then."""


class HttpServer:
    """Bound from construction on (OSError when it cannot be), serves between `start` and `close`; `with` does both."""

    def __init__(
        self,
        host: str,
        port: int,
        app: WSGIApplication,
        limits: Limits = Limits(),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listener = _Listener(host, port, limits, monotonic)
        self._listener.set_app(app)
        self._thread = Thread(target=self._listener.serve_forever, args=(_POLL_S,), name="http", daemon=True)
        self.port = self._listener.server_port
        self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Prompt, whatever clients and pages do: requests under way are not waited for. May be called again."""
        self._listener.closing.set()
        if self._thread.is_alive():
            with suppress(OSError):
                self._listener.socket.shutdown(socket.SHUT_RDWR)  # else the loop sleeps until its next poll
            self._listener.shutdown()
            self._thread.join()
        self._listener.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Handler(WSGIRequestHandler):
    server: "_Listener"
    server_version = "reconciler"
    sys_version = ""

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(self.server.limits.silence.total_seconds())

    def log_message(self, *_: object) -> None:
        """There is no access log: stderr belongs to the daemon's own."""

    def get_stderr(self) -> io.StringIO:
        return io.StringIO()


class _Listener(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, limits: Limits, monotonic: Callable[[], float]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.limits = limits
        self.closing = Event()
        self._monotonic = monotonic
        self._open: dict[socket.socket, float] = {}
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own also asks the DNS for our name, and may wait
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:
            self.closing.wait(0.05)  # out of descriptors the socket stays readable, and the loop would spin
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if len(self._open) >= self.limits.requests:
            with suppress(OSError):
                request.setblocking(False)
                request.send(_BUSY)
            self.shutdown_request(request)
            return
        self._open[request] = self._monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        oldest = self._monotonic() - self.limits.whole.total_seconds()
        for request, since in tuple(self._open.items()):
            if since < oldest:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients leave when they like. What a page raises does not come here."""
