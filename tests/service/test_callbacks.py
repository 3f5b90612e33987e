"""The endpoint for Kie's callbacks: who is heard, who is turned away, and that nobody harms it."""

import http.client
import io
import json
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from urllib.request import urlopen
from wsgiref.types import StartResponse
from wsgiref.util import setup_testing_defaults

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.kie.simulated import API_KEY, DEFAULT_MODEL, IdPlace, KieServer, Request, SimulatedKie, Succeed
from reconciler.kie.simulated import Settings as KieSettings
from reconciler.service.buckets import Buckets
from reconciler.service.callbacks import LARGEST, Callbacks, Reception
from reconciler.service.http import HttpServer, Limits
from reconciler.service.pages import Pages
from tests.kie.test_kie_callbacks import IMAGE, signed

TOKEN = "qZ3-_abcdefghijklmnopqrstuvwxyz0"
FOREIGN = "F" * 32
PATH = f"/callback/{TOKEN}"
BODY = json.dumps({"code": 200, "data": {"taskId": IMAGE}}).encode()
LONG = 30.0
AT_A_TIME = Limits().requests // 2


@dataclass
class Inbox:
    """Knows one token, and keeps what it was told."""

    key: str = ""
    hints: list[tuple[str, str]] = field(default_factory=list)
    heard: list[Reception] = field(default_factory=list)
    failed: list[tuple[str, Exception]] = field(default_factory=list)
    raises: Exception | None = None
    now: float = 1000.0
    called: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def hint(self, token: str, task_id: str) -> bool:
        if self.raises:
            raise self.raises
        self.hints.append((token, task_id))
        self.called.release()
        return token == TOKEN

    def pages(self) -> Pages:
        callbacks = Callbacks(self.hint, hmac_key=self.key, heard=self.heard.append, monotonic=lambda: self.now)
        return Pages(
            metrics=lambda: (b"", ""),
            health=tuple,
            ready=tuple,
            picture=None,
            callback=callbacks,
            failed=lambda path, error: self.failed.append((path, error)),
        )


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


def call(
    pages: Pages,
    body: bytes = BODY,
    path: str = PATH,
    method: str = "POST",
    environ: Mapping[str, object] = MappingProxyType({}),
) -> Reply:
    """In process. An environ's entry that is None is left out."""
    length = str(len(body))
    given_ = {"REQUEST_METHOD": method, "PATH_INFO": path, "CONTENT_LENGTH": length, "REMOTE_ADDR": "203.0.113.9"}
    mixed = {**given_, "wsgi.input": io.BytesIO(body), **environ}
    full = {key: value for key, value in mixed.items() if value is not None}
    setup_testing_defaults(full)
    begun: list[Any] = []
    sent = b"".join(pages(full, lambda *head: begun.extend(head)))  # type: ignore[arg-type]
    return Reply(int(begun[0].partition(" ")[0]), dict(begun[1]), sent)


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


def test_a_callback_is_a_hint(inbox: Inbox) -> None:
    reply = call(inbox.pages())
    assert (reply.status, reply.body, reply.headers["Cache-Control"]) == (200, b"ok\n", "no-store")
    assert (inbox.hints, inbox.heard) == ([(TOKEN, IMAGE)], [Reception.TAKEN])


def test_an_unreadable_body_is_still_a_knock(inbox: Inbox) -> None:
    assert call(inbox.pages(), b"\xff{").status == 200
    assert call(inbox.pages(), b"").status == 200
    assert inbox.hints == [(TOKEN, "")] * 2


def test_several_told_ids_are_each_a_hint(inbox: Inbox) -> None:
    told = {"taskId": "c", "task_id": "d", "data": {"taskId": "b", "task_id": "a"}}
    assert call(inbox.pages(), json.dumps(told).encode()).status == 200
    assert inbox.hints == [(TOKEN, task_id) for task_id in "abdc"]
    assert inbox.heard == [Reception.TAKEN]


def test_a_token_of_somebody_else_is_not_found(inbox: Inbox) -> None:
    assert call(inbox.pages(), path=f"/callback/{FOREIGN}").status == 404
    assert (inbox.hints, inbox.heard) == ([(FOREIGN, IMAGE)], [Reception.UNKNOWN])


@pytest.mark.parametrize(
    "tail", ["", TOKEN[1:], TOKEN + "0", TOKEN[1:] + "/", TOKEN[1:] + "é", TOKEN + "/x", "../" * 8]
)
def test_what_is_no_token_is_no_page(inbox: Inbox, tail: str) -> None:
    assert call(inbox.pages(), path="/callback/" + tail).status == 404
    assert (inbox.hints, inbox.heard) == ([], [])


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_only_posts_are_taken(inbox: Inbox, method: str) -> None:
    reply = call(inbox.pages(), method=method)
    assert (reply.status, reply.headers["Allow"]) == (405, "POST")
    assert inbox.hints == []


