"""Pictures made by code: one for every way in which a file can be good, odd or hostile."""

import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageDraw

from reconciler.ports import Prepared

Paint = Callable[..., Image.Image]
Encode = Callable[..., bytes]


def _paint(width: int = 2048, height: int = 1152, mode: str = "RGB") -> Image.Image:
    """Four quarters that tell which way is up: red, green, blue, white from the upper left, on a slope of grey."""
    picture = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    half, middle = width // 2, height // 2
    for at, colour in (((0, 0), "red"), ((half, 0), "lime"), ((0, middle), "blue"), ((half, middle), "white")):
        x, y = at
        draw.rectangle((x + half // 8, y + middle // 8, x + half * 7 // 8, y + middle * 7 // 8), fill=colour)
    return picture.convert(mode)


def _encode(picture: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def _tiff(orientation: int, order: str = "<") -> bytes:
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(f"{order}HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.fixture
def paint() -> Paint:
    return _paint


@pytest.fixture
def encode() -> Encode:
    return _encode


@pytest.fixture
def tiff() -> Callable[..., bytes]:
    return _tiff


@pytest.fixture
def png_chunk() -> Callable[[bytes, bytes], bytes]:
    return chunk


@pytest.fixture
def segment() -> Callable[[int, bytes], bytes]:
    """One JPEG segment."""
    return lambda marker, content: bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


@pytest.fixture
def prepared() -> Callable[..., Prepared]:
    """Bytes as the store gets them; it never looks inside."""

    def make(data: bytes, extension: str = "jpg") -> Prepared:
        return Prepared(data, extension, "image/jpeg", 2048, 1152, hashlib.sha256(data).hexdigest())

    return make
