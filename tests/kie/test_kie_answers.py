"""What each answer means: every recorded body, every code of the table, every odd form, and anything at all."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.findings import (
    Accepted,
    AnswerLost,
    Call,
    Credits,
    Failed,
    NotFound,
    NothingMade,
    Refusal,
    Running,
    SongFinal,
    SongPending,
    Succeeded,
    Trouble,
)
from reconciler.kie import answers, wire
from reconciler.kie.answers import Heard, Odd, Raw

PAYLOADS = Path(__file__).parent / "payloads"
TASK = "5b1f0c9de2a84c7796d4a3f20c8e1b57"
URL = f"https://tempfile.aiquickdraw.com/p/{TASK}_1_1790000021_1234.jpg"
SECOND = URL.replace("_1_179", "_2_179")
CREATED = datetime.fromtimestamp(1_790_000_000, UTC)
PROMPT = "Mist over a quiet lake at dawn"
COVERS = tuple(f"https://musicfile.kie.ai/c{n}.jpeg" for n in (1, 2))
SOURCES = tuple(f"https://cdn2.suno.ai/image_{n}.jpeg" for n in (1, 2))


CALLED = "https://ops.example/callback?token=7f3a"


def payload(name: str) -> Raw:
    recorded = json.loads((PAYLOADS / f"{name}.json").read_text())
    body = recorded["body_text"].encode() if "body_text" in recorded else json.dumps(recorded["body"]).encode()
    return Raw(recorded["http_status"] or 200, body)


def raw(body: object, status: int = 200, **rest: Any) -> Raw:
    return Raw(status, body if isinstance(body, bytes) else json.dumps(body).encode(), **rest)


def envelope(code: int, msg: str = "", data: object = None, status: int = 200) -> Raw:
    return raw({"code": code, "msg": msg, "data": data}, status)


def record(**fields: object) -> Raw:
    return envelope(200, "success", {"taskId": TASK, "state": "success", "createTime": 1_790_000_000_000} | fields)


def succeeded(*urls: str, ended_ms: int | None = 1_790_000_021_400, prompt: str | None = PROMPT) -> Succeeded:
    ended = None if ended_ms is None else datetime.fromtimestamp(ended_ms / 1000, UTC)
    return Succeeded(urls, CREATED, ended, prompt, None if prompt is None else CALLED)


UNTOLD = AnswerLost(Call.MALFORMED, "code 200: success", heard=True)

# -- recorded bodies -----------------------------------------------------------------------------------------------

RECORDED: dict[str, tuple[str, object, Call, Odd | None]] = {
    "create-ok": ("creation", Accepted(TASK), Call.OK, None),
    "create-without-task-id": ("creation", UNTOLD, Call.MALFORMED, Odd.SHAPE),
    "record-waiting": ("task", Running(CREATED, CALLED), Call.OK, None),
    "record-waiting-with-url": ("task", Running(CREATED, CALLED), Call.OK, None),
    "record-generating-2026-09": ("task", Running(CREATED, CALLED), Call.OK, None),
    "record-success": ("task", succeeded(URL), Call.OK, None),
    "record-success-object": ("task", succeeded(URL), Call.OK, None),
    "record-success-several": ("task", succeeded(URL, SECOND, ended_ms=1_790_000_033_400), Call.OK, None),
    "record-success-empty": ("task", succeeded(ended_ms=1_790_000_020_000), Call.OK, Odd.SHAPE),
    "record-fail-content": (
        "task",
        Failed(
            Refusal.CONTENT,
            "422 The input or output was flagged as sensitive. Please try again with different inputs.",
            CREATED,
            CALLED,
        ),
        Call.OK,
        None,
    ),
    "record-fail-outage": (
        "task",
        Failed(Refusal.OUTAGE, "422 generate playground failed, task id is blank", CREATED, CALLED),
        Call.OK,
        None,
    ),
    "record-fail-server": (
        "task",
        Failed(Refusal.OUTAGE, "500 internal error, please try again later.", CREATED, CALLED),
        Call.OK,
        None,
    ),
    "record-not-found": ("task", NotFound("code 422: recordInfo is null"), Call.NOT_FOUND, None),
    "callback-job-success": ("task", succeeded(URL), Call.OK, None),
    "callback-job-failure": (
        "task",
        Failed(Refusal.OUTAGE, "500 Internal Error, Please try again later."),
        Call.OK,
        None,
    ),
    "suno-success": ("song", SongFinal(COVERS + SOURCES), Call.OK, None),
    "suno-first-success": ("song", SongPending(), Call.OK, None),
    "suno-pending": ("song", SongPending(), Call.OK, None),
    "suno-pending-lost": ("song", SongFinal(), Call.OK, None),
    "suno-not-found": ("song", NotFound("code 200: success"), Call.NOT_FOUND, None),
    "credit": ("credit", Credits(203.24), Call.OK, None),
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_body_means_what_it_says(name: str) -> None:
    question, answer, call, odd = RECORDED[name]
    assert getattr(answers, question)(payload(name)) == Heard(answer, call, odd)


REFUSED: dict[str, tuple[Refusal, Call, Odd | None]] = {
    "create-frequency": (Refusal.RATE, Call.RATE_LIMITED, None),
    "create-invalid": (Refusal.REQUEST, Call.REJECTED, None),
    "create-no-credits": (Refusal.CREDITS, Call.NO_CREDITS, None),
    "unauthorized": (Refusal.KEY, Call.UNAUTHORIZED, None),
    "record-unknown-path": (Refusal.OUTAGE, Call.MALFORMED, Odd.STATUS),
    "html-502": (Refusal.OUTAGE, Call.SERVER_ERROR, Odd.STATUS),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_recorded_refusal_is_no_knowledge_of_a_task_and_makes_none(name: str) -> None:
    refusal, call, odd = REFUSED[name]
    for question in (answers.task, answers.song, answers.credit):
        heard = question(payload(name))
        assert isinstance(heard.answer, Trouble)
        assert (heard.answer.refusal, heard.answer.call, heard.call, heard.odd) == (refusal, call, call, odd)
    made = answers.creation(payload(name))
    if name == "html-502":
        assert made == Heard(AnswerLost(call, payload(name).text(), heard=True), call, odd)
    else:
        assert isinstance(made.answer, NothingMade)
        assert (made.answer.refusal, made.answer.call, made.answer.sent, made.odd) == (refusal, call, True, odd)


def test_every_recorded_body_is_tried() -> None:
    names = {path.stem for path in PAYLOADS.glob("*.json")}
    assert names - {"callback-music-complete"} == set(RECORDED) | set(REFUSED)


# -- codes and words -----------------------------------------------------------------------------------------------

CODES = {
    400: (Refusal.CONTENT, Call.REJECTED),
    401: (Refusal.KEY, Call.UNAUTHORIZED),
    402: (Refusal.CREDITS, Call.NO_CREDITS),
    408: (Refusal.OUTAGE, Call.SERVER_ERROR),
    409: (Refusal.OUTAGE, Call.SERVER_ERROR),
    422: (Refusal.REQUEST, Call.REJECTED),
    429: (Refusal.RATE, Call.RATE_LIMITED),
    430: (Refusal.RATE, Call.RATE_LIMITED),
    433: (Refusal.KEY_CAP, Call.NO_CREDITS),
    451: (Refusal.REQUEST, Call.REJECTED),
    455: (Refusal.OUTAGE, Call.SERVER_ERROR),
    500: (Refusal.OUTAGE, Call.SERVER_ERROR),
    505: (Refusal.REQUEST, Call.REJECTED),
    550: (Refusal.OUTAGE, Call.SERVER_ERROR),
}
FAILED_CODES = (501, 531)
WORDS = {
    "Your request was flagged by the safety system.": Refusal.CONTENT,
    "The input or output was flagged as sensitive.": Refusal.CONTENT,
    "SENSITIVE_WORD_ERROR": Refusal.CONTENT,
    "Your prompt was caught by our AI moderator": Refusal.CONTENT,
    "This may be related to copyright restrictions": Refusal.CONTENT,
    "The prompt contains prohibited words.": Refusal.CONTENT,
    "It violates our policy": Refusal.CONTENT,
    "Internal Error, Please try again later.": Refusal.OUTAGE,
    "The server is busy": Refusal.OUTAGE,
    "Upload failed": Refusal.OUTAGE,
    "generate playground failed, task id is blank": Refusal.OUTAGE,
    "createTaskRep is blank": Refusal.OUTAGE,
    "no response from upstream": Refusal.OUTAGE,
    "upstream timeout": Refusal.OUTAGE,
    "image_resolution is not within the range of allowed options": Refusal.REQUEST,
    "This field is required": Refusal.REQUEST,
    "The model is not published": Refusal.REQUEST,
    "The current credits are insufficient. Please top up.": Refusal.CREDITS,
    "Insufficient credits": Refusal.CREDITS,
    "Your balance does not cover it": Refusal.CREDITS,
    "Your call frequency is too high. Please try again later.": Refusal.RATE,
    "rate limit reached": Refusal.RATE,
    "Too many requests": Refusal.RATE,
}


@pytest.mark.parametrize("code", CODES)
def test_a_code_without_known_words_is_judged_by_the_code(code: int) -> None:
    refusal, call = CODES[code]
    asked = answers.task(envelope(code, "hm"))
    assert asked == Heard(Trouble(call, f"code {code}: hm", refusal), call)
    made = answers.creation(envelope(code, "hm"))
    assert made == Heard(NothingMade(refusal, call, f"code {code}: hm"), call)


@pytest.mark.parametrize("code", [*CODES, 404, *FAILED_CODES])
@pytest.mark.parametrize("words", WORDS)
def test_words_lead_over_codes(code: int, words: str) -> None:
    made = answers.creation(envelope(code, words)).answer
    assert isinstance(made, NothingMade)
    assert made.refusal is WORDS[words]
    asked = answers.task(envelope(code, words)).answer
    if code in FAILED_CODES:
        assert asked == Failed(WORDS[words], f"code {code}: {words}")
    else:
        assert isinstance(asked, Trouble)
        assert asked.refusal is WORDS[words]


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("code", ["400", "422", "500", None])
def test_a_failed_task_is_refused_for_what_its_words_say_and_not_its_code(code: str | None, words: str) -> None:
    answer = answers.task(record(state="fail", failCode=code, failMsg=words)).answer
    assert isinstance(answer, Failed)
    assert answer.refusal is WORDS[words]


def test_a_failure_may_name_its_cause_in_the_code() -> None:
    answer = answers.task(record(state="fail", failCode="SENSITIVE_WORD_ERROR", failMsg=None)).answer
    assert answer == Failed(Refusal.CONTENT, "SENSITIVE_WORD_ERROR", CREATED)


def test_of_a_long_text_only_the_beginning_is_read() -> None:
    """The patterns take time by the square of what they read."""
    filler = "x " * 1000
    for words in ("flagged", "record not found"):
        heard = answers.task(envelope(422, filler + words))
        assert isinstance(heard.answer, Trouble)
        assert heard.answer.refusal is Refusal.REQUEST


def test_case_sensitive_is_not_sensitive() -> None:
    answer = answers.creation(envelope(422, "Values are case-sensitive")).answer
    assert isinstance(answer, NothingMade)
    assert answer.refusal is Refusal.REQUEST


@pytest.mark.parametrize("msg", [{}, {"msg": None}, {"msg": ""}, {"msg": " "}, {"msg": []}])
def test_message_is_read_where_msg_says_nothing(msg: dict[str, object]) -> None:
    answer = answers.creation(raw({"code": 429, "message": "credits insufficient"} | msg)).answer
    assert isinstance(answer, NothingMade)
    assert answer.refusal is Refusal.CREDITS


@pytest.mark.parametrize("code", [418, 599, 9999])
def test_an_unknown_code_of_an_error_is_counted(code: int) -> None:
    made, asked = answers.creation(envelope(code)), answers.task(envelope(code))
    assert isinstance(made.answer, NothingMade)
    assert isinstance(asked.answer, Trouble)
    assert made.odd is asked.odd is Odd.CODE


@pytest.mark.parametrize("code", [-1, 0, 1, 201, 302])
def test_an_unknown_code_that_may_be_a_success_leaves_all_open(code: int) -> None:
    made, asked = answers.creation(envelope(code)), answers.task(envelope(code))
    assert isinstance(made.answer, AnswerLost)
    assert isinstance(asked.answer, Trouble)
    assert made.odd is asked.odd is Odd.CODE


# -- creations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        ({"response": {"imageUrl": URL}}, Accepted(None, (URL,))),
        ({"imageUrl": URL}, Accepted(None, (URL,))),
        ({"resultUrls": [URL, SECOND]}, Accepted(None, (URL, SECOND))),
        ({"resultUrls": [{"url": URL}, {"image_url": SECOND}]}, Accepted(None, (URL, SECOND))),
        ({"resultObject": {"url": URL}}, Accepted(None, (URL,))),
        ({"taskId": TASK, "response": {"resultUrls": [URL]}}, Accepted(TASK, (URL,))),
        ({"task_id": TASK}, Accepted(TASK)),
        ({"taskId": "task_bytedance_1765"}, Accepted("task_bytedance_1765")),
    ],
)
def test_a_creation_gives_an_id_or_a_picture_or_both(data: object, answer: Accepted) -> None:
    assert answers.creation(envelope(200, "success", data)) == Heard(answer)


@pytest.mark.parametrize("key", ["url", "image_url"])
def test_a_link_that_a_creation_only_mentions_is_no_picture(key: str) -> None:
    link = {key: "https://kie.ai/logs"}
    assert answers.creation(envelope(200, "success", {"taskId": TASK, "response": link} | link)) == Heard(
        Accepted(TASK)
    )
    assert answers.creation(envelope(200, "success", link)).answer == UNTOLD


@pytest.mark.parametrize("key", ["url", "imageUrl", "resultUrls"])
def test_a_link_in_a_refusal_is_no_picture(key: str) -> None:
    answer = answers.creation(envelope(422, "hm", {key: "https://docs.kie.ai/errors.png"})).answer
    assert answer == NothingMade(Refusal.REQUEST, Call.REJECTED, "code 422: hm")


@pytest.mark.parametrize("body", [{}, {"code": None}, {"code": True}, {"code": "OK"}, {"code": 200.5}])
def test_without_a_readable_code_a_success_that_names_its_task_is_one_and_counted(body: dict[str, object]) -> None:
    named = {"msg": "success", "data": {"taskId": TASK, "imageUrl": URL}} | body
    for status in (200, 201):
        assert answers.creation(raw(named, status)) == Heard(Accepted(TASK), odd=Odd.SHAPE)
    assert isinstance(answers.creation(raw(named, 302)).answer, AnswerLost)
    assert isinstance(answers.creation(raw(named, 400)).answer, NothingMade)
    assert isinstance(answers.creation(raw(named, 502)).answer, AnswerLost)
    assert isinstance(answers.creation(raw(named, complete=False)).answer, AnswerLost)
    unnamed = body | {"data": {"imageUrl": URL}}
    assert answers.creation(raw(unnamed)) == Heard(
        AnswerLost(Call.MALFORMED, raw(unnamed).text(), heard=True), Call.MALFORMED, Odd.SHAPE
    )


@pytest.mark.parametrize("form", [str, float, " {} ".format])
def test_a_code_is_read_as_text_and_as_a_float(form: Callable[[int], object]) -> None:
    def said(code: int, data: object = None) -> Raw:
        return raw({"code": form(code), "msg": "hm", "data": data})

    assert answers.creation(said(200, {"taskId": TASK})) == Heard(Accepted(TASK))
    assert answers.creation(said(402)) == answers.creation(envelope(402, "hm"))
    assert answers.task(said(200, {"state": "waiting"})) == Heard(Running())
    assert answers.credit(said(200, 5)) == Heard(Credits(5))


@pytest.mark.parametrize("status", [200, 409, 500, 502])
@pytest.mark.parametrize("code", [200, 409, 500])
def test_a_task_id_is_a_task_whatever_else_is_said(status: int, code: int) -> None:
    assert answers.creation(envelope(code, "The record exists", {"taskId": TASK}, status)).answer == Accepted(TASK)


@pytest.mark.parametrize("data", [None, {}, [], "", {"taskId": ""}, {"taskId": None}, {"taskId": "a\x00b"}, "x" * 500])
def test_success_without_an_id_or_a_picture_is_unknown(data: object) -> None:
    assert answers.creation(envelope(200, "success", data)).answer == UNTOLD


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 520, 524])
@pytest.mark.parametrize("body", [b"", b"<html>", json.dumps({"code": 500, "msg": "error", "data": None}).encode()])
def test_an_edge_error_leaves_a_creation_unknown(status: int, body: bytes) -> None:
    answer = answers.creation(Raw(status, body)).answer
    assert isinstance(answer, AnswerLost)
    assert answer.call is (Call.TIMEOUT if status in (408, 504) else Call.SERVER_ERROR)


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (400, Refusal.REQUEST),
        (401, Refusal.KEY),
        (402, Refusal.CREDITS),
        (403, Refusal.OUTAGE),
        (404, Refusal.OUTAGE),
        (405, Refusal.OUTAGE),
        (429, Refusal.RATE),
    ],
)
def test_an_http_refusal_makes_nothing(status: int, refusal: Refusal) -> None:
    """The words of a page are an edge's: "access prohibited" says nothing about the prompt."""
    page = raw(b"<html>Access prohibited. Too many violations</html>", status, retry_after="7")
    made, asked = answers.creation(page).answer, answers.task(page).answer
    assert isinstance(made, NothingMade)
    assert isinstance(asked, Trouble)
    assert made.refusal is asked.refusal is refusal
    assert made.retry_after_s == asked.retry_after_s == 7


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize(
    "body", [b"", b"<html>Not found</html>", b'{"status": 404, "error": "Not Found", "path": "/"}']
)
def test_a_page_that_knows_no_such_path_makes_nothing_and_is_no_answer_of_kies(status: int, body: bytes) -> None:
    made, asked = answers.creation(raw(body, status)), answers.credit(raw(body, status))
    assert isinstance(made.answer, NothingMade)
    assert (made.call, made.odd) == (asked.call, asked.odd) == (Call.MALFORMED, Odd.STATUS)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"{",
        b'{"code":"200"}',
        b'{"code":true}',
        b'{"code":1e999}',
        b'{"code":"%s"}' % (b"9" * 5000),
        b"\xff\xfe",
        b"[" * 99_999,
    ],
)
@pytest.mark.parametrize("status", [200, 204, 302])
def test_an_unreadable_body_is_malformed(status: int, body: bytes) -> None:
    assert isinstance(answers.creation(Raw(status, body)).answer, AnswerLost)
    for question in (answers.task, answers.song, answers.credit):
        heard = question(Raw(status, body))
        assert isinstance(heard.answer, Trouble)
        assert (heard.answer.call, heard.odd) == (Call.MALFORMED, Odd.SHAPE)


