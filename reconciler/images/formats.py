"""The three formats we take, told apart by their bytes: names and declared types are often wrong."""

import re
from dataclasses import dataclass
from enum import StrEnum

MAX_PARTS = 50_000
"""Of segments or chunks in one file. Honest files have hundreds; walking millions of empty ones would take minutes."""


class Format(StrEnum):
    """The value is the file name's extension."""

    JPEG = "jpg"
    PNG = "png"
    WEBP = "webp"

    @property
    def content_type(self) -> str:
        return "image/jpeg" if self is Format.JPEG else f"image/{self.value}"


@dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes say. Width and height as stored; `orientation` is EXIF's, 1 to 8."""

    format: Format
    width: int
    height: int
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """The size as it is seen: orientations from 5 on are turned by a quarter."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


@dataclass(frozen=True, slots=True)
class Short:
    """The size lies further into the file: `needed` bytes from its start would do, as far as can be seen yet."""

    needed: int


def sniff(head: bytes) -> Format | None:
    if head.startswith(b"\xff\xd8\xff"):
        return Format.JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Format.PNG
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Format.WEBP
    return None


_FOREIGN = (b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"\0\0\1\0", b"\xff\x0a", b"\0\0\0\x0cJXL ", b"8BPS")
_PAGE = re.compile(rb"<(!doctype\s+)?html")


def is_image(head: bytes) -> bool:
    """Whether an answer's body is a picture at all, ours or foreign, sound or not, by its signature; not so: a page,
    JSON, text, nothing, noise. The declared type is not heard: many a server calls its error message a picture too.
    """
    if sniff(head) or head.startswith(_FOREIGN) or head[4:8] == b"ftyp":
        return True
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1024].lower()
    return text.startswith(b"<") and b"<svg" in text and not _PAGE.search(text)
