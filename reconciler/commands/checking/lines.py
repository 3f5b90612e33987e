"""What a check found: one line each, and the exit code that it asks for."""

from dataclasses import dataclass
from enum import StrEnum

FAILED, UNFIT = 1, 78


class Outcome(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Line:
    """One finding. `code`: the exit code that it asks for."""

    what: str
    outcome: Outcome
    said: str
    code: int = 0


def ok(what: str, said: str) -> Line:
    return Line(what, Outcome.OK, said)


def warning(what: str, said: str) -> Line:
    return Line(what, Outcome.WARNING, said)


def failed(what: str, said: str, code: int) -> Line:
    return Line(what, Outcome.FAILED, said, code)
