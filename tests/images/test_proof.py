from collections.abc import Callable
from threading import Lock, Semaphore, Thread

import pytest

from reconciler.images.proof import StoreProof
from reconciler.ports import StoreError


def fail() -> None:
    raise StoreError("full")


def stored(proof: StoreProof, how: Callable[[], None] = lambda: None, size: int = 9) -> None:
    with proof.needed(size):
        how()


def not_stored(proof: StoreProof, size: int = 9) -> None:
    with pytest.raises(StoreError):
        stored(proof, fail, size)


def test_a_trial_during_which_a_picture_could_not_be_stored_proves_nothing() -> None:
    """It may have been written before."""
    proof, trials = StoreProof(), list[int]()

    def trial(size: int) -> None:
        trials.append(size)
        if len(trials) == 1:
            not_stored(proof)

    for _ in range(3):
        proof.renew(trial)
    assert trials == [0, 9]


def test_a_picture_that_is_stored_proves_as_much_as_before() -> None:
    proof, trials = StoreProof(), list[int]()
    for _ in range(2):
        stored(proof)
        proof.renew(trials.append)
    assert trials == [0]


def test_what_lapsed_is_tried_with_what_could_not_be_stored_once() -> None:
    proof, trials = StoreProof(), list[int]()
    for size in (20, 7):
        not_stored(proof, size)
    for _ in range(2):
        proof.renew(trials.append)
        proof.lapse()
    assert trials == [20, 20]


def test_a_picture_that_is_stored_tells_that_others_of_its_size_can_be() -> None:
    """One that is too large for the store stops nobody else."""
    proof, trials = StoreProof(), list[int]()
    not_stored(proof, 12 << 20)
    for size in (500, 700):
        stored(proof, size=size)
    proof.renew(trials.append)
    assert trials == [500]


class Announcing:
    """A lock that tells who comes to wait for it."""

    def __init__(self) -> None:
        self._lock, self.came = Lock(), Semaphore(0)

    def __enter__(self) -> None:
        self.came.release()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


@pytest.mark.parametrize(("ends", "told"), [(lambda: None, "well"), (fail, "full")])
def test_those_who_come_during_a_trial_share_it(
    monkeypatch: pytest.MonkeyPatch, ends: Callable[[], None], told: str
) -> None:
    proof, lock, trials, found, threads = StoreProof(), Announcing(), list[int](), list[str](), list[Thread]()
    monkeypatch.setattr(proof, "_trying", lock)

    def trial(size: int) -> None:
        trials.append(size)
        if len(trials) == 1:
            for thread in threads:
                thread.start()
            for _ in (None, *threads):
                lock.came.acquire()
        ends()

    def renewed() -> None:
        try:
            proof.renew(trial)
            found.append("well")
        except StoreError as error:
            found.append(str(error))

    threads.extend(Thread(target=renewed) for _ in range(3))
    renewed()
    for thread in threads:
        thread.join()
    assert (trials, found) == ([0], [told] * 4)
    renewed()
    assert len(trials) == (1 if told == "well" else 2), "a later one is no part of it"
