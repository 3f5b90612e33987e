"""What the page shows of a database that was worked: examples as `explain` would tell them, and what was recovered."""

from datetime import timedelta

import pytest

from reconciler.app.looking import IN_ALL, PER_REASON, RECOVERIES, look, wanted
from reconciler.domain.attempts import Replaced
from reconciler.domain.model import Verdict
from reconciler.domain.states import Reason, State
from reconciler.kie.simulated import CONTENT_REFUSED_AT_ONCE, LOST, Fail
from reconciler.page.values import Fate, Seen
from reconciler.testing.world import World
from tests.engine.conftest import MakeWorld, make_world

__all__ = ["make_world"]

MINUTE = timedelta(minutes=1)


def seen(world: World) -> Seen:
    reader = world.reader()
    try:
        return look(reader, reader.overview(), world.policy, world.clock())
    finally:
        reader.close()


def test_examples_are_bounded_for_each_reason_and_stand_as_they_are_counted(make_world: MakeWorld) -> None:
    world = make_world(20, per_hour=3)
    world.run(MINUTE)
    value = seen(world)
    assert value.overview.tracks[State.MISSING, Reason.BUDGET] == 17
    assert [(example.state, example.reason) for example in value.examples] == [
        (State.MISSING, Reason.BUDGET)
    ] * PER_REASON
    first = value.examples[0]
    assert first.title == f"Song {first.track_id}"
    assert first.what.startswith("buy from ")
    assert first.since is not None
    assert PER_REASON < IN_ALL


def test_where_the_gate_moved_since_they_stand_as_it_is_now(make_world: MakeWorld) -> None:
    world = make_world(3, per_hour=1)
    world.run(MINUTE)
    world.sql("UPDATE reconciler_gate SET paused = TRUE")
    value = seen(world)
    assert value.overview.tracks[State.MISSING, Reason.PAUSED] == 2
    assert {example.reason for example in value.examples} == {Reason.PAUSED}


def test_what_was_given_up_says_that_nothing_comes_and_what_waits_that_it_is_looked_at_again(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    world.add("lost")
    world.add("refused", extended_prompt_image="an entry")
    world.kie.script.when(CONTENT_REFUSED_AT_ONCE, operation="create")
    world.run(MINUTE)
    world.add("nothing", title="Untitled")
    world.kie.script.clear()
    world.kie.script.when(LOST, operation="create")
    world.run(MINUTE)
    told = {example.reason: (example.when, example.what) for example in seen(world).examples}
    assert told[Reason.CONTENT_REJECTED] == ("not before something changes", "nothing more")


def test_a_row_that_is_gone_and_a_memory_that_cannot_be_read_are_left_out(make_world: MakeWorld) -> None:
    world = make_world(3, per_day=0)
    world.run(MINUTE)
    world.sql("DELETE FROM tracks WHERE id = 't000'")
    world.sql("UPDATE reconciler_memory SET doc = '[' WHERE track_id = 't001'")
    assert [example.track_id for example in seen(world).examples] == ["t002"]


def test_the_last_recoveries_are_told_once_each_with_what_they_replaced(make_world: MakeWorld) -> None:
    world = make_world(RECOVERIES + 3)
    world.run(10 * MINUTE)
    value = seen(world)
    assert len({recovery.track_id for recovery in value.recoveries}) == len(value.recoveries) == RECOVERIES
    assert {recovery.how for recovery in value.recoveries} == {"generated"}
    assert {recovery.replaced for recovery in value.recoveries} == {Replaced()}
    assert all(world.store.get(key) for key in wanted(value.recoveries))
    assert {fate for _, fate in value.bought} == {Fate.GOOD}
    assert len(value.bought) == RECOVERIES + 3


def test_of_two_writes_to_a_track_the_last_is_told(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.run(MINUTE)
    world.sql("UPDATE tracks SET image_url = NULL")
    world.run(MINUTE)
    assert [recovery.how for recovery in seen(world).recoveries] == ["restored"]


def test_purchases_are_told_by_what_became_of_them(make_world: MakeWorld) -> None:
    world = make_world(2)
    world.kie.script.clear()
    world.kie.script.when(Fail(code="500", message="Internal Error", run=timedelta(0)), prompt_contains="t000")
    world.kie.script.when(LOST, operation="create", prompt_contains="t001")
    world.run(MINUTE)
    fates = [fate for _, fate in seen(world).bought]
    assert Fate.FAILED in fates
    assert Fate.OPEN in fates


@pytest.mark.parametrize(
    ("verdict", "fate"),
    [
        (Verdict.GOOD, Fate.GOOD),
        (Verdict.FAILED, Fate.FAILED),
        (Verdict.CONTENT, Fate.FAILED),
        (Verdict.REJECTED, Fate.FAILED),
        (Verdict.LOST, Fate.OPEN),
        (Verdict.PENDING, Fate.OPEN),
    ],
)
def test_only_what_led_to_a_picture_is_a_good_purchase(make_world: MakeWorld, verdict: Verdict, fate: Fate) -> None:
    world = make_world(1)
    world.run(MINUTE)
    world.sql("UPDATE reconciler_purchase SET verdict = ?", verdict)
    assert [became for _, became in seen(world).bought] == [fate]
