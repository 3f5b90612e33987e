"""A textfile: tried before there is anything to put there, readable for whoever collects it, and whole."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from reconciler.service.textfile import try_textfile, write_textfile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "reconciler.prom"


@pytest.fixture
def _close_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_close_umask")
def test_others_may_read_it_whatever_the_umask(path: Path) -> None:
    write_textfile(path, b"text")
    assert (path.read_bytes(), oct(path.stat().st_mode & 0o777)) == (b"text", "0o644")


def test_a_trial_leaves_what_was_there_and_nothing_else(path: Path) -> None:
    try_textfile(path)
    assert not path.exists()
    path.write_text("from the last run")
    try_textfile(path)
    assert path.read_text() == "from the last run"
    assert [*path.parent.iterdir()] == [path]


def test_of_two_processes_at_once_each_leaves_a_whole_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow = Path.chmod

    def allow_later(made: Path, mode: int) -> None:
        monkeypatch.setattr(Path, "chmod", allow)
        with monkeypatch.context() as another:
            another.setattr(os, "getpid", lambda: 1)
            write_textfile(path, b"theirs")
        assert path.read_bytes() == b"theirs"
        made.chmod(mode)

    monkeypatch.setattr(Path, "chmod", allow_later)
    write_textfile(path, b"ours")
    assert path.read_bytes() == b"ours"


@pytest.mark.parametrize("there", ["from the last run", None])
def test_a_link_stays_and_what_it_leads_to_is_replaced(path: Path, there: str | None) -> None:
    real = path.parent / "elsewhere" / "real.prom"
    real.parent.mkdir()
    if there is not None:
        real.write_text(there)
    path.symlink_to("elsewhere/real.prom")
    try_textfile(path)
    write_textfile(path, b"text")
    assert (path.is_symlink(), real.is_symlink(), real.read_bytes()) == (True, False, b"text")
    assert [*real.parent.iterdir()] == [real]
    assert {*path.parent.iterdir()} == {path, real.parent}


@pytest.mark.parametrize("through_a_link", [False, True])
def test_what_is_no_file_is_left_there(path: Path, *, through_a_link: bool) -> None:
    pipe = path.with_name("pipe") if through_a_link else path
    os.mkfifo(pipe)
    if through_a_link:
        path.symlink_to(pipe)
    before = {*path.parent.iterdir()}
    for attempt in (try_textfile, partial(write_textfile, content=b"")):
        with pytest.raises(OSError, match="Not a regular file") as raised:
            attempt(path)
        assert raised.value.filename == str(path)
    assert pipe.is_fifo()
    assert {*path.parent.iterdir()} == before


def test_a_link_that_leads_nowhere_is_left_there(path: Path) -> None:
    path.symlink_to(path)
    for attempt in (try_textfile, partial(write_textfile, content=b"")):
        with pytest.raises(OSError, match="Too many levels of symbolic links") as raised:
            attempt(path)
        assert raised.value.filename == str(path)
    assert path.is_symlink()


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("nowhere/reconciler.prom", "No such file or directory"),
        (".", "Is a directory"),
        ("/", "Is a directory"),
        ("x" * 255, "File name too long"),
    ],
)
def test_a_trial_fails_where_the_file_could_not_be_written(tmp_path: Path, where: str, why: str) -> None:
    path = tmp_path / where
    for attempt in (try_textfile, partial(write_textfile, content=b"")):
        with pytest.raises(OSError, match=why) as raised:
            attempt(path)
        assert raised.value.filename == str(path)
    assert [*tmp_path.iterdir()] == []
