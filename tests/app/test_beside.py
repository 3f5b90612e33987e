"""Work beside the main thread: what it returns and raises comes back, and one that does not end is left."""

import threading
from datetime import timedelta

import pytest

from reconciler.app.beside import Left, beside

LONG = timedelta(seconds=60)


def never() -> bool:
    return False


def test_what_it_returns_comes_back() -> None:
    here = threading.get_ident()
    assert beside(threading.get_ident, never, LONG) != here


@pytest.mark.parametrize("error", [TimeoutError("its own"), KeyboardInterrupt()])
def test_what_it_raises_comes_back(error: BaseException) -> None:
    def work() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        beside(work, never, LONG)
    assert raised.value is error


def test_asked_to_end_it_is_left_when_it_does_not() -> None:
    with pytest.raises(Left):
        beside(threading.Event().wait, lambda: True, timedelta(0))


def test_asked_to_end_it_is_waited_for() -> None:
    is_asked = threading.Event()

    def asked() -> bool:
        is_asked.set()
        return True

    assert beside(lambda: is_asked.wait(LONG.total_seconds()), asked, LONG)
