from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from reconciler.domain.model import Written
from reconciler.domain.scope import enters_scope, in_scope, settles_at
from tests.domain.builders import DAY, HOUR, LONG_AGO, MINUTE, NOW, OURS, POLICY, memory, track

GRACE = POLICY.grace


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *[("completed", True), ("failed", False), ("callback_inserted", False), ("archived", False)],
        *[("pending", True), ("processing", True), (None, True), ("something", False)],
    ],
)
def test_which_old_rows_with_audio_are_in_scope(status: str | None, expected: bool) -> None:
    assert in_scope(track(status=status), memory(), POLICY, NOW) is expected


@pytest.mark.parametrize("status", ["pending", "processing", None])
def test_unfinished_rows_need_audio_and_age(status: str | None) -> None:
    young = track(status=status, created_at=NOW - DAY + MINUTE)
    assert not in_scope(young, memory(first_seen=NOW - HOUR), POLICY, NOW)
    assert in_scope(young, memory(first_seen=NOW - HOUR), POLICY, NOW + MINUTE)
    assert not in_scope(track(status=status, audio_url=None), memory(), POLICY, NOW)


def test_completed_rows_are_in_scope_at_once_and_without_audio() -> None:
    assert in_scope(track(created_at=NOW, audio_url=None), memory(first_seen=NOW), POLICY, NOW)


def test_archived_rows_with_audio_are_in_scope_where_that_is_wanted() -> None:
    policy = replace(POLICY, restore_archived=True)
    assert in_scope(track(status="archived"), memory(), policy, NOW)
    assert not in_scope(track(status="archived", audio_url=None), memory(), policy, NOW)


def test_an_ignored_track_is_out_of_scope_whatever_it_is() -> None:
    assert not in_scope(track(), memory(ignored=True), POLICY, NOW)
    assert not in_scope(track(flaw="id"), memory(ignored=True), POLICY, NOW)


def test_a_row_that_cannot_be_worked_is_counted_unless_its_status_is_excluded() -> None:
    assert in_scope(track(flaw="its status is a number", status=None, audio_url=None), memory(), POLICY, NOW)
    assert not in_scope(track(flaw="id", status="failed"), memory(), POLICY, NOW)
    assert not in_scope(track(flaw="id", status="archived"), memory(), POLICY, NOW)


@pytest.mark.parametrize("created", [None, NOW + 400 * DAY])
def test_a_row_without_a_date_or_from_the_future_ages_from_when_it_was_first_seen(created: datetime | None) -> None:
    assert enters_scope(track(created_at=created), memory(first_seen=NOW), POLICY) == NOW + DAY


# -- grace ---------------------------------------------------------------------------------------------------------


def fresh(updated: datetime | None, **changes: Any) -> datetime | None:
    the_track = track(created_at=LONG_AGO, updated_at=updated)
    return settles_at(the_track, memory(first_seen=NOW, needy_since=NOW, **changes), POLICY, NOW)


def test_a_row_is_left_alone_for_a_while_after_others_wrote_it() -> None:
    assert fresh(NOW - MINUTE) == NOW - MINUTE + GRACE
    assert fresh(NOW - GRACE) is None


def test_a_row_is_left_alone_for_a_while_after_it_was_created() -> None:
    assert settles_at(track(created_at=NOW, updated_at=None), memory(first_seen=NOW), POLICY, NOW) == NOW + GRACE


def test_our_own_write_starts_no_grace() -> None:
    assert fresh(NOW - MINUTE, written=Written(OURS, None, NOW - MINUTE, NOW - MINUTE)) is None


def test_somebody_elses_write_after_ours_does() -> None:
    assert fresh(NOW, written=Written(OURS, None, NOW - MINUTE, NOW - MINUTE)) == NOW + GRACE


def test_a_time_in_the_future_counts_as_now_until_the_track_was_in_need_for_stale_after() -> None:
    future = track(updated_at=NOW + 900 * DAY)
    assert settles_at(future, memory(needy_since=NOW), POLICY, NOW) == NOW + GRACE
    assert settles_at(future, memory(needy_since=NOW - DAY + MINUTE), POLICY, NOW) == NOW + MINUTE
    assert settles_at(future, memory(needy_since=NOW - DAY), POLICY, NOW) is None


def test_a_row_that_is_touched_again_and_again_is_left_alone_for_stale_after_at_the_longest() -> None:
    touched = track(updated_at=NOW - MINUTE)
    assert settles_at(touched, memory(needy_since=NOW - DAY + MINUTE), POLICY, NOW) == NOW + MINUTE
    assert settles_at(touched, memory(needy_since=NOW - DAY), POLICY, NOW) is None


def test_the_bound_of_a_good_picture_counts_from_the_first_sight() -> None:
    future = track(updated_at=NOW + 900 * DAY)
    assert settles_at(future, memory(first_seen=NOW - DAY, needy_since=None), POLICY, NOW) is None


def test_a_row_without_timestamps_settles_from_when_it_was_first_seen() -> None:
    bare = track(created_at=None, updated_at=None)
    assert settles_at(bare, memory(first_seen=NOW), POLICY, NOW) == NOW + GRACE
    assert settles_at(bare, memory(first_seen=NOW - GRACE), POLICY, NOW) is None
