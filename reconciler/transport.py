"""HTTP calls that end in time: one request, one reply, no redirect, no retry. Only this module knows an HTTP library.

    TransportError    sent?     may a purchase be repeated?   a query?
    ├── NotSent       no        yes                           yes   DNS, connect, TLS, full pool, not valid, too late
    ├── Forbidden     no        no                            no    an address that we may not ask
    ├── TimedOut      yes       no, it may be made            yes   the deadline passed after writing began
    └── Broken        yes       no, it may be made            yes   reset, cut, shorter than its Content-Length

`sent` is False only where surely no server acted on the request. Proxies named in the environment are not used (what is
asked is what was vetted); SSL_CERT_FILE and SSL_CERT_DIR are.
"""

import logging
import os
import re
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from io import BytesIO
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import httpcore

sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # its command line takes as long to import as itself
import httpx  # noqa: E402

from reconciler import __version__  # noqa: E402

logging.getLogger("httpcore").setLevel(logging.WARNING)  # it logs headers, and signed URLs in them are secrets

USER_AGENT = f"reconciler/{__version__}"
_KEEPALIVE_S = 5.0
"""Short, since a pooled connection that the server is about to close loses the answer to a purchase."""
READ_AT_ONCE = 256 * 1024
"""Bytes. The parser takes them at a third less of the processor's time than in the library's pieces of 64 KiB."""
BELIEVED = 4 * 1024 * 1024
"""So many bytes, if a server tells of them, get their room before they come."""
_LENGTH = re.compile(r"[0-9]{1,18}")
_QUOTED = re.compile(r":? (bytearray\()?b['\"].*")
_BLANK_LINE = re.compile(rb"\n\r?(?=\n)")


class TransportError(Exception):
    """`detail` names the host and what went wrong, never a header or a URL's query."""

    sent = True

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class NotSent(TransportError):
    sent = False


class Forbidden(TransportError):
    sent = False


class TimedOut(TransportError):
    pass


class Broken(TransportError):
    pass


class NoAuthorities(Exception):
    """Whom to trust cannot be found out: no transport can be made. The text says where that is set and what to do."""


@dataclass(frozen=True, slots=True)
class Request:
    """`not_after`: no part of the request is written later than this."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    not_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """Header names are in lower case. Not `complete`: the body is longer than was wanted and reading stopped there."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    complete: bool


Vet = Callable[[str, str], None]
"""(host, ip): raises Forbidden when we may not connect there."""
Handler = Callable[[Request], Reply]
"""Answers in process, for tests and the demo; may raise TransportError."""


class Transport:
    """Safe to share between threads. `clock` judges `not_after`; deadlines are physical time. Making one may raise
    NoAuthorities."""

    def __init__(
        self,
        *,
        user_agent: str = USER_AGENT,
        vet: Vet | None = None,
        clock: Callable[[], datetime],
        max_connections: int = 32,
        handler: Handler | None = None,
    ) -> None:
        self._defaults = {"user-agent": user_agent, "accept": "*/*", "accept-encoding": "identity"}
        self._clock = clock
        self._handler = handler
        self._pool = None if handler else _pool(vet, max_connections)

    def send(self, request: Request, *, deadline: timedelta, max_bytes: int) -> Reply:
        """The reply, whatever its status, within `deadline`; raises TransportError and nothing else."""
        given = {name.lower(): value for name, value in request.headers.items()}
        request = replace(request, headers=self._defaults | given)
        call = _Call(time.monotonic() + deadline.total_seconds(), request.not_after, self._clock)
        if self._handler is not None:
            call.may_write()
            return _capped(self._handler(request), max_bytes)
        if self._pool is None:
            raise NotSent("the transport is closed")
        token = _current.set(call)
        try:
            return _exchange(self._pool, request, call, max_bytes)
        finally:
            _current.reset(token)

    def now(self) -> datetime:
        """By the clock that judges `not_after`."""
        return self._clock()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
        self._pool = None


# -- one call ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Call:
    """What the network parts need to know of the call they work for."""

    ends: float
    not_after: datetime | None
    clock: Callable[[], datetime]
    wrote: bool = False

    def left(self) -> float:
        """Seconds, more than 0."""
        left = self.ends - time.monotonic()
        if left <= 0:
            raise httpcore.TimeoutException("the deadline passed")
        return left

    def may_write(self) -> None:
        """Asked before each piece: a process can be stopped between two, and half a request is not acted on."""
        if self.not_after is not None and self.clock() > self.not_after:
            raise NotSent(f"not sent: it was to be written by {self.not_after.isoformat()}")


_current: ContextVar[_Call] = ContextVar("call")


def _exchange(pool: httpcore.ConnectionPool, request: Request, call: _Call, max_bytes: int) -> Reply:
    url, authority = _parse(request.url)
    host = url.host.decode("ascii")
    try:
        with pool.stream(
            request.method,
            url,
            headers=[("Host", authority), *request.headers.items()],
            content=request.body,
            extensions={"timeout": {"pool": call.left()}},
        ) as response:
            return _read(response, max_bytes)
    except TransportError:
        raise
    except (httpcore.LocalProtocolError, ValueError, TypeError) as error:
        # Its text may quote a header.
        raise _translated(call, error, f"{host}: the request is not valid HTTP") from None
    except httpcore.RemoteProtocolError as error:
        # Its text may quote the answer, and that may repeat a secret of ours.
        raise _translated(call, error, f"{host}: {_QUOTED.sub('', str(error))}") from None
    except Exception as error:
        raise _translated(call, error, f"{host}: {str(error) or type(error).__name__}") from error


