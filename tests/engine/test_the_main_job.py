"""The main job, whole: from stuck track to stored, verified, written picture, on a real database and a real store."""

import io
from base64 import b64encode
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from reconciler.domain.actions import Fetch
from reconciler.domain.gate import GateName
from reconciler.domain.policy import Target
from reconciler.domain.states import How, Reason, State
from reconciler.engine.events import Found, Overwritten, Result
from reconciler.kie.simulated import CONTENT_REFUSED, UNAUTHORIZED, Fail, Refuse, Song, Succeed, belongs_to, paint
from reconciler.testing.world import World

TASK, OTHER_TASK, GOOD_SONG, POOR_SONG, NO_SONG = ("a1" * 16, "b2" * 16, "c3" * 16, "d4" * 16, "e5" * 16)
DAY, HOUR, GRACE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=30)
NOW = Succeed(run=timedelta(0))

# -- one run over every kind of track ------------------------------------------------------------------------------


@dataclass
class Ran:
    """An install, its rows before, and what one run did."""

    world: World
    before: list[dict[str, Any]]
    result: Result
    stored: dict[str, bytes]


HELPED = {
    "absent": "a wide lake",
    "empty": "a lighthouse called empty in morning mist",
    "dead": "a lighthouse called dead in morning mist",
    "presigned-dead": "a lighthouse called presigned-dead in morning mist",
    "thumbnail": "a lighthouse called thumbnail in morning mist",
    "with-song": "a lighthouse called with-song in morning mist",
    "old-pending": "a lighthouse called old-pending in morning mist",
    "task-as-url": "adopted from the url",
    "task-in-prompt": "adopted from the prompt",
    "dying": "a dying picture",
    "inline": "an inline picture",
    "suno": "good with the music",
}
"""By id: what the picture of each track that can be helped must show."""
BOUGHT = {"absent", "empty", "dead", "presigned-dead", "thumbnail", "with-song", "old-pending"}
LEFT = {
    "failed": {"status": "failed"},
    "debris": {"status": "callback_inserted"},
    "archived": {"status": "archived"},
    "pending": {"status": "pending", "audio_url": None},
    "processing": {"status": "processing", "audio_url": ""},
    "pending-today": {"status": "pending", "age": timedelta(hours=20)},
}
"""By id: rows that are neither written nor bought for."""
HOPELESS = {"refused": Reason.CONTENT_REJECTED, "failing": Reason.PROVIDER_FAILED, "wordless": Reason.NO_PROMPT}


