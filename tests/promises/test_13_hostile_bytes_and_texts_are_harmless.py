"""Promise 13: hostile bytes and texts are harmless.

Whatever a row, an answer or a file holds: the run ends, nothing is raised, an honest track beside it is helped, and
what is told of it can be printed.
"""

import io
import random
import resource
import struct
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from datetime import timedelta
from typing import Any

import pytest
from PIL import Image

from reconciler.domain.states import Reason, State
from reconciler.engine.events import Event, Result
from reconciler.images.addresses import vetting
from reconciler.images.pictures import WebPictures
from reconciler.kie.simulated import Refuse, Reply, Song, Succeed, belongs_to, paint
from reconciler.testing.handler import handler_for
from reconciler.testing.world import World
from reconciler.transport import Reply as Answer
from reconciler.transport import Request, Transport

TASK, SONG = "a1" * 16, "c3" * 16
MEGABYTE = 1_000_000
MEMORY = 400_000_000
"""Bytes that one run may take beyond what was taken before; the worst picture that is decoded needs some."""
CONTROLS = "".join(map(chr, [*range(32), 127, 0x85, 0x9B, 0x2028, 0x202E, 0xFEFF]))


def honest(world: World) -> None:
    world.add("honest", extended_prompt_image="an honest lake")


def survived(world: World, length: timedelta = timedelta(minutes=30)) -> Result:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = world.run(length)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY
    assert result.mistakes == 0
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
@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_any_text_in_any_column_harms_nobody(world: World, value: Any) -> None:
    for column in TEXTS:
        world.add(f"hostile-{column}", **{column: value})
    honest(world)
    before = world.sql(f"SELECT {', '.join(set(TEXTS) - {'image_url', 'resolution'})} FROM tracks ORDER BY id")
    survived(world, timedelta(minutes=5))
    assert world.sql(f"SELECT {', '.join(set(TEXTS) - {'image_url', 'resolution'})} FROM tracks ORDER BY id") == before


def test_text_that_is_no_utf_8_makes_its_row_invalid_and_harms_nobody(world: World) -> None:
    for column in TEXTS:
        world.add(f"hostile-{column}")
        world.sql(f"UPDATE tracks SET {column} = CAST(X'6c616b65ff80c328' AS TEXT) WHERE id = 'hostile-{column}'")
    world.add("status")
    world.sql("UPDATE tracks SET status = CAST(X'ff' AS TEXT) WHERE id = 'status'")
    honest(world)
    assert survived(world).states == {(State.OK, None): 1, (State.INVALID, Reason.INVALID_ROW): len(TEXTS)}


def test_a_time_that_is_none_harms_nobody(world: World) -> None:
    times = ("X'ff00'", "CAST(X'ff' AS TEXT)", "9e999", "-1", "''", "'not a time'", "'9999-12-31T23:59:59'")
    for number, value in enumerate(times):
        for column in ("created_at", "updated_at"):
            world.add(f"{column}-{number}")
            world.sql(f"UPDATE tracks SET {column} = {value} WHERE id = '{column}-{number}'")
    honest(world)
    survived(world, timedelta(minutes=40))


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


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def bombs() -> dict[str, bytes]:
    good = {form: paint("lake", 640, 360, form) for form in ("JPEG", "PNG", "WEBP")}
    nothing = zlib.compress(bytes(50_000_000), 9)
    jpeg = bytearray(good["JPEG"])
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    return {
        "PNG of 65000x36563": png(65_000, 36_563, chunk(b"IDAT", nothing)),
        "PNG of 2^31": png(2**31 - 1, 2**31 - 1, chunk(b"IDAT", nothing)),
        "PNG with a text that unfolds": png(640, 360, chunk(b"zTXt", b"x\0\0" + nothing), chunk(b"IDAT", nothing)),
        "PNG of empty chunks": png(640, 360, chunk(b"tEXt", b"") * 100_000),
        "PNG without pixels": png(640, 360),
        "PNG with too many pixels": png(640, 360, chunk(b"IDAT", nothing)),
        "JPEG that says 65535": bytes(jpeg),
        "JPEG of empty segments": b"\xff\xd8" + b"\xff\xfe\x00\x02" * 200_000 + bytes(jpeg[2:]),
        "WebP that says more": b"RIFF\xff\xff\xff\xffWEBP" + good["WEBP"][12:],
        "a picture within markup": b"<html>" + good["JPEG"],
        "a program before a picture": b"MZ" + good["JPEG"],
        "zeros": bytes(MEGABYTE),
    }


