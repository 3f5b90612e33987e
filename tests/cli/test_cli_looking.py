"""`check`, `explain` and `schema`: they look, tell and change nothing."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.commands.checking.database import LOSS
from reconciler.database.codec import load_memory
from reconciler.database.datetimes import own
from reconciler.database.schema import OPTIONAL
from reconciler.domain.texts import moment
from reconciler.kie.simulated import (
    CONTENT_REFUSED_AT_ONCE,
    NO_CREDITS,
    UNAUTHORIZED,
    Refuse,
    Reply,
    Stall,
    Succeed,
    page,
)
from tests.postgres import free_port
from tests.rights import others, shut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cli.conftest import Install

PAID = "5b1f00000000000000000000000000aa"


def lines(install: Install, *options: str) -> dict[str, list[tuple[str, str]]]:
    said = json.loads(install.call("check", "--json", *options).stdout)
    found: dict[str, list[tuple[str, str]]] = {}
    for line in said:
        found.setdefault(line["what"], []).append((line["outcome"], line["said"]))
    return found


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def listening(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def web_server(folder: Path) -> AbstractContextManager[str]:
    return listening(partial(Quiet, directory=str(folder)))


def moved_to(location: str) -> AbstractContextManager[str]:
    """A server that redirects each path to another's, `{path}` in the location."""

    class Moved(Quiet):
        def do_GET(self) -> None:
            self.send_response(301)
            self.send_header("Location", location.format(path=self.path))
            self.send_header("Content-Length", "0")
            self.end_headers()

    return listening(Moved)


# -- check ---------------------------------------------------------------------------------------------------------


def test_a_fresh_install_is_fine_and_check_changes_nothing(install: Install) -> None:
    install.add("a")
    before = hashlib.sha256(install.database.read_bytes()).hexdigest()
    result = install.call("check")
    assert result.exit_code == 0, result.output
    said = result.stdout.splitlines()
    assert {line.split()[0] for line in said} == {"ok"}
    for part in (
        "1 completed (in scope)",
        "takes the key; 1000 credits",
        "the first `run` creates them",
        "ids are text",
    ):
        assert sum(part in line for line in said) == 1
    assert hashlib.sha256(install.database.read_bytes()).hexdigest() == before
    assert sorted(path.name for path in install.folder.iterdir()) == ["app.db", "config.toml"]


NEVER = "no row is in scope: see database.statuses"


@pytest.mark.parametrize(
    ("statuses", "changes", "line"),
    [
        (["completed", "completed"], {"statuses": '["nonesuch"]'}, ("warning", f"2 completed; {NEVER}")),
        (["archived", "failed"], {}, ("warning", f"1 archived, 1 failed; {NEVER}")),
        (["archived"], {"restore_archived": "true"}, ("ok", "1 archived (in scope with audio)")),
        (["pending"], {}, ("ok", "1 pending (in scope once old, with audio)")),
        ([None], {}, ("ok", "1 NULL (in scope once old, with audio)")),
        (["pending"], {"excluded_statuses": '["pending"]'}, ("warning", f"1 pending; {NEVER}")),
        (["completed", "failed"], {}, ("ok", "1 completed (in scope), 1 failed")),
        ([], {"statuses": '["nonesuch"]'}, ("ok", "the table is empty")),
    ],
)
def test_a_table_of_which_no_row_is_ever_in_scope_is_told(
    install: Install, statuses: list[str | None], changes: dict[str, str], line: tuple[str, str]
) -> None:
    for number, status in enumerate(statuses):
        install.add(f"t{number}", status=status)
    install.configure(**{f"database__{key}": value for key, value in changes.items()})
    assert lines(install)["tracks"] == [line]
    assert install.call("check").exit_code == 0


def test_unfinished_rows_are_never_in_scope_where_there_is_no_audio(install: Install) -> None:
    install.add("a", status="pending")
    install.sql("ALTER TABLE tracks DROP COLUMN audio_url")
    assert lines(install)["tracks"] == [("warning", f"1 pending; {NEVER}")]


