"""Texts that others wrote, made harmless for terminals and logs."""

from datetime import UTC, datetime, timedelta


def plain(value: object, limit: int = 500) -> str:
    """One line, printable only: control characters are shown as escapes, and what is too long is cut."""
    text = str(value)
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in shown)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")


def moment(at: datetime | None) -> str | None:
    """ISO 8601 in UTC, to the second."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def span(time: timedelta) -> tuple[int, str]:
    """In one unit, rounded down; two of it at least, but for seconds."""
    seconds = max(int(time.total_seconds()), 0)
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size:
            return seconds // size, unit
    return seconds, "second"


def amount(credits: float) -> str:
    return f"{credits:,.2f}".rstrip("0").rstrip(".")
