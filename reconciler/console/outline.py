"""Nested values as an indented outline, and lists of checks."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.text import Text

from reconciler.domain.texts import plain

_STYLES = {"ok": "green", "warning": "yellow", "failed": "red"}


def outline(values: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """`name: value` lines; what is empty is left out."""
    for name, value in values.items():
        label = f"{indent}{plain(name, 120)}:"
        match value:
            case None | "":
                continue
            case dict():
                inner = list(outline(value, indent + "  "))
                yield from ([label, *inner] if inner else ())
            case list():
                yield from [label] if value else ()
                for item in value:
                    yield from _item(item, indent + "  ")
            case bool():
                yield f"{label} {'yes' if value else 'no'}"
            case _:
                yield f"{label} {plain(value, 2000)}"


def _item(item: Any, indent: str) -> Iterator[str]:
    lines = list(outline(item, indent + "  ")) if isinstance(item, dict) else [f"{indent}  {plain(item)}"]
    first = lines[0][len(indent) + 2 :] if lines else ""
    yield f"{indent}- {first}"
    yield from lines[1:]


def checked(rows: Iterable[tuple[str, str, str]]) -> Iterator[Text]:
    """(outcome, what, said): a line each, never wrapped."""
    for outcome, what, said in rows:
        yield Text.assemble((f"{outcome:<8}", _STYLES[outcome]), f" {what:<14} {plain(said, 2000)}")
