"""One id is written in several ways: as people paste it, and as the app writes it where it hands tasks over."""

import json
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from reconciler.commands.checking.lines import Outcome
from reconciler.kie.simulated import Succeed
from tests.cli.conftest import decided, run
from tests.postgres import SUPERUSER, Server
from tests.postgresql.guest import TRACK, Home, home, home_on, said
from tests.postgresql.installs import PostgresInstall, id_of, install

__all__ = ["home", "install"]

pytestmark = pytest.mark.slow

PAID = "5b1f00000000000000000000000000aa"
AT_ONCE = Succeed(run=timedelta(0), width=2048, height=1152)
HANDED = "INSERT INTO reconciler_image_task (track_id, task_id) VALUES (%s, %s)"
TOO_ODD = TRACK.replace("f", "F"), f"{{{TRACK}}}", f" {TRACK}", "no id", ""
SPELLINGS: dict[str, Callable[[str], str]] = {
    "in capitals": str.upper,
    "without hyphens": lambda track_id: track_id.replace("-", ""),
    "in capitals without hyphens": lambda track_id: track_id.replace("-", "").upper(),
}
PASTED = {**SPELLINGS, "in braces": "{{{}}}".format, "with a blank": " {} ".format, "as a URN": "urn:uuid:{}".format}
each_spelling = pytest.mark.parametrize("spelled", SPELLINGS.values(), ids=SPELLINGS)
each_pasted = pytest.mark.parametrize("spelled", PASTED.values(), ids=PASTED)


# -- tasks that are handed over ----------------------------------------------------------------------------------------


@each_spelling
def test_a_task_is_taken_over_and_none_bought_however_its_track_is_written(
    install: PostgresInstall, spelled: Callable[[str], str]
) -> None:
    install.add("a")
    install.call("schema", "--apply")
    install.kie.add_task(PAID, prompt="x", behaviour=AT_ONCE)
    install.sql(HANDED.replace("%s", "?"), spelled(id_of("a")), PAID)
    assert run(install)["resolved"] == {"adopted": 1}
    assert install.kie.book.purchases == ()


@each_spelling
def test_who_only_looks_sees_it_too(home: Home, spelled: Callable[[str], str]) -> None:
    home.database(SUPERUSER).close()
    home.put(image_url="https://covers.example/there.jpg")
    home.sql(HANDED, spelled(TRACK), PAID)
    home.sql(HANDED, spelled(TRACK), "another")
    home.sql(HANDED, TRACK, "another")
    with closing(home.reader(SUPERUSER)) as reader:
        assert set(reader.finder.due(9)) == {TRACK}
        assert reader.finder.due(9, [TRACK]) == (TRACK,)
        assert sorted(reader.peek(TRACK).memory.handed) == [PAID, "another"], "each once"
    assert said(home.check(SUPERUSER), Outcome.WARNING, "handed over") == []


def test_what_stands_for_no_track_is_told_and_looked_for_no_more(home: Home) -> None:
    home.database(SUPERUSER).close()
    home.put(image_url="https://covers.example/there.jpg")
    for track_id in TOO_ODD:
        home.sql(HANDED, track_id, PAID)
    with closing(home.reader(SUPERUSER)) as reader:
        assert reader.finder.due(9) == ()
        assert reader.overview().tracks
    (told,) = said(home.check(SUPERUSER), Outcome.WARNING, "handed over")
    assert told.startswith("reconciler_image_task: 5 tasks are for ids that no row of tracks has so written")
    assert repr(TOO_ODD[0]) in told


def test_whole_numbers_are_written_in_one_way(postgres: Server) -> None:
    with home_on(postgres, schema="CREATE TABLE tracks (id bigint PRIMARY KEY, status text, image_url text)") as home:
        home.database(SUPERUSER).close()
        home.sql("INSERT INTO tracks VALUES (12, 'completed', 'https://covers.example/there.jpg')")
        for track_id in ("012", " 12", "+12", "12.0", "x"):
            home.sql(HANDED, track_id, PAID)
        with closing(home.reader(SUPERUSER)) as reader:
            assert reader.finder.due(9) == ()
        assert "5 tasks are for ids" in said(home.check(SUPERUSER), Outcome.WARNING, "handed over")[0]
        home.sql(HANDED, "12", PAID)
        with closing(home.reader(SUPERUSER)) as reader:
            assert reader.finder.due(9) == ("12",)


# -- ids that are pasted -----------------------------------------------------------------------------------------------


@each_pasted
def test_the_command_line_takes_an_id_however_it_is_written(
    install: PostgresInstall, spelled: Callable[[str], str]
) -> None:
    install.add("a")
    install.add("b")
    track_id, pasted = id_of("a"), spelled(id_of("a"))
    told: dict[str, Any] = json.loads(install.call("explain", pasted, "--json").stdout)
    assert (told["track"], told["state"]) == (track_id, "missing")
    dry = install.call("run", "--once", "--dry-run", "--offline", "--track", pasted, "--json")
    assert [each["track"] for each in json.loads(dry.stdout)["tracks"]] == [track_id]
    assert decided(install, "ignore", pasted)[2] == "is ignored from now on"
    assert decided(install, "ignore", track_id)[2] == "was ignored already"
    assert decided(install, "ignore", pasted, "--undo")[2] == "is not ignored from now on"
    retried = json.loads(install.call("retry", pasted, track_id, "--json", "--yes").stdout)
    assert [each["track"] for each in retried["tracks"]] == [track_id]
    run(install, "--track", pasted)
    assert [purchase.prompt.split()[3] for purchase in install.kie.book.purchases] == ["a"]


def test_a_task_is_handed_over_to_the_track_that_was_meant(install: PostgresInstall) -> None:
    install.add("a")
    install.kie.add_task(PAID, prompt="a lighthouse called a in morning mist", behaviour=AT_ONCE)
    assert install.call("adopt", id_of("a").upper(), PAID).exit_code == 0
    assert install.sql("SELECT track_id FROM reconciler_image_task") == [{"track_id": id_of("a")}]
    install.sql("UPDATE reconciler_image_task SET track_id = upper(track_id)")
    assert install.call("adopt", id_of("a"), PAID).exit_code == 0, "it is its own"
