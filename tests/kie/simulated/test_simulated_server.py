"""The core behind real sockets."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.kie.simulated import (
    API_KEY,
    LOST,
    Break,
    Fault,
    KieServer,
    Settings,
    SimulatedKie,
    Succeed,
    belongs_to,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADERS = {"Authorization": f"Bearer {API_KEY}", "User-Agent": "reconciler/0.1"}
BODY = json.dumps({"model": "bytedance/seedream-v4-text-to-image", "input": {"prompt": "Mist"}})
CREDIT = "/api/v1/chat/credit"


@pytest.fixture
def server() -> Iterator[KieServer]:
    settings = Settings(drip_interval=timedelta(milliseconds=1))
    with KieServer(SimulatedKie(lambda: datetime.now(UTC), settings=settings)) as running:
        yield running


def connect(server: KieServer) -> closing[http.client.HTTPConnection]:
    return closing(http.client.HTTPConnection("127.0.0.1", int(server.base_url.rpartition(":")[2]), timeout=30))


def ask(line: http.client.HTTPConnection, method: str, path: str, body: str | None = None) -> Any:
    line.request(method, path, body, HEADERS)
    return json.loads(line.getresponse().read())


def test_from_creation_to_picture_over_one_connection(server: KieServer) -> None:
    server.kie.script.when(Succeed(run=timedelta(0), width=320, height=180))
    with connect(server) as line:
        task_id = ask(line, "POST", "/api/v1/jobs/createTask", BODY)["data"]["taskId"]
        used = line.sock
        record = ask(line, "GET", f"/api/v1/jobs/recordInfo?taskId={task_id}")["data"]
        (url,) = json.loads(record["resultJson"])["resultUrls"]
        assert url.startswith(server.base_url + "/files/p/")
        line.request("GET", url.removeprefix(server.base_url), headers={"User-Agent": "reconciler/0.1"})
        response = line.getresponse()
        picture = response.read()
        assert line.sock is used
    assert (response.status, response.headers["Content-Length"]) == (200, str(len(picture)))
    assert belongs_to(picture, "Mist")
    assert server.kie.book.errors == []


def test_head_has_the_length_and_no_body(server: KieServer) -> None:
    url = server.kie.add_file("a.jpg", b"0123456789")
    with connect(server) as line:
        line.request("HEAD", url.removeprefix(server.base_url), headers=HEADERS)
        response = line.getresponse()
        assert (response.headers["Content-Length"], response.read()) == ("10", b"")
        assert ask(line, "GET", CREDIT)["data"] == 1000.0


def test_a_lost_answer_resets_the_connection_after_the_task_was_made(server: KieServer) -> None:
    server.kie.script.next("create", LOST)
    fields = f"Authorization: Bearer {API_KEY}\r\nContent-Length: {len(BODY)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(server.base_url.rpartition(":")[2])), 30) as line:
        line.sendall(f"POST /api/v1/jobs/createTask HTTP/1.1\r\n{fields}{BODY}".encode())
        with pytest.raises(ConnectionResetError):
            line.recv(1)
    (bought,) = server.kie.book.purchases
    assert bought.answer == "cut"


def test_half_an_answer_is_shorter_than_announced(server: KieServer) -> None:
    server.kie.script.next("credit", Break(Fault.CUT_HALF))
    with connect(server) as line, pytest.raises(http.client.IncompleteRead):
        ask(line, "GET", CREDIT)


def test_a_drip_arrives_whole_for_the_patient(server: KieServer) -> None:
    server.kie.script.next("credit", Break(Fault.DRIP))
    with connect(server) as line:
        assert ask(line, "GET", CREDIT)["data"] == 1000.0


def test_it_can_be_topped_up_and_drained(server: KieServer) -> None:
    server.kie.top_up(-999.5)
    with connect(server) as line:
        assert ask(line, "GET", CREDIT)["data"] == 0.5
        assert ask(line, "POST", "/api/v1/jobs/createTask", BODY)["code"] == 402


def test_many_clients_at_once_get_what_the_account_allows(server: KieServer) -> None:
    start, codes = threading.Barrier(12), []

    def buy(number: int) -> None:
        with connect(server) as line:
            start.wait(30)
            for turn in range(3):
                body = BODY.replace("Mist", f"track {number} {turn}")
                codes.append(ask(line, "POST", "/api/v1/jobs/createTask", body)["code"])

    threads = [threading.Thread(target=buy, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    book = server.kie.book
    assert (codes.count(200), codes.count(430)) == (20, 16)
    assert len({each.task_id for each in book.purchases}) == 20
    assert (len(book.creations), book.writes, server.kie.balance) == (36, 36, 900.0)


class TellingClock:
    """The wall clock, which tells when a request has come."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def __call__(self) -> datetime:
        self.asked.set()
        return datetime.now(UTC)


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.DRIP])
def test_stopping_ends_calls_that_would_last_for_ever(fault: Fault) -> None:
    clock = TellingClock()
    kie = SimulatedKie(clock, settings=Settings(drip_interval=timedelta(hours=1)))
    kie.script.next("credit", Break(fault))
    with KieServer(kie) as server, connect(server) as line:
        line.request("GET", CREDIT, headers=HEADERS)
        assert clock.asked.wait(30)
    assert [visit.answer for visit in kie.book.visits] == [fault.value]