def fill(world: World) -> None:
    kie = world.kie
    kie.add_task(TASK, prompt="adopted from the url", behaviour=NOW)
    kie.add_task(OTHER_TASK, prompt="adopted from the prompt", behaviour=Succeed(run=timedelta(0), format="PNG"))
    kie.add_song(GOOD_SONG, Song(title="good with the music", cover=(2048, 1152)))
    kie.add_song(POOR_SONG, Song())
    kie.script.when(CONTENT_REFUSED, prompt_contains="never to be painted")
    kie.script.when(CONTENT_REFUSED, prompt_contains="nobody's mood")
    kie.script.when(Fail(code="500", message="internal error", run=timedelta(0)), prompt_contains="always fails")
    text = f" | Visual: a wide lake | image_task_id: {'f' * 32}\u00a0\t"
    world.add("absent", extended_prompt=f"calm{text}", extended_prompt_image="", likes=3, duration=198.5)
    world.add("empty", image_url="")
    world.add("dead", image_url=kie.add_file("/p/dead.jpg", life=timedelta(0)), age=30 * DAY, resolution="2048x1152")
    signed = "X-Amz-Date=20261101T000000Z&X-Amz-Expires=1200&X-Amz-Signature=ab"
    gone = f"https://acc.r2.cloudflarestorage.com{'/p/gone.jpg'}?{signed}"
    kie.add_file("/p/gone.jpg", life=timedelta(0))
    world.add("presigned-dead", image_url=gone, resolution="2048x1152")
    kie.add_file("/image_1.jpeg", size=(360, 360))
    world.add("thumbnail", image_url="https://cdn2.suno.ai/image_1.jpeg", resolution="2K")
    world.add("with-song", task_id=POOR_SONG)
    world.add("old-pending", status="pending", age=400 * DAY)
    world.add("task-as-url", image_url=TASK, resolution="2048x1152")
    world.add("task-in-prompt", extended_prompt=f"x | image_task_id: {OTHER_TASK}")
    world.add(
        "dying", image_url=kie.add_file("/p/x.webp", text="a dying picture", format_="WEBP"), resolution="9510x688"
    )
    body = b64encode(paint("an inline picture", 2560, 1440)).decode()
    world.add("inline", image_url=f"data:image/png;base64,{body}")
    world.add("suno", task_id=GOOD_SONG)
    kie.add_file("/storage/kept.jpg", text="kept")
    world.add("kept", image_url="https://ref.supabase.co/storage/kept.jpg", resolution="2048x1152")
    kie.add_file("/storage/claimed.jpg", text="claimed")
    world.add("claimed", image_url="https://ref.supabase.co/storage/claimed.jpg", resolution="64x64")
    world.add("refused", extended_prompt_image="never to be painted", mood="nobody's mood")
    world.add("failing", extended_prompt_image="always fails")
    world.add("wordless", title="", prompt="Generated Vibe", extended_prompt_image="")
    for track_id, columns in LEFT.items():
        world.add(track_id, **columns)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    world = World(tmp_path_factory.mktemp("main-job"))
    fill(world)
    before = world.rows()
    result = world.run(timedelta(hours=2))
    return Ran(world, before, result, stored(world))


def stored(world: World) -> dict[str, bytes]:
    folder = world.path.parent / "images" / "tracks"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def row(ran: Ran, track_id: str) -> dict[str, Any]:
    return next(each for each in ran.before if each["id"] == track_id)


@pytest.mark.slow
def test_every_track_that_can_be_helped_has_its_own_picture_of_exactly_the_target(ran: Ran) -> None:
    for track_id, text in HELPED.items():
        data = ran.world.picture(track_id)
        assert data is not None, track_id
        with Image.open(io.BytesIO(data)) as picture:
            assert (picture.size, picture.format, picture.mode) == ((2048, 1152), "JPEG", "RGB"), track_id
        assert belongs_to(data, text), track_id
        assert ran.world.row(track_id)["resolution"] == "2048x1152", track_id


@pytest.mark.slow
def test_every_other_column_of_every_row_is_as_it_was(ran: Ran) -> None:
    ours = {"image_url", "resolution", "updated_at"}
    for before, after in zip(ran.before, ran.world.rows(), strict=True):
        assert {k: v for k, v in before.items() if k not in ours} == {k: v for k, v in after.items() if k not in ours}


@pytest.mark.slow
def test_purchases_are_one_for_each_helped_track_without_a_known_task_and_none_for_the_others(ran: Ran) -> None:
    prompts = [purchase.prompt for purchase in ran.world.kie.book.purchases]
    assert {track_id: prompts.count(text) for track_id, text in HELPED.items()} == {
        track_id: int(track_id in BOUGHT) for track_id in HELPED
    }


@pytest.mark.slow
def test_how_each_was_helped_is_counted(ran: Ran) -> None:
    counted = {How.GENERATED: len(BOUGHT), How.ADOPTED: 2, How.REHOSTED: 2, How.SUNO: 1}
    assert {how: ran.result.resolved[how] for how in counted} == counted


@pytest.mark.slow
def test_a_durable_good_picture_is_kept_and_a_wrong_claim_set_right(ran: Ran) -> None:
    assert ran.world.row("kept") == row(ran, "kept")
    after = ran.world.row("claimed")
    assert (after["image_url"], after["resolution"]) == (row(ran, "claimed")["image_url"], "2048x1152")


