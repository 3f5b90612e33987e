"""`run --once` from outside: exit codes, what it prints, what it leaves."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import TYPE_CHECKING

import pytest

from reconciler.console import forecast
from reconciler.console.stopping import Stopping
from reconciler.database.codec import dump_breaker
from reconciler.database.datetimes import own
from reconciler.domain.breaker import FAULTS_TO_OPEN, Breaker, Stage
from reconciler.engine.preview import describe
from reconciler.kie.simulated import MAINTENANCE, UNAUTHORIZED, Break, Fault, Stall, Succeed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from reconciler.domain.actions import Action
    from tests.cli.conftest import Install

PAID = "5b1f00000000000000000000000000aa"
AT_ONCE = Succeed(run=timedelta(0), width=2048, height=1152)


@pytest.fixture
def adoptable(install: Install) -> Install:
    """One track whose picture was bought by somebody else and noted as its URL, one with a good picture."""
    install.kie.add_task(PAID, prompt="a lighthouse called paid in morning mist", behaviour=AT_ONCE)
    install.add("paid", image_url=PAID)
    install.add("good", image_url=install.kie.add_file("good.jpg", text="good"), resolution="2048x1152")
    return install


def test_a_run_that_leaves_nothing_to_do_exits_with_0_and_its_result_is_json(adoptable: Install) -> None:
    result = adoptable.call("run", "--once", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "states": [{"state": "ok", "reason": None, "tracks": 2}],
        "resolved": {"adopted": 1, "already_good": 1},
        "purchases": 0,
        "repeat_purchases": 0,
        "unknown_purchases": 0,
        "credits_spent": 0.0,
        "writes": 1,
        "conflicts": 0,
        "failed_writes": 0,
        "mistakes": 0,
        "gate_closed": [],
        "stopped": False,
        "at_rest": True,
        "next": "Nothing: every track looked at is good or within grace.",
    }
    assert adoptable.kie.book.creations == ()


def test_the_summary_fits_80_columns_and_logs_go_to_stderr(adoptable: Install) -> None:
    result = adoptable.call("run", "--once")
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "Resolved: 1 adopted, 1 already good." in result.stdout
    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert sorted(event["event"] for event in events) == ["recognised", "written"]


def test_a_second_run_buys_nothing_and_changes_nothing(adoptable: Install) -> None:
    adoptable.call("run", "--once")
    rows, pictures = adoptable.rows(), adoptable.pictures()
    assert len(pictures) == 1
    assert adoptable.call("run", "--once").exit_code == 0
    assert (adoptable.rows(), adoptable.pictures()) == (rows, pictures)
    assert adoptable.kie.book.creations == ()


@pytest.mark.slow
def test_a_stuck_track_is_bought_for_once_and_only_its_picture_is_written(install: Install) -> None:
    install.add("stuck")
    before = install.rows()[0]
    done = install.program("run", "--once", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["purchases"], result["credits_spent"], result["resolved"]) == (1, 5.0, {"generated": 1})
    assert len(install.kie.book.purchases) == 1
    after = install.rows()[0]
    assert {name for name in before if before[name] != after[name]} == {"image_url", "resolution", "updated_at"}
    assert after["resolution"] == "2048x1152"
    assert install.program("run", "--once").returncode == 0
    assert install.rows()[0] == after
    assert len(install.kie.book.creations) == 1


@pytest.mark.parametrize("with_own_tables", [False, True])
def test_a_dry_run_leaves_every_byte_and_asks_only(install: Install, with_own_tables: bool) -> None:
    install.add("stuck")
    if with_own_tables:
        install.call("schema", "--apply")
    before = hashlib.sha256(install.database.read_bytes()).hexdigest()
    result = install.call("run", "--once", "--dry-run", "--json")
    assert result.exit_code == 3, result.output
    assert json.loads(result.stdout) == {
        "tracks": [
            {
                "track": "stuck",
                "state": "missing",
                "reason": "due",
                "next": "buy from bytedance/seedream-v4-text-to-image for 5 credits",
                "credits": 5,
                "work": True,
            }
        ],
        "purchases": 1,
        "credits": 5,
        "held_back": {"purchases": 0, "credits": 0},
        "not_due": 0,
        "waiting": [],
        "memory": "known" if with_own_tables else "empty",
    }
    assert hashlib.sha256(install.database.read_bytes()).hexdigest() == before
    assert [path.name for path in install.folder.iterdir() if path.name.startswith("app.db")] == ["app.db"]
    assert not install.store.exists()
    assert {visit.method for visit in install.kie.book.visits} == {"GET"}


def test_a_dry_run_for_people_names_the_price_and_an_empty_memory(install: Install) -> None:
    install.add("stuck")
    result = install.call("run", "--once", "--dry-run")
    said = " ".join(result.stdout.split())
    assert "1 looked at, 1 of them work. Would buy 1 at once, for 5 credits at most; nothing was changed." in said
    assert "Our own tables are not there yet" in said
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_ids_in_a_dry_run_are_whole_and_it_fits_80_columns(install: Install) -> None:
    track_id = "0b7e4a52-57c6-4b8e-9d6f-0123456789ab"
    install.add(track_id)
    lines = install.call("run", "--once", "--dry-run").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.split()[:1] == [track_id] for line in lines) == 1


@pytest.mark.parametrize("length", [41, 60])
def test_ids_in_a_dry_run_that_leave_no_room_beside_them_are_folded(install: Install, length: int) -> None:
    track_id = "".join(chr(ord("A") + place % 26) for place in range(length))
    install.add(track_id)
    lines = install.call("run", "--once", "--dry-run").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert track_id in "".join(re.findall(r"^ ([A-Z]+) ", "\n".join(lines), re.MULTILINE))
    assert "missing due" in " ".join(lines)


def test_an_offline_dry_run_asks_nobody(install: Install) -> None:
    install.add("stuck")
    assert install.call("run", "--once", "--dry-run", "--offline").exit_code == 3
    assert install.kie.book.visits == ()


def test_a_dry_run_counts_no_more_purchases_than_the_run_may_make(install: Install) -> None:
    for track_id in ("a", "b", "c"):
        install.add(track_id)
    bounded = ("run", "--once", "--dry-run", "--max-purchases", "1")
    said = " ".join(install.call(*bounded).stdout.split())
    assert "3 looked at, 3 of them work. Would buy 1 at once, for 5 credits at most" in said
    assert "2 more are left to a later run, for 10 credits at most: --max-purchases allows 1." in said
    told = json.loads(install.call(*bounded, "--json").stdout)
    assert (told["purchases"], told["credits"]) == (1, 5)
    assert told["held_back"] == {"purchases": 2, "credits": 10}


@pytest.mark.parametrize(
    ("key", "value", "reason"), [("per_hour", "2", "budget"), ("min_credits", "991", "out_of_credits")]
)
def test_a_dry_run_counts_no_more_purchases_than_budgets_and_credits_leave(
    install: Install, key: str, value: str, reason: str
) -> None:
    install.configure(**{f"budget__{key}": value})
    for number in range(5):
        install.add(f"t{number}")
    told = json.loads(install.call("run", "--once", "--dry-run", "--json").stdout)
    assert (told["purchases"], told["credits"]) == (2, 10)
    assert told["held_back"] == {"purchases": 3, "credits": 15}
    assert [track["reason"] for track in told["tracks"]] == ["due"] * 2 + [reason] * 3


def test_a_dry_run_does_not_hold_back_what_only_waits_for_others_of_the_same_run(install: Install) -> None:
    install.configure(kie__purchase_limit="1", kie__max_concurrent_tasks="1")
    for number in range(5):
        install.add(f"t{number}")
    assert json.loads(install.call("run", "--once", "--dry-run", "--json").stdout)["purchases"] == 5


def test_a_dry_run_after_an_outage_tells_of_the_one_order_that_tries_kie_and_of_those_behind_it(
    install: Install,
) -> None:
    install.call("schema", "--apply")
    now = datetime.now(UTC)
    opened = Breaker(Stage.OPEN, faults=5, trips=1, waits_since=now - timedelta(minutes=9), retry_at=now)
    install.sql("UPDATE reconciler_gate SET breaker = ?", dump_breaker(opened))
    install.sql("UPDATE reconciler_gate SET balance = 1000, balance_at = ?", own(now))
    for number in range(3):
        install.add(f"t{number}")
    told = json.loads(install.call("run", "--once", "--dry-run", "--json").stdout)
    assert (told["purchases"], told["held_back"]["purchases"]) == (1, 2)
    assert [track["reason"] for track in told["tracks"]] == ["due", "gate_closed", "gate_closed"]


def test_a_dry_run_after_the_key_was_set_right_tells_of_the_orders_that_a_run_would_make(install: Install) -> None:
    install.configure(kie__api_key='"another"')
    install.add("a")
    install.call("run", "--once")
    dry = ("run", "--once", "--dry-run", "--json")
    assert json.loads(install.call(*dry).stdout)["purchases"] == 0
    install.configure()
    assert json.loads(install.call(*dry).stdout)["purchases"] == 1


def test_a_dry_run_takes_nothing_off_fresh_credits_for_orders_from_before(make_install: Callable[..., Install]) -> None:
    """57 were told, 5 were spent since: the 52 that are left are as many as one more picture may be bought with."""
    install = make_install(credits=57)
    install.add("bought")
    assert install.call("run", "--once").exit_code == 0
    install.sql("UPDATE reconciler_gate SET balance_at = ?", own(datetime.now(UTC) - timedelta(days=1)))
    install.add("a")
    assert json.loads(install.call("run", "--once", "--dry-run", "--json").stdout)["purchases"] == 1


@pytest.mark.parametrize("marked", [True, False])
def test_a_dry_run_without_our_tables_looks_into_a_store_that_a_run_would_adopt(install: Install, marked: bool) -> None:
    """`marked`: its hidden file came back with the pictures."""
    install.add("a")
    install.add("new", status="generating")
    assert install.call("run", "--once").exit_code == 0
    if not marked:
        (install.store / ".reconciler-store").unlink()
    install.sql("UPDATE tracks SET image_url = NULL, resolution = NULL, updated_at = created_at")
    for table in install.sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'reconciler%'"):
        install.sql(f"DROP TABLE {table['name']}")
    install.sql("UPDATE tracks SET status = 'completed'")
    told = json.loads(install.call("run", "--once", "--dry-run", "--json").stdout)
    assert (told["memory"], told["purchases"]) == ("empty", 1)
    assert {track["track"]: track["next"].split(" for ")[0] for track in told["tracks"]} == {
        "a": "fetch and store the picture from our store",
        "new": "buy from bytedance/seedream-v4-text-to-image",
    }
    assert marked is (install.store / ".reconciler-store").exists()


def test_a_dry_run_that_is_stopped_tells_what_it_found_until_then(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, handle = Event(), Stopping.handle

    def handled(stop: Stopping, number: int, frame: FrameType | None) -> None:
        handle(stop, number, frame)
        heard.set()

    def described(action: Action) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard.wait(20)
        return describe(action)

    monkeypatch.setattr(Stopping, "handle", handled)
    monkeypatch.setattr(forecast, "describe", described)
    for track_id in ("a", "b", "c"):
        install.add(track_id)
    result = install.call("run", "--once", "--dry-run", "--offline", "--json")
    assert result.exit_code == 3
    assert [each["track"] for each in json.loads(result.stdout)["tracks"]] == ["a"]
    assert "stopped: whatever was not looked at until then is missing here" in result.stderr


def test_a_dry_run_ends_when_its_time_is_over(install: Install) -> None:
    install.add("a")
    result = install.call("run", "--once", "--dry-run", "--timeout", "1ms")
    assert result.exit_code == 3
    assert "0 looked at" in result.stdout
    assert "--timeout is over: whatever was not looked at until then is missing here" in result.stderr


def test_a_dry_run_whose_time_is_over_asks_no_more_of_a_kie_that_is_silent(install: Install) -> None:
    install.configure(kie__request_timeout='"200ms"')
    install.kie.script.when(Break(Fault.HANG))
    install.add("a", extended_prompt=" ".join(f"image_task_id: {digit * 32}" for digit in "abcdef"))
    result = install.call("run", "--once", "--dry-run", "--timeout", "100ms")
    assert result.exit_code == 3
    assert "0 looked at" in result.stdout
    assert "--timeout is over: whatever was not looked at until then is missing here" in result.stderr
    assert [visit.operation for visit in install.kie.book.visits] == ["credit"]


def test_a_dry_run_that_finds_nothing_exits_with_0(install: Install) -> None:
    result = install.call("run", "--once", "--dry-run", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["tracks"] == []


@pytest.fixture
def seen_by_the_audit_only(install: Install) -> Install:
    """`a`, whose picture nobody has measured, and whose song is old; beside it `due`, which has none."""
    long_ago = (datetime.now(UTC) - timedelta(days=99)).isoformat()
    install.add("a", image_url=install.kie.add_file("a.jpg", text="a"), created_at=long_ago, updated_at=long_ago)
    install.add("due")
    return install


@pytest.mark.parametrize(
    ("options", "looked_at"), [((), ["due", "a"]), (("--due-only",), ["due"]), (("--limit", "1"), ["due"])]
)
def test_a_dry_run_looks_at_what_a_run_would_come_to_in_its_order(
    seen_by_the_audit_only: Install, options: tuple[str, ...], looked_at: list[str]
) -> None:
    told = seen_by_the_audit_only.call("run", "--once", "--dry-run", "--offline", "--json", *options)
    assert [each["track"] for each in json.loads(told.stdout)["tracks"]] == looked_at


@pytest.mark.parametrize("options", ["", "--offline", "--offline --due-only", "--offline --track good"])
def test_a_dry_run_after_a_changed_configuration_looks_at_all_that_a_run_would(install: Install, options: str) -> None:
    install.add("good", image_url=install.kie.add_file("good.jpg", text="good"), resolution="2048x1152")
    dry = ("run", "--once", "--dry-run", "--json", *options.split())
    assert install.call("run", "--once").exit_code == 0
    if "--track" not in options:
        assert json.loads(install.call(*dry).stdout)["tracks"] == []
    install.configure(target__width="2064", target__height="1161")
    result = install.call(*dry)
    (told,) = json.loads(result.stdout)["tracks"]
    assert (result.exit_code, told["track"], told["state"]) == (3, "good", "below_target")
    assert told["credits"] == (0 if "--offline" in options else 5), "what may be in the store is not known offline"
    assert json.loads(install.call(*dry).stdout)["tracks"] == [told], "and changes nothing of that"


def test_tracks_named_are_the_only_ones_worked(adoptable: Install) -> None:
    result = adoptable.call("run", "--once", "--track", "good", "--json")
    assert json.loads(result.stdout)["states"] == [{"state": "ok", "reason": None, "tracks": 1}]
    assert adoptable.rows()[1]["image_url"] == PAID


def test_work_that_remains_when_the_time_is_over_exits_with_3(install: Install) -> None:
    install.kie.add_task(PAID, prompt="for ever", behaviour=Stall())
    install.add("waits", image_url=PAID)
    result = install.call("run", "--once", "--timeout", "500ms", "--json")
    assert result.exit_code == 3
    said = json.loads(result.stdout)
    assert said["states"] == [{"state": "awaiting", "reason": "in_flight", "tracks": 1}]
    assert "goes on by itself" in said["next"]


def test_no_purchases_allowed_means_none_are_made(install: Install) -> None:
    install.add("stuck")
    result = install.call("run", "--once", "--max-purchases", "0", "--timeout", "2s", "--json")
    assert result.exit_code == 3
    said = json.loads(result.stdout)
    assert [(each["state"], each["tracks"]) for each in said["states"]] == [("missing", 1)]
    assert said["next"] == "--max-purchases allows no more; run it again with 1 or more to buy more."
    assert install.kie.book.creations == ()


@pytest.mark.timeout(20)
def test_a_limit_is_kept_and_the_rest_left_for_the_next_run(install: Install) -> None:
    for number in range(3):
        install.add(f"good-{number}", image_url=install.kie.add_file(f"{number}.jpg", text=str(number)))
    result = install.call("run", "--once", "--limit", "1", "--json")
    assert json.loads(result.stdout)["states"] == [{"state": "ok", "reason": None, "tracks": 1}]
    assert json.loads(install.call("run", "--once", "--json").stdout)["states"][0]["tracks"] == 3


@pytest.fixture
def held_back(install: Install) -> Install:
    """Four tracks, of which the audit and the due find none any more: nothing may be bought for them."""
    install.configure(budget__per_day="0")
    for number in range(4):
        install.add(f"stuck-{number}")
    assert install.call("run", "--once").exit_code == 3
    return install


@pytest.mark.parametrize("options", ["--due-only", "--limit 9", "--due-only --limit 4", "--due-only --track stuck-1"])
def test_a_narrowed_run_to_which_nothing_is_due_tells_who_waits(held_back: Install, options: str) -> None:
    result = held_back.call("run", "--once", "--json", *options.split())
    assert result.exit_code == 3, result.output
    said = json.loads(result.stdout)
    tracks = 1 if "--track" in options else 4
    assert said["states"] == [{"state": "missing", "reason": "budget", "tracks": tracks}]
    assert said["next"].startswith(f"{tracks} missing (budget): ")


def test_where_no_track_is_in_scope_nothing_is_claimed_of_any(install: Install) -> None:
    install.add("a", status="failed")
    for options in ((), ("--due-only",), ("--limit", "1"), ("--track", "a")):
        result = install.call("run", "--once", "--json", *options)
        assert (result.exit_code, json.loads(result.stdout)["next"]) == (0, "No track in scope was looked at.")


@pytest.fixture
def backing_off(install: Install) -> Install:
    """One track whose music task cannot be asked for long, and one good track."""
    install.configure(schedule__retry_min='"1h"', schedule__retry_max='"2h"')
    install.kie.script.when(MAINTENANCE, operation="suno_record")
    install.add("a", task_id=PAID)
    install.add("good", image_url=install.kie.add_file("good.jpg", text="good"), resolution="2048x1152")
    assert install.call("run", "--once", "--timeout", "2s").exit_code == 3
    return install


@pytest.mark.parametrize("offline", [(), ("--offline",)], ids=" ".join)
def test_a_dry_run_looks_at_tracks_named_though_they_are_not_due(backing_off: Install, offline: Sequence[str]) -> None:
    told = backing_off.call("run", "--once", "--dry-run", "--json", "--track", "a", *offline)
    assert told.exit_code == 3, told.output
    (line,) = json.loads(told.stdout)["tracks"]
    assert (line["state"], line["reason"], line["work"]) == ("backing_off", "provider_failed", True)
    assert line["next"].startswith("wait until ")
    both = backing_off.call("run", "--once", "--dry-run", "--track", "a", "--track", "good", *offline)
    assert "2 looked at, 1 of them work." in both.stdout
    bounded = backing_off.call("run", "--once", "--dry-run", "--track", "a", "--track", "good", "--limit", "1")
    assert "1 looked at, " in bounded.stdout


@pytest.mark.parametrize("options", ["", "--due-only", "--limit 9", "--offline"])
def test_a_dry_run_to_which_nothing_is_due_tells_who_is_not_at_rest(backing_off: Install, options: str) -> None:
    dry = ("run", "--once", "--dry-run", *options.split())
    assert backing_off.call("run", "--once", "--timeout", "2s", "--due-only").exit_code == 3
    result = backing_off.call(*dry, "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["tracks"], told["not_due"]) == (3, [], 1), result.output
    (waits,) = told["waiting"]
    assert (waits["track"], waits["state"], waits["reason"]) == ("a", "backing_off", "provider_failed")
    assert waits["next"].startswith("wait until ")
    visits = backing_off.kie.book.visits
    lines = backing_off.call(*dry).stdout.splitlines()
    assert any(line.startswith("1 not looked at, since not due") for line in lines)
    (named,) = (line.split() for line in lines if line.split()[:1] == ["a"])
    assert named[1:5] == ["backing_off", "provider_failed", "wait", "until"]
    assert backing_off.kie.book.visits == visits, "memory is enough"


def test_a_dry_run_names_for_people_as_many_that_wait_as_a_table_takes(
    held_back: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_back.sql("UPDATE reconciler_memory SET held = NULL, wants = NULL, state = 'failed', reason = 'no_prompt'")
    monkeypatch.setattr(forecast, "TOGETHER", 3)
    dry = ("run", "--once", "--dry-run", "--offline", "--due-only")
    said = held_back.call(*dry).stdout
    assert "4 not looked at, since not due" in said
    assert [f"stuck-{number}" in said for number in range(4)] == [True, True, True, False]
    assert "And 1 more, which --json names." in said
    told = json.loads(held_back.call(*dry, "--json").stdout)
    assert [each["track"] for each in told["waiting"]] == [f"stuck-{number}" for number in range(4)]


def test_a_dry_run_leaves_out_whose_memory_cannot_be_read_and_counts_it(backing_off: Install) -> None:
    backing_off.sql("UPDATE reconciler_memory SET doc = 'no document' WHERE track_id = 'a'")
    told = json.loads(backing_off.call("run", "--once", "--dry-run", "--json").stdout)
    assert (told["not_due"], told["waiting"]) == (1, [])


def test_a_dry_run_says_of_which_due_track_the_memory_cannot_be_read(make_install: Callable[..., Install]) -> None:
    install = make_install(credits=0)
    install.add("a")
    install.add("b")
    install.call("run", "--once", "--timeout", "5s")
    install.sql("UPDATE reconciler_memory SET doc = 'no document', due_at = tried_at WHERE track_id = 'a'")
    dry = install.call("run", "--once", "--dry-run", "--offline", "--json")
    told = json.loads(dry.stdout)
    assert ([each["track"] for each in told["tracks"]], told["not_due"]) == (["b"], 1)
    left_out = "track a is left out, as by a run: what is remembered of it cannot be read (ValidationError)"
    assert dry.stderr.splitlines() == [f"reconciler: {left_out}"]


@pytest.fixture
def unread(backing_off: Install) -> Install:
    backing_off.sql("UPDATE reconciler_memory SET doc = 'no document', due_at = tried_at WHERE track_id = 'a'")
    return backing_off


def test_a_run_leaves_a_named_track_alone_whose_memory_cannot_be_read_and_does_the_others(unread: Install) -> None:
    unread.add("b", image_url=unread.kie.add_file("b.jpg", text="b"), resolution="2048x1152")
    run = unread.call("run", "--once", "--json", "--track", "a", "--track", "b")
    told = json.loads(run.stdout)
    states = {each["state"]: each["tracks"] for each in told["states"]}
    assert (run.exit_code, told["mistakes"], states) == (3, 1, {"backing_off": 1, "ok": 1}), run.output


@pytest.mark.parametrize("command", [["explain", "a"], ["retry", "a"]])
def test_a_command_says_whose_memory_cannot_be_read(unread: Install, command: list[str]) -> None:
    result = unread.call(*command)
    why = "what is remembered of track a in reconciler_memory cannot be read (ValidationError)"
    said = f"reconciler: {why}; run the version that wrote it, which may be a newer one\n"
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", said)


@pytest.mark.parametrize("options", ["--track good", "--limit 1"])
def test_a_narrowed_dry_run_speaks_of_no_others(backing_off: Install, options: str) -> None:
    backing_off.sql("UPDATE reconciler_memory SET due_at = '2026-01-01T00:00:00.000000+00:00' WHERE track_id = 'good'")
    result = backing_off.call("run", "--once", "--dry-run", "--json", *options.split())
    told = json.loads(result.stdout)
    assert (result.exit_code, len(told["tracks"]), told["not_due"]) == (0, 1, 0), result.output
    assert told["waiting"] == []


def test_a_track_that_a_dry_run_finds_good_is_at_rest(install: Install) -> None:
    install.add("good", image_url=install.kie.add_file("good.jpg", text="good"), resolution="2048x1152")
    assert install.call("run", "--once").exit_code == 0
    install.sql("UPDATE reconciler_memory SET state = 'missing', due_at = tried_at")
    result = install.call("run", "--once", "--dry-run", "--json")
    assert (result.exit_code, json.loads(result.stdout)["not_due"]) == (0, 0), result.output


def test_without_credits_nothing_is_bought_and_the_summary_says_what_to_do(
    make_install: Callable[..., Install],
) -> None:
    install = make_install(credits=10)
    install.add("stuck")
    result = install.call("run", "--once", "--timeout", "2s")
    assert result.exit_code == 3
    assert "out_of_credits" in result.stdout
    assert "Top up the account at Kie" in " ".join(result.stdout.split())
    assert install.kie.book.creations == ()


def test_a_refused_key_is_told_once_and_buys_nothing(install: Install) -> None:
    install.configure(kie__api_key='"another-key-than-kie-knows"')
    for number in range(5):
        install.add(f"stuck-{number}", task_id=f"{number:032x}")
    result = install.call("run", "--once", "--timeout", "2s", "--json")
    assert result.exit_code == 3
    said = json.loads(result.stdout)
    assert [closed["name"] for closed in said["gate_closed"]] == ["key"]
    assert said["next"].startswith("Kie refuses the key")
    warnings = [json.loads(line) for line in result.stderr.splitlines()]
    assert [warning["gate"] for warning in warnings if warning["event"] == "gate_closed"] == ["key"]
    assert install.kie.book.creations == ()
    assert "another-key-than-kie-knows" not in result.output


@pytest.fixture
def questions(install: Install) -> Install:
    """A track to buy for, and one each whose image task and whose music task are to be asked."""
    install.kie.add_task(PAID, prompt="adopted", behaviour=AT_ONCE)
    install.add("adopt", image_url=PAID)
    install.add("buy")
    install.add("song", task_id="c" * 32)
    return install


def looked_at(install: Install) -> tuple[dict[str, tuple[str, str, str]], list[str]]:
    """By track: state, reason, and the first word of what is next; and what was said beside it."""
    result = install.call("run", "--once", "--dry-run", "--json")
    assert result.exit_code == 3, result.output
    tracks = json.loads(result.stdout)["tracks"]
    told = {each["track"]: (each["state"], each["reason"], each["next"].split()[0]) for each in tracks}
    return told, result.stderr.splitlines()


UNASKED = {"adopt": ("awaiting", "in_flight", "ask"), "song": ("missing", "due", "ask")}
"""What was not answered teaches nothing."""


def test_a_dry_run_tells_that_the_key_is_refused_and_asks_no_more(questions: Install) -> None:
    questions.configure(kie__api_key='"another-key-than-kie-knows"')
    told, said = looked_at(questions)
    assert told == UNASKED | {"buy": ("missing", "unauthorized", "buy")}
    (line,) = said
    assert line.startswith("reconciler: Kie refuses the key (kie.api_key): code 401: ")
    assert "another-key-than-kie-knows" not in line
    assert [visit.operation for visit in questions.kie.book.visits] == ["credit"]
    shown = " ".join(questions.call("run", "--dry-run").stdout.split())
    assert "1 more wait until purchases go on" in shown
    assert "status" not in shown, "which knows nothing of it"


def test_a_dry_run_tells_of_the_key_though_the_balance_is_known(questions: Install) -> None:
    questions.call("run", "--once", "--track", "buy", "--timeout", "20s")
    questions.kie.script.when(UNAUTHORIZED)
    told, said = looked_at(questions)
    assert told == UNASKED
    assert len(said) == 1
    assert said[0].startswith("reconciler: Kie refuses the key (kie.api_key): code 401: ")


def test_a_dry_run_tells_that_the_key_for_songs_is_refused(questions: Install) -> None:
    questions.configure(kie__suno_api_key='"another-key-than-kie-knows"')
    told, said = looked_at(questions)
    assert told["adopt"][2] == "fetch"
    assert told["buy"] == ("missing", "due", "buy")
    assert told["song"][:2] == ("backing_off", "provider_failed")
    (line,) = said
    assert line.startswith("reconciler: Kie refuses kie.suno_api_key: code 401: ")


def test_a_dry_run_after_the_key_was_set_right_is_not_held_back_by_it(questions: Install) -> None:
    questions.configure(kie__api_key='"another-key-than-kie-knows"')
    questions.call("run", "--once", "--timeout", "2s")
    questions.configure()
    told, said = looked_at(questions)
    assert said == []
    assert {track: next_ for track, (_, _, next_) in told.items()} == {"adopt": "fetch", "buy": "buy", "song": "buy"}


UNTOLD = (
    "reconciler: Kie could not be asked for the credits (server_error: code 455: The service is under maintenance. "
    "Please try again later.). What is told here rests on what was known before"
)


def test_a_dry_run_that_cannot_ask_the_balance_says_so_and_goes_by_the_last_one(questions: Install) -> None:
    questions.call("run", "--once", "--track", "adopt", "--timeout", "20s")
    questions.sql("UPDATE reconciler_gate SET balance_at = ?", own(datetime.now(UTC) - timedelta(hours=1)))
    questions.kie.script.when(MAINTENANCE, operation="credit")
    told, said = looked_at(questions)
    assert (told["buy"], said) == (("missing", "due", "buy"), [UNTOLD])


def test_a_dry_run_promises_no_purchase_where_kie_never_told_the_balance(questions: Install) -> None:
    questions.kie.script.when(MAINTENANCE, operation="credit")
    told, said = looked_at(questions)
    assert (told["buy"], said) == (("missing", "gate_closed", "buy"), [UNTOLD])


def test_a_dry_run_hears_of_an_outage_as_a_run_does(questions: Install) -> None:
    questions.call("run", "--once", "--track", "adopt", "--timeout", "20s")
    questions.sql("UPDATE reconciler_gate SET balance_at = ?", own(datetime.now(UTC) - timedelta(hours=1)))
    questions.sql("UPDATE reconciler_gate SET breaker = ?", dump_breaker(Breaker(faults=FAULTS_TO_OPEN - 1)))
    questions.kie.script.when(MAINTENANCE, operation="credit")
    told, _ = looked_at(questions)
    assert told["buy"] == ("missing", "gate_closed", "buy")


def test_without_a_key_a_dry_run_is_refused_as_a_run_is(questions: Install) -> None:
    questions.configure(kie__api_key='""')
    for words in (("run", "--once"), ("run", "--once", "--dry-run")):
        result = questions.call(*words)
        assert (result.exit_code, result.stdout) == (78, "")
        assert "kie.api_key: is empty" in result.stderr
    assert questions.call("run", "--once", "--dry-run", "--offline").exit_code == 3
    assert questions.kie.book.visits == ()


def test_without_a_key_what_exists_is_used_and_kie_left_alone(questions: Install) -> None:
    questions.configure(kie__api_key='""', budget__per_day="0")
    seen = questions.call("run", "--once", "--dry-run", "--json")
    told = {each["track"]: (each["state"], each["reason"]) for each in json.loads(seen.stdout)["tracks"]}
    unasked = ("missing", "unauthorized")
    assert told == {"adopt": unasked, "song": unasked, "buy": ("missing", "budget")}
    result = questions.call("run", "--once", "--json", "--timeout", "2s")
    said = json.loads(result.stdout)
    assert (result.exit_code, said["gate_closed"]) == (3, [])
    assert said["next"].startswith("2 missing (unauthorized): Kie refuses the key or there is none: ")
    assert (seen.stderr, result.stderr) == ("", "")
    assert questions.kie.book.visits == ()
    questions.configure(budget__per_day="0")
    again = json.loads(questions.call("run", "--once", "--json", "--timeout", "2s").stdout)
    assert again["resolved"] == {"adopted": 1}


@pytest.mark.parametrize("words", [("run", "--once"), ("run", "--once", "--dry-run"), ("explain",)])
def test_a_track_that_nobody_knows_is_told_and_nothing_is_done(install: Install, words: tuple[str, ...]) -> None:
    install.add("stuck")
    named = ("nobody",) if words == ("explain",) else ("--track", "stuck", "--track", "nobody")
    result = install.call(*words, *named)
    assert result.exit_code == 1
    assert "there is no track 'nobody' in table tracks" in result.stderr
    assert install.kie.book.visits == ()
