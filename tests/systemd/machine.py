"""A machine of its own for units: systemd in new namespaces, on a copy of this machine's files that is lost at the end.

So the units run as they stand, under the real systemd. It needs root, Linux namespaces, overlayfs and cgroup v2. Where
these are refused, tests that need it are skipped, and fail where the environment says that this is CI. Only the network
is this machine's own. Where cgroup controllers are missing, no limit of memory or processes holds.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from threading import Thread
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
PROGRAM = Path("/opt/reconciler")
VENV = PROGRAM / ".venv"
PACKAGES = VENV / "packages"
PYTHON = Path("/usr/local/lib/python-of-the-tests")
_BOOT = Path(__file__).with_name("machine.sh")
_THEIRS = Path("/lib/systemd/system")
_THEIR_UNITS = (
    *("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket"),
    *("dbus.service", "dbus.socket"),
)
_TARGETS = ("sysinit", "sockets", "basic", "network-online", "shutdown", "umount")
_BOOT_S = 60.0


def cannot(why: str) -> NoReturn:
    """This machine does not allow the test: aloud, and never in CI."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@cache
def tool(name: str, *packages: str) -> str:
    """The path of a program, which is installed from Debian's packages if need be. Where it cannot: see `cannot`."""
    if shutil.which(name) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        with _alone():
            for _ in range(3):  # another test may be updating the lists just now
                if shutil.which(name) is None:
                    _apt("update")
                    _apt("install", "--yes", "--no-install-recommends", *packages)
    return shutil.which(name) or cannot(f"there is no {name}; install {' '.join(packages)}")


@contextmanager
def _alone() -> Iterator[None]:
    """Tests may run in several processes."""
    with Path(gettempdir(), "reconciler-tests-apt.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _apt(*arguments: str) -> None:
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", *arguments]
    subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=False, timeout=300)


