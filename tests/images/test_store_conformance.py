"""What every store must do, asked of the shipped fake and of the real ones."""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import obstore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.keys import is_key
from reconciler.images.keys import folder_of, key_of
from reconciler.images.local_store import LocalStore
from reconciler.images.s3_store import S3Reader, S3Store
from reconciler.ports import Prepared, Store, StoreError
from reconciler.testing.store import MemoryStore
from tests.s3 import LOOKER, LOOKERS_SECRET, server

Make = Callable[..., Prepared]


@pytest.fixture(params=["memory", "local", pytest.param("s3", marks=[pytest.mark.slow, pytest.mark.server])])
def begin(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Store]:
    """A store that is not adopted yet."""
    match request.param:
        case "memory":
            return partial(MemoryStore, marker=None)
        case "local":
            return partial(LocalStore, tmp_path / "a" / "store")
        case _:
            return partial(S3Store, server().access(server().empty_bucket()))


@pytest.fixture
def fresh(begin: Callable[..., Store]) -> Store:
    return begin()


@pytest.fixture
def store(fresh: Store) -> Store:
    fresh.adopt("ours")
    return fresh


def every_method_of(store: Store, picture: Prepared) -> tuple[Callable[[], object], ...]:
    return (
        store.check,
        lambda: store.get("tracks/a/0123456789abcdef.jpg"),
        lambda: store.get("nonsense"),
        lambda: store.keys("a"),
        lambda: store.put("a", picture),
        lambda: store.prove("a"),
    )


def test_without_a_marker_every_method_fails_and_none_says_absent(fresh: Store, prepared: Make) -> None:
    for call in every_method_of(fresh, prepared(b"picture")):
        with pytest.raises(StoreError, match="marker"):
            call()


def test_with_another_marker_than_is_known_every_method_fails_and_none_says_absent(
    begin: Callable[..., Store], prepared: Make
) -> None:
    store = begin(known="ours")
    assert store.adopt("theirs") == "theirs"
    for call in every_method_of(store, prepared(b"picture")):
        with pytest.raises(StoreError, match=r"is another store .* \(marker theirs, expected ours\)"):
            call()


def test_the_store_that_is_known_is_used(begin: Callable[..., Store], prepared: Make) -> None:
    store = begin(known="ours")
    store.adopt("ours")
    assert store.check() == "ours"
    assert store.get(store.put("a", prepared(b"picture"))) == b"picture"


def test_adopting_makes_the_marker_once(fresh: Store) -> None:
    assert fresh.adopt("first") == "first"
    assert fresh.adopt("second") == "first"
    assert fresh.adopt(None) == "first"
    assert fresh.check() == "first"


def test_adopting_without_an_id_makes_one(fresh: Store) -> None:
    assert fresh.adopt(None) == fresh.check() != ""


def test_what_is_put_can_be_got_and_listed(store: Store, prepared: Make) -> None:
    key = store.put("track-1", prepared(b"picture"))
    assert store.get(key) == b"picture"
    assert list(store.keys("track-1")) == [key]
    assert list(store.keys("track")) == list(store.keys("track-10")) == []


def test_the_key_is_of_track_and_content(store: Store, prepared: Make) -> None:
    key = store.put("track_1", prepared(b"picture", "webp"))
    assert key == f"tracks/track_1/{prepared(b'picture').sha256[:16]}.webp"


def test_the_same_bytes_have_the_same_key(store: Store, prepared: Make) -> None:
    first = store.put("a", prepared(b"picture"))
    assert store.put("a", prepared(b"picture")) == first
    assert list(store.keys("a")) == [first]


def test_the_same_bytes_of_two_tracks_are_kept_apart(store: Store, prepared: Make) -> None:
    assert store.put("a", prepared(b"picture")) != store.put("b", prepared(b"picture"))
    assert len(store.keys("a")) == len(store.keys("b")) == 1


def test_an_absent_picture_is_none(store: Store) -> None:
    assert store.get("tracks/a/0123456789abcdef.jpg") is None
    assert list(store.keys("a")) == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "../.reconciler-store",
        ".reconciler-store",
        "tracks/../.reconciler-store",
        "tracks/a/../../.reconciler-store",
        "/etc/passwd",
        "tracks/a/0123456789abcdef.jpg/../../../.reconciler-store",
        "tracks/a/0123456789abcdef.jpg\n",
        "tracks/a/0123456789abcdef.jpg\0",
        "tracks//0123456789abcdef.jpg",
        "tracks/./0123456789abcdef.jpg",
        "tracks/a%2f/0123456789abcdef.jpg",
        "tracks\\a\\0123456789abcdef.jpg",
    ],
)
def test_what_is_no_key_of_ours_is_surely_absent(store: Store, key: str) -> None:
    assert store.get(key) is None


def test_a_picture_that_is_not_what_it_claims_is_refused(store: Store, prepared: Make) -> None:
    true = prepared(b"picture")
    false = Prepared(b"other", "jpg", "image/jpeg", 2048, 1152, true.sha256)
    with pytest.raises(StoreError, match="not what was written"):
        store.put("a", false)


