"""What a callback says, in every shape that was met, and whether it is signed."""

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.kie.callbacks import is_signed, task_ids

PAYLOADS = sorted((Path(__file__).parent / "payloads").glob("*.json"))
IMAGE, MUSIC = "5b1f0c9de2a84c7796d4a3f20c8e1b57", "9c0e7d3b5a1f4e88b6c2d4f8a0e1c3b5"
SHAPES: dict[str, Any] = {
    "camel": {"data": {"taskId": "t"}},
    "snake": {"data": {"task_id": "t"}},
    "top camel": {"taskId": "t"},
    "top snake": {"task_id": "t", "data": None},
    "all": {"taskId": "t", "task_id": "t", "data": {"taskId": "t", "task_id": "t"}},
    "data as text": {"data": json.dumps({"taskId": "t"})},
    "data as text twice": {"data": json.dumps(json.dumps({"task_id": "t"}))},
    "data as a list": {"taskId": "t", "data": [{"taskId": "u"}]},
    "one that cannot be used": {"taskId": "t", "data": {"taskId": "no id"}},
    "of other kinds": {"taskId": "t", "task_id": True, "data": {"taskId": ["t"], "task_id": {"t": 1}}},
    "itself as text": json.dumps({"taskId": "t"}),
}


def signed(told: str, key: str = "k", timestamp: str = "1790000000") -> str:
    digest = hmac.new(key.encode(), f"{told}.{timestamp}".encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
def test_an_id_is_found_in_everything_that_was_recorded(path: Path) -> None:
    recorded = json.loads(path.read_text())
    raw = json.dumps(recorded["body"]).encode() if "body" in recorded else recorded["body_text"].encode()
    assert task_ids(raw) in ({(IMAGE,), (MUSIC,)} if b"taskId" in raw or b"task_id" in raw else {()})


@pytest.mark.parametrize("name", ["job-success", "job-failure", "music-complete"])
def test_recorded_callbacks_tell_their_task(name: str) -> None:
    (path,) = (path for path in PAYLOADS if path.stem == f"callback-{name}")
    raw = json.dumps(json.loads(path.read_text())["body"]).encode()
    assert task_ids(raw) == (MUSIC if name.startswith("music") else IMAGE,)


@pytest.mark.parametrize("body", SHAPES.values(), ids=list(SHAPES))
def test_the_id_is_found_in_every_shape(body: Any) -> None:
    assert task_ids(json.dumps(body).encode()) == ("t",)


def test_several_ids_are_told_each_once() -> None:
    body = {"taskId": "c", "task_id": "b", "data": {"taskId": "b", "task_id": "a"}}
    assert task_ids(json.dumps(body).encode()) == ("a", "b", "c")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"[]", b"5", b'"t"', b"\xff\xfe", b'{"data": "\\ud800"}', b"[" * 100_000, b"{}"]
)
def test_what_cannot_be_read_tells_nothing(body: bytes) -> None:
    assert task_ids(body) == ()


@settings(max_examples=50)
@given(st.binary(), st.text(), st.text(), st.text(min_size=1))
def test_nothing_raises(body: bytes, timestamp: str, signature: str, key: str) -> None:
    assert task_ids(body) is not None
    assert not is_signed(body, key, timestamp, signature)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["data", "taskId", "task_id"]) | st.text(), inner),
)


@settings(max_examples=30)
@given(json_values)
def test_whatever_is_told_could_be_asked_for(value: object) -> None:
    for told in task_ids(json.dumps(value).encode()):
        assert told.isprintable()
        assert 0 < len(told) <= 200
        assert " " not in told


# -- signatures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", SHAPES.values(), ids=list(SHAPES))
def test_a_signature_over_any_told_id_counts(body: Any) -> None:
    assert is_signed(json.dumps(body).encode(), "k", "1790000000", signed("t"))


@pytest.mark.parametrize("told", ["a", "b", "c"])
def test_one_of_several_ids_may_be_the_signed_one(told: str) -> None:
    body = json.dumps({"taskId": "c", "data": {"taskId": "b", "task_id": "a"}}).encode()
    assert is_signed(body, "k", "1790000000", signed(told))
    assert not is_signed(body, "k", "1790000000", signed("d"))


@pytest.mark.parametrize(
    ("timestamp", "signature"),
    [
        (None, None),
        ("1790000000", None),
        (None, signed("t")),
        ("", signed("t", timestamp="")),
        ("1790000001", signed("t")),
        ("1790000000", signed("u")),
        ("1790000000", signed("t", key="other")),
        ("1790000000", signed("t")[:-1]),
        ("1790000000", signed("t") + "="),
        ("1790000000", "not base64!"),
        ("1790000000", "\xe9" * 44),
        ("\u0661", signed("t", timestamp="\u0661")),
    ],
)
def test_anything_else_is_no_signature(timestamp: str | None, signature: str | None) -> None:
    assert not is_signed(b'{"taskId": "t"}', "k", timestamp, signature)


def test_a_signature_needs_an_id() -> None:
    assert not is_signed(b"{}", "k", "1790000000", signed(""))


def test_every_id_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(left: bytes, right: bytes) -> bool:
        compared.append(left)
        return hmac_compare(left, right)

    hmac_compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    body = json.dumps({"taskId": "c", "data": {"taskId": "b", "task_id": "a"}}).encode()
    assert is_signed(body, "k", "1790000000", signed("a"))
    assert compared == [signed(told).encode() for told in ("a", "b", "c")]