def test_every_problem_is_told_at_once(make_install: Callable[..., Install]) -> None:
    install = make_install(credits=3)
    install.database.unlink()
    install.configure(budget__per_day="0", storage__path=f'"{install.config}/images"')
    found = lines(install)
    assert install.call("check").exit_code == 78
    assert {what for what, said in found.items() if any(outcome != "ok" for outcome, _ in said)} == {
        "budget",
        "database",
        "storage",
        "kie",
    }
    assert found["budget"][0][0] == found["kie"][0][0] == "warning"


@pytest.mark.parametrize(
    ("key", "what", "says"),
    [
        ("database__url", "database", "cannot be looked at (Permission denied). Let"),
        ("storage__path", "storage", "look for the store: "),
    ],
)
def test_a_directory_that_may_not_be_searched_is_one_problem_among_lines(
    install: Install, monkeypatch: pytest.MonkeyPatch, key: str, what: str, says: str
) -> None:
    folder = install.folder / "shut"
    install.configure(**{key: f'"{"sqlite:///" if what == "database" else ""}{folder}/it"'})
    shut(monkeypatch, folder)
    result = install.call("check", "--offline")
    assert result.exit_code == 78
    ((outcome, said),) = lines(install, "--offline")[what]
    assert outcome == "failed"
    assert f"{folder}/it: " in said
    assert says in said
    assert "under systemd see SupplementaryGroups=" in said


def test_a_refused_key_alone_fails_with_1(install: Install) -> None:
    install.configure(kie__api_key='"another"')
    assert install.call("check").exit_code == 1
    assert lines(install)["kie"][0][0] == "failed"
    assert install.call("check", "--offline").exit_code == 0


@pytest.mark.parametrize(
    ("answer", "call", "todo"),
    [
        (NO_CREDITS, "no_credits", "top up the account at Kie, or raise the key's own cap there"),
        (page(404), "malformed", "see whether kie.base_url ({url}) is Kie's; if it is, try again later"),
        (page(200), "malformed", "see whether kie.base_url ({url}) is Kie's; if it is, try again later"),
        (page(400), "rejected", "see whether kie.base_url ({url}) is Kie's; if it is, try again later"),
        (page(502), "server_error", "try again later"),
    ],
)
def test_what_would_help_is_said_where_kie_does_not_tell_the_credits(
    install: Install, answer: Refuse | Reply, call: str, todo: str
) -> None:
    install.kie.script.when(answer)
    ((outcome, said),) = lines(install)["kie"]
    assert outcome == "failed"
    assert said.startswith(f"127.0.0.1: {call}: ")
    assert said.endswith(f"; {todo.format(url=install.base_url)}")


NO_KEY = {"kie__api_key": '""'}


def test_without_a_key_it_fails_as_a_run_does_and_tells_once_what_helps(install: Install) -> None:
    install.configure(**NO_KEY)
    result = install.call("check")
    assert result.exit_code == 78
    ((outcome, said),) = lines(install)["kie"]
    assert outcome == "failed"
    assert install.call("run", "--once").stderr == f"reconciler: {said}\n"
    assert install.kie.book.visits == ()


def test_without_a_key_it_is_a_warning_where_nothing_is_bought_or_asked(install: Install) -> None:
    install.configure(**NO_KEY)
    ((outcome, said),) = lines(install, "--offline")["kie"]
    assert (outcome, said[:22]) == ("warning", "kie.api_key: is empty,")
    assert install.call("check", "--offline").exit_code == 0
    for keys, asked in (
        ({}, "nothing is asked"),
        ({"kie__suno_api_key": '"for-songs"'}, "music tasks alone are asked"),
    ):
        install.configure(**NO_KEY, budget__per_day="0", **keys)
        for options in ((), ("--offline",)):
            ((outcome, said),) = lines(install, *options)["kie"]
            assert outcome == "warning"
            assert said.startswith("there is no key (kie.api_key)")
            assert asked in said
        assert install.call("check").exit_code == 0
    assert install.kie.book.visits == ()


