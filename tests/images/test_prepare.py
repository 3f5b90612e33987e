"""What is taken, what is refused and why, and what is made of it: a corpus of good, odd, damaged and hostile files."""

import hashlib
import io
import random
import struct
import warnings
import zlib
from base64 import b64decode
from collections.abc import Callable
from threading import Thread

import pytest
from PIL import Image, ImageCms

from reconciler.domain.findings import Flawed
from reconciler.domain.policy import Fit, Target
from reconciler.domain.states import Flaw
from reconciler.images import fit, png
from reconciler.images.fit import prepare
from reconciler.ports import Prepared
from tests.images.conftest import chunk

Encode = Callable[..., bytes]
Paint = Callable[..., Image.Image]
Tiff = Callable[..., bytes]
Segment = Callable[[int, bytes], bytes]
Chunk = Callable[[bytes, bytes], bytes]

SMALL = Target(width=160, height=90)
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def good(result: Prepared | Flawed, target: Target = SMALL) -> Image.Image:
    """The picture as a viewer gets it, after checking that it is what we promise."""
    assert isinstance(result, Prepared), result
    assert result.sha256 == hashlib.sha256(result.data).hexdigest()
    assert (result.extension, result.content_type) == ("jpg", "image/jpeg")
    assert (result.width, result.height) == (target.width, target.height)
    picture = Image.open(io.BytesIO(result.data))
    picture.load()
    assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (target.width, target.height))
    return picture


def flaw(result: Prepared | Flawed) -> Flaw | None:
    return result.flaw if isinstance(result, Flawed) else None


