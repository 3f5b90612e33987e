"""What Kie answers to an order, as far as it can be shown in a minute without shutting the shop for everybody."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from reconciler.demo.stage import Stage
from reconciler.demo.story import GENERATED, GENERATED_AT_SECOND_TRY, Ending, Story
from reconciler.domain.states import Reason, State
from reconciler.kie.simulated import (
    CONTENT_REFUSED,
    CONTENT_REFUSED_AT_ONCE,
    FAILED_AT_ONCE,
    LOST,
    TOO_FREQUENT,
    AnswerPicture,
    Break,
    Fault,
    NotFound,
    ResultForm,
    Song,
    Stall,
    Succeed,
    page,
)
from reconciler.kie.simulated.behaviour import Behaviour

SOON = timedelta(seconds=1)
REFUSED = replace(CONTENT_REFUSED, run=SOON)
LATE = Song(status="SUCCESS", cover=None, ready_after=timedelta(seconds=2))
"""Keeps a track from buying at once: before its first good result a model is trusted with three orders only, and those
whose results never come must not be the three."""


def answers(stage: Stage) -> Iterator[Story]:
    """What Kie answers. Who needs several orders comes late: those are not held back until the first good result."""
    yield from _odd_results(stage)
    yield from _faults(stage)
    yield from _wrong_results(stage)
    yield from _refusals(stage)


def _when(stage: Stage, scene: str, behaviour: Behaviour, operation: str | None = None, times: int = 1) -> str:
    """The next so many calls, files or tasks of this prompt show the behaviour."""
    stage.kie.script.when(behaviour, operation=operation, prompt_contains=scene, times=times)
    return scene


def _refusals(stage: Stage) -> Iterator[Story]:
    script = stage.kie.script
    scene = "Mickey Mouse rowing across a silver lake at dusk"
    script.when(REFUSED, prompt_contains="Mickey Mouse")
    yield Story("Matinee", "refused; a softened prompt passes", scene, GENERATED_AT_SECOND_TRY)
    script.when(CONTENT_REFUSED_AT_ONCE, operation="create", prompt_contains="Banksy")
    script.when(REFUSED, prompt_contains="undertow pulling")
    yield Story(
        "Undertow",
        "refused twice; a neutral prompt passes",
        "the undertow pulling at a pier, mural by Banksy",
        GENERATED_AT_SECOND_TRY,
        {"mood": "restless", "vibe": "grey swell"},
    )
    _when(stage, "velvet smoke", CONTENT_REFUSED_AT_ONCE, "create", times=2)
    yield Story(
        "Plan B",
        "refused by the model, taken by the next",
        "velvet smoke curling over an empty stage",
        columns={"mood": "late", "vibe": "velvet smoke"},
    )
    script.when(CONTENT_REFUSED_AT_ONCE, operation="create", prompt_contains="thunder choir")
    yield Story(
        "No Entry",
        "refused however it is put",
        "a thunder choir above the plain",
        Ending(State.FAILED, Reason.CONTENT_REJECTED),
        {"mood": "stern", "vibe": "thunder choir"},
    )
    scene = _when(stage, "a sprinter in the starting blocks, early morning", FAILED_AT_ONCE)
    yield Story("False Start", "its task fails at once; refunded", scene, GENERATED_AT_SECOND_TRY)
    scene = _when(stage, "headlights on a bridge in the blue hour", TOO_FREQUENT, "create")
    yield Story("Rush Hour", "ordered too fast for Kie", scene)


def _odd_results(stage: Stage) -> Iterator[Story]:
    scene = _when(stage, "an echo drawn as rings on a pond", AnswerPicture(), "create")
    trouble = "the order is answered with the picture itself"
    yield Story("Quick Reply", trouble, scene, age=timedelta(hours=20))  # found first, being new: proves the model
    for title, trouble, scene, done in (
        ("Six Doors", "six results for one order", "six painted doors along a seaside lane", Succeed(count=6)),
        ("Wide Angle", "the result is 2560x1440", "a valley seen from a cliff", Succeed(width=2560, height=1440)),
        ("Wrong Label", "a PNG that is named .jpg", "jars with paper labels", Succeed(format="PNG", extension=".jpg")),
        ("No Label", "a WebP without an ending", "a letter without a stamp", Succeed(format="WEBP", extension="")),
        (
            "Odd Words",
            "an unknown state, its result in another form",
            "a blackboard full of strange signs",
            Succeed(running_state="percolating", result=ResultForm.OBJECT, run=timedelta(seconds=5)),
        ),
    ):
        yield Story(title, trouble, _when(stage, scene, done))


def _wrong_results(stage: Stage) -> Iterator[Story]:
    for title, trouble, scene, outcome, ending in (
        (
            "Empty Frame",
            "success without a picture, paid all the same",
            "a gilded frame with nothing in it",
            Succeed(result=ResultForm.EMPTY_LIST, run=SOON),
            GENERATED_AT_SECOND_TRY,
        ),
        (
            "Postcard",
            "the first result is too small",
            "a postcard of a white cliff",
            Succeed(width=1024, height=576, run=SOON),
            GENERATED_AT_SECOND_TRY,
        ),
        (
            "Almost There",
            "waiting for ever, with a URL that is no result",
            "a lighthouse seen through fog",
            Stall(with_url=True),
            replace(GENERATED, state=State.AWAITING, reason=Reason.IN_FLIGHT, how=None),
        ),
    ):
        stage.song(title, LATE)
        yield Story(title, trouble, _when(stage, scene, outcome), ending)


def _faults(stage: Stage) -> Iterator[Story]:
    scene = _when(stage, "a cable car high above a gorge", Break(Fault.CUT_HALF), "file")
    yield Story("Snapped Cable", "the first download breaks off", scene)
    scene = "an angler on a jetty before sunrise"
    stage.kie.script.when(NotFound(), operation="record", prompt_contains=scene, times=1)
    stage.kie.script.when(page(502), operation="record", prompt_contains=scene, skip=1, times=1)
    yield Story("Patience", "not found at first, then an error page", scene)
    stage.song("Silence", LATE)
    scene = _when(stage, "snow falling on a telephone box", LOST, "create")
    unknown = replace(GENERATED, state=State.UNKNOWN, reason=Reason.UNKNOWN_PURCHASE, how=None)
    yield Story("Silence", "the answer to its order is lost", scene, unknown)
