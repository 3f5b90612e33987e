"""A real HTTP server around the core, on loopback, that turns faults into what a socket really does."""

import select
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qsl, urlsplit

from reconciler.kie.simulated.core import SimulatedKie
from reconciler.kie.simulated.files import MOUNT
from reconciler.kie.simulated.messenger import Messenger
from reconciler.kie.simulated.wire import Fault, Request, Response, html_page

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_LOOK_INTERVAL_SECONDS: Final = 0.05


class KieServer:
    """Listens from construction on, answers and calls back between `start` and `stop`; `with` does both.

    Result URLs point here unless the settings name another place.
    """

    def __init__(self, kie: SimulatedKie, *, port: int = 0) -> None:
        self.kie = kie
        self._listener = _Listener(("127.0.0.1", port), kie)
        self.base_url = f"http://127.0.0.1:{self._listener.server_port}"
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,), name="simulated-kie")
        self._messenger = Messenger(kie)
        if not kie.settings.files_url:
            kie.files_url = self.base_url + MOUNT

    def start(self) -> None:
        self._thread.start()
        self._messenger.start()

    def stop(self) -> None:
        """Ends every connection, hanging ones too, and waits for their threads."""
        self._messenger.stop()
        if self._thread.is_alive():
            self._listener.shutdown()
            self._thread.join()
        self._listener.hang_up()
        self._listener.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Listener(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for them
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], kie: SimulatedKie) -> None:
        self.kie = kie
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        with self._lock:
            self._connections.discard(request)
            # A shutdown would say goodbye first; a connection that is to be reset must not.
            if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == _RESET_ON_CLOSE:
                request.close()
                return
        super().shutdown_request(request)

    def hang_up(self) -> None:
        self.stopping.set()
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the client was quicker

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients leave when they like; a crash of the core is in the book."""


class _Handler(BaseHTTPRequestHandler):
    server: _Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet per answer

    def _answer(self) -> None:
        request = self._request()
        try:
            response = self.server.kie.handle(request)
        except Exception as crash:  # noqa: BLE001 - a crash must be seen in the book, not end the connection quietly
            self.server.kie.report(f"crash at {request.method} {request.url_path}: {crash!r}")
            response = html_page(500)
        self._send(response)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _answer  # noqa: N815 - names of the base class

    def _request(self) -> Request:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        return Request(self.command, parts.path, query, headers, self.rfile.read(length), headers.get("host", ""))

    def _send(self, response: Response) -> None:
        match response.fault:
            case None:
                self._send_head(response)
                self.wfile.write(b"" if self.command == "HEAD" else response.body)
            case Fault.CUT:
                self._reset()
            case Fault.CUT_HALF:
                self._send_head(response)
                self.wfile.write(response.body[: len(response.body) // 2])
                self.close_connection = True
            case Fault.DRIP:
                self._drip(response)
            case Fault.HANG:
                self._hang()

    def _send_head(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name.title(), value)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.close_connection = True

    def _drip(self, response: Response) -> None:
        self._send_head(response)
        interval = self.server.kie.settings.drip_interval.total_seconds()
        for byte in response.body:
            self.wfile.write(bytes((byte,)))
            self.wfile.flush()
            if self.server.stopping.wait(interval):
                break
        self.close_connection = True

    def _hang(self) -> None:
        self.close_connection = True
        while not self.server.stopping.is_set():
            readable, _, _ = select.select([self.connection], [], [], _LOOK_INTERVAL_SECONDS)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                return

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: the book tells."""
