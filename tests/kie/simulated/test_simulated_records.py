"""Records of both families: shapes as recorded, lives by the clock."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.kie.simulated import (
    CONTENT_REFUSED,
    FAILED_AT_ONCE,
    GOOD_COVER,
    LOST_SONG,
    NO_CREDITS,
    TASK_SERVER_ERROR,
    TOO_FREQUENT,
    UPSTREAM_OUTAGE,
    Face,
    Fail,
    NotFound,
    OmitTaskId,
    Refuse,
    ResultForm,
    Song,
    Stall,
    Succeed,
    page,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.kie.simulated import Response
    from reconciler.kie.simulated.behaviour import Outcome
    from tests.kie.simulated.conftest import Client

PAYLOADS = Path(__file__).parent.parent / "payloads"
DONE = Succeed(run=timedelta(0))
CREATIONS = {
    "create-ok": None,
    "create-without-task-id": OmitTaskId(),
    "create-no-credits": NO_CREDITS,
    "create-frequency": TOO_FREQUENT,
}
RECORDS: dict[str, Outcome] = {
    "record-waiting": Stall(),
    "record-waiting-with-url": Stall(with_url=True),
    "record-success": DONE,
    "record-success-object": Succeed(run=timedelta(0), result=ResultForm.OBJECT),
    "record-success-several": Succeed(run=timedelta(0), count=2),
    "record-success-empty": Succeed(run=timedelta(0), result=ResultForm.EMPTY_LIST),
    "record-fail-content": CONTENT_REFUSED,
    "record-fail-server": TASK_SERVER_ERROR,
    "record-fail-outage": UPSTREAM_OUTAGE,
}
SONGS = {
    "suno-success": Song(),
    "suno-first-success": Song(status="FIRST_SUCCESS"),
    "suno-pending": Song(status="PENDING"),
    "suno-pending-lost": LOST_SONG,
}


def payload(name: str) -> dict[str, Any]:
    recorded = json.loads((PAYLOADS / f"{name}.json").read_text(encoding="utf-8"))
    assert isinstance(recorded, dict)
    return recorded


def shape(value: object) -> object:
    """Keys and kinds, in order; text that holds JSON is looked into; numbers are all one kind."""
    match value:
        case dict():
            return {key: shape(each) for key, each in value.items()}
        case list():
            return [shape(each) for each in value]
        case bool() | None:
            return value
        case int() | float():
            return "number"
        case str() if value[:1] in {"{", "["}:
            return ("text of", shape(json.loads(value)))
        case str():
            return "text" if value else ""
        case _:
            raise AssertionError(value)


def assert_as_recorded(response: Response, name: str, *, free: tuple[str, ...] = ()) -> None:
    recorded, answered = payload(name)["body"], json.loads(response.body)
    assert response.status == payload(name)["http_status"]
    assert (answered["code"], answered["msg"]) == (recorded["code"], recorded["msg"])
    for field in free:
        answered["data"].pop(field)
        recorded["data"].pop(field)
    assert shape(answered) == shape(recorded)


@pytest.mark.parametrize("name", CREATIONS)
def test_creations_look_as_recorded(client: Client, name: str) -> None:
    answer = CREATIONS[name]
    if answer is not None:
        client.kie.script.next("create", answer)
    assert_as_recorded(client.post(), name)


def test_an_invalid_creation_looks_as_recorded(client: Client) -> None:
    assert_as_recorded(client.post(image_resolution="3K"), "create-invalid")


@pytest.mark.parametrize("name", RECORDS)
def test_task_records_look_as_recorded_in_spring(open_kie: Callable[..., Client], name: str) -> None:
    client = open_kie(newer_records=False)
    client.kie.add_task("5b1f", prompt="Mist", behaviour=RECORDS[name])
    client.clock.pass_(minutes=3)
    response = client.call("GET", "/api/v1/jobs/recordInfo", taskId="5b1f")
    assert_as_recorded(response, name, free=("param",))
    recorded, answered = payload(name)["body"]["data"], client.json(response)["data"]
    same = ("state", "failCode", "failMsg")
    assert [answered[field] for field in same] == [recorded[field] for field in same]


def test_newer_records_look_as_recorded_in_september(open_kie: Callable[..., Client]) -> None:
    client = open_kie(running_state="generating")
    client.kie.add_task("5b1f", prompt="Mist", behaviour=Succeed())
    response = client.call("GET", "/api/v1/jobs/recordInfo", taskId="5b1f")
    assert_as_recorded(response, "record-generating-2026-09", free=("param", "paramJson"))
    assert client.record("5b1f")["state"] == "generating"


def test_param_is_encoded_twice_and_holds_the_callback(client: Client) -> None:
    url, given = "https://ops.example/callback?token=7f3a", {"prompt": "Mist"}
    body = {"model": "bytedance/seedream-v4-text-to-image", "input": given, "callBackUrl": url}
    task_id = client.json(client.call("POST", "/api/v1/jobs/createTask", body))["data"]["taskId"]
    param = json.loads(client.record(task_id)["param"])
    assert (json.loads(param["input"]), param["callBackUrl"]) == (given, url)


@pytest.mark.parametrize("name", SONGS)
def test_song_records_look_as_recorded(client: Client, name: str) -> None:
    client.kie.add_song("9c0e", SONGS[name])
    response = client.call("GET", "/api/v1/generate/record-info", taskId="9c0e")
    assert_as_recorded(response, name)
    assert client.json(response)["data"]["status"] == payload(name)["body"]["data"]["status"]


def test_the_rest_looks_as_recorded(client: Client) -> None:
    assert_as_recorded(client.call("GET", "/api/v1/chat/credit"), "credit")
    assert_as_recorded(client.call("GET", "/api/v1/jobs/recordInfo", taskId="none"), "record-not-found")
    assert_as_recorded(client.call("GET", "/api/v1/generate/record-info", taskId="none"), "suno-not-found")
    client.key = "wrong"
    assert_as_recorded(client.call("GET", "/api/v1/chat/credit"), "unauthorized")
    unknown, recorded = client.call("GET", "/api/v1/jobs/recordinfo"), payload("record-unknown-path")
    assert unknown.status == recorded["http_status"]
    assert shape(client.json(unknown)) == shape(recorded["body"])
    client.kie.script.next("credit", page(502))
    down, recorded = client.call("GET", "/api/v1/chat/credit"), payload("html-502")
    assert (down.status, down.body.decode()) == (recorded["http_status"], recorded["body_text"])


def test_a_task_runs_until_its_time(open_kie: Callable[..., Client]) -> None:
    client = open_kie(min_run=timedelta(seconds=20), max_run=timedelta(seconds=20))
    task_id = client.create()
    client.clock.pass_(seconds=19.9)
    assert (client.record(task_id)["state"], client.record(task_id)["resultJson"]) == ("waiting", "")
    client.clock.pass_(seconds=0.1)
    record = client.record(task_id)
    assert (record["state"], record["costTime"]) == ("success", 20)
    assert record["completeTime"] - record["createTime"] == 20_000


def test_run_times_lie_in_their_range_and_differ(client: Client) -> None:
    ids = [client.create(f"track {number}") for number in range(20)]
    client.clock.pass_(seconds=128)
    times = [client.record(task_id)["costTime"] for task_id in ids]
    assert all(12 <= seconds <= 128 for seconds in times)
    assert len(set(times)) > 5


@pytest.mark.parametrize("state", ["queuing", "running", "paused_foo"])
def test_other_words_for_running(client: Client, state: str) -> None:
    client.kie.script.next("create", Stall(state=state), Succeed(running_state=state))
    stalled, working = client.create("a"), client.create("b")
    assert {client.record(stalled)["state"], client.record(working)["state"]} == {state}
    client.clock.pass_(hours=7)
    assert (client.record(stalled)["state"], client.record(working)["state"]) == (state, "success")


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (ResultForm.NULL, None),
        (ResultForm.EMPTY_TEXT, ""),
        (ResultForm.EMPTY_OBJECT, "{}"),
        (ResultForm.RESULT_OBJECT, '{"resultObject": {"resultUrls": ["u"]}}'),
        (ResultForm.MUSIC, '{"data": [{"image_url": "u"}]}'),
    ],
)
def test_other_forms_of_a_result(client: Client, form: ResultForm, expected: object) -> None:
    client.kie.add_task("t", prompt="Mist", behaviour=Succeed(run=timedelta(0), result=form, urls=("u",)))
    assert client.record("t")["resultJson"] == expected


def test_words_are_refused_by_the_task(client: Client) -> None:
    task_id = client.create("Mickey Mouse at sea")
    assert client.record(task_id)["state"] == "waiting"
    client.clock.pass_(seconds=4)
    assert "flagged as sensitive" in client.record(task_id)["failMsg"]
    assert client.credit() == 1000.0


def test_a_task_fails_at_the_first_poll(client: Client) -> None:
    client.kie.script.next("create", FAILED_AT_ONCE)
    assert client.record(client.create())["state"] == "fail"


def test_a_failure_may_carry_a_word_or_nothing(client: Client) -> None:
    client.kie.add_task("t", prompt="Mist", behaviour=Fail(code=None, message=None, run=timedelta(0)))
    assert (client.record("t")["failCode"], client.record("t")["failMsg"]) == (None, None)


@pytest.mark.parametrize(
    ("face", "code", "words"),
    [
        (Face.JOBS, 422, "recordInfo is null"),
        (Face.CODE_404, 404, "does not exist"),
        (Face.NULL_DATA, 200, "success"),
        (Face.NO_RECORD, 422, "The record does not exist"),
        (Face.CODE_500, 500, "not found"),
    ],
)
def test_the_faces_of_not_found(client: Client, face: Face, code: int, words: str) -> None:
    client.kie.add_task("t", prompt="a lake")
    client.kie.script.when(NotFound(face), operation="record", prompt_contains="lake")
    answer = client.json(client.call("GET", "/api/v1/jobs/recordInfo", taskId="t"))
    assert (answer["code"], answer["data"]) == (code, None)
    assert words in answer["msg"]


def test_an_id_of_the_other_family_is_not_found(client: Client) -> None:
    client.kie.add_song("song")
    client.kie.add_task("task", prompt="Mist")
    assert client.code(client.call("GET", "/api/v1/jobs/recordInfo", taskId="song")) == 422
    assert client.song("task")["data"] is None


def test_records_appear_late_and_go_after_two_months(open_kie: Callable[..., Client]) -> None:
    client = open_kie(visible_after=timedelta(seconds=1))
    task_id, path = client.create(), "/api/v1/jobs/recordInfo"
    codes = []
    for days in (0, 1 / 24, 59, 2):
        client.clock.pass_(days=days)
        codes.append(client.code(client.call("GET", path, taskId=task_id)))
    assert codes == [422, 200, 200, 422]


def test_queries_of_one_task_are_limited_where_wanted(open_kie: Callable[..., Client]) -> None:
    client = open_kie(queries_per_second=3)
    task_id, path = client.create(), "/api/v1/jobs/recordInfo"
    assert [client.code(client.call("GET", path, taskId=task_id)) for _ in range(4)] == [200, 200, 200, 429]
    client.clock.pass_(seconds=1)
    assert client.code(client.call("GET", path, taskId=task_id)) == 200


def test_a_query_without_an_id_is_refused(client: Client) -> None:
    assert client.json(client.call("GET", "/api/v1/jobs/recordInfo"))["msg"] == "This field is required"


def test_rules_may_name_a_task(client: Client) -> None:
    client.kie.add_task("a", prompt="Mist")
    client.kie.add_task("b", prompt="Mist")
    client.kie.script.when(Refuse(500, "server is busy"), task_id="a", times=1)
    path = "/api/v1/jobs/recordInfo"
    assert [client.code(client.call("GET", path, taskId=each)) for each in ("b", "a", "a")] == [200, 500, 200]


def test_a_task_of_somebody_else_is_no_purchase(client: Client) -> None:
    client.kie.add_task("theirs", prompt="Mist", behaviour=DONE)
    assert client.record("theirs")["state"] == "success"
    assert (client.kie.book.creations, client.credit()) == ((), 1000.0)


def test_a_song_becomes_ready(client: Client) -> None:
    client.kie.add_song("s", Song(ready_after=timedelta(minutes=2), error_code=0, error_message=""))
    assert client.song("s")["data"]["status"] == "PENDING"
    client.clock.pass_(minutes=2)
    data = client.song("s")["data"]
    assert (data["status"], data["errorCode"], len(data["response"]["sunoData"])) == ("SUCCESS", 0, 2)


def test_songs_without_cover_in_snake_case_and_with_another_key(client: Client) -> None:
    client.kie.add_song("bare", Song(cover=None))
    client.kie.add_song("snake", Song(snake_case=True))
    client.kie.add_song("hidden", Song(api_key="other"))
    assert client.song("bare")["data"]["response"]["sunoData"][0]["imageUrl"] is None
    assert client.song("snake")["data"]["response"]["sunoData"][0]["image_url"].endswith(".jpeg")
    assert client.song("hidden")["data"] is None


@pytest.mark.parametrize("cover", [(360, 360), GOOD_COVER])
def test_covers_have_their_size(client: Client, cover: tuple[int, int]) -> None:
    from io import BytesIO

    from PIL import Image

    client.kie.add_song("s", Song(cover=cover))
    url = client.song("s")["data"]["response"]["sunoData"][0]["imageUrl"]
    with Image.open(BytesIO(client.file(url).body)) as image:
        assert (image.size, image.format) == (cover, "JPEG")
