"""One effect each, carried out on a store and a simulated Kie."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.domain.actions import (
    AskSong,
    AskTask,
    Fetch,
    Job,
    ListStore,
    Measure,
    RowImage,
    StoredKey,
    SunoCover,
    TaskResult,
)
from reconciler.domain.findings import (
    Accepted,
    Fault,
    Finding,
    Flawed,
    Listing,
    NotFound,
    NothingMade,
    Refusal,
    Refused,
    Running,
    Sized,
    SongFinal,
    Stored,
)
from reconciler.domain.model import Purchase
from reconciler.domain.states import Flaw, How, Reason
from reconciler.engine.effects import Hands, whole
from reconciler.images.local_store import LocalStore
from reconciler.kie.simulated import Song
from reconciler.ports import StoreError
from reconciler.testing.store import MemoryStore
from reconciler.testing.world import World
from tests.engine.conftest import MakeWorld, sweeping
from tests.rights import others

GOOD = "https://tempfile.aiquickdraw.com/p/good.jpg"
SMALL_COVER = "https://tempfile.aiquickdraw.com/p/small.jpg"


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    made = make_world()
    made.kie.add_file("/p/good.jpg", text="good", size=(160, 90))
    made.kie.add_file("/p/small.jpg", text="small", size=(80, 80))
    made.kie.add_file("/p/noise.jpg", content=b"no picture at all")
    return made


@pytest.fixture
def hands(world: World) -> Iterator[Hands]:
    with sweeping(world, timedelta(minutes=1)) as sweep:
        yield sweep._hands


@pytest.fixture
def store(world: World) -> MemoryStore:
    assert isinstance(world.store, MemoryStore)
    return world.store


def perform(hands: Hands, job: Job, track_id: str = "t") -> Finding:
    """In a run that does not end meanwhile."""
    return hands.perform(track_id, job, lambda: True)


def result(url: str = GOOD) -> TaskResult:
    return TaskResult(url, "task", How.GENERATED)


def stored(hands: Hands) -> Stored:
    found = perform(hands, Fetch(result()))
    assert isinstance(found, Stored)
    return found


# -- looking -------------------------------------------------------------------------------------------------------


def test_a_picture_is_measured_where_it_lies(hands: Hands) -> None:
    kept = stored(hands)
    assert perform(hands, Measure(RowImage(GOOD))) == Sized(160, 90)
    assert perform(hands, Measure(StoredKey(kept.key))) == Sized(160, 90)


def test_what_the_store_holds_is_compared_with_its_name(hands: Hands, store: MemoryStore) -> None:
    kept = stored(hands)
    store.pictures[kept.key] = store.pictures[kept.key][:-1]
    assert isinstance(perform(hands, Measure(StoredKey(kept.key))), Refused)
    assert isinstance(perform(hands, Fetch(StoredKey(kept.key))), Refused)
    del store.pictures[kept.key]
    missing = perform(hands, Measure(StoredKey(kept.key)))
    assert isinstance(missing, Refused)
    assert kept.key in missing.detail


def test_tasks_songs_and_the_store_are_asked(hands: Hands, world: World) -> None:
    world.kie.add_task("a" * 32, prompt="x")
    world.kie.add_song("b" * 32, Song())
    world.pass_time(timedelta(seconds=1))
    assert isinstance(perform(hands, AskTask("a" * 32)), Running)
    assert isinstance(perform(hands, AskTask("c" * 32)), NotFound)
    assert isinstance(perform(hands, AskSong("b" * 32)), SongFinal)
    kept = stored(hands)
    assert perform(hands, ListStore()) == Listing((kept.key,))
    assert perform(hands, ListStore(), "u") == Listing(())


@pytest.mark.parametrize(
    "job", [ListStore(), Measure(StoredKey("tracks/t/0.jpg")), Fetch(result()), Fetch(StoredKey("k"))]
)
def test_a_store_that_fails_tells_nothing_of_the_picture(hands: Hands, store: MemoryStore, job: Fetch) -> None:
    store.trouble = "the disk is on fire"
    assert perform(hands, job) == Fault(Reason.STORAGE_FAILED, "the disk is on fire")


# -- fetching ------------------------------------------------------------------------------------------------------


def test_a_fetched_picture_lies_in_the_store_as_it_is_told(hands: Hands, store: MemoryStore) -> None:
    kept = stored(hands)
    assert (kept.width, kept.height, kept.interim) == (160, 90, False)
    assert list(store.pictures) == [kept.key]


def test_a_result_elsewhere_is_not_fetched_but_a_rows_picture_may_lie_anywhere(hands: Hands) -> None:
    bound = perform(hands, Fetch(result("https://pictures.example/a.jpg")))
    assert isinstance(bound, Fault)
    assert bound.reason is Reason.HOST_REFUSED
    assert not isinstance(perform(hands, Fetch(RowImage("https://pictures.example/a.jpg"))), Fault)


def test_a_small_picture_is_kept_only_as_a_stand_in(hands: Hands, store: MemoryStore) -> None:
    cover = SunoCover(SMALL_COVER, "song")
    refused = perform(hands, Fetch(cover))
    assert isinstance(refused, Flawed)
    assert refused.flaw in (Flaw.TOO_SMALL, Flaw.ASPECT)
    assert not store.pictures
    taken = perform(hands, Fetch(cover, interim=True))
    assert isinstance(taken, Stored)
    assert (taken.width, taken.height, taken.interim) == (80, 80, True)
    again = perform(hands, Fetch(StoredKey(taken.key)))
    assert again == taken


def test_a_good_picture_is_no_stand_in_even_where_one_is_wanted(hands: Hands) -> None:
    kept = perform(hands, Fetch(SunoCover(GOOD, "song"), interim=True))
    assert isinstance(kept, Stored)
    assert not kept.interim


@pytest.mark.parametrize("interim", [True, False])
def test_what_is_no_picture_is_never_kept(hands: Hands, store: MemoryStore, interim: bool) -> None:
    noise = SunoCover("https://tempfile.aiquickdraw.com/p/noise.jpg", "song")
    assert isinstance(perform(hands, Fetch(noise, interim=interim)), Flawed | Refused)
    assert not store.pictures


def test_a_stored_picture_is_read_again_whole(hands: Hands) -> None:
    kept = stored(hands)
    assert perform(hands, Fetch(StoredKey(kept.key))) == kept


def test_stored_bytes_that_are_no_picture_are_not_written_anywhere(hands: Hands, store: MemoryStore) -> None:
    import hashlib

    noise = b"stored by somebody else"
    key = f"tracks/t/{hashlib.sha256(noise).hexdigest()[:16]}.jpg"
    store.pictures[key] = noise
    assert isinstance(perform(hands, Fetch(StoredKey(key))), Flawed)


# -- buying --------------------------------------------------------------------------------------------------------


def order(world: World) -> Purchase:
    now, later = world.clock(), world.clock() + timedelta(seconds=10)
    return Purchase("token", "t", world.policy.model, "shape", "a lake", 5, now, later, later + timedelta(seconds=30))


def test_an_order_is_sent_as_it_was_reserved(hands: Hands, world: World) -> None:
    answer = perform(hands, order(world))
    (bought,) = world.kie.book.purchases
    assert answer == Accepted(bought.task_id)
    assert (bought.prompt, bought.model) == ("a lake", world.policy.model)


def test_nothing_is_ordered_that_could_not_be_stored(hands: Hands, world: World, store: MemoryStore) -> None:
    store.marker = None
    answer = perform(hands, order(world))
    assert isinstance(answer, NothingMade)
    assert (answer.refusal, answer.sent) == (Refusal.STORE, False)
    assert not world.kie.book.creations


def refusing_proofs(call: str) -> None:
    if call == "prove":
        raise StoreError("write a probe: the disk is full")


def test_nothing_is_ordered_while_a_store_that_is_well_to_read_takes_nothing(
    hands: Hands, world: World, store: MemoryStore
) -> None:
    store.on_call = refusing_proofs
    answer = perform(hands, order(world))
    assert isinstance(answer, NothingMade)
    assert (answer.refusal, answer.detail, answer.sent) == (Refusal.STORE, "write a probe: the disk is full", False)
    assert not world.kie.book.creations


def test_nothing_is_ordered_for_a_track_whose_own_folder_takes_nothing(
    make_world: MakeWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    world.store = LocalStore(tmp_path / "images", now=world.clock)
    folder = tmp_path / "images" / "tracks" / "t"
    folder.mkdir(parents=True)
    others(monkeypatch, folder)
    with sweeping(world, timedelta(minutes=1)) as sweep:
        answer = perform(sweep._hands, order(world))
        assert isinstance(answer, NothingMade)
        assert (answer.refusal, answer.sent) == (Refusal.STORE, False)
        assert not world.kie.book.creations
        assert perform(sweep._hands, ListStore()) == Listing(()), "what it holds is told all the same"
        assert isinstance(perform(sweep._hands, order(world), "other"), Accepted)


def test_the_store_is_tried_before_an_order_is_due(hands: Hands, store: MemoryStore) -> None:
    """The order's time would run out meanwhile."""
    heard: list[str] = []
    store.on_call = heard.append
    for _ in range(2):
        assert perform(hands, ListStore()) == Listing(())
    assert heard == ["keys", "prove", "keys"]


