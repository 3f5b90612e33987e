"""The units under the real systemd, installed and used by the commands of systemd/README.md as they stand."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.kie.simulated import API_KEY, Stall
from tests.systemd.host import DATABASE, Host, blocks, eventually, host
from tests.systemd.machine import VENV, tool
from tests.systemd.test_units import DAEMON, SWEEP, lines

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # packages may have to be installed first

LOOK, ENABLE = blocks("Start")
SWEEPING = blocks("One sweep")[0]
SAVE, _, UPGRADE, BACK, _, AGAIN = blocks("Upgrade, and back")
PICTURES = "/var/lib/reconciler/images"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Host]:
    with host(tmp_path) as made:
        yield made


def test_the_real_machine_is_left_alone(here: Host) -> None:
    here.machine.write("/etc/reconciler/of-the-tests", "")
    here.machine.run("systemctl", "enable", "reconciler")
    assert not Path("/etc/reconciler/of-the-tests").exists()
    assert not Path("/etc/systemd/system/multi-user.target.wants/reconciler.service").exists()
    assert "reconciler:" in here.machine.run("cat", "/etc/passwd").stdout
    assert "reconciler:" not in Path("/etc/passwd").read_text(encoding="utf-8")


def test_a_look_first_then_a_sweep_that_repairs_a_track(here: Host) -> None:
    here.install.add("a")
    looked = here.machine.run("bash", "-c", LOOK, check=False)
    assert looked.returncode == 3, looked.stdout
    assert "takes the key" in looked.stdout
    assert "would buy 1 at once" in " ".join(looked.stdout.lower().split())
    assert not here.install.kie.book.creations

    told = here.machine.shell(SWEEPING)
    assert "Ordered: 1 (1 accepted)" in told
    (row,) = here.install.rows()
    key = row["image_url"].removeprefix(f"http://127.0.0.1:{here.port}/images/")
    rights = here.machine.run("stat", "-c", "%U %G %a", f"{PICTURES}/{key}", PICTURES).stdout
    assert rights == "reconciler reconciler 640\nreconciler reconciler 750\n"


def test_the_function_for_other_commands_gives_what_the_units_give() -> None:
    """Users, rights and secrets of the units, and what the README's drop-in adds."""
    given = set(re.findall(r"-p (\S+)", LOOK))
    added = {"SupplementaryGroups=app", "ReadWritePaths=/srv/app/data", "WorkingDirectory=/var/lib/reconciler"}
    assert given - added < {f"{key}={value}" for key, value in lines(SWEEP)}
    needed = {"User", "UMask", "StateDirectory", "StateDirectoryMode", "LoadCredential"}
    assert {f"{key}={value}" for key, value in lines(DAEMON) if key in needed} < given


def test_ctrl_c_ends_in_order_what_the_function_runs(here: Host) -> None:
    here.install.kie.script.when(Stall())
    here.install.add("a")
    function = LOOK.partition("reconciler check\n")[0]
    with here.machine.terminal(f"{function}reconciler run --once; echo it ended with $?") as terminal:
        assert eventually(lambda: bool(here.install.kie.book.creations)), terminal.text()[-500:]
        terminal.type(b"\x03")
        assert eventually(lambda: "it ended with" in terminal.text()), terminal.text()[-500:]
    assert "it ended with 3" in terminal.text()
    assert here.install.sql("SELECT outcome FROM reconciler_purchase") == [{"outcome": "accepted"}]
    assert here.install.sql("SELECT lease_owner FROM reconciler_memory") == [{"lease_owner": None}]
    assert here.machine.run("systemctl", "list-units", "--no-legend", "run-*").stdout == ""


def test_work_that_remains_is_no_failure(here: Host) -> None:
    here.install.add("a")
    here.machine.shell("printf wrong > /etc/credstore/reconciler.kie_api_key")
    assert "unauthorized" in here.machine.shell(SWEEPING)
    assert here.machine.show("reconciler-sweep")["Result"] == "success"

    here.machine.drop_in("reconciler-sweep", "[Service]\nSuccessExitStatus=\n")
    assert ended_with(here) == "3"

    here.machine.run("rm", "/etc/credstore/reconciler.kie_api_key")
    assert ended_with(here) == "78", "without any secret it starts all the same, and says what it lacks"
    assert "kie.api_key" in here.machine.journal("-u", "reconciler-sweep")
    here.configure(budget__per_day="0")
    assert ended_with(here) == "3", "to buy nothing it needs none"


