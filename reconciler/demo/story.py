"""One track of the demo: what is wrong with it, and how it is to end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import NAMESPACE_OID, uuid5

from reconciler.domain.states import How, Reason, State


@dataclass(frozen=True, slots=True)
class Ending:
    """`state` None: out of scope, so the row is left alone. `bought`: tasks made at Kie, refunded ones included."""

    state: State | None
    reason: Reason | None = None
    how: How | None = None
    bought: int = 0


GENERATED = Ending(State.OK, how=How.GENERATED, bought=1)
GENERATED_AT_SECOND_TRY = Ending(State.OK, how=How.GENERATED, bought=2)
ADOPTED = Ending(State.OK, how=How.ADOPTED)
REHOSTED = Ending(State.OK, how=How.REHOSTED)
RESTORED = Ending(State.OK, how=How.RESTORED)
CAME_WITH_THE_MUSIC = Ending(State.OK, how=How.SUNO)
ALREADY_GOOD = Ending(State.OK, how=How.ALREADY_GOOD)
LEFT_ALONE = Ending(None)


@dataclass(frozen=True, slots=True)
class Story:
    """`scene`: what its picture shows, and the prompt, unless `columns` say otherwise.

    `handed_over`: the id of an image task that the app tells of. `in_store`: an earlier life left its picture there.
    """

    title: str
    trouble: str
    scene: str
    ending: Ending = GENERATED
    columns: Mapping[str, str | None] = field(default_factory=dict)
    age: timedelta = timedelta(days=3)
    handed_over: str | None = None
    in_store: bool = False

    @property
    def id(self) -> str:
        return str(uuid5(NAMESPACE_OID, self.title))

    @property
    def song_id(self) -> str:
        return song_id(self.title)


@dataclass(frozen=True, slots=True)
class Chapter:
    name: str
    stories: tuple[Story, ...]


def song_id(title: str) -> str:
    """The id of the music task."""
    return uuid5(NAMESPACE_OID, f"song {title}").hex
