"""Result files: real pictures of the size that was paid for, which need no key and die."""

from __future__ import annotations

import itertools
from datetime import timedelta
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from reconciler.kie.simulated import Break, Expired, Fault, Operation, Rule, Stall, Succeed, TwoK, belongs_to, paint
from reconciler.kie.simulated.painter import distance, signature

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.kie.simulated.painter import Format
    from tests.kie.simulated.conftest import Client

DONE = Succeed(run=timedelta(0))
V45 = "seedream/4.5-text-to-image"


def size_of(picture: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(picture)) as image:
        image.load()
        return image.size


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ({}, (2048, 1152)),
        ({"image_resolution": "1K"}, (1024, 576)),
        ({"image_resolution": "4K"}, (4096, 2304)),
        ({"image_size": "square"}, (2048, 2048)),
        ({"image_size": "portrait_16_9"}, (1152, 2048)),
        ({"model": V45, "aspect_ratio": "16:9", "quality": "basic"}, (2560, 1440)),
        ({"model": "nano-banana-2", "aspect_ratio": "16:9", "resolution": "2K"}, (2752, 1536)),
        ({"model": "google/nano-banana", "image_size": "16:9"}, (1344, 768)),
    ],
)
def test_the_picture_has_the_size_that_was_asked_for(
    open_kie: Callable[..., Client], given: dict[str, str], size: tuple[int, int]
) -> None:
    client = open_kie(two_k=TwoK.KIE)
    client.kie.script.when(DONE)
    (url,) = client.urls(client.create(**given))
    assert size_of(client.file(url).body) == size


def test_a_misnamed_field_yields_a_small_picture(client: Client) -> None:
    client.kie.script.when(DONE)
    body = {"model": "bytedance/seedream-v4-text-to-image", "input": {"prompt": "x", "image_size": "landscape_16_9"}}
    body["input"]["imageResolution"] = "2K"  # type: ignore[index]
    task_id = client.json(client.call("POST", "/api/v1/jobs/createTask", body))["data"]["taskId"]
    assert size_of(client.file(client.urls(task_id)[0]).body) == (1024, 576)


def test_two_k_may_be_either_size(client: Client) -> None:
    client.kie.script.when(DONE)
    sizes = {size_of(client.file(client.urls(client.create(f"track {n}"))[0]).body) for n in range(8)}
    assert sizes == {(2048, 1152), (2560, 1440)}


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_results_of_scripted_size_format_and_number(client: Client, format_: Format) -> None:
    client.kie.script.when(Succeed(run=timedelta(0), width=640, height=480, format=format_, count=3, extension=""))
    urls = client.urls(client.create("Mist"))
    pictures = [client.file(url).body for url in urls]
    assert len(set(pictures)) == 3
    assert not any(url.endswith((".jpg", ".png", ".webp")) for url in urls)
    for picture in pictures:
        with Image.open(BytesIO(picture)) as image:
            assert (image.format, image.size) == (format_, (640, 480))
        assert belongs_to(picture, "Mist")


def test_a_result_may_be_any_bytes(client: Client) -> None:
    client.kie.script.when(Succeed(run=timedelta(0), content=b"<html>"))
    assert client.file(client.urls(client.create())[0]).body == b"<html>"


def test_a_file_is_there_only_when_its_task_is_done(client: Client) -> None:
    client.kie.add_task("t", prompt="Mist", behaviour=Succeed(run=timedelta(seconds=30)))
    client.clock.pass_(seconds=30)
    (url,) = client.urls("t")
    client.clock.pass_(seconds=-1)
    assert client.file(url).status == 404
    client.clock.pass_(seconds=1)
    assert client.file(url).status == 200


def test_a_waiting_task_may_name_a_url(client: Client) -> None:
    client.kie.add_task("t", prompt="Mist", behaviour=Stall(with_url=True))
    assert client.record("t")["state"] == "waiting"
    assert len(client.urls("t")) == 1


@pytest.mark.parametrize(
    ("how", "status", "start"),
    [(Expired.HTML_404, 404, b"<html>"), (Expired.XML_403, 403, b"<?xml"), (Expired.EMPTY_200, 200, b"")],
)
def test_files_die(open_kie: Callable[..., Client], how: Expired, status: int, start: bytes) -> None:
    client = open_kie(expired=how, file_life=timedelta(days=14))
    client.kie.script.when(DONE)
    (url,) = client.urls(client.create())
    client.clock.pass_(days=13.99)
    assert client.file(url).body[:2] == b"\xff\xd8"
    client.clock.pass_(days=0.01)
    response = client.file(url)
    assert (response.status, response.body[: len(start) or 9]) == (status, start)


