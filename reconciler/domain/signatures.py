"""The ways in which storage services sign URLs, and when such a URL ends."""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import SplitResult, parse_qsl

_VENDOR_PART = re.compile(r"x-([a-z]+)-(signature|credential|expires)")
_SIGNED_PATH = re.compile(r"/(object|render/image)/sign/")
_PAIRS = ({"expires", "signature"}, {"policy", "signature"}, {"se", "sig"})
"""CloudFront and the older S3 and Google signatures; CloudFront's policies; Azure."""


def signed(parts: SplitResult) -> bool:
    given = _parameters(parts)
    if any(_VENDOR_PART.fullmatch(name) for name in given) or any(pair <= given.keys() for pair in _PAIRS):
        return True
    return "token" in given and bool(_SIGNED_PATH.search(parts.path))


def expiry(parts: SplitResult) -> datetime | None:
    """The first date that can be read; None where the URL is unsigned or says it in no way that we know."""
    return next(_dates(parts), None) if signed(parts) else None


def _dates(parts: SplitResult) -> Iterator[datetime]:
    given = _parameters(parts)
    vendors = sorted({part[1] for name in given if (part := _VENDOR_PART.fullmatch(name))})
    found = [_from(given.get(f"x-{vendor}-date", ""), given.get(f"x-{vendor}-expires", "")) for vendor in vendors]
    found += [_epoch(_number(given.get("expires", ""))), _iso(given.get("se", "")), _claim(given.get("token", ""))]
    return (date for date in found if date is not None)


def _parameters(parts: SplitResult) -> Mapping[str, str]:
    return {name.lower(): value for name, value in reversed(parse_qsl(parts.query))}


def _from(start: str, seconds: str) -> datetime | None:
    """Amazon's and Google's `20261101T120000Z`, and a length of time."""
    length = _number(seconds)
    try:
        begun = datetime.strptime(start, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return None if length is None else begun + timedelta(seconds=length)
    except (ValueError, OverflowError):
        return None


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


def _epoch(seconds: float | None) -> datetime | None:
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _iso(text: str) -> datetime | None:
    try:
        date = datetime.fromisoformat(text.replace(" ", "+"))
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _claim(token: str) -> datetime | None:
    """`exp` of a JSON web token, unchecked: a forged date only makes us look sooner or later."""
    try:
        body = token.split(".")[1].encode("ascii")
        claims = json.loads(base64.urlsafe_b64decode(body + b"=" * (-len(body) % 4)))
    except (IndexError, ValueError, RecursionError):
        return None
    exp = claims.get("exp") if isinstance(claims, dict) else None
    return _epoch(exp) if isinstance(exp, int | float) else None
