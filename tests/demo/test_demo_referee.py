"""A referee is worth something only if he can find against us."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from reconciler.demo.cast import plain
from reconciler.demo.referee import _changed, _picture, _told
from reconciler.demo.story import GENERATED, LEFT_ALONE, REHOSTED
from reconciler.demo.tones import Tone, tone
from reconciler.demo.views import View
from reconciler.demo.watch import Watch
from reconciler.domain.actions import Write
from reconciler.domain.policy import Policy
from reconciler.domain.states import How, Reason, State
from reconciler.engine.events import Moved, Recognised, Wrote
from reconciler.kie.simulated import paint
from reconciler.ports import Commit

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ROW = {"image_url": None, "resolution": None, "updated_at": "1", "title": "Night Ferry"}


def test_another_ending_than_told_is_found() -> None:
    assert list(_told(GENERATED, GENERATED)) == []
    assert list(_told(GENERATED, replace(GENERATED, bought=2))) == ["bought is 2, not 1"]
    failed = replace(GENERATED, state=State.FAILED, reason=Reason.NO_PROMPT, how=None)
    assert list(_told(GENERATED, failed)) == [
        "state is failed, not ok",
        "reason is no_prompt, not None",
        "how is None, not generated",
    ]


def test_only_our_columns_may_change_and_none_where_nothing_was_resolved() -> None:
    fixed = {**ROW, "image_url": "u", "resolution": "2048x1152", "updated_at": "2"}
    assert list(_changed(ROW, fixed, REHOSTED)) == []
    assert list(_changed(ROW, {**fixed, "title": "x"}, REHOSTED)) == ["column title was changed"]
    assert list(_changed(ROW, {**ROW, "updated_at": "2"}, LEFT_ALONE)) == ["column updated_at was changed"]


@pytest.mark.parametrize(
    ("size", "resolution", "text", "found"),
    [
        ((2048, 1152), "2048x1152", "a red boat", []),
        ((2560, 1440), "2048x1152", "a red boat", ["the picture is 2560x1440, not 2048x1152"]),
        ((2048, 1152), None, "a red boat", ["resolution is None, not 2048x1152"]),
        ((2048, 1152), "2048x1152", "a green hill", ["the picture is another track's"]),
    ],
)
def test_a_wrong_picture_is_found(size: tuple[int, int], resolution: str | None, text: str, found: list[str]) -> None:
    shown = View(paint(text, *size), f"{size[0]}x{size[1]}")
    assert list(_picture({"resolution": resolution}, shown, frozenset({"a red boat"}), Policy())) == found


def test_the_run_is_ended_when_every_story_has_ended_and_not_before() -> None:
    one, two = plain(2)
    ended: list[bool] = []
    watch = Watch([one, two], lambda: NOW)
    watch.stop = lambda: ended.append(True)
    watch(Moved(one.id, State.OK, None))
    watch(Moved(one.id, State.MISSING, Reason.DUE))
    watch(Moved(two.id, State.OK, None))
    assert ended == []
    watch(Moved(one.id, State.OK, None))
    assert ended == [True]
    assert watch.moved_at == {one.id: NOW, two.id: NOW}


def test_how_is_taken_from_what_was_committed() -> None:
    one, two = plain(2)
    watch = Watch([one, two], lambda: NOW)
    written = Write("u", "2048x1152", How.GENERATED, key="k")
    watch(Wrote(one.id, written, Commit.CONFLICT, None))
    assert watch.how == {}
    watch(Wrote(one.id, written, Commit.COMMITTED, None))
    watch(Recognised(two.id))
    assert watch.how == {one.id: How.GENERATED, two.id: How.ALREADY_GOOD}


def test_every_state_has_a_tone() -> None:
    tones = {state: tone(state) for state in (*State, None)}
    assert tones[State.OK] is Tone.GOOD
    assert tones[State.FAILED] is tones[State.INVALID] is Tone.GIVEN_UP
    assert tones[None] is Tone.LEFT_ALONE
    assert tones[State.AWAITING] is tones[State.MISSING] is Tone.WAITING
