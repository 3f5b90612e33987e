"""All the tracks of a demo."""

from itertools import count, islice, product

from reconciler.demo.answers import answers
from reconciler.demo.known import paid_for
from reconciler.demo.rows import pictures, statuses
from reconciler.demo.stage import Stage
from reconciler.demo.story import Chapter, Story

_LIGHTS = ("Silver", "Velvet", "Crimson", "Hollow", "Golden", "Quiet", "Distant", "Violet", "Northern", "Emerald")
_PLACES = ("Harbour", "Meadow", "Station", "Garden", "Avenue", "Island", "Valley", "Bridge", "Desert", "Canyon")


def cast(stage: Stage, more: int) -> tuple[Chapter, ...]:
    """Every story, and so many more tracks that merely lack a picture."""
    told = (
        Chapter("What the row shows", tuple(pictures(stage))),
        Chapter("Whose turn it is", tuple(statuses(stage))),
        Chapter("Paid for already", tuple(paid_for(stage))),
        Chapter("What Kie answers", tuple(answers(stage))),
    )
    return (*told, Chapter("The plain ones", plain(more))) if more else told


def plain(number: int) -> tuple[Story, ...]:
    names = ((f"{light} {place}", round_) for round_ in count(1) for light, place in product(_LIGHTS, _PLACES))
    return tuple(_plain(name if round_ == 1 else f"{name} {round_}") for name, round_ in islice(names, number))


def _plain(title: str) -> Story:
    return Story(title, "no picture", f"{title.lower()}, painted in soft light")
