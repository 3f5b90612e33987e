"""What measuring, fetching and listing teach: a fault is never absence, nor the other way round."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from reconciler.domain.actions import (
    Fetch,
    GiveUp,
    ListStore,
    Measure,
    RowImage,
    Source,
    StoredKey,
    SunoCover,
    TaskResult,
    Wait,
)
from reconciler.domain.amending import reopened
from reconciler.domain.backoff import delay, spin_of
from reconciler.domain.case import Case
from reconciler.domain.findings import Fault, Finding, Flawed, Listing, Refused, Sized, Stored
from reconciler.domain.learn import learn, notice
from reconciler.domain.learn_pictures import lost_on
from reconciler.domain.model import Ailment, Kept, Memory, Verdict
from reconciler.domain.plan import plan
from reconciler.domain.states import Flaw, How, Reason
from tests.domain.builders import (
    COVER,
    DAY,
    DURABLE,
    HOUR,
    INLINE,
    KEY,
    MINUTE,
    NOW,
    OURS,
    POLICY,
    RESULT,
    SECOND,
    SONG,
    TASK,
    accepted,
    case,
    done_task,
    faulty,
    kept,
    memory,
    planned,
    seen,
    tasks,
    track,
)

ROW = RowImage(DURABLE, identity=DURABLE)
STORED = Stored(KEY, 2048, 1152, "ab" * 32)
TIMED_OUT = Fault(Reason.DOWNLOAD_FAILED, "no answer within 30 s")
GONE = Refused("HTTP 404")
BROKEN = Flawed(Flaw.TRUNCATED, "")


def measure(finding: Finding, the_memory: Memory | None = None, at: datetime = NOW, url: str = DURABLE) -> Memory:
    known = Case(track(url), the_memory or memory(), POLICY, at)
    return learn(known, Measure(RowImage(url, identity=url)), finding)


def fetch(source: Source, finding: Finding, the_memory: Memory | None = None, url: str | None = None) -> Memory:
    return learn(case(track(url), the_memory or memory()), Fetch(source), finding)


# -- measured ------------------------------------------------------------------------------------------------------


def test_a_measurement_is_remembered_and_heals() -> None:
    after = measure(Sized(10, 20), memory(ailments={DURABLE: faulty(), "other": faulty()}))
    assert after.sighting == seen(DURABLE, 10, 20, at=NOW, first_at=NOW)
    assert set(after.ailments) == {"other"}


def test_the_first_measurement_of_a_run_is_remembered() -> None:
    first = measure(Sized(1, 1))
    again = measure(Sized(1, 1), first, NOW + DAY)
    assert again.sighting == seen(DURABLE, 1, 1, at=NOW + DAY, first_at=NOW)
    assert measure(Sized(1, 1), memory(sighting=seen(COVER))).sighting == seen(DURABLE, 1, 1, at=NOW, first_at=NOW)


def test_where_it_lay_in_our_store_is_remembered() -> None:
    stored = learn(case(track(OURS)), Measure(StoredKey(KEY, SONG)), Sized(10, 20))
    assert stored.sighting == seen(OURS, 10, 20, at=NOW, first_at=NOW, key=KEY)


# -- faults --------------------------------------------------------------------------------------------------------


def pause(tries: int, name: str = DURABLE) -> timedelta:
    return delay(tries, POLICY.retry_min, POLICY.retry_max, spin_of("t1", name, tries))


def test_a_fault_is_remembered_with_its_reason_and_each_waits_a_while_of_its_own() -> None:
    once = Ailment(faults=1, first_fault=NOW, retry_at=NOW + pause(1), reason=TIMED_OUT.reason, detail=TIMED_OUT.detail)
    assert measure(TIMED_OUT).ailments == {DURABLE: once}
    assert measure(GONE).ailments[DURABLE].retry_at == measure(BROKEN).ailments[DURABLE].retry_at == NOW + pause(1)


def test_what_is_refused_for_its_host_is_remembered_with_the_hosts_of_the_day_until_they_are_others() -> None:
    barred = measure(Fault(Reason.HOST_REFUSED, "none of kie.file_hosts"), memory(ailments={"other": faulty()}))
    assert barred.ailments[DURABLE].hosts == POLICY.hosts
    assert notice(barred, track(DURABLE), POLICY, NOW).ailments == barred.ailments
    for other in (replace(POLICY, file_hosts=("another.example",)), replace(POLICY, insecure_hosts=("127.0.0.1",))):
        assert set(notice(barred, track(DURABLE), other, NOW).ailments) == {"other"}
    assert measure(TIMED_OUT, barred).ailments[DURABLE].hosts == ()


def test_what_was_refused_for_its_host_before_hosts_were_remembered_may_be_had_by_now() -> None:
    once = memory(ailments={DURABLE: faulty(8 * DAY, why=Reason.HOST_REFUSED)})
    assert not notice(once, track(DURABLE), POLICY, NOW).ailments


def test_what_was_refused_for_its_host_is_pending_again_with_other_hosts_and_fetched_though_none_is_wanted() -> None:
    barred = replace(faulty(8 * DAY, why=Reason.HOST_REFUSED), hosts=("another.example",))
    bought = accepted(verdict=Verdict.REJECTED, ended_at=NOW - DAY)
    before = memory(purchases=(bought,), tasks=tasks(done_task(RESULT)), ailments={RESULT: barred}, sighting=seen(OURS))
    row = track(OURS, resolution="2048x1152")
    after = notice(before, row, POLICY, NOW)
    assert after.purchases == (replace(bought, verdict=Verdict.PENDING, ended_at=None),)
    fetched = planned(row, after)
    assert isinstance(fetched, Fetch)
    assert fetched.source.name == RESULT


def test_what_an_operator_calls_dead_for_its_host_lives_again_with_other_hosts() -> None:
    ill = memory(ailments={DURABLE: replace(faulty(7 * DAY, why=Reason.HOST_REFUSED), hosts=POLICY.hosts)})
    dead = reopened(case(track(DURABLE), ill))
    assert dead.ailments[DURABLE].dead
    assert notice(dead, track(DURABLE), POLICY, NOW).ailments == dead.ailments
    assert not notice(dead, track(DURABLE), replace(POLICY, file_hosts=()), NOW).ailments


def test_faults_are_counted_and_back_off_and_kill_nothing() -> None:
    after, at, pauses = memory(), NOW, []
    for _ in range(30):
        after = measure(TIMED_OUT, after, at)
        ailment = after.ailments[DURABLE]
        assert not ailment.dead
        assert ailment.retry_at is not None
        pauses.append(ailment.retry_at - at)
        at = ailment.retry_at
    assert (ailment.faults, ailment.first_fault, ailment.reason) == (30, NOW, Reason.DOWNLOAD_FAILED)
    assert timedelta(0) < pauses[0] <= MINUTE
    assert POLICY.retry_max / 2 <= pauses[-1] <= POLICY.retry_max


def test_a_picture_that_nobody_tried_again_for_long_is_not_given_up() -> None:
    after = measure(TIMED_OUT)
    again = Measure(RowImage(DURABLE, identity=DURABLE))
    assert plan(Case(track(DURABLE), after, POLICY, NOW + 9 * DAY)) == again
    for day in range(1, 9):
        after = measure(TIMED_OUT, after, NOW + day * DAY)
    assert plan(Case(track(DURABLE), after, POLICY, NOW + 9 * DAY)) == GiveUp(Reason.DOWNLOAD_FAILED)


def test_time_in_which_nobody_tried_is_not_counted_as_failure() -> None:
    once = measure(TIMED_OUT)
    due = once.ailments[DURABLE].retry_at
    assert due is not None
    for idle, since in ((POLICY.lull, NOW), (POLICY.lull + SECOND, due + POLICY.lull + SECOND)):
        ailment = measure(TIMED_OUT, once, due + idle).ailments[DURABLE]
        assert (ailment.faults, ailment.first_fault) == (2, since)
    assert POLICY.lull > 2 * DAY


def test_whether_a_dead_picture_lives_again_is_asked_no_more_often_where_the_host_does_not_answer() -> None:
    dead = Ailment(refusals=3, first_refused=NOW - 2 * DAY, retry_at=NOW, dead=True)
    ailment = measure(TIMED_OUT, memory(ailments={DURABLE: dead})).ailments[DURABLE]
    assert (ailment.dead, ailment.retry_at) == (True, NOW + POLICY.retry_max)


def test_a_fault_does_not_undo_refusals_but_a_refusal_ends_a_run_of_faults() -> None:
    after = measure(TIMED_OUT, measure(GONE))
    assert after.ailments[DURABLE].refusals == 1
    assert measure(GONE, after).ailments[DURABLE].first_fault is None


# -- refusals ------------------------------------------------------------------------------------------------------


def test_a_url_that_should_last_is_dead_after_three_refusals_over_a_day() -> None:
    after = measure(GONE, measure(GONE, measure(GONE)), NOW + 23 * HOUR)
    assert not after.ailments[DURABLE].dead
    again = NOW + 24 * HOUR + POLICY.retry_max
    dead = Ailment(
        refusals=4, first_refused=NOW, retry_at=again, reason=Reason.DOWNLOAD_FAILED, detail="HTTP 404", dead=True
    )
    assert measure(GONE, after, NOW + 24 * HOUR).ailments[DURABLE] == dead
    assert not measure(GONE, measure(GONE), NOW + 9 * DAY).ailments[DURABLE].dead, "two are not three"


def test_refusals_are_tried_again_in_time() -> None:
    ailment = measure(GONE).ailments[DURABLE]
    assert ailment.retry_at is not None
    assert NOW < ailment.retry_at <= NOW + MINUTE
    assert (ailment.reason, ailment.detail) == (Reason.DOWNLOAD_FAILED, "HTTP 404")


@pytest.mark.parametrize(("days", "dead"), [(14, False), (15, True)])
def test_a_file_of_kie_past_its_fourteen_days_is_dead_after_one(days: int, dead: bool) -> None:
    the_track = track(RESULT, created_at=NOW - days * DAY, updated_at=NOW - days * DAY)
    after = learn(case(the_track), Measure(RowImage(RESULT, identity=RESULT)), GONE)
    assert after.ailments[RESULT].dead is dead


@pytest.mark.parametrize(("minutes", "dead"), [(21, True), (19, False)])
def test_a_presigned_url_is_dead_after_one_refusal_past_its_own_date(minutes: int, dead: bool) -> None:
    start = (NOW - minutes * MINUTE).strftime("%Y%m%dT%H%M%SZ")
    url = f"https://a.r2.cloudflarestorage.com/c.png?X-Amz-Date={start}&X-Amz-Expires=1200&X-Amz-Signature=ab"
    assert measure(GONE, url=url).ailments[url].dead is dead


def test_a_result_dies_with_its_task() -> None:
    result = TaskResult(RESULT, TASK, How.ADOPTED)
    old = replace(done_task(RESULT), completed_at=NOW - 15 * DAY)
    assert fetch(result, GONE, memory(tasks=tasks(old))).ailments[RESULT].dead
    assert not fetch(result, GONE, memory(tasks=tasks(done_task(RESULT)))).ailments[RESULT].dead
    assert not fetch(result, GONE).ailments[RESULT].dead


def test_a_picture_missing_in_the_store_is_the_stores_refusal_and_takes_three() -> None:
    ailment = fetch(StoredKey(KEY), GONE).ailments[f"store:{KEY}"]
    assert (ailment.reason, ailment.dead) == (Reason.STORAGE_FAILED, False)


def test_a_cover_that_is_gone_dies_with_the_rows_age() -> None:
    assert fetch(SunoCover(COVER, SONG), GONE).ailments[COVER].dead


def test_a_host_is_blamed_for_a_picture_that_was_to_last_longer_and_only_when_it_dies() -> None:
    def blamed(url: str, before: Memory, source: Source | None = None, age: timedelta = DAY) -> str | None:
        source = source or RowImage(url, identity=url)
        the_case = case(track(url, created_at=NOW - age, updated_at=None), before)
        return lost_on(the_case, source, learn(the_case, Measure(ROW) if source == ROW else Fetch(source), GONE))

    dying = Ailment(refusals=2, first_refused=NOW - 2 * DAY)
    assert blamed(DURABLE, memory(ailments={DURABLE: dying})) == "ref.supabase.co"
    for days in (1, 14):
        assert blamed(RESULT, memory(ailments={RESULT: dying}), age=days * DAY) == "tempfile.aiquickdraw.com"
    assert blamed(DURABLE, memory()) is None, "not dead yet"
    assert blamed(DURABLE, memory(ailments={DURABLE: replace(dying, dead=True)})) is None, "dead before"
    assert blamed(RESULT, memory(), age=15 * DAY) is None, "past its known life"
    assert blamed(COVER, memory(ailments={COVER: dying}), SunoCover(COVER, SONG)) is None, "not the row's"


# -- flawed bytes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flaw", [Flaw.TOO_SMALL, Flaw.ASPECT, Flaw.FORMAT, Flaw.TOO_LARGE, Flaw.BLANK])
def test_a_picture_that_arrived_whole_and_is_not_taken_is_not_tried_again(flaw: Flaw) -> None:
    ailment = measure(Flawed(flaw, "why")).ailments[DURABLE]
    assert (ailment.flaw, ailment.retry_at, ailment.reason) == (flaw, None, Reason.IMAGE_REJECTED)
    assert ailment.detail == f"{flaw}: why"


def test_of_one_of_a_wrong_size_the_size_is_remembered() -> None:
    assert measure(Flawed(Flaw.ASPECT, "why", (360, 360))).ailments[DURABLE].size == (360, 360)


@pytest.mark.parametrize("flaw", [Flaw.TRUNCATED, Flaw.UNDECODABLE])
def test_broken_bytes_may_be_the_transfers_fault_three_times(flaw: Flaw) -> None:
    after = measure(Flawed(flaw, ""), measure(Flawed(flaw, "")))
    assert after.ailments[DURABLE].flaw is None
    assert after.ailments[DURABLE].retry_at is not None
    assert measure(Flawed(flaw, ""), after).ailments[DURABLE].flaw is flaw


def test_timeouts_are_no_tries_of_broken_bytes() -> None:
    after = measure(Flawed(Flaw.TRUNCATED, ""), memory(ailments={DURABLE: faulty()}))
    assert after.ailments[DURABLE].flaw is None
    assert after.ailments[DURABLE].first_fault == NOW - HOUR


def test_time_in_which_nobody_tried_is_not_counted_as_broken_bytes() -> None:
    once = measure(TIMED_OUT)
    due = once.ailments[DURABLE].retry_at
    assert due is not None
    for idle, since in ((POLICY.lull, NOW), (POLICY.lull + SECOND, due + POLICY.lull + SECOND)):
        assert measure(BROKEN, once, due + idle).ailments[DURABLE].first_fault == since
    late = NOW + 8 * DAY
    assert isinstance(plan(Case(track(DURABLE), measure(BROKEN, once, late), POLICY, late)), Wait)


def test_broken_bytes_in_the_row_itself_are_broken() -> None:
    inline = RowImage(INLINE, inline=True, identity=INLINE)
    after = learn(case(track(INLINE)), Measure(inline), Flawed(Flaw.TRUNCATED, ""))
    assert after.ailments[INLINE].flaw is Flaw.TRUNCATED


# -- stored --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "how", "song"),
    [
        (ROW, How.REHOSTED, SONG),
        (TaskResult(RESULT, TASK, How.ADOPTED), How.ADOPTED, None),
        (TaskResult(RESULT, TASK, How.GENERATED, "6" * 32), How.GENERATED, "6" * 32),
        (SunoCover(COVER, SONG), How.SUNO, SONG),
    ],
)
def test_a_stored_picture_remembers_where_it_came_from(source: Source, how: How, song: str | None) -> None:
    after = fetch(source, STORED, memory(ailments={source.name: faulty()}))
    assert after.kept == (kept(sha256="ab" * 32, how=how, song=song, origin=source.name),)
    assert after.ailments == {}


def test_the_same_bytes_from_several_places_are_fetched_once_from_each() -> None:
    places = SunoCover(COVER, SONG), SunoCover(DURABLE, SONG), TaskResult(RESULT, TASK, How.ADOPTED)
    after = memory()
    for source in (*places, *places, StoredKey(KEY, SONG)):
        after = fetch(source, STORED, after)
    assert [k.origins for k in after.kept] == [(COVER, DURABLE, RESULT)]
    assert all(case(track(), after).holds(source) for source in places)


def test_what_was_stored_for_another_song_is_this_ones_too_once_it_comes_for_it() -> None:
    before, mine = memory(kept=(kept(song="6" * 32),)), TaskResult(RESULT, TASK, How.GENERATED, SONG)
    after = fetch(mine, STORED, before)
    assert [k.song for k in after.kept] == [SONG]
    again = fetch(TaskResult(RESULT, TASK, How.GENERATED, "6" * 32), STORED, after)
    assert [k.song for k in again.kept] == [SONG], "what comes late for the other takes nothing from it"


def test_a_stand_in_is_remembered_as_one() -> None:
    small = Stored(KEY, 360, 360, "ab" * 32, interim=True)
    stand_in = kept(KEY, 360, 360, sha256="ab" * 32, how=How.SUNO, origin=COVER, interim=True)
    assert fetch(SunoCover(COVER, SONG), small).kept == (stand_in,)


def test_a_picture_read_back_keeps_its_history() -> None:
    before = kept(at=NOW - DAY, checked_at=None, was_written=True, origin=RESULT)
    for song in (SONG, "6" * 32):
        after = fetch(StoredKey(KEY, song), STORED, memory(kept=(kept("b"), before)))
        assert after.kept == (kept("b"), replace(before, checked_at=NOW, sha256="ab" * 32))
    assert fetch(StoredKey(KEY, SONG), STORED).kept == (kept(how=How.RESTORED, sha256="ab" * 32),)


def test_a_picture_of_the_store_under_another_key_was_fitted_from_it() -> None:
    after = fetch(StoredKey("old", SONG), STORED, memory(kept=(kept("old", 2560, 1440),)))
    assert [(k.key, k.origin) for k in after.kept] == [("old", ""), (KEY, "store:old")]


def test_a_picture_stored_again_is_lost_no_more() -> None:
    lost = memory(kept=(kept(origin=RESULT),), ailments={f"store:{KEY}": Ailment(dead=True)})
    assert fetch(TaskResult(RESULT, TASK, How.ADOPTED), STORED, lost).ailments == {}


# -- listed --------------------------------------------------------------------------------------------------------


def test_pictures_found_in_the_store_are_known_by_name_only() -> None:
    before = memory(listed=False, kept=(kept(),), ailments={"store": faulty()})
    after = learn(case(track(), before), ListStore(), Listing((KEY, "tracks/t1/new.jpg")))
    assert after.listed
    assert after.ailments == {}
    assert after.listed_at == NOW
    assert after.kept == (kept(), Kept("tracks/t1/new.jpg", 0, 0, "", How.RESTORED, SONG, NOW, checked_at=None))


LOST = Ailment(refusals=4, first_refused=NOW - 2 * DAY, retry_at=NOW + HOUR, dead=True)


def test_a_picture_that_was_lost_and_is_named_by_the_store_again_is_looked_at_once_more() -> None:
    name, listing = f"store:{KEY}", Listing((KEY,))
    lost = memory(kept=(kept(),), ailments={name: LOST})
    found = learn(case(track(), lost), ListStore(), listing)
    assert found.ailments == {name: Ailment(refusals=4, first_refused=NOW - 2 * DAY)}
    assert not case(track(), fetch(StoredKey(KEY), GONE, found)).intact(kept()), "one refusal is enough"
    assert learn(case(track(), lost), ListStore(), Listing(("another",))).ailments == {name: LOST}


def test_a_row_that_shows_it_is_measured_anew() -> None:
    lost = memory(kept=(kept(),), ailments={f"store:{KEY}": LOST}, sighting=seen(OURS))
    assert learn(case(track(OURS), lost), ListStore(), Listing((KEY,))).sighting is None
    assert learn(case(track(OURS), lost), ListStore(), Listing(())).sighting == seen(OURS)


@pytest.mark.parametrize("ailment", [faulty(), Ailment(refusals=2, first_refused=NOW), Ailment(flaw=Flaw.BLANK)])
def test_what_else_the_store_names_is_as_it_was(ailment: Ailment) -> None:
    before = memory(kept=(kept(),), ailments={f"store:{KEY}": ailment}, sighting=seen(OURS))
    after = learn(case(track(OURS), before), ListStore(), Listing((KEY,)))
    assert (after.ailments, after.sighting) == (before.ailments, before.sighting)


def test_a_listing_that_failed_is_no_empty_store() -> None:
    fault = Fault(Reason.STORAGE_FAILED, "not mounted")
    before = memory(listed=False, ailments={"store": Ailment(faults=1, first_fault=NOW - HOUR)})
    after = learn(case(track(), before), ListStore(), fault)
    ailment = Ailment(0, None, 2, NOW - HOUR, NOW + pause(2, "store"), Reason.STORAGE_FAILED, "not mounted")
    assert after == replace(before, ailments={"store": ailment})
    assert OURS.endswith(KEY)
