"""What `explain` tells of a track's past: each step with what came of it."""

from datetime import timedelta
from typing import Any

from reconciler.database import Told, Where, open_reader
from reconciler.domain.policy import Target
from reconciler.kie.simulated import SERVER_ERROR, Break, Fault, Succeed
from reconciler.testing.world import World
from tests.engine.conftest import SMALL, MakeWorld, lose_leases
from tests.engine.test_paused import before_the_write, say
from tests.engine.test_sweep import Around, each

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def history(world: World, track_id: str = "t000") -> list[Told]:
    """Oldest first."""
    reader = open_reader(Where(f"sqlite:///{world.path}"), world.policy, world.clock)
    try:
        return [*reversed(reader.history(track_id, 100))]
    finally:
        reader.close()


def steps(world: World, track_id: str = "t000") -> list[str]:
    return [f"{told.step} {told.came}" for told in history(world, track_id)]


def test_a_purchase_from_its_order_to_the_row(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=160, height=90, run=timedelta(minutes=5)))
    began = world.clock()
    world.run(HOUR)
    assert steps(world) == [
        "list_store listing",
        "buy accepted",
        "ask_task running",
        "ask_task succeeded",
        "fetch stored",
        "write committed",
    ]
    _, bought, asked, _, fetched, written = history(world)
    (purchase,) = world.kie.book.purchases
    assert (bought.about, bought.detail, bought.at) == (world.policy.model, purchase.task_id, began)
    assert (asked.about, asked.times) == (purchase.task_id, len(world.kie.book.visits_of("record")) - 1)
    assert asked.times > 1
    assert began < asked.first_at < asked.at <= fetched.at
    assert fetched.detail == "160x90"
    assert (written.about, written.detail) == (world.row("t000")["image_url"], "generated, in place of nothing")


def test_trouble_is_told_as_often_as_it_came(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.kie.script.next("create", *[SERVER_ERROR] * 3)
    world.run(HOUR)
    failed = [told for told in history(world) if told.came == "nothing_made"]
    assert [told.times for told in failed] == [3]
    assert "500" in failed[0].detail


def test_a_lost_answer_is_told(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.kie.script.next("create", Break(Fault.HANG, done=True))
    world.run(MINUTE)
    assert steps(world)[-1] == "buy answer_lost"


def test_a_picture_that_is_not_taken_is_told_with_its_flaw(make_world: MakeWorld) -> None:
    world = make_world(1, target=Target(320, 180))
    world.run(MINUTE)
    flawed, *_ = [told for told in history(world) if told.step == "fetch"]
    assert (flawed.came, flawed.detail.partition(":")[0]) == ("flawed", "too_small")


def test_a_conflict_is_told_in_place_of_the_write(make_world: MakeWorld) -> None:
    world = make_world(1)
    cover = world.kie.add_file("/p/cover.jpg", size=(80, 45))

    def be_faster() -> None:
        world.sql("UPDATE tracks SET image_url = ?", cover)

    world.run(timedelta(seconds=20), wrap=before_the_write(be_faster))
    assert steps(world)[-2:] == ["fetch stored", "write conflict"]


def test_a_write_that_a_pause_held_back_is_none_and_what_led_to_it_is_told_once(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.run(HOUR, wrap=before_the_write(lambda: say(world, paused=True)))
    assert steps(world)[-1] == "fetch stored"
    say(world, paused=False)
    world.run(HOUR)
    assert steps(world)[-2:] == ["fetch stored", "write committed"]
    assert [told.times for told in history(world)][-2:] == [1, 1]


def test_nothing_is_told_of_a_step_whose_lease_was_lost(make_world: MakeWorld) -> None:
    world = make_world(1)

    def take_over(lease: Any, change: Any, row: Any = None) -> None:
        if change.tried:
            lose_leases(world)

    world.run(timedelta(seconds=1), wrap=Around("leases", "commit_all", each(take_over)))
    assert history(world) == []


def test_the_last_question_for_a_track_that_is_gone_is_told(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=160, height=90, run=timedelta(minutes=3)))
    world.run(timedelta(seconds=10))
    world.sql("DELETE FROM tracks")
    world.run(timedelta(minutes=10))
    assert steps(world)[-1] == "ask_task succeeded"


def test_the_query_of_a_url_is_never_told(make_world: MakeWorld) -> None:
    world = make_world(per_day=0)
    url = world.kie.add_file("/p/a.jpg", size=(160, 90))
    world.add("a", image_url=f"{url}?X-Amz-Signature=secret&X-Amz-Expires=60", resolution="160x90")
    world.run(MINUTE)
    assert history(world, "a")
    assert "secret" not in repr(history(world, "a"))


def test_a_look_that_changes_nothing_is_no_attempt(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.kie.script.when(SMALL)
    world.run(HOUR)
    before = history(world)
    world.sql("UPDATE tracks SET title = 'New', updated_at = '2026-11-22 12:30:00'")
    world.run(HOUR)
    assert history(world) == before
