"""What a process learns on the way: whether callbacks come."""

from datetime import UTC, datetime, timedelta

import pytest

from reconciler.domain.findings import Failed, Running, Succeeded
from reconciler.engine.lately import SILENT_AFTER, Lately

BEGAN = datetime(2026, 11, 1, tzinfo=UTC)
DONE = Succeeded(("https://x/y.jpg",), BEGAN, BEGAN + timedelta(seconds=9))


def test_where_callbacks_are_to_come_they_are_waited_for_until_five_in_a_row_did_not() -> None:
    lately = Lately(is_called=True)
    lately.hear(Running())
    for number in range(SILENT_AFTER + 2):
        assert lately.runs.called is (number < SILENT_AFTER)
        lately.hear(Failed(None, "") if number % 2 else DONE, announced=False)
    lately.hear(DONE, announced=True)
    assert lately.runs.called
    assert lately.runs.learned == SILENT_AFTER + 3


@pytest.mark.parametrize(("finding", "announced"), [(DONE, None), (Running(), False)])
def test_tasks_of_others_and_those_that_run_on_tell_nothing_of_callbacks(
    finding: Succeeded | Running, announced: bool | None
) -> None:
    lately = Lately(is_called=True)
    for _ in range(SILENT_AFTER + 1):
        lately.hear(finding, announced=announced)
    assert lately.runs.called


def test_where_none_are_to_come_none_is_waited_for() -> None:
    lately = Lately()
    lately.hear(DONE, announced=True)
    assert not lately.runs.called
