"""The daemon's HTTP server, over real sockets: what it answers, and that no client and no page harms it."""

import errno
import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.request import urlopen

import pytest

from reconciler.ports import StoreError
from reconciler.service import http as daemon_http
from reconciler.service.http import HttpServer, Limits
from reconciler.service.pages import Pages

KEY = "tracks/a~20b/0123456789abcdef.jpg"
THUMBNAIL = f"/thumbnails/{'ab' * 16}.jpg"
TEXT = "text/plain; charset=utf-8"
LONG = 30.0


@dataclass
class Site:
    """What the pages are made of; `metrics` waits until `go`."""

    complaints: tuple[str, ...] = ()
    unready: tuple[str, ...] = ()
    pictures: dict[str, bytes] = field(default_factory=lambda: {KEY: b"picture"})
    thumbnails: dict[str, bytes] = field(default_factory=lambda: {"ab" * 16: b"small"})
    raises: Exception | None = None
    asked: list[str] = field(default_factory=list)
    failed: list[tuple[str, Exception]] = field(default_factory=list)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    go: threading.Event = field(default_factory=threading.Event)

    def metrics(self) -> tuple[bytes, str]:
        self.entered.release()
        self.go.wait(LONG)
        if self.raises:
            raise self.raises
        return b"tracks 1\n", "text/plain; version=0.0.4"

    def picture(self, key: str) -> bytes | None:
        self.asked.append(key)
        if self.raises:
            raise self.raises
        return self.pictures.get(key)

    def status(self) -> tuple[bytes, str]:
        if self.raises:
            raise self.raises
        return b"<!doctype html>", "default-src 'none'"

    def pages(self) -> Pages:
        return Pages(
            metrics=self.metrics,
            health=lambda: self.complaints,
            ready=lambda: self.unready,
            picture=self.picture,
            status=self.status,
            thumbnail=self.thumbnails.get,
            failed=lambda path, error: self.failed.append((path, error)),
        )


@pytest.fixture(autouse=True)
def no_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever waits for the next poll fails here by the test's time-out."""
    monkeypatch.setattr(daemon_http, "_POLL_S", 600.0)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    site.go.set()
    yield site
    site.go.set()


@pytest.fixture
def server(site: Site) -> Iterator[HttpServer]:
    with HttpServer("127.0.0.1", 0, site.pages()) as server:
        yield server


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


def ask(
    server: HttpServer,
    path: str,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
) -> Reply:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=LONG)) as link:
        link.request(method, path, body, headers or {})
        answer = link.getresponse()
        return Reply(answer.status, answer.headers, answer.read())


def connect(server: HttpServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=LONG)


def until_served(server: HttpServer) -> None:
    """On a busy machine this client too may be silent for longer than some tests allow, so it tries again."""
    while True:
        with suppress(ConnectionError):
            if ask(server, "/healthz").status == 200:
                return


def rest(link: socket.socket) -> bytes:
    """All that comes until the end; a reset is an end too."""
    received = b""
    while True:
        try:
            piece = link.recv(65536)
        except ConnectionResetError:
            return received
        if not piece:
            return received
        received += piece


# -- pages ---------------------------------------------------------------------------------------------------------


def test_metrics(server: HttpServer) -> None:
    reply = ask(server, "/metrics?name=tracks")
    assert (reply.status, reply.body) == (200, b"tracks 1\n")
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4"
    assert reply.headers["Cache-Control"] == "no-store"


def test_no_versions_are_told(server: HttpServer) -> None:
    assert ask(server, "/metrics").headers["Server"] == "reconciler"
    with connect(server) as link:
        link.sendall(b"a b c HTTP/1.0\r\n\r\n")
        assert [line.strip() for line in rest(link).splitlines() if line.startswith(b"Server")] == [
            b"Server: reconciler"
        ]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_all_is_well(path: str, server: HttpServer) -> None:
    reply = ask(server, path)
    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (200, b"ok\n", TEXT)
    assert reply.headers["Cache-Control"] == "no-store"


