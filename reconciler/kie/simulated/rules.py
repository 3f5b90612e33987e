"""The script: which calls and tasks show which behaviour."""

import threading
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from reconciler.kie.simulated.behaviour import Answer, Behaviour, Fail, Outcome, Stall, Succeed


class Operation(StrEnum):
    CREATE = "create"
    RECORD = "record"
    SUNO_RECORD = "suno_record"
    CREDIT = "credit"
    FILE = "file"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Call:
    """What a rule can look at. Files and records carry the prompt of the task that they belong to."""

    operation: Operation
    at: datetime
    path: str
    task_id: str | None = None
    prompt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Shows `behaviour` at the calls that meet every condition: the first `skip` of them pass, then `times` are hit.

    Without `operation` an answer befalls every API call, but no file. An outcome befalls the task that is being made.
    The window is from `since` until just before `until`.
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

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._met: list[tuple[Rule, int]] = []

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
        behaviour = self._take(call, outcomes=False)
        return None if isinstance(behaviour, Succeed | Fail | Stall) else behaviour

    def outcome_for(self, call: Call) -> Outcome | None:
        """Uses up the rule that it answers with."""
        behaviour = self._take(call, outcomes=True)
        return behaviour if isinstance(behaviour, Succeed | Fail | Stall) else None

    def _take(self, call: Call, *, outcomes: bool) -> Behaviour | None:
        with self._lock:
            order = sorted(range(len(self._met)), key=lambda place: self._met[place][0].times is None)
            for place in order:
                rule, met = self._met[place]
                if isinstance(rule.behaviour, Succeed | Fail | Stall) is not outcomes or not rule.matches(call):
                    continue
                if rule.times is not None and met >= rule.skip + rule.times:
                    continue
                self._met[place] = (rule, met + 1)
                if met >= rule.skip:
                    return rule.behaviour
        return None
