"""The container of WebP (RFC 9649): plain, lossless and extended."""

from reconciler.images.exif import orientation
from reconciler.images.formats import MAX_PARTS, Format, Header, Short

_HAS_EXIF = 0x08


def length(head: bytes) -> int:
    """Of the whole file, as its first eight bytes claim."""
    return 8 + _number(head[4:8])


def header(head: bytes) -> Header | Short | None:
    """None: no picture can come of it. An EXIF block follows the pixels: where one is announced, all is needed."""
    if len(head) < 30:
        return Short(30)
    kind = head[12:16]
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        return _sized(_number(head[26:28]) & 0x3FFF, _number(head[28:30]) & 0x3FFF)
    if kind == b"VP8L" and head[20] == 0x2F:
        bits = _number(head[21:25])
        return _sized((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    return _extended(head) if kind == b"VP8X" else None


def _extended(head: bytes) -> Header | Short | None:
    width, height = _number(head[24:27]) + 1, _number(head[27:30]) + 1
    if not head[20] & _HAS_EXIF:
        return _sized(width, height)
    return _sized(width, height, _turn(head)) if len(head) >= length(head) else Short(length(head))


def _number(field: bytes) -> int:
    return int.from_bytes(field, "little")


def _sized(width: int, height: int, turn: int = 1) -> Header | None:
    return Header(Format.WEBP, width, height, turn) if width and height else None


def _turn(data: bytes) -> int:
    at = 12
    for _ in range(MAX_PARTS):
        size = _number(data[at + 4 : at + 8])
        if data[at : at + 4] == b"EXIF":
            return orientation(data[at + 8 : at + 8 + size].removeprefix(b"Exif\0\0"))
        at += 8 + size + size % 2
    return 1
