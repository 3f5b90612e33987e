"""A stored picture's key is told from other names, and its bytes from others by its key."""

from hashlib import sha256

import pytest

from reconciler.domain.keys import is_key, is_of

DIGITS = sha256(b"picture").hexdigest()[:16]


@pytest.mark.parametrize("key", [f"tracks/a/{DIGITS}.jpg", f"tracks/a.b/{DIGITS}.webp", DIGITS])
def test_a_key_is_of_the_bytes_that_were_stored_under_it(key: str) -> None:
    assert is_of(key, b"picture")
    assert not is_of(key, b"pictur")


@pytest.mark.parametrize("key", ["tracks/a/cover.jpg", f"tracks/{DIGITS}/.jpg", f"{DIGITS}.jpg/cover"])
def test_a_key_that_no_store_made_is_of_no_bytes(key: str) -> None:
    assert not is_of(key, b"picture")


@pytest.mark.parametrize("key", [f"tracks/a/{DIGITS}.jpg", f"tracks/~c3~a4/{DIGITS}.webp", f"tracks/_-9/{DIGITS}.png"])
def test_a_key_that_a_store_can_have_made(key: str) -> None:
    assert is_key(key)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "cover.jpg",
        "tracks/a/cover.jpg",
        f"tracks/a/{DIGITS.upper()}.jpg",
        f"tracks/a/{DIGITS}.gif",
        f"tracks/a/{DIGITS}.jpg\n",
        f"tracks/a.b/{DIGITS}.jpg",
        f"tracks/../{DIGITS}.jpg",
        f"tracks/%7Ea/{DIGITS}.jpg",
        f"tracks//{DIGITS}.jpg",
        f"tracks/{'a' * 201}/{DIGITS}.jpg",
        f"covers/tracks/a/{DIGITS}.jpg",
        f"/tracks/a/{DIGITS}.jpg",
    ],
)
def test_no_store_makes_such_a_key(key: str) -> None:
    assert not is_key(key)