def test_a_cut_body_is_not_read_even_where_it_seems_whole() -> None:
    cut = Raw(200, payload("create-ok").body, complete=False)
    assert isinstance(answers.creation(cut).answer, AnswerLost)
    cut = Raw(200, payload("record-not-found").body, complete=False)
    assert isinstance(answers.task(cut).answer, Trouble)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("", None), ("12", 12), (" 3 ", 3), ("9" * 8, 86_400), ("-1", None), ("soon", None)],
)
def test_retry_after_is_honoured(header: str | None, seconds: float | None) -> None:
    assert raw(b"", 429, retry_after=header).wait_s() == seconds


SAID = datetime(2026, 11, 1, 8, 49, 37, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("Sun, 01 Nov 2026 08:50:07 GMT", 30),
        (" Sunday, 01-Nov-26 08:50:07 GMT ", 30),
        ("Sun Nov  1 08:50:07 2026", 30),
        ("Sun, 01 Nov 2026 09:50:07 +0100", 30),
        ("Sun, 01 Nov 2026 08:49:37 GMT", 0),
        ("Sat, 31 Oct 2026 08:50:07 GMT", 0),
        ("Sun, 01 Nov 2099 08:50:07 GMT", 86_400),
        ("Sun, 01 Nov 2026 25:50:07 GMT", None),
        ("Sun, 01 Nov 2026 08:50:07 +9999999999999999", None),
    ],
)
def test_retry_after_is_read_as_a_date(header: str, seconds: float | None) -> None:
    assert raw(b"", 429, retry_after=header, said_at=SAID).wait_s() == seconds
    assert raw(b"", 429, retry_after=header).wait_s() is None