def test_missing_columns_are_told_with_what_that_costs(install: Install) -> None:
    install.sql("ALTER TABLE tracks DROP COLUMN resolution")
    assert ("warning", "there is no column resolution: the size found is not written") in lines(install)["table"]
    assert set(LOSS) == set(OPTIONAL)


def test_the_store_is_read_back_through_its_public_url(install: Install) -> None:
    install.call("run", "--once")
    with web_server(install.store) as url:
        install.configure(storage__public_url=f'"{url}"')
        assert lines(install)["public_url"] == [("ok", f"{url} serves what is stored")]
    assert [outcome for outcome, _ in lines(install)["public_url"]] == ["warning"]
    with web_server(install.folder / "tracks") as url:
        install.configure(storage__public_url=f'"{url}"')
        assert install.call("check").exit_code == 78
    assert sorted(path.name for path in install.store.rglob("*")) == [".reconciler-store", "tracks"]


def test_the_store_may_be_served_where_its_public_url_redirects_to(install: Install) -> None:
    """From http to https, say, or to another name: browsers go there too."""
    install.call("run", "--once")
    with (
        web_server(install.store) as url,
        moved_to(url + "{path}") as second,
        moved_to(second + "{path}") as first,
    ):
        install.configure(storage__public_url=f'"{first}"')
        assert lines(install)["public_url"] == [("ok", f"{first} serves what is stored")]


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("http://127.0.0.1:{port}/nothing", "redirects to http://127.0.0.1:{port}/nothing: 127.0.0.1: "),
        ("{{path}}", "redirects more than 5 times"),
        ("http://[", "answered 301"),
        ("ftp://127.0.0.1{{path}}", ": the URL is not one of http or https with a host"),
    ],
)
def test_a_redirect_that_leads_to_no_picture_is_told(install: Install, location: str, says: str) -> None:
    install.call("run", "--once")
    nobody = free_port()
    with moved_to(location.format(port=nobody)) as url:
        install.configure(storage__public_url=f'"{url}"')
        ((outcome, said),) = lines(install)["public_url"]
    assert outcome == "failed"
    assert says.format(port=nobody) in said


def test_a_redirect_that_leads_to_something_else_is_told_with_where_it_led(install: Install) -> None:
    install.call("run", "--once")
    login = install.folder / "index.html"
    login.write_text("Sign in")
    with web_server(install.folder) as elsewhere, moved_to(f"{elsewhere}/index.html") as url:
        install.configure(storage__public_url=f'"{url}"')
        ((outcome, said),) = lines(install)["public_url"]
    assert outcome == "failed"
    assert said.endswith(f"redirects to {elsewhere}/index.html: answered 200 with something else")


