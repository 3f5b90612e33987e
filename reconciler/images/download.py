"""Pictures from anywhere, without harm: where a URL may lead, for how long, how much, and what an answer means."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import urlsplit

from reconciler.domain.findings import Fault, Flawed, Refused
from reconciler.domain.policy import Policy
from reconciler.domain.states import Flaw, Reason
from reconciler.domain.urls import Kind, host_of, kind_of, under
from reconciler.images import redirects
from reconciler.images.formats import is_image, sniff
from reconciler.images.refusals import refusal
from reconciler.transport import Forbidden, Reply, Request, Transport, TransportError

MAX_BYTES = 64 * 1024 * 1024
_CODINGS = frozenset({"gzip", "x-gzip", "compress", "x-compress", "deflate", "br", "zstd", "dcb", "dcz"})
"""Of contents, that browsers undo."""
_REMOTE = frozenset({Kind.SUNO_COVER, Kind.KIE_FILE, Kind.PRESIGNED, Kind.PUBLIC})
_RANGE = re.compile(r"bytes 0-\d{1,19}/(\d{1,19}|\*)", re.ASCII)
_LENGTH = re.compile(r"\d{1,19}", re.ASCII)
_LONGEST_DETAIL = 300
"""A host is named in it, and that name may be long."""
_ACCEPT = {"accept": "image/jpeg, image/png, image/webp, */*;q=0.1"}


@dataclass(frozen=True, slots=True)
class Head:
    """The first bytes of a picture, or all of it."""

    data: bytes
    whole: bool


Answer = Head | Flawed | Refused | Fault


class Downloader:
    """Deadlines are for all requests of one question together. No key and no cookie is ever sent.

    `pace` is asked before each request with the host's name, and returns when it may go out.
    """

    def __init__(
        self,
        transport: Transport,
        policy: Policy,
        monotonic: Callable[[], float],
        pace: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._transport, self._pace = transport, pace
        self._policy = replace(policy, public_url="")  # to the wire, our own host is one like any other
        self._monotonic = monotonic

    def deadline(self) -> float:
        return self._monotonic() + self._policy.request_timeout.total_seconds()

    def whole(self, url: str, *, bound: bool, ends: float) -> Answer:
        """All bytes. `bound`: only from `file_hosts`."""
        answer = _judged(self._follow(url, {}, MAX_BYTES, bound=bound, ends=ends), MAX_BYTES, url)
        if isinstance(answer, Head) and not answer.whole:
            return Fault(Reason.DOWNLOAD_FAILED, f"{host_of(url)} sent a part only")
        return answer

    def head(self, url: str, wanted: int, *, ends: float) -> Answer:
        """The first `wanted` bytes, fewer where a server cuts ranges short; one that knows none is cut off there."""
        reply = self._follow(url, {"range": f"bytes=0-{wanted - 1}"}, wanted, bound=False, ends=ends)
        if isinstance(reply, Reply) and reply.status == 416:
            reply = self._follow(url, {}, wanted, bound=False, ends=ends)
        return _judged(reply, wanted, url)

    def _follow(self, url: str, headers: dict[str, str], max_bytes: int, *, bound: bool, ends: float) -> Reply | Fault:
        """The last reply after redirects, each of which is vetted like the first URL."""
        for _ in range(redirects.MOST + 1):
            refusal = self._refusal(url, bound=bound)
            if refusal is not None:
                return refusal
            reply = self._send(Request("GET", url, _ACCEPT | headers), max_bytes, ends)
            if isinstance(reply, Fault) or not redirects.leads_on(reply):
                return reply
            target = redirects.target(url, reply)
            if target is None:
                return Fault(Reason.DOWNLOAD_FAILED, f"{host_of(url)} redirects to nowhere")
            url = target
        return Fault(Reason.DOWNLOAD_FAILED, f"{host_of(url)}: more than {redirects.MOST} redirects")

    def _refusal(self, url: str, *, bound: bool) -> Fault | None:
        """By its spelling alone; the address is vetted when connecting."""
        kind, host = kind_of(url, self._policy), host_of(url)
        if kind not in _REMOTE:
            return Fault(Reason.HOST_REFUSED, f"{host or 'the URL'}: not an https URL of a public host")
        if bound and not self._is_file_host(url, host):
            return Fault(Reason.HOST_REFUSED, f"{host}: not one of kie.file_hosts")
        return None

    def _is_file_host(self, url: str, host: str) -> bool:
        """A name beyond ASCII is none: those who ask for it may translate it to another than we do."""
        named = host in self._policy.insecure_hosts or under(host, self._policy.file_hosts)
        return named and urlsplit(url).netloc.isascii()

    def _send(self, request: Request, max_bytes: int, ends: float) -> Reply | Fault:
        self._pace(host_of(request.url))
        left = timedelta(seconds=ends - self._monotonic())
        if left <= timedelta():
            return Fault(Reason.DOWNLOAD_FAILED, f"{host_of(request.url)}: the deadline passed")
        try:
            return self._transport.send(request, deadline=left, max_bytes=max_bytes)
        except Forbidden as error:
            return Fault(Reason.HOST_REFUSED, error.detail[:_LONGEST_DETAIL])
        except TransportError as error:
            return Fault(Reason.DOWNLOAD_FAILED, error.detail[:_LONGEST_DETAIL])


def _judged(reply: Reply | Fault, wanted: int, url: str) -> Answer:
    """What an answer means: only a refusal and 200 without a picture are a clear no."""
    if isinstance(reply, Fault):
        return reply
    host = host_of(url)
    said = refusal(reply.status, reply.body)
    if said is not None:
        return Refused(f"{host} {said}")
    total = _total(reply)
    if total is None:
        return Fault(Reason.DOWNLOAD_FAILED, f"{host} answered {reply.status}")
    if _encoded(reply):
        return Fault(Reason.DOWNLOAD_FAILED, f"{host} sent it encoded, though asked not to")
    if not is_image(reply.body):
        told = "".join(filter(str.isprintable, reply.headers.get("content-type", "").lower()[:60]))
        return Refused(f"{host} answered with {told or 'bytes'} that is no picture")
    if total > MAX_BYTES or (not reply.complete and wanted == MAX_BYTES):
        return Flawed(Flaw.TOO_LARGE, f"over {MAX_BYTES} bytes")
    return Head(reply.body, whole=reply.complete and total <= len(reply.body))


def _encoded(reply: Reply) -> bool:
    """Stores leave codings behind that nobody knows (`aws-chunked`): browsers pass over them."""
    told = {coding.strip() for coding in reply.headers.get("content-encoding", "").lower().split(",")}
    told -= {"", "identity"}
    return bool(told & _CODINGS) or (bool(told) and sniff(reply.body) is None)


def _total(reply: Reply) -> int | None:
    """Length of the whole file as far as it is told; None: neither the file nor its beginning."""
    if reply.status == 200:
        told = reply.headers.get("content-length", "")
        return int(told) if _LENGTH.fullmatch(told) else len(reply.body)
    span = _RANGE.fullmatch(reply.headers.get("content-range", "")) if reply.status == 206 else None
    if span is None:
        return None
    return len(reply.body) + 1 if span[1] == "*" else int(span[1])
