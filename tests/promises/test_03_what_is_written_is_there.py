"""Promise 3: a URL in the database was measured, decoded whole, stored durably, and read back.

Every written URL is asked for through `public_url` by a plain web server over the store: at the instant before it is
written, and again at the end.
"""

import hashlib
import io
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.request import urlopen

import pytest
from PIL import Image

from reconciler.domain.policy import Target
from reconciler.domain.states import How, Reason, State
from reconciler.kie.simulated import Song, Succeed, belongs_to, paint
from reconciler.ports import Ending
from reconciler.testing.world import World

TASK, SONG = "a1" * 16, "c3" * 16


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """A web server over a store; gives the URL under which its keys are found."""
    servers: list[ThreadingHTTPServer] = []

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def world(make_world: Callable[..., World], serve: Callable[[Path], str]) -> World:
    world = make_world()
    world.with_policy(public_url=serve(images_of(world)))
    return world


def images_of(world: World) -> Path:
    return world.path.parent / "images"


def check_served(url: str, size: tuple[int, int] = (640, 360)) -> bytes:
    with urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
    assert hashlib.sha256(body).hexdigest().startswith(PurePosixPath(url).stem)
    with Image.open(io.BytesIO(body)) as picture:
        picture.load()
        assert (picture.size, picture.format, picture.mode) == (size, "JPEG", "RGB")
    return body


class Checking:
    """The leases; a URL about to be written must be served whole by then."""

    def __init__(self, leases: Any, size: tuple[int, int] = (640, 360)) -> None:
        self._leases, self._size = leases, size
        self.checked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._leases, name)

    def commit_all(self, endings: Sequence[Ending]) -> Any:
        for row in (ending.row for ending in endings):
            if row is not None and row.write.url is not None:
                check_served(row.write.url, self._size)
                self.checked.append(row.write.url)
        return self._leases.commit_all(endings)


def checking(made: list[Checking], size: tuple[int, int] = (640, 360)) -> Callable[[str, Any], Any]:
    def wrap(name: str, port: Any) -> Any:
        if name != "leases":
            return port
        made.append(Checking(port, size))
        return made[-1]

    return wrap


def add_one_of_each(world: World) -> dict[str, How]:
    """A track for every way in which a picture reaches a row, by the way that it is expected to be helped."""
    world.kie.add_task(TASK, prompt="adopted", behaviour=Succeed(width=640, height=360, run=timedelta(0)))
    world.kie.add_song(SONG, Song(title="with the song", cover=(640, 360)))
    world.add("bought", extended_prompt_image="bought")
    world.add("adopted", extended_prompt=f"x | image_task_id: {TASK}")
    world.add("suno", task_id=SONG)
    dying = world.kie.add_file("/p/dying.jpg", text="dying", size=(640, 360))
    world.add("dying", image_url=dying)
    world.kie.add_file("/covers/large.png", text="larger", size=(1280, 720), format_="PNG")
    world.add("larger", image_url="https://cdn.example/covers/large.png")
    inline = b64encode(paint("inline", 640, 360, "WEBP")).decode()
    world.add("inline", image_url=f"data:image/png;base64,{inline}")
    world.add("ünï/../cödé 🎵", extended_prompt_image="odd id")
    rehosted = dict.fromkeys(("dying", "larger", "inline"), How.REHOSTED)
    bought = dict.fromkeys(("bought", "ünï/../cödé 🎵"), How.GENERATED)
    return {"adopted": How.ADOPTED, "suno": How.SUNO, **rehosted, **bought}


def test_every_url_is_served_whole_before_it_is_written_and_after(world: World) -> None:
    ways = add_one_of_each(world)
    made: list[Checking] = []
    result = world.run(wrap=checking(made))
    assert result.states == {(State.OK, None): len(ways)}
    assert result.resolved == {how: list(ways.values()).count(how) for how in set(ways.values())}
    written = [row["image_url"] for row in world.rows()]
    assert sorted(made[0].checked) == sorted(written)
    for row in world.rows():
        body = check_served(row["image_url"])
        assert row["resolution"] == "640x360"
        assert belongs_to(body, "odd id" if "🎵" in row["id"] else _text(row["id"]))


def _text(track_id: str) -> str:
    return "with the song" if track_id == "suno" else track_id


@pytest.mark.slow
def test_the_same_with_pictures_of_the_target_that_the_app_wants(world: World) -> None:
    world.with_policy(target=Target())
    world.kie.script.clear()
    for number in range(4):
        world.add(f"t{number}")
    made: list[Checking] = []
    assert world.run(wrap=checking(made, (2048, 1152))).states == {(State.OK, None): 4}
    assert len(made[0].checked) == 4


def test_rows_follow_a_public_url_that_moves(world: World, serve: Callable[[Path], str]) -> None:
    world.add("t")
    world.run()
    world.with_policy(public_url=serve(images_of(world)))
    world.pass_time(timedelta(days=40))
    made: list[Checking] = []
    result = world.run(wrap=checking(made))
    assert result.states == {(State.OK, None): 1}
    assert made[0].checked == [world.row("t")["image_url"]]
    assert world.row("t")["image_url"].startswith(world.policy.public_url)
    assert len(world.kie.book.purchases) == 1


# -- damaged results -----------------------------------------------------------------------------------------------


