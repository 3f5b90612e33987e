"""Pictures that a row holds itself, as a `data:` URI."""

import base64
import binascii
from urllib.parse import unquote_to_bytes

from reconciler.domain.findings import Flawed
from reconciler.domain.states import Flaw

SCHEME = "data:"


def decoded(uri: str) -> bytes | Flawed:
    """The bytes of a `data:` URI (RFC 2397). Its declared type is not believed, white space in base64 is ignored."""
    head, comma, body = uri[len(SCHEME) :].partition(",")
    if not comma:
        return Flawed(Flaw.UNDECODABLE, "a data: URI without a comma")
    data = unquote_to_bytes(body.encode("utf-8", "replace"))
    if not head.lower().rstrip().endswith(";base64"):
        return data
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error as error:
        return Flawed(Flaw.UNDECODABLE, f"a data: URI that is no base64: {error}")
