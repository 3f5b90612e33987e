"""What the client puts on the wire, what it keeps to itself, and what it tells of a call."""

import json
from datetime import UTC, datetime

import pytest

from reconciler.domain.catalogue import MODELS
from reconciler.domain.closing import UNHEALTHY
from reconciler.domain.findings import (
    Accepted,
    AnswerLost,
    Call,
    Failed,
    NotFound,
    NothingMade,
    Refusal,
    Running,
    SongPending,
    Trouble,
)
from reconciler.domain.policy import Target
from reconciler.kie.client import KieClient
from reconciler.ports import Order
from reconciler.transport import Broken, Forbidden, NotSent, Reply, Request, TimedOut, Transport, TransportError

NOW = datetime(2026, 11, 1, tzinfo=UTC)
KEY, MUSIC_KEY = "image-account-key", "music-account-key"
MODEL = "bytedance/seedream-v4-text-to-image"
ORDER = Order(MODEL, "Mist – ä", Target(), NOW, "https://ops.example/callback/token")


class Wire:
    """Answers every request with `reply`, or raises it, and keeps what was asked."""

    def __init__(self, reply: Reply | TransportError) -> None:
        self.reply = reply
        self.asked: list[Request] = []

    def __call__(self, request: Request) -> Reply:
        self.asked.append(request)
        if isinstance(self.reply, TransportError):
            raise self.reply
        return self.reply

    def client(
        self, base_url: str = "https://api.kie.ai", api_key: str = KEY, suno_api_key: str = MUSIC_KEY
    ) -> KieClient:
        transport = Transport(user_agent="reconciler/1", clock=lambda: NOW, handler=self)
        return KieClient(transport, base_url=base_url, api_key=api_key, suno_api_key=suno_api_key)


def body(value: object, **headers: str) -> Reply:
    return Reply(200, headers, json.dumps(value).encode(), complete=True)


OK = body({"code": 200, "msg": "success", "data": {"taskId": "t1"}})


def test_a_creation_is_one_post_with_the_models_own_fields() -> None:
    wire = Wire(OK)
    assert wire.client(base_url="https://api.kie.ai/").create(ORDER) == Accepted("t1")
    (request,) = wire.asked
    assert (request.method, request.url) == ("POST", "https://api.kie.ai/api/v1/jobs/createTask")
    assert request.not_after == ORDER.send_before
    assert request.headers["Authorization".lower()] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == "reconciler/1"
    assert json.loads(request.body or b"") == {
        "model": MODEL,
        "input": MODELS[MODEL].request("Mist – ä", Target()),
        "callBackUrl": "https://ops.example/callback/token",
    }


def test_without_a_callback_none_is_named() -> None:
    wire = Wire(OK)
    wire.client().create(Order(MODEL, "Mist", Target(), NOW))
    assert set(json.loads(wire.asked[0].body or b"")) == {"model", "input"}


@pytest.mark.parametrize("suno_api_key", ["", MUSIC_KEY])
def test_a_record_that_names_another_task_than_was_asked_for_is_not_believed(suno_api_key: str) -> None:
    client = Wire(body({"code": 200, "data": {"taskId": "t1", "state": "waiting", "status": "PENDING"}})).client(
        suno_api_key=suno_api_key
    )
    assert (client.task("t1"), client.song("t1")) == (Running(), SongPending())
    for answer in (client.task("t2"), client.song("t2")):
        assert isinstance(answer, Trouble)
        assert answer.call is Call.MALFORMED


def test_each_query_has_its_path_and_its_key() -> None:
    wire = Wire(OK)
    client = wire.client()
    client.task("a/b c")
    client.song("s1")
    client.credit()
    assert [(request.method, request.url, request.headers["authorization"]) for request in wire.asked] == [
        ("GET", "https://api.kie.ai/api/v1/jobs/recordInfo?taskId=a%2Fb%20c", f"Bearer {KEY}"),
        ("GET", "https://api.kie.ai/api/v1/generate/record-info?taskId=s1", f"Bearer {MUSIC_KEY}"),
        ("GET", "https://api.kie.ai/api/v1/chat/credit", f"Bearer {KEY}"),
    ]
    wire.client(suno_api_key="").song("s1")
    assert wire.asked[-1].headers["authorization"] == f"Bearer {KEY}"


def test_songs_are_asked_for_with_their_own_key_where_it_is_the_only_one() -> None:
    wire = Wire(body({"code": 200, "msg": "success", "data": None}))
    client = wire.client(api_key="")
    assert isinstance(client.song("s1"), NotFound)
    assert [request.headers["authorization"] for request in wire.asked] == [f"Bearer {MUSIC_KEY}"]
    for answer in (client.task("t1"), client.credit(), client.create(ORDER)):
        assert isinstance(answer, Trouble | NothingMade)
        assert answer.refusal is Refusal.KEY
    assert len(wire.asked) == 1


def test_the_key_never_leaves_its_origin_by_a_redirect() -> None:
    wire = Wire(Reply(302, {"location": "https://elsewhere.example/"}, b"", complete=True))
    client = wire.client()
    assert isinstance(client.create(ORDER), AnswerLost)
    assert isinstance(client.credit(), Trouble)
    assert {request.url.split("/")[2] for request in wire.asked} == {"api.kie.ai"}


