"""Promise 9: a fault is never taken for "there is no image", nor the other way round.

Every kind of fault befalls every step, for hours. Meanwhile nothing is bought in place of what is there, nothing is
called dead and nobody is given up; when it ends, the track is helped by what was there all the time.
"""

import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from reconciler.domain.findings import Flawed
from reconciler.domain.model import TaskState
from reconciler.domain.states import How, Reason, State
from reconciler.engine.events import Result
from reconciler.images.fit import prepare
from reconciler.kie.simulated import (
    LOST,
    MAINTENANCE,
    NO_CREDITS,
    RATE_LIMITED,
    SERVER_ERROR,
    TOO_FREQUENT,
    UNAUTHORIZED,
    Break,
    Face,
    Fault,
    NotFound,
    OmitTaskId,
    Operation,
    Refuse,
    Reply,
    Rule,
    Song,
    Succeed,
    belongs_to,
    page,
    paint,
)
from reconciler.kie.simulated.behaviour import Answer
from reconciler.ports import StoreError
from reconciler.testing.world import World

TASK, SONG = "a1" * 16, "c3" * 16
LONG = timedelta(hours=14)
"""Longer than a task may take, so that it is not replaced while nobody can ask for it."""
RECOVERY = timedelta(hours=7)
"""Longer than the longest pause between two tries."""
CDN = "https://cdn.example"
DONE = Succeed(width=640, height=360, run=timedelta(0))

SILENT: dict[str, Answer] = {
    "time-out": Break(Fault.DRIP),
    "cut": Break(Fault.CUT),
    "half": Break(Fault.CUT_HALF),
    "502 page": page(502),
    "429 page": page(429),
    "401 page": page(401),
}
"""Of any server."""

GARBLED: dict[str, Answer] = {
    "malformed": Reply(200, b'{"code": 200, "data": {"state": "succ', "application/json"),
    "html with 200": Reply(200, b"<html><body>All is well</body></html>"),
    "403 page": page(403),
    "404 page": page(404),
    "data of another form": Reply(200, b'{"code": 200, "msg": "success", "data": [1]}', "application/json"),
    "an unknown code": Reply(200, b'{"code": 299, "msg": "success", "data": null}', "application/json"),
    "not found by the edge": Reply(502, b'{"code": 404, "msg": "not found", "data": null}', "application/json"),
}
REFUSED: dict[str, Answer] = {
    "key refused": UNAUTHORIZED,
    "rate limited": RATE_LIMITED,
    "too frequent": TOO_FREQUENT,
    "no credits": NO_CREDITS,
    "maintenance": MAINTENANCE,
    "server error": SERVER_ERROR,
    "upstream outage": Refuse(422, "generate playground failed, task id is blank"),
}
ASKING = {**SILENT, **GARBLED, **REFUSED}

CLEAR: dict[str, Answer] = {
    "403": page(403),
    "404": page(404),
    "404 within 400": Reply(400, b'{"statusCode":"404","error":"not_found"}', "application/json"),
    "html with 200": Reply(200, b"<html><body>gone</body></html>"),
    "empty with 200": Reply(200, b"", "image/jpeg"),
    "a line of text with 200": Reply(200, b"Too many connections", "image/jpeg"),
    "zeros with 200": Reply(200, bytes(500), "image/jpeg"),
    "a page with a drawing with 200": Reply(200, b"<!DOCTYPE html><body><svg/> Down", "text/html"),
}
"""A clear no, of a file; believed only after three over a day, or past the file's known life."""

FETCHING = {**SILENT, **CLEAR}


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world(retry_min=timedelta(minutes=15))


def named(faults: dict[str, Answer]) -> pytest.MarkDecorator:
    """The first of a kind is tried always, the others by the slow tests."""
    slow = [()] + [pytest.mark.slow] * len(faults)
    params = [pytest.param(each, id=name, marks=slow[n]) for n, (name, each) in enumerate(faults.items())]
    return pytest.mark.parametrize("fault", params)


def befall(
    world: World, operation: Operation, fault: Answer, length: timedelta = LONG, path: str | None = None
) -> None:
    until = world.clock() + length
    world.kie.script.add(Rule(behaviour=fault, operation=operation, until=until, path_contains=path))


def live(world: World, length: timedelta, **bounds: Any) -> Result:
    """A run, and what is left of the time after it."""
    until = world.clock() + length
    result = world.run(length, **bounds)
    world.pass_time(max(until - world.clock(), timedelta(0)))
    return result


