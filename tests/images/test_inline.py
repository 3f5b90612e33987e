"""Pictures held in the row itself."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.findings import Flawed
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


def test_what_only_begins_with_the_word_is_a_url() -> None:
    assert not is_inline("database.example/a.png")


@pytest.mark.parametrize("uri", ["data:image/png;base64", "data:image/png;base64,A", "data:;base64,@@@@"])
def test_what_is_no_picture_is_said_to_be_none(uri: str) -> None:
    assert isinstance(decoded(uri), Flawed)
