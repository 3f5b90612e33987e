from datetime import datetime
from typing import Any

import pytest

from reconciler.domain.gate import GateName
from reconciler.domain.unswept import Left, is_unswept
from tests.domain.builders import DAY, HOUR, LONG_AGO, NOW, POLICY, SHAPE, memory, track

URL, OTHER = "https://example.com/a.jpg", "https://example.com/b.jpg"


@pytest.mark.parametrize(
    ("image", "created_at", "handed", "unswept"),
    [
        (URL, LONG_AGO, (), True),
        (URL, None, (), True),
        (URL, NOW - DAY - HOUR, (), True),
        (URL, NOW - DAY, (), False),
        (URL, NOW + DAY, (), False),
        (URL, LONG_AGO, ("task",), False),
        (None, LONG_AGO, (), False),
        ("", LONG_AGO, (), False),
    ],
)
def test_a_row_that_nobody_looked_at_is_seen_for_its_age_its_missing_picture_or_a_task(
    image: str | None, created_at: datetime | None, handed: tuple[str, ...], unswept: bool
) -> None:
    row = track(image, created_at=created_at)
    assert is_unswept(row, memory(handed=handed), POLICY, NOW, Left()) is unswept


@pytest.mark.parametrize(
    ("image", "kept", "unswept"),
    [
        (URL, {"seen": URL, "stamp": "s"}, False),
        (URL, {"seen": OTHER, "stamp": "s"}, True),
        (URL, {"seen": URL, "stamp": "earlier"}, True),
        (None, {"seen": URL, "stamp": "earlier"}, False),
        (None, {"seen": "", "stamp": "s"}, False),
        (None, {"seen": "", "stamp": "earlier"}, True),
        (URL, {"seen": "", "stamp": "s"}, True),
    ],
)
def test_a_change_of_a_row_is_seen_where_it_took_the_picture_away(
    image: str | None, kept: dict[str, Any], unswept: bool
) -> None:
    assert is_unswept(track(image, stamp="s"), memory(**kept), POLICY, NOW, Left()) is unswept


@pytest.mark.parametrize(
    ("line", "unswept"),
    [
        (None, False),
        (SHAPE, False),
        (GateName.KEY, False),
        (GateName.PAUSED, False),
        ("a shape of somebody else's", True),
    ],
)
def test_who_waits_in_a_line_that_is_none_of_ours_is_not_seen(line: str | None, unswept: bool) -> None:
    assert is_unswept(track(URL, stamp="s"), memory(seen=URL, stamp="s"), POLICY, NOW, Left(line=line)) is unswept


@pytest.mark.parametrize(
    ("left", "unswept"),
    [
        (Left(due_at=NOW), False),
        (Left(due_at=NOW + POLICY.audit_interval), False),
        (Left(due_at=NOW + POLICY.audit_interval + HOUR), True),
        (Left(line=SHAPE), False),
    ],
)
def test_who_is_due_before_the_next_audit_or_waits_in_a_line_is_seen_though_the_row_was_changed(
    left: Left, unswept: bool
) -> None:
    assert is_unswept(track(OTHER, stamp="s"), memory(seen=URL, stamp="s"), POLICY, NOW, left) is unswept
    is_worked = memory(seen=None)
    assert is_unswept(track(URL, created_at=LONG_AGO), is_worked, POLICY, NOW, left) is unswept
