"""Points in time as databases write them: read in any usual form, written in the form that is found."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

UNITS = (1, 1_000, 1_000_000)
"""How many of them a second has: numbers are seconds, milliseconds or microseconds."""
NO_SECONDS = 100_000_000_000
"""Numbers from here on are of a smaller unit. As seconds this would be the year 5138."""
_1970 = datetime(1970, 1, 1, tzinfo=UTC)


def parse(value: object) -> datetime | None:
    """Aware UTC. Naive values are UTC, numbers count from 1970, in one of `UNITS`; None for what is no time."""
    try:
        match value:
            case datetime():
                return _aware(value)
            case bool():
                return None
            case int() | float():
                return _from_epoch(value)
            case bytes():
                return parse(value.decode())
            case str():
                return _from_text(value.strip())
            case _:
                return None
    except (ValueError, OverflowError, OSError):
        return None


def own(value: datetime) -> str:
    """The form in our own tables: of fixed width, so that the order of texts is that of times."""
    return (value if value.tzinfo is UTC else value.astimezone(UTC)).isoformat(timespec="microseconds")


def from_own(value: object) -> datetime | None:
    """`parse`, quicker where it is in our form."""
    if type(value) is str:
        with suppress(ValueError):
            found = datetime.fromisoformat(value)
            if found.tzinfo is UTC:
                return found
    return parse(value)


def like(value: datetime, sample: object, declared: str) -> str | int:
    """`value` in the form of `sample`, a value of the column, else in that of its declared type."""
    value = value.astimezone(UTC)
    number = 0 if sample is None and "INT" in declared.upper() else _number(sample)
    if number is not None:
        written = (value - _1970) // timedelta(seconds=1 / _unit(number))
        return str(written) if isinstance(sample, str) else written
    text = sample if isinstance(sample, str) and parse(sample) is not None else ""
    naive = value.replace(tzinfo=None).isoformat(sep="T" if "T" in text else " ", timespec="microseconds")
    return naive + _offset(text)


def _offset(text: str) -> str:
    if text.endswith(("Z", "z")):
        return "Z"
    return "+00:00" if "+" in text or text.count("-") > 2 else ""


def _from_text(text: str) -> datetime:
    number = _number(text)
    return _aware(datetime.fromisoformat(text)) if number is None else _from_epoch(number)


def _number(value: object) -> float | None:
    """Fewer digits are a date."""
    match value:
        case str():
            digits = value.strip().replace(".", "", 1)
            return float(value) if digits.isdecimal() and len(digits) > 8 else None
        case int() | float():
            return value
        case _:
            return None


def _from_epoch(number: float) -> datetime:
    return datetime.fromtimestamp(number / _unit(number), UTC)


def _unit(number: float) -> int:
    return next((unit for unit in UNITS if abs(number) < NO_SECONDS * unit), UNITS[-1])


def _aware(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
