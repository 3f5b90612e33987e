"""Every kind of `image_url` that is met, and every status."""

import base64
from collections.abc import Iterator, Mapping
from datetime import timedelta

from reconciler.demo.stage import Stage
from reconciler.demo.story import ADOPTED, ALREADY_GOOD, LEFT_ALONE, REHOSTED, Ending, Story
from reconciler.domain.states import Reason, State
from reconciler.kie.simulated import paint

Columns = Mapping[str, str | None]

NOT_FOUND_YET = Ending(State.BACKING_OFF, Reason.DOWNLOAD_FAILED)
SETTLING = Ending(State.SETTLING)
NO_PROMPT = Ending(State.FAILED, Reason.NO_PROMPT)


def pictures(stage: Stage) -> Iterator[Story]:
    """What the row shows."""
    yield Story("Paper Lanterns", "no picture", "paper lanterns drifting over a still canal at night")
    yield Story(
        "Night Ferry",
        "an empty text; its prompt stands behind Visual:",
        "a small ferry with lit windows crossing a dark strait",
        columns={
            "image_url": "",
            "extended_prompt_image": None,
            "extended_prompt": "slow crossing | Music: warm pads, a distant horn"
            " | Visual: a small ferry with lit windows crossing a dark strait",
        },
    )
    yield from _too_small(stage)
    yield from _at_urls_that_die(stage)
    yield from _that_last(stage)
    yield from _inline()
    yield from _saved_by_mistake(stage)


def _too_small(stage: Stage) -> Iterator[Story]:
    scene = "warm rain on the copper roofs of an old town"
    url = stage.kie_file("image_5c1f.jpeg", scene, (360, 360))
    yield Story("Copper Rain", "only the thumbnail of the music", scene, columns={"image_url": url})
    scene = "a long room whose far door is very small"
    claimed = {"image_url": stage.storage_file("room.jpg", scene, (1024, 576)), "resolution": "2048x1152"}
    yield Story("Shrinking Room", "claims 2048x1152, is smaller", scene, columns=claimed)


def _at_urls_that_die(stage: Stage) -> Iterator[Story]:
    scene = "bare apple trees in a white orchard, low sun"
    columns = {"image_url": stage.kie_file("orchard.jpg", scene), "resolution": "2048x1152"}
    yield Story("Winter Orchard", "right size, at a Kie URL that will die", scene, REHOSTED, columns)
    scene = "a white salt plain under towering clouds"
    columns = {"image_url": stage.kie_file("salt.jpg", scene, gone=True), "resolution": "2048x1152"}
    yield Story("Salt Flats", "a Kie URL of 20 days ago: gone", scene, columns=columns, age=timedelta(days=20))
    scene = "a glass elevator rising through a winter garden"
    url = stage.signed(stage.storage_file("elevator.jpg", scene, gone=True), timedelta(days=2))
    columns = {"image_url": url, "resolution": "2048x1152"}
    yield Story("Glass Elevator", "a signed URL that ran out", scene, columns=columns)
    scene = "wooden boats resting on wet sand at low tide"
    url = stage.signed(stage.storage_file("tide.jpg", scene), timedelta(minutes=5))
    yield Story("Low Tide", "a signed URL, 15 minutes left", scene, REHOSTED, {"image_url": url})


def _that_last(stage: Stage) -> Iterator[Story]:
    scene = "a narrow street in amber evening light"
    columns = {"image_url": stage.storage_file("amber.jpg", scene), "resolution": "2049x1153"}
    yield Story("Amber Street", "good, but resolution says 2049x1153", scene, ALREADY_GOOD, columns)
    scene = "an empty train platform at the edge of a forest"
    columns = {"image_url": stage.storage_file("north.jpg", scene), "resolution": "2048x1152"}
    yield Story("Northern Line", "nothing: a good picture", scene, ALREADY_GOOD, columns)
    scene = "a lone tree on a plain beneath an enormous sky"
    url = stage.storage_file("sky.jpg", scene, (2560, 1440))
    yield Story("Big Sky", "larger than the app's badge wants", scene, REHOSTED, {"image_url": url})
    url = stage.missing_storage_file("path-2k.jpg")
    columns = {"image_url": url, "resolution": "2048x1152"}
    yield Story("Wishful Path", "a guessed URL that answers 404", "a path into the hills", NOT_FOUND_YET, columns)


def _inline() -> Iterator[Story]:
    scene = "an open window and a curtain moving in the wind"
    url = _data_url("image/png", paint(scene, 2048, 1152, "JPEG"))
    yield Story("Inside Voice", "inline: a JPEG that calls itself PNG", scene, REHOSTED, {"image_url": url})
    scene = "half a moon above a quiet harbour"
    url = _data_url("image/jpeg", paint(scene, 1024, 576, "JPEG")[:9000])
    yield Story("Half a Moon", "inline, and cut off in the middle", scene, columns={"image_url": url})


def _data_url(declared: str, data: bytes) -> str:
    return f"data:{declared};base64,{base64.b64encode(data).decode()}"


def _saved_by_mistake(stage: Stage) -> Iterator[Story]:
    scene = "bare branches against a red evening"
    task = stage.task("task_bytedance_1765190211003", scene)
    yield Story("Bare Branches", "a task id saved as its URL", scene, ADOPTED, {"image_url": task})
    scene = "a mosaic of six-sided tiles in green and gold"
    task = stage.task("8f14e45fceea167a5a36dedd4bea2543", scene)
    yield Story("Hexagons", "a task id of 32 digits saved as its URL", scene, ADOPTED, {"image_url": task})


def statuses(stage: Stage) -> Iterator[Story]:
    """Who may be touched, and from which words a prompt is made."""
    told = {"mood": "wistful", "vibe": "attic dust in late sun", "summary": "Letters found after forty years."}
    yield Story(
        "Old Letters",
        "pending though finished; prompt from its mood",
        "",
        columns={"status": "pending", "extended_prompt_image": None, **told},
        age=timedelta(days=400),
    )
    music = "slow felt piano over tape hiss, brushed drums, a cello far away"
    yield Story(
        "Untitled Track 7",
        "no status; prompt from the music's",
        "",
        columns={"status": None, "extended_prompt_image": None, "prompt": music},
        age=timedelta(days=500),
    )
    no_words = {"extended_prompt_image": None}
    yield Story("Untitled Track 8", "nothing to make a prompt from", "", NO_PROMPT, no_words)
    yield Story(
        "Just Now", "five minutes old: within grace", "a match being struck", SETTLING, age=timedelta(minutes=5)
    )
    silent: Columns = {"audio_url": None}
    seen: Columns = {"image_url": stage.storage_file("attic.jpg", "a window in an attic")}
    for title, status, more in (
        ("Blank Tape", "pending", silent),
        ("Half Written", "processing", silent),
        ("Broken String", "failed", {}),
        ("Attic", "archived", {}),
        ("Attic Window", "archived", seen),
        ("Loose Ends", "callback_inserted", {}),
    ):
        trouble = f"{status}{_added(more)}: not ours to touch"
        yield Story(title, trouble, f"a still life called {title.lower()}", LEFT_ALONE, {"status": status, **more})


def _added(columns: Columns) -> str:
    if "audio_url" in columns:
        return " without audio"
    return " with a picture" if "image_url" in columns else ""