def refuse(call: object) -> None:
    if call in ("put", "prove"):
        raise StoreError("memory: full")
    if isinstance(call, int) and stat.S_ISREG(os.fstat(call).st_mode):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def refusing(store: Store) -> Iterator[None]:
    """All can be read, and nothing written."""
    with pytest.MonkeyPatch.context() as patch:
        match store:
            case MemoryStore():
                patch.setattr(store, "on_call", refuse)
            case LocalStore():
                patch.setattr(os, "fsync", refuse)
            case _:
                assert isinstance(store, S3Store)
                looker = replace(store._access, access_key=LOOKER, secret_key=LOOKERS_SECRET)
                patch.setattr(store, "_client", S3Reader(looker)._client)
        yield


def test_a_store_that_takes_nothing_is_told_before_anything_is_put(store: Store) -> None:
    with refusing(store):
        store.check()
        for _ in range(2):
            with pytest.raises(StoreError):
                store.prove("a")
    store.prove("a")


def test_what_was_proven_holds_until_a_put_fails(store: Store, prepared: Make) -> None:
    store.prove("a")
    with refusing(store):
        store.prove("a")
        with pytest.raises(StoreError):
            store.put("a", prepared(b"picture"))
        for _ in range(2):
            with pytest.raises(StoreError):
                store.prove("a")
    store.prove("a")
    assert list(store.keys("a")) == []
    assert store.get(store.put("a", prepared(b"picture"))) == b"picture"


class Forgetful(dict[str, bytes]):
    def __setitem__(self, key: str, data: bytes) -> None:
        pass


@contextmanager
def keeping_nothing(store: Store) -> Iterator[None]:
    """What is written is taken with thanks."""
    with pytest.MonkeyPatch.context() as patch:
        match store:
            case MemoryStore():
                patch.setattr(store, "pictures", Forgetful())
            case LocalStore():
                patch.setattr("reconciler.images.local_store.write_new", lambda part, _: part.write_bytes(b""))
            case _:
                patch.setattr(obstore, "put", lambda *_, **__: None)
        yield


@pytest.mark.parametrize("before", [False, True], ids=["new", "proven before"])
def test_a_store_that_keeps_nothing_of_what_it_takes_is_told_before_anything_is_put(
    store: Store, prepared: Make, before: bool
) -> None:
    if before:
        store.prove("a")
        with refusing(store), suppress(StoreError):
            store.put("a", prepared(b"picture"))
    with keeping_nothing(store):
        prove = partial(store.prove, "a")
        for call in (prove, prove, lambda: store.put("a", prepared(b"picture"))):
            with pytest.raises(StoreError, match="read"):
                call()
    store.prove("a")
    assert store.get(store.put("a", prepared(b"picture"))) == b"picture"


PAGE = b"<html>We will be back soon</html>"


def pages_everywhere(store: Store, key: str, *, marker: bool) -> None:
    """In the place of a picture, and of the marker too."""
    match store:
        case MemoryStore():
            store.pictures[key] = PAGE
            store.marker = None if marker else store.marker
        case LocalStore():
            for path in (key, ".reconciler-store")[: 1 + marker]:
                (store.root / path).write_bytes(PAGE)
        case _:
            assert isinstance(store, S3Store)
            for path in (key, ".reconciler-store")[: 1 + marker]:
                obstore.put(store._client, path, PAGE)


def test_a_damaged_picture_is_given_as_it_is(store: Store, prepared: Make) -> None:
    key = store.put("a", prepared(b"picture"))
    pages_everywhere(store, key, marker=False)
    assert store.get(key) == PAGE


def test_where_all_is_damaged_the_store_itself_is_away(store: Store, prepared: Make) -> None:
    """Else a day of such pages would make a picture dead."""
    key = store.put("a", prepared(b"picture"))
    pages_everywhere(store, key, marker=True)
    with pytest.raises(StoreError, match="marker"):
        store.get(key)


@pytest.mark.parametrize("track_id", ["", ".", "..", "../x", "/", "a/b", "a.b", "~", "é", "\ud800", "x" * 5000, "\0"])
def test_no_id_leaves_the_store(store: Store, prepared: Make, track_id: str) -> None:
    key = store.put(track_id, prepared(b"picture"))
    assert re.fullmatch(r"tracks/[A-Za-z0-9_~-]{1,200}/[0-9a-f]{16}\.jpg", key)
    assert store.get(key) == b"picture"
    assert list(store.keys(track_id)) == [key]


long_ids = st.text(alphabet="a/~é", min_size=190, max_size=260)


@given(st.one_of(st.tuples(st.text(), st.text()), st.tuples(long_ids, long_ids)))
def test_different_ids_have_different_folders(both: tuple[str, str]) -> None:
    one, other = both
    assert (folder_of(one) == folder_of(other)) is (one == other)


@given(st.one_of(st.text(), st.text(min_size=150), st.text(alphabet="./~", max_size=3)))
def test_every_key_made_is_a_key(track_id: str) -> None:
    assert is_key(key_of(track_id, Prepared(b"", "png", "image/png", 1, 1, "0" * 64)))


def test_other_bytes_are_escaped() -> None:
    assert folder_of("a.b/ü~") == "a~2eb~2f~c3~bc~7e"
