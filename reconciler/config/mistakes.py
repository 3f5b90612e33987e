"""What `tomllib` says of a file, without any text of the file, which may be a secret, but the names that are ours."""

import re

from reconciler.config.reference import keys, sections

_TWICE = ("Cannot declare", "Cannot overwrite", "Cannot redefine", "Cannot mutate", "Duplicate inline table key")
_STATEMENT = re.compile(r"\s*\[*\s*([\w.-]+)\s*[\]=]")
_SECTIONS = {name for name, _, _ in sections()}
_KEYS = {name for key in keys() for name in (key.key, key.path)}


def mistake_in(text: str, said: str) -> tuple[str, str]:
    """What is wrong with it, and what to do."""
    what, _, place = said.rpartition("(")
    place = place.rstrip(")")
    if what.startswith(_TWICE):
        name = ".".join(re.findall(r"'([^']*)'", what)) or _last_begun(text, place)
        return f"{_ours(name)} stands twice, again {place}", "Write it once, with all that belongs to it"
    return f"a mistake {place}".rstrip(), "Mend that line"


def _last_begun(text: str, place: str) -> str:
    """What is declared or set where the mistake is: the place is its end."""
    line = re.search(r"line (\d+)", place)
    lines = text.split("\n")[: int(line[1]) if line else None]
    return next((begun[1] for each in reversed(lines) if (begun := _STATEMENT.match(each))), "")


def _ours(name: str) -> str:
    if name in _SECTIONS:
        return f"[{name}]"
    return name if name in _KEYS else "a section or key"
