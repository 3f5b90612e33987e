"""Requests to one bucket: within their time, made again while that may help, counted and explained."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from reconciler.images.s3_errors import IN_TIME, Failure, Operation, Outcome, failure_of
from reconciler.ports import StoreError

PAUSES_S = (0.2, 0.4)
"""Before a request is made again."""

StoreAsked = Callable[[Operation, Outcome], None]
T = TypeVar("T")


def unheard(_: Operation, __: Outcome) -> None:
    """Nobody counts."""


class S3Error(StoreError):
    def __init__(self, what: str, where: str, failure: Failure) -> None:
        super().__init__(f"{what}: {where}: {failure.said}; {failure.todo}")
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Access:
    """Which bucket, and how to get at it. `place`: in words. `call`: how long reading or listing may take; storing may
    take two."""

    place: str
    endpoint: str
    bucket: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    call: timedelta
    region: str = ""

    @property
    def request_timeout(self) -> timedelta:
        """Of one request: two fit into a call."""
        return self.call / 2


class Asking:
    """What one method asks, all of it within so many calls' time."""

    def __init__(self, access: Access, heard: StoreAsked, sleep: Callable[[float], None], calls: int) -> None:
        self._access, self._heard, self._sleep = access, heard, sleep
        self._ends = time.monotonic() + calls * access.call.total_seconds()

    def ask(self, operation: Operation, what: str, path: str, send: Callable[[], T]) -> T:
        """What `send` returns, whatever obstore raises; S3Error when it comes to nothing."""
        failure = IN_TIME
        for pause in (0.0, *PAUSES_S):
            if time.monotonic() + pause + self._access.request_timeout.total_seconds() > self._ends:
                break
            self._sleep(pause)
            answer = self._once(operation, send)
            if not isinstance(answer, Failure):
                return answer
            failure = answer
            if not failure.passes:
                break
        raise S3Error(what, f"{self._access.place}, {path}", failure)

    def _once(self, operation: Operation, send: Callable[[], T]) -> T | Failure:
        """The error itself is dropped: its text may hold what was signed."""
        try:
            answer: T | Failure = send()
        except Exception as error:  # noqa: BLE001 - obstore raises Python's own errors too
            answer = failure_of(error)
        self._heard(operation, answer.outcome if isinstance(answer, Failure) else Outcome.OK)
        return answer
