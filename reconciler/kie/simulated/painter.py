"""Paints cover pictures that look good and can be told apart by their text.

A picture is a sky of four corner colours, a sun and three ranges of hills, all drawn from a hash of the text, with the
text's first words as its title. `seed` moves only the stars, so every picture of one text has the same signature.
"""

import hashlib
import io
import math
import random
from functools import lru_cache
from typing import Final, Literal

from PIL import Image, ImageDraw, ImageFont

Format = Literal["JPEG", "PNG", "WEBP"]
Colour = tuple[int, int, int]
Signature = tuple[int, ...]

CONTENT_TYPES: Final[dict[Format, str]] = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
_SCENE_EDGE: Final = 640
_GRID: Final = (8, 4)
_TOLERANCE: Final = 6.0
_HILLS: Final = ((0.58, 0.10, 0.65), (0.70, 0.08, 0.45), (0.84, 0.06, 0.25))  # level, swing, light


@lru_cache(maxsize=16)
def paint(text: str, width: int, height: int, format: Format = "JPEG", seed: int = 0) -> bytes:
    """The encoded picture of `text`; the same arguments give the same bytes."""
    picture = _scene(text, width, height, seed).resize((width, height), Image.Resampling.BILINEAR)
    _write_title(picture, text)
    encoded = io.BytesIO()
    match format:
        case "JPEG":
            picture.save(encoded, "JPEG", quality=88)
        case "PNG":
            picture.save(encoded, "PNG", compress_level=1)
        case "WEBP":
            picture.save(encoded, "WEBP", quality=80, method=0)
    return encoded.getvalue()


def signature(image: Image.Image) -> Signature:
    """Mean colours of a coarse grid: survives scaling, slight cropping and re-encoding."""
    return tuple(image.convert("RGB").resize(_GRID, Image.Resampling.BOX).tobytes())


def distance(one: Signature, other: Signature) -> float:
    """Mean difference per channel, 0 to 255."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def belongs_to(image_bytes: bytes, text: str) -> bool:
    """Whether the picture was painted from `text`, whatever was done to its size and encoding since."""
    with Image.open(io.BytesIO(image_bytes)) as image:
        expected = signature(_scene(text, image.width, image.height, 0))
        return distance(signature(image), expected) <= _TOLERANCE


def _scene(text: str, width: int, height: int, seed: int) -> Image.Image:
    """The picture without its title, drawn small: edges turn soft when it is scaled up, and it is quick."""
    dice = random.Random(hashlib.sha256(text.encode("utf-8", "replace")).digest())
    scale = _SCENE_EDGE / max(width, height)
    size = max(16, round(width * scale)), max(16, round(height * scale))
    hue = dice.random()
    scene = _gradient([_colour(hue + dice.uniform(-0.16, 0.16), dice.uniform(0.3, 1.0)) for _ in range(4)])
    scene = scene.resize(size, Image.Resampling.BICUBIC)
    brush = ImageDraw.Draw(scene)
    _draw_stars(brush, size, seed)
    _draw_sun(brush, size, dice, _colour(hue + 0.45 + dice.uniform(-0.1, 0.1), 1.0))
    for level, swing, light in _HILLS:
        colour = _colour(hue + dice.uniform(-0.25, 0.25), light * dice.uniform(0.5, 1.3))
        brush.polygon(_hills(size, dice, level, swing), fill=colour)
    return scene


def _colour(hue: float, light: float) -> Colour:
    """A soft, saturated colour; `hue` in turns, `light` from 0 to 1."""
    channels = (0.5 + 0.5 * math.cos(2 * math.pi * (hue + third)) for third in (0.0, 1 / 3, 2 / 3))
    red, green, blue = (round(255 * light * (0.3 + 0.7 * channel)) for channel in channels)
    return red, green, blue


def _gradient(corners: list[Colour]) -> Image.Image:
    tile = Image.new("RGB", (2, 2))
    for place, colour in zip(((0, 0), (1, 0), (0, 1), (1, 1)), corners, strict=True):
        tile.putpixel(place, colour)
    return tile


def _draw_stars(brush: ImageDraw.ImageDraw, size: tuple[int, int], seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(24):
        x, y = dice.uniform(0, size[0]), dice.uniform(0, size[1] * 0.5)
        brush.ellipse((x, y, x + 1.5, y + 1.5), fill=(255, 255, 255))


def _draw_sun(brush: ImageDraw.ImageDraw, size: tuple[int, int], dice: random.Random, colour: Colour) -> None:
    x, y = dice.uniform(0.15, 0.85) * size[0], dice.uniform(0.15, 0.5) * size[1]
    radius = dice.uniform(0.08, 0.16) * size[1]
    brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _hills(size: tuple[int, int], dice: random.Random, level: float, swing: float) -> list[tuple[float, float]]:
    (width, height), waves, shift = size, dice.uniform(0.6, 2.2), dice.uniform(0, 2 * math.pi)
    level += dice.uniform(-0.06, 0.06)
    crest = (height * (level + swing * math.sin(shift + waves * math.tau * x / width)) for x in range(0, width + 8, 8))
    return [(0.0, height), *((8.0 * step, y) for step, y in enumerate(crest)), (width, height)]


def _write_title(picture: Image.Image, text: str) -> None:
    words = " ".join(text.split())
    title = words if len(words) <= 34 else words[:34].rsplit(" ", 1)[0] + "…"
    size = max(8, picture.width // 26)
    place = picture.width // 20, picture.height - size * 2
    ImageDraw.Draw(picture).text(place, title, font=_font(size), fill=(255, 255, 255))


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
