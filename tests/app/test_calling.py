"""Callbacks from their page to the database, by way of one thread, and from there to a picture."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from reconciler.app import calling as module
from reconciler.app.calling import Calling
from reconciler.domain.model import Callback
from reconciler.kie.simulated import LOST, Succeed
from reconciler.ports import DatabaseError
from tests.app.test_daemon import free_port, repaired
from tests.cli.conftest import Install
from tests.daemons import QUICK, Inside, eventually, inside
from tests.kie.test_kie_callbacks import signed

AWAY = DatabaseError("it is away", "here", "Wait")
COUNTED = "reconciler_callbacks_total{outcome=%s}"
LONG_S = 30.0


class Box:
    """In the place of the database: what it was given together, and whom it knows. Closed at the end of its `with`."""

    def __init__(self) -> None:
        self.taken: list[list[Callback]] = []
        self.known = frozenset({"ours"})
        self.fails: Exception | None = None
        self.go, self.busy = Event(), Event()
        self.go.set()
        self.opened = self.closed = self.woken = 0

    @property
    def callbacks(self) -> "Box":
        return self

    @contextmanager
    def __call__(self) -> Iterator[Any]:
        self.opened += 1
        yield self
        self.closed += 1

    def take(self, callbacks: list[Callback]) -> frozenset[str]:
        self.busy.set()
        assert self.go.wait(LONG_S)
        if self.fails:
            raise self.fails
        self.taken.append(callbacks)
        return self.known & {callback.token for callback in callbacks}

    def wake(self) -> None:
        self.woken += 1


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def calling(box: Box) -> Iterator[Calling]:
    made = Calling(box, lambda: "here", box.wake)
    yield made
    made.close()


def test_who_calls_is_told_once_it_is_committed(calling: Calling, box: Box) -> None:
    assert calling.hint("ours", "task") is True
    assert (box.taken, box.woken) == ([[Callback("ours", "task")]], 1)


def test_a_token_of_nobody_wakes_nobody(calling: Calling, box: Box) -> None:
    assert calling.hint("theirs", "") is False
    assert box.woken == 0


def test_those_who_wait_share_a_transaction_and_each_is_told_of_its_own(calling: Calling, box: Box) -> None:
    box.go.clear()
    told: dict[str, bool] = {}

    def call(token: str) -> None:
        told[token] = calling.hint(token, "")

    first = Thread(target=call, args=("ours",))
    first.start()
    assert box.busy.wait(LONG_S)
    box.known = frozenset({"ours", "b"})
    others = [Thread(target=call, args=(token,)) for token in "abc"]
    for other in others:
        other.start()
    eventually(lambda: calling._queue.qsize() == 3)
    box.go.set()
    for thread in (first, *others):
        thread.join(LONG_S)
    assert told == {"ours": True, "a": False, "b": True, "c": False}
    assert [len(several) for several in box.taken] == [1, 3]


def test_where_it_cannot_be_committed_who_calls_is_told_and_the_next_one_finds_a_new_connection(
    calling: Calling, box: Box
) -> None:
    calling.hint("ours", "")
    box.fails = AWAY
    with pytest.raises(DatabaseError, match="it is away"):
        calling.hint("ours", "")
    box.fails = None
    assert calling.hint("ours", "") is True
    assert (box.opened, box.closed, box.woken) == (2, 1, 2)


def test_nobody_is_kept_waiting_for_long(calling: Calling, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.01)
    box.go.clear()
    with pytest.raises(TimeoutError):
        calling.hint("ours", "")
    box.go.set()
    eventually(lambda: box.taken)


def test_its_end_closes_the_connection_though_somebody_waits(calling: Calling, box: Box) -> None:
    box.go.clear()
    waiting = Thread(target=calling.hint, args=("ours", ""))
    waiting.start()
    assert box.busy.wait(LONG_S)
    calling._queue.put(None)
    box.go.set()
    waiting.join(LONG_S)
    eventually(lambda: box.closed)


# -- in a daemon -------------------------------------------------------------------------------------------------------


def to_be_called(install: Install, **more: str) -> None:
    port = free_port()
    url = f'"http://127.0.0.1:{port}"'
    install.configure(**{**QUICK, "http__port": str(port), "callback__public_url": url, **more})


@pytest.fixture
def called(install: Install, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inside]:
    """Tasks of two seconds, whose first answers are lost; unless a callback comes, nothing is found for minutes."""
    to_be_called(install)
    install.kie.script.when(Succeed(width=160, height=90, run=timedelta(seconds=1)))
    install.kie.script.next("create", LOST)
    install.add("a")
    install.add("b")
    with inside(install, monkeypatch) as daemon:
        yield daemon


def post(url: str, body: bytes = b"{}", headers: dict[str, str] | None = None) -> int:
    try:
        with urlopen(Request(url, body, headers or {}, method="POST"), timeout=30) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


@pytest.mark.slow
def test_kie_calls_and_pictures_are_there_after_one_question_each(install: Install, called: Inside) -> None:
    eventually(lambda: repaired(install, 2))
    book = install.kie.book
    assert len(book.purchases) == 2
    assert sum(visit.operation == "record" for visit in book.visits) == 2
    assert {telling.answer for telling in book.callbacks} == {"200"}
    assert called.gauges()[COUNTED % "taken"] == 2
    assert re.search(r"<dt>Callbacks</dt><dd>the last <time", called.says("/")[1])
    assert not any(token in called.says("/metrics")[1] for token in tokens(install))


@pytest.mark.slow
def test_with_a_key_only_what_is_signed_by_it_is_heard(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    to_be_called(install, callback__hmac_key='"k"')
    with inside(install, monkeypatch) as daemon:
        url, body = f"{daemon.url}/callback/{'a' * 32}", b'{"taskId": "t"}'
        assert post(url, body) == 401
        by_it = {"X-Webhook-Timestamp": "1790000000", "X-Webhook-Signature": signed("t")}
        assert post(url, body, by_it) == 404, "nobody has ordered under that token"


def tokens(install: Install) -> list[str]:
    return [row["token"] for row in install.sql("SELECT token FROM reconciler_purchase")]


@pytest.mark.slow
def test_while_nothing_can_be_committed_kie_is_told_to_come_again(
    install: Install, called: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.1)
    (token, *_) = eventually(lambda: tokens(install))
    url = f"{called.url}/callback/{token}"
    with sqlite3.connect(install.database, isolation_level=None) as app:
        app.execute("BEGIN EXCLUSIVE")
        assert post(url) == 503
        app.execute("ROLLBACK")
    app.close()
    eventually(lambda: post(url) == 200)
    assert post(f"{called.url}/callback/{token[::-1]}") == 404
