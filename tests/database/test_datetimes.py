"""Times in every form that databases hold."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.database import datetimes

NOON = datetime(2026, 11, 1, 12, 30, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-01T12:30:15Z",
        "2026-11-01T12:30:15+00:00",
        "2026-11-01 12:30:15+00",
        "2026-11-01 12:30:15",
        "2026-11-01T12:30:15",
        "2026-11-01 12:30:15.000000",
        " 2026-11-01T12:30:15.000Z ",
        "2026-11-01 14:30:15+02:00",
        "1793536215",
        b"2026-11-01 12:30:15",
        1793536215,
        1793536215.0,
        1793536215000,
        1793536215000000,
        "1793536215000",
        "1793536215000000.0",
        NOON,
        NOON.replace(tzinfo=None),
        NOON.astimezone(timezone(timedelta(hours=-5))),
    ],
)
def test_every_form_is_the_same_instant(value: object) -> None:
    assert datetimes.parse(value) == NOON
    assert datetimes.parse(value).tzinfo is UTC  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "value",
    [None, "", "yesterday", "2026-13-01", "0001-01-01T00:00:00+23:00", b"\xff", True, 1e30, [], "99999999999999999999"],
)
def test_what_is_no_time_is_none(value: object) -> None:
    assert datetimes.parse(value) is None


@pytest.mark.parametrize(
    ("sample", "declared", "written"),
    [
        (None, "TEXT", "2026-11-01 12:30:15.250000"),
        ("nonsense", "TEXT", "2026-11-01 12:30:15.250000"),
        ("2020-01-01 00:00:00", "TEXT", "2026-11-01 12:30:15.250000"),
        ("2020-01-01T00:00:00", "TEXT", "2026-11-01T12:30:15.250000"),
        ("2020-01-01T00:00:00Z", "TEXT", "2026-11-01T12:30:15.250000Z"),
        ("2020-01-01 00:00:00+00:00", "TEXT", "2026-11-01 12:30:15.250000+00:00"),
        ("2020-01-01 00:00:00-05:00", "TEXT", "2026-11-01 12:30:15.250000+00:00"),
        (1577836800, "INTEGER", 1793536215),
        (1577836800000, "INTEGER", 1793536215250),
        (1577836800000000, "INTEGER", 1793536215250000),
        (1577836800.5, "REAL", 1793536215),
        ("1577836800", "TEXT", "1793536215"),
        ("1577836800000", "TEXT", "1793536215250"),
        ("1577836800000000", "TEXT", "1793536215250000"),
        (None, "INTEGER", 1793536215),
    ],
)
def test_a_column_keeps_its_form(sample: object, declared: str, written: object) -> None:
    assert datetimes.like(NOON + timedelta(milliseconds=250), sample, declared) == written


# Hypothesis takes its bounds naive.
instants = st.datetimes(min_value=datetime(1, 1, 3), timezones=st.just(UTC))  # noqa: DTZ001


@given(instants, instants)
def test_own_texts_sort_as_times_do(one: datetime, other: datetime) -> None:
    assert (datetimes.own(one) < datetimes.own(other)) == (one < other)
    assert datetimes.parse(datetimes.own(one)) == one


@given(instants, st.sampled_from(["2020-01-01 00:00:00", "2020-01-01T00:00:00Z", "2020-01-01T00:00:00.1+00:00", None]))
def test_what_is_written_reads_back_equal(value: datetime, sample: str | None) -> None:
    assert datetimes.parse(datetimes.like(value, sample, "TEXT")) == value
