"""A process that is killed, in process: every call of every port is a place to die, before it and after it."""

from typing import Any


class Killed(BaseException):
    """Not an Exception: nothing of the program may catch it, as nothing catches a power cut."""


class Scissors:
    """Counts the places met; at the `cut_at`th, if given, the process dies. `places` names them in order."""

    def __init__(self, cut_at: int | None = None) -> None:
        self.places: list[str] = []
        self._cut_at = cut_at

    def wrap(self, name: str, port: Any) -> Any:
        return _Wrapped(name, port, self)

    def at(self, place: str) -> None:
        self.places.append(place)
        if len(self.places) - 1 == self._cut_at:
            raise Killed(place)


class _Wrapped:
    def __init__(self, name: str, port: Any, scissors: Scissors) -> None:
        self._name, self._port, self._scissors = name, port, scissors

    def __getattr__(self, method: str) -> Any:
        value = getattr(self._port, method)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            self._scissors.at(f"before {self._name}.{method}")
            result = value(*args, **kwargs)
            self._scissors.at(f"after {self._name}.{method}")
            return result

        return call
