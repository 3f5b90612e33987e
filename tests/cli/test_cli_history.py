"""`explain` tells what was tried for a track, newest first, and no secret in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.commands.explaining import HISTORY
from reconciler.database.datetimes import own
from reconciler.kie.simulated import (
    API_KEY,
    CONTENT_REFUSED_AT_ONCE,
    LOST,
    AnswerPicture,
    Fail,
    Refuse,
    Stall,
    Succeed,
)

if TYPE_CHECKING:
    from tests.cli.conftest import Install

PAID = "5b1f00000000000000000000000000aa"
AT_ONCE = Succeed(run=timedelta(0), width=2048, height=1152)


def run(install: Install, timeout: str = "20s") -> None:
    result = install.call("run", "--once", "--timeout", timeout)
    assert result.exit_code in (0, 3), result.output


def history(install: Install) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = json.loads(install.call("explain", "a", "--json").stdout)["history"]
    return said


def test_every_step_is_told_newest_first(install: Install) -> None:
    install.kie.add_task(PAID, prompt="x", behaviour=AT_ONCE)
    install.add("a", image_url=PAID)
    run(install)
    told = history(install)
    assert [(each["step"], each["came"]) for each in told] == [
        ("write", "committed"),
        ("fetch", "stored"),
        ("ask_task", "succeeded"),
        ("list_store", "listing"),
    ]
    write, fetch, ask, _ = told
    assert write["about"] == install.rows()[0]["image_url"]
    assert (write["detail"], fetch["detail"], ask["about"]) == (f"adopted, in place of {PAID}", "2048x1152", PAID)
    assert sorted((each["at"] for each in told), reverse=True) == [each["at"] for each in told]
    assert all(each["times"] == 1 and each["since"] is None for each in told)


def test_what_comes_back_the_same_again_and_again_is_told_once(install: Install) -> None:
    install.kie.add_task(PAID, prompt="x", behaviour=Stall())
    install.add("a", image_url=PAID)
    for _ in range(3):
        run(install, "2s")
        install.sql("UPDATE reconciler_task SET next_poll = NULL")
        install.sql("UPDATE reconciler_memory SET due_at = ?", own(datetime.now(UTC)))
    newest, *_ = history(install)
    assert newest == newest | {"step": "ask_task", "about": PAID, "came": "running", "times": 3}
    assert newest["since"] <= newest["at"]


def test_orders_that_were_refused_or_lost_are_told(install: Install) -> None:
    install.kie.script.next("create", CONTENT_REFUSED_AT_ONCE, LOST)
    install.add("a")
    run(install)
    lost, refused, *_ = history(install)
    model = "bytedance/seedream-v4-text-to-image"
    assert lost == lost | {"step": "buy", "about": model, "came": "answer_lost"}
    assert refused == refused | {"step": "buy", "about": model, "came": "nothing_made"}
    assert refused["detail"].startswith("content: code 400: Your prompt was caught by our AI moderator")


def test_it_tells_of_which_order_kie_called(install: Install) -> None:
    install.configure(callback__public_url='"https://ops.example"')
    install.kie.script.next("create", CONTENT_REFUSED_AT_ONCE, LOST)
    install.add("a")
    run(install)
    install.sql(
        "INSERT INTO reconciler_callback (token, task_id, track_id, at)"
        " SELECT token, ?, track_id, at FROM reconciler_purchase WHERE outcome = 'unknown'",
        PAID,
    )
    purchases = json.loads(install.call("explain", "a", "--json").stdout)["purchases"]
    assert {each["outcome"]: each["called_back"] for each in purchases} == {"nothing": False, "unknown": True}


def test_only_so_much_is_told(install: Install) -> None:
    install.add("a")
    install.call("ignore", "a", "--undo")
    at = own(datetime.now(UTC))
    names = "track_id, first_at, at, step, about, came, detail, times"
    for number in range(HISTORY + 2):
        install.sql(
            f"INSERT INTO reconciler_attempt ({names}) VALUES ('a', ?, ?, 'fetch', ?, 'fault', '', 1)", at, at, number
        )
    told = history(install)
    assert [each["about"] for each in told] == [str(HISTORY + 1 - number) for number in range(HISTORY)]


def test_without_our_tables_there_is_none(install: Install) -> None:
    install.add("a")
    assert history(install) == []
    assert "history" not in install.call("explain", "a").stdout


def test_a_row_that_is_gone_has_its_history_still(install: Install) -> None:
    install.kie.script.when(AnswerPicture(), operation="create")
    install.add("a")
    run(install)
    install.sql("DELETE FROM tracks")
    assert [each["step"] for each in history(install)][:2] == ["write", "fetch"]
    assert "step: write" in install.call("explain", "a").stdout


@pytest.mark.parametrize("scheme", ["presigned", "basic"])
def test_no_signed_query_and_no_password_is_in_it(install: Install, scheme: str) -> None:
    signed = f"X-Amz-Date={datetime.now(UTC):%Y%m%dT%H%M%SZ}&X-Amz-Expires=86400&X-Amz-Signature=S3CR3T"
    host = install.base_url.removeprefix("http://")
    url = f"http://{host}/nothing.jpg?{signed}" if scheme == "presigned" else f"http://me:S3CR3T@{host}/nothing.jpg"
    install.add("a", image_url=url)
    run(install, "500ms")
    for options in ((), ("--json",)):
        text = install.call("explain", "a", *options).stdout
        assert "S3CR3T" not in text
        assert API_KEY not in text
    if scheme == "presigned":
        assert history(install)[-1]["about"] == f"http://{host}/nothing.jpg"


def test_a_url_that_kie_repeats_in_its_words_is_told_without_its_query(install: Install) -> None:
    words = "cannot read https://user:S3CR3T@files.example/a.jpg?X-Amz-Signature=S3CR3T\x1b[31m now"
    install.kie.script.next("create", Refuse(400, words))
    install.kie.add_task(PAID, prompt="x", behaviour=Fail(code="500", message=words, run=timedelta(0)))
    install.add("a", extended_prompt=f"Mist | image_task_id: {PAID}")
    run(install)
    text = install.call("explain", "a").stdout
    assert "cannot read" in text
    assert "S3CR3T" not in text
    assert "\x1b" not in text