def damaged() -> dict[str, bytes]:
    pictures = {form: paint("damaged", 640, 360, form) for form in ("JPEG", "PNG", "WEBP")}
    png, jpeg = bytearray(pictures["PNG"]), pictures["JPEG"]
    png[len(png) // 2] ^= 0x10
    blank = io.BytesIO()
    Image.new("RGB", (640, 360), "grey").save(blank, "JPEG")
    cut = {
        f"{form} cut at {part}": whole[: int(len(whole) * part)]
        for form, whole in pictures.items()
        for part in (0.1, 0.5, 0.99)
    }
    return {
        **cut,
        "PNG without its last two bytes": pictures["PNG"][:-2],
        "PNG with a flipped bit": bytes(png),
        "JPEG without its end": jpeg[:-2],
        "JPEG header only": jpeg[:700],
        "blank": blank.getvalue(),
        "too small": paint("damaged", 320, 180),
        "square": paint("damaged", 640, 640),
        "a GIF": b"GIF89a\x80\x02\x68\x01" + bytes(2000),
        "text": b"this is no picture" * 20,
        "markup": b"<html><body>expired</body></html>",
        "nothing": b"",
    }


DAMAGED = damaged()


@pytest.mark.slow
@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_result_is_never_written(world: World, content: bytes) -> None:
    world.kie.script.clear()
    world.kie.script.when(Succeed(content=content, run=timedelta(0)), times=1)
    world.kie.script.when(Succeed(width=640, height=360, run=timedelta(0)))
    world.add("t", extended_prompt_image="sound")
    made: list[Checking] = []
    world.run(timedelta(days=3), wrap=checking(made))
    row = world.row("t")
    assert made[0].checked == [row["image_url"]]
    assert belongs_to(check_served(row["image_url"]), "sound")
    assert len(world.kie.book.purchases) == 2


@pytest.mark.parametrize("wrong", [-1, 1, 5000])
def test_a_result_of_another_length_than_was_said_is_not_taken(world: World, wrong: int) -> None:
    """Sound as it may look: what was announced is not what came."""
    from reconciler.images.pictures import WebPictures
    from reconciler.transport import Broken, Reply, Request, Transport

    body = paint("t", 640, 360)

    def lie(request: Request) -> Reply:
        if wrong > 0:
            return Reply(200, {"content-type": "image/jpeg", "content-length": str(len(body) + wrong)}, body, True)
        raise Broken("the host sent more than it said")

    pictures = WebPictures(world.policy, Transport(user_agent="reconciler/1", clock=world.clock, handler=lie))
    world.add("t", extended_prompt_image="t")
    result = world.run(timedelta(hours=1), wrap=lambda name, port: pictures if name == "pictures" else port)
    assert result.states == {(State.FETCHING, Reason.DOWNLOAD_FAILED): 1}
    assert world.row("t")["image_url"] is None
    assert world.run(timedelta(hours=3)).states == {(State.OK, None): 1}


# -- a store that loses what it was given --------------------------------------------------------------------------


def young(world: World) -> Path:
    """A track within grace whose picture is bought and stored, and only waits to be written."""
    dying = world.kie.add_file("/p/dying.jpg", text="dying", size=(640, 360))
    world.add("t", image_url=dying, age=timedelta(minutes=5))
    world.run(timedelta(minutes=5))
    assert world.row("t")["image_url"] == dying
    (stored,) = (images_of(world) / "tracks" / "t").iterdir()
    return stored


def damage(stored: Path, how: str) -> None:
    whole = stored.read_bytes()
    match how:
        case "cut":
            stored.write_bytes(whole[: len(whole) // 2])
        case "flipped":
            stored.write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
        case "emptied":
            stored.write_bytes(b"")
        case "removed":
            stored.unlink()
        case "exchanged":
            stored.write_bytes(paint("another", 640, 360))
        case _:
            raise ValueError(how)


@pytest.mark.parametrize("how", ["cut", "flipped", "emptied", "removed", "exchanged"])
def test_a_picture_that_the_store_lost_before_it_was_written_is_not_written(world: World, how: str) -> None:
    stored = young(world)
    damage(stored, how)
    made: list[Checking] = []
    world.pass_time(timedelta(hours=1))
    world.run(timedelta(days=3), wrap=checking(made))
    row = world.row("t")
    assert made[0].checked == [row["image_url"]]
    assert belongs_to(check_served(row["image_url"]), "dying")
    assert not world.kie.book.purchases


@pytest.mark.parametrize("how", ["cut", "flipped", "emptied", "removed", "exchanged"])
def test_a_picture_that_the_store_lost_is_not_restored(world: World, how: str) -> None:
    world.add("t", extended_prompt_image="again")
    world.run()
    (stored,) = (images_of(world) / "tracks" / "t").iterdir()
    damage(stored, how)
    world.sql("UPDATE tracks SET image_url = NULL, resolution = NULL")
    made: list[Checking] = []
    world.pass_time(timedelta(hours=1))
    world.run(timedelta(days=3), wrap=checking(made))
    assert made[0].checked == [world.row("t")["image_url"]]
    assert belongs_to(check_served(world.row("t")["image_url"]), "again")


def test_a_store_that_returns_other_bytes_than_it_was_given_is_not_trusted(world: World) -> None:
    """Read back and compared: what was written badly is a storage fault, and no URL of it is ever in the table."""
    from reconciler.images.local_store import LocalStore
    from reconciler.ports import Prepared

    class Rotten(LocalStore):
        def write(self, part: Path, picture: Prepared) -> None:
            super().write(part, picture)
            part.write_bytes(picture.data[:-1])

    rotten = Rotten(images_of(world), now=world.clock)
    world.add("t", extended_prompt_image="t")
    result = world.run(wrap=lambda name, port: rotten if name == "store" else port)
    assert result.states == {(State.FETCHING, Reason.STORAGE_FAILED): 1}
    assert world.row("t")["image_url"] is None
    world.run(timedelta(hours=1))
    assert belongs_to(check_served(world.row("t")["image_url"]), "t")
    assert len(world.kie.book.purchases) == 1