def corners(picture: Image.Image) -> list[tuple[int, ...]]:
    """The colours of the four quarters, from the upper left, rounded to full or none."""
    width, height = picture.size
    at = [(width // 4, height // 4), (width * 3 // 4, height // 4), (width // 4, height * 3 // 4)]
    pixels = [picture.getpixel(point) for point in (*at, (width * 3 // 4, height * 3 // 4))]
    return [tuple(255 if part > 127 else 0 for part in pixel) for pixel in pixels if isinstance(pixel, tuple)]


# -- what is made --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("size", [(2048, 1152), (2560, 1440), (2752, 1536), (4096, 2304)])
def test_the_real_sizes(paint: Paint, encode: Encode, form: str, size: tuple[int, int]) -> None:
    result = prepare(encode(paint(*size), form), Target(), interim=False)
    assert corners(good(result, Target())) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("size", [(160, 90), (161, 90), (160, 91), (321, 180), (1600, 900), (1616, 900), (1600, 909)])
def test_cropped_and_scaled_to_the_pixel(paint: Paint, encode: Encode, size: tuple[int, int]) -> None:
    target = Target(width=160, height=90, aspect_tolerance=0.02)
    assert corners(good(prepare(encode(paint(*size), "PNG"), target, interim=False), target)) == [
        RED,
        GREEN,
        BLUE,
        WHITE,
    ]


def test_the_crop_is_centred(encode: Encode) -> None:
    wide = Image.new("RGB", (180, 90), "red")
    wide.paste("blue", (10, 0, 170, 90))
    target = Target(width=160, height=90, aspect_tolerance=0.2)
    wide.paste("white", (80, 0, 100, 90))
    picture = good(prepare(encode(wide, "PNG"), target, interim=False), target)
    left, right = picture.getpixel((0, 45)), picture.getpixel((159, 45))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert left[2] > 200 < right[2]


def test_a_plain_jpeg_of_the_right_size_is_kept_byte_for_byte(paint: Paint, encode: Encode, tiff: Tiff) -> None:
    for options in ({}, {"progressive": True}, {"exif": b"Exif\0\0" + tiff(1)}, {"icc_profile": _srgb()}):
        data = encode(paint(160, 90), **options)
        result = prepare(data, SMALL, interim=False)
        good(result)
        assert isinstance(result, Prepared)
        assert result.data == data


_ARITHMETIC = b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgICAgMCAgIDAwMDBAYEBAQEBAgGBgUGCQgKCgkICQkKDA8MCgsOCwkJDRENDg8QEBEQCgwSEx"
    "IQEw8QEBD/2wBDAQMDAwQDBAgEBAgQCwkLEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBD/yQARCAAS"
    "ACADAREAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/ANlJHFQSon4KMmusD4nfX2tDwWAo8iQJ21NHvqHwqP/Z"
)
"""Red on the left and blue on the right, of 32 by 18. Pillow decodes such a coding, and does not write it."""


def test_a_jpeg_in_a_coding_that_browsers_do_not_know_is_encoded_anew() -> None:
    target = Target(width=32, height=18)
    result = prepare(_ARITHMETIC, target, interim=False)
    assert corners(good(result, target)) == [RED, BLUE, RED, BLUE]
    assert isinstance(result, Prepared)
    assert result.data != _ARITHMETIC


def test_what_follows_the_end_is_not_kept(paint: Paint, encode: Encode) -> None:
    """A polyglot: picture to one, page or archive to another."""
    data = encode(paint(160, 90)) + b"<script>alert(1)</script>PK\5\6" + bytes(18)
    result = prepare(data, SMALL, interim=False)
    good(result)
    assert isinstance(result, Prepared)
    assert b"script" not in result.data


def test_metadata_is_left_behind(paint: Paint, encode: Encode, tiff: Tiff) -> None:
    data = encode(paint(320, 180), exif=b"Exif\0\0" + tiff(1), comment=b"secret", icc_profile=_srgb(), dpi=(300, 300))
    picture = good(prepare(data, SMALL, interim=False))
    assert not {"exif", "comment", "icc_profile"} & picture.info.keys()


def test_quality_is_the_targets(encode: Encode) -> None:
    noise = encode(Image.effect_noise((320, 180), 99).convert("RGB"), "PNG")
    sizes = []
    for quality in (50, 80, 95):
        result = prepare(noise, Target(width=160, height=90, quality=quality), interim=False)
        assert isinstance(result, Prepared)
        sizes.append(len(result.data))
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(("form", "extension"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")])
def test_keep_stores_the_providers_bytes(paint: Paint, encode: Encode, form: str, extension: str) -> None:
    data = encode(paint(320, 180), form)
    result = prepare(data, Target(width=160, height=90, fit=Fit.KEEP), interim=False)
    assert isinstance(result, Prepared)
    assert (result.data, result.extension, result.width, result.height) == (data, extension, 320, 180)


@pytest.mark.parametrize(("form", "extension"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")])
def test_a_stand_in_is_kept_whatever_its_size(paint: Paint, encode: Encode, form: str, extension: str) -> None:
    data = encode(paint(36, 36), form)
    result = prepare(data, SMALL, interim=True)
    assert isinstance(result, Prepared)
    assert (result.data, result.extension, result.width, result.height) == (data, extension, 36, 36)
    assert flaw(prepare(data[:-3], SMALL, interim=True)) is Flaw.TRUNCATED
    assert flaw(prepare(encode(Image.new("RGB", (36, 36))), SMALL, interim=True)) is Flaw.BLANK


# -- odd but good --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_orientation(paint: Paint, encode: Encode, tiff: Tiff, form: str, turn: int) -> None:
    upright = paint(320, 180)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[turn]) if turn in undo else upright
    result = prepare(encode(stored, form, exif=b"Exif\0\0" + tiff(turn)), SMALL, interim=False)
    assert corners(good(result)) == [RED, GREEN, BLUE, WHITE]


def test_a_turned_picture_of_the_stored_size_is_no_fit(paint: Paint, encode: Encode, tiff: Tiff) -> None:
    assert flaw(prepare(encode(paint(160, 90), exif=b"Exif\0\0" + tiff(6)), SMALL, interim=False)) is Flaw.TOO_SMALL


def test_a_turned_picture_of_the_right_size_is_encoded_anew(paint: Paint, encode: Encode, tiff: Tiff) -> None:
    picture = good(prepare(encode(paint(160, 90), exif=b"Exif\0\0" + tiff(3)), SMALL, interim=False))
    assert corners(picture) == [WHITE, BLUE, GREEN, RED]


@pytest.mark.parametrize("before", [b"\xff\xda", b"\xff\xc0"])
def test_a_turn_that_is_told_late_is_told_to_nobody(
    paint: Paint, encode: Encode, tiff: Tiff, segment: Segment, before: bytes
) -> None:
    """Viewers would turn what is stored by an EXIF block behind the frame header, or by the second one."""
    upright = encode(paint(), exif=b"Exif\0\0" + tiff(1)) if before == b"\xff\xc0" else encode(paint())
    at = upright.rindex(before)
    data = upright[:at] + segment(0xE1, b"Exif\0\0" + tiff(6)) + upright[at:]
    picture = good(prepare(data, Target(), interim=False), Target())
    assert "exif" not in picture.info
    assert corners(picture) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize(
    ("form", "mode"),
    [
        ("JPEG", "CMYK"),
        ("JPEG", "YCbCr"),
        ("PNG", "P"),
        ("PNG", "RGBA"),
        ("WEBP", "RGBA"),
        ("TIFF", "RGB"),
    ],
)
def test_colours_survive_the_way_to_rgb(paint: Paint, encode: Encode, form: str, mode: str) -> None:
    result = prepare(encode(paint(160, 90, mode), form), SMALL, interim=False)
    if form == "TIFF":
        assert flaw(result) is Flaw.FORMAT
    else:
        assert corners(good(result)) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize(("form", "mode"), [("JPEG", "L"), ("PNG", "L"), ("PNG", "LA"), ("PNG", "1")])
def test_grey_becomes_rgb(paint: Paint, encode: Encode, form: str, mode: str) -> None:
    good(prepare(encode(paint(160, 90, mode), form), SMALL, interim=False))


def test_sixteen_bits_of_grey_are_scaled_and_not_cut(encode: Encode) -> None:
    deep = Image.new("I;16", (160, 90), 30_000)
    deep.paste(65_535, (80, 0, 160, 90))
    picture = good(prepare(encode(deep, "PNG"), SMALL, interim=False))
    dark, light = picture.getpixel((20, 45)), picture.getpixel((140, 45))
    assert isinstance(dark, tuple)
    assert isinstance(light, tuple)
    assert 110 < dark[0] < 123
    assert light[0] > 250


def _png(png_chunk: Chunk, kind: int, rows: bytes, *between: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 160, 90, 16, kind, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(between) + body + png_chunk(b"IEND", b"")


def test_sixteen_bits_of_colour_with_a_transparent_one(png_chunk: Chunk) -> None:
    left, right = struct.pack(">HHH", 65535, 300, 5), struct.pack(">HHH", 5, 65535, 300)
    data = _png(png_chunk, 2, (b"\0" + left * 80 + right * 80) * 90, png_chunk(b"tRNS", left))
    picture = good(prepare(data, SMALL, interim=False))
    assert corners(picture)[1] == GREEN


def test_sixteen_bits_of_grey_with_a_transparent_one(png_chunk: Chunk) -> None:
    dark, light = struct.pack(">H", 20_000), struct.pack(">H", 60_000)
    data = _png(png_chunk, 0, (b"\0" + dark * 80 + light * 80) * 90, png_chunk(b"tRNS", b"\1\2"))
    good(prepare(data, SMALL, interim=False))


def test_no_other_shade_is_taken_for_the_transparent_one_of_sixteen_bits(png_chunk: Chunk) -> None:
    """The samples are 51,400; only of eight bits would they be the 200 that is transparent."""
    dark, light = struct.pack(">H", 20_000), struct.pack(">H", 200 * 257)
    data = _png(png_chunk, 0, (b"\0" + dark * 80 + light * 80) * 90, png_chunk(b"tRNS", struct.pack(">H", 200)))
    seen = good(prepare(data, SMALL, interim=False)).getpixel((140, 45))
    assert isinstance(seen, tuple)
    assert min(seen) > 190


@pytest.mark.parametrize("transparent", [0x00FF, 0x12FF])
def test_no_other_colour_is_taken_for_the_transparent_one_of_sixteen_bits(png_chunk: Chunk, transparent: int) -> None:
    """Of eight bits, or by its lower ones, the white half would be transparent."""
    red, white = struct.pack(">HHH", 0xFFFF, 0, 0), struct.pack(">HHH", 0xFFFF, 0xFFFF, 0xFFFF)
    transparency = png_chunk(b"tRNS", struct.pack(">HHH", *[transparent] * 3))
    data = _png(png_chunk, 2, (b"\0" + red * 80 + white * 80) * 90, transparency)
    assert corners(good(prepare(data, SMALL, interim=False))) == [RED, WHITE, RED, WHITE]


def test_alpha_is_flattened_on_black(encode: Encode) -> None:
    half = Image.new("RGBA", (160, 90), (255, 0, 0, 0))
    half.paste((0, 255, 0, 255), (80, 0, 160, 90))
    for form in ("PNG", "WEBP"):
        picture = good(prepare(encode(half, form, lossless=True), SMALL, interim=False))
        assert corners(picture) == [(0, 0, 0), GREEN, (0, 0, 0), GREEN]


def test_a_palette_with_transparency(paint: Paint, encode: Encode) -> None:
    palette = paint(160, 90).quantize(8)
    for transparency in (0, bytes(range(0, 256, 32))):
        good(prepare(encode(palette, "PNG", transparency=transparency), SMALL, interim=False))


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_the_first_frame_of_an_animation(paint: Paint, encode: Encode, form: str) -> None:
    first, second = paint(160, 90), Image.new("RGB", (160, 90), "black")
    data = encode(first, form, save_all=True, append_images=[second], duration=100, lossless=True)
    assert corners(good(prepare(data, SMALL, interim=False))) == [RED, GREEN, BLUE, WHITE]


def test_a_jpeg_of_several_pictures(paint: Paint, encode: Encode) -> None:
    data = encode(paint(160, 90), "MPO", save_all=True, append_images=[paint(80, 45)])
    assert corners(good(prepare(data, SMALL, interim=False))) == [RED, GREEN, BLUE, WHITE]


def test_dark_art_is_art_and_nothing_is_not(encode: Encode) -> None:
    dark = Image.linear_gradient("L").resize((160, 90)).point(lambda value: value * 16 // 255).convert("RGB")
    good(prepare(encode(dark, "PNG"), SMALL, interim=False))
    for shade in ("black", "white", (7, 7, 7)):
        assert flaw(prepare(encode(Image.new("RGB", (160, 90), shade)), SMALL, interim=False)) is Flaw.BLANK
    faint = Image.linear_gradient("L").resize((160, 90)).point(lambda value: 100 + value * 8 // 255).convert("RGB")
    assert flaw(prepare(encode(faint, "PNG"), SMALL, interim=False)) is Flaw.BLANK
    nothing = Image.new("RGBA", (160, 90), (200, 10, 10, 0))
    assert flaw(prepare(encode(nothing, "PNG"), SMALL, interim=False)) is Flaw.BLANK


@pytest.mark.parametrize(("apart", "is_blank"), [(8, True), (9, False)])
def test_two_shades_that_hardly_differ_are_nothing(encode: Encode, apart: int, is_blank: bool) -> None:
    picture = Image.new("L", (160, 90), 100)
    picture.paste(100 + apart, (0, 0, 80, 90))
    assert flaw(prepare(encode(picture, "PNG"), SMALL, interim=False)) is (Flaw.BLANK if is_blank else None)


@pytest.mark.parametrize("box", [(40, 0, 80, 20), (40, 35, 80, 55), (0, 80, 160, 90)], ids=["top", "middle", "bottom"])
def test_what_is_seen_somewhere_is_seen(encode: Encode, box: tuple[int, int, int, int]) -> None:
    picture = Image.new("RGB", (160, 90), "black")
    picture.paste("grey", box)
    good(prepare(encode(picture, "PNG"), SMALL, interim=False))


@pytest.mark.parametrize("height", range(1, 10))
def test_a_flat_strip_is_looked_at_as_well(encode: Encode, height: int) -> None:
    picture = Image.new("RGB", (20 * height, height), "black")
    assert flaw(prepare(encode(picture, "PNG"), SMALL, interim=True)) is Flaw.BLANK
    picture.paste("white", (0, 0, 10 * height, height))
    assert flaw(prepare(encode(picture, "PNG"), SMALL, interim=True)) is None


# -- profiles ------------------------------------------------------------------------------------------------------


def _srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _swapped() -> bytes:
    """A profile, made of sRGB, whose red is blue and whose blue is red; its name is no longer sRGB."""
    profile = bytearray(_srgb())
    tags = {}
    for index in range(int.from_bytes(profile[128:132])):
        at = 132 + 12 * index
        tags[bytes(profile[at : at + 4])] = at
    red, blue = tags[b"rXYZ"], tags[b"bXYZ"]
    profile[red + 4 : red + 12], profile[blue + 4 : blue + 12] = (
        profile[blue + 4 : blue + 12],
        profile[red + 4 : red + 12],
    )
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "odd!".encode("utf-16-be"))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_profile_is_converted_to_srgb(paint: Paint, encode: Encode, form: str) -> None:
    picture = good(prepare(encode(paint(160, 90), form, icc_profile=_swapped()), SMALL, interim=False))
    assert corners(picture) == [BLUE, GREEN, RED, WHITE]
    assert "icc_profile" not in picture.info


@pytest.mark.parametrize("profile", [b"x" * 200, b"\0" * 128, _srgb()[:300], _srgb()[:128] + bytes(400)])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_broken_profile_is_left_out_of_account(paint: Paint, encode: Encode, form: str, profile: bytes) -> None:
    picture = good(prepare(encode(paint(160, 90), form, icc_profile=profile), SMALL, interim=False))
    assert corners(picture) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize(("form", "mode"), [("JPEG", "CMYK"), ("JPEG", "L"), ("PNG", "L"), ("PNG", "P"), ("PNG", "LA")])
def test_a_profile_of_another_kind_of_colour(paint: Paint, encode: Encode, form: str, mode: str) -> None:
    good(prepare(encode(paint(160, 90, mode), form, icc_profile=_swapped()), SMALL, interim=False))


# -- refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((159, 90), Flaw.TOO_SMALL),
        ((160, 89), Flaw.TOO_SMALL),
        ((36, 36), Flaw.TOO_SMALL),
        ((4000, 89), Flaw.TOO_SMALL),
        ((160, 160), Flaw.ASPECT),
        ((163, 90), Flaw.ASPECT),
        ((320, 177), Flaw.ASPECT),
    ],
)
@pytest.mark.parametrize("fit", Fit)
def test_too_small_or_of_the_wrong_shape(
    paint: Paint, encode: Encode, size: tuple[int, int], expected: Flaw, fit: Fit
) -> None:
    result = prepare(encode(paint(*size)), Target(width=160, height=90, fit=fit), interim=False)
    assert isinstance(result, Flawed)
    assert (result.flaw, result.size) == (expected, size)


@pytest.mark.parametrize(
    "data", [b"", b"<html>no such file</html>", b'{"code":404}', b"GIF89a", bytes(5000), b"%PDF-1.7"]
)
@pytest.mark.parametrize("interim", [True, False])
def test_what_is_no_picture(data: bytes, interim: bool) -> None:
    assert flaw(prepare(data, SMALL, interim=interim)) is Flaw.FORMAT


CUT = [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True})]


@pytest.mark.parametrize(("form", "options"), CUT)
def test_cut_at_any_percent_it_is_never_taken(
    paint: Paint, encode: Encode, form: str, options: dict[str, object]
) -> None:
    data = encode(paint(160, 90), form, **options)
    lengths = {len(data) * percent // 100 for percent in range(100)} | {len(data) - last for last in range(1, 20)}
    for length in lengths:
        for interim in (False, True):
            expected = {Flaw.TRUNCATED, Flaw.FORMAT} if length < 12 else {Flaw.TRUNCATED}
            assert flaw(prepare(data[:length], SMALL, interim=interim)) in expected, length


@pytest.mark.parametrize(("form", "options"), CUT[2:])
def test_a_middle_that_is_missing(paint: Paint, encode: Encode, form: str, options: dict[str, object]) -> None:
    """The end is there, so nothing but decoding can tell. (In a JPEG nothing can: its decoder paints the rest grey.)"""
    data = encode(paint(160, 90), form, **options)
    third = len(data) // 3
    assert flaw(prepare(data[:third] + data[-12:], SMALL, interim=False)) in {Flaw.TRUNCATED, Flaw.UNDECODABLE}


@pytest.mark.parametrize("interim", [True, False])
@pytest.mark.parametrize("missing", [1, 30, 80])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA", "I;16"])
def test_a_png_that_lacks_its_last_rows(paint: Paint, encode: Encode, mode: str, missing: int, interim: bool) -> None:
    """All that is there is sound: checksums, and a stream that says that it ends there."""
    data = encode(_in_mode(paint, mode), "PNG")
    good(prepare(data, SMALL, interim=False))
    rows = zlib.decompress(_pixels(data))
    cut = _with_pixels(data, rows[: len(rows) * (90 - missing) // 90])
    assert flaw(prepare(cut, SMALL, interim=interim)) is Flaw.TRUNCATED


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA", "I;16"])
@pytest.mark.parametrize("parts", [1, 3])
def test_a_png_that_ends_in_black(paint: Paint, encode: Encode, mode: str, parts: int) -> None:
    picture = _in_mode(paint, mode)
    picture.paste((0,) * len(picture.getbands()) if len(picture.getbands()) > 1 else 0, (0, 60, 160, 90))
    data = encode(picture, "PNG")
    data = _with_pixels(data, zlib.decompress(_pixels(data)), parts)
    good(prepare(data, SMALL, interim=False))
    assert flaw(prepare(_with_pixels(data, zlib.decompress(_pixels(data))[:-1]), SMALL, interim=False))


def test_an_interlaced_png_has_all_its_passes(paint: Paint, encode: Encode) -> None:
    picture = paint(160, 90)
    plain = encode(picture, "PNG")
    rows = _passes(picture)
    whole = _with_pixels(plain, rows, interlaced=True)
    assert corners(good(prepare(whole, SMALL, interim=False))) == [RED, GREEN, BLUE, WHITE]
    for missing in (1, 160 * 3 + 1, len(rows) // 2, len(rows) * 3 // 4):
        cut = _with_pixels(plain, rows[:-missing], interlaced=True)
        assert flaw(prepare(cut, SMALL, interim=False)) is Flaw.TRUNCATED, missing


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (4, 5), (5, 4), (9, 17)])
def test_no_pass_is_missed_that_a_small_picture_has_not(paint: Paint, encode: Encode, size: tuple[int, int]) -> None:
    picture = paint(*size)
    rows = _passes(picture)
    assert png.filled(_with_pixels(encode(picture, "PNG"), rows, interlaced=True))
    assert not png.filled(_with_pixels(encode(picture, "PNG"), rows[:-1], interlaced=True))


def _in_mode(paint: Paint, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.new("I;16", (160, 90), 30_000).transform((160, 90), Image.Transform.AFFINE, (1, 0, 80, 0, 1, 0))
    return paint(160, 90).quantize() if mode == "P" else paint(160, 90, mode)


def _passes(picture: Image.Image) -> bytes:
    """Its pixels as Adam7 has them (W3C PNG, section 8)."""
    steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    raw, (width, height) = picture.tobytes(), picture.size
    found = []
    for column, row, right, down in steps:
        for y in range(row, height, down) if column < width else ():
            places = ((y * width + x) * 3 for x in range(column, width, right))
            found.append(b"\0" + b"".join(raw[place : place + 3] for place in places))
    return b"".join(found)


def _pixels(data: bytes) -> bytes:
    return b"".join(data[c.start : c.end] for c in png.chunks(data) if c.kind == b"IDAT")


def _with_pixels(data: bytes, rows: bytes, parts: int = 1, *, interlaced: bool = False) -> bytes:
    """The PNG with these pixels in the place of its own, in so many chunks."""
    packed = zlib.compress(rows)
    length = -(-len(packed) // parts)
    bodies = [chunk(b"IDAT", packed[at : at + length]) for at in range(0, len(packed), length)]
    header = data[16:28] + bytes([interlaced])
    before = b"".join(data[c.start - 8 : c.end + 4] for c in png.chunks(data) if c.kind in {b"PLTE", b"tRNS"})
    return data[:8] + chunk(b"IHDR", header) + before + b"".join(bodies) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("form", "options"), CUT)
def test_turned_bits_never_crash(paint: Paint, encode: Encode, form: str, options: dict[str, object]) -> None:
    chance = random.Random(form)
    data = encode(paint(160, 90), form, **options)
    for _ in range(150):
        broken = bytearray(data)
        for _ in range(chance.choice((1, 1, 1, 8))):
            broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        result = prepare(bytes(broken), SMALL, interim=False)
        if isinstance(result, Prepared):
            good(result)
        if form == "PNG":
            assert isinstance(result, Flawed), "its checksums tell every turned bit"


@pytest.mark.parametrize(("form", "options"), CUT)
def test_any_mangling_never_crashes(paint: Paint, encode: Encode, form: str, options: dict[str, object]) -> None:
    chance = random.Random(form)
    data = encode(paint(160, 90), form, **options)
    for _ in range(100):
        start, length = chance.randrange(len(data)), chance.randrange(200)
        insert = chance.randbytes(chance.choice((0, length)))
        result = prepare(data[:start] + insert + data[start + length :], SMALL, interim=chance.random() < 0.5)
        assert isinstance(result, Prepared | Flawed)


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (2**31 - 1, 2**31 - 1), (20_480, 11_520)])
def test_a_bomb_is_not_decoded(png_chunk: Chunk, width: int, height: int) -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(1_000_000)))
    data = b"\x89PNG\r\n\x1a\n" + header + pixels + png_chunk(b"IEND", b"")
    for interim in (False, True):
        assert flaw(prepare(data, SMALL, interim=interim)) is Flaw.TOO_LARGE


def test_a_hopeless_picture_is_not_decoded(png_chunk: Chunk) -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 6000, 6000, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", b"no pixels at all") + png_chunk(b"IEND", b"")
    assert flaw(prepare(data, SMALL, interim=False)) is Flaw.ASPECT
    assert flaw(prepare(data, SMALL, interim=True)) is Flaw.UNDECODABLE


def test_a_jpeg_of_a_thousand_scans_is_not_decoded(encode: Encode) -> None:
    data = encode(Image.linear_gradient("L").resize((3200, 1800)).convert("RGB"), progressive=True)
    last = data.rindex(b"\xff\xda")
    bomb = data[:-2] + data[last:-2] * 1000 + data[-2:]
    assert flaw(prepare(bomb, SMALL, interim=False)) is Flaw.TOO_LARGE


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_compressed_metadata_does_not_unfold(paint: Paint, encode: Encode, png_chunk: Chunk, kind: bytes) -> None:
    middle = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind]
    data = encode(paint(160, 90), "PNG")
    bomb = data[:33] + png_chunk(kind, middle + zlib.compress(bytes(30_000_000))) + data[33:]
    assert isinstance(prepare(bomb, SMALL, interim=False), Prepared | Flawed)


def test_a_lie_about_the_size(paint: Paint, encode: Encode) -> None:
    """A WebP whose canvas and frame disagree."""
    data = bytearray(encode(paint(160, 90), "WEBP", icc_profile=_srgb()))
    data[24:27] = (319).to_bytes(3, "little")
    data[27:30] = (179).to_bytes(3, "little")
    assert flaw(prepare(bytes(data), SMALL, interim=False)) is Flaw.UNDECODABLE


def test_two_sizes_in_one_file(paint: Paint, encode: Encode, png_chunk: Chunk) -> None:
    data = encode(paint(160, 90), "PNG")
    other = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 160, 89, 8, 2, 0, 0, 0))
    assert flaw(prepare(data[:33] + other + data[33:], SMALL, interim=False)) is Flaw.UNDECODABLE


def test_the_larger_of_two_sizes_is_not_decoded(png_chunk: Chunk) -> None:
    """The first one is asked whether it is a bomb, the last one is what the decoder makes room for."""
    small, large = (
        png_chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)) for size in ((160, 90), (320, 180))
    )
    data = b"\x89PNG\r\n\x1a\n" + small + large + png_chunk(b"IDAT", b"no pixels at all") + png_chunk(b"IEND", b"")
    refused = Flawed(Flaw.UNDECODABLE, "header and decoder disagree on the size")
    assert prepare(data, SMALL, interim=False) == refused


