"""What the simulated Kie calls when a task has ended, in process and over sockets."""

import base64
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from reconciler.kie.simulated import (
    CONTENT_REFUSED,
    LOST,
    NOBODY,
    TOLD_TWICE,
    UNTOLD,
    Callback,
    IdPlace,
    KieServer,
    Notify,
    Settings,
    SimulatedKie,
    Stall,
    Succeed,
)
from reconciler.kie.simulated.messenger import Messenger
from tests.kie.simulated.conftest import NOON, Client, HandClock
from tests.kie.simulated.test_simulated_server import ask, connect

URL = "http://127.0.0.1:9/callback/7f3a"
PAYLOADS = Path(__file__).parents[1] / "payloads"
SECOND = timedelta(seconds=1)
LONG = 30.0

Open = Callable[..., Client]


def order(client: Client, prompt: str = "Mist", url: str = URL) -> str:
    """The id of a task that names `url`; "" where the answer was lost."""
    body = {
        "model": "bytedance/seedream-v4-text-to-image",
        "input": {"prompt": prompt, "image_size": "landscape_16_9", "image_resolution": "2K"},
        "callBackUrl": url,
    }
    response = client.call("POST", "/api/v1/jobs/createTask", body)
    return "" if response.fault else str(client.json(response)["data"]["taskId"])


def told(client: Client) -> list[Callback]:
    return client.kie.due_callbacks()


def body(callback: Callback) -> dict[str, Any]:
    parsed = json.loads(callback.body)
    assert isinstance(parsed, dict)
    return parsed


def test_a_task_calls_once_when_it_has_ended(client: Client) -> None:
    assert client.kie.next_callback_at() is None
    task_id = order(client)
    ends_at = client.kie.ends_at(task_id)
    assert client.kie.next_callback_at() == ends_at
    client.clock.now = (ends_at or NOON) - SECOND
    assert told(client) == []
    client.clock.pass_(seconds=1)
    (callback,) = told(client)
    assert (callback.task_id, callback.url, callback.attempt) == (task_id, URL, 1)
    assert body(callback)["data"] == client.record(task_id)
    client.kie.answered(callback, 200)
    client.clock.pass_(hours=1)
    assert (told(client), client.kie.next_callback_at()) == ([], None)
    assert [(each.task_id, each.url, each.attempt, each.answer) for each in client.kie.book.callbacks] == [
        (task_id, URL, 1, "200")
    ]


def test_tasks_without_an_address_or_an_end_call_nobody(client: Client) -> None:
    client.kie.script.when(Stall(), prompt_contains="stalls")
    client.create()
    order(client, "stalls")
    client.clock.pass_(days=1)
    assert (told(client), client.kie.next_callback_at()) == ([], None)


def test_it_calls_where_the_answer_to_the_creation_was_lost(client: Client) -> None:
    client.kie.script.next("create", LOST)
    order(client)
    client.clock.pass_(hours=1)
    (bought,) = client.kie.book.purchases
    assert [each.task_id for each in told(client)] == [bought.task_id]


@pytest.mark.parametrize(("outcome", "name"), [(Succeed(), "success"), (CONTENT_REFUSED, "failure")])
def test_it_says_what_was_recorded(client: Client, outcome: Any, name: str) -> None:
    recorded = json.loads((PAYLOADS / f"callback-job-{name}.json").read_text())["body"]
    client.kie.script.when(outcome)
    order(client)
    client.clock.pass_(hours=1)
    (callback,) = told(client)
    said = body(callback)
    assert (said["code"], said["msg"], said.keys()) == (recorded["code"], recorded["msg"], recorded.keys())
    assert recorded["data"].keys() <= said["data"].keys()
    assert said["data"]["state"] == recorded["data"]["state"]


def test_they_come_in_the_order_of_the_ends(client: Client) -> None:
    for seconds in (30, 10, 20):
        client.kie.script.when(Succeed(run=timedelta(seconds=seconds)), prompt_contains=f"for {seconds}")
        order(client, f"for {seconds}")
    client.clock.pass_(hours=1)
    prompts = [json.loads(body(each)["data"]["param"])["input"] for each in told(client)]
    assert [json.loads(each)["prompt"] for each in prompts] == ["for 10", "for 20", "for 30"]


