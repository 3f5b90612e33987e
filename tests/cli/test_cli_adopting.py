"""`adopt` and `resolve`: a task that exists already is taken, so that nothing is bought for what was paid for."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from shlex import split
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.commands.deciding import Decisions
from reconciler.database.datetimes import own
from reconciler.kie.simulated import (
    DROPPED,
    FAILED_AT_ONCE,
    LOST,
    SERVER_ERROR,
    AnswerPicture,
    ResultForm,
    Stall,
    Succeed,
)
from tests.cli.conftest import decided, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.engine.amend import Amended
    from reconciler.kie.simulated import Fail
    from tests.cli.conftest import Install

PAID = "5b1f00000000000000000000000000aa"
AT_ONCE = Succeed(run=timedelta(0), width=2048, height=1152)
OF_A = "a lighthouse called a in morning mist"


def declined(install: Install, *words: str) -> str:
    """Why; nothing may have been changed by it."""
    install.call("schema", "--apply")
    before = everything(install)
    result = install.call(*words)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert everything(install) == before
    return result.stderr.removeprefix("reconciler: ").strip()


def everything(install: Install) -> dict[str, list[dict[str, Any]]]:
    """What is remembered of tracks, tasks and purchases, but for which lease was the last."""
    found = {name: install.sql(f"SELECT * FROM reconciler_{name}") for name in ("image_task", "task", "purchase")}
    return {**found, "memory": install.sql("SELECT track_id, state, reason, held, doc FROM reconciler_memory")}


def known_as(install: Install, task_id: str, state: str) -> None:
    """What Kie said of the task some day."""
    install.call("schema", "--apply")
    names = "id, first_seen, state, urls, detail, polls, not_found, faults"
    seen = own(datetime.now(UTC) - timedelta(days=3))
    install.sql(f"INSERT INTO reconciler_task ({names}) VALUES (?, ?, ?, '[]', '', 3, 3, 0)", task_id, seen, state)


def adopted(install: Install, *options: str) -> bool:
    """The task is handed over and will be followed, whatever is looked for first."""
    state, reason, said = decided(install, "adopt", "a", PAID, *options)
    assert said == f"task {PAID} is handed over, and followed to its end before anything is bought"
    return (state, reason) in (("missing", "due"), ("awaiting", "in_flight"))


@pytest.fixture
def paid(install: Install) -> Install:
    """A track without a picture, and a finished task that somebody bought for it."""
    install.kie.add_task(PAID, prompt=OF_A, behaviour=AT_ONCE)
    install.add("a")
    return install


# -- adopt -----------------------------------------------------------------------------------------------------------


def test_a_finished_task_of_the_tracks_prompt_is_adopted_and_nothing_bought(paid: Install) -> None:
    assert adopted(paid)
    assert run(paid)["resolved"] == {"adopted": 1}
    assert paid.kie.book.creations == ()
    assert paid.rows()[0]["resolution"] == "2048x1152"


def test_it_is_told_in_a_sentence_with_the_whole_id(paid: Install) -> None:
    text = paid.call("adopt", "a", PAID).stdout
    assert f"a: task {PAID} is" in text
    assert "It is missing due, as before." in text
    assert max(map(len, text.splitlines())) <= 80
    assert paid.call("adopt", "a", PAID).exit_code == 0, "once more is no harm"
    assert paid.sql("SELECT track_id, task_id FROM reconciler_image_task") == [{"track_id": "a", "task_id": PAID}]


@pytest.mark.parametrize("recorded", [OF_A.upper(), f"  {OF_A}\n", "a lighthouse called  a in morning mist"])
def test_white_space_and_letter_case_make_no_other_prompt(install: Install, recorded: str) -> None:
    install.kie.add_task(PAID, prompt=recorded, behaviour=AT_ONCE)
    install.add("a")
    assert adopted(install)


def test_a_task_of_words_that_this_track_was_once_ordered_with_is_its_own(install: Install) -> None:
    install.add("a")
    install.kie.script.next("create", LOST)
    run(install)
    (order,) = install.kie.book.purchases
    install.sql("UPDATE tracks SET extended_prompt_image = 'something else'")
    assert order.task_id is not None
    assert decided(install, "adopt", "a", order.task_id)[2].startswith(f"task {order.task_id} is handed over")


def test_a_task_that_still_runs_is_waited_for(install: Install) -> None:
    install.kie.add_task(PAID, prompt="anything", behaviour=Stall())
    install.add("a")
    assert adopted(install)
    install.call("run", "--once", "--timeout", "500ms")
    assert install.kie.book.creations == ()


def bought(install: Install) -> None:
    install.add("other")
    install.call("schema", "--apply")
    moment = own(datetime.now(UTC))
    row = dict.fromkeys(("at", "send_before", "deadline", "over_at"), moment)
    row |= dict.fromkeys(("token", "model", "shape", "prompt", "detail"), "-")
    row |= {"track_id": "other", "outcome": "accepted", "verdict": "good", "task_id": PAID, "urls": "[]"}
    names, marks = ", ".join(row), ", ".join("?" * len(row))
    install.sql(f"INSERT INTO reconciler_purchase (price, sent, {names}) VALUES (5.0, 1, {marks})", *row.values())


def handed_over(install: Install) -> None:
    install.call("schema", "--apply")
    install.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('other', ?)", PAID)


def in_image_url(install: Install) -> None:
    install.add("other", image_url=PAID)


def noted_behind_the_prompt(install: Install) -> None:
    install.add("other", extended_prompt=f"Mist | Visual: fog | image_task_id: {PAID} | Music: slow")


OWNERS = [bought, handed_over, in_image_url, noted_behind_the_prompt]


@pytest.mark.parametrize("owned", OWNERS)
def test_a_task_of_another_track_is_refused_unless_forced(paid: Install, owned: Callable[[Install], None]) -> None:
    owned(paid)
    said = declined(paid, "adopt", "a", PAID)
    assert said == (f"task {PAID} belongs to track other. Nothing was changed; --force hands it over all the same")
    assert adopted(paid, "--force")


def test_ids_that_another_one_begins_with_are_others(paid: Install) -> None:
    paid.add("url", image_url=f"{PAID}bb")
    paid.add("noted", extended_prompt=f"Visual: fog | image_task_id: {PAID}bb")
    assert adopted(paid)


def test_a_task_with_another_prompt_is_refused_unless_forced(install: Install) -> None:
    install.kie.add_task(PAID, prompt="a dog on a beach " * 9, behaviour=AT_ONCE)
    install.add("a")
    said = declined(install, "adopt", "a", PAID)
    assert said.startswith("its recorded prompt is another one (a dog on a beach")
    assert f"than this track's ({OF_A}). Nothing was changed; --force hands it over all the same" in said
    assert adopted(install, "--force")
    assert run(install)["resolved"] == {"adopted": 1}
    assert install.kie.book.creations == ()


def test_a_task_that_kie_does_not_know_is_refused_unless_forced(install: Install) -> None:
    install.add("a")
    assert declined(install, "adopt", "a", PAID).startswith("Kie knows no such image task; ids of music tasks")
    assert adopted(install, "--force")


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [(FAILED_AT_ONCE, " ("), (Succeed(run=timedelta(0), result=ResultForm.EMPTY_LIST), ". Nothing was changed")],
)
def test_a_task_that_ended_without_a_picture_is_refused_unless_forced(
    install: Install, behaviour: Fail | Succeed, says: str
) -> None:
    install.kie.add_task(PAID, prompt=OF_A, behaviour=behaviour)
    install.add("a")
    assert declined(install, "adopt", "a", PAID).startswith(f"Kie ended the task without a picture{says}")
    assert adopted(install, "--force")


def test_a_task_whose_picture_was_not_taken_is_refused_unless_forced_and_looked_at_again_then(install: Install) -> None:
    install.kie.script.when(Succeed(run=timedelta(0), width=160, height=90))
    install.configure(budget__per_track="1")
    install.add("a")
    run(install)
    ((task_id,),) = (tuple(row.values()) for row in install.sql("SELECT task_id FROM reconciler_purchase"))
    install.configure(budget__per_track="2")
    assert declined(install, "adopt", "a", task_id).startswith("its picture was not taken (too_small: 160x90 is below")
    loaded = len(install.kie.book.visits_of("file"))
    decided(install, "adopt", "a", task_id, "--force")
    install.configure(budget__per_track="1")
    run(install)
    assert len(install.kie.book.visits_of("file")) == loaded + 1
    assert len(install.kie.book.creations) == 1


def test_a_kie_that_cannot_be_asked_is_told_and_may_be_overruled(paid: Install) -> None:
    paid.kie.script.when(SERVER_ERROR, operation="record")
    assert declined(paid, "adopt", "a", PAID).startswith("Kie could not be asked about it (server_error: ")
    assert adopted(paid, "--force")
    paid.configure(kie__api_key='"another-key-than-kie-knows"')
    said = declined(paid, "adopt", "a", PAID)
    assert "another-key-than-kie-knows" not in said


def test_without_a_key_it_is_told_whole_what_helps(paid: Install) -> None:
    paid.configure(kie__api_key='""', budget__per_day="0")
    why = "unauthorized: there is no API key: set kie.api_key or RECONCILER_KIE__API_KEY"
    nothing = "Nothing was changed; --force hands it over all the same"
    assert declined(paid, "adopt", "a", PAID) == f"Kie could not be asked about it ({why}). {nothing}"


def test_all_doubts_are_told_at_once(install: Install) -> None:
    install.kie.add_task(PAID, prompt="another", behaviour=AT_ONCE)
    install.add("a")
    in_image_url(install)
    said = declined(install, "adopt", "a", PAID)
    assert said.startswith(f"task {PAID} belongs to track other; its recorded prompt is another one (another)")


@pytest.mark.parametrize("name", ["", " ", "\t ", "x" * 201, "né", "a\x1b[2Jb"])
def test_what_can_be_no_id_is_refused_without_asking(install: Install, name: str) -> None:
    install.add("a")
    for words in (("adopt", "a", name), ("adopt", "a", name, "--force"), ("resolve", "a", "--task", name)):
        said = declined(install, *words)
        assert said.endswith(" is no id of an image task")
        assert len(said) < 120
        assert "\x1b" not in said
    assert install.kie.book.visits == ()


@pytest.mark.parametrize("words", [("adopt", "nobody", PAID), ("resolve", "nobody", "--task", PAID)])
def test_an_unknown_track_fails_without_asking(install: Install, words: tuple[str, ...]) -> None:
    assert declined(install, *words).startswith("there is no track 'nobody' in table tracks")
    assert install.kie.book.visits == ()


@pytest.mark.parametrize("pasted", [f" {PAID}", f"{PAID} ", f"{PAID}\n"])
@pytest.mark.parametrize("option", [(), ("--force",)])
def test_blanks_around_an_id_are_none_of_it(paid: Install, pasted: str, option: tuple[str, ...]) -> None:
    assert decided(paid, "adopt", "a", pasted, *option)[2].startswith(f"task {PAID} is handed over")
    assert paid.sql("SELECT task_id FROM reconciler_image_task") == [{"task_id": PAID}]
    assert run(paid)["resolved"] == {"adopted": 1}


@pytest.mark.parametrize("state", ["gone", "failed", "succeeded"])
@pytest.mark.parametrize("named", [True, False])
def test_a_task_that_was_known_to_have_no_picture_is_asked_anew(paid: Install, state: str, named: bool) -> None:
    """`named`: it was this track that asked for it."""
    known_as(paid, PAID, state)
    if named:
        paid.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('a', ?)", PAID)
    assert adopted(paid)
    assert run(paid)["resolved"] == {"adopted": 1}
    assert paid.kie.book.creations == ()


def test_a_result_that_is_known_already_is_not_asked_for_again(paid: Install) -> None:
    paid.call("adopt", "a", PAID)
    run(paid)
    asked = len(paid.kie.book.visits_of("record"))
    paid.add("b", extended_prompt_image=OF_A)
    decided(paid, "adopt", "b", PAID, "--force")
    assert run(paid)["resolved"] == {"adopted": 1}
    assert len(paid.kie.book.visits_of("record")) == asked + 1, "once by the command, never by the run"


def test_where_the_task_is_of_no_use_now_that_is_told(paid: Install) -> None:
    good = paid.kie.add_file("good.jpg", text="good")
    paid.add("good", image_url=good, resolution="2048x1152", extended_prompt_image=OF_A)
    paid.add("ignored", extended_prompt_image=OF_A)
    paid.call("run", "--once", "--track", "good")
    paid.call("ignore", "ignored")
    state, _, said = decided(paid, "adopt", "good", PAID)
    assert (state, said) == ("ok", f"task {PAID} is handed over, and of no use now: the track has a good picture")
    state, _, said = decided(paid, "adopt", "ignored", PAID, "--force")
    assert (state, said) == ("out of scope", f"task {PAID} is handed over, and followed once the track is in scope")


def test_a_track_given_up_for_good_has_to_be_re_opened_too(paid: Install) -> None:
    """A picture that killed the process three times."""
    paid.call("ignore", "a")
    paid.call("ignore", "a", "--undo")
    (row,) = paid.sql("SELECT doc FROM reconciler_memory")
    doc = {**json.loads(row["doc"]), "interruptions": 3}
    paid.sql("UPDATE reconciler_memory SET doc = ?", json.dumps(doc))
    state, reason, said = decided(paid, "adopt", "a", PAID)
    assert (state, reason) == ("failed", "image_rejected")
    assert said.endswith("of no use yet: `reconciler retry` re-opens the track")


def test_a_row_that_is_gone_is_not_handed_anything(install: Install) -> None:
    install.add("a")
    install.kie.script.when(AnswerPicture(), operation="create")
    run(install)
    install.kie.add_task(PAID, prompt=OF_A, behaviour=AT_ONCE)
    install.sql("DELETE FROM tracks")
    result = install.call("adopt", "a", PAID, "--force")
    assert result.exit_code == 1
    assert "the row of track a is gone" in result.stderr
    assert install.sql("SELECT * FROM reconciler_image_task") == []


# -- resolve ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def lost(install: Install) -> Install:
    """One order whose answer was lost: Kie made a task of it. The track may buy one picture, not two."""
    install.configure(budget__per_track="1", budget__attempts_per_track="1")
    install.kie.script.next("create", LOST)
    install.kie.script.when(AT_ONCE)
    install.add("a")
    run(install)
    assert install.sql("SELECT state, reason FROM reconciler_memory") == [
        {"state": "unknown", "reason": "unknown_purchase"}
    ]
    return install


def task_of(install: Install) -> str:
    (order,) = install.kie.book.purchases
    assert order.task_id is not None
    return order.task_id


@pytest.mark.parametrize("words", [(), ("--not-created", "--task", PAID)])
def test_neither_or_both_is_no_usage(install: Install, words: tuple[str, ...]) -> None:
    result = install.call("resolve", "a", *words)
    assert result.exit_code == 2
    assert "--not-created or --task ID, one of the two" in result.stderr


def test_until_it_is_settled_nothing_is_bought(lost: Install) -> None:
    run(lost)
    assert len(lost.kie.book.creations) == 1


def test_a_lost_order_whose_task_is_named_is_that_task_and_none_is_bought(lost: Install) -> None:
    task_id = task_of(lost)
    said = f"the lost purchase is task {task_id}, which is followed to its end"
    assert decided(lost, "resolve", "a", "--task", task_id) == ("awaiting", "in_flight", said)
    assert run(lost)["resolved"] == {"generated": 1}
    assert len(lost.kie.book.creations) == 1
    (bought,) = json.loads(lost.call("explain", "a", "--json").stdout)["purchases"]
    assert bought == bought | {"outcome": "accepted", "task": task_id, "verdict": "good"}
    assert bought["detail"] == "an operator named its task"


def test_an_order_that_nothing_was_made_of_counts_against_no_limit(install: Install) -> None:
    install.configure(budget__per_track="1", budget__attempts_per_track="1")
    install.kie.script.next("create", DROPPED)
    install.kie.script.when(AnswerPicture(), operation="create")
    install.add("a")
    run(install)
    assert install.kie.book.purchases == ()
    said = "nothing was created, so it counts against no limit of the track"
    assert decided(install, "resolve", "a", "--not-created") == ("missing", "due", said)
    assert run(install)["resolved"] == {"generated": 1}
    run(install)
    assert (len(install.kie.book.creations), len(install.kie.book.purchases)) == (2, 1)


def test_it_is_settled_once(lost: Install) -> None:
    assert decided(lost, "resolve", "a", "--not-created")[0] == "missing"
    for words in (("--not-created",), ("--task", task_of(lost))):
        said = declined(lost, "resolve", "a", *words)
        assert said == "no purchase of track a has lost its answer; see `reconciler explain a`"


def test_where_nothing_was_lost_nothing_is_settled_or_asked(paid: Install) -> None:
    paid.call("ignore", "a", "--undo")
    for words in (("--not-created",), ("--task", PAID)):
        assert declined(paid, "resolve", "a", *words).startswith("no purchase of track a has lost its answer")
    assert paid.kie.book.visits == ()


@pytest.mark.parametrize("words", [("--not-created",), ("--task", PAID)])
def test_an_answer_that_is_lost_while_the_track_is_waited_for_is_not_the_one_meant(
    lost: Install, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    lost.kie.add_task(PAID, prompt="a dog", behaviour=AT_ONCE)
    under_way = own(datetime.now(UTC) + timedelta(minutes=1))
    lost.sql("UPDATE reconciler_purchase SET outcome = 'open', deadline = ?", under_way)
    amend = Decisions.amend

    def amend_late(*given: Any) -> Amended:
        lost.sql("UPDATE reconciler_purchase SET outcome = 'unknown'")
        return amend(*given)

    monkeypatch.setattr(Decisions, "amend", amend_late)
    assert declined(lost, "resolve", "a", *words).startswith("no purchase of track a has lost its answer")


def test_a_task_of_another_track_or_prompt_settles_nothing(lost: Install) -> None:
    lost.kie.add_task(PAID, prompt="a dog", behaviour=AT_ONCE)
    lost.add("other", image_url=PAID)
    said = declined(lost, "resolve", "a", "--task", PAID)
    assert said.startswith(f"task {PAID} belongs to track other; its recorded prompt is another one (a dog)")
    assert said.endswith(f"`reconciler adopt --force a {PAID}` hands it over all the same")


def test_a_command_to_be_copied_is_one_whatever_the_ids_are(lost: Install) -> None:
    said = declined(lost, "resolve", "a", "--task", "x y")
    assert said.endswith("`reconciler adopt --force a 'x y'` hands it over all the same")
    said = declined(lost, "resolve", "a", "--task", "-x")
    assert said.endswith("`reconciler adopt --force -- a -x` hands it over all the same")
    for name, spelled in (("no purchase; at all", "'no purchase; at all'"), ("-x1", "-- -x1")):
        lost.add(name)
        said = declined(lost, "resolve", "--not-created", "--", name)
        assert said.endswith(f"see `reconciler explain {spelled}`")
        assert lost.call("explain", *split(spelled)).exit_code == 0


@pytest.mark.slow
def test_a_task_of_another_purchase_settles_nothing(install: Install) -> None:
    install.configure(schedule__retry_min='"10ms"', schedule__retry_max='"20ms"')
    install.kie.script.when(AnswerPicture(), operation="create", times=1)
    install.kie.script.next("create", LOST)
    install.kie.script.when(Succeed(run=timedelta(0), width=160, height=90))
    install.add("a")
    run(install)
    bought, unanswered = install.kie.book.purchases
    assert bought.task_id is not None
    said = declined(install, "resolve", "a", "--task", bought.task_id)
    assert said == f"task {bought.task_id} came of another purchase of track a; nothing was changed"
    assert unanswered.task_id is not None
    assert decided(install, "resolve", "a", "--task", unanswered.task_id)[0] == "awaiting"


@pytest.mark.slow
def test_a_task_that_ended_without_a_picture_settles_it_too(install: Install) -> None:
    """It was refunded, so it counts no more than any other that failed."""
    install.configure(budget__per_track="1")
    install.kie.script.next("create", LOST)
    install.kie.script.when(FAILED_AT_ONCE, times=1)
    install.add("a")
    run(install)
    install.kie.script.when(AnswerPicture(), operation="create")
    decided(install, "resolve", "a", "--task", task_of(install))
    assert run(install)["resolved"] == {"generated": 1}
    said = json.loads(install.call("explain", "a", "--json").stdout)
    assert [bought["verdict"] for bought in said["purchases"]] == ["failed", "good"]


def test_a_lost_task_that_was_known_to_be_gone_is_asked_anew(lost: Install) -> None:
    known_as(lost, task_of(lost), "gone")
    decided(lost, "resolve", "a", "--task", task_of(lost))
    assert run(lost)["resolved"] == {"generated": 1}
    assert len(lost.kie.book.creations) == 1