def ended_with(here: Host) -> str:
    """The exit code of a sweep that systemd calls failed."""
    assert here.machine.run("systemctl", "start", "reconciler-sweep", check=False).returncode != 0
    shown = here.machine.show("reconciler-sweep")
    assert shown["Result"] == "exit-code"
    return str(shown["ExecMainStatus"])


def test_a_wrong_configuration_is_told_once(here: Host) -> None:
    here.configure(kie__model='"nobody"')
    here.machine.drop_in("reconciler", "[Service]\nRestartSec=100ms\n")
    assert here.machine.run("systemctl", "start", "reconciler", check=False).returncode != 0
    shown = here.machine.show("reconciler")
    assert (shown["ActiveState"], shown["NRestarts"], shown["ExecMainStatus"]) == ("failed", "0", "78")
    assert "[kie] model" in here.machine.journal("-u", "reconciler")
    assert "status=78/CONFIG" in here.machine.run("systemctl", "status", "reconciler", check=False).stdout


def test_a_mistake_in_its_arguments_is_told_once(here: Host) -> None:
    here.machine.drop_in(
        "reconciler", "[Service]\nRestartSec=100ms\nExecStart=\nExecStart=/opt/reconciler/.venv/bin/reconciler rnu\n"
    )
    assert here.machine.run("systemctl", "start", "reconciler", check=False).returncode != 0
    shown = here.machine.show("reconciler")
    assert (shown["ActiveState"], shown["NRestarts"], shown["ExecMainStatus"]) == ("failed", "0", "2")
    assert "status=2/INVALIDARGUMENT" in here.machine.run("systemctl", "status", "reconciler", check=False).stdout


def test_after_a_failure_it_is_started_again(here: Host) -> None:
    here.machine.drop_in("reconciler", "[Service]\nRestartSec=100ms\nExecStart=\nExecStart=/bin/false\n")
    here.machine.run("systemctl", "start", "reconciler", check=False)
    assert eventually(lambda: int(here.machine.show("reconciler")["NRestarts"]) > 2)


def test_a_daemon_is_enabled_looked_at_given_another_key_and_stopped(here: Host) -> None:
    tool("curl", "curl")
    here.install.add("a")
    here.machine.shell("printf 'wrong\n' > /etc/credstore/reconciler.kie_api_key")
    here.machine.shell(ENABLE)
    status, warnings, health = blocks("Look")[0].replace("9464", str(here.port)).splitlines()
    assert eventually(lambda: "Kie refuses the key" in here.machine.shell(warnings))

    first = here.machine.show("reconciler")["MainPID"]
    here.machine.shell(blocks("Another key")[0], given=f"{API_KEY}\n")
    assert here.machine.show("reconciler")["MainPID"] != first
    assert "active (running)" in here.machine.shell(status)
    assert here.machine.shell(health).startswith("ok")
    here.machine.run("systemctl", "stop", "reconciler")
    shown = here.machine.show("reconciler")
    assert (shown["Result"], shown["ExecMainStatus"]) == ("success", "0")


def test_a_daemon_that_hangs_is_killed_and_started_again(here: Host) -> None:
    here.machine.drop_in("reconciler", "[Service]\nWatchdogSec=5s\nTimeoutAbortSec=100ms\nRestartSec=100ms\n")
    here.machine.run("systemctl", "start", "reconciler")
    first = here.machine.show("reconciler")["MainPID"]
    here.machine.run("kill", "-STOP", first)
    assert eventually(lambda: here.machine.show("reconciler")["NRestarts"] != "0")
    assert "Watchdog timeout" in here.machine.journal("-u", "reconciler")
    assert eventually(lambda: here.machine.show("reconciler")["ActiveState"] == "active")


