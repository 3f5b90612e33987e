"""What a check found: one line each."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Line:
    """One finding. `is_unfit`: the configuration, or what it names, is to be mended first."""

    what: str
    outcome: Outcome
    said: str
    is_unfit: bool = False


def ok(what: str, said: str) -> Line:
    return Line(what, Outcome.OK, said)


def warning(what: str, said: str) -> Line:
    return Line(what, Outcome.WARNING, said)


def failed(what: str, said: str) -> Line:
    return Line(what, Outcome.FAILED, said)


def unfit(what: str, said: str) -> Line:
    return Line(what, Outcome.FAILED, said, is_unfit=True)
