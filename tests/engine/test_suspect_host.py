"""A host on which many pictures die at once is more likely broken than emptied: its tracks are not bought for."""

from datetime import timedelta

import pytest

from reconciler.domain.states import Reason, State
from tests.engine.conftest import MakeWorld

DEAD_AND_BOUGHT = 21


@pytest.mark.slow
def test_the_tracks_of_a_host_that_loses_more_than_twenty_pictures_are_held_back(make_world: MakeWorld) -> None:
    world = make_world()
    world.with_policy(grace=timedelta(0))
    for number in range(40):
        world.add(f"t{number:02}", image_url=f"https://pictures.example/{number}.jpg")

    for _ in range(12):
        world.run()
        world.pass_time(timedelta(hours=3))

    states = world.run().states
    held = states.get((State.MISSING, Reason.HOST_SUSPECT), 0)
    assert held >= 40 - DEAD_AND_BOUGHT
    assert len(world.kie.book.purchases) <= DEAD_AND_BOUGHT


@pytest.mark.slow
def test_pictures_of_a_host_that_comes_back_are_found_again_by_themselves(make_world: MakeWorld) -> None:
    world = make_world(per_day=0)
    for number in range(25):
        world.add(f"t{number:02}", image_url=f"https://pictures.example/{number}.jpg")
    for _ in range(12):
        world.run()
        world.pass_time(timedelta(hours=3))
    assert world.overview().tracks == {(State.MISSING, Reason.HOST_SUSPECT): 25}
    for number in range(25):
        world.kie.add_file(f"/{number}.jpg", size=(160, 90), life=timedelta(days=400))
    world.pass_time(timedelta(hours=6))
    world.with_policy(per_day=100)
    assert world.run().states == {(State.OK, None): 25}
    assert not world.kie.book.creations


@pytest.mark.slow
def test_pictures_past_their_known_life_make_no_host_suspect(make_world: MakeWorld) -> None:
    world = make_world()
    for number in range(22):
        dead = f"https://tempfile.aiquickdraw.com/{number}.jpg"
        world.add(f"t{number:02}", image_url=dead, age=timedelta(days=20))

    states = world.run(timedelta(minutes=30)).states

    assert states == {(State.OK, None): 22}
