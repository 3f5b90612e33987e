"""The transport against real sockets on loopback: what happened, whether it was sent, and that every call ends."""

import logging
import math
import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from traceback import format_exception
from typing import Any

import pytest

from reconciler.transport import (
    BELIEVED,
    Broken,
    Forbidden,
    NotSent,
    Reply,
    Request,
    TimedOut,
    Transport,
    TransportError,
)

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SHORT = timedelta(milliseconds=200)
LONG = timedelta(seconds=20)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Odd: a\r\nx-odd: b\r\n\r\nhi"


class Server:
    """Listens on loopback and runs `script` for each connection until the test is over."""

    def __init__(self, script: Callable[["Server", socket.socket], None], host: str = "127.0.0.1") -> None:
        self.script, self.host = script, f"[{host}]" if ":" in host else host
        self.requests: list[bytes] = []
        self.connections = 0
        self.over = threading.Event()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/path?token=secret"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(5)
            self.script(self, connection)

    def read(self, connection: socket.socket) -> bytes:
        """One request whose body, if any, ends with "END"; b"" when the client went away."""
        data = b""
        while not data.endswith((b"\r\n\r\n", b"END")) or (b"POST" in data and not data.endswith(b"END")):
            piece = connection.recv(65536)
            if not piece:
                return b""
            data += piece
        self.requests.append(data)
        return data

    def drip(self, connection: socket.socket, piece: bytes) -> None:
        while not self.over.wait(0.01):
            connection.sendall(piece)

    def close(self) -> None:
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(script: Callable[[Server, socket.socket], None], **options: Any) -> Server:
        servers.append(Server(script, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def make() -> Iterator[Callable[..., Transport]]:
    made: list[Transport] = []

    def build(**options: Any) -> Transport:
        defaults: dict[str, Any] = {"user_agent": "reconciler/test", "clock": lambda: NOW}
        made.append(Transport(**(defaults | options)))
        return made[-1]

    yield build
    for transport in made:
        transport.close()


@pytest.fixture
def transport(make: Callable[..., Transport]) -> Transport:
    return make()


def get(url: str) -> Request:
    return Request("GET", url, {})


def post(url: str, not_after: datetime | None = None) -> Request:
    return Request("POST", url, {"Authorization": "Bearer secret"}, b"body END", not_after)


def answer(data: bytes) -> Callable[[Server, socket.socket], None]:
    def script(server: Server, connection: socket.socket) -> None:
        while server.read(connection):
            connection.sendall(data)

    return script


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def failure(transport: Transport, request: Request, deadline: timedelta = LONG) -> TransportError:
    with pytest.raises(TransportError) as caught:
        transport.send(request, deadline=deadline, max_bytes=1000)
    assert "secret" not in f"{caught.value!r} {caught.value}"
    return caught.value


def test_a_reply_is_passed_on_with_lower_case_headers_and_our_own_name(serve: Serve, transport: Transport) -> None:
    server = serve(answer(OK))
    reply = transport.send(get(server.url), deadline=LONG, max_bytes=2)
    assert (reply.status, reply.body, reply.complete) == (200, b"hi", True)
    assert reply.headers == {"content-length": "2", "x-odd": "a, b"}
    sent = server.requests[0].lower()
    assert sent.startswith(b"get /path?token=secret http/1.1\r\n")
    assert b"user-agent: reconciler/test\r\n" in sent
    assert b"accept-encoding: identity\r\n" in sent


def has_ipv6() -> bool:
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@pytest.mark.parametrize(
    "host", ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 loopback"))]
)
def test_the_host_header_is_the_urls_own_host_and_port(serve: Serve, transport: Transport, host: str) -> None:
    server = serve(answer(OK), host=host)
    transport.send(get(server.url), deadline=LONG, max_bytes=2)
    hosts = [line for line in server.requests[0].split(b"\r\n") if line.lower().startswith(b"host:")]
    assert hosts == [f"Host: {server.host}:{server.port}".encode()]


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n%s\r\n"
WAYS_TO_END = {
    "a length": OK,
    "a long body": b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + bytes(300_000),
    "no body": b"HTTP/1.1 204 No Content\r\n\r\n",
    "a length of nothing": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "chunks": CHUNKED % b"",
    "chunks and a trailer": CHUNKED % b"X: y\r\n",
}


@pytest.mark.parametrize("whole", WAYS_TO_END.values(), ids=WAYS_TO_END)
def test_a_connection_is_used_again(serve: Serve, transport: Transport, whole: bytes) -> None:
    server = serve(answer(whole))
    for _ in range(3):
        transport.send(post(server.url), deadline=LONG, max_bytes=10**6)
    assert (server.connections, len(server.requests)) == (1, 3)


@pytest.mark.parametrize(("idle_s", "connections"), [(4, 1), (6, 2)])
def test_a_connection_is_not_used_again_after_some_seconds(
    serve: Serve, transport: Transport, monkeypatch: pytest.MonkeyPatch, idle_s: float, connections: int
) -> None:
    """The server may be about to close it, and a purchase would be lost with it."""
    server, steady = serve(answer(OK)), time.monotonic
    transport.send(post(server.url), deadline=LONG, max_bytes=1000)
    monkeypatch.setattr(time, "monotonic", lambda: steady() + idle_s)
    transport.send(post(server.url), deadline=LONG, max_bytes=1000)
    assert server.connections == connections


@pytest.mark.parametrize("behind", [OK, OK.lower(), b"HTTP/1.1 204 No\r\n\r\n", b"\r\n", b"\n", b"}", b"0\r\n\r\n"])
@pytest.mark.parametrize("whole", WAYS_TO_END.values(), ids=WAYS_TO_END)
def test_what_came_behind_an_answer_is_never_the_next_requests(
    serve: Serve, transport: Transport, whole: bytes, behind: bytes
) -> None:
    """In one piece with its end: a length was counted in letters, or an empty answer has a body."""
    server = serve(answer(whole + behind))
    replies = [transport.send(post(server.url), deadline=LONG, max_bytes=10**6) for _ in range(3)]
    assert len({(reply.status, reply.body) for reply in replies}) == 1
    assert server.connections == 3


def test_a_redirect_is_a_reply(serve: Serve, transport: Transport) -> None:
    server = serve(answer(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"))
    reply = transport.send(get(server.url), deadline=LONG, max_bytes=1000)
    assert (reply.status, reply.headers["location"], len(server.requests)) == (302, "http://127.0.0.1:1/", 1)


@pytest.mark.parametrize("framing", [b"Content-Length: 100000", b"X: y"], ids=["announced", "until-close"])
def test_reading_stops_at_the_cap(serve: Serve, transport: Transport, framing: bytes) -> None:
    def script(server: Server, connection: socket.socket) -> None:
        server.read(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + b"x" * 2000)
        connection.recv(1)

    reply = transport.send(get(serve(script).url), deadline=LONG, max_bytes=1000)
    assert (reply.body, reply.complete) == (b"x" * 1000, False)


@pytest.mark.parametrize("more", [0, 1000])
def test_a_long_reply_is_held_once(serve: Serve, transport: Transport, more: int) -> None:
    size = 8_000_000
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (size + more) + bytes(size + more)
    url = serve(answer(whole)).url
    tracemalloc.start()
    try:
        reply = transport.send(get(url), deadline=LONG, max_bytes=size)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (reply.body, reply.complete) == (bytes(size), not more)
    assert most < 1.5 * size


@pytest.mark.parametrize("told", [5, BELIEVED + 5, 10**17, "1" * 5000])
def test_the_body_is_what_came_whatever_length_was_told(serve: Serve, transport: Transport, told: object) -> None:
    """What is not modified has a length, and no body."""
    url = serve(answer(f"HTTP/1.1 304 Not Modified\r\nContent-Length: {told}\r\n\r\n".encode())).url
    try:
        reply = transport.send(get(url), deadline=LONG, max_bytes=2**40)
    except Broken:
        assert len(str(told)) > 18, "the parser refuses it"
    else:
        assert (reply.status, reply.body, reply.complete) == (304, b"", True)


@pytest.mark.parametrize("length", [0, 1, 70_000, BELIEVED - 1, BELIEVED, BELIEVED + 70_000])
def test_a_body_comes_whole_whatever_its_length(serve: Serve, transport: Transport, length: int) -> None:
    body = bytes(number % 251 for number in range(1000)) * (length // 1000 + 1)
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode()
    reply = transport.send(get(serve(answer(head + body[:length])).url), deadline=LONG, max_bytes=2 * BELIEVED)
    assert reply.body == body[:length]


def test_refused_is_not_sent(transport: Transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure(transport, post(f"http://127.0.0.1:{port}/"))
    assert isinstance(error, NotSent)
    assert not error.sent
    assert "127.0.0.1" in error.detail


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "ftp://127.0.0.1/", "http://", "http://[::1", "http://a b/", "https://\x00/", "http://h:99999/"],
)
def test_an_invalid_url_is_not_sent(transport: Transport, url: str) -> None:
    assert isinstance(failure(transport, post(url)), NotSent)


def test_nothing_but_http_is_spoken(serve: Serve, transport: Transport) -> None:
    """The library would speak it to a WebSocket."""
    server = serve(answer(OK))
    for scheme in ("ws", "wss"):
        assert isinstance(failure(transport, post(server.url.replace("http", scheme, 1))), NotSent)
    assert server.connections == 0


def test_an_invalid_header_is_not_sent_and_not_quoted(serve: Serve, transport: Transport) -> None:
    url = serve(answer(OK)).url
    for value in ("secret\n", "secret\u2028"):
        error = failure(transport, Request("POST", url, {"Authorization": value}, b"END"))
        assert isinstance(error, NotSent)


def test_tls_that_never_comes_about_is_not_sent(serve: Serve, transport: Transport) -> None:
    def plain(server: Server, connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    url = serve(plain).url.replace("http", "https", 1)
    assert isinstance(failure(transport, post(url)), NotSent)
    silent = serve(lambda server, connection: drain(connection)).url.replace("http", "https", 1)
    error = failure(transport, post(silent), SHORT)
    assert isinstance(error, NotSent)
    assert "timed out" in error.detail, "else the server went away first"


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's side of TLS for `localhost`, trusted by way of SSL_CERT_FILE."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", str(key), "-out", str(cert)]
    named = ["-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([openssl, "req", "-x509", *made, *named], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    return context


def test_tls_is_checked_against_the_name_although_an_address_is_dialled(
    serve: Serve, make: Callable[..., Transport], certificate: ssl.SSLContext
) -> None:
    def script(server: Server, connection: socket.socket) -> None:
        with certificate.wrap_socket(connection, server_side=True) as wrapped:
            answer(OK)(server, wrapped)

    server, transport = serve(script), make()
    url = f"https://localhost:{server.port}/"
    for _ in range(2):
        assert transport.send(post(url, NOW), deadline=LONG, max_bytes=1000).body == b"hi"
    assert isinstance(failure(transport, post(url, NOW - timedelta(seconds=1))), NotSent)
    stranger = failure(transport, post(url.replace("localhost", "127.0.0.1")))
    assert isinstance(stranger, NotSent)
    assert "certificate" in stranger.detail
    assert len(server.requests) == 2


def drain(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def broken_scripts() -> dict[str, Callable[[Server, socket.socket], None]]:
    def reset_unread(server: Server, connection: socket.socket) -> None:
        connection.recv(1)
        reset(connection)

    def reset_read(server: Server, connection: socket.socket) -> None:
        server.read(connection)
        reset(connection)

    def closed(server: Server, connection: socket.socket) -> None:
        server.read(connection)

    def send(data: bytes) -> Callable[[Server, socket.socket], None]:
        def script(server: Server, connection: socket.socket) -> None:
            server.read(connection)
            connection.sendall(data)

        return script

    return {
        "reset before the request was read": reset_unread,
        "reset after the request was read": reset_read,
        "closed without an answer": closed,
        "cut in the headers": send(b"HTTP/1.1 200 OK\r\nContent-Le"),
        "short of its length": send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhi"),
        "cut in a chunk": send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
        "not HTTP": send(b"hello\r\n\r\n"),
    }


@pytest.mark.parametrize("script", broken_scripts().values(), ids=list(broken_scripts()))
def test_what_breaks_after_writing_counts_as_sent(
    serve: Serve, transport: Transport, script: Callable[[Server, socket.socket], None]
) -> None:
    error = failure(transport, post(serve(script).url))
    assert isinstance(error, Broken)
    assert error.sent


def test_a_write_that_fails_may_have_written(
    serve: Serve, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(wire: socket.socket, piece: memoryview) -> int:
        wire.sendall(piece)
        raise ConnectionResetError

    monkeypatch.setattr(socket.socket, "send", send)
    assert isinstance(failure(transport, post(serve(answer(OK)).url)), Broken)


def slow_scripts() -> dict[str, Callable[[Server, socket.socket], None]]:
    def silent(server: Server, connection: socket.socket) -> None:
        server.read(connection)
        drain(connection)

    def drips(start: bytes, piece: bytes) -> Callable[[Server, socket.socket], None]:
        def script(server: Server, connection: socket.socket) -> None:
            server.read(connection)
            connection.sendall(start)
            server.drip(connection, piece)

        return script

    return {
        "says nothing": silent,
        "drips headers": drips(b"HTTP/1.1 200 OK\r\nX: ", b"y"),
        "drips interim replies": drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        "drips a body": drips(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n", b"y"),
        "drips chunks": drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\ny\r\n"),
    }


@pytest.mark.parametrize("script", slow_scripts().values(), ids=list(slow_scripts()))
def test_a_slow_server_meets_the_deadline(
    serve: Serve, transport: Transport, script: Callable[[Server, socket.socket], None]
) -> None:
    error = failure(transport, post(serve(script).url), SHORT)
    assert isinstance(error, TimedOut)
    assert error.sent


def test_a_server_that_does_not_read_meets_the_deadline(serve: Serve, transport: Transport) -> None:
    def deaf(server: Server, connection: socket.socket) -> None:
        server.over.wait()

    server = serve(deaf)
    request = Request("POST", server.url, {}, b"x" * 50_000_000)
    assert isinstance(failure(transport, request, SHORT), TimedOut)


def test_each_write_waits_no_longer_than_its_own_call(
    serve: Serve, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def send(wire: socket.socket, piece: memoryview) -> int:
        waits.append(wire.gettimeout() or math.inf)
        wire.sendall(piece)
        return len(piece)

    monkeypatch.setattr(socket.socket, "send", send)
    server = serve(answer(OK))
    transport.send(get(server.url), deadline=100 * LONG, max_bytes=1000)
    first = waits.pop()
    transport.send(post(server.url), deadline=LONG, max_bytes=1000)
    assert max(waits) <= LONG.total_seconds() < first


def test_a_full_pool_is_not_sent(serve: Serve, make: Callable[..., Transport]) -> None:
    arrived = threading.Event()

    def hold(server: Server, connection: socket.socket) -> None:
        server.read(connection)
        arrived.set()
        server.over.wait()
        connection.sendall(OK)

    server, transport = serve(hold), make(max_connections=1)
    first = threading.Thread(target=transport.send, args=(get(server.url),), kwargs={"deadline": LONG, "max_bytes": 9})
    first.start()
    arrived.wait()
    try:
        assert isinstance(failure(transport, post(server.url), SHORT), NotSent)
    finally:
        server.over.set()
        first.join()


def test_nothing_is_written_after_its_time(serve: Serve, make: Callable[..., Transport]) -> None:
    clock = iter([NOW, NOW, NOW + timedelta(seconds=1)])
    server, transport = serve(answer(OK)), make(clock=lambda: next(clock))
    transport.send(post(server.url, NOW), deadline=LONG, max_bytes=1000)
    error = failure(transport, post(server.url, NOW))
    assert isinstance(error, NotSent)
    assert not error.sent
    assert len(server.requests) == 1


def test_a_request_stopped_before_its_body_is_not_sent(serve: Serve, make: Callable[..., Transport]) -> None:
    """The process may be frozen between head and body: the server must not get the rest later."""
    clock = iter([NOW, NOW + timedelta(seconds=1)])
    server, transport = serve(answer(OK)), make(clock=lambda: next(clock))
    assert not failure(transport, post(server.url, NOW)).sent
    assert server.requests == []


def test_a_purchase_is_not_silently_written_twice(serve: Serve, transport: Transport) -> None:
    """The pooled connection is cut exactly when the second request arrives on it."""

    def script(server: Server, connection: socket.socket) -> None:
        server.read(connection)
        connection.sendall(OK)
        if server.read(connection):
            reset(connection)

    server = serve(script)
    transport.send(post(server.url), deadline=LONG, max_bytes=1000)
    error = failure(transport, post(server.url))
    assert isinstance(error, Broken)
    assert error.sent
    assert (server.connections, len(server.requests)) == (1, 2)


def test_a_connection_closed_while_idle_is_replaced(serve: Serve, transport: Transport) -> None:
    closed = threading.Event()

    def script(server: Server, connection: socket.socket) -> None:
        server.read(connection)
        connection.sendall(OK)
        connection.close()
        closed.set()

    server = serve(script)
    for _ in range(2):
        closed.clear()
        assert transport.send(post(server.url), deadline=LONG, max_bytes=1000).status == 200
        closed.wait()
    assert server.connections == 2


def test_the_vet_sees_every_address_and_can_refuse(serve: Serve, make: Callable[..., Transport]) -> None:
    seen: list[tuple[str, str]] = []

    def vet(host: str, ip: str) -> None:
        seen.append((host, ip))
        raise Forbidden(f"{host}: {ip} is not public")

    server = serve(answer(OK))
    error = failure(make(vet=vet), post(server.url.replace("127.0.0.1", "localhost")))
    assert isinstance(error, Forbidden)
    assert not error.sent
    assert server.connections == 0
    assert [host for host, _ in seen] == ["localhost"]


def test_one_bad_address_among_good_ones_refuses_the_host(
    serve: Serve, make: Callable[..., Transport], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(answer(OK))
    resolves(monkeypatch, server.port, ["127.0.0.1", "127.0.0.2"])

    def vet(host: str, ip: str) -> None:
        if ip == "127.0.0.2":
            raise Forbidden(f"{host}: {ip} is not public")

    assert isinstance(failure(make(vet=vet), get("http://files.example/")), Forbidden)
    assert server.connections == 0


def test_the_address_asked_is_the_address_vetted(
    serve: Serve, make: Callable[..., Transport], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(answer(OK))
    asked = resolves(monkeypatch, server.port, ["127.0.0.1"], ["192.0.2.1"])
    seen: list[str] = []
    transport = make(vet=lambda host, ip: seen.append(ip))
    request = get(f"http://files.example:{server.port}/")
    assert transport.send(request, deadline=LONG, max_bytes=1000).status == 200
    assert (asked, seen) == (["files.example"], ["127.0.0.1"])
    assert f"host: files.example:{server.port}".encode() in server.requests[0].lower()


def test_the_next_address_is_tried_when_one_refuses(
    serve: Serve, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(answer(OK))
    resolves(monkeypatch, server.port, ["127.0.0.2", "127.0.0.1"])
    request = get(f"http://files.example:{server.port}/")
    assert transport.send(request, deadline=LONG, max_bytes=1000).status == 200


def test_an_address_that_is_silent_leaves_time_for_the_next(
    serve: Serve, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, real, waits = serve(answer(OK)), socket.create_connection, list[float]()
    resolves(monkeypatch, server.port, ["192.0.2.1", "127.0.0.1"])

    def connect(address: tuple[str, int], timeout: float, **options: Any) -> socket.socket:
        waits.append(timeout)
        if address[0] == "192.0.2.1":
            raise TimeoutError
        return real(address, timeout, **options)

    monkeypatch.setattr(socket, "create_connection", connect)
    request = get(f"http://files.example:{server.port}/")
    assert transport.send(request, deadline=LONG, max_bytes=1000).status == 200
    assert waits[0] <= LONG.total_seconds() / 2 < waits[1]


def resolves(monkeypatch: pytest.MonkeyPatch, port: int, *answers: list[str]) -> list[str]:
    """Names resolve to each of `answers` in turn; returns the names asked."""
    real, left, asked = socket.getaddrinfo, list(answers), list[str]()

    def fake(host: str, *args: Any, **options: Any) -> Any:
        if host.endswith(".example"):
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in left.pop(0)]
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    return asked


def test_a_resolver_that_hangs_or_fails_is_not_sent(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hangs(*args: Any, **options: Any) -> Any:
        over.wait()
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    assert isinstance(failure(transport, post("http://files.example/"), SHORT), NotSent)
    over.set()
    assert isinstance(failure(transport, post("http://files.example/")), NotSent)
    assert isinstance(failure(transport, post("http://files.example/"), timedelta(0)), NotSent)


def test_a_handler_answers_in_process(make: Callable[..., Transport]) -> None:
    got: list[Request] = []

    def handler(request: Request) -> Reply:
        got.append(request)
        return Reply(200, {}, b"x" * 10, complete=True)

    transport = make(handler=handler)
    request = Request("GET", "https://files.example/", {"Accept": "image/*"})
    reply = transport.send(request, deadline=LONG, max_bytes=4)
    assert (reply.body, reply.complete) == (b"xxxx", False)
    assert got[0].headers == {"user-agent": "reconciler/test", "accept": "image/*", "accept-encoding": "identity"}
    assert isinstance(failure(transport, post("https://a.example/", NOW - timedelta(seconds=1))), NotSent)
    assert len(got) == 1


def test_a_closed_transport_sends_nothing(transport: Transport) -> None:
    transport.close()
    assert isinstance(failure(transport, post("http://127.0.0.1:1/")), NotSent)


@pytest.mark.parametrize(
    "told",
    [
        b"HTTP/1.1 302 Found\r\nLocation : https://b.example/a?signed=secret\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Echo: it's\x00secret\r\n\r\n",
        b"hello?signed=secret\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n?signed=secret\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n-secret\r\n",
    ],
    ids=["blank before the colon", "null in a header", "status line", "head of a chunk", "end of a chunk"],
)
def test_an_answer_that_is_not_valid_http_is_not_quoted(serve: Serve, transport: Transport, told: bytes) -> None:
    error = failure(transport, post(serve(answer(told)).url))
    assert isinstance(error, Broken)
    assert "secret" not in "".join(format_exception(error))
    assert re.fullmatch(r"127\.0\.0\.1: (illegal|malformed) [a-z ]+", error.detail)


def test_nothing_secret_is_shown_or_logged(
    serve: Serve, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told = b"HTTP/1.1 302 Found\r\nLocation: /path?signed=secret\r\nContent-Length: 0\r\n\r\n"
    request = post(serve(answer(told)).url)
    transport.send(request, deadline=LONG, max_bytes=1000)
    assert "secret" not in f"{request!r}{caplog.text}"
