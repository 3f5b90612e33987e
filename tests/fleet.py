"""Several processes of the program on one install behind a pooler: Kie tells them apart, and they begin together."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any

from reconciler.kie.simulated import KieServer, Settings, SimulatedKie
from reconciler.kie.simulated.wire import Request, Response
from tests.daemons import Running, eventually, running
from tests.postgres import Bouncer, Server
from tests.postgresql.installs import PostgresInstall
from tests.postgresql.ways import database_on

_TELLS_ITS_NAME = 'import reconciler\nreconciler.__version__ += " ({name})"\n'
_BARRIER = """
import fcntl, sys
import reconciler.app.daemon, reconciler.app.once, reconciler.database
print("at the barrier", file=sys.stderr, flush=True)
with open({path!r}) as barrier:
    fcntl.flock(barrier, fcntl.LOCK_SH)
"""

Heard = Callable[[str, str], object]
"""The name of who asks, and the path."""


@contextmanager
def shared_install(server: Server, bouncer: Bouncer, folder: Path, **kie: Any) -> Iterator[PostgresInstall]:
    """`kie`: the simulated account's settings."""
    folder.mkdir(exist_ok=True)
    rich = Settings(**{"credits": 100_000, "creation_limit": 1000, "max_running": 1000, **kie})
    simulated = SimulatedKie(lambda: datetime.now(UTC), seed=1, settings=rich)
    with KieServer(simulated) as at, database_on(server) as name:
        install = PostgresInstall(folder, simulated, at.base_url, server, bouncer, name)
        install.configure()
        yield install


def add_stuck(install: PostgresInstall, tracks: int) -> None:
    """Their prompts name them t001, t002, …"""
    born = datetime.now(UTC) - timedelta(days=2)
    install.sql(
        "INSERT INTO tracks (title, prompt, status, created_at, updated_at, extended_prompt_image) SELECT 'Song ' || n,"
        " 'Generated Vibe', 'completed', ?::timestamptz, ?::timestamp,"
        " 'a lighthouse called t' || to_char(n, 'FM000') || ' in morning mist' FROM generate_series(1, ?::int) n",
        born,
        born.replace(tzinfo=None),
        tracks,
    )


class Fleet:
    """`members`: by name, what runs under it, or ran last. `asked`: how often each has asked Kie or a host of files.

    `heard` is called when Kie has done what a member asks for, and before it answers.
    """

    def __init__(self, install: PostgresInstall, stack: ExitStack) -> None:
        self.members, self.asked = dict[str, Running](), Counter[str]()
        self.heard: Heard = lambda *_: None
        self._install, self._stack, self._commands = install, stack, dict[str, tuple[str, ...]]()
        self._barrier = stack.enter_context((install.folder / "barrier").open("w"))
        self._answer = install.kie.handle
        install.kie.handle = self._handle  # type: ignore[method-assign]
        flock(self._barrier, LOCK_EX)

    def start(self, name: str, *arguments: str, before: str = "") -> Running:
        """It waits at the barrier, unless `go` was called already. `before`: see `running`."""
        whole = _TELLS_ITS_NAME.format(name=name) + before + _BARRIER.format(path=self._barrier.name)
        # What systemd is told of one that is stopped is of no interest here.
        made = running(self._install, *arguments, before=whole, ready=False, WATCHDOG_USEC="10000000")
        self.members[name], self._commands[name] = self._stack.enter_context(made), arguments
        return self.members[name]

    def go(self) -> None:
        """All that were started begin at once; later ones when they are started."""
        eventually(lambda: all("at the barrier" in member.stderr() for member in self.members.values()))
        self._barrier.close()

    def again(self, name: str) -> None:
        self.start(name, *self._commands[name])

    def lives(self, name: str) -> bool:
        return self.members[name].process.poll() is None

    def signal(self, name: str, number: int) -> None:
        self.members[name].process.send_signal(number)

    def wait_stopped(self, name: str) -> None:
        member = self.members[name]
        state = Path(f"/proc/{member.process.pid}/stat")

        def has_stopped() -> bool:
            assert self.lives(name), member.stderr()
            return state.read_text().rpartition(")")[2].split()[0] == "T"

        eventually(has_stopped)

    def told(self, name: str) -> list[dict[str, Any]]:
        """What whoever runs under it now has logged."""
        lines = self.members[name].stderr().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def _handle(self, request: Request) -> Response:
        response = self._answer(request)
        name = re.search(r"\((.*)\)", request.headers.get("user-agent", ""))
        if name is not None:
            self.asked[name[1]] += 1
            self.heard(name[1], request.url_path)
        return response


@contextmanager
def fleet(install: PostgresInstall) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(install, stack)
