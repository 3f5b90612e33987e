"""Whether a picture is sound: every byte of it there, decoded whole, and something to be seen on it."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from PIL import Image, WebPImagePlugin  # noqa: F401 - else Pillow loads all its formats to find that one

from reconciler.domain.findings import Flawed
from reconciler.domain.policy import Target
from reconciler.domain.states import Flaw
from reconciler.images import colour, jpeg, png
from reconciler.images.formats import Format, Header

MAX_DECODED_PIXELS = 1_500_000_000
"""Pixels times scans: a progressive JPEG can make the decoder go over the whole picture thousands of times."""
MAX_EXIF_BLOCKS = 100
"""Honest files have one. Pillow joins them, in time by the square of their number."""
BLANK_RANGE = 8

_PIL_NAMES = {Format.JPEG: "JPEG", Format.PNG: "PNG", Format.WEBP: "WEBP"}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Sound:
    """`picture` is upright RGB. `plain`: the bytes are that picture as JPEG; encoding anew gains nothing."""

    picture: Image.Image
    format: Format
    plain: bool


def verify(data: bytes, header: Header, target: Target | None) -> Sound | Flawed:
    """`header`: as `probe_whole` read it. With a target, also large enough and of its shape; that is asked first, so
    that no hopeless bomb is decoded.

    Raises MemoryError only: that is no fault of the picture.
    """
    course = jpeg.course(data) if header.format is Format.JPEG else None
    flaw = _unfit(header, target) or (_costly(header, course) if course else None)
    if flaw is None and header.format is Format.PNG and not png.intact(data):
        flaw = Flawed(Flaw.UNDECODABLE, "a checksum of the PNG does not hold")
    return flaw or _decoded(header, data, course)


def _unfit(header: Header, target: Target | None) -> Flawed | None:
    size = header.upright
    seen = f"{size[0]}x{size[1]}"
    if target is not None and not target.covers(*size):
        return Flawed(Flaw.TOO_SMALL, f"{seen} is below {target.resolution}", size)
    if target is not None and not target.shaped(*size):
        return Flawed(Flaw.ASPECT, f"{seen} has not the shape of {target.resolution}", size)
    return None


def _costly(header: Header, course: jpeg.Course) -> Flawed | None:
    if course.scans * header.width * header.height > MAX_DECODED_PIXELS:
        return Flawed(Flaw.TOO_LARGE, f"{header.width}x{header.height} in {course.scans} scans")
    if course.exif_blocks > MAX_EXIF_BLOCKS:
        return Flawed(Flaw.TOO_LARGE, f"{course.exif_blocks} blocks of EXIF")
    return None


def _decoded(header: Header, data: bytes, course: jpeg.Course | None) -> Sound | Flawed:
    try:
        with _QUIET.kept(), Image.open(io.BytesIO(data), formats=[_PIL_NAMES[header.format]]) as opened:
            if opened.size != (header.width, header.height):
                return Flawed(Flaw.UNDECODABLE, "header and decoder disagree on the size")
            opened.load()
            if header.format is Format.PNG and not _shows_its_end(opened) and not png.filled(data):
                return Flawed(Flaw.TRUNCATED, "the pixels of the PNG end before its last row")
            plain = _shows_itself(header, course) and colour.is_plain_jpeg(opened)
            sixteen_bits = header.format is Format.PNG and png.has_sixteen_bits(data)
            picture = colour.to_rgb(opened, sixteen_bits=sixteen_bits)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - fed with hostile bytes, a decoder raises anything
        flaw = Flaw.TRUNCATED if "truncated" in str(error).lower() else Flaw.UNDECODABLE
        return Flawed(flaw, f"{type(error).__name__}: {error}"[:200])
    if _blank(picture):
        return Flawed(Flaw.BLANK, f"luminance varies by {BLANK_RANGE} or less")
    turn = _TURNS.get(header.orientation)
    return Sound(picture if turn is None else picture.transpose(turn), header.format, plain)


def _shows_its_end(opened: Image.Image) -> bool:
    """Its last row was decoded for certain, since it is not all black: that spares to inflate the pixels anew. An
    interlaced one gets its rows in another order."""
    width, height = opened.size
    last = opened.crop((0, height - 1, width, height))
    return "interlace" not in opened.info and last.getbbox(alpha_only=False) is not None


def _shows_itself(header: Header, course: jpeg.Course | None) -> bool:
    """A JPEG that every browser decodes and nobody turns, and nothing but that."""
    if course is None or header.orientation != 1:
        return False
    return course.common and course.ends_there and not course.unheard_exif


class _Quiet:
    """Pillow warns of harmless oddities, which are not ours to print, and of bombs, which are errors. The filter is the
    whole process's: the first thread that comes sets it, the last that goes sets it back."""

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0
        self._filters = warnings.catch_warnings()

    @contextmanager
    def kept(self) -> Iterator[None]:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._filters.__exit__(None, None, None)


_QUIET = _Quiet()


def _blank(picture: Image.Image) -> bool:
    """Dark art is art: only what varies by next to nothing is blank. Most varies enough across its middle."""
    width, height = picture.size
    top = height * 15 // 32
    middle = 0, top, width, top + max(1, height // 16)
    return _uniform(picture, (64, 4), middle) and _uniform(picture, (64, 64), (0, 0, width, height))


def _uniform(picture: Image.Image, tiles: tuple[int, int], box: tuple[int, int, int, int]) -> bool:
    """The means of so many tiles of the box differ by next to nothing."""
    means = picture.resize(tiles, Image.Resampling.BOX, box, reducing_gap=1.0)
    low, high = means.convert("L").getextrema()
    return float(str(high)) - float(str(low)) <= BLANK_RANGE
