"""What an `image_url` holds, how long that lives, and what of it may be shown."""

import ipaddress
import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from urllib.parse import SplitResult, urlsplit

from reconciler.domain.policy import Policy
from reconciler.domain.signatures import expiry, signed


class Kind(StrEnum):
    NOTHING = "nothing"
    OURS = "ours"
    """Of our store, and meant to last; `Policy.key_of` gives the key."""
    INLINE = "inline"
    TASK_ID = "task_id"
    """The id of an image task, saved as a URL by mistake."""
    SUNO_COVER = "suno_cover"
    KIE_FILE = "kie_file"
    PRESIGNED = "presigned"
    PUBLIC = "public"
    INSECURE = "insecure"
    """A URL that we may not ask: not https, or no public host."""
    UNUSABLE = "unusable"
    """No URL at all, or none that a browser could load."""


_TASK_ID = re.compile(r"task_[A-Za-z0-9_-]+|[0-9A-Fa-f]{32}")
_HOST = re.compile(r"[a-z0-9_.-]+|[0-9a-f:.]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\\]")
_USERINFO = re.compile(r"^((?:[^/?#]*//)?)[^/?#]*@")
_DOUBTFUL = re.compile(r"[^/?#]*//[^/]*[?#].*@", re.DOTALL)
"""Where the password ends and the query begins is anybody's guess."""
_NUMBER = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)")
"""Browsers and resolvers read a host that ends so as an IPv4 address."""
_IMAGE_TASK = re.compile(r"image_task_id:[^\S\n]*([^\s|]+)", re.IGNORECASE)
_NO_ID = frozenset({"null", "undefined", "none"})
_LONGEST = 8192
_COVERS = ("suno.ai", "musicfile.kie.ai", "musicfile.api.box")
_DYING = frozenset({Kind.SUNO_COVER, Kind.KIE_FILE, Kind.PRESIGNED})
_END = datetime.max.replace(tzinfo=UTC)


def kind_of(text: str | None, policy: Policy) -> Kind:
    if not text:
        return Kind.NOTHING
    if text[:5].lower() == "data:":
        return Kind.INLINE
    if _TASK_ID.fullmatch(text):
        return Kind.TASK_ID
    parts = _split(text)
    if policy.key_of(text) is not None and parts is not None and not signed(parts):
        return Kind.OURS
    host = _host(parts) if parts else ""
    if parts is None or not host or "@" in parts.netloc:
        return Kind.UNUSABLE
    trusted = host in policy.insecure_hosts
    if parts.scheme == "https" or (trusted and parts.scheme == "http"):
        return _remote(parts, host, policy) if trusted or _public(host) else Kind.INSECURE
    return Kind.INSECURE


def dies(kind: Kind) -> bool:
    """A URL of this kind stops working by itself."""
    return kind in _DYING


def expires_at(text: str) -> datetime | None:
    """The date that a presigned URL carries; None where there is none that can be read."""
    parts = _split(text)
    return expiry(parts) if parts else None


def known_life(kind: Kind, text: str, newest: datetime | None) -> datetime | None:
    """Until when the URL may be expected to answer; None: it is meant to last. `newest`: the row's newest timestamp."""
    return _life(kind, text, newest, timedelta(days=14))


def urgency(kind: Kind, text: str, newest: datetime | None) -> datetime | None:
    """The same by the shorter life that Kie documents for its files: for the order of work, not for verdicts."""
    return _life(kind, text, newest, timedelta(hours=24))


def host_of(text: str) -> str:
    """The URL's host as it is asked for: lower case, ASCII, without port and trailing dot; '' where there is none."""
    parts = _split(text)
    return _host(parts) if parts else ""


def is_address(host: str) -> bool:
    """An IP address, no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def under(host: str, suffixes: tuple[str, ...]) -> bool:
    """The host is one of these or below one of them, label by label."""
    return any(f".{host}".endswith("." + suffix.lower().strip(".")) for suffix in suffixes)


def redact(text: str, limit: int = 200) -> str:
    """One URL, or what stands in its place, fit for logs: no query, fragment, user or password, nothing unprintable."""
    if text[:5].lower() == "data:":
        text = text[:48].partition(",")[0] + ",…"
    elif _DOUBTFUL.match(text):
        text = text[: text.index("//") + 2] + "…"
    else:
        text = re.split(r"[?#]", _USERINFO.sub(r"\1", text), maxsplit=1)[0]
    shown = text[: limit + 1]
    if not shown.isprintable():
        shown = "".join(letter if letter.isprintable() else "�" for letter in shown)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def image_task_ids(extended_prompt: str | None) -> tuple[str, ...]:
    """Ids of image tasks that the app noted behind the prompt, newest first."""
    found = _IMAGE_TASK.findall(extended_prompt or "")
    usable = (
        name for name in reversed(found) if name.isprintable() and len(name) <= 200 and name.lower() not in _NO_ID
    )
    return tuple(dict.fromkeys(usable))


def _split(text: str) -> SplitResult | None:
    """None for what browsers and parsers would read differently, or not at all."""
    if len(text) > _LONGEST or text != text.strip() or _CONTROL.search(text):
        return None
    try:
        parts = urlsplit(text)
        return parts if parts.scheme and parts.port != 0 else None
    except ValueError:
        return None


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    try:
        host = host.encode("idna").decode("ascii").lower().removesuffix(".") if len(host) <= 253 else ""
    except UnicodeError:
        return ""
    return host if _HOST.fullmatch(host) else ""


def _public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not _NUMBER.fullmatch(host)


def _remote(parts: SplitResult, host: str, policy: Policy) -> Kind:
    kie = under(host, policy.file_hosts)
    if signed(parts) and (not kie or expiry(parts) is not None):
        return Kind.PRESIGNED
    if not kie:
        return Kind.PUBLIC
    return Kind.SUNO_COVER if under(host, _COVERS) else Kind.KIE_FILE


def _life(kind: Kind, text: str, newest: datetime | None, span: timedelta) -> datetime | None:
    if kind is Kind.PRESIGNED:
        return expires_at(text)
    if newest is None or kind not in _DYING:
        return None
    return newest + min(span, _END - newest)