def memory_of(world: World) -> Any:
    database = world.open("observer")
    try:
        return database.leases.peek("t").memory
    finally:
        database.close()


def undecided(world: World, result: Result, *, creations: int = 0) -> None:
    """Nothing was concluded from the fault."""
    memory = memory_of(world)
    assert not any(state is State.FAILED for state, _ in result.states), result.states
    assert not [name for name, ailment in memory.ailments.items() if ailment.dead or ailment.flaw]
    assert not [task for task in memory.tasks.values() if task.state in (TaskState.GONE, TaskState.FAILED)]
    assert len(world.kie.book.creations) == creations
    assert result.mistakes == 0


def recovered(world: World, text: str, *, creations: int = 0) -> Result:
    result = world.run(RECOVERY)
    assert result.states == {(State.OK, None): 1}
    assert len(world.kie.book.creations) == creations
    assert belongs_to(shown(world), text)
    return result


def shown(world: World) -> bytes:
    return world.picture("t") or paint(world.row("t")["image_url"].rpartition("/")[2], 640, 360)


# -- each fault, each step -----------------------------------------------------------------------------------------


@named(FETCHING)
def test_measuring_a_lasting_picture(world: World, fault: Answer) -> None:
    world.kie.add_file("/covers/x.jpg", text="x.jpg", size=(640, 360))
    world.add("t", image_url=f"{CDN}/covers/x.jpg", resolution="2048x1152")
    befall(world, Operation.FILE, fault)
    undecided(world, live(world, LONG - timedelta(hours=1)))
    assert recovered(world, "x.jpg").resolved == {How.ALREADY_GOOD: 1}
    assert world.row("t")["image_url"] == f"{CDN}/covers/x.jpg"


@named(FETCHING)
def test_measuring_a_known_good_picture_again(world: World, fault: Answer) -> None:
    world.kie.add_file("/covers/x.jpg", text="x.jpg", size=(640, 360))
    world.add("t", image_url=f"{CDN}/covers/x.jpg")
    world.run()
    world.pass_time(timedelta(days=2))
    befall(world, Operation.FILE, fault)
    result = live(world, LONG - timedelta(hours=1))
    undecided(world, result)
    assert result.states == {(State.OK, None): 1}
    assert memory_of(world).ailments
    recovered(world, "x.jpg")
    assert not memory_of(world).ailments


@named(FETCHING)
def test_fetching_a_picture_that_dies(world: World, fault: Answer) -> None:
    url = world.kie.add_file("/p/x.jpg", text="dying", size=(640, 360))
    world.add("t", image_url=url)
    befall(world, Operation.FILE, fault)
    undecided(world, live(world, LONG - timedelta(hours=1)))
    assert recovered(world, "dying").resolved == {How.REHOSTED: 1}


@named(ASKING)
def test_asking_a_task_that_somebody_else_bought(world: World, fault: Answer) -> None:
    world.kie.add_task(TASK, prompt="adopted", behaviour=DONE)
    world.add("t", extended_prompt=f"x | image_task_id: {TASK}")
    befall(world, Operation.RECORD, fault)
    undecided(world, live(world, LONG - timedelta(hours=1)))
    assert recovered(world, "adopted").resolved == {How.ADOPTED: 1}


@named(ASKING)
def test_asking_our_own_task(world: World, fault: Answer) -> None:
    world.add("t", extended_prompt_image="our own")
    befall(world, Operation.RECORD, fault)
    undecided(world, live(world, LONG - timedelta(hours=1)), creations=1)
    recovered(world, "our own", creations=1)


@pytest.mark.parametrize("face", Face)
def test_a_young_task_that_is_not_found(world: World, face: Face) -> None:
    world.add("t", extended_prompt_image="our own")
    befall(world, Operation.RECORD, NotFound(face), timedelta(minutes=20))
    undecided(world, live(world, timedelta(minutes=15)), creations=1)
    recovered(world, "our own", creations=1)


@pytest.mark.slow
def test_a_young_task_that_is_not_found_for_longer_than_a_task_may_take(world: World) -> None:
    world.add("t", extended_prompt_image="our own")
    befall(world, Operation.RECORD, NotFound())
    undecided(world, live(world, LONG - timedelta(hours=1)), creations=1)
    recovered(world, "our own", creations=1)


