"""Files for pictures, good, odd, damaged and hostile, made by code; and what must become of each.

The target is 640x360, and what is taken shows one and the same painting, so that anybody can tell whether it came
through as it was.
"""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from PIL import Image, ImageCms

from reconciler.domain.policy import Target
from reconciler.domain.states import Flaw
from reconciler.kie.simulated import paint

TARGET = Target(width=640, height=360)
PAINTING = "a lake at dawn"
SIZE = (640, 360)


@dataclass(frozen=True, slots=True)
class Body:
    """`flaw`: why it is refused; None: it is taken. `size`: as measured, undecoded; None: flawed even so.

    Not a `picture`: for the answer of a file host it is a clear no. Not `true`: the colours are others, or unknown.
    """

    make: Callable[[], bytes]
    flaw: Flaw | None = None
    size: tuple[int, int] | None = None
    picture: bool = True
    true: bool = True


@cache
def painting(form: Any = "PNG") -> bytes:
    return paint(PAINTING, *SIZE, form)


@cache
def canvas(mode: str = "RGB") -> Image.Image:
    return Image.open(io.BytesIO(painting())).convert(mode)


def encoded(form: str, picture: Image.Image | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    (picture or canvas()).save(file, form, **options)
    return file.getvalue()


# -- parts ---------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes, size: tuple[int, int] = SIZE, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlace))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def in_png(*chunks: bytes) -> bytes:
    """The painting with these chunks before its pixels."""
    whole = painting("PNG")
    return whole[:33] + b"".join(chunks) + whole[33:]


@cache
def zeros(size: int) -> bytes:
    """That many, packed."""
    press = zlib.compressobj(1)
    million = bytes(1_000_000)
    packed = b"".join(press.compress(million) for _ in range(size // len(million)))
    return packed + press.compress(bytes(size % len(million))) + press.flush()


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def in_jpeg(*segments: bytes, **options: Any) -> bytes:
    """The painting with these segments before its own."""
    whole = encoded("JPEG", **options)
    return whole[:2] + b"".join(segments) + whole[2:]


def with_frame(change: Callable[[bytearray, int], None], **options: Any) -> bytes:
    """A JPEG whose frame header, which begins at the given place, is changed."""
    whole = bytearray(encoded("JPEG", **options))
    frame = re.search(rb"\xff[\xc0\xc2]\0\x11", whole)
    assert frame is not None
    change(whole, frame.start())
    return bytes(whole)


def put(at: int, value: bytes) -> Callable[[bytearray, int], None]:
    def change(whole: bytearray, start: int) -> None:
        whole[start + at : start + at + len(value)] = value

    return change


def directory(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    """EXIF of one directory: tag, type, count and value of each entry."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed + struct.pack("<I", following)


def exif(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    return segment(0xE1, b"Exif\0\0" + directory(*entries, following=following))


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def unriffed(data: bytes) -> Iterable[tuple[bytes, bytes]]:
    at = 12
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at + 4)
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("run.sh", "#!/bin/sh\nid\n")
    return file.getvalue()


def profile(kind: Any) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(kind)).tobytes()


# -- odd, but pictures ---------------------------------------------------------------------------------------------


def deep(colours: int) -> bytes:
    """Sixteen bits for each colour."""
    raw = canvas("RGB" if colours == 3 else "L").tobytes()
    wide = bytearray(2 * len(raw))
    wide[::2] = wide[1::2] = raw
    row = 2 * SIZE[0] * colours
    rows = b"".join(b"\0" + wide[at : at + row] for at in range(0, len(wide), row))
    return png(chunk(b"IDAT", zlib.compress(rows, 1)), depth=16, colour=2 if colours == 3 else 0)


def veiled() -> Image.Image:
    picture = canvas().convert("RGBA")
    picture.putalpha(Image.new("L", SIZE, 250))
    return picture


def animated(form: str) -> bytes:
    return encoded(form, save_all=True, append_images=[Image.new("RGB", SIZE, "red")], duration=50)


def of_many_frames() -> bytes:
    *start, last = unriffed(animated("WEBP"))
    return riff(*start, *[last] * 5000)


def on_its_side(*turns: bytes) -> bytes:
    lying = encoded("JPEG", canvas().transpose(Image.Transpose.ROTATE_90))
    return lying[:2] + b"".join(turns) + lying[2:]


def decoy() -> bytes:
    """A preview within EXIF that says to be far larger."""
    thumbnail = encoded("JPEG", Image.new("RGB", (4096, 2304)))[:5000]
    return segment(0xE1, b"Exif\0\0" + directory() + thumbnail)


LOOP = directory((0x8769, 4, 1, 8), (0x8825, 4, 1, 8), (0xA005, 4, 1, 8), following=8)
"""Directories that lead back to themselves."""
ENDLESS = b"II*\0\x08\0\0\0\xff\xff" + struct.pack("<HHII", 0x0100, 3, 0xFFFFFFFF, 0xFFFFFFFF) * 5400

TAKEN: dict[str, Body] = {
    "a JPEG": Body(partial(encoded, "JPEG"), size=SIZE),
    "a progressive JPEG": Body(partial(encoded, "JPEG", progressive=True), size=SIZE),
    "a CMYK JPEG": Body(lambda: encoded("JPEG", canvas("CMYK")), size=SIZE),
    "a grey JPEG": Body(lambda: encoded("JPEG", canvas("L")), size=SIZE, true=False),
    "a JPEG of two pictures": Body(
        lambda: encoded("MPO", save_all=True, append_images=[Image.new("RGB", (80, 45))]), size=SIZE
    ),
    "a larger JPEG": Body(lambda: encoded("JPEG", canvas().resize((1920, 1080))), size=(1920, 1080)),
    "a PNG": Body(painting, size=SIZE),
    "a PNG of a palette": Body(lambda: encoded("PNG", canvas().quantize(128)), size=SIZE),
    "a PNG with alpha": Body(lambda: encoded("PNG", veiled()), size=SIZE),
    "a PNG of 16 bits": Body(partial(deep, 3), size=SIZE),
    "a grey PNG of 16 bits": Body(partial(deep, 1), size=SIZE, true=False),
    "an animated PNG": Body(partial(animated, "PNG"), size=SIZE),
    "a WebP": Body(partial(encoded, "WEBP"), size=SIZE),
    "a lossless WebP": Body(partial(encoded, "WEBP", lossless=True), size=SIZE),
    "a WebP with alpha": Body(lambda: encoded("WEBP", veiled()), size=SIZE),
    "an animated WebP": Body(partial(animated, "WEBP"), size=SIZE),
    "a WebP of five thousand frames": Body(of_many_frames, size=SIZE),
    "a profile": Body(lambda: encoded("JPEG", icc_profile=profile("sRGB")), size=SIZE),
    "a profile of another space": Body(lambda: encoded("PNG", icc_profile=profile("LAB")), size=SIZE),
    "a profile that is none": Body(lambda: encoded("WEBP", icc_profile=b"\xff" * 5000), size=SIZE),
    "a profile of endless tags": Body(
        lambda: encoded("JPEG", icc_profile=profile("sRGB")[:128] + b"\xff" * 60_000), size=SIZE
    ),
    "parts of a profile that do not fit": Body(
        lambda: in_jpeg(*(segment(0xE2, b"ICC_PROFILE\0" + bytes([part, 9]) + b"x" * 99) for part in range(256))),
        size=SIZE,
    ),
    "turned on its side": Body(lambda: on_its_side(exif((0x0112, 3, 1, 6))), size=SIZE),
    "turned twice": Body(lambda: on_its_side(exif((0x0112, 3, 1, 6)), exif((0x0112, 3, 1, 3))), size=SIZE),
    "turned by a number that is none": Body(lambda: in_jpeg(exif((0x0112, 3, 1, 65535))), size=SIZE),
    "EXIF in a circle": Body(lambda: in_jpeg(segment(0xE1, b"Exif\0\0" + LOOP)), size=SIZE),
    "EXIF in a circle in a PNG": Body(lambda: in_png(chunk(b"eXIf", LOOP)), size=SIZE),
    "EXIF in a circle in a WebP": Body(lambda: encoded("WEBP", exif=LOOP), size=SIZE),
    "EXIF without end": Body(lambda: in_jpeg(segment(0xE1, b"Exif\0\0" + ENDLESS)), size=SIZE),
    "EXIF with a larger picture": Body(lambda: in_jpeg(decoy()), size=SIZE),
    "a size behind a megabyte": Body(lambda: in_jpeg(*[segment(0xED, bytes(65_000))] * 16), size=SIZE),
    "a script within a JPEG": Body(lambda: in_jpeg(segment(0xFE, b"*/=1;alert(1)/*<script>")), size=SIZE),
    "a program within a PNG": Body(lambda: in_png(chunk(b"tEXt", b"k\0<?php system($_GET[0]); ?>")), size=SIZE),
    "a page behind a JPEG": Body(lambda: painting("JPEG") + b"<html><script>alert(1)</script>", size=SIZE),
    "an archive behind a PNG": Body(lambda: painting("PNG") + archive(), size=SIZE),
    "an archive behind a WebP": Body(lambda: painting("WEBP") + archive(), size=SIZE),
}

# -- refused -------------------------------------------------------------------------------------------------------


def cut(form: str, kept: float | int, **options: Any) -> bytes:
    """Without its end: the share that is kept, or how many bytes are not."""
    whole = encoded(form, **options)
    return whole[: int(len(whole) * kept) if isinstance(kept, float) else -kept]


def turned_bit() -> bytes:
    """In the checksum of the pixels, at which decoders do not look."""
    whole = bytearray(painting("PNG"))
    whole[-13] ^= 1
    return bytes(whole)


def foreign(form: str) -> Body:
    return Body(partial(encoded, form), Flaw.FORMAT)


def canvas_lie() -> bytes:
    whole = bytearray(encoded("WEBP", veiled()))
    whole[24:30] = struct.pack("<I", 1279)[:3] + struct.pack("<I", 719)[:3]
    return bytes(whole)


def many_scans() -> bytes:
    whole = encoded("JPEG", canvas().resize((2560, 1440)), progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + last * (1_500_000_000 // (2560 * 1440) + 1) + whole[-2:]


def largest() -> bytes:
    """As many pixels as are decoded at all, in the dearest form."""
    return png(chunk(b"IDAT", zeros((8432 * 4 + 1) * 4743)), size=(8432, 4743), colour=6)


XML = b'<?xml version="1.0"?><Error><Code>ExpiredRequest</Code></Error>'
NO: dict[str, bytes] = {
    "nothing": b"",
    "white space": b" \r\n\t" * 50,
    "a page": b"<!doctype html><p>gone",
    "a page behind a mark": b"\xef\xbb\xbf\n <HTML><img src=x onerror=alert(1)>",
    "an error in XML": XML,
    "an error in JSON": b'{"code":404,"msg":"no"}',
    "a list": b"[1, 2]",
    "an error in words": b"Too many connections",
}
PACKED = zeros(50_000_000)

REFUSED: dict[str, Body] = {
    **{name: Body(partial(bytes, data), Flaw.FORMAT, picture=False) for name, data in NO.items()},
    "a page before a JPEG": Body(lambda: b"<html>" + painting("JPEG"), Flaw.FORMAT, picture=False),
    "a program before a JPEG": Body(lambda: b"MZ" + painting("JPEG"), Flaw.FORMAT, picture=False),
    "a document before a JPEG": Body(lambda: b"%PDF-1.7\n" + painting("JPEG"), Flaw.FORMAT, picture=False),
    "an archive": Body(archive, Flaw.FORMAT, picture=False),
    "a drawing with a script": Body(lambda: b"<svg onload=alert(1)>" + b" " * 3000, Flaw.FORMAT),
    "GIF": foreign("GIF"),
    "BMP": foreign("BMP"),
    "TIFF": foreign("TIFF"),
    "ICO": foreign("ICO"),
    "TGA": Body(partial(encoded, "TGA"), Flaw.FORMAT, picture=False),
    "HEIC": Body(lambda: b"\0\0\0\x18ftypheic" + bytes(500), Flaw.FORMAT),
    "a megabyte of zeros": Body(lambda: bytes(1_000_000), Flaw.FORMAT, picture=False),
    "half a JPEG": Body(partial(cut, "JPEG", 0.5), Flaw.TRUNCATED),
    "a JPEG without its end": Body(partial(cut, "JPEG", 2), Flaw.TRUNCATED),
    "a PNG without its last two bytes": Body(partial(cut, "PNG", 2), Flaw.TRUNCATED),
    "half a WebP": Body(partial(cut, "WEBP", 0.5), Flaw.TRUNCATED),
    "a WebP without its last byte": Body(partial(cut, "WEBP", 1), Flaw.TRUNCATED),
    "the start of a JPEG": Body(lambda: painting("JPEG")[:20], Flaw.TRUNCATED),
    "a PNG with a turned bit": Body(turned_bit, Flaw.UNDECODABLE, SIZE),
    "a black JPEG": Body(lambda: encoded("JPEG", Image.new("RGB", SIZE)), Flaw.BLANK, SIZE),
    "nothing to be seen": Body(lambda: encoded("PNG", Image.new("RGBA", SIZE, (200, 9, 9, 0))), Flaw.BLANK, SIZE),
    "a JPEG of 65535x65535": Body(partial(with_frame, put(5, b"\xff" * 4)), Flaw.TOO_LARGE),
    "a JPEG without a height": Body(partial(with_frame, put(5, b"\0\0")), Flaw.UNDECODABLE),
    "a JPEG of twelve bits": Body(partial(with_frame, put(4, b"\x0c")), Flaw.UNDECODABLE, SIZE),
    "a JPEG of 255 colours": Body(partial(with_frame, put(9, b"\xff")), Flaw.UNDECODABLE, SIZE),
    "a JPEG of thousands of scans": Body(many_scans, Flaw.TOO_LARGE, (2560, 1440)),
    "a JPEG of many blocks of EXIF": Body(lambda: in_jpeg(*[exif()] * 101), Flaw.TOO_LARGE, SIZE),
    "a JPEG of empty segments": Body(lambda: in_jpeg(b"\xff\xfe\0\x02" * 60_000), Flaw.TRUNCATED),
    "a JPEG of bare markers": Body(lambda: in_jpeg(b"\xff\x01" * 60_000), Flaw.TRUNCATED),
    "a PNG of 65000x36563": Body(lambda: png(chunk(b"IDAT", PACKED), size=(65_000, 36_563)), Flaw.TOO_LARGE),
    "a PNG of two thousand million": Body(lambda: png(chunk(b"IDAT", b""), size=(2**31 - 1,) * 2), Flaw.TOO_LARGE),
    "a PNG with too many pixels": Body(lambda: png(chunk(b"IDAT", PACKED)), Flaw.BLANK, SIZE),
    "a PNG without pixels": Body(png, Flaw.TRUNCATED),
    "a PNG of empty pixels": Body(lambda: png(chunk(b"IDAT", b"")), Flaw.TRUNCATED, SIZE),
    "a PNG of no known colour": Body(lambda: png(chunk(b"IDAT", PACKED), colour=5), Flaw.UNDECODABLE, SIZE),
    "a PNG without its palette": Body(lambda: png(chunk(b"IDAT", PACKED), colour=3), Flaw.UNDECODABLE, SIZE),
    "a PNG of no known order": Body(lambda: png(chunk(b"IDAT", PACKED), interlace=7), Flaw.BLANK, SIZE),
    "a PNG of two sizes": Body(
        lambda: in_png(chunk(b"IHDR", struct.pack(">IIBBBBB", 640, 359, 8, 2, 0, 0, 0))), Flaw.UNDECODABLE, SIZE
    ),
    "a PNG of empty chunks": Body(lambda: png(chunk(b"tEXt", b"") * 60_000), Flaw.TRUNCATED),
    "a PNG whose chunk has no end": Body(lambda: in_png(b"\x7f\xff\xff\xffzTXt"), Flaw.TRUNCATED),
    "a PNG with a text that unfolds": Body(lambda: in_png(chunk(b"zTXt", b"k\0\0" + PACKED)), Flaw.UNDECODABLE, SIZE),
    "a PNG with a language that unfolds": Body(
        lambda: in_png(chunk(b"iTXt", b"k\0\1\0\0\0" + PACKED)), Flaw.UNDECODABLE, SIZE
    ),
    "a PNG with a profile that unfolds": Body(
        lambda: in_png(chunk(b"iCCP", b"k\0\0" + PACKED)), Flaw.UNDECODABLE, SIZE
    ),
    "a PNG with a thousand texts that unfold": Body(
        lambda: in_png(chunk(b"zTXt", b"k\0\0" + zeros(1_000_000)) * 1000), Flaw.UNDECODABLE, SIZE
    ),
    "the largest that is decoded": Body(largest, Flaw.BLANK, (8432, 4743)),
    "a WebP that says more": Body(lambda: b"RIFF\xff\xff\xff\xffWEBP" + painting("WEBP")[12:], Flaw.TRUNCATED),
    "a WebP of two sizes": Body(canvas_lie, Flaw.UNDECODABLE, (1280, 720)),
    "a WebP of 16777216x16777216": Body(lambda: riff((b"VP8X", b"\0" * 4 + b"\xff" * 6)), Flaw.TOO_LARGE),
    "a WebP without a frame": Body(
        lambda: riff((b"VP8X", b"\x02" + bytes(3) + b"\x7f\x02\0\x67\x01\0")), Flaw.UNDECODABLE, SIZE
    ),
    "a lossless WebP of nothing": Body(
        lambda: riff((b"VP8L", b"\x2f\x7f\xc2\x59\0" + bytes(9))), Flaw.UNDECODABLE, SIZE
    ),
}

BODIES = TAKEN | REFUSED
DEAR = frozenset(
    {
        "the largest that is decoded",
        "a JPEG of thousands of scans",
        "a JPEG of empty segments",
        "a JPEG of bare markers",
    }
    | {"a PNG of empty chunks", "a PNG with a thousand texts that unfold"}
)
"""Made and inspected in a tenth of a second or more: once is enough."""
