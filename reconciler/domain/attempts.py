"""What was tried for a track and what came of it, in words: the history that `explain` tells."""

from dataclasses import dataclass
from typing import assert_never

from reconciler.domain import urls
from reconciler.domain.actions import AskSong, AskTask, Fetch, ListStore, Measure, Write
from reconciler.domain.findings import Accepted, Finding, Flawed, NothingMade, Sized, Stored
from reconciler.domain.learn import Done
from reconciler.domain.model import Purchase


@dataclass(frozen=True, slots=True)
class Attempt:
    """`step` and `about`: what was done with what; `came` and `detail`: what came back. URLs are redacted."""

    step: str
    about: str
    came: str
    detail: str = ""


def attempt(done: Done, finding: Finding) -> Attempt:
    return Attempt(*_tried(done), _word(finding), _detail(finding)[:300])


def write_attempt(write: Write, came: str) -> Attempt:
    return Attempt("write", urls.redact(write.url) if write.url is not None else "resolution", came, write.how or "")


def _tried(done: Done) -> tuple[str, str]:
    match done:
        case Measure(source=source) | Fetch(source=source):
            return _word(done), urls.redact(source.name)
        case AskTask(task_id=task_id, order=order):
            return "ask_task" if order is None else "confirm_task", task_id
        case AskSong(song_id=song_id):
            return "ask_song", song_id
        case ListStore():
            return "list_store", ""
        case Purchase(model=model):
            return "buy", model
        case _:  # pragma: no cover
            assert_never(done)


def _word(value: object) -> str:
    """`NothingMade` is told as `nothing_made`."""
    name = type(value).__name__
    return name[0].lower() + "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name[1:])


def _detail(finding: Finding) -> str:
    match finding:
        case Sized(width=width, height=height) | Stored(width=width, height=height):
            return f"{width}x{height}"
        case Flawed(flaw=flaw, detail=detail):
            return f"{flaw}: {detail}"
        case Accepted(task_id=task_id):
            return task_id or "a result at once"
        case NothingMade(refusal=refusal, detail=detail):
            return f"{refusal}: {detail}"
        case _:
            return str(getattr(finding, "detail", ""))