@pytest.mark.slow
@given(st.text() | st.text("0123456789:+-, GMTSunNov"), st.none() | st.just(SAID))
def test_any_retry_after_is_a_wait_or_none(header: str, said_at: datetime | None) -> None:
    seconds = raw(b"", 429, retry_after=header, said_at=said_at).wait_s()
    assert seconds is None or 0 <= seconds <= 86_400


# -- records -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "absent"),
    [
        ({"code": 422, "msg": "recordInfo is null", "data": None}, 200, True),
        ({"code": 404, "msg": "not found"}, 200, True),
        ({"code": 404, "msg": "The requested resource does not exist", "data": None}, 404, True),
        ({"code": 200, "msg": "success", "data": None}, 200, True),
        ({"code": 422, "msg": "The record does not exist"}, 200, True),
        ({"code": 500, "msg": "record not found", "data": None}, 200, True),
        ({"code": 200, "msg": "success"}, 200, False),
        ({"code": 422, "msg": "task id is blank", "data": None}, 200, False),
        ({"code": 404, "msg": "internal error"}, 200, False),
        ({"code": 500, "msg": "internal error"}, 200, False),
        ({"code": 401, "msg": "recordInfo is null"}, 200, False),
        ({"code": 422, "msg": "recordInfo is null", "data": None}, 502, False),
    ],
)
def test_not_found_has_its_faces_and_no_others(body: object, status: int, absent: bool) -> None:
    for question in (answers.task, answers.song):
        assert isinstance(question(raw(body, status)).answer, NotFound if absent else Trouble)
    assert isinstance(answers.credit(raw(body, status)).answer, Trouble)