def test_rules_befall_them_in_the_order_of_the_ends(client: Client) -> None:
    client.kie.script.when(UNTOLD, times=1)
    for seconds in (30, 10):
        client.kie.script.when(Succeed(run=timedelta(seconds=seconds)), prompt_contains=f"for {seconds}")
    later, _ = order(client, "for 30"), order(client, "for 10")
    client.clock.pass_(hours=1)
    assert [each.task_id for each in told(client)] == [later]


def test_what_is_not_answered_with_200_comes_again_three_times(client: Client) -> None:
    order(client)
    client.clock.pass_(hours=1)
    for attempt, status in enumerate((503, NOBODY, 404, 500), start=1):
        (callback,) = told(client)
        assert (callback.attempt, told(client)) == (attempt, [])
        client.kie.answered(callback, status)
        if attempt <= 3:
            assert client.kie.next_callback_at() == client.clock.now + 5 * SECOND
        client.clock.pass_(seconds=5)
    assert (told(client), client.kie.next_callback_at()) == ([], None)
    assert [each.answer for each in client.kie.book.callbacks] == ["503", "nobody", "404", "500"]


@pytest.mark.parametrize("place", IdPlace)
def test_the_id_stands_and_is_signed_at_one_of_three_places(open_kie: Open, place: IdPlace) -> None:
    client = open_kie(webhook_key="k", callback_id=place)
    task_id = order(client)
    client.clock.pass_(hours=1)
    (callback,) = told(client)
    said = body(callback)
    at = {f"data.{key}": value for key, value in said["data"].items()} | said
    assert [each for each in IdPlace if at.get(each.value) == task_id] == [place]
    timestamp = callback.headers["x-webhook-timestamp"]
    assert int(timestamp) == int(client.clock.now.timestamp())
    digest = hmac.new(b"k", f"{task_id}.{timestamp}".encode(), hashlib.sha256).digest()
    assert callback.headers["x-webhook-signature"] == base64.b64encode(digest).decode()


def test_without_a_key_nothing_is_signed(client: Client) -> None:
    order(client)
    client.clock.pass_(hours=1)
    assert dict(told(client)[0].headers) == {"content-type": "application/json"}


def test_callbacks_are_lost_doubled_and_late_by_rule(client: Client) -> None:
    for word, notice in {"lost": UNTOLD, "twice": TOLD_TWICE, "late": Notify(late=timedelta(hours=2))}.items():
        client.kie.script.when(notice, prompt_contains=word)
    ids = {word: order(client, word) for word in ("lost", "twice", "late")}
    client.clock.pass_(hours=1)
    assert [each.task_id for each in told(client)] == [ids["twice"]] * 2
    late = (client.kie.ends_at(ids["late"]) or NOON) + timedelta(hours=2)
    assert client.kie.next_callback_at() == late
    client.clock.now = late
    assert [each.task_id for each in told(client)] == [ids["late"]]
    assert [each.task_id for each in client.kie.book.callbacks if each.answer == "lost"] == [ids["lost"]]


def test_notices_leave_calls_and_tasks_alone(client: Client) -> None:
    client.kie.script.when(UNTOLD)
    assert client.record(order(client))["state"] == "waiting"


# -- chance --------------------------------------------------------------------------------------------------------


def answers(open_kie: Open, prompts: list[str], seed: int = 0) -> dict[str, list[str]]:
    """The creations' answers by prompt, each prompt ordered twice, with three of ten lost."""
    client = open_kie(seed, creation_limit=1000, max_running=1000, credits=1e6)
    client.kie.script.when(LOST, operation="create", chance=0.3)
    for prompt in prompts:
        order(client, prompt)
    created = client.kie.book.creations
    return {prompt: [each.answer for each in created if each.prompt == prompt] for prompt in prompts}


def test_chance_is_of_the_seed_and_not_of_the_order(open_kie: Open) -> None:
    prompts = [f"track {number}" for number in range(40)] * 2
    seen = answers(open_kie, prompts)
    assert seen == answers(open_kie, prompts[::-1])
    assert seen != answers(open_kie, prompts, seed=1)
    lost = sum(each.count("cut") for each in seen.values())
    assert 12 <= lost <= 40
    assert any(each[0] != each[1] for each in seen.values())


