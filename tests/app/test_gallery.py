"""Thumbnails for the page: made once, a few at a time, from the store or from where the picture lay."""

import pytest

from reconciler.app import gallery as module
from reconciler.app.gallery import Gallery
from reconciler.domain.findings import Fault, Flawed, Refused
from reconciler.domain.policy import Policy
from reconciler.domain.states import Flaw, Reason
from reconciler.kie.simulated import paint
from reconciler.page.values import Thumbnail
from reconciler.ports import Prepared, StoreError
from reconciler.testing.store import MemoryStore

POLICY = Policy()
KEY, OTHER = "tracks/a/1111111111111111.jpg", "tracks/b/2222222222222222.jpg"
URL = "https://ref.supabase.co/a.jpg"
PICTURE = paint("a lighthouse", 64, 36)

Fetched = bytes | Flawed | Refused | Fault


class Web:
    """ports.Pictures, of which only `fetch` is asked."""

    def __init__(self, answer: Fetched = PICTURE) -> None:
        self.answer, self.asked = answer, list[str]()

    def fetch(self, url: str, *, bound: bool) -> Fetched:
        assert not bound
        self.asked.append(url)
        return self.answer

    def measure(self, url: str) -> Fault:
        raise NotImplementedError

    def measure_bytes(self, data: bytes) -> Flawed:
        raise NotImplementedError

    def prepare(self, data: bytes, *, interim: bool) -> Prepared | Flawed:
        raise NotImplementedError


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.pictures = {KEY: PICTURE, OTHER: paint("a boat", 64, 36)}
    return store


def gallery_of(store: MemoryStore, web: Web | None = None, policy: Policy = POLICY) -> Gallery:
    return Gallery(lambda: store, lambda: web or Web(), policy)


def test_what_the_store_holds_is_shown_and_served(store: MemoryStore) -> None:
    gallery = gallery_of(store)
    gallery.make([KEY])
    thumb = gallery.shown[KEY]
    assert isinstance(thumb, Thumbnail)
    assert (thumb.width, thumb.height) == (64, 36)
    assert (gallery.file(thumb.name) or b"").startswith(b"\xff\xd8")
    assert gallery.file("0" * 32) is None


def test_each_is_made_once_and_forgotten_when_it_is_not_shown_any_more(store: MemoryStore) -> None:
    asked: list[str] = []
    store.on_call = asked.append
    gallery, web = gallery_of(store), Web()
    for _ in range(2):
        gallery.make([KEY, KEY])
    assert asked == ["get"]
    gallery.make([OTHER])
    assert gallery.shown.keys() == {OTHER}
    assert len(gallery._files) == 1
    assert web.asked == []


def test_a_few_are_made_at_a_time_the_first_ones_first(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_A_TIME", 1)
    gallery = gallery_of(store)
    seen = []
    for _ in range(2):
        gallery.make([OTHER, KEY])
        seen.append(set(gallery.shown))
    assert seen == [{OTHER}, {OTHER, KEY}]


def test_one_that_is_to_stop_begins_no_other(store: MemoryStore) -> None:
    gallery = gallery_of(store)
    store.on_call = lambda _: gallery.stop()
    gallery.make([KEY, OTHER])
    assert gallery.shown.keys() == {KEY}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Refused("404"), "gone"),
        (Fault(Reason.HOST_REFUSED, "a private address"), "it could not be had"),
        (Flawed(Flaw.TOO_LARGE, "40 MB"), "not shown: too large"),
        (b"<svg onload=hack()>", "not shown: format"),
    ],
)
def test_what_cannot_be_shown_is_told_in_words_and_not_asked_for_again(answer: Fetched, words: str) -> None:
    web = Web(answer)
    gallery = gallery_of(MemoryStore(), web)
    for _ in range(2):
        gallery.make([URL])
    assert gallery.shown == {URL: words}
    assert web.asked == [URL]


def test_what_was_there_before_is_asked_for_where_it_lies(store: MemoryStore) -> None:
    gallery = gallery_of(store)
    gallery.make([URL])
    assert isinstance(gallery.shown[URL], Thumbnail)


def test_where_nothing_is_stored_the_picture_is_asked_for_where_it_was_left() -> None:
    web, url = Web(), "https://tempfile.aiquickdraw.com/r/1.png"
    gallery = gallery_of(MemoryStore(marker=None), web, Policy(keeps=False))
    gallery.make([url])
    assert isinstance(gallery.shown[url], Thumbnail)
    assert web.asked == [url]


@pytest.mark.parametrize(
    "url",
    [
        "http://ref.supabase.co/a.jpg",
        "https://10.0.0.1/a.jpg",
        "https://u:p@x.example/a.jpg",
        "https://a.r2.cloudflarestorage.com/b/c.png?X-Amz-Expires=1200&X-Amz-Signature=ab",
    ],
)
def test_what_may_not_be_asked_is_not(url: str) -> None:
    web = Web()
    gallery = gallery_of(MemoryStore(), web)
    gallery.make([url])
    assert (gallery.shown, web.asked) == ({url: "a link that is not asked"}, [])


def test_a_url_of_our_own_is_read_from_the_store(store: MemoryStore) -> None:
    gallery, web = gallery_of(store), Web()
    gallery.make([POLICY.url_of(KEY), POLICY.url_of("tracks/c/3333333333333333.jpg")])
    assert [type(shown) for shown in gallery.shown.values()] == [Thumbnail, str]
    assert "gone from the store" in gallery.shown.values()
    assert web.asked == []


def test_a_store_that_fails_is_told_and_asked_again(store: MemoryStore) -> None:
    gallery = gallery_of(store)
    store.trouble = "read a picture: I/O error"
    with pytest.raises(StoreError):
        gallery.make([KEY])
    assert (gallery.trouble, gallery.shown) == ("read a picture: I/O error", {})
    store.trouble = None
    gallery.make([KEY])
    assert gallery.trouble is None
    assert KEY in gallery.shown
