"""`retry`: what is given up is tried again, one purchase more each; what a gate holds back is let through."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from reconciler.cli import app
from reconciler.cli import deciding as command
from reconciler.cli.deciding import Retried
from reconciler.commands.deciding import GATES, Decisions
from reconciler.database.datetimes import own
from reconciler.domain.states import Reason, State
from reconciler.kie.simulated import CONTENT_REFUSED_AT_ONCE, AnswerPicture, Refuse, Stall, Succeed
from reconciler.ports import DatabaseLocked
from tests.cli.conftest import PROGRAM, clean_environment, run
from tests.domain.test_core_properties import REASONS

if TYPE_CHECKING:
    from tests.cli.conftest import Install

TOO_SMALL = Succeed(run=timedelta(0), width=160, height=90)
WRONG_REQUEST = Refuse(422, "model is not within the range of allowed options")


def states(install: Install) -> dict[str, tuple[str | None, str | None]]:
    rows = install.sql("SELECT track_id, state, reason FROM reconciler_memory")
    return {row["track_id"]: (row["state"], row["reason"]) for row in rows}


def memory(install: Install) -> list[dict[str, Any]]:
    names = "track_id, state, reason, due_at, held, doc, lease_owner, generation"
    return install.sql(f"SELECT {names} FROM reconciler_memory ORDER BY track_id")


def decided(install: Install, *words: str) -> dict[str, tuple[str, str | None, str]]:
    """By track: where it stands now, and what was said."""
    result = install.call("retry", "--yes", "--json", *words)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)["tracks"]
    return {each["track"]: (each["after"]["state"], each["after"]["reason"], each["said"]) for each in told}


def answered(install: Install, answer: str, *words: str) -> Result:
    return CliRunner().invoke(app, ["--config", str(install.config), "retry", *words], input=answer)


@pytest.fixture
def refused(install: Install) -> Install:
    """Two tracks whose prompts were refused, all of them, and one good track. Now Kie would take them."""
    install.kie.script.when(CONTENT_REFUSED_AT_ONCE, operation="create")
    install.add("a")
    install.add("b")
    install.add("good", image_url=install.kie.add_file("good.jpg", text="good"), resolution="2048x1152")
    run(install)
    assert states(install) == {
        "a": ("failed", "content_rejected"),
        "b": ("failed", "content_rejected"),
        "good": ("ok", None),
    }
    install.kie.script.clear()
    install.kie.script.when(AnswerPicture(), operation="create")
    return install


@pytest.fixture
def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    class System:
        stdin = Terminal()

    monkeypatch.setattr(command, "sys", System)


# -- words -----------------------------------------------------------------------------------------------------------


def test_the_reasons_it_takes_are_those_that_tracks_are_given_up_or_held_back_for() -> None:
    given_up = REASONS[State.FAILED]
    assert {str(reason) for reason in Retried} == {str(reason) for reason in given_up | GATES}
    assert [reason.name for reason in Retried] == sorted(reason.name for reason in Retried)
    assert not given_up & GATES


@pytest.mark.parametrize("words", [(), ("a", "--reason", "no_prompt"), ("a", "--reason", "no_prompt", "--yes")])
def test_neither_or_both_is_no_usage(install: Install, words: tuple[str, ...]) -> None:
    result = install.call("retry", *words)
    assert result.exit_code == 2
    assert result.stderr == "reconciler: name tracks, or a reason with --reason: one of the two\n"


def test_a_reason_that_nothing_is_given_up_for_is_no_usage(install: Install) -> None:
    result = install.call("retry", "--reason", "due", "--yes")
    assert result.exit_code == 2
    assert "'content_rejected'" in result.stderr


def test_an_unknown_track_fails_and_no_other_is_touched(refused: Install) -> None:
    before = memory(refused)
    result = refused.call("retry", "a", "nobody", "--yes")
    assert result.exit_code == 1
    assert result.stderr.startswith("reconciler: there is no track 'nobody' in table tracks")
    assert memory(refused) == before


MAY_BE_BOUGHT = "pictures may be bought, if what comes is not taken or an answer is lost"


# -- asking ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("a", "good", "a"), ("--reason", "content_rejected")])
def test_without_a_terminal_it_tells_the_price_and_changes_nothing(refused: Install, words: tuple[str, ...]) -> None:
    before = memory(refused)
    result = refused.call("retry", *words)
    assert result.exit_code == 2
    named = {"a": f"1 track is given up, to be tried again; as many as 4 {MAY_BE_BOUGHT}, for at most 26 credits"}
    text = named.get(
        words[0], f"2 tracks are given up, to be tried again; as many as 8 {MAY_BE_BOUGHT}, for at most 52"
    )
    assert text in result.stderr
    assert "Nothing was changed" in result.stderr
    assert "say --yes to do it" in result.stderr
    assert result.stdout == ""
    assert memory(refused) == before


def test_where_its_limits_leave_nothing_it_may_buy_one_picture_and_repeat_one_lost_order(refused: Install) -> None:
    refused.configure(budget__per_track="0")
    assert f"as many as 2 {MAY_BE_BOUGHT}, for at most 13 credits" in refused.call("retry", "a").stderr
    refused.sql("UPDATE reconciler_purchase SET repeat_of = token, outcome = 'accepted', verdict = 'content'")
    assert "it may buy one picture more, for at most 6.5 credits" in refused.call("retry", "a").stderr


@pytest.mark.usefixtures("at_a_terminal")
def test_at_a_terminal_it_asks_and_a_no_changes_nothing(refused: Install) -> None:
    before = memory(refused)
    result = answered(refused, "n\n", "a")
    assert result.exit_code == 1
    assert "for at most 26 credits in all, within the budgets. Do it? [y/N]:" in result.stderr
    assert result.stderr.endswith("reconciler: nothing was changed\n")
    assert result.stdout.strip() in ("", "n")
    assert memory(refused) == before
    assert answered(refused, "", "a").exit_code == 1, "the end of input is no yes"
    assert memory(refused) == before


@pytest.mark.usefixtures("at_a_terminal")
def test_at_a_terminal_a_yes_is_enough(refused: Install) -> None:
    result = answered(refused, "y\n", "a")
    assert result.exit_code == 0, result.output
    assert "a: tried again at the next sweep." in result.stdout
    assert states(refused)["a"] == ("missing", "due")


@pytest.mark.usefixtures("at_a_terminal")
@pytest.mark.parametrize("words", [("good",), ("--reason", "no_prompt"), ("--reason", "model_unproven")])
def test_where_nothing_is_to_be_done_nothing_is_asked(refused: Install, words: tuple[str, ...]) -> None:
    before = memory(refused)
    result = refused.call("retry", *words)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert memory(refused) == before


@pytest.fixture
def with_silent(refused: Install) -> Install:
    """Besides, three tracks whose rows say nothing that a picture could be asked for with."""
    for name in ("silent-1", "silent-2", "silent-3"):
        refused.add(name, title="", prompt="", extended_prompt_image="")
    run(refused)
    return refused


@pytest.mark.usefixtures("at_a_terminal")
@pytest.mark.parametrize("words", [("--reason", "no_prompt"), ("silent-1", "good")])
def test_for_rows_that_must_be_mended_first_nothing_is_asked_promised_or_changed(
    with_silent: Install, words: tuple[str, ...]
) -> None:
    before = memory(with_silent)
    result = with_silent.call("retry", "--json", *words)
    assert (result.exit_code, result.stderr) == (0, "")
    said = {each["said"] for each in json.loads(result.stdout)["tracks"] if each["track"] != "good"}
    assert said == {"still given up: the row itself must be mended"}
    assert decided(with_silent, "silent-2") == {"silent-2": ("failed", "no_prompt", *said)}
    assert memory(with_silent) == before


@pytest.mark.parametrize(
    ("silent", "said"),
    [
        (("silent-1",), "1 more stays given up, since its row itself must be mended"),
        (("silent-1", "silent-3"), "2 more stay given up, since their rows themselves must be mended"),
    ],
)
def test_they_are_left_out_of_the_count_and_the_price(with_silent: Install, silent: tuple[str, ...], said: str) -> None:
    result = with_silent.call("retry", "a", "b", *silent)
    assert result.exit_code == 2
    assert result.stderr.startswith(
        f"reconciler: 2 tracks are given up, to be tried again; as many as 8 {MAY_BE_BOUGHT}, for at most 52 credits "
        f"in all, within the budgets; {said}. Nothing was changed"
    )


@pytest.mark.slow
def test_with_its_input_closed_nobody_is_asked(refused: Install) -> None:
    result = refused.program("retry", "a", by=("sh", "-c", 'exec "$@" <&-', "sh"))
    assert result.returncode == 2
    assert "nobody can be asked here: say --yes to do it" in result.stderr


@pytest.mark.slow
def test_on_a_real_terminal_it_asks(refused: Install) -> None:
    ours, theirs = pty.openpty()
    environ = clean_environment() | {"TERM": "dumb"}
    words = [*PROGRAM, "--config", str(refused.config), "retry", "--reason", "content_rejected", "--json"]
    with subprocess.Popen(
        words, cwd=refused.folder, env=environ, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        os.write(ours, b"y\n")
        out, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, err
    assert "for at most 52 credits in all" in err
    assert [each["track"] for each in json.loads(out)["tracks"]] == ["a", "b"]


# -- what is given up ------------------------------------------------------------------------------------------------


def test_a_refused_track_buys_once_more_and_no_more(refused: Install) -> None:
    before = len(refused.kie.book.creations)
    assert decided(refused, "a") == {"a": ("missing", "due", "tried again at the next sweep")}
    assert run(refused)["purchases"] == 1
    assert len(refused.kie.book.creations) == before + 1
    assert [bought.prompt for bought in refused.kie.book.purchases] == ["a lighthouse called a in morning mist"]
    run(refused)
    assert len(refused.kie.book.creations) == before + 1
    assert states(refused)["b"] == ("failed", "content_rejected"), "who was not named stays as it was"


def test_all_that_are_given_up_for_a_reason_are_re_opened_and_no_others(refused: Install) -> None:
    refused.add("nameless", title="", prompt="", extended_prompt_image="")
    run(refused)
    assert states(refused)["nameless"] == ("failed", "no_prompt")
    told = decided(refused, "--reason", "content_rejected")
    assert {track: state for track, (state, *_) in told.items()} == {"a": "missing", "b": "missing"}
    assert states(refused)["nameless"] == ("failed", "no_prompt")


def test_said_twice_it_grants_no_more(install: Install) -> None:
    install.configure(budget__per_track="1", kie__fallback_models="[]")
    install.kie.script.when(AnswerPicture(), operation="create")
    install.kie.script.when(TOO_SMALL)
    install.add("a")
    run(install)
    assert states(install)["a"] == ("failed", "image_rejected")
    assert decided(install, "a")["a"] == ("missing", "due", "tried again at the next sweep")
    after_one = memory(install)
    assert decided(install, "a")["a"] == ("missing", "due", "not given up, so nothing was changed")
    assert memory(install) == after_one
    run(install)
    run(install)
    assert len(install.kie.book.purchases) == 2
    assert states(install)["a"] == ("failed", "image_rejected")


def test_who_got_a_picture_as_it_was_to_be_tried_again_is_granted_nothing(
    refused: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused.configure(budget__per_track="0")
    seen, url = Decisions.seen, refused.kie.add_file("by-hand.jpg", text="by hand")

    def healed(self: Decisions, track_id: str) -> Any:
        found = seen(self, track_id)
        refused.sql("UPDATE tracks SET image_url = ?, resolution = '2048x1152' WHERE id = ?", url, track_id)
        return found

    monkeypatch.setattr(Decisions, "seen", healed)
    _, _, said = decided(refused, "a")["a"]
    assert said == "not given up, so nothing was changed"
    doc = json.loads(docs(refused)[0]["doc"])
    assert (doc.get("granted", 0), doc.get("reopened_at")) == (0, None)


@pytest.mark.slow
def test_who_is_not_given_up_is_left_alone_and_told(refused: Install) -> None:
    refused.kie.script.clear()
    refused.kie.script.when(Stall())
    refused.add("waits")
    run(refused, "--track", "waits", "--timeout", "2s")
    before = memory(refused)
    told = decided(refused, "good", "waits")
    assert told == {
        "good": ("ok", None, "not given up, so nothing was changed"),
        "waits": ("awaiting", "in_flight", "not given up, so nothing was changed"),
    }
    assert memory(refused) == before


def test_a_row_that_must_be_mended_first_is_told(install: Install) -> None:
    install.add("a", title="", prompt="", extended_prompt_image="")
    run(install)
    assert decided(install, "a")["a"] == ("failed", "no_prompt", "still given up: the row itself must be mended")


def test_rows_that_are_gone_do_not_keep_the_others_from_it(refused: Install) -> None:
    """The one was never ordered for, so that nothing but its standing is remembered."""
    refused.add("0", title="", prompt="", extended_prompt_image="")
    refused.add("1", title="", prompt="", extended_prompt_image="")
    run(refused)
    refused.sql("DELETE FROM tracks WHERE id IN ('0', 'a')")
    gone = ("out of scope", None, "its row is gone, so nothing was changed")
    assert decided(refused, "--reason", "content_rejected") == {
        "a": gone,
        "b": ("missing", "due", "tried again at the next sweep"),
    }
    assert decided(refused, "--reason", "no_prompt")["0"] == gone


def test_what_was_done_before_a_failure_is_told(refused: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    retry = Decisions.retry

    def locked_at_b(self: Decisions, track_id: str) -> Any:
        if track_id == "b":
            raise DatabaseLocked("locked", "app.db", "Try again.")
        return retry(self, track_id)

    monkeypatch.setattr(Decisions, "retry", locked_at_b)
    result = refused.call("retry", "a", "b", "--yes")
    assert result.exit_code == 1
    assert "a: tried again at the next sweep." in result.stdout
    assert result.stderr == "reconciler: app.db: locked. Try again.\n"


def test_many_are_a_table_of_80_columns_with_whole_ids(install: Install) -> None:
    names = [f"0b9f7a44-7f0e-4c53-9a61-1d2f6a4b7c1{number}" for number in range(2)]
    for name in names:
        install.add(name, title="", prompt="", extended_prompt_image="")
    run(install)
    text = install.call("retry", "--reason", "no_prompt", "--yes").stdout
    assert max(map(len, text.splitlines())) <= 80
    assert all(name in text for name in names)
    assert install.call("retry", "--reason", "write_conflict", "--yes").stdout == (
        "No track is given up for that: nothing to do.\n"
    )


# -- gates ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def unproven(install: Install) -> Install:
    """Three pictures of the model were refused; a fourth track waits."""
    install.configure(budget__per_track="1", kie__fallback_models="[]")
    install.kie.script.when(AnswerPicture(), operation="create")
    install.kie.script.when(TOO_SMALL)
    for name in "abcd":
        install.add(name)
    run(install)
    assert len(install.kie.book.purchases) == 3
    return install


def docs(install: Install) -> list[dict[str, Any]]:
    return install.sql("SELECT track_id, doc FROM reconciler_memory ORDER BY track_id")


@pytest.mark.slow
def test_a_model_that_is_unproven_is_tried_once_more_and_no_track_is_granted_anything(unproven: Install) -> None:
    before = docs(unproven)
    refusal = unproven.call("retry", "--reason", "model_unproven")
    assert refusal.exit_code == 2
    assert "1 track is held back for model_unproven; one order is let through to see, for at most 5" in refusal.stderr
    run(unproven)
    assert len(unproven.kie.book.purchases) == 3
    done = unproven.call("retry", "--reason", "model_unproven", "--yes")
    assert done.stdout == "1 track is held back for model_unproven; one order is let through now.\n"
    assert docs(unproven) == before
    again = unproven.call("retry", "--reason", "model_unproven", "--yes")
    assert again.stdout == "Nothing is held back for model_unproven, so nothing was changed.\n"
    run(unproven)
    run(unproven)
    assert len(unproven.kie.book.purchases) == 4


def test_a_model_that_is_configured_no_more_is_not_tried_again(unproven: Install) -> None:
    unproven.configure(budget__per_track="1", kie__model='"seedream/4.5-text-to-image"', kie__fallback_models="[]")
    done = unproven.call("retry", "--reason", "model_unproven", "--yes")
    assert done.stdout == "Nothing is held back for model_unproven, so nothing was changed.\n"
    assert unproven.sql("SELECT granted FROM reconciler_shape") == [{"granted": 0}]


def test_who_is_re_opened_while_the_model_is_closed_is_told_so(unproven: Install) -> None:
    bought = {name for name, stands in states(unproven).items() if stands == ("failed", "image_rejected")}
    assert len(bought) == 3
    told = ("missing", "model_unproven", "re-opened; it goes on when the gate opens")
    assert decided(unproven, "--reason", "image_rejected") == dict.fromkeys(bought, told)


@pytest.mark.slow
def test_a_request_that_was_called_wrong_is_tried_once(install: Install) -> None:
    install.configure(kie__fallback_models="[]")
    install.kie.script.when(WRONG_REQUEST, operation="create")
    install.add("a")
    run(install)
    install.add("b")
    run(install)
    assert len(install.kie.book.creations) == 1
    before = docs(install)
    result = install.call("retry", "--reason", "request_rejected", "--yes", "--json")
    assert json.loads(result.stdout) == {"reason": "request_rejected", "waiting": 2, "let_through": 1}
    assert docs(install) == before
    run(install)
    assert len(install.kie.book.creations) == 2, "one order, which was refused again"
    install.kie.script.clear()
    install.kie.script.when(AnswerPicture(), operation="create")
    assert install.call("retry", "--reason", "request_rejected", "--yes").exit_code == 0
    assert run(install)["at_rest"], "the answer opens it for all"


@pytest.mark.slow
def test_a_suspect_host_is_released_and_its_tracks_go_on(install: Install) -> None:
    install.call("schema", "--apply")
    install.sql("INSERT INTO reconciler_host VALUES ('127.0.0.1', ?, 21)", own(datetime.now(UTC)))
    for name in "ab":
        install.add(name, image_url=install.kie.add_file(f"{name}.jpg", size=(160, 90)))
    install.kie.script.when(AnswerPicture(), operation="create")
    run(install)
    assert set(states(install).values()) == {(State.BELOW_TARGET, Reason.HOST_SUSPECT)}
    assert install.kie.book.creations == ()
    refusal = install.call("retry", "--reason", "host_suspect")
    assert refusal.exit_code == 2
    assert f"2 tracks are held back for host_suspect; as many as 8 {MAY_BE_BOUGHT}, for at most 52" in refusal.stderr
    done = install.call("retry", "--reason", "host_suspect", "--yes")
    assert "2 tracks are held back for host_suspect; what is dead there may be replaced now." in " ".join(
        done.stdout.split()
    )
    assert run(install)["resolved"] == {"generated": 2}
    assert len(install.kie.book.purchases) == 2


@pytest.mark.parametrize("reason", sorted(GATES))
def test_where_nothing_is_held_back_that_is_said(install: Install, reason: Reason) -> None:
    result = install.call("retry", "--reason", reason)
    assert (result.exit_code, result.stderr) == (0, "")
    assert " ".join(result.stdout.split()) == f"Nothing is held back for {reason}, so nothing was changed."
    told = json.loads(install.call("retry", "--reason", reason, "--json").stdout)
    assert told == {"reason": reason, "waiting": 0, "let_through": 0}
