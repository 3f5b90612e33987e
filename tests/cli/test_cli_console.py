"""Logs, progress and summary as they are told, piece by piece."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger
from rich.console import Console
from rich.live import Live

from reconciler.cli.face import complain
from reconciler.console import log, outline, output, progress, summary
from reconciler.console.eventlog import EventLog
from reconciler.console.stopping import Stopping
from reconciler.domain.actions import AskTask, ListStore, Write
from reconciler.domain.findings import Accepted, AnswerLost, Call, Fault, Listing, NothingMade, Refusal, Trouble
from reconciler.domain.gate import Closure, GateName
from reconciler.domain.model import Purchase
from reconciler.domain.states import How, Reason, State
from reconciler.domain.texts import amount, moment, plain
from reconciler.engine.events import (
    CreditsRead,
    Event,
    Found,
    GateClosed,
    Mistake,
    Moved,
    Ordered,
    Overwritten,
    Recognised,
    Result,
    Unwritten,
    Wrote,
)
from reconciler.ports import Commit

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
BOUGHT = Purchase("token", "a", "model", "shape", "prompt", 5, NOW, NOW, NOW)
CLOSED = GateClosed(Closure(GateName.KEY, NOW, NOW + timedelta(minutes=10), "Kie refuses the key"))
WRITTEN = Write("https://user:pass@covers.example/a.jpg?sig=SECRET", "2048x1152", How.GENERATED)


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[dict[str, Any]]]:
    """What these events are logged as, from DEBUG up."""

    def run(*events: Event) -> list[dict[str, Any]]:
        log.set_up("DEBUG", "json")
        listener = EventLog()
        for event in events:
            listener(event)
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    return run


# -- logs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "name", "level"),
    [
        (Moved("a", State.MISSING, Reason.DUE), "moved", "debug"),
        (Found("a", ListStore(), Listing(())), "step", "debug"),
        (Ordered(BOUGHT), "purchase", "info"),
        (Wrote("a", WRITTEN, Commit.COMMITTED, None), "written", "info"),
        (Wrote("a", WRITTEN, Commit.CONFLICT, None), "conflict", "info"),
        (Recognised("a"), "recognised", "info"),
        (Overwritten("a"), "overwritten", "warning"),
        (Unwritten("a"), "unwritten", "warning"),
        (CLOSED, "gate_closed", "warning"),
        (CreditsRead(12.5, NOW), "credits", "debug"),
    ],
)
def test_each_event_has_its_name_and_level(
    logged: Callable[..., list[dict[str, Any]]], event: Event, name: str, level: str
) -> None:
    (line,) = logged(event)
    assert (line["event"], line["level"]) == (name, level)
    assert not {"SECRET", "pass", "token"} & set(json.dumps(line).replace('"', " ").replace("=", " ").split())


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (CLOSED, "gate_closed"),
        (Found("a", BOUGHT, AnswerLost(Call.TIMEOUT, "no answer")), "answer_lost"),
        (Found("a", BOUGHT, NothingMade(Refusal.CREDITS, Call.NO_CREDITS, "code 402")), "order_failed"),
        (Found("a", BOUGHT, NothingMade(Refusal.STORE, Call.REJECTED, "disk full", sent=False)), "order_failed"),
        (Found("a", AskTask("t"), Trouble(Call.SERVER_ERROR, "busy")), "trouble"),
        (Found("a", ListStore(), Fault(Reason.STORAGE_FAILED, "disk full")), "trouble"),
        (Mistake("a", ValueError("secret")), "mistake"),
    ],
)
def test_what_concerns_everybody_is_said_once_with_what_to_do(
    logged: Callable[..., list[dict[str, Any]]], event: Event, name: str
) -> None:
    said = [line for line in logged(event, event) if line["level"] in ("warning", "error")]
    assert [line["event"] for line in said] == [name]
    assert said[0]["todo"].endswith(".")


@pytest.mark.parametrize(
    ("outcome", "name", "todo"),
    [(Commit.LOCKED, "locked", "transaction"), (Commit.LEASE_LOST, "lease_lost", "the clock jumps")],
)
def test_of_rows_that_somebody_else_has_each_is_told_and_what_to_do_is_a_warning_once(
    logged: Callable[..., list[dict[str, Any]]], outcome: Commit, name: str, todo: str
) -> None:
    lines = logged(*(Wrote(track, WRITTEN, outcome, None) for track in "ab"))
    assert [(line["event"], line["track"], line["level"]) for line in lines] == [
        (name, "a", "warning"),
        (name, "b", "info"),
    ]
    assert todo in lines[0]["todo"]


@pytest.mark.parametrize(
    ("finding", "name"),
    [
        (AnswerLost(Call.TIMEOUT, "no answer"), "answer_lost"),
        (NothingMade(Refusal.CREDITS, Call.NO_CREDITS, "code 402"), "order_failed"),
        (NothingMade(Refusal.STORE, Call.REJECTED, "disk full", sent=False), "order_failed"),
    ],
)
def test_of_each_order_it_is_told_what_came_of_it_and_what_to_do_is_a_warning_once(
    logged: Callable[..., list[dict[str, Any]]], finding: AnswerLost | NothingMade, name: str
) -> None:
    lines = logged(Ordered(BOUGHT), *(Found(track, BOUGHT, finding) for track in "ab"))
    assert (lines[0]["price"], "credits" in lines[0]) == (5, False), "nothing is spent yet"
    assert [(line["track"], line["level"]) for line in lines if line["event"] == name] == [
        ("a", "warning"),
        ("b", "info"),
    ]


def test_an_order_that_was_not_sent_because_the_run_ended_is_no_trouble(
    logged: Callable[..., list[dict[str, Any]]],
) -> None:
    unsent = NothingMade(Refusal.STOPPED, Call.REJECTED, "the run ended", sent=False)
    said = logged(Found("a", BOUGHT, unsent))
    assert [(line["event"], line["level"]) for line in said] == [("step", "debug"), ("order_refused", "info")]


def test_an_accepted_order_is_told_with_its_task(logged: Callable[..., list[dict[str, Any]]]) -> None:
    said = logged(Found("a", BOUGHT, Accepted("t1")))
    assert [(line["event"], line.get("task")) for line in said] == [("step", None), ("accepted", "t1")]


def test_text_has_one_line_a_message_whatever_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("INFO", "text")
    logger.bind(track="a b", state=None).info("written")
    logger.bind(track="a\nb").info("written")
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith('Z INFO    written track="a b"')
    assert second.endswith(r"Z INFO    written track=a\nb")


def test_libraries_are_heard_from_warning_up_and_tracebacks_show_no_values(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("DEBUG", "json")
    logging.getLogger("httpx").info("GET https://signed")
    logging.getLogger("other").warning("%s", "look")
    hidden = "value-of-a-variable"
    try:
        raise ValueError(str(len(hidden)))
    except ValueError:
        logger.exception("mistake")
    library, mistake = map(json.loads, capsys.readouterr().err.splitlines())
    assert (library["event"], library["detail"]) == ("library", "look")
    assert "ValueError: 19" in mistake["traceback"]
    assert hidden not in json.dumps(mistake)


# -- texts ---------------------------------------------------------------------------------------------------------


@given(st.text())
def test_nothing_unprintable_gets_through(text: str) -> None:
    assert plain(text).isprintable()
    assert plain(text).encode() or not text


@given(st.text())
def test_json_holds_the_text_and_no_control_character(text: str) -> None:
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", stream)
        output.show_json({"title": text})
    said = stream.getvalue()
    assert json.loads(said) == {"title": text}
    assert not {letter for letter in said if not letter.isprintable()} & set("\x1b\x7f\x9b\u202e\u2028")


def test_amounts_and_moments() -> None:
    assert [amount(each) for each in (0, 5, 6.5, 1234.25, 100)] == ["0", "5", "6.5", "1,234.25", "100"]
    assert moment(NOW) == "2026-11-01T12:00:00Z"


def test_an_outline_leaves_out_what_is_empty() -> None:
    values = {
        "a": 1,
        "none": None,
        "no": [],
        "nothing": {"x": None},
        "in": {"b": True},
        "many": [{"c": 0, "d": 1}, "e"],
    }
    assert list(outline.outline(values)) == ["a: 1", "in:", "  b: yes", "many:", "  - c: 0", "    d: 1", "  - e"]


# -- progress ------------------------------------------------------------------------------------------------------


def test_a_terminal_that_is_gone_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its result is still to be told, to a file maybe."""
    stop = Live.stop

    def gone(live: Live) -> None:
        stop(live)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Live, "stop", gone)
    with progress.progress(Console(file=io.StringIO(), force_terminal=True, width=200)):
        pass


