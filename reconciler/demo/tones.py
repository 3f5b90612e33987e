"""One colour for each way in which a track can stand, in tables and on the contact sheet."""

from enum import Enum

from reconciler.demo.referee import Outcome
from reconciler.domain.states import State


class Tone(Enum):
    """Words, colour on the sheet, style on the terminal."""

    GOOD = ("good", "#4cc38a", "green")
    WAITING = ("waiting", "#e5a93c", "yellow")
    GIVEN_UP = ("given up", "#e5645f", "red")
    LEFT_ALONE = ("left alone", "#8290a3", "dim")

    @property
    def words(self) -> str:
        return self.value[0]

    @property
    def colour(self) -> str:
        return self.value[1]

    @property
    def style(self) -> str:
        return self.value[2]


def tone(state: State | None) -> Tone:
    match state:
        case State.OK:
            return Tone.GOOD
        case State.FAILED | State.INVALID:
            return Tone.GIVEN_UP
        case None | State.SETTLING:
            return Tone.LEFT_ALONE
        case _:
            return Tone.WAITING


_WORDS = {
    State.AWAITING: "waits for Kie",
    State.BACKING_OFF: "tried again later",
    State.FAILED: "given up",
    State.UNKNOWN: "held",
}


def told(outcome: Outcome) -> str:
    """Where the track ended, in words."""
    state, reason = outcome.ending.state, outcome.ending.reason
    match state:
        case State.OK:
            return outcome.after.words
        case None:
            return "left alone"
        case State.SETTLING:
            return "left alone for now"
        case _:
            words = _WORDS.get(state, str(state))
            return f"{words}: {reason.replace('_', ' ')}" if reason else words
