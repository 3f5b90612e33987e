"""The page's figures."""

from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from markupsafe import Markup

from reconciler.domain.states import State
from reconciler.page import charts, svg
from reconciler.page.values import Fate
from tests.page.builders import HOSTILE, NOW

HOUR = timedelta(hours=1)


def rects(drawn: Markup) -> list[tuple[float, float, str]]:
    """Where each begins, how wide it is, and what it is filled with."""
    return [
        (float(rect.attrib["x"].rstrip("%")), float(rect.attrib["width"].rstrip("%")), rect.attrib["fill"])
        for rect in ET.fromstring(drawn).iter("rect")  # noqa: S314 - our own
        if "x" in rect.attrib
    ]


def test_every_state_is_in_one_part_of_the_bar() -> None:
    assert sorted(state for part in charts.PARTS for state in part.states) == sorted(State)


def test_the_bar_is_full_and_shows_the_smallest_part() -> None:
    drawn = rects(charts.state_bar({State.OK: 1_000_000, State.FAILED: 1}))
    assert [fill for *_, fill in drawn] == ["url(#hatch-sound)", "url(#hatch-over)"]
    assert sum(width for _, width, _ in drawn) == pytest.approx(100, abs=0.01)
    assert drawn[1][1] > 1
    assert all(x + width == pytest.approx(after, abs=0.01) for (x, width, _), (after, *_) in pairwise(drawn))


def test_no_tracks_are_an_empty_bar() -> None:
    assert rects(charts.state_bar({})) == []
    assert "no tracks" in charts.state_bar({})


def test_a_purchase_counts_in_its_hour_the_oldest_first() -> None:
    bought = [(NOW, Fate.GOOD), (NOW - HOUR, Fate.OPEN), (NOW - 25 * HOUR, Fate.FAILED), (NOW + HOUR, Fate.GOOD)]
    hours = charts.hours(bought, NOW)
    assert len(hours) == 24
    assert [dict(hour.counts) for hour in (hours[0], hours[-2], hours[-1])] == [
        {Fate.FAILED: 1},
        {Fate.OPEN: 1},
        {Fate.GOOD: 2},
    ]
    assert (hours[0].begins, hours[-1].begins) == (NOW - 24 * HOUR, NOW - HOUR)


@pytest.mark.parametrize(("per_hour", "is_drawn"), [(30, True), (40, True), (41, False)])
def test_the_budget_is_drawn_where_it_does_not_flatten_the_bars(per_hour: int, is_drawn: bool) -> None:
    drawn = charts.purchases(charts.hours([(NOW, Fate.GOOD)] * 10, NOW), per_hour)
    assert (f"budget {per_hour} an hour" in drawn) is is_drawn


def test_bars_are_stacked_within_the_chart() -> None:
    counts: Mapping[Fate, int] = {Fate.GOOD: 3, Fate.FAILED: 2, Fate.OPEN: 1}
    drawn = charts.purchases(charts.hours([(NOW, fate) for fate, n in counts.items() for _ in range(n)], NOW), 1)
    boxes = [(float(r.attrib["y"]), float(r.attrib["height"])) for r in ET.fromstring(drawn).iter("rect")]  # noqa: S314
    assert sum(height for _, height in boxes) == pytest.approx(120, abs=0.2)
    assert min(y for y, _ in boxes) == pytest.approx(24, abs=0.1)


@pytest.mark.parametrize(("used", "limit", "look"), [(5, 10, "fill-work"), (10, 10, "fill-over"), (0, 0, None)])
def test_a_budget_that_is_used_up_looks_it(used: int, limit: int, look: str | None) -> None:
    drawn = charts.gauge("hour", used, limit)
    assert f"{used} of {limit} used" in drawn
    assert (look is None and "fill-" not in drawn) or f'class="{look}"' in drawn


def test_what_is_drawn_is_escaped() -> None:
    drawn = svg.element("text", HOSTILE, class_=HOSTILE)
    element = ET.fromstring(drawn)  # noqa: S314
    assert (element.text, element.attrib) == (HOSTILE, {"class": HOSTILE})
