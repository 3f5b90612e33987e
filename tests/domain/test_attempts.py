"""What was tried and what came of it, in words that may be shown."""

import pytest

from reconciler.domain.actions import (
    AskSong,
    AskTask,
    Fetch,
    ListStore,
    Measure,
    RowImage,
    StoredKey,
    TaskResult,
    Write,
)
from reconciler.domain.attempts import Attempt, attempt, write_attempt
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
from reconciler.domain.learn import Done
from reconciler.domain.states import Flaw, How, Reason
from tests.domain.builders import DURABLE, KEY, OURS, POLICY, RESULT, SONG, TASK, purchase

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
        (ASK, Running("waiting"), Attempt("ask_task", TASK, "running")),
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
def test_every_step_is_told_with_what_came_of_it(done: Done, finding: Finding, told: Attempt) -> None:
    assert attempt(done, finding) == told


def test_what_a_url_keeps_secret_is_not_told() -> None:
    assert attempt(Measure(RowImage(f"{DURABLE}?token=secret")), Sized(1, 1)).about == DURABLE
    assert write_attempt(Write(f"{OURS}?token=secret", None, None), "conflict").about == OURS


def test_details_are_cut() -> None:
    assert attempt(ASK, NotFound("x" * 1000)).detail == "x" * 300


def test_writes_tell_what_was_written_and_how_it_was_come_by() -> None:
    assert write_attempt(Write(OURS, "2048x1152", How.RESTORED, key=KEY), "committed") == Attempt(
        "write", OURS, "committed", "restored"
    )
    assert write_attempt(Write(None, "2048x1152", None), "conflict") == Attempt("write", "resolution", "conflict")
