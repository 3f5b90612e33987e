"""A connection is kept until it is dropped, or until another one is meant."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from reconciler.app.kept_open import KeptOpen


class Opened:
    """Numbers, one for each time it is opened. `log`: what was opened and closed."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.place: object = "here"
        self.unfit: set[int] = set()
        self.fails: Exception | None = None

    @contextmanager
    def __call__(self) -> Iterator[int]:
        if self.fails:
            raise self.fails
        number = len(self.log)
        self.log.append(f"open {number}")
        yield number
        self.log.append(f"close {number}")
        if self.fails:
            raise self.fails

    def fits(self, number: int) -> bool:
        if self.fails:
            raise self.fails
        return number not in self.unfit


@pytest.fixture
def opened() -> Opened:
    return Opened()


@pytest.fixture
def kept(opened: Opened) -> KeptOpen[int]:
    return KeptOpen(opened, lambda: opened.place, opened.fits)


def test_it_is_opened_when_it_is_wanted_and_only_once(opened: Opened, kept: KeptOpen[int]) -> None:
    assert opened.log == []
    assert [kept.get(), kept.get()] == [0, 0]
    assert opened.log == ["open 0"]


def test_it_is_opened_anew_after_it_was_dropped(opened: Opened, kept: KeptOpen[int]) -> None:
    kept.get()
    kept.drop()
    kept.drop()
    assert kept.get() == 2
    assert opened.log == ["open 0", "close 0", "open 2"]


def test_it_is_opened_anew_when_its_place_is_another_one(opened: Opened, kept: KeptOpen[int]) -> None:
    kept.get()
    opened.place = "there"
    assert [kept.get(), kept.get()] == [2, 2]
    assert opened.log == ["open 0", "close 0", "open 2"]


def test_it_is_opened_anew_when_it_fits_no_more(opened: Opened, kept: KeptOpen[int]) -> None:
    kept.get()
    opened.unfit = {0}
    assert [kept.get(), kept.get()] == [2, 2]
    assert opened.log == ["open 0", "close 0", "open 2"]


def test_whoever_cannot_tell_whether_it_fits_says_so(opened: Opened, kept: KeptOpen[int]) -> None:
    kept.get()
    opened.fails = OSError("away")
    with pytest.raises(OSError, match="away"):
        kept.get()
    opened.fails = None
    assert kept.get() == 0


def test_one_that_cannot_be_opened_is_tried_anew(opened: Opened, kept: KeptOpen[int]) -> None:
    opened.fails = OSError("away")
    for _ in range(2):
        with pytest.raises(OSError, match="away"):
            kept.get()
    opened.fails = None
    assert kept.get() == 0


def test_one_that_cannot_be_closed_is_dropped_all_the_same(opened: Opened, kept: KeptOpen[int]) -> None:
    kept.get()
    opened.fails = OSError("broken")
    kept.drop()
    opened.fails = None
    assert kept.get() == 2
