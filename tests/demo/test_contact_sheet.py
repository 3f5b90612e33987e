"""The contact sheet: what is on it, where, and that no text or picture breaks it."""

import io

import pytest
from PIL import Image

from reconciler.demo.sheet import CARD, COLUMNS, HEAD, MARGIN, SECTION, THUMB, WIDTH, Card, Section, as_jpeg, compose
from reconciler.demo.tones import Tone
from reconciler.demo.views import View

NOTHING = View(None, "no picture")


def picture(colour: str, size: tuple[int, int] = (2048, 1152), form: str = "JPEG") -> View:
    encoded = io.BytesIO()
    Image.new("RGB", size, colour).save(encoded, form)
    return View(encoded.getvalue(), f"{size[0]}x{size[1]}")


def card(before: View = NOTHING, after: View = NOTHING, title: str = "Night Ferry", tone: Tone = Tone.GOOD) -> Card:
    return Card(title, "no picture", before, after, "generated", tone, "1 bought")


def sheet_of(*cards: Card) -> Image.Image:
    return compose("Before and after", "one line", [Section("All", cards)])


def near(found: object, wanted: tuple[int, int, int]) -> bool:
    assert isinstance(found, tuple)
    return all(abs(one - other) < 12 for one, other in zip(found, wanted, strict=True))


def middle_of(number: int, *, after: bool) -> tuple[int, int]:
    """The middle of a thumbnail of the first row."""
    left = MARGIN + number * (CARD[0] + 24) + 14 + (THUMB[0] + 30 if after else 0)
    return left + THUMB[0] // 2, HEAD + SECTION + 14 + THUMB[1] // 2


def test_before_is_left_and_after_is_right() -> None:
    sheet = sheet_of(card(picture("#ff0000"), picture("#0000ff")), card(after=picture("#00ff00")))
    assert near(sheet.getpixel(middle_of(0, after=False)), (255, 0, 0))
    assert near(sheet.getpixel(middle_of(0, after=True)), (0, 0, 255))
    assert near(sheet.getpixel(middle_of(1, after=True)), (0, 255, 0))


def test_a_square_thumbnail_is_shown_whole() -> None:
    sheet = sheet_of(card(picture("#ff0000", (360, 360))))
    x, y = middle_of(0, after=False)
    assert near(sheet.getpixel((x, y)), (255, 0, 0))
    assert not near(sheet.getpixel((x - THUMB[0] // 2 + 10, y)), (255, 0, 0))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_every_form_of_picture_is_shown(form: str) -> None:
    assert near(sheet_of(card(after=picture("#ff0000", form=form))).getpixel(middle_of(0, after=True)), (255, 0, 0))


def test_the_frame_has_the_colour_of_the_state() -> None:
    sheet = sheet_of(card(tone=Tone.GIVEN_UP))
    x, y = middle_of(0, after=True)
    assert near(sheet.getpixel((x, y - THUMB[1] // 2 + 1)), (0xE5, 0x64, 0x5F))


def test_cards_fill_rows_and_sections_follow_each_other() -> None:
    one, five = Section("One", [card()]), Section("Five", [card()] * 5)
    assert COLUMNS == 4
    assert five.height > one.height + CARD[1]
    assert compose("", "", [one, five]).size == (WIDTH, HEAD + one.height + five.height + MARGIN)


@pytest.mark.parametrize("title", ["x" * 500, "", "Ночной паром 夜のフェリー 🚢", "a\nb\tc"])
def test_any_title_fits_its_card(title: str) -> None:
    sheet = sheet_of(card(title=title), card(title=title))
    gap = MARGIN + CARD[0] + 12
    column = {sheet.getpixel((gap, y)) for y in range(HEAD + SECTION, sheet.height)}
    assert column == {(0x0D, 0x10, 0x15)}, "something was drawn between two cards"


def test_it_is_written_as_jpeg() -> None:
    with Image.open(io.BytesIO(as_jpeg(sheet_of(card())))) as sheet:
        assert sheet.format == "JPEG"
        assert sheet.size == (WIDTH, HEAD + SECTION + CARD[1] + MARGIN)