class Late:
    """The real Kie, whose answers to orders are heard only after another process has taken the track over."""

    def __init__(self, world: World, kie: Any) -> None:
        self._world, self._kie = world, kie

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kie, name)

    def create(self, *order: Any, **more: Any) -> Any:
        answer = self._kie.create(*order, **more)
        self._world.pass_time(self._world.policy.lease)
        self._world.run(timedelta(seconds=1), owner="other")
        return answer


def test_a_young_task_that_is_not_found_of_an_order_that_was_answered_late(world: World) -> None:
    world.add("t", extended_prompt_image="our own")
    befall(world, Operation.RECORD, NotFound())
    world.run(timedelta(minutes=5), wrap=lambda name, port: Late(world, port) if name == "kie" else port)
    undecided(world, live(world, LONG - timedelta(hours=1)), creations=1)
    recovered(world, "our own", creations=1)


@named(ASKING)
def test_asking_the_song(world: World, fault: Answer) -> None:
    world.kie.add_song(SONG, Song(title="of the song", cover=(640, 360)))
    world.add("t", task_id=SONG)
    befall(world, Operation.SUNO_RECORD, fault)
    undecided(world, live(world, LONG - timedelta(hours=1)))
    assert recovered(world, "of the song").resolved == {How.SUNO: 1}


@named(FETCHING)
def test_downloading_a_result(world: World, fault: Answer) -> None:
    world.add("t", extended_prompt_image="our own")
    befall(world, Operation.FILE, fault)
    result = live(world, LONG - timedelta(hours=1))
    undecided(world, result, creations=1)
    assert result.states == {(State.FETCHING, Reason.DOWNLOAD_FAILED): 1}
    recovered(world, "our own", creations=1)


@pytest.mark.parametrize("cut_at", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_downloading_a_result_that_came_damaged_twice(world: World, form: Any, cut_at: float) -> None:
    """Truncated bytes may be the transfer's fault."""
    whole = paint("our own", 640, 360, form)
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=640, height=360, format=form, run=timedelta(0)))
    damaged = Reply(200, whole[: int(len(whole) * cut_at)], f"image/{form.lower()}")
    world.kie.script.next(Operation.FILE, damaged, damaged)
    world.add("t", extended_prompt_image="our own")
    recovered(world, "our own", creations=1)
    assert len(world.kie.book.visits_of("file")) == 3


@named(REFUSED | {"403 page": page(403), "429 page": page(429)})
def test_creating_when_nothing_is_made(world: World, fault: Answer) -> None:
    world.add("t", extended_prompt_image="at last")
    befall(world, Operation.CREATE, fault, timedelta(minutes=2))
    result = live(world, timedelta(seconds=100))
    assert not any(state is State.FAILED for state, _ in result.states), result.states
    assert not world.kie.book.purchases
    result = world.run(RECOVERY)
    assert result.states == {(State.OK, None): 1}
    assert len(world.kie.book.purchases) == 1


LOST_ANSWERS: dict[str, Answer] = {
    "time-out": Break(Fault.HANG, done=True),
    "cut": LOST,
    "half": Break(Fault.CUT_HALF, done=True),
    "502 page": page(502, done=True),
    "408 page": page(408, done=True),
    "malformed": Reply(200, b'{"code": 200, "data"', "application/json", done=True),
    "html with 200": Reply(200, b"<html></html>", done=True),
    "no task id": OmitTaskId(),
    "a server error by the edge": Reply(
        503, b'{"code": 400, "msg": "no", "data": null}', "application/json", done=True
    ),
}


@named(LOST_ANSWERS)
def test_creating_when_the_answer_is_lost(world: World, fault: Answer) -> None:
    """It is not taken for "nothing was made" until the hold is over, and then repeated once."""
    world.add("t", extended_prompt_image="at last")
    world.kie.script.next(Operation.CREATE, fault)
    result = live(world, timedelta(minutes=55))
    assert result.states == {(State.UNKNOWN, Reason.UNKNOWN_PURCHASE): 1}
    assert len(world.kie.book.creations) == 1
    result = live(world, timedelta(hours=2))
    assert result.states == {(State.OK, None): 1}
    assert (result.repeats, len(world.kie.book.creations)) == (1, 2)


@named(SILENT | GARBLED | REFUSED)
def test_reading_the_balance(world: World, fault: Answer) -> None:
    """A balance that cannot be read is neither none nor enough."""
    world.add("t", extended_prompt_image="at last")
    befall(world, Operation.CREDIT, fault, timedelta(hours=3))
    undecided(world, live(world, timedelta(hours=2)))
    recovered(world, "at last", creations=1)


# -- the store -----------------------------------------------------------------------------------------------------


