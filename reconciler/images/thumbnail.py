"""Small pictures of pictures, for a page: pixels of our own making, whatever came."""

from dataclasses import dataclass
from hashlib import sha256

from PIL import Image

from reconciler.domain.findings import Flawed
from reconciler.images.fit import ROOM, encoded
from reconciler.images.formats import Header
from reconciler.images.probe import probe_whole
from reconciler.images.verify import verify

SIZE, QUALITY = (320, 320), 80


@dataclass(frozen=True, slots=True)
class Miniature:
    """A JPEG of at most `SIZE`, of the picture's own shape. `name`: of these bytes alone."""

    name: str
    data: bytes
    width: int
    height: int


def thumbnail(data: bytes) -> Miniature | Flawed:
    """Of a picture that is verified whole. Raises MemoryError only."""
    header = probe_whole(data)
    if isinstance(header, Flawed):
        return header
    return ROOM.work(header.width * header.height, lambda: _made(data, header))


def _made(data: bytes, header: Header) -> Miniature | Flawed:
    sound = verify(data, header, None)
    if isinstance(sound, Flawed):
        return sound
    picture = sound.picture
    picture.thumbnail(SIZE, Image.Resampling.LANCZOS, reducing_gap=2.0)
    small = encoded(picture, QUALITY)
    return Miniature(sha256(small).hexdigest()[:32], small, *picture.size)
