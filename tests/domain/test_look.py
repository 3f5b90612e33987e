from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.domain.actions import GiveUp, RowImage, StoredKey
from reconciler.domain.look import (
    LONGEST_INLINE,
    Absent,
    Dying,
    Good,
    Huge,
    Larger,
    Look,
    Small,
    Unmeasured,
    is_picture,
    is_undone,
    look_at,
)
from reconciler.domain.model import Ailment, Cell, Memory, Sighting, Written
from reconciler.domain.policy import Fit, Policy, Target
from reconciler.domain.states import Flaw, Reason
from tests.domain.builders import (
    COVER,
    DAY,
    DURABLE,
    HOUR,
    INLINE,
    KEY,
    LONG_AGO,
    NOW,
    OURS,
    POLICY,
    RESULT,
    TASK,
    faulty,
    memory,
    planned,
    seen,
    track,
)

KEEP = replace(POLICY, target=Target(fit=Fit.KEEP))
PRESIGNED = (
    "https://a.r2.cloudflarestorage.com/b/c.png?X-Amz-Date=20261120T115000Z&X-Amz-Expires=1200&X-Amz-Signature=ab"
)


def look(url: str | None, the_memory: Memory | None = None, policy: Policy = POLICY) -> Look:
    return look_at(track(url), the_memory or memory(), policy)


def measured(url: str, width: int = 2048, height: int = 1152) -> Memory:
    return memory(sighting=seen(url, width, height))


@pytest.mark.parametrize("url", [None, "", TASK, "5" * 32, "not a url"])
def test_no_picture(url: str | None) -> None:
    assert look(url) == Absent()
    assert not is_picture(url or "", POLICY)


@pytest.mark.parametrize("url", [DURABLE, COVER, RESULT, PRESIGNED, OURS, INLINE, "http://somewhere.example/a.png"])
def test_a_picture_that_was_never_measured(url: str) -> None:
    assert isinstance(look(url), Unmeasured)
    assert is_picture(url, POLICY)


def test_a_claimed_resolution_is_no_measurement() -> None:
    claimed = look_at(track(DURABLE, resolution="2048x1152"), memory(), POLICY)
    assert isinstance(claimed, Unmeasured)


def test_a_picture_that_changed_since_it_was_measured_is_unmeasured() -> None:
    assert isinstance(look(DURABLE, measured(COVER)), Unmeasured)


def test_a_value_cut_in_sql_is_told_from_another_by_length_and_hash() -> None:
    long = Cell(INLINE, 5_000_000, "d" * 64)
    same = memory(sighting=seen(long.identity))
    assert isinstance(look_at(replace(track(), image=long), same, POLICY), Dying)
    assert isinstance(look_at(replace(track(), image=replace(long, digest="e" * 64)), same, POLICY), Unmeasured)


def test_a_dead_url_is_no_picture() -> None:
    assert look(DURABLE, memory(ailments={DURABLE: Ailment(dead=True)})) == Absent()


def test_a_faulty_url_is_not_absent() -> None:
    assert look(DURABLE, memory(ailments={DURABLE: faulty()})) == Unmeasured(
        RowImage(DURABLE, identity=DURABLE), faulty()
    )


def test_a_broken_picture_is_present_but_not_good() -> None:
    assert look(DURABLE, memory(ailments={DURABLE: Ailment(flaw=Flaw.BLANK)})) == Small()


@pytest.mark.parametrize("url", [DURABLE, INLINE])
def test_a_picture_that_is_more_than_we_take_is_no_small_one_where_it_lasts(url: str) -> None:
    assert look(url, memory(ailments={url: Ailment(flaw=Flaw.TOO_LARGE)})) == Huge()


def test_an_inline_picture_that_is_more_than_we_take_is_told_before_it_is_read() -> None:
    row = track(INLINE)
    most, more = (replace(row, image=Cell(INLINE, length, "d" * 64)) for length in (LONGEST_INLINE, LONGEST_INLINE + 1))
    assert isinstance(look_at(most, memory(), POLICY), Unmeasured)
    assert look_at(more, memory(), POLICY) == Huge()
    assert planned(more) == GiveUp(Reason.IMAGE_REJECTED)


@pytest.mark.parametrize("name", [COVER, RESULT, PRESIGNED, f"store:{KEY}"])
def test_a_picture_that_is_more_than_we_take_is_lost_where_files_are(name: str) -> None:
    url = OURS if name == f"store:{KEY}" else name
    assert look(url, memory(ailments={name: Ailment(flaw=Flaw.TOO_LARGE)})) == Small()


