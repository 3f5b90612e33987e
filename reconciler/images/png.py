"""The chunk structure of PNG (W3C PNG, section 5)."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile, takewhile

from reconciler.images.exif import orientation
from reconciler.images.formats import MAX_PARTS, Format, Header, Short

_SIGNATURE = 8
_FRAME = 12
"""Length, type and checksum around a chunk's content."""
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Of a pixel, by the kind of its colour."""
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""The passes of an interlaced picture: first column and row, and how many on from one to the next."""
_READ, _INFLATED = 16 * 1024, 256 * 1024
"""Bytes at once: what is left of a piece is copied each time, and a deflated byte may unfold to a thousand."""


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


def has_sixteen_bits(data: bytes) -> bool:
    """For each sample. Of colours, Pillow tells only what it made of them."""
    return data[24] == 16


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


def filled(data: bytes) -> bool:
    """The pixels go on to the last row. Pillow leaves those black that are missing where their stream is said to end.
    Raises zlib.error where they cannot be inflated."""
    left = _pixel_bytes(data)
    for length in _inflated(data):
        left -= length
        if left <= 0:
            return True
    return False


def _pixel_bytes(data: bytes) -> int:
    """Of all rows with the byte before each that names its filter, as the header implies."""
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    bits, interlaced = data[24] * _SAMPLES[data[25]], data[28]
    total = 0
    for column, row, right, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -((column - width) // right), -((row - height) // down)
        total += rows * (1 + (columns * bits + 7) // 8) if columns > 0 < rows else 0
    return total


def _inflated(data: bytes) -> Iterator[int]:
    """The lengths of what the pixels' chunks unfold to. Those that others part from the first are left out, as by
    Pillow."""
    stream, view = zlib.decompressobj(), memoryview(data)
    parts = dropwhile(lambda chunk: chunk.kind != b"IDAT", chunks(data))
    for part in takewhile(lambda chunk: chunk.kind == b"IDAT", parts):
        for at in range(part.start, part.end, _READ):
            rest: bytes | memoryview = view[at : min(at + _READ, part.end)]
            while not stream.eof:
                length = len(stream.decompress(rest, _INFLATED))
                yield length
                rest = stream.unconsumed_tail
                if not rest and length < _INFLATED:
                    break
