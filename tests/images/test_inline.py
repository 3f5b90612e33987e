"""Pictures held in the row itself."""

import base64
import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.findings import Flawed
from reconciler.domain.look import LONGEST_INLINE
from reconciler.images.download import MAX_BYTES
from reconciler.images.inline import decoded, is_inline


@given(st.binary(max_size=200), st.sampled_from(["image/png;base64", ";base64", "image/jpeg;name=a;BASE64"]))
def test_base64_comes_back_whatever_type_is_declared(data: bytes, declared: str) -> None:
    assert decoded(f"data:{declared},{base64.b64encode(data).decode()}") == data


def test_lines_in_base64_and_percent_codes_are_read() -> None:
    assert decoded("data:image/png;base64,AA\nEC%0A") == b"\x00\x01\x02"
    assert decoded("data:,a%20b") == b"a b"


@pytest.mark.parametrize(
    "uri",
    [
        "data:image/png;base64,AAECAw",
        "data:image/png;base64,AAECAw=",
        "data:image/png; base64,AAECAw==",
        "data:image/png;  BASE64 ,AAECAw%3D%3D",
        "DATA:image/png;base64,AAECAw==",
        "Data:;base64,AA EC\tAw",
    ],
)
def test_it_is_read_as_browsers_read_it(uri: str) -> None:
    assert is_inline(uri)
    assert decoded(uri) == b"\0\1\2\3"


@pytest.mark.parametrize("letters", ["AA==AAAA", "AAAA====AAAA", "=AAA", "AAA=A", "A-_A", "AAAA\xe4", "%41%4", "AAAAA"])
def test_what_is_no_base64_is_none_however_it_is_tried(letters: str) -> None:
    assert isinstance(decoded(f"data:image/png;base64,{letters}"), Flawed)


def test_a_large_one_is_decoded_in_little_more_than_itself_and_the_picture() -> None:
    picture = random.Random(1).randbytes(3_000_000)
    uri = "data:image/png;base64," + base64.b64encode(picture).decode()
    tracemalloc.start()
    try:
        assert decoded(uri) == picture
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.1 * (len(uri) + len(picture))


def test_as_much_is_taken_from_a_row_as_from_the_web() -> None:
    assert LONGEST_INLINE == MAX_BYTES * 4 // 3


def test_what_only_begins_with_the_word_is_a_url() -> None:
    assert not is_inline("database.example/a.png")


@pytest.mark.parametrize("uri", ["data:image/png;base64", "data:image/png;base64,A", "data:;base64,@@@@"])
def test_what_is_no_picture_is_said_to_be_none(uri: str) -> None:
    assert isinstance(decoded(uri), Flawed)
