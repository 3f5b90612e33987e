"""A machine on which the reconciler was installed as systemd/README.md says, beside an app with its database."""

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from reconciler.kie.simulated import API_KEY
from tests.cli.conftest import Install, installed
from tests.systemd.machine import UNITS, VENV, Machine, machine

README = (UNITS / "README.md").read_text(encoding="utf-8")
DATABASE = "/srv/app/data/app.db"


def blocks(section: str) -> list[str]:
    """The commands in a section of systemd/README.md."""
    _, _, after = README.partition(f"\n## {section}\n")
    return re.findall(r"^```sh\n(.*?)^```$", after.partition("\n## ")[0], re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Host:
    machine: Machine
    install: Install
    port: int

    def configure(self, **changes: Any) -> None:
        self.install.configure(
            **{
                "database__url": f'"sqlite:///{DATABASE}"',
                "kie__api_key": '""',
                "storage__path": '"/var/lib/reconciler/images"',
                "storage__public_url": f'"http://127.0.0.1:{self.port}/images"',
                "http__port": str(self.port),
                **changes,
            }
        )
        self.machine.write("/etc/reconciler/config.toml", self.install.config.read_text(encoding="utf-8"))

    def as_app(self, script: str) -> str:
        """A Python script, run by the app's user."""
        return self.machine.run("runuser", "-u", "app", "--", f"{VENV}/bin/python", "-c", script).stdout

    def get(self, path: str) -> str:
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            text: bytes = answer.read()
        return text.decode()


@contextmanager
def host(folder: Path) -> Iterator[Host]:
    """Installed, configured, with a key; nothing is started."""
    data = folder / "app"
    data.mkdir()
    with installed(data) as install, machine(folder, {data: Path(DATABASE).parent}) as made:
        made.shell("useradd --system --user-group app; chown -R app:app /srv/app/data")
        first, secret, shared = blocks("Install")
        made.shell(first)
        made.shell(secret, given=f"{API_KEY}\n")
        made.shell(shared)
        whole = Host(made, install, free_port())
        whole.configure()
        yield whole


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def eventually(true: Callable[[], bool], within_s: float = 60.0) -> bool:
    ends = time.monotonic() + within_s
    while not (held := true()) and time.monotonic() < ends:
        time.sleep(0.05)
    return held