@pytest.mark.slow
@pytest.mark.parametrize("track_id", LEFT)
def test_rows_that_are_not_ours_to_touch_are_neither_written_nor_bought_for(ran: Ran, track_id: str) -> None:
    assert ran.world.row(track_id) == row(ran, track_id)
    assert not ran.world.kie.book.purchases_for(f"called {track_id} in")


@pytest.mark.slow
def test_the_hopeless_are_given_up_or_wait_with_a_reason(ran: Ran) -> None:
    for track_id, reason in HOPELESS.items():
        assert ran.world.row(track_id)["image_url"] is None
        (found,) = ran.world.sql("SELECT state, reason FROM reconciler_memory WHERE track_id = ?", track_id)
        assert found["reason"] == reason, track_id
        assert found["state"] in (State.FAILED, State.BACKING_OFF), track_id


@pytest.mark.slow
def test_a_second_run_at_once_buys_nothing_and_changes_neither_table_nor_store(ran: Ran) -> None:
    bought, before = len(ran.world.kie.book.creations), ran.world.rows()
    again = ran.world.run(timedelta(seconds=20))
    assert (again.purchases, again.writes) == (0, 0)
    assert len(ran.world.kie.book.creations) == bought
    assert ran.world.rows() == before
    assert stored(ran.world) == ran.stored


# -- small worlds: the same at 640x360 -----------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.with_policy(target=Target(640, 360))
    world.kie.script.when(Succeed(width=640, height=360, run=timedelta(seconds=2)))
    return world


def fixed(world: World) -> bytes:
    world.add("t", extended_prompt_image="ours")
    world.run()
    data = world.picture("t")
    assert data is not None
    return data


def app_writes(world: World, image: str | None, *, touch: bool = True, **columns: Any) -> None:
    columns = {"image_url": image, "resolution": None, **columns}
    if touch:
        columns["updated_at"] = world.clock().replace(tzinfo=None).isoformat(" ")
    names = ", ".join(f"{name} = ?" for name in columns)
    world.sql(f"UPDATE tracks SET {names}", *columns.values())


def thumbnail(world: World) -> str:
    world.kie.add_file("/image_9.jpeg", size=(360, 360))
    return "https://cdn2.suno.ai/image_9.jpeg"


@pytest.mark.parametrize(
    "columns", [{"age": timedelta(minutes=5)}, {"updated_at": "2026-11-22 11:55:00"}], ids=["created", "updated"]
)
def test_within_grace_nothing_is_written_or_bought(world: World, columns: dict[str, Any]) -> None:
    world.add("t", **columns)
    before = world.row("t")
    result = world.run(timedelta(minutes=15))
    assert result.states == {(State.SETTLING, None): 1}
    assert world.row("t") == before
    assert not world.kie.book.creations
    assert world.run(timedelta(minutes=40)).states == {(State.OK, None): 1}


def test_a_handed_over_task_of_another_id_than_the_songs_is_linked_to_its_track(world: World) -> None:
    world.run()
    world.kie.add_task(TASK, prompt="handed over", behaviour=Succeed(width=640, height=360, run=timedelta(0)))
    world.add("t", task_id=NO_SONG)
    world.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('t', ?)", TASK)
    assert world.run().resolved == {How.ADOPTED: 1}
    assert belongs_to(world.picture("t") or b"", "handed over")
    assert not world.kie.book.creations


@pytest.mark.parametrize("image", [None, "", "thumbnail"])
def test_what_the_app_undoes_is_restored_by_the_first_run_after_grace(world: World, image: str | None) -> None:
    ours = fixed(world)
    world.pass_time(DAY)
    app_writes(world, thumbnail(world) if image else image)
    undone = world.row("t")
    assert world.run(timedelta(minutes=20)).writes == 0
    assert world.row("t") == undone
    world.pass_time(GRACE)
    result = world.run(timedelta(minutes=1))
    assert (result.resolved, result.states) == ({How.RESTORED: 1}, {(State.OK, None): 1})
    assert (world.picture("t"), world.row("t")["resolution"]) == (ours, "640x360")
    assert len(world.kie.book.creations) == 1
    assert Overwritten("t") in world.events


