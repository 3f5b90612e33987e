"""Promise 13: hostile bytes and texts are harmless.

Whatever a row, an answer or a file holds: the run ends, nothing is raised, an honest track beside it is helped, and
what is told of it can be printed.
"""

import io
import random
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from datetime import timedelta
from typing import Any

import pytest
from PIL import Image

from reconciler.domain.states import Flaw, Reason, State
from reconciler.engine.events import Event, Mistake, Result
from reconciler.images.addresses import vetting
from reconciler.images.pictures import WebPictures
from reconciler.kie.simulated import Refuse, Reply, Song, Succeed, belongs_to, paint
from reconciler.testing.handler import handler_for
from reconciler.testing.world import World
from reconciler.transport import Reply as Answer
from reconciler.transport import Request, Transport
from tests.hostile.bodies import BODIES, DEAR, PAINTING, SIZE
from tests.hostile.bounds import memory, processor_time

MEGABYTE = 1_000_000
MEMORY = 250_000_000
"""Bytes that one run may take beyond what was taken before."""
SECONDS = 90
"""Of the processor, likewise."""
CONTROLS = "".join(map(chr, [*range(32), 127, 0x85, 0x9B, 0x2028, 0x202E, 0xFEFF]))


def honest(world: World) -> None:
    world.add("honest", extended_prompt_image="an honest lake")


def survived(world: World, length: timedelta = timedelta(minutes=30)) -> Result:
    with memory(MEMORY), processor_time(SECONDS):
        result = world.run(length)
    assert result.mistakes == 0, [event for event in world.events if isinstance(event, Mistake)]
    assert world.row("honest")["resolution"] == "640x360"
    assert belongs_to(world.picture("honest") or b"", "an honest lake")
    assert not [text for event in world.events for text in details(event) if not printable(text)]
    assert not world.kie.book.errors
    return result


def details(event: Event) -> Iterator[str]:
    """What is told for people to read, wherever it stands in an event."""
    waiting: list[Any] = [event]
    while waiting:
        each = waiting.pop()
        if is_dataclass(each):
            for field in fields(each):
                value = getattr(each, field.name)
                if field.name in ("detail", "word") and isinstance(value, str):
                    yield value
                waiting.append(value)


def printable(text: str) -> bool:
    return len(text) <= 1000 and all(letter.isprintable() for letter in text)


# -- rows ----------------------------------------------------------------------------------------------------------

