"""The key that a run's audit reached outlives the run, and a run for some tracks only does not lose it. A daemon's pass
beside it goes on as if there were no run."""

import pytest

from reconciler.engine.events import Result
from reconciler.engine.sweep import Sweep
from tests.cli.conftest import Install, run


def noted(install: Install, name: str) -> list[str]:
    return [row["value"] for row in install.sql("SELECT value FROM reconciler_note WHERE name = ?", name)]


def reached(install: Install) -> list[str]:
    return noted(install, "once_reached")


def note(install: Install, name: str, key: str) -> None:
    install.sql("INSERT OR REPLACE INTO reconciler_note (name, value) VALUES (?, ?)", name, key)


def replaced(install: Install, *track_ids: str) -> None:
    """Their pictures are others now, which an audit alone can see."""
    url = install.kie.add_file("other.jpg", text="another picture")
    for track_id in track_ids:
        install.sql("UPDATE tracks SET image_url = ? WHERE id = ?", url, track_id)


@pytest.mark.slow
def test_a_run_for_one_track_leaves_the_audits_key(install: Install) -> None:
    install.configure(budget__per_day="0")
    install.add("a")
    install.add("b")
    assert install.call("run", "--once", "--limit", "1").exit_code == 3
    note(install, "once_reached", "a")
    assert install.call("run", "--once", "--track", "b").exit_code == 3
    assert reached(install) == ["a"]
    assert install.call("run", "--once").exit_code == 3
    assert reached(install) == []


@pytest.fixture
def all_good(install: Install) -> Install:
    for track_id in "abcd":
        install.add(track_id, image_url=install.kie.add_file("good.jpg", text="good"), resolution="2048x1152")
    run(install)
    return install


def test_a_run_beside_a_daemons_pass_looks_at_the_whole_table_and_leaves_the_pass_its_key(all_good: Install) -> None:
    note(all_good, "audit_reached", "b")
    replaced(all_good, "a", "d")
    assert run(all_good)["resolved"] == {"already_good": 2}
    assert noted(all_good, "audit_reached") == ["b"]


@pytest.mark.parametrize("cut", [("--limit", "1"), ("--timeout", "1ms"), ()])
def test_a_pass_that_a_daemon_begins_meanwhile_keeps_its_key(
    all_good: Install, cut: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Sweep.run

    def beside_a_daemon(sweep: Sweep) -> Result:
        note(all_good, "audit_reached", "c")
        return work(sweep)

    monkeypatch.setattr(Sweep, "run", beside_a_daemon)
    all_good.add("due")
    run(all_good, *cut)
    assert noted(all_good, "audit_reached") == ["c"]


def test_a_run_that_goes_on_where_another_was_cut_comes_to_what_that_one_had_walked_too(all_good: Install) -> None:
    note(all_good, "once_reached", "b")
    replaced(all_good, "a", "d")
    assert run(all_good)["resolved"] == {"already_good": 2}
    assert reached(all_good) == []