def test_a_record_of_another_task_answers_nothing() -> None:
    other = answers.task(record(taskId="other", resultJson=[URL]), "asked").answer
    assert other == Trouble(Call.MALFORMED, "this is task other", Refusal.OUTAGE, None)
    assert answers.task(record(taskId="asked", resultJson=[URL]), "asked").answer == Succeeded((URL,), CREATED)
    assert answers.task(record(taskId=None, resultJson=[URL]), "asked").answer == Succeeded((URL,), CREATED)


@pytest.mark.parametrize("code", [{}, {"code": None}, {"code": "OK"}])
def test_a_record_is_read_without_a_readable_code_where_the_answer_is_a_success(code: dict[str, object]) -> None:
    done = code | {"data": {"taskId": TASK, "state": "success", "resultJson": [URL]}}
    assert answers.task(raw(done), TASK) == Heard(Succeeded((URL,)), odd=Odd.SHAPE)
    strange = code | {"data": {"state": "strange"}}
    assert answers.task(raw(strange)) == Heard(Running(), odd=Odd.STATE)
    made = code | {"data": {"status": "SUCCESS", "response": {"sunoData": [{"imageUrl": URL}]}}}
    assert answers.song(raw(made)) == Heard(SongFinal((URL,)), odd=Odd.SHAPE)
    for told in (raw(done, 404), raw(done, 502), raw(done, complete=False), raw(code), raw(code | {"data": None})):
        assert isinstance(answers.task(told, TASK).answer, Trouble)
    assert isinstance(answers.song(raw(made, 500)).answer, Trouble)
    assert isinstance(answers.task(raw(done), "another").answer, Trouble)


