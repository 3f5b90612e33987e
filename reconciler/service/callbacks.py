"""Kie's callbacks: whoever knows a purchase's token may hint that its task has ended, and do nothing else."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from http import HTTPStatus
from threading import BoundedSemaphore
from wsgiref.types import WSGIEnvironment

from reconciler.domain.urls import is_address, is_loopback
from reconciler.kie.callbacks import is_signed, task_ids
from reconciler.service.buckets import Buckets
from reconciler.service.pages import Answer

LARGEST = 256 * 1024
"""Bytes of a body."""
_AT_ONCE, _PER_SECOND = 120, 20
_AT_A_TIME = 16
"""Half of the server's threads: whether a body comes slowly or the database does, the other pages have theirs."""
_LATER = ("Retry-After", "10")


class Reception(StrEnum):
    """What came of a callback."""

    TAKEN = "taken"
    UNKNOWN = "unknown"
    UNSIGNED = "unsigned"
    LIMITED = "limited"
    UNREADABLE = "unreadable"
    FAILED = "failed"


class _Turned(Exception):
    """A callback that is not taken, and why."""

    def __init__(self, heard: Reception, status: HTTPStatus, *headers: tuple[str, str]) -> None:
        super().__init__(status.phrase)
        self.heard, self.status, self.headers = heard, status, headers


class Callbacks:
    """A page for POST. Never raises, and keeps tokens and bodies to itself.

    `hint`: a token and a task id that was told for it, or ""; True once the hint is committed, False when the token is
    none of ours; raises when it cannot be committed.
    """

    def __init__(
        self,
        hint: Callable[[str, str], bool],
        *,
        hmac_key: str = "",
        heard: Callable[[Reception], None] = lambda heard: None,  # noqa: ARG005
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hint, self._hmac_key, self._heard = hint, hmac_key, heard
        self._buckets = Buckets(_AT_ONCE, _PER_SECOND, monotonic)
        self._room = BoundedSemaphore(_AT_A_TIME)

    def __call__(self, environ: WSGIEnvironment, token: str) -> Answer:
        try:
            self._admit(environ)
            with self._place():
                body = _body(environ)
                self._check(environ, body)
                self._take(token, task_ids(body))
        except _Turned as turned:
            self._heard(turned.heard)
            return _answer(turned.status, *turned.headers)
        self._heard(Reception.TAKEN)
        return _answer(HTTPStatus.OK)

    def _admit(self, environ: WSGIEnvironment) -> None:
        wait = self._buckets.wait_for(_address(environ))
        if wait:
            raise _Turned(Reception.LIMITED, HTTPStatus.TOO_MANY_REQUESTS, ("Retry-After", str(math.ceil(wait))))

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Among those that are heard at a time."""
        if not self._room.acquire(blocking=False):
            raise _Turned(Reception.LIMITED, HTTPStatus.SERVICE_UNAVAILABLE, _LATER)
        try:
            yield
        finally:
            self._room.release()

    def _check(self, environ: WSGIEnvironment, body: bytes) -> None:
        timestamp, signature = environ.get("HTTP_X_WEBHOOK_TIMESTAMP"), environ.get("HTTP_X_WEBHOOK_SIGNATURE")
        if self._hmac_key and not is_signed(body, self._hmac_key, timestamp, signature):
            raise _Turned(Reception.UNSIGNED, HTTPStatus.UNAUTHORIZED)

    def _take(self, token: str, told: tuple[str, ...]) -> None:
        """A body that tells nothing is still a knock."""
        try:
            known = all(self._hint(token, each) for each in told or ("",))
        except Exception:  # noqa: BLE001 - whatever it is, Kie is to come again; its text may hold the token
            raise _Turned(Reception.FAILED, HTTPStatus.SERVICE_UNAVAILABLE) from None
        if not known:
            raise _Turned(Reception.UNKNOWN, HTTPStatus.NOT_FOUND)


def _address(environ: WSGIEnvironment) -> str:
    """The peer's, or the one that a proxy on this machine tells."""
    peer = str(environ.get("REMOTE_ADDR", ""))
    told = str(environ.get("HTTP_X_FORWARDED_FOR", "")).rpartition(",")[2].strip()
    return told if is_loopback(peer) and is_address(told) else peer


def _body(environ: WSGIEnvironment) -> bytes:
    length = _length(environ)
    if length > LARGEST:
        raise _Turned(Reception.UNREADABLE, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    try:
        body: bytes = environ["wsgi.input"].read(length)
    except OSError:
        body = b""
    if len(body) < length:
        raise _Turned(Reception.UNREADABLE, HTTPStatus.BAD_REQUEST)
    return body


def _length(environ: WSGIEnvironment) -> int:
    text = str(environ.get("CONTENT_LENGTH", "")).strip()
    if not text:
        raise _Turned(Reception.UNREADABLE, HTTPStatus.LENGTH_REQUIRED)
    if not (text.isascii() and text.isdecimal()):
        raise _Turned(Reception.UNREADABLE, HTTPStatus.BAD_REQUEST)
    digits = text.lstrip("0") or "0"
    return int(digits) if len(digits) <= len(str(LARGEST)) else LARGEST + 1


def _answer(status: HTTPStatus, *headers: tuple[str, str]) -> Answer:
    return Answer(status, f"{status.phrase.lower()}\n".encode(), headers=(("Cache-Control", "no-store"), *headers))
