"""The daemon's HTTP server, which no client can stop or fill."""

import io
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from socketserver import TCPServer, ThreadingMixIn
from threading import Event, Thread
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import WSGIApplication

_BUSY = b"HTTP/1.0 503 Service Unavailable\r\nCache-Control: no-store\r\nContent-Length: 5\r\n\r\nbusy\n"
_UNREAD = 1_048_576
"""Bytes of a request that are still taken, and thrown away, once it is answered."""
_POLL_S = 0.5
"""How often connections that are open for too long are looked for."""


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
    command = ""

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(self.server.limits.silence.total_seconds())

    def finish(self) -> None:
        super().finish()
        if self.command == "POST":
            self._take_the_rest()

    def _take_the_rest(self) -> None:
        """A connection that is closed while there is something to read is reset, and the client's answer with it."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            taken = 0
            while taken < _UNREAD and (piece := self.connection.recv(65536)):
                taken += len(piece)

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