def test_the_app_and_the_daemon_write_one_database(here: Host) -> None:
    here.as_app(opened("db.execute('PRAGMA journal_mode=wal'); db.close()"))
    here.install.add("a")
    here.machine.run("systemctl", "start", "reconciler")
    assert eventually(lambda: bool(here.install.rows()[0]["image_url"]))
    here.as_app(opened("db.execute('UPDATE tracks SET likes = 7'); db.close()"))
    here.machine.run("systemctl", "stop", "reconciler")

    here.as_app(opened("db.execute('UPDATE tracks SET likes = 8'); os._exit(0)"))
    here.install.add("b")
    here.machine.run("systemctl", "start", "reconciler")
    assert eventually(lambda: all(row["image_url"] for row in here.install.rows()))
    assert [row["likes"] for row in here.install.rows()] == [8, 0]


def test_files_that_a_unit_makes_beside_the_database_are_the_apps_too(here: Host) -> None:
    here.install.add("a")
    script = opened("db.execute('PRAGMA journal_mode=wal'); db.execute('UPDATE tracks SET likes = 1'); time.sleep(60)")
    command = f'{VENV}/bin/python -c "{script}"'
    here.machine.drop_in("reconciler", f"[Service]\nType=exec\nWatchdogSec=0\nExecStart=\nExecStart={command}\n")
    here.machine.run("systemctl", "start", "reconciler")
    beside = Path(f"{here.install.database}-wal")
    assert eventually(lambda: beside.exists() and beside.stat().st_size > 0)
    owner = here.machine.run("stat", "-c", "%U %G %a", f"{DATABASE}-wal").stdout
    assert owner == "reconciler app 660\n"
    here.as_app(opened("db.execute('UPDATE tracks SET likes = likes + 1'); db.close()"))
    assert here.as_app(opened("print(db.execute('SELECT likes FROM tracks').fetchone())")) == "(2,)\n"


def opened(then: str) -> str:
    return f"import os, sqlite3, time; db = sqlite3.connect('{DATABASE}', isolation_level=None); {then}"


def test_an_upgrade_the_way_back_and_the_end(here: Host) -> None:
    tool("sqlite3", "sqlite3")
    here.install.add("a")
    here.machine.shell(SWEEPING)
    remembered = here.install.sql("SELECT * FROM reconciler_purchase")
    assert remembered
    handed = "INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('a', ?)"
    here.install.sql(handed, "before")
    here.machine.drop_in("reconciler-sweep", "[Service]\nExecStart=\nExecStart=/bin/sleep 600\n")
    here.machine.run("systemctl", "start", "reconciler")
    here.machine.run("systemctl", "start", "--no-block", "reconciler-sweep")
    here.machine.shell(SAVE)
    assert here.machine.show("reconciler")["ActiveState"] == "inactive"
    assert here.machine.show("reconciler-sweep")["ActiveState"] != "activating"
    assert here.machine.run("stat", "-c", "%a", "/var/backups/reconciler.sql").stdout == "600\n"

    here.install.sql("UPDATE reconciler_schema SET version = version + 1")
    here.install.sql("CREATE TABLE reconciler_newer (x)")
    here.install.sql(handed, "since")
    assert here.machine.run("bash", "-ec", UPGRADE, check=False).returncode != 0
    assert here.machine.show("reconciler")["ExecMainStatus"] == "78"
    here.machine.shell(BACK)
    assert here.install.sql("SELECT * FROM reconciler_purchase") == remembered
    assert here.install.sql("SELECT name FROM sqlite_master WHERE name = 'reconciler_newer'") == []
    known = here.install.sql("SELECT task_id FROM reconciler_image_task WHERE track_id = 'a' ORDER BY task_id")
    assert [row["task_id"] for row in known] == ["before", "since"]
    here.machine.shell(UPGRADE.removesuffix("systemctl start reconciler\n"))
    function = LOOK.partition("\n}\n")[0] + "\n}\n"
    back = here.machine.shell(function + AGAIN.replace("--dry-run", "--dry-run || [ $? = 3 ]"))
    assert "Paused" in back
    assert "Resumed" in back
    assert here.machine.show("reconciler")["ActiveState"] == "active"

    here.machine.shell(ENABLE)
    here.machine.run("systemctl", "start", "--no-block", "reconciler-sweep")
    here.machine.shell("rm /etc/credstore/reconciler.*")  # as where no secret was ever kept there
    here.machine.shell(blocks("Remove")[0])
    assert here.machine.show("reconciler-sweep")["ActiveState"] != "activating"
    assert here.machine.show("reconciler")["LoadState"] == "not-found"
    assert here.machine.shell(f"find {PICTURES} -name '*.jpg'")
