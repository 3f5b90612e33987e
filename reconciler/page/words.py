"""Numbers, times and others' texts as the page shows them."""

from datetime import UTC, datetime, timedelta

from markupsafe import Markup, escape

from reconciler.domain.texts import amount, moment, plain, span

THIN = "\N{NARROW NO-BREAK SPACE}"
LONGEST_TITLE, LONGEST_ID, LONGEST_TEXT = 80, 64, 500


def grouped(number: int) -> str:
    return f"{number:,}".replace(",", THIN)


def credits(number: float) -> str:
    return amount(number).replace(",", THIN)


def counted(number: int, noun: str) -> str:
    return f"{grouped(number)} {noun}{'' if number == 1 else 's'}"


def length(time: timedelta) -> str:
    return counted(*span(time))


def age(at: datetime, now: datetime) -> str:
    """Of what was, or is to come."""
    if abs(now - at) < timedelta(seconds=1):
        return "now"
    return f"{length(now - at)} ago" if at < now else f"in {length(at - now)}"


def clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(at: datetime) -> str:
    return moment(at) or ""


def spaced(word: str) -> str:
    """A word of the code's, as one reads it."""
    return word.replace("_", " ")


def title(text: str | None) -> str:
    shown = plain((text or "").strip(), LONGEST_TITLE)
    return shown or "untitled"


def named(track_id: str) -> str:
    return plain(track_id, LONGEST_ID)


def coded(text: str) -> Markup:
    """What stands in backticks is code."""
    parts = ((escape(part), number % 2) for number, part in enumerate(plain(text, LONGEST_TEXT).split("`")))
    return Markup("").join(Markup("<code>{}</code>").format(part) if is_code else part for part, is_code in parts)


def line(text: str) -> str:
    return plain(text, LONGEST_TEXT)
