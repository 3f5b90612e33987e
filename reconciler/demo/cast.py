"""All the tracks of a demo."""

from itertools import count, islice, product

from reconciler.demo.answers import answers
from reconciler.demo.known import paid_for
from reconciler.demo.rows import pictures, statuses
from reconciler.demo.stage import Stage
from reconciler.demo.story import Chapter, Story

_LIGHTS = "Silver Velvet Crimson Hollow Golden Quiet Distant Violet Open Northern Drifting Marble Emerald Sleeping".split()
_PLACES = "Harbour Meadow Station Garden Avenue Island Valley Bridge Desert Window Forest Terrace Canyon Lagoon".split()


def cast(stage: Stage, tracks: int | None) -> tuple[Chapter, ...]:
    """Every story, and plain ones without a picture until there are `tracks`."""
    told = (
        Chapter("What the row shows", tuple(pictures(stage))),
        Chapter("Whose turn it is", tuple(statuses(stage))),
        Chapter("What is paid for already", tuple(paid_for(stage))),
        Chapter("What Kie answers", tuple(answers(stage))),
    )
    missing = max(0, (tracks or 0) - sum(len(chapter.stories) for chapter in told))
    return (*told, Chapter("And the plain ones", plain(missing))) if missing else told


def plain(number: int) -> tuple[Story, ...]:
    names = (
        (f"{light} {place}", round_) for round_ in count(1) for light, place in product(_LIGHTS, _PLACES)
    )
    return tuple(_plain(name if round_ == 1 else f"{name} {round_}") for name, round_ in islice(names, number))


def _plain(title: str) -> Story:
    return Story(title, "no picture", f"{title.lower()}, painted in soft light")
