"""The contact sheet: every track before and after, on one picture, for people who would rather look than read."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from reconciler.demo.tones import Tone
from reconciler.demo.views import View

Box = tuple[int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

COLUMNS = 4
MARGIN, GAP = 56, 24
THUMB: Box = (260, 146)
PAD, ARROW = 14, 30
CARD: Box = (2 * PAD + 2 * THUMB[0] + ARROW, PAD + THUMB[1] + 96)
WIDTH = 2 * MARGIN + COLUMNS * CARD[0] + (COLUMNS - 1) * GAP
HEAD, SECTION = 160, 118

BACKGROUND, PANEL, WELL, EDGE = "#0d1015", "#161b23", "#0a0c10", "#2a313d"
BRIGHT, SOFT, FAINT = "#eef2f7", "#9aa5b4", "#5d6878"


@dataclass(frozen=True, slots=True)
class Card:
    title: str
    trouble: str
    before: View
    after: View
    verdict: str
    tone: Tone
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    name: str
    cards: Sequence[Card]

    @property
    def height(self) -> int:
        rows = -(-len(self.cards) // COLUMNS)
        return SECTION + rows * CARD[1] + max(rows - 1, 0) * GAP


def compose(title: str, line: str, sections: Sequence[Section]) -> Image.Image:
    height = HEAD + sum(section.height for section in sections) + MARGIN
    sheet = Image.new("RGB", (WIDTH, height), BACKGROUND)
    _head(sheet, title, line, sections)
    top = HEAD
    for section in sections:
        _section(sheet, top, section)
        top += section.height
    return sheet


def as_jpeg(sheet: Image.Image) -> bytes:
    encoded = io.BytesIO()
    sheet.save(encoded, "JPEG", quality=90, optimize=True)
    return encoded.getvalue()


# -- parts ---------------------------------------------------------------------------------------------------------


def _head(sheet: Image.Image, title: str, line: str, sections: Sequence[Section]) -> None:
    brush = ImageDraw.Draw(sheet)
    brush.text((MARGIN, 44), title, font=_font(58), fill=BRIGHT)
    brush.text((MARGIN, 122), line, font=_font(25), fill=SOFT)
    cards = [card for section in sections for card in section.cards]
    right = WIDTH - MARGIN
    for tone in reversed(Tone):
        words = f"{tone.words}  {sum(card.tone is tone for card in cards)}"
        right -= round(brush.textlength(words, font=_font(25)))
        brush.text((right, 66), words, font=_font(25), fill=SOFT)
        _dot(sheet, (right - 20, 82), tone.colour, 9)
        right -= 66


def _section(sheet: Image.Image, top: int, section: Section) -> None:
    brush = ImageDraw.Draw(sheet)
    brush.text((MARGIN, top + 54), section.name, font=_font(31), fill=BRIGHT)
    begin = MARGIN + round(brush.textlength(section.name, font=_font(31))) + 24
    brush.line((begin, top + 77, WIDTH - MARGIN, top + 77), fill=EDGE, width=2)
    for number, card in enumerate(section.cards):
        row, column = divmod(number, COLUMNS)
        place = MARGIN + column * (CARD[0] + GAP), top + SECTION + row * (CARD[1] + GAP)
        _card(sheet, place, card)


def _card(sheet: Image.Image, place: Box, card: Card) -> None:
    left, top = place
    sheet.paste(Image.new("RGB", CARD, PANEL), place, _rounded(CARD, 14))
    begin = left + PAD + THUMB[0] + ARROW
    _thumb(sheet, (left + PAD, top + PAD), card.before, EDGE)
    _arrow(sheet, (begin - ARROW // 2, top + PAD + THUMB[1] // 2), FAINT)
    _thumb(sheet, (begin, top + PAD), card.after, card.tone.colour)
    brush, below = ImageDraw.Draw(sheet), top + PAD + THUMB[1]
    inner = CARD[0] - 2 * PAD
    verdict, small = card.verdict, _font(19)
    wide = round(brush.textlength(verdict, font=small))
    brush.text((left + PAD, below + 14), _cut(card.title, _font(25), inner - wide - 50), font=_font(25), fill=BRIGHT)
    brush.text((left + CARD[0] - PAD - wide, below + 20), verdict, font=small, fill=card.tone.colour)
    _dot(sheet, (left + CARD[0] - PAD - wide - 15, below + 31), card.tone.colour, 6)
    noted = round(brush.textlength(card.note, font=small))
    brush.text((left + PAD, below + 53), _cut(card.trouble, small, inner - noted - 16), font=small, fill=SOFT)
    brush.text((left + CARD[0] - PAD - noted, below + 53), card.note, font=small, fill=FAINT)


def _thumb(sheet: Image.Image, place: Box, shown: View, edge: str) -> None:
    """The picture whole, or a well with words."""
    frame = Image.new("RGB", THUMB, WELL)
    picture = _scaled(shown.data)
    if picture is None:
        brush, font = ImageDraw.Draw(frame), _font(20)
        brush.text((THUMB[0] / 2, THUMB[1] / 2), shown.words, font=font, fill=FAINT, anchor="mm")
    else:
        frame.paste(picture, ((THUMB[0] - picture.width) // 2, (THUMB[1] - picture.height) // 2))
        _size_label(frame, shown.words)
    sheet.paste(Image.new("RGB", THUMB, edge), place, _rounded(THUMB, 8))
    inner = THUMB[0] - 4, THUMB[1] - 4
    sheet.paste(frame.crop((2, 2, inner[0] + 2, inner[1] + 2)), (place[0] + 2, place[1] + 2), _rounded(inner, 7))


def _size_label(frame: Image.Image, words: str) -> None:
    font = _font(15)
    wide = round(ImageDraw.Draw(frame).textlength(words, font=font)) + 14
    label = Image.new("RGB", (wide, 23), "#000000")
    ImageDraw.Draw(label).text((7, 2), words, font=font, fill="#ffffff")
    faded = _rounded(label.size, 6).point(lambda value: value * 6 // 10)
    frame.paste(label, (8, 8), faded)


def _scaled(data: bytes | None) -> Image.Image | None:
    if data is None:
        return None
    with Image.open(io.BytesIO(data)) as picture:
        picture.draft("RGB", THUMB)
        small = picture.convert("RGB")
    small.thumbnail(THUMB, Image.Resampling.LANCZOS)
    return small


# -- shapes --------------------------------------------------------------------------------------------------------


def _arrow(sheet: Image.Image, centre: Box, colour: str) -> None:
    def draw(brush: ImageDraw.ImageDraw, size: int) -> None:
        brush.line((size * 0.36, size * 0.22, size * 0.64, size * 0.5, size * 0.36, size * 0.78), "white", size // 9)

    _stamp(sheet, centre, 20, colour, draw)


def _dot(sheet: Image.Image, centre: Box, colour: str, radius: int) -> None:
    _stamp(sheet, centre, 2 * radius, colour, lambda brush, size: brush.ellipse((0, 0, size - 1, size - 1), "white"))


def _stamp(
    sheet: Image.Image, centre: Box, size: int, colour: str, draw: Callable[[ImageDraw.ImageDraw, int], None]
) -> None:
    """A small shape, drawn large and scaled down, since drawing knows no half pixels."""
    large = Image.new("L", (8 * size, 8 * size))
    draw(ImageDraw.Draw(large), 8 * size)
    mask = large.resize((size, size), Image.Resampling.LANCZOS)
    sheet.paste(Image.new("RGB", mask.size, colour), (centre[0] - size // 2, centre[1] - size // 2), mask)


@lru_cache
def _rounded(size: Box, radius: int) -> Image.Image:
    corner = Image.new("L", (4 * size[0], 4 * size[1]))
    ImageDraw.Draw(corner).rounded_rectangle((0, 0, 4 * size[0] - 1, 4 * size[1] - 1), 4 * radius, fill="white")
    return corner.resize(size, Image.Resampling.LANCZOS)


@lru_cache
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _cut(text: str, font: Font, wide: int) -> str:
    if font.getlength(text) <= wide:
        return text
    while text and font.getlength(f"{text}…") > wide:
        text = text[:-1]
    return f"{text.rstrip()}…"