@pytest.mark.parametrize("image", [None, "thumbnail"])
def test_what_the_app_undoes_is_restored_at_once_if_updated_at_stood_still(world: World, image: str | None) -> None:
    ours = fixed(world)
    app_writes(world, thumbnail(world) if image else None, touch=False)
    assert world.run(timedelta(minutes=1)).resolved == {How.RESTORED: 1}
    assert world.picture("t") == ours
    assert len(world.kie.book.creations) == 1


def test_another_picture_of_target_size_is_left_alone(world: World) -> None:
    fixed(world)
    world.kie.add_file("/storage/theirs.jpg", size=(640, 360))
    theirs = "https://ref.supabase.co/storage/theirs.jpg"
    app_writes(world, theirs)
    world.pass_time(DAY)
    assert world.run().resolved == {How.ALREADY_GOOD: 1}
    assert (world.row("t")["image_url"], world.row("t")["resolution"]) == (theirs, "640x360")


def test_another_larger_picture_is_fitted(world: World) -> None:
    fixed(world)
    world.kie.add_file("/storage/theirs.jpg", text="theirs", size=(1280, 720))
    app_writes(world, "https://ref.supabase.co/storage/theirs.jpg")
    world.pass_time(DAY)
    assert world.run().resolved == {How.REHOSTED: 1}
    data = world.picture("t") or b""
    assert belongs_to(data, "theirs")
    assert Image.open(io.BytesIO(data)).size == (640, 360)
    assert len(world.kie.book.creations) == 1


def test_the_fourth_restore_in_seven_days_is_not_made(world: World) -> None:
    fixed(world)
    for _ in range(3):
        app_writes(world, None, touch=False)
        world.pass_time(DAY)
        assert world.run().resolved == {How.RESTORED: 1}
    app_writes(world, None, touch=False)
    world.pass_time(DAY)
    assert world.run().states == {(State.FAILED, Reason.WRITE_CONFLICT): 1}
    assert world.row("t")["image_url"] is None
    world.pass_time(5 * DAY)
    assert world.run().resolved == {How.RESTORED: 1}
    assert len(world.kie.book.creations) == 1


# -- wrong at large ------------------------------------------------------------------------------------------------


def many(world: World, count: int = 12) -> None:
    for number in range(count):
        world.add(f"t{number:02}")


class Unmounted:
    """Kie; as it takes the first order, the volume with the store goes away."""

    def __init__(self, kie: Any, marker: Path) -> None:
        self._kie, self._marker = kie, marker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kie, name)

    def create(self, order: Any) -> Any:
        self._marker.rename(self._marker.with_name("elsewhere"))
        return self._kie.create(order)


@pytest.mark.slow
def test_a_store_that_is_unmounted_during_a_run_is_noticed_after_three_purchases_at_most(world: World) -> None:
    many(world)
    world.run(timedelta(0))
    marker = world.path.parent / "images" / ".reconciler-store"

    def wrap(name: str, port: Any) -> Any:
        return Unmounted(port, marker) if name == "kie" else port

    result = world.run(HOUR, wrap=wrap)
    assert 1 <= len(world.kie.book.purchases) <= 3
    assert all(row["image_url"] is None for row in world.rows())
    assert not any(state is State.FAILED for state, _ in result.states)
    assert any(reason is Reason.STORAGE_FAILED for _, reason in result.states)
    marker.with_name("elsewhere").rename(marker)
    bought = {purchase.prompt for purchase in world.kie.book.purchases}
    assert world.run(8 * HOUR).states == {(State.OK, None): 12}
    assert all(len(world.kie.book.purchases_for(prompt)) == 1 for prompt in bought)