def test_callbacks_are_lost_by_chance(open_kie: Open) -> None:
    client = open_kie(creation_limit=1000)
    client.kie.script.when(UNTOLD, chance=0.5)
    for number in range(40):
        order(client, f"track {number}")
    client.clock.pass_(hours=1)
    assert 10 <= len(told(client)) <= 30
    assert len(client.kie.book.callbacks) == 40


# -- over sockets --------------------------------------------------------------------------------------------------


class Listener:
    """Answers as it is told, and keeps what came; NOBODY hangs until the caller leaves."""

    def __init__(self) -> None:
        self.statuses: list[int] = [200]
        self.came: list[tuple[str, dict[str, str], bytes]] = []
        self.called = threading.Semaphore(0)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                sent = {name.lower(): value for name, value in self.headers.items()}
                outer.came.append((self.path, sent, self.rfile.read(length)))
                outer.called.release()
                if (status := outer.statuses.pop(0)) == NOBODY:
                    self.rfile.read(1)
                    return
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}{path}"


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    listener.thread.start()
    yield listener
    listener.server.shutdown()
    listener.thread.join()
    listener.server.server_close()


def quick(**settings: Any) -> SimulatedKie:
    """Tasks end at once."""
    kie = SimulatedKie(lambda: datetime.now(UTC), settings=Settings(**settings))
    kie.script.when(Succeed(run=timedelta(0), width=32, height=18))
    return kie


def client_of(kie: SimulatedKie) -> Client:
    return Client(kie, HandClock())


def until_answered(kie: SimulatedKie, count: int) -> list[str | None]:
    pause = threading.Event()
    while sum(each.answer is not None for each in kie.book.callbacks) < count:
        pause.wait(0.005)
    return [each.answer for each in kie.book.callbacks]


def test_the_server_calls_for_real_and_again_where_it_is_not_heard(listener: Listener) -> None:
    listener.statuses = [503, 200]
    kie = quick(webhook_key="k", callback_spacing=timedelta(0))
    with KieServer(kie):
        task_id = order(client_of(kie), url=listener.url("/callback/7f3a?x=1"))
        assert until_answered(kie, 2) == ["503", "200"]
    (path, headers, sent), again = listener.came
    assert path == "/callback/7f3a?x=1"
    assert json.loads(sent)["data"]["taskId"] == task_id == json.loads(again[2])["data"]["taskId"]
    assert {"content-type", "x-webhook-timestamp", "x-webhook-signature"} <= headers.keys()


@pytest.mark.parametrize("url", ["http://ops.example/x", "https://127.0.0.1:9/x", "http://[", "http://127.0.0.1:x/"])
def test_only_this_machine_is_called(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kie, called = quick(callback_retries=0), list[HTTPConnection]()
    monkeypatch.setattr(HTTPConnection, "connect", called.append)
    with KieServer(kie):
        order(client_of(kie), url=url)
        assert until_answered(kie, 1) == ["nobody"]
    assert called == []


def test_nobody_at_the_port_is_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    kie = quick(callback_retries=0)
    with KieServer(kie):
        order(client_of(kie), url=f"http://localhost:{port}")
        assert until_answered(kie, 1) == ["nobody"]


def test_stopping_ends_a_call_that_hangs(listener: Listener) -> None:
    listener.statuses = [NOBODY]
    kie = quick()
    kie.script.when(TOLD_TWICE)
    with KieServer(kie):
        order(client_of(kie), url=listener.url("/"))
        assert listener.called.acquire(timeout=LONG)
    assert [each.answer for each in kie.book.callbacks] == ["nobody", None]


def test_one_that_was_stopped_says_nothing(listener: Listener) -> None:
    kie = quick()
    order(client_of(kie), url=listener.url("/"))
    messenger = Messenger(kie)
    messenger.stop()
    assert [messenger._call(callback) for callback in kie.due_callbacks()] == [NOBODY]
    assert listener.came == []


def test_the_desk_takes_notices_and_shows_callbacks(listener: Listener) -> None:
    kie = quick()
    with KieServer(kie) as server, connect(server) as line:
        rule = {"behaviour": {"kind": "Notify", "times": 0, "late": 1}, "chance": 0.999}
        assert ask(line, "POST", "/_simulated/rules", json.dumps(rule)) == {"added": 1}
        order(client_of(kie), url=listener.url("/"))
        (seen,) = ask(line, "GET", "/_simulated/book")["callbacks"]
        assert (seen["answer"], seen["attempt"]) == ("lost", 1)
