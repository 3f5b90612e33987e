from datetime import timedelta

import pytest

from reconciler.domain.texts import span


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-1, (0, "second")),
        (119.9, (119, "second")),
        (120, (2, "minute")),
        (7199, (119, "minute")),
        (7200, (2, "hour")),
        (172_799, (47, "hour")),
        (172_800, (2, "day")),
    ],
)
def test_a_length_of_time_is_told_in_the_largest_unit_of_which_there_are_two(
    seconds: float, told: tuple[int, str]
) -> None:
    assert span(timedelta(seconds=seconds)) == told