def test_without_it_there_is_no_such_page() -> None:
    pages = Pages(metrics=lambda: (b"", ""), health=tuple, ready=tuple, picture=None)
    assert call(pages).status == 404


def test_what_cannot_be_committed_is_to_come_again_and_tells_nothing(inbox: Inbox) -> None:
    inbox.raises = RuntimeError(TOKEN)
    reply = call(inbox.pages())
    assert (reply.status, reply.body) == (503, b"service unavailable\n")
    assert (inbox.heard, inbox.failed) == ([Reception.FAILED], [])


def test_a_page_that_fails_does_not_tell_the_token(inbox: Inbox) -> None:
    broken = call(inbox.pages(), environ={"wsgi.input": object()})
    assert (broken.status, [path for path, _ in inbox.failed]) == (500, ["/callback/"])


# -- the body ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "status"),
    [
        (None, 411),
        ("", 411),
        ("-1", 400),
        ("x", 400),
        ("\u0665", 400),
        ("1e3", 400),
        (str(len(BODY) + 1), 400),
        (str(LARGEST + 1), 413),
        ("9" * 5000, 413),
    ],
)
def test_a_body_needs_a_length_that_it_has(inbox: Inbox, length: str | None, status: int) -> None:
    read = io.BytesIO(BODY)
    assert call(inbox.pages(), environ={"CONTENT_LENGTH": length, "wsgi.input": read}).status == status
    assert (inbox.hints, inbox.heard) == ([], [Reception.UNREADABLE])
    assert read.tell() == (len(BODY) if length == str(len(BODY) + 1) else 0)


def test_the_largest_body_is_taken(inbox: Inbox) -> None:
    assert (
        call(inbox.pages(), BODY + b" " * (LARGEST - len(BODY)), environ={"CONTENT_LENGTH": f"000{LARGEST}"}).status
        == 200
    )


class Silent(io.BytesIO):
    def read(self, *_: object) -> bytes:
        raise TimeoutError


def test_a_body_that_does_not_come_is_refused(inbox: Inbox) -> None:
    assert call(inbox.pages(), environ={"wsgi.input": Silent()}).status == 400
    assert inbox.heard == [Reception.UNREADABLE]


# -- signatures ----------------------------------------------------------------------------------------------------


def headers(told: str) -> dict[str, str]:
    return {"HTTP_X_WEBHOOK_TIMESTAMP": "1790000000", "HTTP_X_WEBHOOK_SIGNATURE": signed(told)}


@pytest.mark.parametrize("body", [{"data": {"taskId": "t"}}, {"data": {"task_id": "t"}}, {"taskId": "t"}])
def test_with_a_key_only_what_is_signed_is_taken(inbox: Inbox, body: dict[str, Any]) -> None:
    inbox.key = "k"
    raw = json.dumps(body).encode()
    assert call(inbox.pages(), raw, environ=headers("t")).status == 200
    assert inbox.hints == [(TOKEN, "t")]
    for wrong in (headers("u"), {}, {"HTTP_X_WEBHOOK_SIGNATURE": signed("t")}):
        assert call(inbox.pages(), raw, environ=wrong).status == 401
    assert call(inbox.pages(), b"{", environ=headers("")).status == 401
    assert (inbox.hints, inbox.heard) == ([(TOKEN, "t")], [Reception.TAKEN, *[Reception.UNSIGNED] * 4])


# -- how often -----------------------------------------------------------------------------------------------------


def statuses(pages: Pages, times: int, **environ: str) -> list[int]:
    return [call(pages, environ=environ).status for _ in range(times)]


def test_an_address_that_comes_too_often_is_put_off(inbox: Inbox) -> None:
    pages = inbox.pages()
    assert statuses(pages, 121) == [*[200] * 120, 429]
    assert call(pages, environ={"REMOTE_ADDR": "203.0.113.10"}).status == 200
    reply = call(pages)
    assert (reply.status, reply.headers["Retry-After"]) == (429, "1")
    inbox.now += 0.5
    assert statuses(pages, 11) == [*[200] * 10, 429]
    inbox.now += 3600
    assert statuses(pages, 121) == [*[200] * 120, 429]
    assert inbox.heard.count(Reception.LIMITED) == 4


def test_behind_a_proxy_on_this_machine_the_address_is_the_last_it_tells(inbox: Inbox) -> None:
    pages = inbox.pages()
    for peer in ("127.0.0.1", "::1"):
        for told in ("198.51.100.1", "spoofed, 198.51.100.2", "2001:db8::1"):
            assert call(pages, environ={"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": told}).status == 200
    for told in ("198.51.100.1", "10.0.0.1, 198.51.100.2", "2001:db8::1"):
        assert statuses(pages, 119, REMOTE_ADDR="127.0.0.1", HTTP_X_FORWARDED_FOR=told)[-2:] == [200, 429]