def test_a_complaint_that_nobody_hears_is_made_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(sys, "stderr", Gone())
    assert complain(["locked"], 1) == 1


def test_the_line_counts_what_was_seen() -> None:
    with progress.progress(Console(file=io.StringIO(), force_terminal=True, width=200)) as listen:
        for event in (
            Moved("a", State.OK, None),
            Moved("b", State.AWAITING, Reason.IN_FLIGHT),
            Moved("c", State.MISSING, Reason.DUE),
            Moved("c", State.MISSING, Reason.BUDGET),
            Ordered(BOUGHT),
            Found("b", BOUGHT, Accepted("t")),
            Wrote("a", WRITTEN, Commit.COMMITTED, None),
        ):
            listen(event)
    said = listen.text.plain
    assert said == "3 looked at · 1 ok · 1 in flight · 1 ordered (5 credits) · 1 written · stuck: 1 budget"


def test_away_from_a_terminal_nothing_is_shown() -> None:
    stream = io.StringIO()
    with progress.progress(Console(file=stream)) as listen:
        listen(Moved("a", State.OK, None))
    assert stream.getvalue() == ""


# -- summary -------------------------------------------------------------------------------------------------------


def test_the_summary_says_what_closed_the_gate_and_what_to_do() -> None:
    result = Result(
        states={(State.MISSING, Reason.UNAUTHORIZED): 12, (State.FAILED, Reason.NO_PROMPT): 1, (State.OK, None): 2},
        purchases=3,
        repeats=1,
        unknown=1,
        conflicts=1,
        mistakes=2,
        closures={GateName.KEY: CLOSED.closure},
        stopped=True,
    )
    stream = io.StringIO()
    console = Console(file=stream, width=80)
    for part in summary.render(result):
        console.print(part)
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    said = " ".join(text.split())
    assert "Ordered: 3 (0 accepted, 1 repeats of a lost order, 1 with a lost answer), for 0 credits." in said
    assert "Purchases stopped until 2026-11-01T12:10:00Z (key): Kie refuses the key" in said
    assert "put a valid one into kie.api_key" in said
    assert "The run was ended with work left" in said
    assert [each["state"] for each in summary.document(result)["states"]] == ["ok", "missing", "failed"]


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (Result(writes=4), "Rows written: 4."),
        (Result(writes=4, conflicts=1), "Rows written: 4 (1 left that others changed or had locked)."),
        (Result(writes=4, failed_writes=2), "Rows written: 4 (2 failed)."),
        (Result(conflicts=1, failed_writes=2), "written: 0 (1 left that others changed or had locked, 2 failed)."),
    ],
)
def test_rows_that_others_hold_and_writes_that_failed_are_told_apart(result: Result, said: str) -> None:
    *_, did, _ = summary.render(result)
    assert str(did).endswith(said)


def test_each_count_of_a_run_has_its_own_word_for_programs() -> None:
    did = Result(
        purchases=7,
        repeats=2,
        unknown=3,
        credits_spent=35,
        writes=6,
        conflicts=4,
        failed_writes=5,
        mistakes=1,
        resolved=Counter({How.GENERATED: 8}),
    )
    told = summary.document(did)
    assert told == told | {
        "purchases": 7,
        "repeat_purchases": 2,
        "unknown_purchases": 3,
        "credits_spent": 35,
        "writes": 6,
        "conflicts": 4,
        "failed_writes": 5,
        "mistakes": 1,
        "resolved": {"generated": 8},
    }


# -- signals -------------------------------------------------------------------------------------------------------


def test_a_signal_before_the_sweep_began_stops_it_as_it_begins() -> None:
    calls: list[str] = []
    stop = Stopping()
    stop.handle(15, None)
    stop.on_stop(lambda: calls.append("stopped"))
    assert calls == ["stopped"]
