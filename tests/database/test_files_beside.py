"""SQLite's files beside the database: whoever makes them gives rights to them only after that, for all to see.

Read-only files are none for root, so the daemon's part is played by a process of its own that is somebody else.
"""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent

import pytest

BESIDE = ("-wal", "-shm")
DAEMON = dedent(
    """
    import os, sys
    from reconciler.database.connection import connect
    from reconciler.database.errors import DatabaseReadOnly

    url = f"sqlite:///{sys.argv[1]}"
    if os.getuid() == 0:
        os.setuid(65534)

    def sum_of_x():
        return reader.db.execute_sql("SELECT sum(x) FROM t").fetchone()[0]

    def look():
        with reader.reading():
            return sum_of_x()

    def write():
        try:
            with worker.writing():
                worker.db.execute_sql("INSERT INTO t VALUES (1)")
        except DatabaseReadOnly as error:
            return "refused" if "the -wal and -shm beside it" in str(error) else str(error)
        return "written"

    reader = connect(url, None, readonly=True)
    look()
    worker = connect(url, None)
    for asked in sys.stdin:
        if asked == "write while reading\\n":
            with reader.reading():
                seen = sum_of_x()
                print(write(), seen, sum_of_x(), flush=True)
        else:
            print(write(), look(), flush=True)
    """
)


@contextmanager
def daemon(late: tuple[str, ...]) -> Iterator[tuple[Callable[[str], str], Callable[[], None]]]:
    """Asks a daemon to write, who finds `late` files read-only; and gives it the right to them."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "app.db"
        Path(folder).chmod(0o777)
        with closing(sqlite3.connect(path)) as app:
            app.executescript("PRAGMA journal_mode = wal; CREATE TABLE t (x)")
            path.chmod(0o666)
            for name in BESIDE:
                Path(f"{path}{name}").chmod(0o444 if name in late else 0o666)
            program = [sys.executable, "-c", DAEMON, str(path)]
            with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdin is not None
                assert process.stdout is not None

                def ask(what: str) -> str:
                    print(what, file=process.stdin, flush=True)
                    return process.stdout.readline().strip() if process.stdout else ""

                def give() -> None:
                    for name in BESIDE:
                        Path(f"{path}{name}").chmod(0o666)

                yield ask, give
                process.stdin.close()
            assert process.returncode == 0


@pytest.mark.parametrize("late", [BESIDE, BESIDE[:1], BESIDE[1:]])
def test_who_found_them_read_only_writes_once_they_are_not(late: tuple[str, ...]) -> None:
    with daemon(late) as (ask, give):
        assert ask("write") == "refused None"
        give()
        assert ask("write") == "written 1"


def test_what_is_used_just_then_is_left_alone() -> None:
    with daemon(BESIDE) as (ask, give):
        assert ask("write") == "refused None"
        give()
        assert ask("write while reading") == "refused None None"
        assert ask("write") == "written 1"