class Failing:
    """A store of which one method fails until told otherwise."""

    def __init__(self, store: Any, method: str) -> None:
        self._store, self._method = store, method

    def __getattr__(self, name: str) -> Any:
        return self._fail if name == self._method else getattr(self._store, name)

    def _fail(self, *_: object) -> Any:
        raise StoreError(f"{self._method}: the disk does not answer; check it")


def failing(method: str) -> Callable[[str, Any], Any]:
    return lambda name, port: Failing(port, method) if name == "store" else port


def test_the_store_fails_while_a_result_is_stored(world: World) -> None:
    world.add("t", extended_prompt_image="our own")
    result = live(world, LONG, wrap=failing("put"))
    undecided(world, result, creations=1)
    assert result.states == {(State.FETCHING, Reason.STORAGE_FAILED): 1}
    recovered(world, "our own", creations=1)


@pytest.mark.slow
def test_the_store_fails_while_a_result_is_stored_for_weeks(world: World) -> None:
    """It is no fault of the track's, so nobody is given up for it."""
    world.add("t", extended_prompt_image="our own")
    undecided(world, live(world, timedelta(days=10), wrap=failing("put")), creations=1)
    recovered(world, "our own", creations=1)


def test_the_store_fails_while_the_rows_own_picture_is_measured(world: World) -> None:
    world.add("t", extended_prompt_image="our own")
    world.run()
    world.pass_time(timedelta(days=40))
    result = live(world, LONG, wrap=failing("get"))
    undecided(world, result, creations=1)
    assert result.states == {(State.OK, None): 1}
    recovered(world, "our own", creations=1)


def test_the_store_fails_while_a_picture_is_to_be_restored(world: World) -> None:
    world.add("t", extended_prompt_image="our own")
    world.run()
    world.sql("UPDATE tracks SET image_url = NULL")
    world.pass_time(timedelta(hours=1))
    undecided(world, live(world, LONG, wrap=failing("get")), creations=1)
    assert recovered(world, "our own", creations=1).resolved == {How.RESTORED: 1}


class OneBad:
    """A store that cannot read one of its pictures."""

    def __init__(self, store: Any, bad: str) -> None:
        self._store, self._bad = store, bad

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get(self, key: str) -> Any:
        if key == self._bad:
            raise StoreError(f"get: {key} cannot be read; check the disk")
        return self._store.get(key)


@pytest.mark.parametrize("bad", [0, 1])
def test_one_stored_picture_that_cannot_be_read_hides_no_other(world: World, bad: int) -> None:
    world.run()
    for text in ("one", "another"):
        picture = prepare(paint(text, 640, 360, "JPEG"), world.policy.target, interim=False)
        assert not isinstance(picture, Flawed)
        world.store.put("t", picture)
    keys = world.store.keys("t")
    world.add("t")
    result = world.run(wrap=lambda name, port: OneBad(port, keys[bad]) if name == "store" else port)
    assert result.states == {(State.OK, None): 1}
    assert world.row("t")["image_url"] == world.policy.url_of(keys[1 - bad])
    assert not world.kie.book.creations


@pytest.mark.parametrize("method", ["keys", "check"])
def test_the_store_fails_before_anything_is_bought(world: World, method: str) -> None:
    world.add("t", extended_prompt_image="at last")
    undecided(world, live(world, LONG, wrap=failing(method)))
    recovered(world, "at last", creations=1)


def test_a_store_without_its_marker_is_no_empty_store(world: World) -> None:
    world.add("t", extended_prompt_image="our own")
    world.run()
    world.sql("UPDATE tracks SET image_url = NULL")
    world.pass_time(timedelta(hours=1))
    undecided(world, live(world, LONG, wrap=failing("check")), creations=1)
    recovered(world, "our own", creations=1)


# -- the other way round -------------------------------------------------------------------------------------------


def bought_instead(world: World, result: Result) -> None:
    assert result.states == {(State.OK, None): 1}
    assert result.resolved == {How.GENERATED: 1}
    assert len(world.kie.book.purchases) == 1
    assert Image.open(io.BytesIO(world.picture("t") or b"")).size == (640, 360)


@named(CLEAR)
def test_three_clear_refusals_over_a_day_are_believed(world: World, fault: Answer) -> None:
    world.kie.add_file("/covers/x.jpg", size=(640, 360))
    world.add("t", image_url=f"{CDN}/covers/x.jpg", age=timedelta(days=300))
    befall(world, Operation.FILE, fault, path="/covers/", length=timedelta(days=30))
    undecided(world, live(world, timedelta(hours=23)))
    bought_instead(world, live(world, timedelta(hours=8)))


