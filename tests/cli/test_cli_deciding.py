"""`ignore`, `pause`, `resume`, and what all decisions share: a track that somebody else works is waited for."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.commands import deciding
from reconciler.database.datetimes import own
from reconciler.engine.amend import amend
from reconciler.kie.simulated import AnswerPicture, Succeed
from tests.cli.conftest import decided, run

if TYPE_CHECKING:
    from tests.cli.conftest import Install

PAID = "5b1f00000000000000000000000000aa"
AT_ONCE = Succeed(run=timedelta(0), width=2048, height=1152)


def questions(install: Install) -> int:
    """For records and files: the balance is asked for again and again."""
    return sum(visit.operation != "credit" for visit in install.kie.book.visits)


@pytest.fixture
def stuck(install: Install) -> Install:
    install.kie.script.when(AnswerPicture(), operation="create")
    install.add("a")
    return install


# -- ignore ----------------------------------------------------------------------------------------------------------


def test_an_ignored_track_is_out_of_scope_until_that_is_undone(stuck: Install) -> None:
    before = stuck.rows()
    assert decided(stuck, "ignore", "a") == ("out of scope", None, "is ignored from now on")
    assert run(stuck)["states"] == []
    assert (stuck.rows(), stuck.kie.book.visits_of("create"), stuck.kie.book.creations) == (before, (), ())
    assert json.loads(stuck.call("status", "--json").stdout)["tracks"] == 0
    assert decided(stuck, "ignore", "a", "--undo") == ("missing", "due", "is not ignored from now on")
    assert run(stuck)["resolved"] == {"generated": 1}


def test_what_was_so_already_is_told(stuck: Install) -> None:
    assert decided(stuck, "ignore", "a", "--undo")[2] == "was not ignored already"
    decided(stuck, "ignore", "a")
    assert decided(stuck, "ignore", "a")[2] == "was ignored already"
    text = stuck.call("ignore", "a").stdout
    assert text == "a: was ignored already.\nIt is out of scope, as before.\n"


@pytest.mark.parametrize("words", [("ignore", "nobody"), ("ignore", "nobody", "--undo")])
def test_an_unknown_track_cannot_be_ignored(stuck: Install, words: tuple[str, ...]) -> None:
    result = stuck.call(*words)
    assert result.exit_code == 1
    assert result.stderr.startswith("reconciler: there is no track 'nobody' in table tracks")
    assert stuck.sql("SELECT * FROM reconciler_memory") == []


def test_of_a_row_that_is_gone_that_is_told(stuck: Install) -> None:
    run(stuck)
    stuck.sql("DELETE FROM tracks")
    result = stuck.call("ignore", "a")
    assert result.exit_code == 1
    assert "the row of track a is gone; nothing is written or bought for it any more" in result.stderr


# -- pause and resume --------------------------------------------------------------------------------------------------


def test_a_pause_and_its_end_are_told_and_may_be_said_twice(stuck: Install) -> None:
    said = [stuck.call(word).stdout for word in ("pause", "pause", "resume", "resume")]
    assert said == [
        "Paused: nothing is bought or written until `reconciler resume`.\n",
        "Paused already: nothing is bought or written until `reconciler resume`.\n",
        "Resumed: purchases and writes go on.\n",
        "It was not paused: purchases and writes go on.\n",
    ]
    told = [json.loads(stuck.call(word, "--json").stdout) for word in ("pause", "pause", "resume", "resume")]
    assert [(each["paused"], each["changed"]) for each in told] == [
        (True, True),
        (True, False),
        (False, True),
        (False, False),
    ]


@pytest.mark.slow
def test_while_paused_results_are_saved_and_nothing_is_bought_or_written(stuck: Install) -> None:
    stuck.kie.add_task(PAID, prompt="a lighthouse", behaviour=AT_ONCE)
    stuck.add("paid", image_url=PAID)
    stuck.call("pause")
    before = stuck.rows()
    told = run(stuck)
    assert told["states"] == [{"state": "missing", "reason": "paused", "tracks": 2}]
    assert (told["purchases"], told["writes"]) == (0, 0)
    assert stuck.rows() == before
    assert stuck.kie.book.creations == ()
    assert len(stuck.pictures()) == 1
    asked = questions(stuck)
    stuck.call("resume")
    told = run(stuck, "--max-purchases", "0")
    assert (told["resolved"], told["purchases"], told["writes"]) == ({"adopted": 1}, 0, 1)
    assert questions(stuck) == asked
    assert run(stuck)["resolved"] == {"generated": 1}
    assert len(stuck.kie.book.purchases) == 1


def test_a_command_that_decides_makes_the_own_tables(install: Install) -> None:
    install.call("pause")
    made = {row["name"] for row in install.sql("SELECT name FROM sqlite_master")}
    assert "reconciler_gate" in made
    assert json.loads(install.call("status", "--json").stdout)["paused"]


# -- who works the track ---------------------------------------------------------------------------------------------


class Sleeper:
    """Sleeps in no time. `then`: what somebody else does meanwhile, at that sleep."""

    def __init__(self, **then: Any) -> None:
        self.slept: list[float] = []
        self.then = then

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) == self.then.get("at"):
            self.then["do"]()


@pytest.fixture
def leased(stuck: Install) -> Install:
    stuck.call("ignore", "a", "--undo")
    until = own(datetime.now(UTC) + timedelta(hours=1))
    stuck.sql("UPDATE reconciler_memory SET lease_owner = 'other', lease_until = ?, lease_step = 'look'", until)
    return stuck


def free(install: Install) -> None:
    install.sql("UPDATE reconciler_memory SET lease_owner = NULL, lease_until = NULL, lease_step = NULL")


def test_a_track_that_is_worked_is_waited_for(leased: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = Sleeper(at=3, do=lambda: free(leased))
    monkeypatch.setattr(deciding, "amend", partial(amend, sleep=sleeper))
    assert decided(leased, "ignore", "a")[0] == "out of scope"
    assert len(sleeper.slept) == 3


def test_one_that_is_worked_for_longer_than_a_step_may_take_is_told(
    leased: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = leased.sql("SELECT * FROM reconciler_memory")
    monkeypatch.setattr(deciding, "amend", partial(amend, sleep=Sleeper()))
    result = leased.call("ignore", "a")
    assert result.exit_code == 1
    assert "track a is being worked for longer than a step may take" in result.stderr
    assert "`reconciler status` tells by whom" in result.stderr
    assert leased.sql("SELECT * FROM reconciler_memory") == before
    assert "other" in leased.call("status").stdout


def test_who_is_not_given_up_is_not_waited_for(leased: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "amend", partial(amend, sleep=lambda _: pytest.fail("it waits")))
    assert decided(leased, "retry", "a", "--yes")[2] == "not given up, so nothing was changed"
