"""From bytes as they came to a picture fit for the store."""

import hashlib
import io

from PIL import Image, ImageOps

from reconciler.domain.findings import Flawed
from reconciler.domain.policy import Fit, Target
from reconciler.images.formats import Format, Header
from reconciler.images.probe import MAX_PIXELS, probe_whole
from reconciler.images.room import Room
from reconciler.images.verify import Sound, verify
from reconciler.ports import Prepared

ROOM = Room(MAX_PIXELS)
"""Bounds the memory to that of the largest picture that we take."""


def prepare(data: bytes, target: Target, *, interim: bool) -> Prepared | Flawed:
    """Verified whole and, unless `interim` or `keep`, made to exactly the target's size. Raises MemoryError only."""
    header = probe_whole(data)
    if isinstance(header, Flawed):
        return header
    return ROOM.work(header.width * header.height, lambda: _made(data, header, target, interim=interim))


def _made(data: bytes, header: Header, target: Target, *, interim: bool) -> Prepared | Flawed:
    sound = verify(data, header, None if interim else target)
    if isinstance(sound, Flawed):
        return sound
    if interim or target.fit is Fit.KEEP:
        return _as_it_is(sound, data)
    return _fitted(sound, data, target)


def _fitted(sound: Sound, data: bytes, target: Target) -> Prepared:
    size = (target.width, target.height)
    if sound.plain and sound.picture.size == size:
        return _as_it_is(sound, data)
    picture = ImageOps.fit(sound.picture, size, Image.Resampling.LANCZOS)
    return _prepared(encoded(picture, target.quality), Format.JPEG, size)


def _as_it_is(sound: Sound, data: bytes) -> Prepared:
    return _prepared(data, sound.format, sound.picture.size)


def encoded(picture: Image.Image, quality: int) -> bytes:
    """The pixels only: no EXIF, no profile (they are sRGB), no comment. The picture itself forgets them."""
    picture.info.clear()  # to copy the pixels would take as long as half a decoding
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _prepared(data: bytes, form: Format, size: tuple[int, int]) -> Prepared:
    return Prepared(
        data=data,
        extension=form.value,
        content_type=form.content_type,
        width=size[0],
        height=size[1],
        sha256=hashlib.sha256(data).hexdigest(),
    )
