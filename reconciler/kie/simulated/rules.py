"""The script: which calls and tasks show which behaviour."""

import hashlib
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import UnionType

from reconciler.kie.simulated.behaviour import Answer, Behaviour, Notify, Outcome

Kind = type[Notify] | UnionType
"""Answer, Outcome or Notify."""


class Operation(StrEnum):
    CREATE = "create"
    RECORD = "record"
    SUNO_RECORD = "suno_record"
    CREDIT = "credit"
    FILE = "file"
    CALLBACK = "callback"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Call:
    """What a rule can look at. Files, records and callbacks carry the prompt of the task that they belong to."""

    operation: Operation
    at: datetime
    path: str
    task_id: str | None = None
    prompt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Shows `behaviour` at the calls that meet every condition: the first `skip` of them pass, then `times` are hit.

    Without `operation` an answer befalls every API call, but no file. An outcome befalls the task that is being made.
    A notice befalls the callback of a task that ends then. The window is from `since` until just before `until`.
    With a `chance` below 1 it is as if the rule were not there for some of the calls.
    """

    behaviour: Behaviour
    operation: Operation | None = None
    prompt_contains: str | None = None
    task_id: str | None = None
    path_contains: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    skip: int = 0
    times: int | None = None
    chance: float = 1.0

    def matches(self, call: Call) -> bool:
        return (
            (call.operation is not Operation.FILE if self.operation is None else call.operation is self.operation)
            and (self.prompt_contains is None or self.prompt_contains in call.prompt)
            and (self.task_id is None or self.task_id == call.task_id)
            and (self.path_contains is None or self.path_contains in call.path)
            and (self.since is None or self.since <= call.at)
            and (self.until is None or call.at < self.until)
        )


class Script:
    """Rules, safe to change while the server runs. Rules with `times` come first, then standing ones, in order."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._lock = threading.Lock()
        self._met: list[tuple[Rule, int]] = []
        self._draws: Counter[str] = Counter()

    def add(self, *rules: Rule) -> None:
        with self._lock:
            self._met.extend((rule, 0) for rule in rules)

    def clear(self) -> None:
        with self._lock:
            self._met.clear()

    def when(
        self,
        behaviour: Behaviour,
        *,
        operation: Operation | str | None = None,
        prompt_contains: str | None = None,
        task_id: str | None = None,
        skip: int = 0,
        times: int | None = None,
        chance: float = 1.0,
    ) -> None:
        """Adds a rule in one line."""
        named = None if operation is None else Operation(operation)
        self.add(
            Rule(
                behaviour=behaviour,
                operation=named,
                prompt_contains=prompt_contains,
                task_id=task_id,
                skip=skip,
                times=times,
                chance=chance,
            )
        )

    def next(self, operation: Operation | str, *behaviours: Behaviour) -> None:
        """The next calls of this operation show these behaviours, one each."""
        self.add(*(Rule(behaviour=each, operation=Operation(operation), times=1) for each in behaviours))

    def outage(self, since: datetime, until: datetime, answer: Answer) -> None:
        """Every API call fails like this within the window."""
        self.add(Rule(behaviour=answer, since=since, until=until))

    def answer_for(self, call: Call) -> Answer | None:
        """Uses up the rule that it answers with."""
        behaviour = self._take(call, Answer)
        return behaviour if isinstance(behaviour, Answer) else None

    def outcome_for(self, call: Call) -> Outcome | None:
        """Uses up the rule that it answers with."""
        behaviour = self._take(call, Outcome)
        return behaviour if isinstance(behaviour, Outcome) else None

    def notice_for(self, call: Call) -> Notify | None:
        """Uses up the rule that it answers with."""
        behaviour = self._take(call, Notify)
        return behaviour if isinstance(behaviour, Notify) else None

    def _take(self, call: Call, kind: Kind) -> Behaviour | None:
        with self._lock:
            order = sorted(range(len(self._met)), key=lambda place: self._met[place][0].times is None)
            for place in order:
                rule, met = self._met[place]
                if not isinstance(rule.behaviour, kind) or not rule.matches(call):
                    continue
                if rule.times is not None and met >= rule.skip + rule.times:
                    continue
                if rule.chance < 1 and not self._happens(place, rule.chance, call):
                    continue
                self._met[place] = (rule, met + 1)
                if met >= rule.skip:
                    return rule.behaviour
        return None

    def _happens(self, place: int, chance: float, call: Call) -> bool:
        """Depends on the seed, the rule's place, and which of its like the call is: the order of threads is nothing."""
        like = f"{self._seed}/{place}/{call.operation}/{call.path}/{call.task_id}/{call.prompt}"
        self._draws[like] += 1
        drawn = hashlib.sha256(f"{self._draws[like]}/{like}".encode("utf-8", "replace")).digest()
        return int.from_bytes(drawn[:8], "big") < chance * 2**64
