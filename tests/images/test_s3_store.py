"""What only a bucket can suffer: keys that are refused, servers that fail, are slow, or know less of S3."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier, Thread
from typing import Any
from urllib.request import urlopen

import obstore
import pytest

from reconciler.images import s3_store
from reconciler.images.s3_asking import Access
from reconciler.images.s3_errors import Operation, Outcome, failure_of
from reconciler.images.s3_store import S3Probe, S3Reader, S3Store
from reconciler.ports import Prepared, StoreError
from tests.s3 import LOOKER, LOOKERS_SECRET, Server, server

pytestmark = pytest.mark.server

Make = Callable[..., Prepared]
Answer = tuple[int, bytes]
MARKER = b'{"id": "ours"}'
LATER = "it is tried again by itself"


@pytest.fixture
def real() -> Server:
    return server()


@pytest.fixture
def bucket(real: Server) -> str:
    return real.empty_bucket()


@pytest.fixture
def store(real: Server, bucket: str) -> S3Store:
    store = S3Store(real.access(bucket))
    store.adopt("ours")
    return store


class Heard(list[tuple[Operation, Outcome]]):
    def __call__(self, operation: Operation, outcome: Outcome) -> None:
        self.append((operation, outcome))


GOT, MISSED, PUT = ("get", "ok"), ("get", "not_found"), ("put", "ok")


# -- a server that does as it is told ------------------------------------------------------------------------------


class Told:
    """`answer` gets the method, the path with its query, and the body. `asked`: what was asked, with its headers."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.answer: Callable[[str, str, bytes], Answer] = lambda *_: (200, MARKER)
        self.missing = 0
        """So many bytes less are sent than said."""
        self.drips = threading.Event()
        """Set: it does not even hang up then."""

    def access(self, call: timedelta = timedelta(seconds=20)) -> Access:
        place, endpoint = "the bucket of pictures", f"{self.url}/storage/v1/s3"
        return Access(place, endpoint, "pictures", "AKID", "the-secret", call, "eu-central-1")

    def files(self, files: dict[str, bytes]) -> None:
        """An S3 server's files, by key."""

        def answer(method: str, path: str, body: bytes) -> Answer:
            key = path.removeprefix("/storage/v1/s3/pictures/")
            if method == "PUT":
                files[key] = body
            return (200, files[key]) if key in files else (404, b"<Error><Code>NoSuchKey</Code></Error>")

        self.answer = answer


