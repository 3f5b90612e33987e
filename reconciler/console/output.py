"""stdout for results, stderr for the rest. Nothing in a text is taken for markup."""

import codecs
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType


def out() -> Console:
    """What it prints was heard, or else it raises Unheard. A reader that has left has seen enough."""
    return _wide_enough(_Stdout(file=sys.stdout, markup=False, emoji=False, highlight=False))


def err() -> Console:
    return _wide_enough(Console(file=sys.stderr, markup=False, emoji=False, highlight=False))


def _wide_enough(console: Console) -> Console:
    """A width of none would show nothing at all: shells without a terminal set COLUMNS=0."""
    if console.width < 1:
        console.width = 80
    return console


class Unheard(Exception):
    """stdout takes nothing, though somebody reads it. The text says why."""


@contextmanager
def _heard() -> Iterator[None]:
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # who read it has seen enough
        pass
    except OSError as error:
        raise Unheard(f"stdout: {error.strerror}") from error


class _Stdout(Console):
    def print(self, *parts: Any, **how: Any) -> None:
        with _heard():
            super().print(*parts, **how)

    def on_broken_pipe(self) -> None:
        """The default ends the process, whatever it still has to do."""
        self.quiet = True


def show(*parts: RenderableType, soft_wrap: bool = False) -> None:
    console = out()
    for part in parts:
        console.print(part, soft_wrap=soft_wrap)


def show_text(text: str) -> None:
    """As it is, without wrapping; for texts that are harmless already. A stdout that is closed hears nothing."""
    if sys.stdout is not None:
        with _heard():
            sys.stdout.write(text)


def show_json(document: Any) -> None:
    """One document; control characters, and what stdout cannot encode, are escaped by the format itself."""
    unicode = codecs.lookup(getattr(sys.stdout, "encoding", None) or "ascii").name == "utf-8"
    show_text(json.dumps(document, indent=2, ensure_ascii=not unicode).translate(_HARMFUL) + "\n")


_HARMFUL = {
    code: f"\\u{code:04x}"
    for code in (*range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""What JSON lets through and a terminal would act on."""
