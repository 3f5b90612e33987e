"""Thumbnails: pixels of our own making, of pictures that were verified whole."""

import io

import pytest
from PIL import Image

from reconciler.domain.findings import Flawed
from reconciler.domain.states import Flaw
from reconciler.images.thumbnail import Miniature, thumbnail


def picture(size: tuple[int, int], form: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.radial_gradient("L").resize(size).convert("RGB").save(file, form, **options)
    return file.getvalue()


def blank(size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("size", "small"), [((1024, 576), (320, 180)), ((360, 360), (320, 320)), ((90, 160), (90, 160))]
)
def test_a_picture_is_made_small_in_its_own_shape(form: str, size: tuple[int, int], small: tuple[int, int]) -> None:
    made = thumbnail(picture(size, form))
    assert isinstance(made, Miniature)
    with Image.open(io.BytesIO(made.data)) as opened:
        assert (opened.format, opened.mode, opened.size) == ("JPEG", "RGB", small)
    assert (made.width, made.height) == small


def test_nothing_but_pixels_is_passed_on() -> None:
    exif = Image.Exif()
    exif[0x010E] = "the secret place"
    made = thumbnail(picture((64, 64), exif=exif, comment=b"the secret place"))
    assert isinstance(made, Miniature)
    assert b"secret" not in made.data


def test_the_same_picture_has_the_same_name_and_another_has_another() -> None:
    names = [getattr(thumbnail(picture(size)), "name", None) for size in ((64, 64), (64, 64), (64, 65))]
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize(
    ("data", "flaw"),
    [
        (b"<svg onload=hack()>", Flaw.FORMAT),
        (blank((64, 64)), Flaw.BLANK),
        (picture((64, 64))[:-20], Flaw.TRUNCATED),
        (b"", Flaw.FORMAT),
    ],
)
def test_what_is_no_whole_picture_is_none(data: bytes, flaw: Flaw) -> None:
    made = thumbnail(data)
    assert isinstance(made, Flawed)
    assert made.flaw is flaw
