"""Programs that tests need and that no Python package brings: from PATH, else out of Debian's package."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest


class Unavailable(Exception):
    """A program is not here and cannot be had; says why."""


def debian_tool(package: str, path_inside: str) -> Path:
    """The program of that name on PATH, else `path_inside` (such as usr/bin/promtool) of Debian's `package`.

    What was unpacked is kept for the next run, in a directory of this user. Where the program cannot be had, the test
    is skipped and says why; with CI set it fails, since a test that nobody runs proves nothing.
    """
    try:
        tool = found_or_unpacked(package, path_inside)
    except Unavailable as error:
        _give_up(f"{Path(path_inside).name} is not on PATH, and Debian's {package} cannot be had: {error}")
    return tool


def found_or_unpacked(package: str, path_inside: str) -> Path:
    """Raises Unavailable."""
    on_path = shutil.which(Path(path_inside).name)
    if on_path is not None:
        return Path(on_path)
    home = _home()
    with _locked(home / f"{package}.lock"):
        root = home / package
        if not root.exists():
            _unpack(package, root)
    tool = root / path_inside
    if not os.access(tool, os.X_OK):
        raise Unavailable(f"the package has no program {path_inside}")
    return tool


def chromium() -> Path:
    """Debian's, with all that it needs: that is too much to be unpacked, so it is installed, which only root can."""
    try:
        return installed("chromium")
    except Unavailable as error:
        _give_up(f"chromium is not on PATH, and Debian's cannot be installed: {error}")


def installed(package: str) -> Path:
    """Its program of that name. Raises Unavailable."""
    with _locked(_home() / f"{package}.lock"):
        if shutil.which(package) is None:
            if os.getuid() != 0:
                raise Unavailable("that takes root")
            folder = Path(tempfile.gettempdir())
            install = "apt-get", "install", "--yes", "--no-install-recommends", package
            try:
                _run(*install, cwd=folder, within_s=600)
            except Unavailable:
                _run("apt-get", "update", cwd=folder)
                _run(*install, cwd=folder, within_s=600)
    tool = shutil.which(package)
    if tool is None:
        raise Unavailable(f"the package has no program {package}")
    return Path(tool)


def unpacked_before(inside: str) -> list[Path]:
    """All of that path, of whichever package."""
    return sorted(_home().glob(f"*/{inside}"))


def _give_up(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _home() -> Path:
    """Nobody else may write there: what is in it gets run."""
    home = Path(tempfile.gettempdir()) / f"reconciler-tools-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    state = home.lstat()
    if home.is_symlink() or state.st_uid != os.getuid() or state.st_mode & 0o022:
        raise Unavailable(f"{home} is open to others")
    return home


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time: pytest-xdist runs several."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _unpack(package: str, root: Path) -> None:
    """`root` appears only when it is complete."""
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        folder = Path(scratch)
        try:
            _run("apt-get", "download", package, cwd=folder)
        except Unavailable:
            _run("apt-get", "update", cwd=folder)
            _run("apt-get", "download", package, cwd=folder)
        for archive in folder.glob("*.deb"):
            _run("dpkg", "-x", archive.name, "unpacked", cwd=folder)
        if not (folder / "unpacked").is_dir():
            raise Unavailable("apt-get download brought no package")
        (folder / "unpacked").rename(root)


def _run(*command: str, cwd: Path, within_s: float = 90) -> None:
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        ended = subprocess.run(
            command, cwd=cwd, env=quiet, check=False, capture_output=True, text=True, timeout=within_s
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{' '.join(command)}: {error}") from error
    if ended.returncode != 0:
        said = (ended.stderr or ended.stdout).strip().splitlines()
        raise Unavailable(f"{' '.join(command)}: {said[-1] if said else f'exit code {ended.returncode}'}")