def test_a_key_that_is_repeated_to_us_is_blotted_out() -> None:
    wire = Wire(body({"code": 401, "msg": f"Unknown key {KEY}, or {MUSIC_KEY}", "data": None}))
    client = wire.client()
    answer = client.credit()
    assert isinstance(answer, Trouble)
    assert answer.detail == "code 401: Unknown key ***, or ***"
    assert KEY not in repr(client)


@pytest.mark.parametrize(
    ("code", "call", "refusal"),
    [
        (401, Call.UNAUTHORIZED, Refusal.KEY),
        (402, Call.NO_CREDITS, Refusal.CREDITS),
        (433, Call.NO_CREDITS, Refusal.KEY_CAP),
    ],
)
def test_what_is_refused_to_the_songs_own_key_says_nothing_of_the_other(
    code: int, call: Call, refusal: Refusal
) -> None:
    wire = Wire(body({"code": code, "msg": f"not with {MUSIC_KEY}", "data": None}))
    told = f"code {code}: not with ***"
    assert wire.client().song("s1") == Trouble(call, f"Kie refuses kie.suno_api_key: {told}", Refusal.OUTAGE)
    assert call not in UNHEALTHY
    assert wire.client().credit() == wire.client().task("t1") == Trouble(call, told, refusal)
    for same in ("", KEY):
        answer = wire.client(suno_api_key=same).song("s1")
        assert isinstance(answer, Trouble)
        assert answer.refusal is refusal


def test_a_rate_limit_of_the_songs_own_key_says_when_to_ask_for_songs_again_and_nothing_of_the_other() -> None:
    wire = Wire(body({"code": 430, "msg": "", "data": None}, **{"retry-after": "9"}))
    told = "Kie refuses kie.suno_api_key: code 430:"
    assert wire.client().song("s1") == Trouble(Call.RATE_LIMITED, told, Refusal.OUTAGE, 9)
    assert Call.RATE_LIMITED not in UNHEALTHY
    for other in (wire.client().task("t1"), wire.client(suno_api_key="").song("s1")):
        assert other == Trouble(Call.RATE_LIMITED, "code 430:", Refusal.RATE, 9)


def test_a_providers_link_loses_its_query() -> None:
    wire = Wire(body({"code": 500, "msg": "see https://files.example/x?signature=secret\nnow", "data": None}))
    answer = wire.client().task("t1")
    assert isinstance(answer, Trouble)
    assert answer.detail == "code 500: see https://files.example/x now"


def test_retry_after_is_passed_on() -> None:
    wire = Wire(body({"code": 430, "msg": "", "data": None}, **{"retry-after": "9"}))
    made = wire.client().create(ORDER)
    assert isinstance(made, NothingMade)
    assert made.retry_after_s == 9


@pytest.mark.parametrize(
    ("date", "hour"), [({"date": "Sun, 01 Nov 2026 05:00:00 GMT"}, 5), ({"date": "soon"}, 0), ({}, 0)]
)
def test_until_when_to_wait_is_read_by_the_clock_of_who_says_it_or_by_ours(date: dict[str, str], hour: int) -> None:
    until = {"retry-after": f"Sun, 01 Nov 2026 0{hour}:00:09 GMT"}
    wire = Wire(body({"code": 430, "msg": "", "data": None}, **date, **until))
    made, asked = wire.client().create(ORDER), wire.client().task("t1")
    assert isinstance(made, NothingMade)
    assert isinstance(asked, Trouble)
    assert made.retry_after_s == asked.retry_after_s == 9


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (NotSent("refused"), Call.CONNECT_ERROR),
        (Forbidden("private"), Call.CONNECT_ERROR),
    ],
)
def test_what_was_surely_not_sent_made_nothing(error: TransportError, call: Call) -> None:
    wire = Wire(error)
    made = wire.client().create(ORDER)
    assert made == NothingMade(Refusal.OUTAGE, call, error.detail, sent=False)
    assert wire.client().task("t1") == Trouble(call, error.detail)


def test_what_a_failed_connection_says_is_cleaned_too() -> None:
    wire = Wire(NotSent("moved\x1b[31m to https://api.kie.ai/x?token=secret"))
    assert wire.client().task("t1") == Trouble(Call.CONNECT_ERROR, "moved [31m to https://api.kie.ai/x")


@pytest.mark.parametrize(("error", "call"), [(TimedOut("slow"), Call.TIMEOUT), (Broken("reset"), Call.CONNECT_ERROR)])
def test_what_may_have_been_sent_is_unknown_and_never_repeated(error: TransportError, call: Call) -> None:
    wire = Wire(error)
    assert wire.client().create(ORDER) == AnswerLost(call, error.detail)
    assert len(wire.asked) == 1


def test_an_answer_is_capped() -> None:
    filler = " " * 1024 * 1024
    wire = Wire(Reply(200, {}, OK.body + filler.encode(), complete=True))
    assert isinstance(wire.client().create(ORDER), AnswerLost)


def test_a_prompt_of_any_text_can_be_sent() -> None:
    wire = Wire(OK)
    wire.client().create(Order(MODEL, "\ud800\x00", Target(), NOW))
    assert json.loads(wire.asked[0].body or b"")["input"]["prompt"] == "\ud800\x00"


def test_a_failed_record_is_cleaned_too() -> None:
    data = {"state": "fail", "failMsg": f"flagged\x1b[31m {'x' * 999}"}
    answer = Wire(body({"code": 200, "msg": "", "data": data})).client().task("t1")
    assert isinstance(answer, Failed)
    assert answer.detail == f"flagged [31m {'x' * 999}"[:300]