@dataclass(frozen=True, slots=True)
class Machine:
    """`pid`: its systemd, as this machine numbers it."""

    pid: int

    def run(self, *command: str, check: bool = True, given: str = "") -> "subprocess.CompletedProcess[str]":
        """As root, with stdout and stderr in one text."""
        inside = ["nsenter", f"--target={self.pid}", "--all", "--wdns=/", "--", *command]
        plain = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG"}}
        done = subprocess.run(
            inside,
            input=given,
            env=plain,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}\n{self.journal()}")
        return done

    def shell(self, script: str, given: str = "") -> str:
        """What a person types, ended at the first failure."""
        return self.run("bash", "-euo", "pipefail", "-c", script, given=given).stdout

    @contextmanager
    def terminal(self, script: str) -> Iterator["Terminal"]:
        """A person's, in which the script runs."""
        mine, theirs = os.openpty()
        inside = ["nsenter", f"--target={self.pid}", "--all", "--wdns=/", "--", "setsid", "--ctty", "bash", "-c"]
        plain = {"PATH": os.environ["PATH"], "TERM": "xterm"}
        process = subprocess.Popen([*inside, script], env=plain, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = Terminal(mine)
        try:
            yield shown
        finally:
            process.kill()
            process.wait()

    def write(self, path: str, text: str) -> None:
        self.run("install", "-D", "-m", "0644", "/dev/stdin", path, given=text)

    def drop_in(self, unit: str, text: str) -> None:
        self.write(f"/etc/systemd/system/{unit}.service.d/test.conf", text)
        self.run("systemctl", "daemon-reload")

    def show(self, unit: str) -> Mapping[str, str]:
        """All properties of a unit."""
        lines = self.run("systemctl", "show", unit).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def journal(self, *arguments: str) -> str:
        return self.run("journalctl", "--no-pager", "--output=cat", *arguments, check=False).stdout

    def status(self, unit: str) -> Mapping[str, str]:
        """Of a unit's main process, as the kernel tells it."""
        text = self.run("cat", f"/proc/{self.show(unit)['MainPID']}/status").stdout
        return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


class Terminal:
    """Looked at until nobody shows anything there, which may be after the machine's end."""

    def __init__(self, keys: int) -> None:
        self._keys, self._seen = keys, bytearray()
        Thread(target=self._look, daemon=True).start()

    def type(self, keys: bytes) -> None:
        os.write(self._keys, keys)

    def text(self) -> str:
        """All that was ever shown."""
        return self._seen.decode(errors="replace")

    def _look(self) -> None:
        with suppress(OSError):  # so the end of a terminal is told
            while seen := os.read(self._keys, 65536):
                self._seen += seen
        os.close(self._keys)


@contextmanager
def machine(folder: Path, shown: Mapping[Path, Path]) -> Iterator[Machine]:
    """Booted, with this checkout in /opt. `shown`: more directories of the real machine, and where they are there."""
    if os.geteuid() != 0:
        cannot("a machine of its own needs root")
    tool("systemd-analyze", "systemd")
    tool("dbus-daemon", "dbus")
    made = _prepared(folder)
    program = {ROOT: PROGRAM, made / "venv": VENV, Path(sysconfig.get_path("purelib")): PACKAGES, **_python()}
    with _cgroup() as cgroup:
        begun = _begun(made, cgroup, {**program, **shown})
        try:
            yield _booted(begun, made / "log")
        finally:
            begun.kill()
            begun.wait()


def _python() -> dict[Path, Path]:
    """Pythons that lie in a home would be hidden by the units."""
    return {} if Path(sys.base_prefix).is_relative_to("/usr") else {Path(sys.base_prefix): PYTHON}


def _prepared(folder: Path) -> Path:
    """What the machine begins with: an environment as `make install` would make it there, and units to boot."""
    made = folder / "machine"
    for name in ("work", "units", "venv/bin"):
        (made / name).mkdir(parents=True)
    for name in _TARGETS:
        (made / "units" / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    (made / "units" / "multi-user.target").write_text("[Unit]\nWants=systemd-journald.service dbus.socket\n")
    for name in _THEIR_UNITS:
        shutil.copy(_THEIRS / name, made / "units")
    _environment(made / "venv")
    return made


def _environment(folder: Path) -> None:
    base = Path(sys.base_prefix)
    real = Path(os.path.realpath(sys.executable))
    python = real if base not in _python() else PYTHON / real.relative_to(base)
    packages = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    packages.mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(python)
    (folder / "pyvenv.cfg").write_text(f"home = {python.parent}\ninclude-system-site-packages = false\n")
    (folder / ".program").touch()  # so that `make install` has nothing to do
    (packages / "all.pth").write_text(f"{PROGRAM}\n{PACKAGES}\n")
    script = folder / "bin" / "reconciler"
    script.write_text(f"#!{VENV}/bin/python\nfrom reconciler.cli import main\n\nmain()\n")
    script.chmod(0o755)


def _begun(made: Path, cgroup: Path, shown: Mapping[Path, Path]) -> "subprocess.Popen[bytes]":
    """Its end is the end of all in it, and so is ours."""
    pairs = [str(part) for pair in shown.items() for part in pair]
    spaces = ["--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child=KILL"]
    boot = ["unshare", *spaces, "sh", str(_BOOT), str(made / "work"), str(made / "units"), *pairs]
    join = f'echo $$ > "{cgroup}/cgroup.procs" && exec "$@"'
    with (made / "log").open("wb") as log:
        command = ["setpriv", "--pdeathsig=KILL", "sh", "-c", join, "sh", *boot]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _booted(begun: "subprocess.Popen[bytes]", log: Path) -> Machine:
    ends = time.monotonic() + _BOOT_S
    while time.monotonic() < ends and begun.poll() is None:
        booted = _systemd(begun.pid)
        if booted and booted.run("systemctl", "is-active", "multi-user.target", check=False).stdout == "active\n":
            _link(booted)
            return booted
        time.sleep(0.05)
    cannot(f"systemd cannot be booted in namespaces here: {log.read_text(errors='replace')}")


def _systemd(parent: int) -> Machine | None:
    """Its child, once that has become systemd. Before that, it still sees this machine's files, and may change them."""
    with suppress(OSError):
        for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            if Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                return Machine(int(pid))
    return None


def _link(booted: Machine) -> None:
    """The Python of the tests is the machine's: another would get an environment of its own."""
    python = "/usr/bin/python3"
    booted.shell(f'it=$(readlink {VENV}/bin/python); [ "$it" -ef {python} ] || ln -sf "$it" {python}')
    if _python():
        booted.write("/etc/ld.so.conf.d/python-of-the-tests.conf", f"{PYTHON}/lib\n")
        booted.run("ldconfig")


@contextmanager
def _cgroup() -> Iterator[Path]:
    """A new group at the top of cgroup v2, whose controllers are given to it as far as there are any."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    tops = [Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"]
    group = next(iter(tops), Path("/nowhere")) / f"reconciler-tests-{os.getpid()}-{time.monotonic_ns()}"
    try:
        group.mkdir()
    except OSError as error:
        cannot(f"a group of processes is refused: {error}")
    try:
        yield group
    finally:
        _removed(group)


def _removed(group: Path) -> None:
    """Processes leave their groups a moment after their death."""
    for _ in range(100):
        for each in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            with suppress(OSError):
                each.rmdir()
        with suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.05)
