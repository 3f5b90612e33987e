from collections.abc import Callable

import pytest

from reconciler.images.proof import Proof


def fail() -> None:
    raise OSError


def stored(proof: Proof, how: Callable[[], None] = lambda: None) -> None:
    with proof.needed():
        how()


def test_a_trial_during_which_a_picture_could_not_be_stored_proves_nothing() -> None:
    """It may have been written before."""
    proof, trials = Proof(), list[int]()

    def trial() -> None:
        trials.append(1)
        if len(trials) == 1:
            with pytest.raises(OSError):  # noqa: PT011 - any
                stored(proof, fail)

    for _ in range(3):
        proof.renew(trial)
    assert len(trials) == 2


def test_a_picture_that_is_stored_proves_as_much_as_before() -> None:
    proof, trials = Proof(), list[int]()
    for _ in range(2):
        stored(proof)
        proof.renew(lambda: trials.append(1))
    assert trials == [1]
