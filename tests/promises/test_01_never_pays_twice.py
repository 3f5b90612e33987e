"""Promise 1: a crash at any instruction causes at most one purchase per attempt.

A run dies in each state that it leaves behind, once in process and once by SIGKILL, and what is left is begun anew and
run to its end. The simulated Kie's book is the judge: each track's prompt is its own, so it tells how often each was
bought.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import pytest

from reconciler.domain.states import State
from reconciler.testing.store import MemoryStore
from tests import s3
from tests.promises.forks import alone
from tests.promises.matrix import (
    HOLD,
    PICTURES,
    CutWorld,
    End,
    Place,
    PlacedBucket,
    die_in_process,
    die_killed,
    die_storing,
    states,
)

pytestmark = pytest.mark.slow

SHARDS = 3
WITHIN = {
    *("after http.create", "after http.record", "after http.download", "after http.credit"),
    *("within store.write", "before os.fsync", "after store.rename", "before database.commit", "after database.commit"),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Place]:
    folder = tmp_path_factory.mktemp("states")
    found = alone(folder / "log", states, folder)
    assert {place.name for place in found} >= WITHIN
    assert len(found) > 40
    return found


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("die", [die_in_process, die_killed])
def test_dying_in_any_state_each_attempt_is_bought_once(
    tmp_path: Path, places: Sequence[Place], die: Callable[..., list[End]], shard: int
) -> None:
    ends = alone(tmp_path / "log", die, tmp_path, places[shard::SHARDS])
    assert [end.places for end in ends] == [(place.name,) for place in places[shard::SHARDS]]
    # Ordered anew only after deaths from the commit of the order on to that of its answer.
    assert [intents for intents, _ in groupby(end.intents for end in ends)] == [1, 2, 1]


def test_after_a_lost_answer_and_a_death_it_is_bought_once_more(tmp_path: Path) -> None:
    whole = world(tmp_path / "before")
    whole.run()
    lost = whole.asked.index("create")
    found = alone(tmp_path / "log", states, tmp_path, lost)
    after = found[[place.name for place in found].index("after http.create") :: 3]
    ends = alone(tmp_path / "log", die_in_process, tmp_path, after, lost)
    assert [(end.bought, end.intents) for end in ends] == [(2, 2)] * len(after)


def test_a_connection_that_dies_before_its_answer_causes_no_purchase_unless_it_was_to_one(tmp_path: Path) -> None:
    whole = world(tmp_path / "whole")
    whole.run()
    assert set(whole.asked) == {"credit", "create", "record", "download"}
    for number, kind in enumerate(whole.asked):
        cut = world(tmp_path / str(number))
        cut.lost = number
        cut.finish()
        assert cut.end(f"lost answer {number}: {kind}").bought == 1 + (kind == "create")


@pytest.mark.parametrize("killed", [False, True], ids=["in process", "killed"])
def test_dying_between_the_requests_that_store_in_a_bucket_each_attempt_is_bought_once(
    tmp_path: Path, killed: bool
) -> None:
    access = s3.server().access(s3.server().empty_bucket())
    whole = CutWorld(tmp_path / "whole")
    whole.store = PlacedBucket(access, whole.at)
    whole.run()
    found = [Place(number, name) for number, name in enumerate(whole.scissors.places)]
    begun = max(place.number for place in found if place.name == "before bucket.write")
    for name in ("before bucket.write", "after bucket.write", "after bucket.read"):
        place = next(place for place in found[begun:] if place.name == name)
        folder = tmp_path / name.replace(" ", "-")
        folder.mkdir()
        access = s3.server().access(s3.server().empty_bucket())
        end = alone(tmp_path / "log", die_storing, folder, access, place, killed)
        assert (end.bought, end.intents) == (1, 1)


def test_an_order_whose_answer_died_with_the_process_is_held_then_repeated_once(tmp_path: Path) -> None:
    dying = world(tmp_path / "world")
    assert dying.cut_after("after kie.create") == "after kie.create"

    soon = dying.run(HOLD / 3)
    assert soon.states == {(State.UNKNOWN, "unknown_purchase"): 1, (State.OK, None): 2}
    assert dying.bought() == {PICTURES["buy"]: 1}

    dying.pass_time(HOLD)
    later = dying.run()
    assert later.states == {(State.OK, None): 3}
    assert later.repeats == 1
    assert dying.bought() == {PICTURES["buy"]: 2}


def test_an_order_whose_answer_died_twice_is_not_made_a_third_time(tmp_path: Path) -> None:
    dying = world(tmp_path / "world")
    for _ in range(2):
        assert dying.cut_after("after kie.create") == "after kie.create"
        dying.pass_time(HOLD)
    assert dying.bought() == {PICTURES["buy"]: 2}
    dying.finish()
    assert dying.end("after kie.create", "after kie.create").bought == 2
    states = {row["track_id"]: row["state"] for row in dying.sql("SELECT track_id, state FROM reconciler_memory")}
    assert states == {"buy": "failed", "adopt": "ok", "rehost": "ok"}


def world(folder: Path) -> CutWorld:
    made = CutWorld(folder)
    made.store = MemoryStore()
    return made