@pytest.mark.parametrize(("peer", "tells"), [("203.0.113.9", "198.51.100.{}"), ("127.0.0.1", "198.51.100.1, no{}")])
def test_nobody_else_is_believed_about_addresses(inbox: Inbox, peer: str, tells: str) -> None:
    pages = inbox.pages()
    came = [statuses(pages, 1, REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=tells.format(number))[0] for number in range(121)]
    assert came[-2:] == [200, 429]


def test_of_many_addresses_the_one_longest_away_is_forgotten() -> None:
    buckets = Buckets(1, 1, lambda: 0.0, addresses=2)
    assert [buckets.wait_for(address) for address in ("a", "b", "a", "c", "a", "b")] == [0, 0, 1, 0, 1, 0]


# -- whatever comes ------------------------------------------------------------------------------------------------

tokens = st.sampled_from([TOKEN, FOREIGN]) | st.text("abAB09_-", min_size=32, max_size=32)
lengths = st.none() | st.just("right") | st.integers(-5, 600_000).map(str) | st.text(max_size=8)
odd_headers = st.dictionaries(
    st.sampled_from(
        ["HTTP_X_WEBHOOK_TIMESTAMP", "HTTP_X_WEBHOOK_SIGNATURE", "HTTP_X_FORWARDED_FOR", "REMOTE_ADDR", "CONTENT_TYPE"]
    ),
    st.text(max_size=50),
)
bodies = (
    st.binary(max_size=300)
    | st.dictionaries(
        st.sampled_from(["data", "taskId", "task_id", "code"]), st.text() | st.integers() | st.none()
    ).map(lambda told: json.dumps(told).encode())
    | st.sampled_from([BODY, b"[" * 5000, b'{"data":' * 2000, b'"' * 100, b"9" * 5000])
)


@settings(max_examples=150, deadline=None)
@given(tokens, bodies, lengths, odd_headers, st.sampled_from(["", "k"]))
@example(TOKEN, BODY, "right", headers(IMAGE), "k")
def test_whatever_comes_is_answered_and_only_our_token_is_a_hint(
    token: str, body: bytes, length: str | None, odd: dict[str, str], key: str
) -> None:
    inbox = Inbox(key)
    told = str(len(body)) if length == "right" else length
    reply = call(inbox.pages(), body, f"/callback/{token}", environ={"CONTENT_LENGTH": told, **odd})
    assert reply.status in {200, 400, 401, 404, 411, 413}
    assert inbox.failed == []
    assert len(inbox.heard) == 1
    assert {known for known, _ in inbox.hints} <= {token}
    assert (reply.status == 200) <= (token == TOKEN)
    assert bool(inbox.hints) is (reply.status in {200, 404})
    assert token.encode() not in reply.body


# -- over sockets --------------------------------------------------------------------------------------------------


@pytest.fixture
def server(inbox: Inbox) -> Iterator[HttpServer]:
    with HttpServer("127.0.0.1", 0, inbox.pages(), Limits(silence=timedelta(seconds=5))) as server:
        yield server


def post(server: HttpServer, path: str, body: bytes, **headers_: str) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=LONG)) as line:
        line.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers_.items()})
        return line.getresponse().status