TEXTS = (
    *("title", "prompt", "mood", "vibe", "summary", "extended_prompt", "extended_prompt_image"),
    *("audio_url", "image_url", "resolution", "task_id"),
)
HOSTILE: dict[str, Any] = {
    "control characters": CONTROLS + "lake" + CONTROLS,
    "a megabyte": "x" * MEGABYTE,
    "a megabyte of words": "lake " * (MEGABYTE // 5),
    "a megabyte of marks": " | Visual: | image_task_id: " * (MEGABYTE // 28),
    "not a text": b"\x00\xff\xfe",
    "a number": 7,
    "a megabyte of url": "https://cdn.example/" + "a" * MEGABYTE,
    "a query": "'; DROP TABLE tracks; --",
    "markup": "[bold red]<script>alert(1)</script>{0}%s",
    "half a letter": "\ud83d".encode("utf-8", "surrogatepass").decode("utf-8", "replace") + "\x00",
}


@pytest.mark.slow
def test_any_text_in_any_column_harms_nobody(world: World) -> None:
    for name, value in HOSTILE.items():
        for column in TEXTS:
            world.add(f"{name} for {column}", **{column: value})
    honest(world)
    others = f"SELECT {', '.join(sorted(set(TEXTS) - {'image_url', 'resolution'}))} FROM tracks ORDER BY id"
    before = world.sql(others)
    assert survived(world, timedelta(minutes=5)).states == {
        (State.OK, None): (len(HOSTILE) - 1) * len(TEXTS),  # all others but one, and the honest one
        (State.INVALID, Reason.INVALID_ROW): len(TEXTS),  # what is not a text
        (State.BACKING_OFF, Reason.HOST_REFUSED): 1,  # a megabyte of URL for the picture: nobody can be asked for it
    }
    assert world.sql(others) == before


def test_text_that_is_no_utf_8_makes_its_row_invalid_and_harms_nobody(world: World) -> None:
    for column in TEXTS:
        world.add(f"hostile-{column}")
        world.sql(f"UPDATE tracks SET {column} = CAST(X'6c616b65ff80c328' AS TEXT) WHERE id = 'hostile-{column}'")
    world.add("status")
    world.sql("UPDATE tracks SET status = CAST(X'ff' AS TEXT) WHERE id = 'status'")
    honest(world)
    assert survived(world).states == {(State.OK, None): 1, (State.INVALID, Reason.INVALID_ROW): len(TEXTS)}


EDGES = ("0000-00-00 00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59", "9999-12-31T23:59:59.999999-14:00")


def test_a_time_that_is_none_harms_nobody(world: World) -> None:
    times = ("X'ff00'", "CAST(X'ff' AS TEXT)", "9e999", "-1", "''", "'not a time'", *map(repr, EDGES))
    for number, value in enumerate(times):
        for column in ("created_at", "updated_at"):
            world.add(f"{column}-{number}")
            world.sql(f"UPDATE tracks SET {column} = {value} WHERE id = '{column}-{number}'")
    honest(world)
    survived(world, timedelta(minutes=40))


@pytest.mark.slow
def test_what_is_handed_over_harms_nobody(world: World) -> None:
    """The one table of ours that others write: any text for a task, a track or a time."""
    world.open().close()
    world.add("handed")
    honest(world)
    told: tuple[Any, ...] = (
        "",
        " ",
        "../../x?y=1#",
        CONTROLS,
        "x" * MEGABYTE,
        "ü🎵",
        7,
        b"\xff\x00",
        "NULL",
        "'; DROP TABLE tracks; --",
    )
    for value in told:
        world.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('handed', ?)", value)
        world.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES (?, 'task')", value)
    for track in ("handed", "honest"):
        for number, when in enumerate(("X'ff00'", "CAST(X'ff' AS TEXT)", "9e999", "''", *map(repr, EDGES))):
            row = f"('{track}', 'task-{number}', {when})"
            world.sql(f"INSERT INTO reconciler_image_task (track_id, task_id, created_at) VALUES {row}")
    world.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('handed', CAST(X'6cff80' AS TEXT))")
    assert survived(world, timedelta(days=3)).states == {(State.OK, None): 2}


IDS = [
    "",
    " ",
    "..",
    "../../etc/passwd",
    "a/b\\c",
    "x" * 5000,
    CONTROLS,
    "ü🎵",
    "%00",
    "--config=x",
    "NULL",
    "tracks/~",
]


def test_ids_that_would_be_paths_stay_within_the_store(world: World) -> None:
    for track_id in IDS:
        world.add(track_id, extended_prompt_image="same words")
    world.sql("UPDATE tracks SET image_url = ''")
    honest(world)
    outside = set(world.path.parent.iterdir())
    survived(world)
    assert set(world.path.parent.iterdir()) - outside <= {world.path.parent / "images"}
    helped = [row for row in world.rows() if row["resolution"] == "640x360"]
    assert len({row["image_url"] for row in helped}) == len(helped) >= len(IDS)


INLINE = {
    "no comma": "data:image/png;base64" + "A" * 5000,
    "no base64": "data:image/png;base64," + "!" * 5000,
    "megabytes of nothing": "data:image/png;base64," + "A" * (8 * MEGABYTE),
    "a megabyte of type": "data:" + "image/" * (MEGABYTE // 6) + ",x",
    "percents": "data:," + "%" * MEGABYTE,
    "an image that is markup": "data:image/svg+xml,<svg onload=alert(1)>" + " " * 3000,
}


@pytest.mark.slow
def test_inline_pictures_that_are_none_are_replaced(world: World) -> None:
    for name, value in INLINE.items():
        world.add(name, image_url=value)
    honest(world)
    assert survived(world).states == {(State.OK, None): len(INLINE) + 1}


# -- files ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bodies() -> dict[str, bytes]:
    return {name: body.make() for name, body in BODIES.items() if name not in DEAR}


def bought(world: World) -> set[str]:
    """The tracks for which something was bought: their prompts name them."""
    prompts = [purchase.prompt for purchase in world.kie.book.purchases]
    return {name for name in BODIES if any(f"<{name}>" in prompt for prompt in prompts)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of those who look at what was stored
def test_a_result_is_taken_for_what_it_is_and_bought_anew_if_it_is_none(world: World, bodies: dict[str, bytes]) -> None:
    for number, (name, content) in enumerate(bodies.items()):
        world.kie.add_task(f"{number:032}", prompt=name, behaviour=Succeed(content=content, run=timedelta(0)))
        world.add(name, extended_prompt=f"x | image_task_id: {number:032}", extended_prompt_image=f"for <{name}>")
    honest(world)
    assert survived(world, timedelta(days=3)).states == {(State.OK, None): len(bodies) + 1}
    assert bought(world) == {name for name in bodies if BODIES[name].flaw}
    for name in bodies:
        if BODIES[name].flaw is None and BODIES[name].true:
            assert belongs_to(world.picture(name) or b"", PAINTING), name


@pytest.mark.slow
def test_a_picture_in_a_row_is_measured_for_what_it_is_and_replaced_if_it_is_none(
    world: World, bodies: dict[str, bytes]
) -> None:
    """Some of them, half at a URL, where the measure is enough if it is the target's, and half within the row. What is
    more than we take is left."""
    there: dict[str, str] = {}
    bodies = dict(list(bodies.items())[::2])
    for number, (name, content) in enumerate(bodies.items()):
        url = f"https://cdn.example/covers/{number}.png"
        world.kie.add_file(f"/covers/{number}.png", content)
        there[name] = url if number % 2 else "data:image/png;base64," + b64encode(content).decode()
        world.add(name, image_url=there[name], extended_prompt_image=f"for <{name}>")
    honest(world)
    enough = {name for name in bodies if there[name].startswith("https") and BODIES[name].size == SIZE}
    large = {name for name in bodies if BODIES[name].flaw is Flaw.TOO_LARGE} - enough
    assert survived(world, timedelta(days=3)).states == {
        (State.OK, None): len(bodies) + 1 - len(large),
        (State.FAILED, Reason.IMAGE_REJECTED): len(large),
    }
    assert {name for name in bodies if world.row(name)["image_url"] == there[name]} == enough | large
    assert bought(world) == {name for name in bodies if BODIES[name].flaw} - enough - large


@pytest.mark.slow
def test_damage_anywhere_in_a_result_never_harms(world: World) -> None:
    """Cut at every percent, and bits turned at some places: each is a track of one run, in which nothing is bought."""
    dice = random.Random(13)
    wholes = [paint("lake", 640, 360, form) for form in ("JPEG", "PNG", "WEBP")]
    cut = [wholes[percent % 3][: len(wholes[percent % 3]) * percent // 100] for percent in range(100)]
    turned = [bytearray(whole) for whole in wholes for _ in range(8)]
    for data in turned:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    for number, content in enumerate([*cut, *map(bytes, turned)]):
        url = world.kie.add_file(f"/p/{number}.bin", content)
        world.add(f"t{number:03}", image_url=url)
    world.with_policy(per_day=1, max_concurrent_tasks=1)
    honest(world)
    world.sql("UPDATE tracks SET created_at = '2026-11-01', updated_at = '2026-11-01' WHERE id = 'honest'")
    world.run(timedelta(minutes=10), only=("honest",))
    survived(world, timedelta(minutes=10))
    pictures = {row["id"]: world.picture(row["id"]) for row in world.rows() if row["id"] != "honest"}
    assert not [name for name in list(pictures)[: len(cut)] if pictures[name] is not None]
    assert not [name for name in list(pictures)[len(cut) + 8 : len(cut) + 16] if pictures[name] is not None]
    for picture in filter(None, pictures.values()):
        assert Image.open(io.BytesIO(picture)).size == (640, 360)


# -- where URLs lead -----------------------------------------------------------------------------------------------

FORBIDDEN = [
    "http://169.254.169.254/latest/meta-data",
    "https://127.0.0.1/x.jpg",
    "https://[::1]/x.jpg",
    "https://[::ffff:10.0.0.1]/x.jpg",
    "https://2130706433/x.jpg",
    "https://0x7f.1/x.jpg",
    "https://10.1.2.3/x.jpg",
    "https://localhost/x.jpg",
    "http://cdn.example/x.jpg",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "ftp://cdn.example/x.jpg",
    "https://user:secret@cdn.example/x.jpg",
    "https://cdn.example\\@169.254.169.254/",
    "//169.254.169.254/x",
    "https://" + "a" * 10_000 + ".example/x.jpg",
    "data:image/png;base64,AAAA",
]


class Road:
    """Every host answers what is named `start` with a redirect to its goal, and notes what it is asked for."""

    def __init__(self, world: World, goals: list[str]) -> None:
        self._kie, self._goals = handler_for(world.kie), goals
        self.asked: list[str] = []

    def __call__(self, request: Request) -> Answer:
        self.asked.append(request.url)
        _, start, number = request.url.partition("start-")
        if start:
            return Answer(302, {"location": self._goals[int(number)]}, b"", complete=True)
        return self._kie(request)

    def pictures(self, world: World) -> Callable[[str, Any], Any]:
        transport = Transport(user_agent="reconciler/1", vet=vetting(()), clock=world.clock, handler=self)
        found = WebPictures(world.policy, transport)
        return lambda name, port: found if name == "pictures" else port


def add_results(world: World, urls: list[str]) -> None:
    for number, url in enumerate(urls):
        world.kie.add_task(f"{number:032}", prompt="x", behaviour=Succeed(urls=(url,), run=timedelta(0)))
        world.add(f"result-{number:02}", extended_prompt=f"x | image_task_id: {number:032}")


def test_redirects_to_where_we_may_not_ask_are_not_followed(world: World) -> None:
    for number in range(len(FORBIDDEN)):
        world.add(f"row-{number:02}", image_url=f"https://cdn.example/start-{number}")
    add_results(world, [f"https://tempfile.aiquickdraw.com/start-{number}" for number in range(len(FORBIDDEN))])
    road = Road(world, FORBIDDEN)
    result = world.run(timedelta(seconds=20), wrap=road.pictures(world))
    assert len(road.asked) == 2 * len(FORBIDDEN)
    assert all("/start-" in url for url in road.asked)
    assert result.mistakes == 0
    assert result.states == {(State.BACKING_OFF, Reason.HOST_REFUSED): 2 * len(FORBIDDEN)}
    assert not world.kie.book.purchases


def test_a_result_that_redirects_away_from_the_file_hosts_is_not_followed(world: World) -> None:
    add_results(world, ["https://tempfile.aiquickdraw.com/start-0"])
    world.kie.add_file("/covers/x.jpg", size=(640, 360))
    road = Road(world, ["https://cdn.example/covers/x.jpg"])
    result = world.run(timedelta(minutes=5), wrap=road.pictures(world))
    assert result.states == {(State.BACKING_OFF, Reason.HOST_REFUSED): 1}
    assert not [url for url in road.asked if "cdn.example" in url]


def test_redirects_in_a_circle_end(world: World) -> None:
    world.add("row", image_url="https://cdn.example/start-0")
    road = Road(world, ["/start-0"])
    assert world.run(timedelta(seconds=10), wrap=road.pictures(world)).mistakes == 0
    assert len(road.asked) == 6


@pytest.mark.slow
def test_results_that_lie_where_we_may_not_ask_are_not_asked_for(world: World) -> None:
    elsewhere = [
        "",
        " ",
        "https://tempfile.aiquickdraw.com/\r\nHost: evil",
        "https://evil.example/x.jpg",
        "https://aiquickdraw.com.evil.example/x.jpg",
        *FORBIDDEN,
    ]
    add_results(world, elsewhere)
    honest(world)
    road = Road(world, [])
    result = world.run(timedelta(minutes=5), wrap=road.pictures(world))
    assert result.mistakes == 0
    assert all(url.startswith("https://tempfile.aiquickdraw.com/p/") for url in road.asked)
    assert not [row for row in world.rows() if row["image_url"] and "covers.example" not in row["image_url"]]
    survived(world)


# -- answers -------------------------------------------------------------------------------------------------------


def record(body: bytes) -> bytes:
    return b'{"code": 200, "msg": "ok", "data": {"state": "success", "resultJson": ' + body + b"}}"


ANSWERS: dict[str, bytes] = {
    "deep": b"[" * 200_000,
    "deep within": record(b"[" * 100_000 + b"]" * 100_000),
    "deep in text": record(b'"' + b"[" * 100_000 + b'"'),
    "a huge number": b'{"code": ' + b"9" * 100_000 + b"}",
    "no number": b'{"code": NaN, "data": Infinity}',
    "many urls": record(b'{"resultUrls": [' + b'"https://tempfile.aiquickdraw.com/x",' * 20_000 + b'""]}'),
    "urls that are none": record(b'{"resultUrls": [1, null, {}, [], "\\ud800", true]}'),
    "half letters": b'{"code": 200, "msg": "\\ud800", "data": {"taskId": "\\udfff", "state": "\\ud800"}}',
    "controls": b'{"code": 422, "msg": "\\u0000\\u001b[2J\\r\\n\\u202e", "data": null}',
    "a megabyte of words": b'{"code": 400, "msg": "' + b"word " * 200_000 + b'"}',
    "a megabyte of credits": b'{"code": 400, "msg": "' + b"credit " * 140_000 + b'"}',
    "over a megabyte": b'{"code": 200, "msg": "' + b"x" * 3_000_000 + b'"}',
    "a megabyte of id": b'{"code": 200, "data": {"taskId": "' + b"x" * 900_000 + b'"}}',
    "an id with a path": b'{"code": 200, "data": {"taskId": "../../x?y=1&taskId=z#\\u0000"}}',
    "a time before all": b'{"code": 200, "data": {"state": "waiting", "createTime": -62135596800000}}',
    "a time after all": record(b'"[]", "createTime": 253402300799999, "completeTime": 253402300799999'),
    "times from nowhere": b'{"code": 200, "data": {"state": "success", "createTime": 1e300, "completeTime": -1e300}}',
    "not utf-8": b'{"code": 200, "msg": "\xff\xfe", "data": null}',
    "bytes": bytes(range(256)) * 50,
}
REFUSALS = {"controls", "a megabyte of words", "a megabyte of credits"}
"""They close the gate, which is for all."""


MALFORMED = {name: body for name, body in ANSWERS.items() if name not in REFUSALS}


def asked_all(world: World, answers: dict[str, bytes], length: timedelta) -> Result:
    """Each answer is once that to a creation and to the question for credits, twice that to a task and to a song."""
    for number, (name, body) in enumerate(answers.items()):
        answer, task, song = Reply(200, body, "application/json"), f"{number:032}", f"{number:031}s"
        world.kie.add_task(task, prompt="adopted")
        world.kie.add_song(song, Song())
        world.add(f"task {name}", extended_prompt=f"x | image_task_id: {task}")
        world.add(f"song {name}", task_id=song, extended_prompt_image="for the song")
        world.add(f"buy {name}", extended_prompt_image=f"a hostile lake <{name}>")
        world.kie.script.when(answer, operation="create", prompt_contains=f"<{name}>", times=1)
        world.kie.script.when(answer, operation="record", task_id=task, times=2)
        world.kie.script.when(answer, operation="suno_record", task_id=song, times=2)
        world.kie.script.when(answer, operation="credit", times=1)
    honest(world)
    return survived(world, length)


@pytest.mark.slow
def test_answers_of_kie_that_mean_nothing_harm_nobody(world: World) -> None:
    """What may have made a task is bought once more at most, and everybody is helped in the end."""
    result = asked_all(world, MALFORMED, timedelta(days=7))
    assert result.states == {(State.OK, None): 3 * len(MALFORMED) + 1}
    for name in MALFORMED:
        assert len(world.kie.book.purchases_for(f"<{name}>")) <= 2, name


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(REFUSALS))
def test_refusals_of_kie_in_hostile_words_harm_nobody(world: World, name: str) -> None:
    result = asked_all(world, {name: ANSWERS[name]}, timedelta(hours=5))
    assert result.repeats == 0
    assert len(world.kie.book.creations) <= 6


@pytest.mark.slow
@pytest.mark.parametrize("code", [400, 401, 402, 422, 430, 500])
def test_words_of_kie_are_told_in_one_printable_line_without_the_key(world: World, code: int) -> None:
    words = f"no\x1b[31m {CONTROLS} simulated-key https://x.example/?token=secret " + "x" * 5000
    world.kie.script.when(Refuse(code, words), operation="create", times=1)
    world.add("hostile")
    honest(world)
    world.run(timedelta(hours=2))
    told = [text for event in world.events for text in details(event)]
    assert any("no" in text for text in told)
    assert all(printable(text) and "simulated-key" not in text for text in told)