def _translated(call: _Call, error: Exception, detail: str) -> TransportError:
    if not call.wrote:
        return NotSent(detail)
    return TimedOut(detail) if isinstance(error, httpcore.TimeoutException) else Broken(detail)


def _parse(text: str) -> tuple[httpcore.URL, str]:
    """And its authority as it belongs into the Host header, for which the library forgets the brackets of IPv6."""
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, TypeError, ValueError):
        raise NotSent("the URL is not valid") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise NotSent("the URL is not one of http or https with a host")
    parsed = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    return parsed, url.netloc.decode("ascii")


def _read(response: httpcore.Response, max_bytes: int) -> Reply:
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    body, chunk, complete = _buffer(headers.get("content-length", ""), max_bytes), b"", True
    for chunk in response.iter_stream():
        room = max_bytes - body.tell()
        body.write(chunk[:room])
        complete = len(chunk) <= room
        if not complete:
            break
    body.truncate()
    response.extensions["network_stream"].ended(chunk, in_chunks="transfer-encoding" in headers)
    return Reply(response.status, headers, body.getvalue(), complete)


def _buffer(told: str, max_bytes: int) -> BytesIO:
    """It gives its bytes away without a copy, and has room for as many as were told: one that grows is copied often."""
    buffer = BytesIO()
    if _LENGTH.fullmatch(told):
        buffer.seek(min(int(told), max_bytes, BELIEVED))
        buffer.write(b"\0")
        buffer.seek(0)
    return buffer


def _capped(reply: Reply, max_bytes: int) -> Reply:
    return reply if len(reply.body) <= max_bytes else replace(reply, body=reply.body[:max_bytes], complete=False)


# -- the network ---------------------------------------------------------------------------------------------------


def _pool(vet: Vet | None, max_connections: int) -> httpcore.ConnectionPool:
    return httpcore.ConnectionPool(
        ssl_context=_trusting(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
        max_connections=max_connections,
        keepalive_expiry=_KEEPALIVE_S,
        network_backend=_Backend(vet),
    )


@cache
def _trusting(file: str | None, _directory: str | None) -> ssl.SSLContext:
    """One for all: to read the authorities takes longer than all else between start and the first request."""
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # of a directory nothing is read yet
        what = "holds no certificate" if isinstance(error, ssl.SSLError) else f"cannot be read ({error.strerror})"
        todo = "Name a file of certificates in PEM form, or unset it"
        raise NoAuthorities(f"SSL_CERT_FILE: {file} {what}. {todo}") from error


class _Backend(httpcore.NetworkBackend):
    """Connects to the very addresses that were vetted, so that a second, different DNS answer cannot matter."""

    def __init__(self, vet: Vet | None) -> None:
        self._vet = vet
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - here and below the call's own deadline rules
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        call = _current.get()
        addresses = _resolve(host, port, call.left())
        for address in addresses:
            if self._vet is not None:
                self._vet(host, address)
        failure: Exception = httpcore.ConnectError("the name has no address")
        for tried, address in enumerate(addresses):
            share = call.left() / (len(addresses) - tried)  # one that swallows packets leaves time for the next
            try:
                return _Stream(self._sockets.connect_tcp(address, port, share, local_address, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


def _resolve(host: str, port: int, timeout_s: float) -> list[str]:
    """In a thread of its own, because the system's resolver knows no deadline."""
    answers: SimpleQueue[list[str] | Exception] = SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
        except (OSError, ValueError) as error:
            answers.put(error)

    Thread(target=ask, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=timeout_s)
    except Empty:
        raise httpcore.ConnectTimeout("the name was not resolved in time") from None
    if isinstance(answer, Exception):
        raise httpcore.ConnectError(f"the name was not resolved: {answer}")
    return answer


class _Stream(httpcore.NetworkStream):
    """A connection each of whose waits ends with the call that it serves at the time."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner
        self._last_read, self._more_came = b"", False

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        self._last_read = self._inner.read(max(max_bytes, READ_AT_ONCE), _current.get().left())
        return self._last_read

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        call = _current.get()
        wire: socket.socket = self._inner.get_extra_info("socket")
        rest = memoryview(buffer)
        while rest:
            wire.settimeout(call.left())
            call.may_write()
            call.wrote = True  # before, not after: a failed write may have written
            try:
                rest = rest[wire.send(rest) :]
            except TimeoutError as error:
                raise httpcore.WriteTimeout("the server does not read") from error
            except OSError as error:
                raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: Any,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, _current.get().left()))

    def ended(self, last: bytes, *, in_chunks: bool) -> None:
        """An answer, with these bytes of its body. What was read behind it would be taken for the next one's."""
        self._more_came = not _is_end(self._last_read, b"" if in_chunks else last, in_chunks=in_chunks)
        self._last_read = b""

    def get_extra_info(self, info: str) -> Any:
        # The pool asks that of idle connections, to close those on which something came unasked.
        if info == "is_readable" and self._more_came:
            return True
        return self._inner.get_extra_info(info)


def _is_end(piece: bytes, last: bytes, *, in_chunks: bool) -> bool:
    """Nothing follows, in doubt it does. Before `last` is a head, if anything; chunks end as a head does."""
    heads = 1 + (in_chunks and piece.startswith(b"HTTP/"))
    return piece.endswith(last or b"\n") and len(_BLANK_LINE.findall(piece.removesuffix(last))) <= heads