def test_a_model_whose_results_never_fit_is_noticed_after_three_purchases(world: World) -> None:
    many(world)
    world.kie.script.clear()
    world.kie.script.when(Succeed(width=320, height=180, run=timedelta(seconds=2)))
    result = world.run(8 * HOUR)
    assert len(world.kie.book.creations) == 3
    assert (State.MISSING, Reason.MODEL_UNPROVEN) in result.states
    database = world.open()
    (proof,) = database.gate.view().proofs.values()
    database.close()
    assert (proof.proven, proof.refused) == (False, 3)


@pytest.mark.parametrize(
    ("answer", "name", "reason", "says"),
    [
        (UNAUTHORIZED, GateName.KEY, Reason.UNAUTHORIZED, "Kie refuses the key (kie.api_key)"),
        (
            Refuse(500, "image_size is not within the range of allowed options"),
            GateName.REQUEST_REJECTED,
            Reason.REQUEST_REJECTED,
            "Kie calls the request wrong",
        ),
        (
            Refuse(422, "The model is not published"),
            GateName.REQUEST_REJECTED,
            Reason.REQUEST_REJECTED,
            "not published",
        ),
    ],
    ids=["key", "request", "model"],
)
def test_a_refusal_at_large_is_noticed_after_three_orders_at_most(
    world: World, answer: Refuse, name: GateName, reason: Reason, says: str
) -> None:
    many(world)
    world.kie.script.when(answer, operation="create")
    result = world.run(timedelta(minutes=5))
    assert 1 <= len(world.kie.book.creations) <= 3
    assert not world.kie.book.purchases
    assert result.closures.keys() == {name}
    assert says in result.closures[name].detail
    assert (State.MISSING, reason) in result.states
    assert not any(state is State.FAILED for state, _ in result.states)


@pytest.mark.parametrize("is_proven", [False, True])
def test_a_request_that_is_called_wrong_only_as_its_tasks_fail_is_noticed_too(world: World, is_proven: bool) -> None:
    if is_proven:
        world.add("before")
        world.run(HOUR)
    many(world, 60)
    words = "image_resolution is not within the range of allowed options"
    before = len(world.kie.book.creations)
    world.kie.script.clear()
    world.kie.script.when(Fail(code="500", message=words, run=timedelta(seconds=1)))
    result = world.run(timedelta(minutes=20))
    window = world.policy.purchase_limit if is_proven else 3
    assert 1 <= len(world.kie.book.creations) - before <= window
    assert result.closures.keys() == {GateName.REQUEST_REJECTED}
    assert words in result.closures[GateName.REQUEST_REJECTED].detail
    assert {reason for state, reason in result.states if state is not State.OK} == {Reason.REQUEST_REJECTED}
    assert not any(state is State.FAILED for state, _ in result.states)


def test_a_key_that_is_refused_everywhere_buys_and_asks_nothing(world: World) -> None:
    many(world)
    world.kie.script.when(UNAUTHORIZED)
    result = world.run(timedelta(minutes=5))
    assert not world.kie.book.creations
    assert "kie.api_key" in result.closures[GateName.KEY].detail
    assert result.states == {(State.MISSING, Reason.UNAUTHORIZED): 12}


# -- the ways of the app's own design ------------------------------------------------------------------------------


@pytest.mark.parametrize("dies", [True, False])
def test_a_good_picture_that_came_with_the_music_is_recognised_and_rehosted_where_it_dies(
    world: World, dies: bool
) -> None:
    world.kie.add_file("/image_7.jpeg", text="with the music", size=(640, 360))
    url = ("https://cdn1.suno.ai" if dies else "https://ref.supabase.co") + "/image_7.jpeg"
    world.add("t", image_url=url)
    result = world.run()
    assert result.resolved == {How.REHOSTED if dies else How.ALREADY_GOOD: 1}
    assert world.row("t")["resolution"] == "640x360"
    assert (world.row("t")["image_url"] == url) is not dies
    assert not world.kie.book.creations


