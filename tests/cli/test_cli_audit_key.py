"""The key that an audit reached outlives the run, and a run for some tracks only does not lose it."""

import pytest

from tests.cli.conftest import Install


def reached(install: Install) -> list[str]:
    return [row["value"] for row in install.sql("SELECT value FROM reconciler_note WHERE name = 'audit_reached'")]


@pytest.mark.slow
def test_a_run_for_one_track_leaves_the_audits_key(install: Install) -> None:
    install.configure(budget__per_day="0")
    install.add("a")
    install.add("b")
    assert install.call("run", "--once", "--limit", "1").exit_code == 3
    install.sql("INSERT OR REPLACE INTO reconciler_note (name, value) VALUES ('audit_reached', 'a')")
    assert install.call("run", "--once", "--track", "b").exit_code == 3
    assert reached(install) == ["a"]
    assert install.call("run", "--once").exit_code == 3
    assert reached(install) == []
