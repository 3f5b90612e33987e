"""The size of a picture from its first bytes, without decoding."""

from reconciler.domain.findings import Flawed, Sized
from reconciler.domain.states import Flaw
from reconciler.images import jpeg, png, webp
from reconciler.images.formats import Format, Header, Short, sniff

MAX_PIXELS = 40_000_000
"""More than 8K; decoding takes about 16 bytes of memory for each at the worst. Below Pillow's own limit."""


def probe(head: bytes) -> Header | Short | Flawed:
    """`head` are the first bytes, or all. Flawed: whatever follows, it is not a picture that we take."""
    form = sniff(head)
    if form is None:
        return Flawed(Flaw.FORMAT, "neither JPEG nor PNG nor WebP" if head else "empty")
    found = _header(form, head)
    if found is None:
        return Flawed(Flaw.UNDECODABLE, f"the {form.name} header makes no sense")
    if isinstance(found, Header) and found.width * found.height > MAX_PIXELS:
        return Flawed(Flaw.TOO_LARGE, f"{found.width}x{found.height} is over {MAX_PIXELS} pixels")
    return found


def _header(form: Format, head: bytes) -> Header | Short | None:
    match form:
        case Format.JPEG:
            return jpeg.header(head)
        case Format.PNG:
            return png.header(head)
        case Format.WEBP:
            return webp.header(head)


def probe_whole(data: bytes) -> Header | Flawed:
    """As `probe`, of all the bytes: none may be missing."""
    found = probe(data)
    if isinstance(found, Flawed):
        return found
    if isinstance(found, Short):
        return Flawed(Flaw.TRUNCATED, f"ends before its size, after {len(data)} bytes")
    if not _ended(found.format, data):
        return Flawed(Flaw.TRUNCATED, f"the {found.format.name} ends early, after {len(data)} bytes")
    return found


def _ended(form: Format, data: bytes) -> bool:
    match form:
        case Format.JPEG:
            return jpeg.course(data) is not None
        case Format.PNG:
            return png.ended(data)
        case Format.WEBP:
            return len(data) >= webp.length(data)


def sized(found: Header | Flawed) -> Sized | Flawed:
    return Sized(*found.upright) if isinstance(found, Header) else found