def test_complaints_are_told_one_a_line(server: HttpServer, site: Site) -> None:
    site.complaints = ("step fetch\r\nof track 17 hangs", "job swée\ud800p is late")
    reply = ask(server, "/healthz")
    assert reply.status == 503
    assert reply.headers["Content-Type"] == TEXT
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.body.decode() == "step fetch of track 17 hangs\njob swée?p is late\n"
    assert ask(server, "/readyz").status == 200


def test_to_be_ready_is_another_thing(server: HttpServer, site: Site) -> None:
    site.unready = ("the first snapshot is not taken yet",)
    reply = ask(server, "/readyz")
    assert (reply.status, reply.body) == (503, b"the first snapshot is not taken yet\n")
    assert ask(server, "/healthz").status == 200


@pytest.mark.parametrize(
    ("extension", "content_type"), [("jpg", "image/jpeg"), ("png", "image/png"), ("webp", "image/webp")]
)
def test_a_picture_may_be_kept_for_good(extension: str, content_type: str, server: HttpServer, site: Site) -> None:
    key = f"tracks/a~20b/0123456789abcdef.{extension}"
    site.pictures[key] = b"bytes"
    reply = ask(server, f"/images/{key}?width=1")
    assert (reply.status, reply.body) == (200, b"bytes")
    assert reply.headers["Content-Type"] == content_type
    assert reply.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert reply.headers["ETag"] == f'"0123456789abcdef.{extension}"'
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


def test_a_path_is_percent_decoded_once(server: HttpServer, site: Site) -> None:
    assert ask(server, "/images/tracks%2Fa%7E20b/0123456789abcdef%2ejpg").status == 200
    assert ask(server, "/images/tracks/a%257E20b/0123456789abcdef.jpg").status == 404
    assert site.asked == [KEY]


def test_a_large_picture_arrives_whole(server: HttpServer, site: Site) -> None:
    site.pictures[KEY] = bytes(range(256)) * 2000
    reply = ask(server, f"/images/{KEY}")
    assert reply.body == site.pictures[KEY]
    assert reply.headers["Content-Length"] == "512000"