@pytest.fixture
def told() -> Iterator[Told]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            made.asked.append((self.command, self.path, {name.lower(): text for name, text in self.headers.items()}))
            status, answer = made.answer(self.command, self.path, body)
            self.send_response(status)
            self.send_header("ETag", '"x"')
            self.send_header("Last-Modified", "Thu, 26 Nov 2026 01:24:42 GMT")
            self.send_header("Content-Length", str(len(answer) + made.missing))
            self.end_headers()
            self.wfile.write(answer)
            while made.drips.is_set():
                time.sleep(0.01)

        do_GET = do_PUT = answer  # noqa: N815 - so they are called

        def log_message(self, format: str, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Told(f"http://127.0.0.1:{httpd.server_port}")
    thread = Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.drips.clear()
    httpd.shutdown()
    thread.join()
    httpd.server_close()


# -- storing -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_anybody_is_served_a_picture_with_its_type_and_for_ever(real: Server, store: S3Store, prepared: Make) -> None:
    key = store.put("a", prepared(b"picture"))
    with urlopen(f"{real.public_url('shared')}/{key}", timeout=10) as answer:
        assert answer.read() == b"picture"
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


@pytest.mark.slow
def test_a_picture_is_read_back_and_the_same_bytes_are_not_written_again(
    real: Server, bucket: str, prepared: Make
) -> None:
    heard = Heard()
    store = S3Store(real.access(bucket), heard)
    store.adopt(None)
    heard.clear()
    store.put("a", prepared(b"picture"))
    assert heard == [GOT, MISSED, PUT, GOT]
    heard.clear()
    store.put("a", prepared(b"picture"))
    assert heard == [GOT, GOT]


@pytest.mark.slow
def test_a_damaged_picture_is_mended(real: Server, bucket: str, store: S3Store, prepared: Make) -> None:
    key = store.put("a", prepared(b"picture"))
    obstore.put(real.client(bucket), key, b"pictur3")
    assert store.put("a", prepared(b"picture")) == key
    assert store.get(key) == b"picture"


def test_bytes_that_come_back_different_are_an_error(told: Told, prepared: Make) -> None:
    told.files({".reconciler-store": MARKER})
    honest = told.answer
    told.answer = lambda method, path, body: honest(method, path, body[:-1] + b"?")
    with pytest.raises(StoreError, match=r"the bucket of pictures, tracks/a/.*not what was written"):
        S3Store(told.access()).put("a", prepared(b"picture"))


@pytest.mark.slow
def test_many_threads_store_at_once(store: S3Store, prepared: Make) -> None:
    keys: list[str] = []
    threads = [
        Thread(target=lambda number=number: keys.append(store.put("a", prepared(bytes([number % 4]) * 100_000))))
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 16
    assert sorted(store.keys("a")) == sorted(set(keys))
    assert {store.get(key) for key in keys} == {bytes([number]) * 100_000 for number in range(4)}


def test_a_proof_is_one_small_file_beside_the_marker_that_stays(told: Told, prepared: Make) -> None:
    files = {".reconciler-store": MARKER}
    told.files(files)
    heard = Heard()
    store = S3Store(told.access(), heard)
    store.prove("a")
    store.prove("a")
    assert heard == [GOT, PUT, GOT]
    assert files.keys() == {".reconciler-store", "tracks/.reconciler-probe"}
    (headers,) = (headers for method, _, headers in told.asked if method == "PUT")
    assert headers["cache-control"] == "no-store", "it is no picture: the next one has other bytes"
    honest, told.answer = told.answer, lambda *_: (403, b"<Error><Code>AccessDenied</Code></Error>")
    with pytest.raises(StoreError):
        store.put("a", prepared(b"picture"))
    told.answer = honest
    heard.clear()
    store.prove("a")
    assert heard == [GOT, PUT, GOT]


def test_a_proof_bears_that_another_process_gives_one_at_once(told: Told) -> None:
    files = {".reconciler-store": MARKER}
    told.files(files)
    honest, others = told.answer, [b"of another process"]

    def answer(method: str, path: str, body: bytes) -> Answer:
        said = honest(method, path, body)
        if method == "PUT" and others:
            files["tracks/.reconciler-probe"] = others.pop()
        return said

    told.answer = answer
    S3Store(told.access()).prove("a")
    assert others == []


def test_what_could_not_be_stored_is_proven_with_as_large_a_file(told: Told, prepared: Make) -> None:
    """A bucket may be full but for a few bytes, or take no large files."""
    files = {".reconciler-store": MARKER}
    told.files(files)
    honest = told.answer

    def small_only(method: str, path: str, body: bytes) -> Answer:
        refused = 413, b"<Error><Code>EntityTooLarge</Code></Error>"
        return refused if len(body) > 1000 else honest(method, path, body)

    told.answer = small_only
    store = S3Store(told.access())
    store.prove("a")
    with pytest.raises(StoreError):
        store.put("a", prepared(b"p" * 2000))
    for _ in range(2):
        with pytest.raises(StoreError):
            store.prove("a")
    told.answer = honest
    store.prove("a")
    assert len(files["tracks/.reconciler-probe"]) == 2000


# -- reading -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_bucket_that_is_gone_or_lost_its_marker_has_not_lost_its_pictures(real: Server, prepared: Make) -> None:
    bucket = real.new_bucket()
    store = S3Store(real.access(bucket))
    store.adopt("ours")
    key = store.put("a", prepared(b"picture"))
    losses: list[tuple[Callable[[], None], str]] = [
        (lambda: obstore.delete(real.client(bucket), [key, ".reconciler-store"]), "there is none; set storage.bucket"),
        (lambda: real.remove(bucket), "there is no such bucket; create it, or set storage.bucket right"),
    ]
    for take_away, says in losses:
        take_away()
        for call in (lambda: store.get(key), lambda: store.keys("a"), lambda: store.put("a", prepared(b"picture"))):
            with pytest.raises(StoreError, match=says):
                call()


@pytest.mark.parametrize("body", [b"", b"<html>not found</html>", b"<Error><Code>NoSuchUpload</Code></Error>"])
def test_a_404_that_does_not_speak_of_the_key_is_no_absence(told: Told, body: bytes) -> None:
    told.answer = lambda *_: (404, body)
    with pytest.raises(StoreError, match=r"it answered 404.*; check storage\.endpoint"):
        S3Reader(told.access()).get("tracks/a/0123456789abcdef.jpg")


def listing(ages: dict[str, str]) -> bytes:
    """Names within tracks/a, as XML has them, and days."""
    listed = "".join(
        f"<Contents><Key>tracks/a/{name}</Key><LastModified>2026-11-{day}T00:00:00Z</LastModified>"
        '<ETag>"x"</ETag><Size>1</Size></Contents>'
        for name, day in ages.items()
    )
    return f"<ListBucketResult><Name>p</Name><IsTruncated>false</IsTruncated>{listed}</ListBucketResult>".encode()


def test_the_newest_comes_first_and_strangers_are_left_out(told: Told) -> None:
    ages = {"0" * 16: "01", "1" * 16: "03", "2" * 16: "02", "3" * 16: "02"}
    page = listing({f"{name}.jpg": day for name, day in {**ages, "notes": "30"}.items()})
    told.answer = lambda _, path, __: (200, page if "list-type" in path else MARKER)
    assert [key[9] for key in S3Reader(told.access()).keys("a")] == ["1", "3", "2", "0"]


@pytest.mark.parametrize(
    ("name", "shown"), [("/x.jpg", "/x.jpg"), ("../b.jpg", "../b.jpg"), ("TimedOut&#9;&#13;&#10;", r"TimedOut\t\r\n")]
)
def test_a_strangers_name_that_cannot_be_read_is_told_with_its_folder(told: Told, name: str, shown: str) -> None:
    page = listing({"0" * 16 + ".jpg": "01", name: "02"})
    told.answer = lambda _, path, __: (200, page if "list-type" in path else MARKER)
    heard = Heard()
    with pytest.raises(StoreError) as caught:
        S3Reader(told.access(), heard, sleep=lambda _: None).keys("a")
    assert f', tracks/a: the name "tracks/a/{shown}" there cannot be read; remove that file' in str(caught.value)
    assert heard == [GOT, ("list", "malformed")]


@pytest.mark.parametrize("text", [b"", b"[]", b'{"id": ""}', b'{"id": 5}', b"\x00", b'"ours"', b"<html></html>"])
def test_a_damaged_marker_is_a_fault(told: Told, text: bytes) -> None:
    told.answer = lambda *_: (200, text)
    for call in (S3Store(told.access()).check, lambda: S3Store(told.access()).adopt("other")):
        with pytest.raises(StoreError, match="put it back"):
            call()
    assert {method for method, _, _ in told.asked} == {"GET"}


def test_no_more_is_read_than_a_picture_may_have(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_store, "MAX_BYTES", 1000)
    told.answer = lambda _, path, __: (200, MARKER if path.endswith(".reconciler-store") else b"x" * 50_000_000)
    data = S3Reader(told.access()).get("tracks/a/0123456789abcdef.jpg")
    assert data is not None
    assert 1000 < len(data) < 50_000_000


# -- the marker ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_that_adopt_at_once_agree(real: Server, bucket: str) -> None:
    start, found = Barrier(8), []

    def adopt(number: int) -> None:
        store = S3Store(real.access(bucket))
        start.wait()
        found.append(store.adopt(f"id-{number}"))

    threads = [Thread(target=adopt, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


@pytest.mark.slow
def test_the_marker_is_json(real: Server, bucket: str, store: S3Store) -> None:
    got = obstore.get(real.client(bucket), ".reconciler-store")
    assert got.attributes["Content-Type"] == "application/json"
    assert json.loads(bytes(got.bytes())) == {"id": "ours"}


@pytest.mark.parametrize("refused", [True, False])
def test_a_server_that_knows_no_conditions_gets_a_marker_too(told: Told, refused: bool) -> None:
    files: dict[str, bytes] = {}
    told.files(files)
    honest = told.answer

    def answer(method: str, path: str, body: bytes) -> Answer:
        if refused and method == "PUT" and "if-none-match" in told.asked[-1][2]:
            return 501, b"<Error><Code>NotImplemented</Code></Error>"
        return honest(method, path, body)

    told.answer = answer
    heard = Heard()
    assert S3Store(told.access(), heard).adopt("ours") == "ours"
    refusals = [("put", "rejected")] if refused else []
    assert heard == [MISSED, *refusals, PUT, GOT]
    assert json.loads(files[".reconciler-store"]) == {"id": "ours"}


def test_a_marker_that_another_made_meanwhile_is_kept(told: Told) -> None:
    files: dict[str, bytes] = {}
    told.files(files)
    honest = told.answer

    def answer(method: str, path: str, body: bytes) -> Answer:
        if method == "PUT":
            files[".reconciler-store"] = b'{"id": "theirs"}'
            return 412, b"<Error><Code>PreconditionFailed</Code></Error>"
        return honest(method, path, body)

    told.answer = answer
    assert S3Store(told.access()).adopt("ours") == "theirs"


# -- failing -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"access_key": "AKIDNOBODY"}, "the access key is not known; set storage.access_key right"),
        ({"secret_key": "another"}, "the signature does not match; set storage.secret_key (or the credential"),
        ({"bucket": "nowhere"}, "there is no such bucket; create it, or set storage.bucket right"),
        ({"endpoint": "http://127.0.0.1:1"}, "nothing listens there; check storage.endpoint"),
        ({"endpoint": "http://no-such-host.invalid"}, "its host is not known; check storage.endpoint"),
        ({"access_key": LOOKER, "secret_key": LOOKERS_SECRET}, "access is denied; let the owner of storage.access_key"),
    ],
)
def test_what_is_wrong_is_told_with_the_key_to_look_at_and_no_secret(
    real: Server, bucket: str, store: S3Store, prepared: Make, changes: dict[str, Any], says: str
) -> None:
    access = replace(real.access(bucket), **changes)
    broken = S3Store(access, sleep=lambda _: None)
    with pytest.raises(StoreError) as caught:
        broken.put("a", prepared(b"picture"))
    assert access.place in str(caught.value)
    assert says in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
    for hidden in (access.access_key, access.secret_key, "Signature=", "X-Amz"):
        assert hidden not in repr(caught.value)


def test_neither_key_is_shown_of_what_holds_them(told: Told) -> None:
    store = S3Store(told.access())
    shown = f"{told.access()!r} {store._client!r} {store._client.config}"
    assert "pictures" in shown
    assert "the-secret" not in shown
    assert "AKID" not in shown


REFUSALS = [
    (403, "AccessDenied", "unauthorized", "access is denied"),
    (403, "", "unauthorized", "it answered 403; check storage.access_key"),
    (403, "RequestTimeTooSkewed", "unauthorized", "this machine's clock is wrong"),
    (400, "AuthorizationHeaderMalformed", "rejected", "in another region; check storage.region"),
    (301, "PermanentRedirect", "rejected", "in another region; check storage.region and storage.endpoint"),
    (301, "", "rejected", "in another region; check storage.region and storage.endpoint"),
    (400, "EntityTooLarge", "rejected", "too large for the bucket"),
    (415, "InvalidMimeType", "rejected", "let it take image/jpeg"),
    (400, "InvalidKey", "rejected", "it answered 400 InvalidKey; check"),
    (404, "", "not_found", "it answered 404; check"),
]
PASSING = [
    (408, "", "timeout", f"it answered 408; {LATER}"),
    (429, "", "rate_limited", f"it answered 429; {LATER}"),
    (503, "SlowDown", "rate_limited", f"it answered 503 SlowDown; {LATER}"),
    (500, "InternalError", "server_error", f"it answered 500 InternalError; {LATER}"),
    (502, "", "server_error", f"it answered 502; {LATER}"),
]


@pytest.mark.parametrize(("status", "code", "outcome", "says"), REFUSALS + PASSING)
def test_an_answer_is_explained_and_counted_and_asked_for_again_only_if_that_may_help(
    told: Told, status: int, code: str, outcome: str, says: str
) -> None:
    told.answer = lambda *_: (status, f"<Error><Code>{code}</Code></Error>".encode() if code else b"")
    heard, slept = Heard(), list[float]()
    with pytest.raises(StoreError) as caught:
        S3Reader(told.access(), heard, sleep=slept.append).check()
    assert str(caught.value).startswith("read the store's marker: the bucket of pictures, ")
    assert says in str(caught.value)
    tries = 3 if (status, code, outcome, says) in PASSING else 1
    assert heard == [("get", outcome)] * tries
    assert slept == [0.0, 0.2, 0.4][:tries]


def test_what_passes_is_not_noticed(told: Told, prepared: Make) -> None:
    files = {".reconciler-store": MARKER}
    told.files(files)
    honest, heard = told.answer, Heard()
    told.answer = lambda *asked: (503, b"") if len(told.asked) % 2 else honest(*asked)
    key = S3Store(told.access(), heard, sleep=lambda _: None).put("a", prepared(b"picture"))
    assert files[key] == b"picture"
    busy = Outcome.SERVER_ERROR
    assert heard == [("get", busy), GOT, ("get", busy), MISSED, ("put", busy), PUT, ("get", busy), GOT]


def test_a_server_that_never_ends_an_answer_is_left_in_time(told: Told) -> None:
    """A call has the time for two requests and no pause between them."""
    told.missing = 1
    told.drips.set()
    heard = Heard()
    with pytest.raises(StoreError, match=f"no answer in time; {LATER}"):
        S3Reader(told.access(timedelta(seconds=0.4)), heard).check()
    assert heard == [("get", "timeout")]


def test_a_request_has_half_the_time_of_a_call_and_connecting_half_of_that(told: Told) -> None:
    client = S3Reader(told.access(timedelta(seconds=20)))._client
    assert client.client_options is not None
    assert client.client_options["timeout"] == "10s"
    assert client.client_options["connect_timeout"] == "5s"
    assert client.retry_config is not None
    assert client.retry_config["max_retries"] == 0


@pytest.mark.slow
def test_storing_ends_in_time_however_slow_each_request_is(told: Told, prepared: Make) -> None:
    """Each request is answered within its own time-out; there are more of them than fit."""
    told.files({".reconciler-store": MARKER})
    honest, call = told.answer, timedelta(seconds=0.8)

    def slow(*asked: Any) -> Answer:
        time.sleep(0.7 * call.total_seconds() / 2)
        return (503, b"") if len(told.asked) % 2 else honest(*asked)

    told.answer = slow
    with pytest.raises(StoreError):
        S3Store(told.access(call), sleep=lambda _: None).put("a", prepared(b"picture"))
    assert len(told.asked) <= 5


def test_an_address_that_is_no_s3_server_is_told(told: Told) -> None:
    told.answer = lambda _, path, __: (200, b"Welcome" if "list-type" in path else MARKER)
    with pytest.raises(StoreError, match=r"list pictures: .* not understood .* is the address of an S3 server"):
        S3Reader(told.access()).keys("a")


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ("InvalidCertificate(UnknownIssuer)", "its certificate is not accepted"),
        ('ConnectError("tcp open error")', "it cannot be reached"),
    ],
)
def test_what_keeps_it_from_connecting_is_told_as_far_as_obstore_says(found: str, says: str) -> None:
    """The words are those of obstore 0.12."""
    failure = failure_of(OSError(f"HttpError {{ kind: Connect, source: {found} }}"))
    assert (failure.outcome, failure.said) == (Outcome.CONNECT_ERROR, says)


