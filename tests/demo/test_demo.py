"""The demo as people run it: it ends as told, and what it leaves can be worked with."""

import errno
import io
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from reconciler import demo
from reconciler.app.counted import metrics_of
from reconciler.app.once import Narrowed, run_once
from reconciler.config import Settings, load
from reconciler.demo.folder import Folder
from reconciler.kie.simulated import KieServer, SimulatedKie

pytestmark = pytest.mark.timeout(180)


def everything_in(folder: Folder) -> tuple[list[tuple[object, ...]], dict[str, bytes]]:
    """The app's table, and the store."""
    connection = sqlite3.connect(folder.database)
    rows = connection.execute("SELECT * FROM tracks ORDER BY id").fetchall()
    connection.close()
    files = {str(path): path.read_bytes() for path in folder.images.rglob("*") if path.is_file()}
    return rows, files


def start_again(settings: Settings) -> SimulatedKie:
    """One more run at once, Kie being at the same place and knowing nothing of what was."""
    kie = SimulatedKie(lambda: datetime.now(UTC))
    port = int(settings.kie.base_url.rpartition(":")[2])
    with KieServer(kie, port=port):
        run_once(settings, Narrowed(timedelta(seconds=2)), metrics_of(settings), lambda _: None, lambda _: None)
    return kie


@pytest.fixture
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every name that is looked up and every address that is connected to, beyond this machine."""
    strangers: list[str] = []
    look_up, connect = socket.getaddrinfo, socket.socket.connect

    def noted_look_up(host: str, *rest: object, **more: object) -> object:
        if host not in {"127.0.0.1", "localhost"}:
            strangers.append(host)
        return look_up(host, *rest, **more)  # type: ignore[arg-type]

    def noted_connect(self: socket.socket, address: tuple[str, int]) -> None:
        if address[0] not in {"127.0.0.1", "::1"}:
            strangers.append(str(address))
        connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", noted_look_up)
    monkeypatch.setattr(socket.socket, "connect", noted_connect)
    return strangers


@pytest.mark.slow
def test_the_demo(tmp_path: Path, loopback_only: list[str]) -> None:
    """One run for all questions: it takes half a minute."""
    said = Console(file=io.StringIO(), width=200)
    folder = Folder(tmp_path / "play")
    assert demo.run(None, folder.root, said) == 0, said.file.getvalue()  # type: ignore[attr-defined]
    assert loopback_only == []

    with Image.open(folder.sheet) as sheet:
        assert sheet.format == "JPEG"
        assert sheet.width > 2000
        assert sheet.height > 3000

    settings = load(folder.config, {})
    left = everything_in(folder)
    assert start_again(settings).book.creations == ()
    assert everything_in(folder) == left
    assert folder.obstacle() is None, "an earlier demo is replaced"
    commands_work_as_printed(said.file.getvalue(), tmp_path)  # type: ignore[attr-defined]


def commands_work_as_printed(text: str, folder: Path) -> None:
    commands = [line.strip() for line in text.splitlines() if line.startswith("  ") and "--config" in line]
    assert len(commands) == 3
    for command in commands:
        ended = subprocess.run(command, shell=True, cwd=Path.cwd(), capture_output=True, text=True, check=False)  # noqa: S602
        assert ended.returncode in {0, 3}, ended.stderr
        assert ended.stdout
        assert ended.stderr == ""


def test_a_folder_that_is_no_demo_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.toml").write_text("[database]\n")
    assert demo.run(None, tmp_path) == 2
    assert "is there already and is no earlier demo" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


def test_a_file_in_the_place_of_the_folder_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("mine")
    assert Folder(tmp_path / "demo").obstacle() is not None


@pytest.mark.parametrize("place", ["made/of/a file/demo", "x" * 300])
def test_a_place_where_nothing_can_be_made_is_named(
    tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "made" / "of").mkdir(parents=True)
    (tmp_path / "made" / "of" / "a file").write_text("mine")
    assert demo.run(None, tmp_path / place) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"reconciler: {tmp_path / place} cannot be written (")
    assert said.endswith("); name another place with --dir\n")


@pytest.mark.parametrize("name", ["a b#c", "why?", "bell\a", "\x7f", "\udcff"])
def test_a_place_that_a_configuration_cannot_name_is_refused(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.run(None, tmp_path / name / "demo") == 2
    said = capsys.readouterr().err
    assert "has a letter that no database's URL can hold (# or ?, or one that is not printed)" in said
    assert "name another place with --dir" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_that_may_not_be_written_is_named(
    tmp_path: Path, is_there: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "demo"
    folder.mkdir() if is_there else None

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "write_text" if is_there else "mkdir", refuse)
    assert demo.run(None, folder) == 2
    said = f"reconciler: {folder} cannot be written (Permission denied); name another place with --dir\n"
    assert capsys.readouterr().err == said


def test_an_earlier_demo_is_replaced_and_what_lies_beside_it_stays(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write_config("http://127.0.0.1:1", 10)
    folder.images.mkdir()
    for made in (folder.database, folder.sheet, folder.images / "a.jpg", tmp_path / "app.db-journal"):
        made.write_bytes(b"old")
    (tmp_path / "notes.txt").write_text("mine")
    assert folder.obstacle() is None
    folder.clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.toml", "notes.txt"]


def test_the_config_names_absolute_places_and_no_host_but_this_one(tmp_path: Path) -> None:
    folder = Folder(tmp_path / 'odd "name"')
    folder.clear()
    folder.write_config("http://127.0.0.1:4321", 77)
    settings = load(folder.config, {})
    assert settings.database.path == folder.database
    assert settings.database.path.is_absolute()
    assert settings.storage.path == str(folder.images)
    assert settings.kie.base_url == "http://127.0.0.1:4321"
    assert settings.kie.file_hosts == ("127.0.0.1",)
    assert settings.budget.per_day == settings.budget.per_hour == 77


def test_a_demo_that_is_stopped_says_so_and_where_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    command = [sys.executable, "-m", "reconciler", "demo", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "tracks in" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.splitlines()[-1] == f"Stopped: what came of the stories until then is in {folder}."
