"""Pictures that a row holds itself, as a `data:` URI."""

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from reconciler.domain.findings import Flawed
from reconciler.domain.states import Flaw

_SCHEME = "data:"
_BASE64 = re.compile(r"; *base64\s*$", re.IGNORECASE)


def is_inline(url: str) -> bool:
    return url[: len(_SCHEME)].lower() == _SCHEME


def decoded(uri: str) -> bytes | Flawed:
    """The bytes of a `data:` URI, read as browsers do (RFC 2397; fetch.spec.whatwg.org): its declared type is not
    believed, white space and missing `=` in base64 are no fault."""
    head, comma, body = uri[len(_SCHEME) :].partition(",")
    if not comma:
        return Flawed(Flaw.UNDECODABLE, "a data: URI without a comma")
    data = unquote_to_bytes(body.encode("utf-8", "replace"))
    if not _BASE64.search(head):
        return data
    letters = b"".join(data.split()).rstrip(b"=")
    try:
        return base64.b64decode(letters + b"=" * (-len(letters) % 4), validate=True)
    except binascii.Error as error:
        return Flawed(Flaw.UNDECODABLE, f"a data: URI that is no base64: {error}")
