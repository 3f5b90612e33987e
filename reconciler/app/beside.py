"""Work beside the main thread, which hears signals meanwhile: where a driver waits for a lock, it hears none."""

import math
from collections.abc import Callable
from concurrent.futures import Future, wait
from datetime import timedelta
from threading import Thread
from time import monotonic
from typing import TypeVar

T = TypeVar("T")

LOOK_UP_S = 0.2


class Left(Exception):
    """It was to end and did not. It goes on until the process ends."""


def beside(work: Callable[[], T], is_asked: Callable[[], bool], patience: timedelta) -> T:
    """What `work` returns or raises. Raises Left where it is not done so long after it was asked to end."""
    done: Future[T] = Future()
    Thread(target=_do, args=(work, done), name="work", daemon=True).start()
    ends = math.inf
    while not wait([done], LOOK_UP_S).done:
        if not is_asked():
            continue
        ends = min(ends, monotonic() + patience.total_seconds())
        if monotonic() >= ends:
            raise Left
    return done.result()


def _do(work: Callable[[], T], done: "Future[T]") -> None:
    try:
        done.set_result(work())
    except BaseException as error:  # noqa: BLE001 - raised where it is waited for
        done.set_exception(error)