@pytest.mark.parametrize(
    "agent", ["python-httpx/0.28.1", "python-requests/2.32", "Python-urllib/3.11", "curl/8.5.0", ""]
)
def test_default_agents_are_turned_away(client: Client, agent: str) -> None:
    url = client.kie.add_file("c1.jpeg", size=(36, 36))
    assert client.file(url, user_agent=agent).status == 403
    assert client.file(url).status == 200


def test_a_key_at_a_file_host_is_an_error_in_the_book(client: Client) -> None:
    url = client.kie.add_file("c1.jpeg", size=(36, 36))
    client.file(url)
    assert client.kie.book.errors == []
    client.file(url, authorization="Bearer simulated-key")
    assert client.kie.book.errors == ["an API key was sent to the file host: /c1.jpeg"]


@pytest.mark.parametrize(
    ("wanted", "expected", "content_range"),
    [
        ("bytes=0-3", b"0123", "bytes 0-3/10"),
        ("bytes=8-", b"89", "bytes 8-9/10"),
        ("bytes=5-99", b"56789", "bytes 5-9/10"),
        ("bytes=-2", b"89", "bytes 8-9/10"),
    ],
)
def test_ranges_are_honoured(client: Client, wanted: str, expected: bytes, content_range: str) -> None:
    url = client.kie.add_file("data", b"0123456789")
    response = client.file(url, range=wanted)
    assert (response.status, response.body, response.headers["content-range"]) == (206, expected, content_range)


def test_a_range_beyond_the_end_and_ranges_switched_off(open_kie: Callable[..., Client]) -> None:
    client = open_kie()
    assert client.file(client.kie.add_file("data", b"0123456789"), range="bytes=10-").status == 416
    client = open_kie(honour_range=False)
    response = client.file(client.kie.add_file("data", b"0123456789"), range="bytes=0-3")
    assert (response.status, response.body) == (200, b"0123456789")


def test_files_added_by_hand_live_as_long_as_told(client: Client) -> None:
    url, dead = (
        client.kie.add_file("/a.jpg", life=timedelta(days=1), size=(64, 36)),
        client.kie.add_file("b", b"", life=timedelta(0)),
    )
    assert (client.file(url).status, client.file(dead).status) == (200, 404)
    client.clock.pass_(days=1)
    assert client.file(url).status == 404


def test_a_file_can_break_half_way(client: Client) -> None:
    client.kie.script.when(DONE)
    client.kie.script.add(
        Rule(behaviour=Break(Fault.CUT_HALF), operation=Operation.FILE, prompt_contains="lake", times=1)
    )
    (url,) = client.urls(client.create("a lake"))
    assert [client.file(url).fault for _ in range(2)] == [Fault.CUT_HALF, None]


def test_files_are_reached_under_their_hosts_and_under_the_mount(open_kie: Callable[..., Client]) -> None:
    client = open_kie(files_url="https://tempfile.redpandaai.co")
    url = client.kie.add_file("p/1.jpg", b"x")
    assert url == "https://tempfile.redpandaai.co/p/1.jpg"
    assert client.file(url).body == client.file("https://any/files/p/1.jpg").body == b"x"


def test_pictures_are_the_same_each_time_and_not_blank() -> None:
    paint.cache_clear()
    first = paint("Mist", 2048, 1152)
    paint.cache_clear()
    assert paint("Mist", 2048, 1152) == first
    with Image.open(BytesIO(first)) as image:
        lights = image.convert("L").resize((64, 64)).tobytes()
    assert max(lights) - min(lights) > 60


def test_a_picture_is_known_again_after_fitting_and_other_pictures_are_not() -> None:
    with Image.open(BytesIO(paint("A harbour town in winter", 2752, 1536))) as image:
        fitted = image.crop((10, 0, 2741, 1536)).resize((2048, 1152), Image.Resampling.LANCZOS)
    encoded = BytesIO()
    fitted.save(encoded, "JPEG", quality=60)
    assert belongs_to(encoded.getvalue(), "A harbour town in winter")
    assert not any(belongs_to(encoded.getvalue(), f"A harbour town in winter {number}") for number in range(50))


def test_signatures_of_different_prompts_are_far_apart() -> None:
    marks = []
    for number in range(60):
        with Image.open(BytesIO(paint(f"track {number}", 160, 90))) as image:
            marks.append(signature(image))
    assert min(distance(one, other) for one, other in itertools.combinations(marks, 2)) > 12
