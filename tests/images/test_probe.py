"""The size from the first bytes: the same as that of the whole picture, or an honest "not enough"."""

import random
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reconciler.domain.findings import Flawed, Sized
from reconciler.domain.states import Flaw
from reconciler.images.exif import orientation
from reconciler.images.formats import Format, Header, Short, is_image, sniff
from reconciler.images.probe import MAX_PIXELS, probe, probe_whole, sized

Encode = Callable[..., bytes]
Paint = Callable[..., Image.Image]
Tiff = Callable[..., bytes]
Segment = Callable[[int, bytes], bytes]

FORMS: list[tuple[str, dict[str, object]]] = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("JPEG", {"restart_marker_rows": 1}),
    ("PNG", {}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("WEBP", {"icc_profile": b"x" * 100}),
]


def flaw_of(found: object) -> Flaw | None:
    return found.flaw if isinstance(found, Flawed) else None


@pytest.mark.parametrize(("form", "options"), FORMS)
@pytest.mark.parametrize("size", [(2048, 1152), (1, 1), (3, 16383), (16383, 2)])
def test_all_forms(encode: Encode, form: str, options: dict[str, object], size: tuple[int, int]) -> None:
    data = encode(Image.new("RGB", size, "teal"), form, **options)
    assert sized(probe_whole(data)) == Sized(*size)


@pytest.mark.parametrize(("form", "options"), FORMS)
def test_every_prefix_is_enough_or_says_what_is_missing(
    paint: Paint, encode: Encode, form: str, options: dict[str, object]
) -> None:
    data = encode(paint(160, 90), form, **options)
    for length in range(12, len(data)):
        found = probe(data[:length])
        assert not isinstance(found, Flawed)
        if isinstance(found, Header):
            assert found.upright == (160, 90)
        else:
            assert length < found.needed


@pytest.mark.parametrize(("form", "options"), FORMS)
def test_whole_means_to_the_last_byte(paint: Paint, encode: Encode, form: str, options: dict[str, object]) -> None:
    data = encode(paint(160, 90), form, **options)
    assert isinstance(probe_whole(data), Header)
    for length in range(12, len(data)):
        assert flaw_of(probe_whole(data[:length])) is Flaw.TRUNCATED, length


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_bytes_may_follow_the_end(paint: Paint, encode: Encode, form: str) -> None:
    assert sized(probe_whole(encode(paint(160, 90), form) + b"trailing \xff\xda\xff")) == Sized(160, 90)


@pytest.mark.parametrize("marker", [0xE1, 0xE2, 0xED, 0xFE])
def test_a_jpeg_whose_size_lies_far_into_the_file(paint: Paint, encode: Encode, segment: Segment, marker: int) -> None:
    plain = encode(paint(160, 90))
    blocks = segment(marker, b"\xff\xd8\xff\xc0\0\x11\x08\0\1\0\1" + bytes(60_000)) * 3  # with a decoy thumbnail
    data = plain[:2] + blocks + plain[2:]
    assert isinstance(probe(data[:65536]), Short)
    found = probe(data[: len(blocks) + 700])
    assert isinstance(found, Header)
    assert found.upright == (160, 90)


def test_what_is_needed_is_told(paint: Paint, encode: Encode, segment: Segment) -> None:
    plain = encode(paint(160, 90))
    data = plain[:2] + segment(0xE1, bytes(60_000)) + plain[2:]
    found = probe(data[:1000])
    assert isinstance(found, Short)
    assert 60_000 < found.needed < 60_200


def test_oddities_between_segments_are_skipped(paint: Paint, encode: Encode) -> None:
    plain = encode(paint(160, 90))
    assert sized(probe_whole(plain[:2] + b"\xff\xff\xff" + b"\xff\x01" + b"\0\0junk" + plain[2:])) == Sized(160, 90)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_orientation_comes_before_measuring(
    paint: Paint, encode: Encode, tiff: Tiff, form: str, order: str, turn: int
) -> None:
    data = encode(paint(160, 90), form, exif=b"Exif\0\0" + tiff(turn, order))
    assert sized(probe_whole(data)) == (Sized(90, 160) if turn >= 5 else Sized(160, 90))
    head = probe(data[:300])
    if form == "WEBP":
        assert head == Short(len(data))
    else:
        assert isinstance(head, Header)
        assert head.orientation == turn


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II",
        b"XX*\0\x08\0\0\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, 9, 0, 0),
        struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, 0, 0, 0),
        struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x0112, 4, 1, 6, 0),
        struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0113, 3, 1, 6, 0, 0),
    ],
)
def test_a_damaged_or_silent_block_turns_nothing(block: bytes) -> None:
    assert orientation(block) == 1


