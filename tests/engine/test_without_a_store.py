"""storage.kind = none: the whole job with nothing to store pictures in."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from reconciler.app.keeping import NoStore
from reconciler.domain.findings import Fault
from reconciler.domain.policy import Fit, Target
from reconciler.domain.states import How, Reason, State
from reconciler.engine.events import Found
from reconciler.images.local_store import LocalStore
from reconciler.kie.simulated import Succeed
from reconciler.testing.world import FILES_URL, World

DAY = timedelta(days=1)
EXPIRING = {(State.EXPIRING, None): 1}


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """One track to buy for."""
    world = make_world(1, keeps=False, target=Target(160, 90, fit=Fit.KEEP))
    world.store = NoStore()
    return world


def bought(world: World) -> int:
    return len(world.kie.book.purchases)


def test_the_row_gets_the_providers_url_and_nothing_more_happens(world: World) -> None:
    first = world.run()
    assert first.states == EXPIRING
    assert first.resolved == {How.GENERATED: 1}
    before = world.row("t000")
    assert before["image_url"].startswith(FILES_URL)
    assert before["resolution"] == "160x90"
    overview = world.overview()
    assert overview.tracks == EXPIRING
    assert overview.earliest_expiry == world.clock() + DAY
    second = world.run()
    assert second.states == EXPIRING
    assert world.row("t000") == before
    assert bought(world) == 1


def test_a_picture_that_is_no_good_is_not_written(world: World) -> None:
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=80, height=45, run=timedelta(0)), times=1)
    world.kie.script.when(Succeed(width=160, height=90, run=timedelta(0)))
    assert world.run(DAY).states == EXPIRING
    assert world.row("t000")["resolution"] == "160x90"
    assert bought(world) == 2


def test_it_is_looked_at_every_day_and_bought_again_when_it_died(world: World) -> None:
    world.run()
    first = world.row("t000")["image_url"]
    world.run(timedelta(days=5))
    assert bought(world) == 1
    world.pass_time(timedelta(days=10))
    assert world.run(DAY).states == EXPIRING
    assert world.row("t000")["image_url"] not in (None, first)
    assert bought(world) == 2


def test_a_row_that_lost_its_url_gets_it_back_for_free(world: World) -> None:
    world.run()
    url = world.row("t000")["image_url"]
    world.sql("UPDATE tracks SET image_url = NULL, resolution = NULL")
    world.pass_time(timedelta(hours=1))
    result = world.run()
    assert result.resolved == {How.RESTORED: 1}
    assert world.row("t000")["image_url"] == url
    assert bought(world) == 1


def test_of_a_host_that_is_one_of_kies_no_more_nothing_is_asked(world: World) -> None:
    world.run()
    world.sql("UPDATE tracks SET image_url = NULL, resolution = NULL")
    world.pass_time(timedelta(hours=1))
    world.with_policy(file_hosts=("files.example",), per_day=0)
    asked, told = len(world.kie.book.visits_of("file")), len(world.events)
    assert world.run(timedelta(minutes=1)).writes == 0
    findings = [event.finding for event in world.events[told:] if isinstance(event, Found)]
    assert {finding.reason for finding in findings if isinstance(finding, Fault)} == {Reason.HOST_REFUSED}
    assert len(world.kie.book.visits_of("file")) == asked


def test_with_a_store_again_what_still_lives_is_taken_into_it(world: World) -> None:
    world.run()
    world.store = LocalStore(world.path.parent / "images", now=world.clock)
    world.with_policy(keeps=True, target=Target(160, 90))
    assert world.run().states == {(State.OK, None): 1}
    assert world.row("t000")["image_url"].startswith(world.policy.public_url)
    assert bought(world) == 1


def test_without_the_store_its_pictures_are_left_where_they_are(make_world: Callable[..., World]) -> None:
    world = make_world(1)
    world.run()
    before = world.row("t000")
    world.store = NoStore()
    world.with_policy(keeps=False, target=Target(160, 90, fit=Fit.KEEP))
    assert world.run().states == {(State.OK, None): 1}
    assert world.row("t000") == before