def test_a_client_that_leaves_ends_a_hanging_call() -> None:
    clock, others = TellingClock(), set(threading.enumerate())
    kie = SimulatedKie(clock)
    kie.script.next("credit", Break(Fault.HANG))
    with KieServer(kie) as server:
        with connect(server) as line:
            line.request("GET", CREDIT, headers=HEADERS)
            assert clock.asked.wait(30)
            (hanging,) = (
                each for each in threading.enumerate() if each not in others and "simulated-kie" not in each.name
            )
        hanging.join(30)
        assert not hanging.is_alive()


def test_a_server_that_never_started_can_be_stopped() -> None:
    server = KieServer(SimulatedKie(lambda: datetime.now(UTC)))
    server.stop()
    with (
        pytest.raises(ConnectionRefusedError),
        socket.create_connection(("127.0.0.1", int(server.base_url.rpartition(":")[2]))),
    ):
        pass


def test_a_crash_of_the_core_is_in_the_book() -> None:
    times: list[datetime] = []
    kie = SimulatedKie(lambda: times[0])
    with KieServer(kie) as server, connect(server) as line:
        line.request("GET", CREDIT, headers=HEADERS)
        assert line.getresponse().status == 500
    times.append(datetime.now(UTC))
    (error,) = kie.book.errors
    assert error.startswith("crash at GET /api/v1/chat/credit: IndexError")


def test_the_desk_takes_rules_and_shows_the_book(server: KieServer) -> None:
    rules = [
        {"behaviour": {"kind": "Refuse", "code": 455, "message": "maintenance"}, "operation": "credit", "times": 1},
        {"behaviour": {"kind": "Succeed", "run": 0, "format": "PNG", "urls": ["u"], "result": "object"}},
        {
            "behaviour": {"kind": "Break", "fault": "cut"},
            "since": "2020-01-01T00:00:00+00:00",
            "until": "2020-01-02T00:00:00+00:00",
        },
    ]
    with connect(server) as line:
        assert ask(line, "POST", "/_simulated/rules", json.dumps(rules)) == {"added": 3}
        assert [ask(line, "GET", CREDIT)["code"] for _ in range(2)] == [455, 200]
        task_id = ask(line, "POST", "/api/v1/jobs/createTask", BODY)["data"]["taskId"]
        assert ask(line, "GET", f"/api/v1/jobs/recordInfo?taskId={task_id}")["data"]["resultJson"] == {
            "resultUrls": ["u"]
        }
        ask(line, "DELETE", "/_simulated/rules")
        book = ask(line, "GET", "/_simulated/book")
    assert [each["task_id"] for each in book["creations"]] == [task_id]
    assert [each["answer"] for each in book["visits"]] == ["455", "200", "200"]
    assert (book["writes"], book["credits_spent"]) == (1, 5.0)


@pytest.mark.parametrize(
    "wrong", ["{", "[1]", '{"behaviour": {"kind": "Explode"}}', '{"behaviour": {"kind": "Break"}, "x": 1}']
)
def test_what_is_no_rule_is_refused(server: KieServer, wrong: str) -> None:
    with connect(server) as line:
        assert "no rule was added" in ask(line, "POST", "/_simulated/rules", wrong)["error"]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_as_a_program_until_it_is_told_to_stop(end: signal.Signals) -> None:
    command = [sys.executable, "-m", "reconciler.kie.simulated", "--credits", "7.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        port = int(program.stdout.readline().rpartition(":")[2])
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as line:
            assert ask(line, "GET", CREDIT)["data"] == 7.5
        program.send_signal(end)
        _, errors = program.communicate(timeout=30)
    assert (program.returncode, errors) == (0, "")


def test_as_a_program_it_tells_that_its_port_is_taken(server: KieServer) -> None:
    _, _, port = server.base_url.rpartition(":")
    command = [sys.executable, "-m", "reconciler.kie.simulated", "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"127.0.0.1:{port}: Address already in use\n"