def exchange(server: HttpServer, raw: bytes, *, close: bool = True) -> bytes:
    """What is answered to these bytes, first line."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=LONG) as line:
        line.sendall(raw)
        if close:
            line.shutdown(socket.SHUT_WR)
        return line.makefile("rb").readline().strip()


def test_it_is_heard_over_a_socket(server: HttpServer, inbox: Inbox) -> None:
    assert post(server, PATH, BODY, Content_Type="application/json") == 200
    assert inbox.hints == [(TOKEN, IMAGE)]


def test_whoever_sends_too_much_still_reads_the_answer(server: HttpServer, inbox: Inbox) -> None:
    for _ in range(3):
        assert post(server, PATH, bytes(LARGEST + 500_000)) == 413
    assert post(server, "/nothing", bytes(LARGEST)) == 404
    assert inbox.hints == []


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        (b"Transfer-Encoding: chunked", b"5\r\n12345\r\n0\r\n\r\n", b"411"),
        (b"Content-Length: 5", b"123", b"400"),
        (b"Content-Length: 5\r\nContent-Length: 500", b"12345", b"200"),
        (b"Content-Length: \xff", b"", b"400"),
        (b"Content-Length: 0\r\nX-Webhook-Signature: \xc3\xa9", b"", b"200"),
        (b"Content-Length: 3", b"123 and more than was told", b"200"),
    ],
)
def test_odd_requests_are_answered(server: HttpServer, inbox: Inbox, head: bytes, body: bytes, status: bytes) -> None:
    raw = b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n" + body
    assert exchange(server, raw).split()[1] == status
    assert inbox.failed == []


@pytest.mark.parametrize("place", IdPlace)
def test_what_the_simulated_kie_signs_is_heard(inbox: Inbox, place: IdPlace) -> None:
    inbox.key = "k"
    quick = KieSettings(webhook_key="k", callback_id=place)
    kie = SimulatedKie(lambda: datetime.now(UTC), settings=quick)
    kie.script.when(Succeed(run=timedelta(0), width=32, height=18))
    order = {"model": DEFAULT_MODEL, "input": {"prompt": "Mist", "image_resolution": "2K"}}
    with HttpServer("127.0.0.1", 0, inbox.pages()) as keyed, KieServer(kie):
        body = json.dumps(order | {"callBackUrl": keyed.url + PATH}).encode()
        kie.handle(Request("POST", "/api/v1/jobs/createTask", {}, {"authorization": f"Bearer {API_KEY}"}, body))
        assert inbox.called.acquire(timeout=LONG)
    assert inbox.hints == [(TOKEN, kie.book.purchases[0].task_id)]


def test_a_body_that_never_comes_is_not_waited_for_long(inbox: Inbox) -> None:
    with HttpServer("127.0.0.1", 0, inbox.pages(), Limits(silence=timedelta(milliseconds=10))) as server:
        raw = b"POST " + PATH.encode() + b" HTTP/1.1\r\nContent-Length: 5\r\n\r\n"
        assert b"400" in exchange(server, raw, close=False)
    assert inbox.heard == [Reception.UNREADABLE]


@dataclass
class Gradual:
    """The pages, and a semaphore that is released whenever one of them begins to read a body."""

    pages: Pages
    began: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        return self.pages({**environ, "wsgi.input": _Told(environ["wsgi.input"], self.began)}, start_response)


@dataclass
class _Told:
    body: io.BufferedIOBase
    began: threading.Semaphore

    def read(self, length: int) -> bytes:
        self.began.release()
        return self.body.read(length)


def test_bodies_that_come_slowly_leave_room_for_all_else(inbox: Inbox) -> None:
    site = Gradual(inbox.pages())
    limits = Limits(silence=timedelta(seconds=LONG), whole=timedelta(seconds=LONG))
    with HttpServer("127.0.0.1", 0, site, limits) as server, ExitStack() as slow:
        lines = [slow.enter_context(begun(server)) for _ in range(AT_A_TIME)]
        assert all(site.began.acquire(timeout=LONG) for _ in lines)
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=LONG)) as one_more:
            one_more.request("POST", PATH, BODY)
            reply = one_more.getresponse()
            assert (reply.status, reply.headers["Retry-After"]) == (503, "10")
        with urlopen(f"{server.url}/healthz", timeout=LONG) as health:
            assert health.status == 200
        assert (inbox.hints, inbox.heard) == ([], [Reception.LIMITED])

        lines[0].sendall(BODY)
        lines[1].shutdown(socket.SHUT_WR)
        assert [status_on(line) for line in lines[:2]] == [b"200", b"400"]
        with begun(server), begun(server):
            assert all(site.began.acquire(timeout=LONG) for _ in range(2))
            assert post(server, PATH, BODY) == 503
    assert inbox.hints == [(TOKEN, IMAGE)]


def test_callbacks_that_wait_for_the_database_leave_room_for_all_else(inbox: Inbox) -> None:
    waiting, is_back = threading.Semaphore(0), threading.Event()

    def hint(token: str, task_id: str) -> bool:
        waiting.release()
        return is_back.wait(LONG) and inbox.hint(token, task_id)

    site = replace(inbox.pages(), callback=Callbacks(hint, heard=inbox.heard.append))
    with HttpServer("127.0.0.1", 0, site) as server, ExitStack() as lasting:
        lines = [lasting.enter_context(begun(server)) for _ in range(AT_A_TIME)]
        for line in lines:
            line.sendall(BODY)
        assert all(waiting.acquire(timeout=LONG) for _ in lines)
        assert post(server, PATH, BODY) == 503
        assert inbox.heard == [Reception.LIMITED]
        is_back.set()
        assert [status_on(line) for line in lines] == [b"200"] * AT_A_TIME
        assert post(server, PATH, BODY) == 200


def begun(server: HttpServer) -> socket.socket:
    """A callback of which the body is still to come."""
    line = socket.create_connection(("127.0.0.1", server.port), timeout=LONG)
    line.sendall(f"POST {PATH} HTTP/1.1\r\nContent-Length: {len(BODY)}\r\n\r\n".encode())
    return line


def status_on(line: socket.socket) -> bytes:
    return line.makefile("rb").readline().split()[1]
