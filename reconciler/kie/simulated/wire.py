"""Requests and answers as values, and the few bodies that every endpoint shares."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Final

JSON_TYPE: Final = "application/json"
HTML_TYPE: Final = "text/html; charset=UTF-8"


class Fault(StrEnum):
    """What the connection does to an answer; the server turns it into socket behaviour."""

    CUT = "cut"  # closed (RST) without a byte
    CUT_HALF = "cut_half"  # full Content-Length announced, half the body sent, closed
    DRIP = "drip"  # one byte of the body per `Settings.drip_interval`
    HANG = "hang"  # nothing is sent, nothing is closed


def _json_object(body: bytes) -> dict[str, object] | None:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; header names are lower case, `url_path` has no query."""

    method: str
    url_path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    host: str = ""

    @property
    def bearer(self) -> str:
        """The API key sent, or an empty text."""
        scheme, _, key = self.headers.get("authorization", "").partition(" ")
        return key.strip() if scheme.lower() == "bearer" else ""

    def json_object(self) -> dict[str, object] | None:
        """The body as a JSON object; None when it is anything else."""
        return _json_object(self.body)


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP answer, with the fault that the connection is to show, if any."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    fault: Fault | None = None

    @property
    def outcome(self) -> str:
        """For the book: the fault, else the code in an envelope, else the HTTP status."""
        if self.fault is not None:
            return self.fault.value
        code = (_json_object(self.body) or {}).get("code") if self.headers.get("content-type") == JSON_TYPE else None
        return str(self.status if code is None else code)


def json_response(payload: object, status: int = 200) -> Response:
    return Response(status, {"content-type": JSON_TYPE}, json.dumps(payload).encode())


def envelope(code: int, message: str, data: object = None, *, status: int = 200) -> Response:
    """Kie's envelope; 401 alone comes without `data`."""
    body: dict[str, object] = {"code": code, "msg": message}
    if code != HTTPStatus.UNAUTHORIZED:
        body["data"] = data
    return json_response(body, status)


def html_page(status: int) -> Response:
    """An edge's error page."""
    title = f"{status} {HTTPStatus(status).phrase}"
    body = f"<html><head><title>{title}</title></head><body>cloudflare</body></html>"
    return Response(status, {"content-type": HTML_TYPE}, body.encode())


def spring_not_found(path: str, now: datetime) -> Response:
    """The framework's own 404 of an unknown path: no `code` in it."""
    stamp = now.isoformat(timespec="milliseconds")
    fields = {"status": 404, "error": "Not Found", "message": "No message available", "path": path}
    return json_response({"timestamp": stamp, **fields}, 404)