@pytest.mark.parametrize("word", ["running", "processing", "pending", "queued", "SUCCESS", "failed", ""])
def test_an_unknown_state_is_running_and_counted(word: str) -> None:
    assert answers.task(record(state=word, resultJson={"resultUrls": [URL]})) == Heard(Running(CREATED), odd=Odd.STATE)


@pytest.mark.parametrize("state", ["waiting", "queuing", "generating"])
def test_a_known_state_is_running(state: str) -> None:
    assert answers.task(record(state=state)) == Heard(Running(CREATED))


@pytest.mark.parametrize("data", [[], "x", 5, {"state": None}, {"state": 5}, {"taskId": TASK}, {}])
def test_a_record_without_a_state_is_no_knowledge(data: object) -> None:
    heard = answers.task(envelope(200, "success", data))
    assert isinstance(heard.answer, Trouble)
    assert (heard.call, heard.odd) == (Call.MALFORMED, Odd.SHAPE)


NO_RESULTS: tuple[object, ...] = (None, "", "{}", "{", {}, [], "[]", {"resultUrls": []}, {"resultUrls": None}, 5)


@pytest.mark.parametrize(
    ("result", "urls"),
    [
        (json.dumps({"resultUrls": [URL]}), (URL,)),
        ({"resultUrls": [URL]}, (URL,)),
        (json.dumps(json.dumps({"resultUrls": [URL]})), (URL,)),
        ({"resultUrls": URL}, (URL,)),
        ({"resultUrls": json.dumps([URL])}, (URL,)),
        (json.dumps({"resultObject": {"resultUrls": [URL]}}), (URL,)),
        (json.dumps({"resultObject": json.dumps({"imageUrl": URL})}), (URL,)),
        (json.dumps({"data": [{"image_url": URL}, {"image_url": SECOND}]}), (URL, SECOND)),
        ({"data": {"response": {"resultUrls": [URL]}}}, (URL,)),
        ({"resultUrls": [URL, URL, SECOND, None, 5, {}]}, (URL, SECOND)),
        ({"resultUrls": [f"{URL}?{n}" for n in range(9)]}, tuple(f"{URL}?{n}" for n in range(6))),
        ([URL], (URL,)),
        (URL, (URL,)),
        ({"resultUrls": ["javascript:x", "ftp://h/x", "https://a b", "https://h/\x00", "https://h/" + "x" * 5000]}, ()),
        ({"resultUrls": ["https://h/" + " " * 2000 + "x", "https:///x", "https://h/a\nb"]}, ()),
        ({"costs": [URL]}, ()),
        *((nothing, ()) for nothing in NO_RESULTS),
    ],
)
def test_a_result_is_found_in_every_form(result: object, urls: tuple[str, ...]) -> None:
    heard = answers.task(record(resultJson=result))
    assert heard == Heard(Succeeded(urls, CREATED), odd=None if urls else Odd.SHAPE)