@given(st.binary(max_size=200))
def test_any_block_is_read_without_a_crash(block: bytes) -> None:
    assert 1 <= orientation(b"II*\0\x08\0\0\0" + block) <= 8


def test_a_png_exif_block_behind_large_text(png_chunk: Callable[[bytes, bytes], bytes], tiff: Tiff) -> None:
    start = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 160, 90, 8, 2, 0, 0, 0))
    data = start + png_chunk(b"tEXt", b"workflow\0" + bytes(70_000)) + png_chunk(b"eXIf", tiff(6))
    assert probe(data[:65536]) == Short(len(start) + 70_009 + 20)
    assert probe(data) == Header(Format.PNG, 160, 90, 6)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<!doctype html>",
        b'{"code": 404}',
        b"GIF89a\1\0\1\0",
        b"RIFF\0\0\0\0WAVE",
        b"\x89PNG\n\x1a\n",
        b"\xff\xd8",
        bytes(1000),
    ],
)
def test_what_is_none_of_the_three(data: bytes) -> None:
    assert flaw_of(probe(data)) is flaw_of(probe_whole(data)) is Flaw.FORMAT


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xda\0\x0c" + bytes(10),
        b"\xff\xd8\xff\xc0\0\x11\x08\0\0\0\x10" + bytes(10),
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dJUNK" + bytes(20),
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + bytes(20),
        b"RIFF\x20\0\0\0WEBPJUNK" + bytes(20),
        b"RIFF\x20\0\0\0WEBPVP8 " + bytes(20),
        b"RIFF\x20\0\0\0WEBPVP8L" + bytes(20),
        b"RIFF\x20\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a\0\0\0\0",
    ],
)
def test_headers_that_make_no_sense(data: bytes) -> None:
    assert flaw_of(probe(data)) is Flaw.UNDECODABLE


def test_more_pixels_than_we_decode(png_chunk: Callable[[bytes, bytes], bytes]) -> None:
    size = struct.pack(">II", 50_000, MAX_PIXELS // 50_000 + 1)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", size + b"\x08\2\0\0\0") + png_chunk(b"IDAT", b"")
    assert flaw_of(probe(data)) is Flaw.TOO_LARGE


@given(st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\0\0\0WEBP", b""]), st.binary(max_size=300))
def test_any_bytes_are_probed_without_a_crash(start: bytes, rest: bytes) -> None:
    assert isinstance(probe(start + rest), Header | Short | Flawed)
    assert isinstance(probe_whole(start + rest), Header | Flawed)


def test_turned_bits_never_crash_the_probe(paint: Paint, encode: Encode, tiff: Tiff) -> None:
    chance = random.Random(7)
    for form in ("JPEG", "PNG", "WEBP"):
        data = encode(paint(160, 90), form, exif=b"Exif\0\0" + tiff(6))
        for _ in range(500):
            broken = bytearray(data)
            broken[chance.randrange(min(len(data), 700))] ^= 1 << chance.randrange(8)
            assert isinstance(probe(bytes(broken)), Header | Short | Flawed)


@pytest.mark.parametrize(
    "data", [b"\xff\xd8\xff\x01" * (1 << 22), b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0junk\0\0\0\0" * (1 << 20)]
)
def test_millions_of_empty_parts_are_not_walked(data: bytes) -> None:
    assert isinstance(probe_whole(data), Flawed)


def test_a_picture_is_known_by_its_signature() -> None:
    assert sniff(b"\xff\xd8\xff\xe0") is Format.JPEG
    assert is_image(b"\xff\xd8\xff\xe0")
    assert is_image(b"BM....")
    assert not is_image(b"\1\2\3")
    assert not is_image(b"<html>")
    assert not is_image(b" \n")