def test_folders_that_take_no_picture_are_told_by_one_of_them(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was made by another user, as by `sudo`, takes none from a service."""
    install.call("run", "--once")
    folders = [install.store / "tracks" / name for name in ("a", "b")]
    for shown, end in (folders[:1], "cannot be written"), (folders, "and 1 more cannot be written"):
        for folder in shown:
            folder.mkdir(exist_ok=True)
        with monkeypatch.context() as patch:
            others(patch, *shown)
            assert install.call("check", "--offline").exit_code == 78
            outcome, said = lines(install, "--offline")["storage"][-1]
        assert outcome == "failed"
        assert said.startswith(f"{install.store}/tracks/")
        assert f"{end}: let the reconciler's user read and write there" in said
    assert [outcome for outcome, _ in lines(install, "--offline")["storage"]] == ["ok", "ok"]


def test_elsewhere_something_must_listen_by_now(install: Install) -> None:
    install.configure(storage__public_url='"https://no-such-host.invalid/images"')
    install.call("run", "--once")
    ((outcome, text),) = lines(install)["public_url"]
    assert outcome == "failed"
    assert f"https://no-such-host.invalid/images does not serve {install.store}: " in text
    assert install.call("check").exit_code == 78


def test_a_port_that_was_changed_in_one_place_only_is_told(install: Install) -> None:
    """Else rows get addresses at which nothing is served."""
    listens = free_port()
    nowhere = f'"http://127.0.0.1:{listens}/images"'
    for port, told in (
        (listens, "pictures are not seen yet"),
        (9464, "the daemon will listen on port 9464 (http.port), so see that storage.public_url leads there"),
    ):
        install.configure(storage__public_url=nowhere, http__port=port)
        install.call("run", "--once")
        ((outcome, text),) = lines(install)["public_url"]
        assert outcome == "warning"
        assert text.endswith(f"; {told}")


def test_doubtful_budgets_models_and_keys_are_warnings(install: Install) -> None:
    install.sql("ALTER TABLE tracks RENAME TO original")
    install.sql("CREATE TABLE tracks AS SELECT * FROM original")
    install.configure(budget__per_hour="20", budget__per_day="10")
    found = lines(install, "--offline")
    assert found["budget"] == [("warning", "budget.per_hour is more than budget.per_day, so it limits nothing")]
    assert ("warning", "column id is not unique: rows that share an id are left alone") in found["table"]
    assert found["tracks"] == [("ok", "the table is empty")]
    install.configure(budget__per_day="0", target__width="1000", target__height="1000")
    assert {outcome for outcome, _ in lines(install, "--offline")["model"]} == {"warning"}
    assert install.call("check", "--offline").exit_code == 0


@pytest.mark.parametrize(
    ("ids", "told"), [(["NULL", "''", "x'61'"], "3 rows of tracks have"), (["NULL"], "1 row of tracks has")]
)
def test_rows_whose_id_cannot_be_named_are_told(install: Install, ids: list[str], told: str) -> None:
    install.add("a")
    assert len(lines(install, "--offline")["tracks"]) == 1
    for each in ids:
        install.sql(f"UPDATE tracks SET id = {each} WHERE id = 'a'")
        install.add("a")
    ((outcome, said),) = lines(install, "--offline")["tracks"][1:]
    assert (outcome, said.partition(": ")[0]) == (
        "warning",
        f"{told} no usable id (NULL, empty, or neither a text nor a whole number)",
    )


# -- explain -------------------------------------------------------------------------------------------------------


def test_a_track_never_worked_is_explained_without_the_network(install: Install) -> None:
    install.add("a", title="evil \x1b[2J title")
    said = json.loads(install.call("explain", "a", "--json").stdout)
    assert (said["state"], said["reason"]) == ("missing", "due")
    assert said["memory"] == "empty: our tables are not there yet"
    assert said["if_nothing_free_is_found"].startswith("a picture is bought from bytedance/seedream-v4")
    text = install.call("explain", "a").stdout
    assert "state: missing\n" in text
    assert r"evil \x1b[2J title" in text
    assert install.kie.book.visits == ()


def test_a_track_that_was_helped_is_explained_with_its_history(install: Install) -> None:
    install.kie.add_task(PAID, prompt="x", behaviour=Succeed(run=timedelta(0), width=2048, height=1152))
    install.add("a", extended_prompt=f"Mist | Visual: x | image_task_id: {PAID}")
    install.call("run", "--once")
    said = json.loads(install.call("explain", "a", "--json").stdout)
    assert said["state"] == "ok"
    assert said["row"]["picture"] == said["row"]["picture"] | {"kind": "ours", "size": "2048x1152"}
    assert [kept["how"] for kept in said["kept"]] == ["adopted"]
    assert [(task["task"], task["state"]) for task in said["tasks"]] == [(PAID, "succeeded")]
    assert said["row"]["image_url"].endswith(said["kept"][0]["key"])


def test_an_order_to_come_is_explained_with_prompt_and_price_and_what_holds_it_back(install: Install) -> None:
    install.add("a")
    install.call("run", "--once", "--max-purchases", "0", "--timeout", "2s")
    told = json.loads(install.call("explain", "a", "--json").stdout)["next"]
    assert told == told | {"credits": 5, "prompt": "a lighthouse called a in morning mist"}
    install.configure(budget__per_day="0")
    said = json.loads(install.call("explain", "a", "--json").stdout)
    assert (said["reason"], said["next"]["when"]) == ("budget", "when the gate opens")
    assert said["next"]["held_back_by"] == "budget.per_day = 0: nothing is ever bought"
    assert said["if_nothing_free_is_found"] == "nothing: budget.per_day = 0 buys none"


def test_an_order_that_a_closed_gate_holds_back_is_explained_with_when_that_ends(install: Install) -> None:
    install.add("a")
    install.call("run", "--once", "--max-purchases", "0", "--timeout", "2s")
    at = datetime.now(UTC)
    until = at + timedelta(minutes=5)
    install.sql("INSERT INTO reconciler_closure VALUES ('rate_limit', '', ?, ?, 'slower', false)", own(at), own(until))
    assert explained(install, "a")["next"]["held_back_until"] == moment(until)


def test_times_that_are_explained_are_those_that_are_remembered(install: Install) -> None:
    install.add("good", image_url=install.kie.add_file("good.jpg", text="good"), resolution="2048x1152")
    install.add("ails", image_url=f"{install.base_url}/files/nothing.jpg")
    install.add("bought")
    install.kie.script.when(Stall())
    install.call("run", "--once", "--timeout", "2s")
    at, answered = (datetime.now(UTC) - timedelta(minutes=minutes) for minutes in (9, 8))
    install.sql("UPDATE reconciler_purchase SET at = ?, answered_at = ?", own(at), own(answered))

    (purchase,) = explained(install, "bought")["purchases"]
    assert (purchase["at"], purchase["answered_at"]) == (moment(at), moment(answered))
    (due,) = install.sql("SELECT due_at FROM reconciler_memory WHERE track_id = 'good'")
    picture = explained(install, "good")["row"]["picture"]
    assert picture["measured_again_at"] == moment(datetime.fromisoformat(due["due_at"])) > picture["measured_at"]
    (ails,) = install.sql("SELECT doc FROM reconciler_memory WHERE track_id = 'ails'")
    (ailment,) = load_memory(ails["doc"]).ailments.values()
    (trouble,) = explained(install, "ails")["troubles"]
    assert (trouble["first_at"], trouble["tried_again_at"]) == (moment(ailment.first_refused), moment(ailment.retry_at))


def test_a_track_that_waits_for_a_key_that_kie_takes_is_not_said_to_go_on_by_itself(install: Install) -> None:
    install.add("a", image_url=PAID)
    install.kie.script.when(UNAUTHORIZED)
    assert install.call("run", "--once", "--timeout", "2s").exit_code == 3
    said = json.loads(install.call("explain", "a", "--json").stdout)
    assert (said["state"], said["next"]["when"]) == ("awaiting", "when the gate opens")
    assert said["would_change"].startswith("Kie refuses the key or there is none: put a valid one into kie.api_key")


def test_while_kie_refuses_the_key_a_run_that_need_not_ask_does_not_say_that_it_goes_on_by_itself(
    install: Install,
) -> None:
    install.configure(budget__per_day="0")
    install.add("a", image_url=PAID)
    install.kie.script.when(UNAUTHORIZED)
    for _ in range(2):
        ran = install.call("run", "--once", "--timeout", "2s", "--json")
        assert ran.exit_code == 3
        assert "put a valid one into kie.api_key" in json.loads(ran.stdout)["next"]
        assert "goes on by itself" not in ran.stdout


def explained(install: Install, track: str, **changes: Any) -> dict[str, Any]:
    install.configure(**changes)
    return dict(json.loads(install.call("explain", track, "--json").stdout))


def test_nothing_is_promised_to_a_track_that_is_given_up_or_cannot_be_worked(install: Install) -> None:
    install.add("silent", title="", prompt="", extended_prompt_image="")
    install.kie.script.when(CONTENT_REFUSED_AT_ONCE, operation="create")
    install.add("refused")
    install.call("run", "--once", "--timeout", "20s")
    for track, reason in (("silent", "no_prompt"), ("refused", "content_rejected")):
        said = explained(install, track)
        assert (said["next"]["what"], said["next"]["credits"]) == (f"nothing: given up, {reason}", 0)
        assert said["if_nothing_free_is_found"] is None
    assert "if_nothing_free_is_found" not in install.call("explain", "silent").stdout
    install.sql("UPDATE tracks SET image_url = ? WHERE id = 'silent'", b"\xff\xfe")
    said = explained(install, "silent")
    assert (said["state"], said["if_nothing_free_is_found"]) == ("invalid", None)


def test_a_picture_that_no_store_takes_is_not_said_to_be_taken_into_one(install: Install) -> None:
    install.add("a", image_url=install.kie.add_file("good.jpg", text="good"))
    install.configure(storage__kind='"none"', target__fit='"keep"', kie__file_hosts='["127.0.0.1"]')
    result = install.call("run", "--once", "--json", "--timeout", "9s")
    kept = (
        "Once its URL has died another picture is looked for, and bought as far as budgets allow; set storage.kind to "
        "keep pictures."
    )
    assert json.loads(result.stdout)["next"] == f"1 expiring: {kept}"
    assert json.loads(install.call("explain", "a", "--json").stdout)["would_change"] == kept


@pytest.mark.parametrize("key", ["per_hour", "per_day"])
def test_no_purchase_is_promised_where_the_budget_buys_none(install: Install, key: str) -> None:
    install.add("a")
    said = explained(install, "a", **{f"budget__{key}": "0"})
    assert said["if_nothing_free_is_found"] == f"nothing: budget.{key} = 0 buys none"


def test_the_model_that_is_promised_is_the_one_that_would_be_asked_next(install: Install) -> None:
    install.kie.script.when(CONTENT_REFUSED_AT_ONCE, operation="create", times=3)
    install.kie.script.when(Stall())
    install.add("a")
    install.call("run", "--once", "--timeout", "20s", "--max-purchases", "3")
    assert [creation.model for creation in install.kie.book.creations] == ["bytedance/seedream-v4-text-to-image"] * 3
    promised = explained(install, "a")["if_nothing_free_is_found"]
    assert promised == "a picture is bought from seedream/4.5-text-to-image for 6.5 credits, as far as budgets allow"


def test_nothing_is_promised_that_would_end_in_giving_up(install: Install) -> None:
    install.add("silent", title="", prompt="", extended_prompt_image="", task_id=PAID)
    said = explained(install, "silent")
    assert said["next"]["what"] == "look into the store"
    assert said["if_nothing_free_is_found"] == "nothing, as things stand: no_prompt"


def test_a_picture_that_is_not_taken_is_explained_with_its_flaw(install: Install) -> None:
    install.add("a", image_url=install.kie.add_file("/p/a.gif", content=b"GIF89a" + bytes(2000)))
    install.call("run", "--once", "--max-purchases", "0", "--timeout", "2s")
    picture = json.loads(install.call("explain", "a", "--json").stdout)["row"]["picture"]
    assert picture == picture | {"judged": "not good enough, and no fitting helps", "flaw": "format"}


def test_a_purchase_is_explained_without_its_token(install: Install) -> None:
    install.add("a")
    install.call("run", "--once", "--timeout", "500ms")
    said = install.call("explain", "a", "--json").stdout
    (bought,) = json.loads(said)["purchases"]
    assert bought == bought | {"credits": 5.0, "outcome": "accepted", "prompt": "a lighthouse called a in morning mist"}
    (token,) = install.sql("SELECT token FROM reconciler_purchase")[0].values()
    assert token not in said


def test_an_empty_id_is_seen_to_be_empty(install: Install) -> None:
    for command in (("explain", ""), ("run", "--once", "--track", "")):
        result = install.call(*command)
        assert (result.exit_code, result.stderr.partition(" in ")[0]) == (1, "reconciler: there is no track ''")


def test_a_row_with_an_empty_id_is_explained_as_invalid_and_can_be_ignored(install: Install) -> None:
    install.add("")
    said = explained(install, "")
    assert (said["state"], said["reason"], said["next"]["what"]) == ("invalid", "invalid_row", "nothing")
    assert said["row"]["flaw"].startswith("its id is empty")
    told = json.loads(install.call("ignore", "", "--json").stdout)["tracks"]
    assert (told[0]["before"]["state"], told[0]["after"]["state"]) == ("invalid", "out of scope"), told


def test_an_unknown_track_fails(install: Install) -> None:
    result = install.call("explain", "nobody")
    assert result.exit_code == 1
    assert result.stderr.startswith("reconciler: there is no track 'nobody' in table tracks")


def test_a_row_that_is_gone_is_explained_by_what_is_remembered(install: Install) -> None:
    install.add("a")
    install.call("run", "--once", "--timeout", "20s")
    install.sql("DELETE FROM tracks")
    said = json.loads(install.call("explain", "a", "--json").stdout)
    assert said["row"].startswith("gone")
    assert len(said["purchases"]) == 1


# -- schema --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["tracks", "main.tracks"])
def test_the_schema_printed_can_be_applied_as_it_is(install: Install, table: str) -> None:
    install.configure(database__table=f'"{table}"')
    printed = install.call("schema").stdout
    with closing(sqlite3.connect(install.database)) as connection:
        connection.executescript(printed)
        plan = str(connection.execute("EXPLAIN QUERY PLAN SELECT id FROM tracks WHERE image_url = ''").fetchall())
    assert "idx_tracks_image_url" in plan or "reconciler_without_image" in plan
    assert "reconciler_memory" in printed


@pytest.mark.parametrize("times", [1, 2])
def test_applying_makes_the_own_tables_and_no_index_on_the_apps(install: Install, times: int) -> None:
    for _ in range(times):
        assert install.call("schema", "--apply").exit_code == 0
    made = {row["name"] for row in install.sql("SELECT name FROM sqlite_master")}
    assert "reconciler_memory" in made
    assert "reconciler_without_image" not in made
    assert lines(install, "--offline")["own tables"] == [("ok", "there, and of this program's version")]


def test_what_is_printed_for_the_other_database_cannot_be_applied_here(install: Install) -> None:
    install.configure(database__table='"music.tracks"')
    printed = install.call("schema", "--dialect", "postgres").stdout
    assert "ENABLE ROW LEVEL SECURITY" in printed
    assert 'reconciler_without_image ON "music"."tracks"' in printed
    install.configure()
    refused = install.call("schema", "--dialect", "postgres", "--apply")
    assert refused.exit_code == 2
    assert "which is sqlite: leave --dialect postgres out" in refused.stderr
    assert install.sql("SELECT name FROM sqlite_master WHERE name LIKE 'reconciler%'") == []
    assert install.call("schema", "--dialect", "sqlite", "--apply").exit_code == 0
    assert install.sql("SELECT name FROM sqlite_master WHERE name LIKE 'reconciler%'") != []


@pytest.mark.parametrize(
    ("is_file", "says"), [(True, "may not be written"), (False, "its directory may not be written")]
)
def test_check_finds_a_database_that_may_only_be_read(
    install: Install, monkeypatch: pytest.MonkeyPatch, is_file: bool, says: str
) -> None:
    """Root may write anything, so the system's answer is changed instead."""
    access = os.access

    def refuse(path: Any, mode: int) -> bool:
        refused = str(path) == str(install.database if is_file else install.database.parent)
        return access(path, mode) and not (refused and mode & os.W_OK)

    monkeypatch.setattr(os, "access", refuse)
    result = install.call("check", "--offline")
    assert result.exit_code == 78
    assert says in result.output


@pytest.mark.parametrize(("mode", "beside"), [("wal", "-wal"), ("wal", "-shm"), ("truncate", "-journal")])
def test_check_finds_a_file_beside_the_database_that_may_only_be_read(
    install: Install, monkeypatch: pytest.MonkeyPatch, mode: str, beside: str
) -> None:
    access = os.access

    def refuse(path: Any, mode: int) -> bool:
        return access(path, mode) and not (str(path) == f"{install.database}{beside}" and mode & os.W_OK)

    monkeypatch.setattr(os, "access", refuse)
    with closing(sqlite3.connect(install.database)) as app:
        app.executescript(f"PRAGMA journal_mode = {mode}; CREATE TABLE other (x)")
        result = install.call("check", "--offline")
    assert result.exit_code == 78
    assert f"{install.database.name}{beside} beside it may not be written" in " ".join(result.output.split())
