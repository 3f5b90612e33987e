"""Pictures that exist already: image tasks that the app bought, and what came with the music."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from reconciler.demo.stage import Stage
from reconciler.demo.story import ADOPTED, CAME_WITH_THE_MUSIC, GENERATED, RESTORED, Ending, Story, song_id
from reconciler.domain.states import Reason, State
from reconciler.kie.simulated import GOOD_COVER, LOST_SONG, TASK_SERVER_ERROR, Operation, Reply, Rule, Song, Stall
from reconciler.kie.simulated.songs import song_record
from reconciler.kie.simulated.wire import JSON_TYPE, envelope

AWAITING = Ending(State.AWAITING, Reason.IN_FLIGHT)


def paid_for(stage: Stage) -> Iterator[Story]:
    """Nothing is bought that was bought already."""
    scene = "an old photograph in a drawer"
    yield Story("Deja Vu", "in the store, though nobody remembers", scene, RESTORED, in_store=True)
    yield from _alike(stage)
    yield from _told_by_the_app(stage)
    yield from _stuck_tasks(stage)
    yield from _music(stage)


def _noted(scene: str, *task_ids: str) -> dict[str, str | None]:
    tails = "".join(f" | image_task_id: {task_id}" for task_id in task_ids)
    return {"extended_prompt": f"soft and slow | Music: strings | Visual: {scene}{tails}"}


def _alike(stage: Stage) -> Iterator[Story]:
    scene = "a market stall full of old clocks"
    columns = _noted(scene, stage.task("task_bytedance_1765", scene))
    yield Story("Second Hand", "a task id noted behind its prompt", scene, ADOPTED, columns)
    scene = "one old clock on a blue wall"
    columns = _noted(scene, stage.task("task_bytedance_17650", scene))
    yield Story("Minute Hand", "the same id with one digit more", scene, ADOPTED, columns)
    scene = "three doors in a white wall, the third one open"
    older = stage.task("task_bytedance_2001", scene)
    newer = stage.task("task_bytedance_2002", "a closed door", TASK_SERVER_ERROR)
    columns = _noted(scene, older, newer)
    yield Story("Third Door", "two tasks noted, the newer one failed", scene, ADOPTED, columns)


def _told_by_the_app(stage: Stage) -> Iterator[Story]:
    scene = "runners passing a torch on a mountain road"
    task = stage.task("0a1b2c3d4e5f60718293a4b5c6d7e8f9", scene)
    yield Story("Relay", "its task was handed over by the app", scene, ADOPTED, handed_over=task)
    scene = "two swans on a mirror of black water"
    columns = _noted(scene, stage.task("task_bytedance_3003", scene))
    yield Story("Twin One", "shares a task with the next track", scene, ADOPTED, columns)
    yield Story("Twin Two", "shares a task with the last track", scene, ADOPTED, columns)


def _stuck_tasks(stage: Stage) -> Iterator[Story]:
    columns = _noted("a torn ticket on cobblestones", "task_of_another_account")
    yield Story("Lost Ticket", "names a task that Kie does not find", "a torn ticket", AWAITING, columns)
    scene = "a barge loaded with flowers on a wide river"
    columns = _noted(scene, stage.task("task_bytedance_4004", scene, Stall(), timedelta(hours=7)))
    yield Story("Slow Boat", "its task has been running for 7 hours", scene, GENERATED, columns)


def _music(stage: Stage) -> Iterator[Story]:
    scene = "a wrapped box on a doorstep in the snow"
    stage.song("Gift", Song(title=scene, cover=GOOD_COVER))
    yield Story("Gift", "a good picture came with the music", scene, CAME_WITH_THE_MUSIC)
    scene = "a red curtain about to rise"
    _first_success(stage, "Overture", Song(title=scene, cover=GOOD_COVER))
    yield Story("Overture", "its music is finished only later", scene, CAME_WITH_THE_MUSIC)
    stage.song("Lost Chord", LOST_SONG)
    yield Story("Lost Chord", "its music task was lost", "an organ in an empty cathedral")


def _first_success(stage: Stage, title: str, song: Song) -> None:
    """Asked the first time, one of the two songs is there; that is not final."""
    stage.song(title, song)
    half = replace(song, status="FIRST_SUCCESS", cover=None)
    record = song_record(song_id(title), half, stage.now, stage.now, stage.kie.files_url)
    reply = Reply(200, envelope(200, "success", record).body, JSON_TYPE)
    rule = Rule(behaviour=reply, operation=Operation.SUNO_RECORD, task_id=song_id(title), times=1)
    stage.kie.script.add(rule)
