"""What was tried for a track and what came of it, in words: the history that `explain` tells."""

import re
from dataclasses import dataclass
from typing import Self, assert_never

from reconciler.domain import urls
from reconciler.domain.actions import AskSong, AskTask, Fetch, Job, ListStore, Measure, Write
from reconciler.domain.case import Case
from reconciler.domain.findings import Accepted, Finding, Flawed, NothingMade, Sized, Stored
from reconciler.domain.model import Purchase


@dataclass(frozen=True, slots=True)
class Attempt:
    """`step` and `about`: what was done with what; `came` and `detail`: what came back. URLs are redacted."""

    step: str
    about: str
    came: str
    detail: str = ""


def attempt(job: Job, finding: Finding) -> Attempt:
    return Attempt(*_tried(job), _word(finding), _detail(finding)[:300])


_INSTEAD, _NOTHING, _INLINE, _DEAD = ", in place of ", "nothing", "an inline picture", "dead"


@dataclass(frozen=True, slots=True)
class Replaced:
    """What the row held before a write. `url`: redacted, '' where it held none. `size`: as `360x360`, '' where it was
    not measured."""

    url: str = ""
    size: str = ""
    inline: bool = False
    dead: bool = False

    @classmethod
    def of(cls, case: Case) -> Self:
        image, sighting = case.track.image, case.memory.sighting
        kind = urls.kind_of(image.text, case.policy)
        if kind is urls.Kind.NOTHING:
            return cls()
        size = f"{sighting.width}x{sighting.height}" if sighting and sighting.identity == image.identity else ""
        if kind is urls.Kind.INLINE:
            return cls(size=size, inline=True)
        return cls(_told(image.text or ""), size, dead=case.memory.ailing(image.identity).dead)

    @property
    def askable(self) -> str | None:
        """The URL, where it is told whole and may still answer."""
        return self.url if "://" in self.url and not (self.dead or self.url.endswith("…")) else None

    def __str__(self) -> str:
        what = _INLINE if self.inline else self.url or _NOTHING
        return " ".join(filter(None, (_DEAD if self.dead else "", self.size, what)))

    @classmethod
    def read(cls, text: str) -> Self:
        """What `__str__` wrote."""
        dead, text = text.startswith(f"{_DEAD} "), text.removeprefix(f"{_DEAD} ")
        size = found[0] if (found := re.match(r"\d+x\d+(?= )", text)) else ""
        what = text.removeprefix(size).strip()
        if what == _INLINE:
            return cls(size=size, inline=True)
        return cls("" if what == _NOTHING else what, size, dead=dead)


def _told(url: str) -> str:
    """Where something was left out, it ends with that."""
    shown = urls.redact(url)
    return shown if shown == url or shown.endswith("…") else f"{shown}?…"


def write_attempt(write: Write, came: str, replaced: Replaced) -> Attempt:
    if write.url is None:
        return Attempt("write", "resolution", came, write.how or "")
    return Attempt("write", urls.redact(write.url), came, f"{write.how or 'interim'}{_INSTEAD}{replaced}")


def written(detail: str) -> tuple[str, Replaced | None]:
    """How, and in place of what, of the detail of a picture's write. None: it was not noted then."""
    how, noted, replaced = detail.partition(_INSTEAD)
    return how, Replaced.read(replaced) if noted else None


def _tried(job: Job) -> tuple[str, str]:
    match job:
        case Measure(source=source) | Fetch(source=source):
            return _word(job), urls.redact(source.name)
        case AskTask(task_id=task_id, order=order):
            return "ask_task" if order is None else "confirm_task", task_id
        case AskSong(song_id=song_id):
            return "ask_song", song_id
        case ListStore():
            return "list_store", ""
        case Purchase(model=model):
            return "buy", model
        case _:  # pragma: no cover
            assert_never(job)


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