@pytest.mark.parametrize("size", [(360, 360), (2048, 1151), (2047, 1152), (4096, 4096), (1344, 768)])
def test_too_small_or_of_another_shape(size: tuple[int, int]) -> None:
    assert look(DURABLE, measured(DURABLE, *size)) == Small()


def test_larger_than_the_exact_target() -> None:
    assert look(DURABLE, measured(DURABLE, 2560, 1440)) == Larger(RowImage(DURABLE, identity=DURABLE))
    assert isinstance(look(DURABLE, measured(DURABLE, 2560, 1440), KEEP), Good)


@pytest.mark.parametrize("url", [COVER, RESULT, PRESIGNED, INLINE])
def test_the_right_size_at_a_url_that_dies_or_inline(url: str) -> None:
    assert isinstance(look(url, measured(url)), Dying)


def test_what_dies_says_when() -> None:
    dying = look(PRESIGNED, measured(PRESIGNED))
    assert isinstance(dying, Dying)
    assert dying.expires_at == NOW + timedelta(minutes=10)
    of_kie, inline = look(RESULT, measured(RESULT)), look(INLINE, measured(INLINE))
    assert isinstance(of_kie, Dying)
    assert isinstance(inline, Dying)
    assert of_kie.expires_at == LONG_AGO + DAY
    assert inline.expires_at is None
    undated = look_at(track(RESULT, created_at=None, updated_at=None), measured(RESULT), POLICY)
    assert isinstance(undated, Dying)
    assert undated.expires_at is None


@pytest.mark.parametrize("url", [DURABLE, OURS])
def test_the_right_size_at_a_url_that_lasts(url: str) -> None:
    good = look(url, measured(url))
    assert isinstance(good, Good)
    assert good.resolution == "2048x1152"


def test_a_url_under_public_url_is_our_store() -> None:
    good = look(OURS, measured(OURS))
    assert isinstance(good, Good)
    assert good.source == StoredKey(KEY, memory().song_id)


def test_a_url_under_public_url_that_can_be_no_key_of_ours_never_reaches_the_store() -> None:
    policy = replace(POLICY, public_url="https://pictures.example/images")
    for odd in ("../../etc/passwd", "?x=1", ""):
        found = look(f"https://pictures.example/images/{odd}", policy=policy)
        assert isinstance(found, Unmeasured)
        assert isinstance(found.source, RowImage)


def test_our_picture_at_a_public_url_that_moved_is_to_be_written_anew() -> None:
    old = "https://old.example/images/" + KEY
    found = look(old, replace(measured(old), written=Written(old, KEY, LONG_AGO, LONG_AGO)))
    assert found == Dying(StoredKey(KEY, memory().song_id), None)


def test_a_picture_that_was_measured_in_our_store_is_ours_wherever_public_url_moves() -> None:
    old = "https://old.example/images/" + KEY
    found = look(old, memory(sighting=seen(old, key=KEY)))
    assert found == Dying(StoredKey(KEY, memory().song_id), None)
    assert isinstance(look(DURABLE, memory(sighting=seen(old, key=KEY))), Unmeasured), "another picture"


def test_a_write_is_undone_by_another_picture_and_by_no_query_behind_its_url() -> None:
    def undone(shows: str | None, last: str | None, wrote: str = OURS, key: str | None = KEY) -> bool:
        return is_undone(track(shows), memory(seen=last, written=Written(wrote, key, NOW, NOW)), POLICY)

    another = POLICY.url_of("tracks/t1/bbbbbbbbbbbbbbbb.jpg")
    signed = f"{OURS}{PRESIGNED[PRESIGNED.index('?') :]}"
    for shown in (None, "", DURABLE, another, signed):
        assert undone(shown, OURS)
        assert undone(shown, f"{OURS}?v=2")
        assert not undone(shown, another), "it was when the row was last looked at"
        assert not undone(shown, None)
    for shown in (OURS, f"{OURS}?v=3", f"{OURS}#top"):
        assert not undone(shown, OURS)
        assert not undone(shown, f"{OURS}?v=2")
    assert not undone(another, DURABLE, DURABLE, None), "we wrote its resolution"
    assert not is_undone(track(DURABLE), memory(seen=OURS), POLICY), "we wrote nothing"


def test_good_pictures_are_measured_again_a_day_later_then_every_month() -> None:
    def measure_at(sighting: Sighting) -> object:
        good = look(DURABLE, memory(sighting=sighting))
        return good.measure_at if isinstance(good, Good) else None

    first = NOW - HOUR
    assert measure_at(seen(DURABLE, first_at=first, at=first)) == first + DAY
    assert measure_at(seen(DURABLE, first_at=first, at=first + 23 * HOUR)) == first + DAY
    assert measure_at(seen(DURABLE, first_at=first, at=first + DAY)) == first + DAY + POLICY.reverify_after
