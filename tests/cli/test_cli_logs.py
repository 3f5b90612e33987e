"""Logs as an operator finds them: in the journal, in a file, counted; and what the daemon tells of its jobs."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TextIO

import pytest
from loguru import logger

from reconciler.console import eventlog, log, servicelog
from reconciler.console.eventlog import EventLog
from reconciler.console.servicelog import ServiceLog
from reconciler.database import DatabaseLocked
from reconciler.domain.actions import AskSong, AskTask, ListStore, Write
from reconciler.domain.attempts import attempt
from reconciler.domain.breaker import Breaker, Stage
from reconciler.domain.findings import Accepted, AnswerLost, Call, Listing, NothingMade, Refusal, Trouble
from reconciler.domain.gate import Closure, GateName
from reconciler.domain.model import Purchase
from reconciler.domain.policy import Policy
from reconciler.domain.states import How, Reason, State
from reconciler.engine.events import (
    BreakerMoved,
    CreditsRead,
    CreditsUntold,
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
from reconciler.ports import Commit, StoreError
from reconciler.service.counting import Trigger
from reconciler.service.events import (
    ClockJumped,
    Forgotten,
    Hung,
    JobFailed,
    JobRecovered,
    Late,
    PageFailed,
    ServiceEvent,
    Started,
    Stopped,
    Swept,
)
from reconciler.service.metrics import Metrics
from tests.cli.conftest import PROGRAM, clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

    from tests.cli.conftest import Install

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
UNTOLD = CreditsUntold(Trouble(Call.CONNECT_ERROR, "refused"))
BOUGHT = Purchase("token", "a", "model", "shape", "prompt", 5, NOW, NOW, NOW)
WRITTEN = Write("https://covers.example/a.jpg", "2048x1152", How.GENERATED)
LOCKED = DatabaseLocked("locked by another program", "app.db", "Wait.")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")


def raised(text: str = "its text") -> Exception:
    """An error with a place in the code, in several lines."""
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def stream_of(file: TextIO) -> str:
    """As systemd names what stderr is connected to."""
    found = os.fstat(file.fileno())
    return f"{found.st_dev}:{found.st_ino}"


Read = Callable[[], list[str]]
Lines = Callable[[], list[dict[str, Any]]]
Redirect = Callable[[str | None], Read]
OWN = "the stream itself"


@pytest.fixture
def redirect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redirect]:
    """Once called stderr is a file, whose lines can be read. Given what JOURNAL_STREAM is: OWN names that file."""
    opened: list[TextIO] = []

    def begin(named: str | None) -> Read:
        path = tmp_path / "stderr"
        opened.append(path.open("w"))
        monkeypatch.setattr(sys, "stderr", opened[-1])
        if named is None:
            monkeypatch.delenv("JOURNAL_STREAM", raising=False)
        else:
            monkeypatch.setenv("JOURNAL_STREAM", stream_of(opened[-1]) if named == OWN else named)
        return lambda: path.read_text().split("\n")[:-1]

    yield begin
    logger.remove()
    for file in opened:
        file.close()


# -- the journal -------------------------------------------------------------------------------------------------------


def test_in_the_journal_lines_begin_with_their_priority_and_have_no_time(redirect: Redirect) -> None:
    journal = redirect(OWN)
    log.set_up("DEBUG", "auto")
    for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        logger.bind(track="a b").log(level, "written")
    assert journal() == [
        '<7>DEBUG   written track="a b"',
        '<6>INFO    written track="a b"',
        '<4>WARNING written track="a b"',
        '<3>ERROR   written track="a b"',
        '<2>CRITICAL written track="a b"',
    ]


@pytest.mark.parametrize("form", ["auto", "text", "json"])
def test_every_line_of_a_traceback_has_the_priority(redirect: Redirect, form: log.Format) -> None:
    journal = redirect(OWN)
    log.set_up("DEBUG", form)
    logger.opt(exception=raised("two\nlines \x1b[31mred")).error("mistake")
    lines = journal()
    assert len(lines) > 3 or form == "json"
    assert {line[:3] for line in lines} == {"<3>"}
    assert not any(TIME.search(line) for line in lines)
    assert "\x1b" not in "".join(lines)
    assert any("Traceback (most recent call last)" in line for line in lines)


def test_json_in_the_journal_is_json_behind_the_priority(redirect: Redirect) -> None:
    journal = redirect(OWN)
    log.set_up("INFO", "json")
    logger.bind(track="a").warning("written")
    (line,) = journal()
    assert line.startswith("<4>")
    assert json.loads(line[3:]) == {"level": "warning", "event": "written", "track": "a"}


def test_outside_the_journal_nothing_changes(redirect: Redirect) -> None:
    stderr = redirect(None)
    log.set_up("INFO", "auto")
    logger.info("written")
    log.set_up("INFO", "text")
    logger.info("written")
    as_json, as_text = stderr()
    assert json.loads(as_json) == json.loads(as_json) | {"level": "info", "event": "written"}
    assert TIME.match(json.loads(as_json)["time"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO    written", as_text)


@pytest.mark.parametrize("named", ["1:2", "", "nonsense"])
def test_a_stderr_that_goes_elsewhere_is_not_the_journal(redirect: Redirect, named: str) -> None:
    """As it is for whatever a unit starts with its own redirection."""
    stderr = redirect(named)
    log.set_up("INFO", "auto")
    logger.info("written")
    assert json.loads(stderr()[0])["event"] == "written"


def test_a_stderr_without_a_file_is_not_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not log.in_journal()


@pytest.mark.slow
def test_the_program_in_the_journal(install: Install) -> None:
    """A run, and a configuration that is refused: `journalctl -p err` must find that."""
    install.add("good", image_url=install.kie.add_file("good.jpg", text="good"))
    path = install.folder / "journal"
    for command, code in (("run --once", 0), ("run --once --track nobody", 1)):
        with path.open("a") as file:
            done = subprocess.run(
                [*PROGRAM, "--config", str(install.config), *command.split()],
                cwd=install.folder,
                env=clean_environment() | {"JOURNAL_STREAM": stream_of(file)},
                stdout=subprocess.PIPE,
                stderr=file,
                timeout=60,
                check=False,
            )
        assert done.returncode == code
    first, *_, last = path.read_text().splitlines()
    assert re.fullmatch(r"<6>INFO    (recognised|written) track=good.*", first)
    assert last.startswith("<3>reconciler: there is no track 'nobody'")
    elsewhere = install.program("run", "--once", "--track", "nobody", JOURNAL_STREAM="1:2")
    assert elsewhere.stderr.startswith("reconciler: there is no track 'nobody'")


# -- counted -----------------------------------------------------------------------------------------------------------


def test_messages_are_counted_by_level_as_far_as_they_are_shown(redirect: Redirect) -> None:
    stderr = redirect(None)
    metrics = Metrics(Policy(), version="", sweep_interval=timedelta(minutes=1))
    log.set_up("INFO", "json", metrics.logged)
    for level in ("DEBUG", "INFO", "INFO", "WARNING", "ERROR", "CRITICAL"):
        logger.log(level, "written")
    counted = {
        level: metrics.registry.get_sample_value("reconciler_log_messages_total", {"level": level})
        for level in ("debug", "info", "warning", "error")
    }
    assert counted == {"debug": 0, "info": 2, "warning": 1, "error": 2}
    assert len(stderr()) == 5


# -- what is told of sweeps --------------------------------------------------------------------------------------------


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """What was logged since it was last asked."""
    log.set_up("DEBUG", "json")
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    logger.remove()


EVENTS: list[Event] = [
    *(Moved("a", State.MISSING, Reason.DUE), Recognised("a"), Overwritten("a"), Unwritten("a")),
    *(Wrote("a", WRITTEN, outcome, None) for outcome in (Commit.COMMITTED, Commit.CONFLICT, Commit.LOCKED)),
    *(Wrote("a", WRITTEN, outcome, None) for outcome in (Commit.REFUSED, Commit.LEASE_LOST, Commit.EXPIRED)),
    *(Found("a", ListStore(), Listing(())), Ordered(BOUGHT), Found("a", BOUGHT, Accepted("t"))),
    *(Found("a", BOUGHT, AnswerLost(Call.TIMEOUT, "")), Found("a", AskTask("t"), Trouble(Call.TIMEOUT, ""))),
    *(Found("a", BOUGHT, NothingMade(why, Call.REJECTED, "x")) for why in (Refusal.CONTENT, Refusal.OUTAGE)),
    *(BreakerMoved(Breaker(Stage.OPEN, retry_at=NOW)), BreakerMoved(Breaker())),
    *(GateClosed(Closure(GateName.KEY, NOW)), CreditsRead(1, NOW), UNTOLD, Mistake("a", raised())),
]


def swept(trigger: Trigger | None = Trigger.SCHEDULE, **did: Any) -> Swept:
    return Swept("0123abcd", trigger, Result(**did), timedelta(seconds=1.234))


SERVICE: list[ServiceEvent] = [
    *(
        Started("http://127.0.0.1:9464"),
        swept(),
        swept(None),
        JobFailed("sweep", LOCKED, mistake=False),
        JobRecovered("sweep"),
    ),
    *(Late("sweep", overlap=False), Late("sweep", overlap=True), ClockJumped(timedelta(hours=-1)), Hung(("x",))),
    *(Forgotten(1, 2), PageFailed("/", raised()), Stopped(in_order=True)),
]


@pytest.mark.parametrize(("module", "events"), [(eventlog, EVENTS), (servicelog, SERVICE)])
def test_every_event_is_listed_where_it_is_told(lines: Lines, module: ModuleType, events: list[Any]) -> None:
    tell: Callable[[Any], None] = EventLog() if module is eventlog else ServiceLog()
    for event in events:
        tell(event)
    listed = re.search(r"Names of events: ([a-z_,\s]+)\.", module.__doc__ or "")
    assert listed is not None
    assert sorted(re.split(r",\s+", listed[1])) == sorted({line["event"] for line in lines()})


def test_every_line_of_a_sweep_bears_its_id_and_its_track(lines: Lines) -> None:
    listen = EventLog("0123abcd")
    for event in EVENTS:
        listen(event)
    told = lines()
    assert {line["sweep"] for line in told} == {"0123abcd"}
    of_none = {line["event"] for line in told if line.get("track") != "a"}
    assert of_none == {"gate_closed", "breaker", "credits", "credits_untold", "mistake"}, (
        "what concerns all, and a traceback"
    )
    logger.info("later")
    assert "sweep" not in lines()[0]


def test_an_order_is_told_with_what_it_costs(lines: Lines) -> None:
    EventLog()(Ordered(BOUGHT))
    (told,) = lines()
    assert told == told | {"event": "purchase", "track": "a", "model": "model", "price": 5}


def test_each_count_of_a_sweep_has_its_own_word(lines: Lines) -> None:
    did: dict[str, Any] = {"purchases": 1, "writes": 2, "mistakes": 3, "resolved": Counter({How.GENERATED: 4})}
    ServiceLog()(swept(**did, states={(State.OK, None): 5}))
    (told,) = lines()
    assert told == told | {"looked_at": 5, "resolved": 4, "purchases": 1, "written": 2, "mistakes": 3}


def test_a_step_is_told_in_the_words_of_the_history(lines: Lines) -> None:
    found = Found("a", BOUGHT, NothingMade(Refusal.OUTAGE, Call.SERVER_ERROR, "x"))
    EventLog()(found)
    step, tried = lines()[0], attempt(found.job, found.finding)
    assert (step["step"], step["answer"], step["detail"]) == (tried.step, tried.came, tried.detail)
    assert (tried.step, tried.came) == ("buy", "nothing_made")


def test_credits_that_kie_does_not_tell_are_warned_of_once_an_hour_for_each_way_it_fails(lines: Lines) -> None:
    listen = EventLog(kie="https://kie.example/")
    for call in (Call.CONNECT_ERROR, Call.CONNECT_ERROR, Call.MALFORMED, Call.CONNECT_ERROR):
        listen(CreditsUntold(Trouble(call, "why")))
    told = lines()
    assert [(line["level"], line["cause"]) for line in told] == [
        ("warning", "connect_error"),
        ("debug", "connect_error"),
        ("warning", "malformed"),
        ("debug", "connect_error"),
    ]
    assert {(line["host"], line["detail"]) for line in told} == {("kie.example", "why")}
    assert "kie.base_url" in told[0]["todo"]
    assert "reconciler check" in told[0]["todo"]


@pytest.mark.parametrize(
    ("job", "refusal", "key"),
    [(AskTask("t"), Refusal.KEY, "kie.api_key"), (AskSong("s"), Refusal.OUTAGE, "kie.suno_api_key")],
)
def test_where_kie_refuses_a_key_that_is_what_there_is_to_do(
    lines: Lines, job: AskTask | AskSong, refusal: Refusal, key: str
) -> None:
    EventLog()(Found("a", job, Trouble(Call.UNAUTHORIZED, "code 401", refusal)))
    trouble = lines()[-1]
    assert (trouble["event"], trouble["cause"]) == ("trouble", "unauthorized")
    assert f" into {key}" in trouble["todo"]


def test_a_run_once_has_no_id(lines: Lines) -> None:
    EventLog()(Recognised("a"))
    assert "sweep" not in lines()[0]


@pytest.mark.parametrize("trigger", [Trigger.STARTUP, Trigger.SCHEDULE, None])
def test_a_sweep_that_did_something_is_told_and_an_idle_one_only_to_who_debugs(
    lines: Lines, trigger: Trigger | None
) -> None:
    tell = ServiceLog()
    tell(swept(trigger, states={(State.OK, None): 2}))
    tell(swept(trigger, states={(State.OK, None): 2}, purchases=1, writes=1))
    idle, busy = lines()
    assert (idle["level"], busy["level"]) == ("debug", "info")
    assert busy["event"] == ("audit" if trigger is None else "sweep")
    assert busy == busy | {"sweep": "0123abcd", "seconds": 1.23, "looked_at": 2, "purchases": 1, "written": 1}
    assert busy.get("trigger") == trigger
    assert "mistakes" not in busy


# -- what is told of the daemon ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "level", "fields"),
    [
        (Started("http://127.0.0.1:9464"), "info", {"event": "started", "pages": "http://127.0.0.1:9464"}),
        (Late("audit", overlap=False), "warning", {"event": "job_late", "job": "audit"}),
        (Late("audit", overlap=True), "warning", {"event": "job_overlap", "job": "audit"}),
        (ClockJumped(timedelta(hours=-1)), "warning", {"event": "clock_jumped", "seconds": -3600}),
        (Hung(("job sweep",)), "error", {"event": "hung", "what": "job sweep"}),
        (Forgotten(3, 40), "info", {"event": "pruned", "tracks": 3, "attempts": 40}),
        (Forgotten(0, 40), "debug", {"event": "pruned", "tracks": 0, "attempts": 40}),
        (PageFailed("/\x1b", raised("secret")), "warning", {"event": "page_failed", "path": r"/\x1b"}),
        (Stopped(in_order=True), "info", {"event": "stopped"}),
        (Stopped(in_order=False), "warning", {"event": "stopped"}),
    ],
)
def test_each_event_has_its_name_level_and_fields(
    lines: Lines, event: ServiceEvent, level: str, fields: dict[str, Any]
) -> None:
    ServiceLog()(event)
    (line,) = lines()
    assert line == line | {"level": level, **fields}
    assert "secret" not in json.dumps(line)
    assert level == "debug" or line.get("todo", ".").endswith(".")


def test_a_job_that_goes_on_failing_is_said_once_an_hour(lines: Lines) -> None:
    """Else an alert that looks two hours back ends while the job still fails."""
    now = 0.0
    tell = ServiceLog(lambda: now)
    for now in (0.0, 3599.0, 3600.0, 3601.0, 7199.0, 7200.0):
        tell(JobFailed("sweep", LOCKED, mistake=False))
        assert len(lines()) == (now % 3600 == 0), now
    full = DatabaseLocked("the disk is full", "app.db", "Make room.")
    for error in (full, LOCKED):
        tell(JobFailed("sweep", error, mistake=False))
    assert len(lines()) == 2, "another cause is said at once"


def test_a_job_that_fails_is_said_once_until_its_cause_changes(lines: Lines) -> None:
    tell = ServiceLog()
    full = DatabaseLocked("the disk is full", "app.db", "Make room.")
    for error in (LOCKED, LOCKED, full, full, LOCKED):
        tell(JobFailed("sweep", error, mistake=False))
    told = lines()
    assert [(line["level"], line["event"], line["job"], line["detail"]) for line in told] == [
        ("error", "job_failed", "sweep", "app.db: locked by another program. Wait."),
        ("error", "job_failed", "sweep", "app.db: the disk is full. Make room."),
        ("error", "job_failed", "sweep", "app.db: locked by another program. Wait."),
    ]
    tell(JobFailed("audit", LOCKED, mistake=False))
    assert [line["job"] for line in lines()] == ["audit"], "each job has its own"


def test_a_job_that_goes_well_again_is_said_to_and_its_next_failure_too(lines: Lines) -> None:
    tell, job = ServiceLog(), "prune"
    for event in (JobFailed(job, LOCKED, mistake=False), JobRecovered(job)):
        tell(event)
    tell(JobFailed(job, LOCKED, mistake=False))
    told = [(line["level"], line["event"], line["job"]) for line in lines() if "job" in line]
    assert told == [("error", "job_failed", job), ("info", "job_recovered", job), ("error", "job_failed", job)]


def test_pages_that_fail_are_said_once_an_hour_and_what_the_store_says_with_them(lines: Lines) -> None:
    now = 0.0
    tell = ServiceLog(lambda: now)
    for path in ("/images/a", "/images/b"):
        tell(PageFailed(path, StoreError("read a picture: images: Permission denied")))
        tell(PageFailed(path, raised("secret")))
    store, mistake = lines()
    assert (store["path"], store["detail"]) == ("/images/a", "read a picture: images: Permission denied")
    assert "detail" not in mistake
    now = 3600.0
    tell(PageFailed("/images/c", raised("secret")))
    assert [line["path"] for line in lines()] == ["/images/c"]


def test_a_mistake_is_told_by_its_place_and_its_text_only_to_who_debugs(
    lines: Lines,
) -> None:
    tell = ServiceLog()
    for _ in range(2):
        tell(JobFailed("snapshot", raised("secret of line 1"), mistake=True))
    said, traced = lines()
    assert said == said | {"level": "error", "event": "job_failed", "job": "snapshot", "todo": "Please report it."}
    assert re.fullmatch(r"ValueError at .*test_cli_logs\.py:\d+", said["detail"])
    assert (traced["level"], "Traceback" in traced["traceback"]) == ("debug", True)
