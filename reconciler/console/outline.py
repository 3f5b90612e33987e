"""Nested values as an indented outline, and lists of checks."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from reconciler.console.text import plain

_STYLES = {"ok": "green", "warning": "yellow", "failed": "red"}


def outline(values: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """`name: value` lines; what is empty is left out."""
    for name, value in values.items():
        label = f"{indent}{plain(name, 120)}:"
        match value:
            case None | [] | {} | "":
                continue
            case dict():
                yield label
                yield from outline(value, indent + "  ")
            case list():
                yield label
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


def checked(rows: Iterable[tuple[str, str, str]]) -> RenderableType:
    """(outcome, what, said): a line each."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for outcome, what, said in rows:
        table.add_row(Text(outcome, style=_STYLES[outcome]), what, plain(said, 2000))
    return table
