"""Creations: what is bought, refused, lost, and what the book says of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.kie.simulated import (
    DROPPED,
    FAILED_AT_ONCE,
    KEY_CAPPED,
    LOST,
    AnswerPicture,
    Break,
    Fault,
    Money,
    OmitTaskId,
    Refuse,
    Reply,
    Stall,
    Succeed,
    page,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kie.simulated.conftest import Client

LITE = "seedream/5-lite-text-to-image"


def test_a_price_is_held_at_once_and_charged_on_success(client: Client) -> None:
    client.create()
    assert client.credit() == 995.0
    assert client.kie.book.credits_held == 5.0
    client.clock.pass_(minutes=3)
    assert (client.kie.book.credits_spent, client.kie.book.credits_held, client.credit()) == (5.0, 0.0, 995.0)
    assert client.kie.book.purchases[0].money is Money.CHARGED


def test_a_failure_is_refunded(client: Client) -> None:
    client.kie.script.when(FAILED_AT_ONCE)
    task_id = client.create()
    assert client.record(task_id)["state"] == "fail"
    assert client.credit() == 1000.0
    assert client.kie.book.purchases[0].money is Money.REFUNDED


def test_creations_stop_when_credits_are_short(open_kie: Callable[..., Client]) -> None:
    client = open_kie(credits=12.5)
    assert [client.code(client.post(f"track {n}")) for n in range(3)] == [200, 200, 402]
    assert len(client.kie.book.purchases) == 2
    assert len(client.kie.book.creations) == 3


def test_a_wrong_key_is_refused_without_data(client: Client) -> None:
    client.key = "wrong"
    assert client.json(client.post()) == {"code": 401, "msg": "Unauthorized – Authentication failed."}
    assert "data" not in client.json(client.call("GET", "/api/v1/chat/credit"))
    assert client.kie.book.purchases == ()


def test_any_key_will_do_where_none_is_set(open_kie: Callable[..., Client]) -> None:
    client = open_kie(api_keys=None)
    client.key = "whatever"
    assert client.code(client.post()) == 200
    client.key = ""
    assert client.code(client.post()) == 401


@pytest.mark.parametrize("code", [429, 430])
def test_the_rate_limit_slides_and_rejects(open_kie: Callable[..., Client], code: int) -> None:
    client = open_kie(limit_code=code)
    codes = []
    for number in range(25):
        codes.append(client.code(client.post(f"track {number}")))
        client.clock.pass_(seconds=0.1)
    assert codes == [200] * 20 + [code] * 5
    client.clock.now = client.clock.now.replace(
        second=10, microsecond=0
    )  # the first arrival has left the window, the second not
    assert [client.code(client.post("a")), client.code(client.post("b"))] == [200, code]


def test_others_spend_from_the_same_rate(client: Client) -> None:
    client.kie.crowd(19)
    assert [client.code(client.post("a")), client.code(client.post("b"))] == [200, 430]


def test_so_many_tasks_run_at_once(open_kie: Callable[..., Client]) -> None:
    client = open_kie(max_running=2)
    assert [client.code(client.post(f"track {n}")) for n in range(3)] == [200, 200, 430]
    client.clock.pass_(minutes=3)
    assert client.code(client.post()) == 200


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ({"image_resolution": "2k"}, 500, "image_resolution is not within the range of allowed options"),
        ({"image_size": "16:9"}, 500, "image_size is not within the range of allowed options"),
        ({"prompt": ""}, 500, "This field is required"),
        ({"prompt": "x" * 5001}, 500, "not within the range"),
        ({"model": LITE}, 500, "This field is required"),
        ({"model": LITE, "aspect_ratio": "16:9", "quality": "2K"}, 500, "quality is not within"),
        (
            {"model": LITE, "aspect_ratio": "16:9", "quality": "basic", "prompt": "x" * 3001},
            500,
            "not within the range",
        ),
        ({"model": "no/such"}, 422, "not published"),
        ({"prompt": "a Forbidden-at-once thing"}, 400, "caught by our AI moderator"),
    ],
)
def test_wrong_requests_are_refused_and_cost_nothing(
    client: Client, given: dict[str, Any], code: int, words: str
) -> None:
    answer = client.json(client.post(**given))
    assert (answer["code"], answer["data"]) == (code, None)
    assert words in answer["msg"]
    assert client.kie.book.purchases == ()
    assert client.credit() == 1000.0


def test_unknown_fields_are_ignored(client: Client) -> None:
    assert client.code(client.post(imageResolution="4K")) == 200


@pytest.mark.parametrize("body", [None, [], {"input": "text"}, {"model": "bytedance/seedream-v4-text-to-image"}])
def test_a_body_of_another_kind_is_refused(client: Client, body: object) -> None:
    assert client.code(client.call("POST", "/api/v1/jobs/createTask", body)) in {422, 500}


@pytest.mark.parametrize("refusal", [KEY_CAPPED, Refuse(429, "The credits are insufficient", http_status=429)])
def test_a_scripted_refusal_makes_nothing(client: Client, refusal: Refuse) -> None:
    client.kie.script.next("create", refusal)
    response = client.post()
    assert (client.code(response), response.status) == (refusal.code, refusal.http_status)
    assert client.code(client.post()) == 200
    assert [each.answer for each in client.kie.book.creations] == [str(refusal.code), "200"]


@pytest.mark.parametrize(
    ("answer", "made"),
    [
        (LOST, 1),
        (DROPPED, 0),
        (Break(Fault.DRIP, done=True), 1),
        (Break(Fault.CUT_HALF), 0),
        (Break(Fault.HANG), 0),
        (page(502), 0),
        (page(503, done=True), 1),
        (OmitTaskId(), 1),
        (OmitTaskId(made=False), 0),
        (Reply(200, b"{", "application/json", done=True), 1),
    ],
)
def test_answers_that_tell_nothing(client: Client, answer: Break | Reply | OmitTaskId, made: int) -> None:
    client.kie.script.next("create", answer)
    response = client.post()
    assert response.fault is (answer.fault if isinstance(answer, Break) else None)
    assert b"taskId" not in response.body or response.fault is not None
    assert len(client.kie.book.purchases) == made
    assert client.credit() == 1000.0 - 5.0 * made


@pytest.mark.parametrize("with_task_id", [True, False])
def test_a_finished_picture_in_the_creations_own_answer(client: Client, with_task_id: bool) -> None:
    client.kie.script.next("create", AnswerPicture(with_task_id))
    data = client.json(client.post())["data"]
    assert ("taskId" in data) is with_task_id
    assert client.file(data["response"]["imageUrl"]).status == 200
    assert client.kie.book.purchases[0].money is Money.CHARGED


def test_the_book_holds_what_was_sent(client: Client) -> None:
    url = "https://ops.example/callback/7f3a"
    body = {"model": LITE, "input": {"prompt": "Lake", "aspect_ratio": "16:9", "quality": "basic"}, "callBackUrl": url}
    task_id = client.json(client.call("POST", "/api/v1/jobs/createTask", body))["data"]["taskId"]
    (bought,) = client.kie.book.purchases_for("Lake")
    assert (bought.task_id, bought.call_back_url, bought.model, bought.price) == (task_id, url, LITE, 5.5)
    assert (bought.arrived_at, bought.input) == (client.clock.now, body["input"])
    assert client.kie.book.writes == 1
    client.credit()
    assert client.kie.book.writes == 1


def test_rules_choose_by_prompt_count_and_window(client: Client) -> None:
    client.kie.script.when(Refuse(455, "maintenance"), operation="create", prompt_contains="lake", skip=1, times=2)
    assert [client.code(client.post("a lake")) for _ in range(4)] == [200, 455, 455, 200]
    client.kie.script.outage(client.clock.now, client.clock.now + timedelta(minutes=5), page(503))
    assert (client.post().status, client.call("GET", "/api/v1/chat/credit").status) == (503, 503)
    client.clock.pass_(minutes=5)
    assert client.post().status == 200


def test_limited_rules_come_before_standing_ones(client: Client) -> None:
    client.kie.script.when(Stall())
    client.kie.script.next("create", Succeed(run=timedelta(0)), FAILED_AT_ONCE)
    assert [client.record(client.create(name))["state"] for name in "abc"] == ["success", "fail", "waiting"]


def test_the_same_seed_gives_the_same_ids_in_any_order(open_kie: Callable[..., Client]) -> None:
    one, two, other = open_kie(), open_kie(), open_kie(seed=1)
    ids = {name: one.create(name) for name in ("a", "b", "c")}
    assert {name: two.create(name) for name in ("c", "b", "a")} == ids
    assert other.create("a") != ids["a"]
    assert one.create("a") != ids["a"]