@pytest.mark.parametrize(
    ("written", "url"),
    [
        (f"{URL}\n", URL),
        (f"\u00a0 {URL}\t", URL),
        (URL.replace("https", "HTTPS"), URL),
        ("Http://h/x", "http://h/x"),
        ("https://h/my file.jpg?name=a b", "https://h/my%20file.jpg?name=a%20b"),
        ("https://h?name=a b", "https://h?name=a%20b"),
    ],
)
def test_a_url_that_is_written_carelessly_is_one(written: str, url: str) -> None:
    assert answers.task(record(resultJson={"resultUrls": [written]})).answer == Succeeded((url,), CREATED)


def test_a_newer_record_may_hold_its_result_elsewhere() -> None:
    assert answers.task(record(resultJson="", response={"resultUrls": [URL]})).answer == Succeeded((URL,), CREATED)


@pytest.mark.parametrize(
    "stamp",
    [None, "1790000000000", "", True, 1.5, 10**30, -(10**30), -5, 0, 1_790_000_000, 1_577_836_799_999],
    ids=lambda value: f"{value!r:.20}",
)
def test_a_time_that_cannot_be_used_is_none(stamp: object) -> None:
    assert answers.task(record(state="waiting", createTime=stamp)).answer == Running(None)
    done = record(resultJson=[URL], createTime=stamp, completeTime=stamp)
    assert answers.task(done).answer == Succeeded((URL,), None, None)


def test_the_first_moment_of_kie_is_believed() -> None:
    at = datetime(2020, 1, 1, tzinfo=UTC)
    assert answers.task(record(state="waiting", createTime=1_577_836_800_000)).answer == Running(at)


PARAMS = [
    json.dumps({"input": json.dumps({"prompt": PROMPT}), "callBackUrl": CALLED}),
    {"input": {"prompt": PROMPT}, "callBackUrl": CALLED},
]
NO_PARAMS: list[object] = [None, "", "{}", "{", 5, [], {"callBackUrl": 5}]