def test_pillows_warnings_are_neither_printed_nor_lasting(paint: Paint, encode: Encode, segment: Segment) -> None:
    """An MPO index that makes no sense: Pillow warns and reads the JPEG."""
    plain = encode(paint(320, 180))
    data = plain[:2] + segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff") + plain[2:]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        good(prepare(data, SMALL, interim=False))
        assert warnings.filters == before
    assert seen == []


def test_several_threads(paint: Paint, encode: Encode) -> None:
    data, results = encode(paint(320, 180), "PNG"), []
    threads = [Thread(target=lambda: results.append(prepare(data, SMALL, interim=False))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len({good(result).tobytes() for result in results}) == 1


def test_a_picture_takes_the_room_of_its_pixels(paint: Paint, encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def work(pixels: int, job: Callable[[], Prepared]) -> Prepared:
        asked.append(pixels)
        return job()

    monkeypatch.setattr(fit.ROOM, "work", work)
    assert isinstance(prepare(encode(paint(320, 180)), SMALL, interim=False), Prepared)
    assert asked == [320 * 180]


def test_no_memory_is_no_fault_of_the_picture(paint: Paint, encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", exhausted)
    with pytest.raises(MemoryError):
        prepare(encode(paint(160, 90)), SMALL, interim=False)