@pytest.mark.parametrize(
    ("known", "status"),
    [
        ('"0123456789abcdef.jpg"', 304),
        ('"other", W/"0123456789abcdef.jpg"', 304),
        ("*", 304),
        ('"other"', 200),
        ("0123456789abcdef.jpg", 200),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_picture_that_the_client_has_is_not_sent(known: str, status: int, method: str, server: HttpServer) -> None:
    reply = ask(server, f"/images/{KEY}", method, {"If-None-Match": known})
    assert reply.status == status
    assert reply.body == (b"picture" if status == 200 and method == "GET" else b"")
    assert reply.headers["ETag"] == '"0123456789abcdef.jpg"'
    assert "immutable" in reply.headers["Cache-Control"]


def test_nobody_has_a_picture_that_does_not_exist(server: HttpServer, site: Site) -> None:
    site.pictures.clear()
    reply = ask(server, f"/images/{KEY}", headers={"If-None-Match": "*"})
    assert reply.status == 404
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["ETag"] is None


@pytest.mark.parametrize(
    "path",
    [
        "/images/",
        "/images/../x.jpg",
        "/images/tracks/../../x.jpg",
        "/images/%2e%2e/x.jpg",
        "/images/tracks/%2e%2e%2fx.jpg",
        "/images/..%5cx.jpg",
        "/images/tracks/./x.jpg",
        "/images/tracks/.x.jpg",
        "/images/tracks/.jpg",
        "/images//etc/x.jpg",
        "/images/%2Fetc/x.jpg",
        "/images//" + KEY,
        "/images/tracks//x.jpg",
        f"/images/{KEY}%00",
        f"/images/%00{KEY}",
        f"/images/{KEY}%0A",
        f"/images/{KEY}/",
        f"/images/{KEY}.part",
        "/images/tracks/a%20b.jpg",
        "/images/tracks/%C3%AA.jpg",
        "/images/tracks/x.JPG",
        "/images/tracks/x.svg",
        "/images/tracks/x",
        "/etc/passwd",
        "/images",
        "/Images/" + KEY,
        "http://127.0.0.1/images/" + KEY,
    ],
)
def test_nothing_but_a_key_is_looked_up(path: str, server: HttpServer, site: Site) -> None:
    assert ask(server, path).status == 404
    assert site.asked == []


@pytest.mark.parametrize("path", [f"/images/{KEY}", "/images/"])
def test_pictures_may_be_served_elsewhere(path: str, site: Site) -> None:
    pages = Pages(site.metrics, tuple, tuple, picture=None)
    with HttpServer("127.0.0.1", 0, pages) as server:
        assert ask(server, path).status == 404


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/readyz", f"/images/{KEY}", THUMBNAIL, "/nothing"])
def test_head_is_get_without_the_body(path: str, server: HttpServer) -> None:
    got, head = ask(server, path), ask(server, path, "HEAD")
    assert head.status == got.status
    del got.headers["Date"], head.headers["Date"]
    assert head.headers.items() == got.headers.items()
    assert head.headers["Content-Length"] == str(len(got.body))
    with connect(server) as link:  # the client above would not show a body
        link.sendall(f"HEAD {path} HTTP/1.0\r\n\r\n".encode())
        assert rest(link).endswith(b"\r\n\r\n")


@pytest.mark.parametrize("path", ["/index.html", "/nothing", "/metrics/", "/healthz/x", "/callback/token", "*"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_not_there(path: str, method: str, server: HttpServer) -> None:
    reply = ask(server, path, method)
    assert (reply.status, reply.headers["Content-Type"]) == (404, TEXT)
    assert reply.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/readyz", f"/images/{KEY}", THUMBNAIL])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get"])
def test_pages_are_only_read(path: str, method: str, server: HttpServer, site: Site) -> None:
    reply = ask(server, path, method, body=b"x" * 20_000)
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")
    assert reply.headers["Cache-Control"] == "no-store"
    assert site.asked == []


def test_the_page_for_people_comes_with_the_policy_that_guards_it(server: HttpServer) -> None:
    reply = ask(server, "/")
    assert (reply.status, reply.body) == (200, b"<!doctype html>")
    assert (
        dict(reply.headers.items()).items()
        >= {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": "default-src 'none'",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
        }.items()
    )


def test_the_page_for_people_may_fail_too(server: HttpServer, site: Site) -> None:
    site.raises = ValueError("secret")
    reply = ask(server, "/")
    assert (reply.status, b"secret" in reply.body) == (500, False)


def test_thumbnails_are_for_that_page_alone(server: HttpServer) -> None:
    reply = ask(server, THUMBNAIL)
    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (200, b"small", "image/jpeg")
    assert reply.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert reply.headers["Cache-Control"].startswith("private")


@pytest.mark.parametrize("name", ["cd" * 16, "ab", "AB" * 16, "../" + "ab" * 16])
def test_there_are_no_other_thumbnails(server: HttpServer, name: str) -> None:
    assert ask(server, f"/thumbnails/{name}.jpg").status == 404


def test_there_may_be_no_page_for_people(site: Site) -> None:
    with HttpServer("127.0.0.1", 0, Pages(site.metrics, tuple, tuple, None)) as server:
        assert [ask(server, path).status for path in ("/", THUMBNAIL)] == [404, 404]


def test_a_page_that_fails_says_so_and_nothing_more(server: HttpServer, site: Site) -> None:
    site.raises = ValueError("secret")
    reply = ask(server, "/metrics")
    assert reply.status == 500
    assert b"secret" not in reply.body
    assert "secret" not in str(reply.headers)
    assert reply.headers["Cache-Control"] == "no-store"
    assert site.failed == [("/metrics", site.raises)]
    site.raises = None
    assert ask(server, "/metrics").status == 200


def test_a_page_may_fail_with_nobody_told(site: Site) -> None:
    site.raises = ValueError("secret")
    with HttpServer("127.0.0.1", 0, Pages(site.metrics, tuple, tuple, None)) as server:
        assert ask(server, "/metrics").body == b"this page has failed; the log tells why\n"


def test_a_store_that_fails_is_not_taken_for_an_empty_one(server: HttpServer, site: Site) -> None:
    site.raises = StoreError("read a picture: /secret/place: I/O error")
    reply = ask(server, f"/images/{KEY}")
    assert reply.status == 503
    assert b"secret" not in reply.body
    assert reply.headers["Cache-Control"] == "no-store"
    assert site.failed == [(f"/images/{KEY}", site.raises)]


# -- clients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", b"GET /hea", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
def test_a_client_that_falls_silent_is_let_go(sent: bytes, site: Site) -> None:
    limits = Limits(requests=1, silence=timedelta(milliseconds=10))
    with HttpServer("127.0.0.1", 0, site.pages(), limits) as server:
        with connect(server) as slow:
            slow.sendall(sent)
            assert rest(slow) == b""
        until_served(server)


def test_a_client_that_takes_nothing_is_let_go(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    site.pictures[KEY] = bytes(20_000_000)
    limits = Limits(requests=1, silence=timedelta(milliseconds=10))
    with HttpServer("127.0.0.1", 0, site.pages(), limits) as server, connect(server) as slow:
        slow.sendall(f"GET /images/{KEY} HTTP/1.0\r\n\r\n".encode())
        until_served(server)
        assert len(rest(slow)) < 20_000_000
    assert capfd.readouterr().err == ""


def test_a_client_that_sends_a_byte_now_and_then_is_let_go_in_the_end(site: Site) -> None:
    now = [1000.0]
    limits = Limits(silence=timedelta(seconds=600), whole=timedelta(seconds=60))
    with HttpServer("127.0.0.1", 0, site.pages(), limits, lambda: now[0]) as server, connect(server) as slow:
        # Each connection is an occasion to look, like each poll.
        for later in (0, 60, 1):
            now[0] += later
            slow.sendall(b"G")
            assert ask(server, "/healthz").status == 200
        assert rest(slow) == b""


def test_who_still_sends_when_it_is_answered_is_heard_out(server: HttpServer) -> None:
    with connect(server) as link:
        link.sendall(b"POST / HTTP/1.0\r\n\r\n")
        assert rest(link).startswith(b"HTTP/1.0 405")
        link.sendall(bytes(1_000_000))


def test_who_sends_on_and_on_is_let_go(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon_http, "_UNREAD", 65536)
    with connect(server) as link:
        link.sendall(b"POST / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionError):
            link.sendall(bytes(20_000_000))


def test_those_beyond_the_limit_are_told_so(site: Site) -> None:
    site.go.clear()
    with HttpServer("127.0.0.1", 0, site.pages(), Limits(requests=2)) as server:
        with connect(server) as first, connect(server) as second:
            for link in (first, second):
                link.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                assert site.entered.acquire(timeout=LONG)
            for _ in range(3):
                reply = ask(server, "/healthz")
                assert (reply.status, reply.headers["Cache-Control"]) == (503, "no-store")
            site.go.set()
            assert all(rest(link).endswith(b"tracks 1\n") for link in (first, second))
        assert ask(server, "/healthz").status == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/x\r\n\r\n", b"400"),
        (b"GET /%s HTTP/1.0\r\n\r\n" % (b"x" * 70_000), b"414"),
        (b"GET / HTTP/1.0\r\nx: %s\r\n\r\n" % (b"x" * 70_000), b"431"),
        (b"GET / HTTP/1.0\r\n%s\r\n" % (b"x: y\r\n" * 200), b"431"),
        (b"\xff\xfe\x00 /metrics HTTP/1.0\r\n\r\n", b"405"),
        (b"\r\n", b""),
    ],
)
def test_nonsense_is_refused(sent: bytes, status: bytes, server: HttpServer) -> None:
    with connect(server) as link:
        link.sendall(sent)
        assert status in rest(link).partition(b"\r\n")[0]
    assert ask(server, "/healthz").status == 200


def test_nothing_is_written_to_stderr(server: HttpServer, site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    ask(server, "/healthz")
    ask(server, "/nothing")
    site.raises = ValueError("secret")
    ask(server, "/metrics")
    for sent in (b"nonsense\r\n\r\n", b"GET /metrics HTTP/1.0\r\n\r\n"):
        with connect(server) as link:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close is a reset
            link.sendall(sent)
    ask(server, "/healthz")
    server.close()
    assert capfd.readouterr() == ("", "")


# -- beginning and end ---------------------------------------------------------------------------------------------


def test_port_and_url_tell_where_it_listens(server: HttpServer) -> None:
    assert server.url == f"http://127.0.0.1:{server.port}"
    with urlopen(f"{server.url}/healthz", timeout=LONG) as answer:
        assert answer.read() == b"ok\n"


def test_it_listens_on_ipv6_too(site: Site) -> None:
    try:
        with HttpServer("::1", 0, site.pages()) as server:
            assert server.url == f"http://[::1]:{server.port}"
            with urlopen(f"{server.url}/healthz", timeout=LONG) as answer:
                assert answer.read() == b"ok\n"
    except OSError as error:
        if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise
        pytest.skip("this machine has no IPv6")


def test_a_port_that_is_taken(server: HttpServer, site: Site) -> None:
    with pytest.raises(OSError, match="in use") as caught:
        HttpServer("127.0.0.1", server.port, site.pages())
    assert caught.value.errno == errno.EADDRINUSE


def test_our_own_name_is_not_looked_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "getfqdn")
    HttpServer("127.0.0.1", 0, site.pages()).close()


def test_it_serves_in_a_thread_that_holds_up_no_exit(server: HttpServer) -> None:
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "http"] == [True]


def test_it_serves_in_threads_that_hold_up_no_exit(site: Site, server: HttpServer) -> None:
    site.go.clear()
    with connect(server) as link:
        link.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert site.entered.acquire(timeout=LONG)
        mine = [thread for thread in threading.enumerate() if "process_request" in thread.name]
        assert mine
        assert all(thread.daemon for thread in mine)
        site.go.set()
        assert rest(link)


def test_closing_waits_for_no_page_and_no_client(site: Site) -> None:
    site.go.clear()
    server = HttpServer("127.0.0.1", 0, site.pages())
    server.start()
    with connect(server) as hanging, connect(server) as silent:
        hanging.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert site.entered.acquire(timeout=LONG)
        server.close()
        assert "http" not in {thread.name for thread in threading.enumerate()}
        with pytest.raises(ConnectionRefusedError):
            connect(server)
        silent.close()
        site.go.set()
        assert rest(hanging).endswith(b"tracks 1\n")


def test_closing_frees_the_port(site: Site) -> None:
    with HttpServer("127.0.0.1", 0, site.pages()) as first:
        assert ask(first, "/healthz").status == 200
    with HttpServer("127.0.0.1", first.port, site.pages()) as second:
        assert ask(second, "/healthz").status == 200
    second.close()


def test_one_that_never_started_can_be_closed(site: Site) -> None:
    server = HttpServer("127.0.0.1", 0, site.pages())
    server.close()
    server.close()


def test_out_of_descriptors_it_waits_before_it_tries_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    server = HttpServer("127.0.0.1", 0, site.pages())
    server.close()
    waits: list[float] = []
    monkeypatch.setattr(server._listener.closing, "wait", waits.append)
    with pytest.raises(OSError, match="descriptor"):  # of a closed socket, the same to it
        server._listener.get_request()
    assert len(waits) == 1
    assert waits[0] > 0