@pytest.mark.parametrize("param", PARAMS)
@pytest.mark.parametrize(("key", "other"), [("param", "paramJson"), ("paramJson", "param")])
def test_a_prompt_and_a_callback_are_read_from_either_param(param: object, key: str, other: str) -> None:
    for beside in ({}, *({other: nothing} for nothing in NO_PARAMS)):
        found = wire.Record.read({"state": "waiting", key: param} | beside)
        assert found is not None
        assert (found.param.prompt, found.param.call_back_url) == (PROMPT, CALLED)


@pytest.mark.parametrize("param", [*NO_PARAMS, {"input": 5}, {"input": {"prompt": 5}}])
def test_a_param_that_cannot_be_read_holds_no_prompt(param: object) -> None:
    assert answers.task(record(resultJson=[URL], param=param)).answer == Succeeded((URL,), CREATED)


def test_the_state_in_a_failure_envelope_decides() -> None:
    body = envelope(501, "failed", {"taskId": TASK, "state": "fail", "failMsg": "flagged"})
    assert answers.task(body).answer == Failed(Refusal.CONTENT, "flagged")


@pytest.mark.parametrize("code", FAILED_CODES)
@pytest.mark.parametrize("status", [408, 500, 501, 502, 504, 531])
def test_an_edges_error_is_not_believed_that_a_task_has_failed(status: int, code: int) -> None:
    words = f"code {code}: Not Implemented"
    heard = answers.task(envelope(code, "Not Implemented", status=status))
    assert heard == Heard(Trouble(Call.SERVER_ERROR, words, Refusal.OUTAGE), Call.SERVER_ERROR)
    for believed in (200, 400, 404, 422):
        assert answers.task(envelope(code, "Not Implemented", status=believed)).answer == Failed(None, words)


# -- songs and credits ---------------------------------------------------------------------------------------------


def song(**fields: object) -> Raw:
    return envelope(200, "success", {"taskId": TASK, "status": "SUCCESS"} | fields)


CAMEL = [{"imageUrl": COVERS[n], "sourceImageUrl": SOURCES[n]} for n in (0, 1)]
SNAKE = [{"image_url": COVERS[n], "source_image_url": SOURCES[n]} for n in (0, 1)]


@pytest.mark.parametrize("songs", [CAMEL, SNAKE])
@pytest.mark.parametrize("status", ["SUCCESS", "CALLBACK_EXCEPTION"])
def test_a_made_song_names_its_own_covers_first(songs: object, status: str) -> None:
    for place in ({"response": {"sunoData": songs}}, {"response": json.dumps({"data": songs})}, {"data": songs}):
        assert answers.song(song(status=status, **place)) == Heard(SongFinal(COVERS + SOURCES))


@pytest.mark.parametrize("response", [None, "", {}, {"sunoData": None}, {"sunoData": [None, 5, {"imageUrl": ""}]}])
def test_a_made_song_without_covers_is_final(response: object) -> None:
    assert answers.song(song(response=response)).answer == SongFinal()


@pytest.mark.parametrize("status", ["CREATE_TASK_FAILED", "GENERATE_AUDIO_FAILED", "SENSITIVE_WORD_ERROR"])
def test_a_failed_song_is_final(status: str) -> None:
    assert answers.song(song(status=status)) == Heard(SongFinal())


@pytest.mark.parametrize(
    ("status", "code", "words", "final"),
    [
        ("PENDING", 413, "matches an existing work", True),
        ("PENDING", "413", "matches an existing work", True),
        ("TEXT_SUCCESS", 413, "matches an existing work", True),
        ("PENDING", 0, "", False),
        ("PENDING", 0, "success", False),
        ("PENDING", 413, " ", False),
        ("PENDING", None, None, False),
        ("TEXT_SUCCESS", None, None, False),
        ("FIRST_SUCCESS", None, "", False),
    ],
)
def test_a_pending_song_is_lost_only_with_code_and_words(status: str, code: object, words: object, final: bool) -> None:
    heard = answers.song(song(status=status, errorCode=code, errorMessage=words))
    assert heard == Heard(SongFinal() if final else SongPending())


def test_a_record_of_another_song_answers_nothing() -> None:
    made = {"response": {"sunoData": CAMEL}}
    other = answers.song(song(taskId="other", **made), "asked")
    assert other.answer == Trouble(Call.MALFORMED, "this is task other", Refusal.OUTAGE, None)
    assert other.odd is Odd.SHAPE
    for told in ("asked", None, ""):
        assert answers.song(song(taskId=told, **made), "asked").answer == SongFinal(COVERS + SOURCES)


def test_an_unknown_song_status_is_pending_and_counted() -> None:
    assert answers.song(song(status="NEW_WORD")) == Heard(SongPending(), odd=Odd.STATE)


