"""The marker structure of JPEG (ITU T.81 annex B): enough to find the size, the orientation and the end."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.images.exif import orientation
from reconciler.images.formats import MAX_PARTS, Format, Header, Short

# In compressed data 0xFF is followed by 0 or a restart marker, so this finds segments only.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_COMMON_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
"""The codings that browsers know: by Huffman, in sequence or progressive. Pillow decodes arithmetic ones too."""
_EOI, _SOS, _APP1 = 0xD9, 0xDA, 0xE1
_BARE = frozenset({0x01, 0xD8, _EOI})
_FRAME_HEAD = 64


@dataclass(frozen=True, slots=True)
class Segment:
    """`start` and `end` of the content; `end` may lie beyond the bytes at hand."""

    marker: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Course:
    """What a decoder goes over from the first byte to the picture's end. `ends_there`: nothing follows that.

    `common`: every browser can decode it.
    `unheard_exif`: viewers may find a turn of the picture where `header` hears none.
    """

    scans: int
    exif_blocks: int
    common: bool
    unheard_exif: bool
    ends_there: bool


def segments(data: bytes) -> Iterator[Segment]:
    """Up to the end of the picture, or of the bytes."""
    at = 2
    for _ in range(MAX_PARTS):
        found = _MARKER.search(data, at)
        if found is None:
            return
        at, marker = found.end(), data[found.end() - 1]
        if marker in _BARE:
            yield Segment(marker, at, at)
            if marker == _EOI:
                return
        elif at + 2 <= len(data):
            start, at = at + 2, at + max(2, int.from_bytes(data[at : at + 2]))
            yield Segment(marker, start, at)


def header(head: bytes) -> Header | Short | None:
    """None: no picture can come of it. Of several EXIF blocks the first is heard, if it precedes the frame."""
    turn: int | None = None
    reached = len(head)
    for segment in segments(head):
        body = head[segment.start : segment.end]
        if turn is None and _is_exif(head, segment) and segment.end <= len(head):
            turn = orientation(body[6:])
        if segment.marker in _FRAMES and len(body) >= 5:
            height, width = int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
            return Header(Format.JPEG, width, height, turn or 1) if width and height else None
        if segment.marker in {_EOI, _SOS}:
            return None
        reached = max(reached, segment.end)
    return Short(reached + _FRAME_HEAD)


def course(data: bytes) -> Course | None:
    """None when the picture's end is missing."""
    scans = exif_blocks = 0
    frames, unheard_exif = set[int](), False
    for segment in segments(data):
        if segment.marker in _FRAMES:
            frames.add(segment.marker)
        scans += segment.marker == _SOS
        if _is_exif(data, segment):
            unheard_exif = unheard_exif or bool(frames) or exif_blocks > 0
            exif_blocks += 1
        if segment.marker == _EOI:
            common, ends_there = frames <= _COMMON_FRAMES, segment.end == len(data)
            return Course(scans, exif_blocks, common, unheard_exif, ends_there)
    return None


def _is_exif(data: bytes, segment: Segment) -> bool:
    return segment.marker == _APP1 and data.startswith(b"Exif\0\0", segment.start)
