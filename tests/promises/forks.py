"""Processes that come from one which has imported everything beforehand: begun in an instant, and without threads, so
that they may split themselves."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

_SERVER = get_context("forkserver")
_PARTS = [f"reconciler.app.{part}" for part in ("daemon", "dry", "once")]
_EXTRAS = ["obstore", "reconciler.database.driver"]
_SERVER.set_forkserver_preload(["tests.promises.matrix", "tests.promises.dying", *_PARTS, *_EXTRAS])


def alone(log: Path, work: Callable[..., T], *args: Any) -> T:
    """What `work` returns in a process of its own; fails with what that wrote to `log` where it returns nothing."""
    here, there = _SERVER.Pipe(duplex=False)
    process = started(log, _tell, there, work, args)
    there.close()
    try:
        result: T = here.recv()
    except EOFError:
        pytest.fail(log.read_text(encoding="utf-8"), pytrace=False)
    finally:
        process.kill()
        process.join()
        here.close()
    return result


def _tell(there: Connection, work: Callable[..., object], args: Sequence[Any]) -> None:
    there.send(work(*args))


def started(log: Path, work: Callable[..., object], *args: Any) -> ForkServerProcess:
    """A process that writes to `log`. Settings from outside are not for it, and its lines are not counted."""
    process = _SERVER.Process(target=_logged, args=(str(log), work, args), daemon=True)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("COVERAGE_", "RECONCILER_"))]:
            patch.delenv(name)
        process.start()
    return process


def _logged(log: str, work: Callable[..., object], args: Sequence[Any]) -> None:
    with Path(log).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    work(*args)


def split(work: Callable[[], object]) -> int:
    """A copy of this process, which must have no threads, does that and ends; its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - it must not go on as the other one
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def exit_code(child: int) -> int:
    """Negative where it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_a_copy(work: Callable[[], T]) -> T:
    """What it returns in a copy of this process, which itself stays as it is."""
    here, there = Pipe(duplex=False)
    child = split(lambda: there.send(work()))
    there.close()
    with here:
        try:
            result: T = here.recv()
        except EOFError:
            raise AssertionError("the copy failed") from None
        finally:
            exit_code(child)
    return result


def command(folder: str, arguments: Sequence[str], prepare: str, given: Sequence[object]) -> None:
    """The command line, after `prepare(*given)` of what there is to die of."""
    from reconciler.cli import main
    from tests.promises import dying

    os.chdir(folder)
    if prepare:
        getattr(dying, prepare)(*given)
    sys.argv = ["reconciler", *arguments]
    main()