def test_a_store_that_takes_nothing_tells_what_it_holds(hands: Hands, store: MemoryStore) -> None:
    kept, store.on_call = stored(hands), refusing_proofs
    assert perform(hands, ListStore()) == Listing((kept.key,))


def test_a_store_that_does_not_tell_what_it_holds_is_not_tried(hands: Hands, store: MemoryStore) -> None:
    heard: list[str] = []
    store.on_call, store.trouble = heard.append, "away"
    assert isinstance(perform(hands, ListStore()), Fault)
    assert heard == ["keys"]


def test_a_store_that_is_slow_is_no_fault_of_kies(hands: Hands, world: World, store: MemoryStore) -> None:
    def slow(call: str) -> None:
        if call == "prove":
            world.pass_time(timedelta(seconds=11))

    store.on_call = slow
    answer = perform(hands, order(world))
    assert isinstance(answer, NothingMade)
    assert (answer.refusal, answer.sent) == (Refusal.STORE, False)
    assert "had run out once the store was asked" in answer.detail
    assert not world.kie.book.creations
    assert isinstance(perform(hands, order(world)), Accepted), "the trial went well"


def test_an_order_that_is_too_late_is_not_sent(hands: Hands, world: World) -> None:
    late = order(world)
    world.pass_time(timedelta(seconds=11))
    answer = perform(hands, late)
    assert isinstance(answer, NothingMade)
    assert not answer.sent
    assert not world.kie.book.creations


def test_an_order_is_not_sent_once_the_run_has_ended_while_the_store_was_asked(
    hands: Hands, world: World, store: MemoryStore
) -> None:
    asked: list[str] = []
    store.on_call = asked.append
    answer = hands.perform("t", order(world), lambda: "prove" not in asked)
    assert isinstance(answer, NothingMade)
    assert (answer.refusal, answer.sent) == (Refusal.STOPPED, False)
    assert not world.kie.book.creations


# -- inline --------------------------------------------------------------------------------------------------------


def test_only_an_inline_picture_of_the_row_is_replaced_by_its_whole() -> None:
    inline = RowImage("data:image/png;base64,AA", inline=True, identity="9:ab")
    assert whole(Measure(inline), "data:whole") == Measure(replace(inline, url="data:whole"))
    assert whole(Fetch(inline), None) == Fetch(replace(inline, url=""))
    for job in (Measure(RowImage(GOOD)), Fetch(result()), AskTask("a"), ListStore()):
        assert whole(job, "data:whole") == job