def test_faults_in_between_neither_count_nor_reset_the_count(world: World) -> None:
    world.add("t", image_url=f"{CDN}/covers/none.jpg")
    world.kie.script.clear()
    world.kie.script.when(DONE)
    gone, broken = page(404), page(502)
    for answer in (gone, broken, broken, broken, broken, broken, broken, broken, broken, broken, gone):
        world.kie.script.add(Rule(behaviour=answer, operation=Operation.UNKNOWN, path_contains="/covers/", times=1))
    world.kie.script.add(Rule(behaviour=gone, operation=Operation.UNKNOWN, path_contains="/covers/"))
    live(world, timedelta(hours=23))
    assert not world.kie.book.creations
    bought_instead(world, live(world, timedelta(hours=24)))


def test_a_file_past_its_known_life_needs_one_refusal(world: World) -> None:
    url = world.kie.add_file("/p/x.jpg", size=(640, 360), life=timedelta(0))
    world.add("t", image_url=url, age=timedelta(days=15))
    bought_instead(world, world.run())


def test_a_file_within_its_known_life_needs_three(world: World) -> None:
    url = world.kie.add_file("/p/x.jpg", size=(640, 360), life=timedelta(0))
    world.add("t", image_url=url, age=timedelta(days=10))
    undecided(world, live(world, timedelta(hours=23)))
    bought_instead(world, live(world, timedelta(hours=8)))


def test_a_presigned_url_past_its_date_needs_one_refusal(world: World) -> None:
    signed = f"X-Amz-Date={world.clock() - timedelta(hours=1):%Y%m%dT%H%M%SZ}&X-Amz-Expires=1200&X-Amz-Signature=ab"
    world.kie.add_file("/covers/x.jpg", size=(640, 360), life=timedelta(0))
    world.add("t", image_url=f"https://acc.r2.cloudflarestorage.com/covers/x.jpg?{signed}", resolution="2048x1152")
    bought_instead(world, world.run())


@pytest.mark.parametrize("face", Face)
def test_a_task_of_unknown_age_that_is_never_found_is_gone(make_world: Callable[..., World], face: Face) -> None:
    world = make_world()
    world.add("t", extended_prompt=f"x | image_task_id: {TASK}")
    world.kie.script.when(NotFound(face), task_id=TASK)
    undecided(world, live(world, timedelta(minutes=9)))
    bought_instead(world, live(world, timedelta(minutes=30)))


def test_a_song_that_is_not_known_is_not_waited_for(world: World) -> None:
    world.add("t", task_id=SONG)
    bought_instead(world, world.run())


def test_a_song_that_was_lost_is_not_waited_for(world: World) -> None:
    world.kie.add_song(SONG, Song(status="PENDING", error_code=413, error_message="matches an existing work"))
    world.add("t", task_id=SONG)
    bought_instead(world, world.run())


@pytest.mark.parametrize(
    "befalls", [Path.unlink, lambda file: file.write_bytes(b"others")], ids=["no such file", "named, of other bytes"]
)
def test_a_stored_picture_that_is_surely_gone_is_replaced(world: World, befalls: Callable[[Path], object]) -> None:
    """The store answers, has its marker, and says so three times over a day."""
    world.add("t", extended_prompt_image="our own")
    world.run()
    key = world.policy.key_of(world.row("t")["image_url"]) or ""
    befalls(world.path.parent / "images" / key)
    world.pass_time(timedelta(days=60))
    live(world, timedelta(hours=23))
    assert len(world.kie.book.purchases) == 1
    result = live(world, timedelta(days=2))
    assert result.states == {(State.OK, None): 1}
    assert belongs_to(world.picture("t") or b"", "our own")
    assert len(world.kie.book.purchases) == 2


@pytest.mark.slow
@named(SILENT)
def test_a_week_of_nothing_but_faults_is_given_up_and_said(world: World, fault: Answer) -> None:
    world.kie.add_file("/covers/x.jpg", size=(640, 360))
    world.add("t", image_url=f"{CDN}/covers/x.jpg")
    befall(world, Operation.FILE, fault, timedelta(days=30))
    undecided(world, live(world, timedelta(days=6)))
    result = live(world, timedelta(days=2))
    assert result.states == {(State.FAILED, Reason.DOWNLOAD_FAILED): 1}
    assert not world.kie.book.creations