def test_a_connection_that_breaks_is_told_and_tried_again(told: Told) -> None:
    told.missing = 1
    heard = Heard()
    with pytest.raises(StoreError, match=f"the connection broke; {LATER}"):
        S3Reader(told.access(), heard, sleep=lambda _: None).check()
    assert heard == [("get", "connect_error")] * 3


# -- asking --------------------------------------------------------------------------------------------------------


def test_the_bucket_stands_in_the_path_behind_that_of_the_endpoint_and_the_region_in_the_signature(told: Told) -> None:
    assert S3Reader(told.access()).check() == "ours"
    ((method, path, headers),) = told.asked
    assert (method, path) == ("GET", "/storage/v1/s3/pictures/.reconciler-store")
    assert "/eu-central-1/s3/aws4_request" in headers["authorization"]
    assert headers["user-agent"].startswith("reconciler/")


@pytest.mark.slow
def test_what_the_environment_says_of_another_bucket_is_not_heard(
    real: Server, bucket: str, prepared: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {
        "ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "ENDPOINT": "http://127.0.0.1:1",
        "ENDPOINT_URL": "http://127.0.0.1:1",
        "ACCESS_KEY_ID": "AKIDNOBODY",
        "SECRET_ACCESS_KEY": "another",
        "SESSION_TOKEN": "a-token",
        "REGION": "eu-central-1",
        "BUCKET": "nowhere",
        "SKIP_SIGNATURE": "true",
        "VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "CONDITIONAL_PUT": "disabled",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", text)
    store = S3Store(real.access(bucket))
    assert store.adopt("ours") == "ours"
    assert store.adopt("others") == "ours"
    assert store.get(store.put("a", prepared(b"picture"))) == b"picture"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SERVER_SIDE_ENCRYPTION", "aws:kms"),
        ("REQUEST_PAYER", "true"),
        ("CHECKSUM_ALGORITHM", "sha256"),
        ("CHECKSUM_ALGORITHM", "md5"),
        ("S3_EXPRESS", "true"),
        ("COPY_IF_NOT_EXISTS", "nonsense"),
    ],
)
def test_what_the_environment_says_of_requests_to_others_is_neither_sent_nor_an_error(
    told: Told, prepared: Make, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    told.files({".reconciler-store": MARKER})

    def sent() -> list[tuple[str, set[str]]]:
        told.asked.clear()
        S3Store(told.access()).put("a", prepared(b"picture"))
        return [(method, set(headers)) for method, _, headers in told.asked]

    plain = sent()
    monkeypatch.setenv(f"AWS_{name}", text)
    told.files({".reconciler-store": MARKER})
    assert sent() == plain


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_that_the_environment_names_is_not_used(told: Told, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As by the transport: else the bucket alone would be out of reach, or reached."""
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert S3Reader(told.access(), sleep=lambda _: None).check() == "ours"


@pytest.mark.slow
def test_a_probe_leaves_nothing(real: Server, bucket: str, store: S3Store) -> None:
    probe = S3Probe(real.access(bucket))
    assert probe.marker() == "ours"
    probe.write("tracks/check/0.png", b"probe")
    assert probe.read("tracks/check/0.png") == b"probe"
    probe.remove("tracks/check/0.png")
    assert [each["path"] for each in obstore.list(real.client(bucket)).collect()] == [".reconciler-store"]


def test_a_machine_without_authorities_of_its_own_is_enough(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert S3Reader(told.access()).check() == "ours"


def test_a_reader_has_no_way_to_write(told: Told) -> None:
    reader = S3Reader(told.access())
    assert not {"put", "adopt", "write", "remove"} & set(dir(reader))
