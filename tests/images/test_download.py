"""Downloads over real sockets on loopback: what an answer means, how much is read, where a URL may lead."""

import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, ClassVar

import pytest
from PIL import Image

from reconciler import __version__
from reconciler.domain.advice import to_do
from reconciler.domain.findings import Fault, Flawed, Refused, Sized
from reconciler.domain.policy import Policy, Target
from reconciler.domain.states import Flaw, Reason
from reconciler.images import download
from reconciler.images.addresses import vetting
from reconciler.images.fit import prepare
from reconciler.images.pictures import WebPictures, vetted_transport
from reconciler.images.probe import MAX_PIXELS
from reconciler.ports import Pictures
from reconciler.transport import Forbidden, Reply, Request, Transport

Encode = Callable[..., bytes]
Paint = Callable[..., Image.Image]


@dataclass
class Page:
    """What one path answers. `cut`: the connection ends after that many bytes. `hold`: it stays open and silent.
    `at_most`: of a range, whatever was asked for. `total`: what is told, with a range, of the whole's length."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    ranges: bool = True
    cut: int | None = None
    hold: bool = False
    at_most: int | None = None
    total: int | None = None


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Clients hang up in the middle: that is what is tried here."""


class Site:
    """A file host on loopback that remembers what it was asked and how much it sent."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.sent = 0
        self.over = Event()
        self.server = _Quiet(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": self}))
        self.thread = Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server.server_port}{path}"

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class _Handler(BaseHTTPRequestHandler):
    site: ClassVar[Site]

    def do_GET(self) -> None:
        self.site.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        page = self.site.pages[self.path]
        status, body, extra = page.status, page.body, dict(page.headers)
        wanted = self.headers.get("range")
        if status == 200 and page.ranges and wanted:
            if not body:
                status, extra = 416, {"Content-Range": "bytes */0"}
            else:
                last = min(int(wanted.rpartition("-")[2]), len(body) - 1, (page.at_most or len(body)) - 1)
                extra["Content-Range"] = f"bytes 0-{last}/{len(body) if page.total is None else page.total}"
                status, body = 206, body[: last + 1]
        self.send_response(status)
        for name, value in ({"Content-Type": "image/jpeg", "Content-Length": str(len(body))} | extra).items():
            self.send_header(name, value)
        self.end_headers()
        self._write(body[: page.cut])
        if page.hold:
            self.site.over.wait()
        self.close_connection = page.cut is not None

    def _write(self, body: bytes) -> None:
        self.site.sent += len(body)  # before: the client may be done with it before we are
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


class Recording(Transport):
    """Remembers how many bytes each call let through."""

    read: list[int]

    def send(self, request: Request, *, deadline: timedelta, max_bytes: int) -> Reply:
        reply = super().send(request, deadline=deadline, max_bytes=max_bytes)
        self.read.append(len(reply.body))
        return reply


POLICY = Policy(insecure_hosts=("127.0.0.1",), request_timeout=timedelta(seconds=20))


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def transport() -> Iterator[Recording]:
    transport = Recording(user_agent="test", vet=vetting(POLICY.insecure_hosts), clock=now)
    transport.read = []
    yield transport
    transport.close()


@pytest.fixture
def web(transport: Recording) -> Pictures:
    return WebPictures(POLICY, transport)


def both(web: Pictures, url: str) -> tuple[object, object]:
    return web.fetch(url, bound=False), web.measure(url)


# -- what an answer means ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_picture(site: Site, web: Pictures, paint: Paint, encode: Encode, form: str, ranges: bool) -> None:
    body = encode(paint(), form)
    site.pages["/a"] = Page(body, ranges=ranges, headers={"Content-Type": "text/html"})  # types are often wrong
    assert both(web, site.url("/a")) == (body, Sized(2048, 1152))
    assert web.fetch(site.url("/a"), bound=True) == body


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_clear_no(site: Site, web: Pictures, status: int) -> None:
    site.pages["/a"] = Page(b"<Error/>", status)
    refused = Refused(f"127.0.0.1 answered {status}")
    assert both(web, site.url("/a")) == (refused, refused)


@pytest.mark.parametrize(
    ("body", "declared"),
    [
        (b"", "image/jpeg"),
        (b"", "text/html"),
        (b"  \r\n", "image/jpeg"),
        (b"<!doctype html><p>gone", "text/html"),
        (b"\xef\xbb\xbf \n<html>", "image/png"),
        (b'<?xml version="1.0"?><Error><Code>ExpiredRequest</Code></Error>', "image/jpeg"),
        (b'{"code":404}', "application/json"),
        (b"[]", "image/webp"),
        (b"not found", "text/plain"),
        (b"ID3\3some music", "audio/mpeg"),
        (b"Too many connections", "image/jpeg"),
        (b"error code: 1015", "image/png"),
        (bytes(500), "image/jpeg"),
        (b"\x01\x02\x03\x04 garbage", "image/jpeg"),
        (b"<!DOCTYPE html><body><svg><path/></svg> Down for maintenance", "image/jpeg"),
        (b"<HTML><svg></svg></HTML>", "text/html"),
    ],
)
@pytest.mark.parametrize("ranges", [True, False])
def test_200_without_a_picture_is_a_clear_no(
    site: Site, web: Pictures, body: bytes, declared: str, ranges: bool
) -> None:
    site.pages["/a"] = Page(body, headers={"Content-Type": declared}, ranges=ranges)
    assert [type(answer) for answer in both(web, site.url("/a"))] == [Refused, Refused]


@pytest.mark.parametrize(
    ("body", "declared"),
    [
        (b"GIF89a......", "text/plain"),
        (b"\0\0\0\x1cftypavif", ""),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        (b'<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN">\n<svg/>', "text/xml"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
    ],
)
def test_a_picture_of_another_kind_arrived_and_is_flawed(site: Site, web: Pictures, body: bytes, declared: str) -> None:
    site.pages["/a"] = Page(body, headers={"Content-Type": declared})
    fetched, measured = both(web, site.url("/a"))
    assert fetched == body
    assert isinstance(measured, Flawed)
    assert measured.flaw is Flaw.FORMAT


@pytest.mark.parametrize(
    "status", [201, 204, 300, 304, 400, 401, 402, 405, 407, 408, 409, 418, 425, 429, 451, 500, 502, 503, 504, 520]
)
def test_everything_else_is_no_knowledge(site: Site, web: Pictures, status: int) -> None:
    site.pages["/a"] = Page(b"", status)
    fault = Fault(Reason.DOWNLOAD_FAILED, f"127.0.0.1 answered {status}")
    assert both(web, site.url("/a")) == (fault, fault)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"statusCode":"404","error":"not_found","message":"Object not found"}', "meaning 404"),
        (b'{"statusCode":404,"error":"Bucket not found","message":"Bucket not found"}', "meaning 404"),
        (b'{"statusCode":"403","error":"Unauthorized","message":"Access denied"}', "meaning 403"),
        (b'{"statusCode":"410"}', "meaning 410"),
        (b'{"statusCode":"400","error":"InvalidJWT","message":"\\"exp\\" claim timestamp check failed"}', "invalidjwt"),
        (b'{"statusCode":"400","error":"jwt expired","message":"jwt expired"}', "jwtexpired"),
        (b'{"statusCode":"400","error":"ExpiredToken"}', "expiredtoken"),
        (b'{"statusCode":"400","error":"InvalidSignature"}', "invalidsignature"),
        (b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>Invalid argument.", "expiredtoken"),
        (b"<Error>\n  <Code>\n    ExpiredToken\n  </Code>\n</Error>", "expiredtoken"),
    ],
)
def test_a_no_within_a_400_is_a_clear_no(site: Site, web: Pictures, body: bytes, told: str) -> None:
    """Supabase Storage answers so in JSON, Google's and Amazon's stores in XML."""
    site.pages["/a"] = Page(body, 400)
    for answer in both(web, site.url("/a")):
        assert isinstance(answer, Refused)
        assert answer.detail.startswith("127.0.0.1 answered 400")
        assert answer.detail.endswith(told)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Bad Request",
        b'{"statusCode":"404"',
        b"\xff\xfe",
        b"[" * 3000,
        b'[{"statusCode":"404"}]',
        b'{"error":"not_found"}',
        b'{"statusCode":["404"]}',
        b'{"statusCode":"503","error":"DatabaseReadOnly"}',
        b'{"statusCode":"400","error":"TenantNotFound"}',
        b'{"statusCode":1e999}',
        b'{"statusCode":"400","error":{}}',
        b'{"statusCode":"404","padding":"' + b"x" * 5000 + b'"}',
        b"<Error><Code>InvalidArgument</Code><Message>ExpiredToken</Message></Error>",
        b"<Error><Message>" + b"x" * 5000 + b"</Message><Code>ExpiredToken</Code></Error>",
    ],
)
def test_a_400_that_says_nothing_of_the_picture_is_no_knowledge(site: Site, web: Pictures, body: bytes) -> None:
    site.pages["/a"] = Page(body, 400)
    fault = Fault(Reason.DOWNLOAD_FAILED, "127.0.0.1 answered 400")
    assert both(web, site.url("/a")) == (fault, fault)


@pytest.mark.parametrize("cut", [0, 1, 1000, -1])
@pytest.mark.parametrize("ranges", [True, False])
def test_shorter_than_promised_is_never_a_picture(
    site: Site, web: Pictures, paint: Paint, encode: Encode, cut: int, ranges: bool
) -> None:
    site.pages["/a"] = Page(encode(paint(64, 36)), cut=cut, ranges=ranges)
    for answer in both(web, site.url("/a")):
        assert isinstance(answer, Fault)
        assert answer.reason is Reason.DOWNLOAD_FAILED


def test_a_server_that_falls_silent_is_left(site: Site, transport: Recording, paint: Paint, encode: Encode) -> None:
    site.pages["/a"] = Page(encode(paint(64, 36)), cut=20, hold=True)
    hasty = WebPictures(Policy(insecure_hosts=("127.0.0.1",), request_timeout=timedelta(milliseconds=200)), transport)
    for answer in both(hasty, site.url("/a")):
        assert isinstance(answer, Fault)
        assert answer.reason is Reason.DOWNLOAD_FAILED


def test_all_requests_of_one_question_share_its_deadline(site: Site, transport: Recording) -> None:
    ticks = iter(range(0, 1000, 7))
    site.pages["/a"] = Page(b"", 302, {"Location": "/a"})
    slow = WebPictures(POLICY, transport, monotonic=lambda: float(next(ticks)))
    assert slow.fetch(site.url("/a"), bound=False) == Fault(Reason.DOWNLOAD_FAILED, "127.0.0.1: the deadline passed")
    assert len(site.asked) == 2  # 7 and 14 of 20 seconds


def test_nobody_there(web: Pictures) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    for answer in both(web, f"http://127.0.0.1:{port}/a"):
        assert isinstance(answer, Fault)
        assert answer.reason is Reason.DOWNLOAD_FAILED


def test_an_encoding_nobody_asked_for_is_no_knowledge(site: Site, web: Pictures) -> None:
    site.pages["/a"] = Page(b"\x1f\x8b\x08", headers={"Content-Encoding": "gzip"})
    for answer in both(web, site.url("/a")):
        assert isinstance(answer, Fault)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("coding", ["aws-chunked", "AWS-Chunked, utf-8", "none"])
def test_a_coding_that_browsers_do_not_know_hides_no_picture(
    site: Site, web: Pictures, paint: Paint, encode: Encode, form: str, coding: str
) -> None:
    body = encode(paint(), form)
    site.pages["/a"] = Page(body, headers={"Content-Encoding": coding})
    assert both(web, site.url("/a")) == (body, Sized(2048, 1152))
    site.pages["/b"] = Page(b"10000;chunk-signature=ab\r\n" + body, headers={"Content-Encoding": coding})
    for answer in both(web, site.url("/b")):
        assert isinstance(answer, Fault)


@pytest.mark.parametrize("coding", ["gzip", "br", "aws-chunked, gzip"])
def test_a_coding_that_browsers_undo_does(site: Site, web: Pictures, paint: Paint, encode: Encode, coding: str) -> None:
    site.pages["/a"] = Page(encode(paint(64, 36)), headers={"Content-Encoding": coding})
    for answer in both(web, site.url("/a")):
        assert isinstance(answer, Fault)


@pytest.mark.parametrize("span", ["", "bytes 5-9/10", "bytes */10", "items 0-9/10", "bytes 0-x/y"])
def test_a_part_that_is_not_the_beginning_is_no_knowledge(site: Site, web: Pictures, span: str) -> None:
    site.pages["/a"] = Page(b"\xff\xd8\xff\xe0 and so on", 206, {"Content-Range": span})
    for answer in both(web, site.url("/a")):
        assert answer == Fault(Reason.DOWNLOAD_FAILED, "127.0.0.1 answered 206")


def test_a_part_is_not_the_whole(site: Site, web: Pictures, paint: Paint, encode: Encode) -> None:
    body = encode(paint(64, 36))
    site.pages["/a"] = Page(body, 206, {"Content-Range": f"bytes 0-{len(body) - 1}/*"})
    assert both(web, site.url("/a")) == (
        Fault(Reason.DOWNLOAD_FAILED, "127.0.0.1 sent a part only"),
        Sized(64, 36),
    )


def test_bytes_at_hand(paint: Paint, encode: Encode) -> None:
    """A picture in the row itself, or in our store."""
    web = in_process(Policy(), never)
    data = encode(paint())
    assert web.measure_bytes(data) == Sized(2048, 1152)
    assert isinstance(web.measure_bytes(data[:-2]), Flawed)
    assert web.measure_bytes(b"") == Flawed(Flaw.FORMAT, "empty")
    assert web.prepare(data, interim=False) == prepare(data, Target(), interim=False)


# -- how much is read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_measuring_costs_64_kib(site: Site, web: Pictures, transport: Recording, encode: Encode, form: str) -> None:
    body = encode(Image.effect_noise((2048, 1152), 99).convert("RGB"), form)
    assert len(body) > 1_000_000
    site.pages["/a"] = Page(body)
    assert web.measure(site.url("/a")) == Sized(2048, 1152)
    assert (site.sent, len(site.asked)) == (65536, 1)
    site.pages["/b"] = Page(body, ranges=False)
    assert web.measure(site.url("/b")) == Sized(2048, 1152)
    assert transport.read == [65536, 65536]


@pytest.mark.parametrize(
    ("blocks", "reads"), [(0, [65536]), (2, [65536, 524288]), (7, [65536, 524288]), (20, [65536, 524288, None])]
)
def test_a_size_behind_large_metadata_is_followed(
    site: Site,
    web: Pictures,
    transport: Recording,
    encode: Encode,
    segment: Callable[[int, bytes], bytes],
    blocks: int,
    reads: list[int | None],
) -> None:
    plain = encode(Image.effect_noise((1024, 576), 99).convert("RGB"), quality=99)
    body = plain[:2] + segment(0xE1, b"x" * 65000) * blocks + plain[2:]
    assert len(plain) > 500_000
    site.pages["/a"] = Page(body)
    assert web.measure(site.url("/a")) == Sized(1024, 576)
    assert transport.read == [len(body) if read is None else read for read in reads]


def test_a_far_size_is_asked_for_at_once(site: Site, web: Pictures, transport: Recording, encode: Encode) -> None:
    """An announced EXIF block of a WebP lies behind its pixels."""
    body = encode(Image.effect_noise((1024, 576), 99).convert("RGB"), "WEBP", quality=99, exif=b"II*\0")
    assert len(body) > 524288
    site.pages["/a"] = Page(body)
    assert web.measure(site.url("/a")) == Sized(1024, 576)
    assert transport.read == [65536, len(body)]


@pytest.mark.parametrize(
    ("at_most", "reads"), [(1000, [1000, None]), (65536, [65536, 65536, None]), (300_000, [65536, 300_000, None])]
)
def test_a_size_behind_the_longest_range_that_a_server_sends(
    site: Site,
    web: Pictures,
    transport: Recording,
    encode: Encode,
    segment: Callable[[int, bytes], bytes],
    at_most: int,
    reads: list[int | None],
) -> None:
    plain = encode(Image.effect_noise((1024, 576), 99).convert("RGB"), quality=99)
    body = plain[:2] + segment(0xE1, b"x" * 65000) * 7 + plain[2:]
    site.pages["/a"] = Page(body, at_most=at_most)
    assert web.measure(site.url("/a")) == Sized(1024, 576)
    assert transport.read == [len(body) if read is None else read for read in reads]


def test_a_size_within_the_longest_range_costs_no_more(
    site: Site, web: Pictures, transport: Recording, encode: Encode, paint: Paint
) -> None:
    site.pages["/a"] = Page(encode(paint()), at_most=5000)
    assert web.measure(site.url("/a")) == Sized(2048, 1152)
    assert transport.read == [5000]


@pytest.mark.parametrize("ranges", [True, False])
def test_what_ends_before_its_size_is_truncated(
    site: Site, web: Pictures, paint: Paint, encode: Encode, ranges: bool
) -> None:
    site.pages["/a"] = Page(encode(paint(64, 36))[:100], ranges=ranges)
    measured = web.measure(site.url("/a"))
    assert isinstance(measured, Flawed)
    assert measured.flaw is Flaw.TRUNCATED


@pytest.mark.parametrize("total", [65536, 0], ids=["the part's", "none"])
def test_a_wrong_length_told_with_a_part_does_not_condemn_the_whole(
    site: Site, web: Pictures, encode: Encode, total: int
) -> None:
    noise = Image.effect_noise((1024, 576), 99).convert("RGB")
    site.pages["/a"] = Page(encode(noise), total=total)
    assert web.measure(site.url("/a")) == Sized(1024, 576)


@pytest.mark.parametrize("ranges", [True, False])
def test_over_the_cap(
    site: Site, web: Pictures, paint: Paint, encode: Encode, monkeypatch: pytest.MonkeyPatch, ranges: bool
) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 100_000)
    site.pages["/a"] = Page(encode(paint(64, 36)) + bytes(100_000), ranges=ranges)
    flawed = Flawed(Flaw.TOO_LARGE, "over 100000 bytes")
    assert both(web, site.url("/a")) == (flawed, flawed)


def test_people_are_told_what_is_over_the_cap() -> None:
    assert f"{MAX_PIXELS // 10**6} megapixels or {download.MAX_BYTES // 2**20} MB" in to_do(Reason.IMAGE_REJECTED)


def test_over_the_cap_though_no_length_is_told(paint: Paint, encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 100_000)
    endless = Reply(200, {}, encode(paint(64, 36)) + bytes(100_000), complete=True)
    fetched = in_process(POLICY, lambda _: endless).fetch("https://files.example/a.jpg", bound=False)
    assert fetched == Flawed(Flaw.TOO_LARGE, "over 100000 bytes")


def test_a_part_without_a_size_is_no_knowledge_of_the_whole(
    site: Site, web: Pictures, segment: Callable[[int, bytes], bytes]
) -> None:
    body = b"\xff\xd8" + segment(0xE1, b"x" * 65000) * 2
    site.pages["/a"] = Page(body, 206, {"Content-Range": f"bytes 0-{len(body) - 1}/*"})
    assert web.measure(site.url("/a")) == Fault(Reason.DOWNLOAD_FAILED, "127.0.0.1 sent a part only")


# -- what is sent --------------------------------------------------------------------------------------------------


def test_an_honest_name_and_no_secret(site: Site, paint: Paint, encode: Encode) -> None:
    site.pages["/a?sig=1"] = Page(b"", 302, {"Location": "/b", "Set-Cookie": "a=b"})
    site.pages["/b"] = Page(encode(paint(64, 36)))
    transport = vetted_transport(POLICY, now)
    try:
        WebPictures(POLICY, transport).measure(site.url("/a?sig=1"))
    finally:
        transport.close()
    assert [path for path, _ in site.asked] == ["/a?sig=1", "/b"]
    for _, headers in site.asked:
        assert headers["user-agent"] == f"reconciler/{__version__}"
        assert headers["accept-encoding"] == "identity"
        assert not {"authorization", "cookie", "referer"} & headers.keys()


# -- where it may lead ---------------------------------------------------------------------------------------------


def refused(answer: object) -> bool:
    return isinstance(answer, Fault) and answer.reason is Reason.HOST_REFUSED


HOSTILE = [
    "http://example.com/a.png",
    "ftp://example.com/a.png",
    "file:///etc/passwd",
    "//example.com/a.png",
    "/a.png",
    "",
    "not a url",
    "https://",
    "https:///a.png",
    "https://localhost/",
    "https://intranet/",
    "https://127.0.0.2/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[fe80::1%25eth0]/",
    "https://127.0.0.2./",
    "https://localhost./",
    "https://user@example.com/",
    "https://user:secret@example.com/",
    "https://example.com@127.0.0.2/",
    "https://127.0.0.1@example.com/",
    "https://example.com\\@127.0.0.2/",
    "https://example.com\t/",
    "https://exam\nple.com/",
    " https://example.com/",
    "https://１２７.0.0.2/",
    "https://①②⑦.0.0.2/",
    "https://127。0。0。2/",
    "https://%31%32%37.0.0.2/",
    "https://169.254.169.254/latest/meta-data",
    "https://[fd00:ec2::254]/",
    "https://100.64.0.1/",
    "https://10.1.2.3/",
    "https://0.0.0.0/",
    "https://224.0.0.1/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://example.com:99999/",
    "https://example.com:0/",
    "https://" + "a" * 1_000_000 + ".com/",
    "https://example.com/" + "a" * 1_000_000,
]


def never(_: Request) -> Reply:
    raise AssertionError("nothing may be sent")


@pytest.mark.parametrize("scheme", ["data", "DATA"])
def test_an_answer_of_kie_cannot_hold_a_picture_itself(transport: Recording, web: Pictures, scheme: str) -> None:
    answer = web.fetch(f"{scheme}:image/png;base64,AAAA", bound=True)
    assert refused(answer), answer
    assert transport.read == []


@pytest.mark.parametrize("url", HOSTILE, ids=lambda url: url[:40])
def test_no_spelling_gets_through(site: Site, transport: Recording, web: Pictures, url: str) -> None:
    site.pages["/a"] = Page(b"", 302, {"Location": "/"})
    for answer in (web.measure(url), web.fetch(url, bound=False), web.fetch(url, bound=True)):
        assert refused(answer), answer
        assert isinstance(answer, Fault)
        assert "secret" not in answer.detail
        assert len(answer.detail) < 300
    assert transport.read == []


@pytest.mark.parametrize(
    "location",
    [
        "http://localhost:{port}/b",
        "http://[::1]:{port}/b",
        "http://127.0.0.2:{port}/b",
        "http://example.com/b",
        "https://10.0.0.1/b",
        "https://user@127.0.0.1:{port}/b",
        "file:///etc/passwd",
        "//127.0.0.2/b",
        "http://2130706433:{port}/b",
    ],
)
def test_redirects_are_vetted_too(site: Site, web: Pictures, location: str) -> None:
    site.pages["/a"] = Page(b"", 302, {"Location": location.format(port=site.server.server_port)})
    for answer in both(web, site.url("/a")):
        assert refused(answer), answer
    assert {path for path, _ in site.asked} == {"/a"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(site: Site, web: Pictures, paint: Paint, encode: Encode, status: int) -> None:
    body = encode(paint(64, 36))
    for hop in range(5):
        site.pages[f"/{hop}"] = Page(b"", status, {"Location": f"{hop + 1}#fragment"})
    site.pages["/5"] = Page(body)
    assert both(web, site.url("/0")) == (body, Sized(64, 36))


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        ("/für.jpg?q=ż".encode(), "/f%C3%BCr.jpg?q=%C5%BC"),
        ("/Élan/日本".encode(), "/%C3%89lan/%E6%97%A5%E6%9C%AC"),
        ("/voilà".encode(), "/voil%C3%A0"),
        ("/für%20dich".encode("latin-1"), "/f%FCr%20dich"),
    ],
)
def test_a_redirect_leads_to_the_bytes_that_the_server_sent(
    site: Site, web: Pictures, paint: Paint, encode: Encode, location: bytes, asked: str
) -> None:
    body = encode(paint(64, 36))
    site.pages["/a"] = Page(b"", 302, {"Location": f" {location.decode('latin-1')}\t"})
    site.pages[asked] = Page(body)
    assert both(web, site.url("/a")) == (body, Sized(64, 36))


def test_not_for_ever(site: Site, web: Pictures) -> None:
    site.pages["/a"] = Page(b"", 302, {"Location": "/a"})
    assert web.fetch(site.url("/a"), bound=False) == Fault(Reason.DOWNLOAD_FAILED, "127.0.0.1: more than 5 redirects")
    assert len(site.asked) == 6


@pytest.mark.parametrize("headers", [{}, {"Location": "http://[::1"}])
def test_a_redirect_to_nowhere(site: Site, web: Pictures, headers: dict[str, str]) -> None:
    site.pages["/a"] = Page(b"", 302, headers)
    fault = Fault(Reason.DOWNLOAD_FAILED, "127.0.0.1 redirects to nowhere")
    assert both(web, site.url("/a")) == (fault, fault)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["::ffff:127.0.0.1"]])
def test_a_public_name_of_a_private_address(
    web: Pictures, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 443)) for a in addresses],
    )
    for answer in both(web, "https://cdn.example.com/a.png"):
        assert refused(answer), answer


def in_process(policy: Policy, answer: Callable[[Request], Reply]) -> WebPictures:
    return WebPictures(policy, Transport(user_agent="test", clock=now, handler=answer))


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://tempfile.aiquickdraw.com/a.png", True),
        ("https://AIQUICKDRAW.com./a.png", True),
        ("https://cdn2.suno.ai:8443/a.png", True),
        ("https://notaiquickdraw.com/a.png", False),
        ("https://aiquickdraw.com.evil.com/a.png", False),
        ("https://evil.com/aiquickdraw.com", False),
        ("https://evil.com#aiquickdraw.com", False),
        ("http://tempfile.aiquickdraw.com/a.png", False),
        ("http://127.0.0.1:9/a.png", True),
    ],
)
def test_answers_of_the_provider_are_bound_to_its_hosts(url: str, allowed: bool) -> None:
    web = in_process(POLICY, lambda _: Reply(200, {}, b"\xff\xd8\xff", complete=True))
    answer = web.fetch(url, bound=True)
    assert answer == b"\xff\xd8\xff" if allowed else refused(answer)


def test_so_are_their_redirects() -> None:
    web = in_process(POLICY, lambda _: Reply(302, {"location": "https://evil.example.com/a"}, b"", complete=True))
    assert refused(web.fetch("https://file.aiquickdraw.com/a", bound=True))


def test_our_own_public_url_is_a_host_like_any_other() -> None:
    policy = Policy(public_url="http://127.0.0.1:9464/images")
    assert refused(in_process(policy, never).measure("http://127.0.0.1:9464/images/tracks/a/0123456789abcdef.jpg"))


def test_what_the_transport_forbids_is_refused() -> None:
    def forbid(_: Request) -> Reply:
        raise Forbidden("cdn.example.com is at 10.0.0.1")

    assert refused(in_process(POLICY, forbid).measure("https://cdn.example.com/a.png"))
