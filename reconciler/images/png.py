"""The chunk structure of PNG (W3C PNG, section 5)."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.images.exif import orientation
from reconciler.images.formats import MAX_PARTS, Format, Header, Short

_SIGNATURE = 8
_FRAME = 12
"""Length, type and checksum around a chunk's content."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """`start` and `end` of the content; `end` may lie beyond the bytes at hand."""

    kind: bytes
    start: int
    end: int

    def intact(self, data: bytes) -> bool:
        return zlib.crc32(memoryview(data)[self.start - 4 : self.end]).to_bytes(4) == data[self.end : self.end + 4]


def chunks(data: bytes) -> Iterator[Chunk]:
    at = _SIGNATURE
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            return
        length = int.from_bytes(data[at : at + 4])
        yield Chunk(data[at + 4 : at + 8], at + 8, at + 8 + length)
        at += _FRAME + length


def header(head: bytes) -> Header | Short | None:
    """None: no picture can come of it. An EXIF block counts where it precedes the pixels, as the standard advises."""
    if len(head) < 33:
        return Short(33)
    width, height = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    if head[12:16] != b"IHDR" or not width or not height:
        return None
    end = _SIGNATURE
    for chunk in chunks(head):
        end = chunk.end + _FRAME
        if chunk.kind == b"IDAT":
            return Header(Format.PNG, width, height)
        if chunk.kind == b"eXIf" and chunk.end <= len(head):
            return Header(Format.PNG, width, height, orientation(head[chunk.start : chunk.end]))
    return Short(max(end, len(head) + 1))


def ended(data: bytes) -> bool:
    """The closing chunk is there whole. Pillow does not miss its last bytes."""
    return any(chunk.kind == b"IEND" and chunk.end + 4 <= len(data) for chunk in chunks(data))


def intact(data: bytes) -> bool:
    """Every checksum holds. Pillow does not look at those of the pixels."""
    for chunk in chunks(data):
        if not chunk.intact(data):
            return False
        if chunk.kind == b"IEND":
            break
    return True
