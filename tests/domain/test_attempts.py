"""What was tried and what came of it, in words that may be shown."""

from typing import Any

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
    TaskResult,
    Write,
)
from reconciler.domain.attempts import Attempt, Replaced, attempt, write_attempt, written
from reconciler.domain.findings import (
    Accepted,
    AnswerLost,
    Call,
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
    SongPending,
    Stored,
    Succeeded,
    Trouble,
)
from reconciler.domain.model import Ailment, Track
from reconciler.domain.states import Flaw, How, Reason
from tests.domain.builders import (
    DURABLE,
    INLINE,
    KEY,
    OURS,
    POLICY,
    RESULT,
    SONG,
    TASK,
    case,
    memory,
    purchase,
    seen,
    track,
)

MEASURE, FETCH = Measure(RowImage(DURABLE)), Fetch(TaskResult(RESULT, TASK, How.GENERATED))
ASK, BUY = AskTask(TASK), purchase()


@pytest.mark.parametrize(
    ("done", "finding", "told"),
    [
        (MEASURE, Sized(2048, 1152), Attempt("measure", DURABLE, "sized", "2048x1152")),
        (FETCH, Stored(KEY, 2048, 1152, "aa"), Attempt("fetch", RESULT, "stored", "2048x1152")),
        (FETCH, Flawed(Flaw.TOO_SMALL, "360x360"), Attempt("fetch", RESULT, "flawed", "too_small: 360x360")),
        (MEASURE, Refused("HTTP 404"), Attempt("measure", DURABLE, "refused", "HTTP 404")),
        (MEASURE, Fault(Reason.DOWNLOAD_FAILED, "no answer"), Attempt("measure", DURABLE, "fault", "no answer")),
        (Fetch(StoredKey(KEY)), Refused("lost"), Attempt("fetch", f"store:{KEY}", "refused", "lost")),
        (ASK, Succeeded((RESULT,)), Attempt("ask_task", TASK, "succeeded")),
        (ASK, Running(), Attempt("ask_task", TASK, "running")),
        (ASK, NotFound("no record"), Attempt("ask_task", TASK, "not_found", "no record")),
        (ASK, Trouble(Call.TIMEOUT, "30 s"), Attempt("ask_task", TASK, "trouble", "30 s")),
        (AskSong(SONG), SongFinal((DURABLE,)), Attempt("ask_song", SONG, "song_final")),
        (AskSong(SONG), SongPending(), Attempt("ask_song", SONG, "song_pending")),
        (ListStore(), Listing((KEY,)), Attempt("list_store", "", "listing")),
        (BUY, Accepted(TASK), Attempt("buy", POLICY.model, "accepted", TASK)),
        (BUY, Accepted(None, (RESULT,)), Attempt("buy", POLICY.model, "accepted", "a result at once")),
        (BUY, AnswerLost(Call.TIMEOUT, "30 s"), Attempt("buy", POLICY.model, "answer_lost", "30 s")),
        (
            BUY,
            NothingMade(Refusal.CONTENT, Call.REJECTED, "a sensitive word"),
            Attempt("buy", POLICY.model, "nothing_made", "content: a sensitive word"),
        ),
    ],
)
def test_every_step_is_told_with_what_came_of_it(done: Job, finding: Finding, told: Attempt) -> None:
    assert attempt(done, finding) == told


def test_what_a_url_keeps_secret_is_not_told() -> None:
    assert attempt(Measure(RowImage(f"{DURABLE}?token=secret")), Sized(1, 1)).about == DURABLE
    assert write_attempt(Write(f"{OURS}?token=secret", None, None), "conflict", Replaced()).about == OURS
    was = Replaced.of(case(track(f"{DURABLE}?token=secret")))
    assert (was.url, was.askable) == (f"{DURABLE}?…", None)


def test_details_are_cut() -> None:
    assert attempt(ASK, NotFound("x" * 1000)).detail == "x" * 300


def test_writes_tell_what_was_written_and_how_it_was_come_by() -> None:
    assert write_attempt(Write(OURS, "2048x1152", How.RESTORED, key=KEY), "committed", Replaced()) == Attempt(
        "write", OURS, "committed", "restored, in place of nothing"
    )
    assert write_attempt(Write(OURS, None, None, key=KEY), "committed", Replaced()).detail.startswith("interim, ")
    assert write_attempt(Write(None, "2048x1152", None), "conflict", Replaced()) == Attempt(
        "write", "resolution", "conflict"
    )


@pytest.mark.parametrize(
    ("row", "known", "said", "askable"),
    [
        (track(None), {}, "nothing", None),
        (track(TASK), {}, TASK, None),
        (track(DURABLE), {}, DURABLE, DURABLE),
        (track(DURABLE), {"sighting": seen(DURABLE, 360, 360)}, f"360x360 {DURABLE}", DURABLE),
        (track(DURABLE), {"sighting": seen(OURS, 360, 360)}, DURABLE, DURABLE),
        (track(DURABLE), {"ailments": {DURABLE: Ailment(dead=True)}}, f"dead {DURABLE}", None),
        (track(f"{DURABLE}/{'x' * 300}"), {}, f"{DURABLE}/{'x' * 300}"[:199] + "…", None),
        (track(INLINE), {"sighting": seen(INLINE, 64, 64)}, "64x64 an inline picture", None),
    ],
)
def test_what_a_write_replaced_is_told_and_read_again(
    row: Track, known: dict[str, Any], said: str, askable: str | None
) -> None:
    was = Replaced.of(case(row, memory(**known)))
    assert str(was) == said
    told = write_attempt(Write(OURS, None, How.GENERATED, key=KEY), "committed", was)
    assert written(told.detail) == ("generated", was)
    assert was.askable == askable


def test_a_write_of_an_older_version_tells_only_how() -> None:
    assert written("generated") == ("generated", None)
