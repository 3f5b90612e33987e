"""A stored picture's bytes are told from others by its key."""

from hashlib import sha256

import pytest

from reconciler.domain.keys import is_of

DIGITS = sha256(b"picture").hexdigest()[:16]


@pytest.mark.parametrize("key", [f"tracks/a/{DIGITS}.jpg", f"tracks/a.b/{DIGITS}.webp", DIGITS])
def test_a_key_is_of_the_bytes_that_were_stored_under_it(key: str) -> None:
    assert is_of(key, b"picture")
    assert not is_of(key, b"pictur")


@pytest.mark.parametrize("key", ["tracks/a/cover.jpg", f"tracks/{DIGITS}/.jpg", f"{DIGITS}.jpg/cover"])
def test_a_key_that_no_store_made_is_of_no_bytes(key: str) -> None:
    assert not is_of(key, b"picture")
