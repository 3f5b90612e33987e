"""`status`: where all tracks stand, what is spent, what is due and who works; a look and nothing more."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.database.datetimes import own
from reconciler.kie.simulated import CONTENT_REFUSED_AT_ONCE, UNAUTHORIZED, Stall, page

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Install


def status(install: Install) -> Any:
    result = install.call("status", "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def said(install: Install) -> str:
    """What people are told, in one line."""
    result = install.call("status")
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert result.stderr == ""
    return " ".join(result.stdout.split())


def lease(install: Install, track_id: str, owner: str, length: timedelta = timedelta(minutes=1)) -> datetime:
    until = datetime.now(UTC) + length
    statement = "UPDATE reconciler_memory SET lease_owner = ?, lease_until = ?, lease_step = ? WHERE track_id = ?"
    install.sql(statement, owner, own(until), "picture", track_id)
    return until


@pytest.fixture
def worked(install: Install) -> Install:
    """One good track, two that were given up."""
    install.add("good", image_url=install.kie.add_file("good.jpg", text="good"), resolution="2048x1152")
    install.kie.script.when(CONTENT_REFUSED_AT_ONCE, operation="create")
    install.add("a")
    install.add("b")
    assert install.call("run", "--once").exit_code == 3
    install.kie.script.clear()
    return install


def test_without_our_tables_it_says_so_and_counts_every_row(install: Install) -> None:
    install.add("stuck")
    install.add("pictured", image_url=install.kie.add_file("good.jpg", text="good"))
    install.add("out of scope", status="failed")
    told = status(install)
    assert told["memory"] == "empty"
    assert (told["tracks"], told["stuck"]) == (2, 1)
    assert told["states"] == [
        {"state": "unverified", "reason": None, "tracks": 1},
        {"state": "missing", "reason": "due", "tracks": 1},
    ]
    assert told["next_due"] == told["at"], "a row that nobody looked at yet is due"
    text = said(install)
    assert "Our own tables are not there yet (the first `run` makes them)" in text
    assert "Tracks in scope: 2. Stuck: 1, the oldest since" in text
    assert "Next due: now." in text
    assert "Credits: Kie has not told them yet." in text


def test_while_kie_has_never_told_the_balance_no_command_takes_that_for_a_lack_of_credits(install: Install) -> None:
    install.kie.script.when(page(502))
    install.add("stuck")
    ran = install.call("run", "--once", "--timeout", "2s")
    assert ran.exit_code == 3, ran.output
    warnings = [json.loads(line) for line in ran.stderr.splitlines()]
    (untold,) = (warning for warning in warnings if warning["event"] == "credits_untold")
    assert (untold["cause"], untold["host"]) == ("server_error", "127.0.0.1")
    assert untold["detail"].startswith("HTTP 502: ")
    held = {"state": "missing", "reason": "gate_closed"}
    assert status(install)["states"] == [{**held, "tracks": 1}]
    text = said(install)
    assert "Credits: Kie has not told them yet." in text
    explained = json.loads(install.call("explain", "stuck", "--json").stdout)
    assert explained == explained | held
    assert explained["next"]["held_back_by"] == "Kie has not told the balance yet"
    ignored, back = (
        json.loads(install.call("ignore", "stuck", *undo, "--json").stdout)["tracks"][0] for undo in ([], ["--undo"])
    )
    assert (ignored["before"], back["after"]) == (held, held)


@pytest.mark.parametrize("picture", ["good.jpg", None])
@pytest.mark.parametrize("young", [False, True])
def test_whatever_nobody_looked_at_yet_is_due(install: Install, young: bool, picture: str | None) -> None:
    url = install.kie.add_file(picture, text="good") if picture else None
    install.add("new", image_url=url, **({"updated_at": datetime.now(UTC).isoformat()} if young else {}))
    told = status(install)
    assert told["states"][0]["state"] == ("settling" if young else "unverified" if picture else "missing")
    assert told["next_due"] == told["at"]
    assert f"Next due: {'at the next audit' if picture else 'now'}." in said(install)


def test_what_was_looked_at_within_grace_is_due_when_that_ends(install: Install) -> None:
    install.add("young", updated_at=datetime.now(UTC).isoformat())
    assert install.call("run", "--once", "--timeout", "2s").exit_code == 0
    told = status(install)
    assert told["states"] == [{"state": "settling", "reason": None, "tracks": 1}]
    assert told["next_due"] > told["at"]


def test_whatever_nobody_looked_at_yet_is_due_though_others_are_remembered_for_later(install: Install) -> None:
    for track_id in ("young", "new"):
        install.add(track_id, updated_at=datetime.now(UTC).isoformat())
        before = status(install)
        assert before["next_due"] == before["at"]
        assert install.call("run", "--once", "--timeout", "2s").exit_code == 0
        after = status(install)
        assert after["next_due"] > after["at"]


def test_an_empty_table_is_told_in_as_many_words(install: Install) -> None:
    text = said(install)
    assert "Tracks in scope: 0. Stuck: 0." in text
    assert "Next due: nothing before the world changes." in text


@pytest.mark.parametrize("with_own_tables", [False, True])
def test_it_leaves_every_byte_and_asks_nobody(install: Install, with_own_tables: bool) -> None:
    install.add("stuck")
    if with_own_tables:
        install.call("schema", "--apply")
    before = hashlib.sha256(install.database.read_bytes()).hexdigest()
    said(install)
    status(install)
    assert hashlib.sha256(install.database.read_bytes()).hexdigest() == before
    assert sorted(path.name for path in install.folder.iterdir()) == ["app.db", "config.toml"]
    assert install.kie.book.visits == ()


def test_counts_budgets_and_credits_are_told(worked: Install) -> None:
    told = status(worked)
    assert told["memory"] == "known"
    assert told["states"] == [
        {"state": "ok", "reason": None, "tracks": 1},
        {"state": "failed", "reason": "content_rejected", "tracks": 2},
    ]
    orders = len(worked.kie.book.creations)
    assert told["budget"] == {
        "hour": {"used": orders, "limit": 30, "remaining": 30 - orders, "frees_at": told["budget"]["hour"]["frees_at"]},
        "day": {"used": orders, "limit": 100, "remaining": 100 - orders, "frees_at": told["budget"]["day"]["frees_at"]},
        "running_tasks": 0,
        "max_concurrent_tasks": 50,
    }
    assert told["credits"] == told["credits"] | {"balance": 1000.0, "left": 1000.0, "min_credits": 50}
    assert told["oldest_stuck"] < told["next_due"]
    assert (told["paused"], told["gate_closed"], told["working"]) == (False, [], [])
    text = said(worked)
    assert "failed content_rejected 2" in text
    assert f"Ordered: {orders} of 30 in the last hour and {orders} of 100 in the last day." in text
    assert "Credits: 1,000 (read " in text
    assert "Purchases are stopped" not in text


def test_of_the_credits_that_kie_told_what_was_ordered_since_is_taken_off(install: Install) -> None:
    install.add("bought")
    assert install.call("run", "--once").exit_code == 0
    credits = status(install)["credits"]
    assert (credits["balance"], credits["left"]) == (1000, 995)
    assert "Credits: 995 (read " in said(install)


def test_a_budget_that_is_spent_tells_when_it_has_room_again(worked: Install) -> None:
    orders = len(worked.kie.book.creations)
    worked.configure(budget__per_hour=str(orders - 1))
    told = status(worked)["budget"]["hour"]
    assert (told["used"], told["remaining"]) == (orders, 0)
    assert f"{orders} of {orders - 1} in the last hour (more from {told['frees_at']})" in said(worked)


def test_a_budget_that_was_lowered_to_nothing_tells_no_time(worked: Install) -> None:
    orders = len(worked.kie.book.creations)
    worked.configure(budget__per_hour="0")
    assert status(worked)["budget"]["hour"]["frees_at"] is None
    assert f"{orders} of 0 in the last hour (nothing is ever bought)" in said(worked)


def test_who_works_a_track_is_told_until_the_lease_ends(worked: Install) -> None:
    owner = "a-host-with-a-rather-long-name.internal.example:4194304:0123abcd"
    until = lease(worked, "a", owner)
    lease(worked, "b", "dead:1:0", -timedelta(seconds=1))
    (working,) = status(worked)["working"]
    assert working == working | {"track": "a", "owner": owner, "step": "picture"}
    assert working["until"] == f"{until:%Y-%m-%dT%H:%M:%SZ}"
    text = said(worked)
    assert "worked by" in text
    assert f"{until:%H:%M:%S}Z" in text


def test_long_ids_fit_80_columns_and_are_whole(worked: Install) -> None:
    name = "0b9f7a44-7f0e-4c53-9a61-1d2f6a4b7c10"
    worked.add(name)
    worked.kie.script.when(Stall())
    worked.call("run", "--once", "--track", name, "--timeout", "500ms")
    lease(worked, name, "a-host-with-a-rather-long-name.internal.example:4194304:0123abcd")
    assert "awaiting in_flight 1" in said(worked)
    assert name in worked.call("status").stdout


@pytest.mark.parametrize("words", [("pause",), ("schema", "--apply")])
def test_before_the_first_run_no_change_of_the_configuration_is_told(install: Install, words: tuple[str, ...]) -> None:
    install.add("stuck")
    assert install.call(*words).exit_code == 0
    assert (status(install)["outdated"], "counts are from before" in said(install)) == (False, False)


def test_a_pause_is_told(worked: Install) -> None:
    worked.call("pause")
    told = status(worked)
    assert told["paused"]
    assert [gate["name"] for gate in told["gate_closed"]] == ["paused"]
    assert "Purchases are stopped (paused):" in said(worked)
    assert "`reconciler resume` ends it" in said(worked)


@pytest.mark.slow
def test_a_closed_gate_is_told_with_until_when_why_and_what_to_do(worked: Install) -> None:
    worked.add("c")
    worked.kie.script.when(UNAUTHORIZED, operation="create")
    worked.call("run", "--once", "--timeout", "1s")
    told = status(worked)
    (gate,) = told["gate_closed"]
    assert gate == gate | {"name": "key"}
    assert gate["until"] > told["at"]
    assert {"state": "missing", "reason": "unauthorized", "tracks": 1} in told["states"]
    assert f"Purchases are stopped until {gate['until']} (key): {gate['detail']}" in said(worked)
    assert "put a valid one into kie.api_key" in said(worked)


def test_too_few_credits_are_a_closed_gate_without_an_end(make_install: Callable[..., Install]) -> None:
    install = make_install(credits=10)
    install.add("stuck")
    install.call("run", "--once", "--timeout", "1s")
    (gate,) = status(install)["gate_closed"]
    assert gate == gate | {"name": "credits", "until": None, "detail": "10 credits left, budget.min_credits = 50"}
    assert f"Purchases are stopped (credits): {gate['detail']}. Top up the account at Kie" in said(install)


def test_the_first_picture_that_dies_is_told(install: Install) -> None:
    at = datetime.now(UTC) - timedelta(hours=1)
    signed = f"X-Amz-Date={at:%Y%m%dT%H%M%SZ}&X-Amz-Expires=86400&X-Amz-Signature=secret"
    url = install.kie.add_file("dying.jpg", text="dying")
    install.add("dying", image_url=f"{url}?{signed}")
    install.call("pause")
    install.call("run", "--once")
    told = status(install)
    assert told["states"] == [{"state": "expiring", "reason": None, "tracks": 1}]
    assert told["earliest_expiry"] == f"{at + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    assert f"may be gone from {told['earliest_expiry']} on" in said(install)


def test_hostile_owners_are_harmless(worked: Install) -> None:
    lease(worked, "a", "evil\x1b[2J\nowner")
    text = worked.call("status").stdout
    assert "\x1b" not in text
    assert r"evil\x1b[2J\nowner" in " ".join(text.split())


def test_counts_from_before_the_configuration_was_changed_are_told_to_be(worked: Install) -> None:
    assert (status(worked)["outdated"], "counts are from before" in said(worked)) == (False, False)
    worked.configure(target__width="1920", target__height="1080")
    assert (status(worked)["outdated"], "counts are from before" in said(worked)) == (True, True)
    worked.call("pause")
    assert status(worked)["outdated"]  # who decides does not wait until all are called
    worked.call("schema", "--apply")
    assert status(worked)["outdated"]  # nor does who makes the tables ready for others, by whatever configuration
    worked.call("run", "--once", "--due-only", "--timeout", "20s")
    assert not status(worked)["outdated"]


def test_rows_that_no_sweep_sees_are_said_to_wait_for_an_audit(install: Install) -> None:
    install.add("old", image_url="a" * 32)
    told = status(install)
    assert (told["next_due"], told["for_audit"]) == (told["at"], 1)
    text = said(install)
    assert "Next due: at the next audit." in text
    waits = "at the daemon's next audit (within schedule.audit_interval), or at once by `reconciler run --once`"
    assert f"Seen by no sweep: 1; their turn comes {waits}." in text
    explained = json.loads(install.call("explain", "old", "--json").stdout)
    assert explained["next"]["when"] == waits
    install.add("stuck")
    assert status(install)["for_audit"] == 1
    assert "Next due: now." in said(install)