@pytest.mark.parametrize(("number", "balance"), [(5, 5.0), (0, 0.0), (203.24, 203.24), (-3.5, -3.5)])
def test_a_balance_is_a_bare_number(number: float, balance: float) -> None:
    assert answers.credit(envelope(200, "success", number)) == Heard(Credits(balance))


@pytest.mark.parametrize("data", [b"null", b'"5"', b"true", b"NaN", b"Infinity", b"{}", b"1e999", b"9" * 400])
def test_what_is_no_number_is_no_balance(data: bytes) -> None:
    heard = answers.credit(raw(b'{"code":200,"msg":"success","data":' + data + b"}"))
    assert isinstance(heard.answer, Trouble)
    assert (heard.call, heard.odd) == (Call.MALFORMED, Odd.SHAPE)


@pytest.mark.parametrize("code", [401, 402, 500])
def test_a_number_in_a_refusal_is_no_balance(code: int) -> None:
    assert isinstance(answers.credit(envelope(code, "hm", 5)).answer, Trouble)


# -- texts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b\n\tc\u202ed\ud800", "a b c d"),
        ("see https://h.example/p?token=secret#x now", "see https://h.example/p now"),
        ("see HTTPS://user:secret@h.example/p?token=secret", "see HTTPS://h.example/p"),
        ("see https://user:secret@h.example/p", "see https://h.example/p"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_a_providers_text_is_made_safe(text: str, shown: str) -> None:
    assert wire.said(text) == shown


# -- anything at all -----------------------------------------------------------------------------------------------

KEYS = st.sampled_from(
    ["code", "msg", "data", "taskId", "state", "resultJson", "resultUrls", "response", "param", "input", "status"]
    + ["sunoData", "imageUrl", "errorCode", "errorMessage", "failCode", "failMsg", "createTime", "other"]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(
        [200, 404, 422, 500, "success", "fail", "waiting", "SUCCESS", "recordInfo is null", URL, "{}", "["]
    )
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(), inner, max_size=6),
    max_leaves=20,
)
ENVELOPES = st.fixed_dictionaries(
    {"code": st.sampled_from([200, 400, 404, 422, 500, 501]) | LEAVES, "data": VALUES}, optional={"msg": LEAVES}
)
STATUSES = st.sampled_from([200, 404, 408, 429, 500, 502]) | st.integers(100, 999)
NAMES = sorted(path.stem for path in PAYLOADS.glob("*.json"))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A recorded body with one value, key or byte changed."""
    recorded = payload(draw(st.sampled_from(NAMES))).body
    if draw(st.booleans()):
        place = draw(st.integers(0, len(recorded) - 1))
        return recorded[:place] + draw(st.binary(max_size=2)) + recorded[place + draw(st.integers(0, 3)) :]
    body = wire.loads(recorded)
    target = body
    while isinstance(target, dict) and target:
        key = draw(st.sampled_from(sorted(target)))
        if not isinstance(target[key], dict) or draw(st.booleans()):
            target[key] = draw(VALUES)
            break
        target = target[key]
    return json.dumps(body).encode()


BODIES = st.binary() | VALUES.map(lambda v: json.dumps(v).encode()) | ENVELOPES.map(lambda v: json.dumps(v).encode())


@pytest.mark.slow
@given(STATUSES, BODIES | mutated())
def test_any_body_is_judged_and_never_beyond_what_it_says(status: int, body: bytes) -> None:
    raw_answer, parsed = Raw(status, body), wire.loads(body)
    data = parsed.get("data") if isinstance(parsed, dict) else None
    state = data.get("state") if isinstance(data, dict) else None

    task = answers.task(raw_answer).answer
    assert not isinstance(task, Succeeded) or state == "success"
    assert not isinstance(task, NotFound) or is_a_face(status, parsed)
    assert not isinstance(answers.song(raw_answer).answer, NotFound) or is_a_face(status, parsed)

    credit = answers.credit(raw_answer).answer
    assert isinstance(credit, Credits | Trouble)

    made = answers.creation(raw_answer).answer
    if isinstance(made, Accepted):
        assert made.task_id or made.urls
    if isinstance(made, NothingMade):
        assert 400 <= status < 500 or code_in(parsed) >= 400
    for answer in (task, made, credit):
        detail = getattr(answer, "detail", "")
        assert len(detail) <= 300
        assert detail.isprintable()


def code_in(body: Any) -> int:
    """0 where there is none."""
    try:
        return int(body["code"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return 0


def is_a_face(status: int, body: Any) -> bool:
    if not isinstance(body, dict) or body.get("data") is not None or status >= 500 or status == 408:
        return False
    words = str(body.get("msg") or body.get("message")).lower()
    named = ("recordinfo is null", "record info is null", "record does not exist", "record not found")
    match code_in(body):
        case 200:
            return "data" in body
        case 404:
            return True
        case 422 | 500:
            return any(name in words for name in named)
        case _:
            return False
