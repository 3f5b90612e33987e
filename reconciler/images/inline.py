"""Pictures that a row holds itself, as a `data:` URI."""

import binascii
import re
from contextlib import suppress
from urllib.parse import unquote_to_bytes

from reconciler.domain.findings import Flawed
from reconciler.domain.states import Flaw

_SCHEME = "data:"
_WHITE = b" \t\n\r\x0b\x0c"
_BASE64 = re.compile(r"; *base64\s*$", re.IGNORECASE)


def is_inline(url: str) -> bool:
    return url[: len(_SCHEME)].lower() == _SCHEME


def decoded(uri: str) -> bytes | Flawed:
    """The bytes of a `data:` URI, read as browsers do (RFC 2397; fetch.spec.whatwg.org): its declared type is not
    believed, white space and missing `=` in base64 are no fault."""
    comma = uri.find(",")
    if comma < 0:
        return Flawed(Flaw.UNDECODABLE, "a data: URI without a comma")
    head, body = uri[len(_SCHEME) : comma], uri[comma + 1 :]
    if not _BASE64.search(head):
        return _unquoted(body)
    with suppress(ValueError):  # as it is written by nearly all, and without a copy: it may have tens of megabytes
        return binascii.a2b_base64(body, strict_mode=True)
    letters = _unquoted(body).translate(None, _WHITE).rstrip(b"=")
    try:
        return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4), strict_mode=True)
    except binascii.Error as error:
        return Flawed(Flaw.UNDECODABLE, f"a data: URI that is no base64: {error}")


def _unquoted(body: str) -> bytes:
    data = body.encode("utf-8", "replace")
    return unquote_to_bytes(data) if b"%" in data else data