BOMBS = bombs()


@pytest.mark.slow
def test_bombs_for_results_are_refused_and_others_bought(world: World) -> None:
    for number, (name, content) in enumerate(BOMBS.items()):
        world.kie.add_task(f"{number:032}", prompt=name, behaviour=Succeed(content=content, run=timedelta(0)))
        world.add(name, extended_prompt=f"x | image_task_id: {number:032}")
    honest(world)
    assert survived(world, timedelta(days=3)).states == {(State.OK, None): len(BOMBS) + 1}


@pytest.mark.slow
def test_bombs_in_rows_are_measured_without_harm(world: World) -> None:
    for number, (name, content) in enumerate(BOMBS.items()):
        world.kie.add_file(f"/covers/{number}.png", content)
        world.add(name, image_url=f"https://cdn.example/covers/{number}.png")
        world.add(f"inline {name}", image_url="data:image/png;base64," + b64encode(content[:MEGABYTE]).decode())
    honest(world)
    survived(world, timedelta(days=3))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_damage_anywhere_in_a_result_never_harms(world: World, form: Any) -> None:
    """Cut at every fourth percent, and a bit flipped at as many places: each is a track of one run."""
    dice, whole = random.Random(form), paint("lake", 640, 360, form)
    damaged = [whole[: len(whole) * percent // 100] for percent in range(0, 100, 4)]
    for _ in range(25):
        place = dice.randrange(len(whole))
        damaged.append(whole[:place] + bytes([whole[place] ^ 1 << dice.randrange(8)]) + whole[place + 1 :])
    for number, content in enumerate(damaged):
        url = world.kie.add_file(f"/p/{number}.bin", content)
        world.add(f"t{number:02}", image_url=url)
    world.with_policy(per_day=1, max_concurrent_tasks=1)
    honest(world)
    world.sql("UPDATE tracks SET created_at = '2026-11-01', updated_at = '2026-11-01' WHERE id = 'honest'")
    world.run(timedelta(minutes=10), only=("honest",))
    survived(world, timedelta(minutes=10))
    for row in world.rows():
        picture = world.picture(row["id"])
        if picture is not None:
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
    "times from nowhere": b'{"code": 200, "data": {"state": "success", "createTime": 1e300, "completeTime": -1e300}}',
    "not utf-8": b'{"code": 200, "msg": "\xff\xfe", "data": null}',
    "bytes": bytes(range(256)) * 50,
}


@pytest.mark.slow
@pytest.mark.parametrize("body", ANSWERS.values(), ids=ANSWERS.keys())
def test_any_answer_of_kie_harms_nobody(world: World, body: bytes) -> None:
    world.kie.add_task(TASK, prompt="adopted")
    world.kie.add_song(SONG, Song())
    world.add("task", extended_prompt=f"x | image_task_id: {TASK}")
    world.add("song", task_id=SONG, extended_prompt_image="for the song")
    world.add("buy", extended_prompt_image="a hostile lake")
    answer = Reply(200, body, "application/json")
    world.kie.script.when(answer, operation="create", prompt_contains="hostile", times=1)
    world.kie.script.when(answer, operation="record", task_id=TASK, times=2)
    world.kie.script.when(answer, operation="suno_record", times=2)
    world.kie.script.when(answer, operation="credit", times=2)
    honest(world)
    result = survived(world, timedelta(hours=5))
    assert result.repeats <= 1
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
