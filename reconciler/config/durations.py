"""Lengths of time as they are written in settings: 250ms, 90s, 20m, 6h, 14d."""

import re
from datetime import timedelta

_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_FORM = re.compile(r"([0-9]{1,12})(ms|[smhd])")
LONGEST = timedelta(days=3650)
"""Far enough from the ends of the calendar to be added to any date that occurs."""


def parse_duration(value: object) -> timedelta:
    """Raises ValueError, without the value in its text."""
    if isinstance(value, timedelta):
        return value
    match = _FORM.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('must be a duration: a whole number and a unit, such as "90s", "20m", "6h" or "14d"')
    if int(match[1]) > LONGEST / _UNITS[match[2]]:
        raise ValueError(f"must be at most {format_duration(LONGEST)}")
    return int(match[1]) * _UNITS[match[2]]


def format_duration(length: timedelta) -> str:
    """In the largest unit that divides it; what is finer than a millisecond is cut off."""
    for unit, one in _UNITS.items():
        if length >= one and not length % one:
            return f"{length // one}{unit}"
    return f"{length // _UNITS['ms']}ms" if length else "0s"
