"""Every recorded answer of Kie, with anything in it changed: the client says what it means or that it means nothing,
never more than it says, and never by an exception."""

import json
import math
import random
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from reconciler.domain.findings import (
    Accepted,
    Creation,
    Credits,
    NothingMade,
    SongAnswer,
    SongFinal,
    Succeeded,
    TaskAnswer,
    Trouble,
)
from reconciler.domain.policy import Target
from reconciler.kie import wire
from reconciler.kie.client import KieClient
from reconciler.ports import Order
from reconciler.transport import Reply, Request, Transport
from tests.hostile.bounds import memory, processor_time
from tests.hostile.mutations import misspelt, variants

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ORDER = Order("bytedance/seedream-v4-text-to-image", "Mist", Target(), NOW)
PAYLOADS = sorted((Path(__file__).parents[1] / "kie/payloads").glob("*.json"))
TASK = "5b1f0c9de2a84c7796d4a3f20c8e1b57"
"""Whose records they are."""
LARGEST = 1024 * 1024


class Told:
    """A client whose every question gets the same answer."""

    def __init__(self) -> None:
        self.body = b""
        self.kinds = set[str]()
        transport = Transport(user_agent="reconciler/1", clock=lambda: NOW, handler=self.answer)
        self.client = KieClient(transport, base_url="https://api.kie.ai", api_key="a-key-of-ours")

    def answer(self, request: Request) -> Reply:
        return Reply(200, {}, self.body, complete=True)

    def judge(self, body: bytes) -> None:
        self.body = body
        made, task, song, credit = (
            self.client.create(ORDER),
            self.client.task(TASK),
            self.client.song("s"),
            self.client.credit(),
        )
        assert isinstance(made, get_args(Creation))
        assert isinstance(task, get_args(TaskAnswer))
        assert isinstance(song, get_args(SongAnswer))
        assert isinstance(credit, Credits | Trouble)
        for answer in (made, task, song, credit):
            assert all(fit(getattr(answer, field.name)) for field in fields(answer) if field.name != "prompt"), answer
        self.kinds |= {type(made).__name__, type(task).__name__}
        said = wire.loads(body)
        data: Any = said.get("data") if isinstance(said, dict) else None
        if isinstance(task, Succeeded):
            assert data["state"] == "success"
        if isinstance(song, SongFinal) and song.urls:
            assert data["status"] in ("SUCCESS", "CALLBACK_EXCEPTION")
        if isinstance(made, NothingMade):
            assert float(said["code"]) >= 400
        if isinstance(made, Accepted):
            assert made.task_id or made.urls


def fit(value: object) -> bool:
    """Short and printable wherever it is text, and a time only if it is one."""
    match value:
        case str():
            return len(value) <= 5000 and value.isprintable()
        case tuple():
            return len(value) <= wire.MAX_URLS and all(url.startswith("http") and fit(url) for url in value)
        case float():
            return math.isfinite(value)
        case datetime():
            return value.tzinfo is not None
        case _:
            return True


def recorded(path: Path) -> tuple[bytes, Any]:
    kept = json.loads(path.read_text())
    if "body_text" in kept:
        return kept["body_text"].encode(), None
    return json.dumps(kept["body"]).encode(), kept["body"]


@pytest.mark.slow
def test_a_changed_answer_is_an_answer() -> None:
    told = Told()
    with memory(50_000_000), processor_time(60):
        for body in changed():
            told.judge(body)
    assert told.kinds >= {"Accepted", "AnswerLost", "NothingMade", "Succeeded", "Running", "Failed", "NotFound"}


def changed() -> Iterator[bytes]:
    """One in five of the changes: there are twenty thousand."""
    dice = random.Random(5)
    for path in PAYLOADS:
        body, value = recorded(path)
        yield from misspelt(body)
        if value is not None:
            yield from (json.dumps(each).encode() for each in variants(value) if dice.random() < 0.2)


@pytest.mark.slow
def test_the_largest_answer_is_read_in_little_time() -> None:
    """Made for patterns, for nesting and for texts within texts that take time by the square."""
    told, urls = Told(), [b'"https://tempfile.aiquickdraw.com/%d"' % number for number in range(20_000)]
    fillings = (
        *(b"credit ", b"insufficient credit", b"https://", b"https://a@", b"a@", b"?", b" ", b"\\\\", b"\\ud800"),
        *(b"[", b'{"a":', b'\\"'),
    )
    with memory(200_000_000), processor_time(20):
        for filling in fillings:
            many = filling * (LARGEST // len(filling))
            for start in (
                b"",
                b'{"code": 422, "msg": "',
                b'{"code": 200, "data": {"state": "success", "resultJson": "[',
            ):
                told.judge((start + many)[:LARGEST])
                told.judge((start + many)[: LARGEST - 4] + b'"}')
        for result in (b",".join(urls), b"[" * 800 + b"]" * 800):
            told.judge(b'{"code": 200, "data": {"state": "success", "resultJson": [' + result + b"]}}")
