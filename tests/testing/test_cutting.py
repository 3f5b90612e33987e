"""A process that is killed, in process."""

import pytest

from reconciler.testing.cutting import Killed, Scissors


class Port:
    size = 3

    def __init__(self) -> None:
        self.calls = 0

    def call(self) -> int:
        self.calls += 1
        return self.calls


def test_every_call_is_two_places_and_what_is_no_call_is_none() -> None:
    scissors = Scissors()
    wrapped = scissors.wrap("port", Port())
    assert (wrapped.call(), wrapped.call(), wrapped.size) == (1, 2, 3)
    assert scissors.places == ["before port.call", "after port.call"] * 2


@pytest.mark.parametrize(("cut_at", "calls"), [(0, 0), (1, 1), (2, 1), (3, 2)])
def test_it_dies_at_its_place_and_nothing_may_catch_it(cut_at: int, calls: int) -> None:
    port, scissors = Port(), Scissors(cut_at)
    wrapped = scissors.wrap("port", port)
    for _ in range(cut_at // 2):
        wrapped.call()
    with pytest.raises(Killed, match=r"port\.call"):
        wrapped.call()
    assert port.calls == calls
    assert not issubclass(Killed, Exception)
