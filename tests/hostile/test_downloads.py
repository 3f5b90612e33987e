"""What is understood of file hosts that send hostile bodies, or speak HTTP as nobody should; over real sockets."""

import socketserver
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from threading import Thread
from typing import Any

import pytest

from reconciler.domain.findings import Fault, Flawed, Refused, Sized
from reconciler.domain.policy import Policy
from reconciler.domain.states import Flaw, Reason
from reconciler.images.addresses import vetting
from reconciler.images.pictures import WebPictures
from reconciler.transport import Transport
from tests.hostile.bodies import BODIES, DEAR, SIZE, painting
from tests.hostile.bounds import memory, processor_time

HOST = "127.0.0.1"
MEMORY = 400_000_000
"""Bytes: the stacks and heaps of the threads of both sides are in it."""


class Host(socketserver.ThreadingTCPServer):
    """Sends `says`, byte by byte as it is, to whoever asks."""

    daemon_threads = True
    says = b""

    def handle_error(self, *_: Any) -> None:
        """Clients hang up in the middle."""


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        self.wfile.write(self.server.says)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host((HOST, 0), _Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def web() -> Iterator[WebPictures]:
    transport = Transport(user_agent="test", vet=vetting([HOST]), clock=lambda: datetime.now(UTC))
    yield WebPictures(Policy(insecure_hosts=(HOST,)), transport)
    transport.close()


Both = Callable[[bytes], tuple[Any, Any]]


@pytest.fixture
def both(host: Host, web: WebPictures) -> Both:
    """What measuring and fetching make of a host that says this."""

    def ask(says: bytes) -> tuple[Any, Any]:
        host.says = says
        url = f"http://{HOST}:{host.server_address[1]}/a"
        return web.measure(url), web.fetch(url, bound=True)

    return ask


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = (f"HTTP/1.1 {status}", "Connection: close", *headers, "", "")
    return "\r\n".join(lines).encode("latin-1") + body


def whole(body: bytes, *headers: str) -> bytes:
    return http(body, f"Content-Length: {len(body)}", *headers)


@pytest.mark.slow
def test_every_body_is_measured_and_fetched_for_what_it_is(both: Both) -> None:
    for name, body in BODIES.items():
        if name in DEAR:
            continue
        data = body.make()
        with memory(MEMORY), processor_time(20):
            measured, fetched = both(whole(data, "Content-Type: image/jpeg"))
        if body.picture:
            assert fetched == data, name
        else:
            assert isinstance(measured, Refused), name
            assert isinstance(fetched, Refused), name
            continue
        if body.size is None:
            assert isinstance(measured, Flawed), name
            assert measured.flaw is body.flaw, name
        else:
            assert measured == Sized(*body.size), name


PICTURE = painting("JPEG")
LENGTH = len(PICTURE)
NO_HTTP = {
    "no length that is one": http(PICTURE, "Content-Length: ten"),
    "less than nothing": http(PICTURE, "Content-Length: -5"),
    "a length of thousands of digits": http(PICTURE, "Content-Length: " + "9" * 5000),
    "a length longer than the body": http(PICTURE, f"Content-Length: {LENGTH + 1}"),
    "a length of petabytes": http(PICTURE, f"Content-Length: {10**15}"),
    "two lengths": http(PICTURE, f"Content-Length: {LENGTH}", "Content-Length: 50"),
    "two lengths in one": http(PICTURE, f"Content-Length: {LENGTH}, 50"),
    "chunks that are none": http(PICTURE, "Transfer-Encoding: chunked"),
    "a chunk longer than the body": http(b"ffffffff\r\n" + PICTURE, "Transfer-Encoding: chunked"),
    "no last chunk": http(b"%x\r\n%b\r\n" % (LENGTH, PICTURE), "Transfer-Encoding: chunked"),
    "an encoding": http(PICTURE, "Transfer-Encoding: gzip"),
    "another encoding": whole(PICTURE, "Content-Encoding: br"),
    "a part of thousands of digits": http(PICTURE, "Content-Range: bytes 0-9/" + "9" * 5000, status="206 Part"),
    "a part to thousands of digits": http(PICTURE, f"Content-Range: bytes 0-{'9' * 5000}/9", status="206 Part"),
    "a part in other digits": http(PICTURE, "Content-Range: bytes 0-\xb2/\xb3", status="206 Part"),
    "another part": http(PICTURE, f"Content-Range: bytes 1-{LENGTH}/{LENGTH + 1}", status="206 Part"),
    "no status": b"HTTP/1.1\r\n\r\n" + PICTURE,
    "a status of two digits": http(PICTURE, status="99 Balloons"),
    "a status that nobody knows": http(PICTURE, status="999 \x1b[31mOK"),
    "another protocol": b"\x1b[31m" * 20_000 + b"\r\n\r\n",
    "a header that is none": b"HTTP/1.1 200 OK\r\n" + b"\x07\x1b[2J" * 9000 + b"\r\n\r\n" + PICTURE,
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200_000,
    "a header without end": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000,
    "only interim replies": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 500,
    "nothing": b"",
    "a redirect to a control character": http(b"", "Content-Length: 0", "Location: https://a/\x1b", status="302 Found"),
    "a redirect without end": http(b"", "Content-Length: 0", "Location: " + "../" * 20_000, status="302 Found"),
}


@pytest.mark.parametrize("says", NO_HTTP.values(), ids=NO_HTTP.keys())
def test_what_is_no_http_is_a_fault_told_in_a_short_line(both: Both, says: bytes) -> None:
    with memory(MEMORY), processor_time(10):
        answers = both(says)
    for answer in answers:
        assert isinstance(answer, Fault), answer
        assert answer.reason in (Reason.DOWNLOAD_FAILED, Reason.HOST_REFUSED)
        assert len(answer.detail) <= 300
        assert answer.detail.isprintable()


def test_a_length_shorter_than_the_body_cuts_it_off(both: Both) -> None:
    measured, fetched = both(http(PICTURE, f"Content-Length: {LENGTH - 1}"))
    assert isinstance(measured, Flawed)
    assert measured.flaw is Flaw.TRUNCATED
    assert fetched == PICTURE[:-1]


@pytest.mark.parametrize("total", [LENGTH + 1, 10**9, 10**18, "*"])
def test_a_part_that_says_to_be_more_is_never_the_whole(both: Both, total: object) -> None:
    measured, fetched = both(
        http(PICTURE, f"Content-Range: bytes 0-{LENGTH - 1}/{total}", f"Content-Length: {LENGTH}", status="206 Part")
    )
    assert isinstance(fetched, Fault | Flawed)
    assert measured == Sized(*SIZE) or isinstance(measured, Flawed)


def test_a_type_is_told_without_its_control_characters(both: Both) -> None:
    for answer in both(whole(b"<html>", "Content-Type: text/\x1b[31m\x07\x85" + "x" * 5000)):
        assert isinstance(answer, Refused)
        assert answer.detail.isprintable()
        assert "text/[31mxx" in answer.detail
        assert len(answer.detail) < 150
