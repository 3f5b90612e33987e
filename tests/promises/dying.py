"""For the process that is to be killed: it kills itself at a place of the program that was named beforehand."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from itertools import count
from typing import Any

from reconciler.database.connection import Connection


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(*places: str) -> None:
    """At the last of these, having passed the others in their order: `before` or `after` a `module:Class.method`."""
    ahead = list(places)

    def pass_by(place: str) -> None:
        if place == ahead[0]:
            del ahead[0]
            if not ahead:
                die()

    for method in {place.split()[1] for place in places}:
        _watch(method, pass_by)


def die_after_transaction(number: int) -> None:
    """Once so many were committed, of whatever thread."""
    begin: Any = Connection._transaction
    numbers = count(1)

    @contextmanager
    def counted(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with begin(*args, **kwargs) as begun:
            yield begun
        if next(numbers) == number:
            die()

    Connection._transaction = counted  # type: ignore[method-assign]


def _watch(method: str, pass_by: Callable[[str], None]) -> None:
    module, _, path = method.partition(":")
    kind, _, name = path.partition(".")
    owner = getattr(import_module(module), kind)
    call = getattr(owner, name)

    @wraps(call)
    def watched(*args: Any, **kwargs: Any) -> Any:
        pass_by(f"before {method}")
        result = call(*args, **kwargs)
        pass_by(f"after {method}")
        return result

    setattr(owner, name, watched)
