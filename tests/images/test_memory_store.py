import pytest

from reconciler.ports import Prepared, StoreError
from reconciler.testing.store import MemoryStore

PICTURE = Prepared(b"", "jpg", "image/jpeg", 1, 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


def test_trouble_hits_every_method_and_passes() -> None:
    store = MemoryStore()
    store.trouble = "store: no"
    for call in (
        store.check,
        lambda: store.adopt(None),
        lambda: store.put("a", PICTURE),
        lambda: store.get("x"),
        lambda: store.prove("a"),
    ):
        with pytest.raises(StoreError, match="store: no"):
            call()
    store.trouble = None
    store.put("a", PICTURE)
    store.put("a", PICTURE)
    assert store.writes == 1


def test_the_newest_comes_first() -> None:
    store = MemoryStore()
    store.pictures = {f"tracks/a/{digit * 16}.jpg": b"" for digit in "132"}
    assert [key[-5] for key in store.keys("a")] == ["2", "3", "1"]


def test_damage_is_mended_by_the_next_put() -> None:
    store = MemoryStore()
    key = store.put("a", PICTURE)
    store.pictures[key] = b"damaged"
    assert store.put("a", PICTURE) == key
    assert store.get(key) == b""


def test_every_call_is_heard() -> None:
    store = MemoryStore()
    heard: list[str] = []
    store.on_call = heard.append
    store.check()
    store.adopt(None)
    store.get(store.put("a", PICTURE))
    store.keys("a")
    store.prove("a")
    assert heard == ["check", "adopt", "put", "get", "keys", "prove"]