def test_without_a_budget_the_cover_of_the_music_stands_in_and_the_track_stays_stuck(world: World) -> None:
    world.with_policy(per_day=0, interim_thumbnail=True)
    world.kie.add_song(POOR_SONG, Song(title="cover"))
    world.add("t", task_id=POOR_SONG)
    result = world.run(DAY)
    row = world.row("t")
    assert Image.open(io.BytesIO(world.picture("t") or b"")).size == (360, 360)
    assert belongs_to(world.picture("t") or b"", "cover")
    assert row["resolution"] is None
    assert result.states == {(State.BELOW_TARGET, Reason.BUDGET): 1}
    assert result.resolved == {}
    assert not world.kie.book.creations
    world.with_policy(per_day=100)
    assert world.run().states == {(State.OK, None): 1}
    assert world.row("t")["resolution"] == "640x360"


def test_a_stand_in_that_the_app_removes_is_not_restored(world: World) -> None:
    world.with_policy(per_day=0, interim_thumbnail=True)
    world.kie.add_song(POOR_SONG, Song(title="cover"))
    world.add("t", task_id=POOR_SONG)
    world.run()
    app_writes(world, None, touch=False)
    world.pass_time(DAY)
    assert world.run().writes == 0
    assert world.row("t")["image_url"] is None


def test_one_picture_at_two_addresses_is_fetched_once_from_each(world: World) -> None:
    """Neither made forget that the other was fetched, or they would be fetched in turn for ever."""
    world.with_policy(per_day=0, interim_thumbnail=True)
    covers = [world.kie.add_file(f"/p/cover-{n}.jpg", text="cover", size=(360, 360)) for n in range(2)]
    world.kie.add_song(POOR_SONG, Song(title="cover", cover_urls=tuple(covers)))
    world.add("t", task_id=POOR_SONG)
    world.run()
    app_writes(world, None, touch=False)
    world.pass_time(DAY)
    world.run(timedelta(minutes=10))
    jobs = [event.job for event in world.events if isinstance(event, Found)]
    assert [job.source.name for job in jobs if isinstance(job, Fetch)] == covers


def test_an_archived_track_is_revived_in_the_statement_that_writes_its_picture(world: World) -> None:
    world.with_policy(restore_archived=True)
    world.add("t", status="archived")
    world.add("silent", status="archived", audio_url=None)
    world.sql("CREATE TABLE seen (status TEXT, image_url TEXT, resolution TEXT)")
    world.sql(
        "CREATE TRIGGER watch AFTER UPDATE ON tracks BEGIN "
        "INSERT INTO seen VALUES (new.status, new.image_url, new.resolution); END"
    )
    world.run()
    (only,) = world.sql("SELECT * FROM seen")
    row = world.row("t")
    assert only == {"status": "completed", "image_url": row["image_url"], "resolution": "640x360"}
    assert world.picture("t")
    assert (world.row("silent")["status"], world.row("silent")["image_url"]) == ("archived", None)


def test_an_archived_track_with_a_good_picture_is_left_as_it_is(world: World) -> None:
    world.kie.add_file("/storage/x.jpg", size=(640, 360))
    world.add("t", status="archived", image_url="https://ref.supabase.co/storage/x.jpg", resolution="640x360")
    before = world.row("t")
    world.run()
    assert world.row("t") == before
    assert not world.kie.book.visits_of("file")


def test_two_rows_of_one_music_task_are_both_helped(world: World) -> None:
    """Some installs have no UNIQUE."""
    (sql,) = world.sql("SELECT sql FROM sqlite_master WHERE name = 'tracks'")
    world.sql("DROP TABLE tracks")
    world.sql(sql["sql"].replace("TEXT UNIQUE", "TEXT"))
    world.kie.add_song(GOOD_SONG, Song(title="shared", cover=(640, 360)))
    world.add("one", task_id=GOOD_SONG)
    world.add("two", task_id=GOOD_SONG)
    assert world.run().states == {(State.OK, None): 2}
    assert belongs_to(world.picture("one") or b"", "shared")
    assert belongs_to(world.picture("two") or b"", "shared")
    assert not world.kie.book.creations
