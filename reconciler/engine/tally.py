"""The result of one run, gathered from its events."""

from collections import Counter

from reconciler.domain.findings import Accepted, AnswerLost, Finding, NothingMade
from reconciler.domain.gate import GateName
from reconciler.domain.model import Purchase
from reconciler.domain.states import How, Place
from reconciler.engine.events import (
    CreditsRead,
    Event,
    Found,
    GateClosed,
    Listener,
    Mistake,
    Moved,
    Recognised,
    Result,
    Unwritten,
    Wrote,
)
from reconciler.ports import Commit


class Tally:
    """A listener that keeps the result and passes every event on."""

    def __init__(self, onward: Listener) -> None:
        self.result = Result()
        self._onward = onward
        self._where: dict[str, Place] = {}
        self._touched: Counter[Place] = Counter()

    def __call__(self, event: Event) -> None:
        self._count(event)
        self._onward(event)

    def touched(self) -> Counter[Place]:
        """Where the tracks that this run looked at stand."""
        return +self._touched

    def _count(self, event: Event) -> None:
        match event:
            case Moved():
                self._count_move(event)
            case CreditsRead():
                self._forget_too_few()
            case GateClosed(closure=closure):
                self.result.closures[closure.name] = closure
            case Mistake():
                self.result.mistakes += 1
            case Recognised():
                self.result.resolved[How.ALREADY_GOOD] += 1
            case Wrote():
                self._count_write(event)
            case Unwritten():
                self.result.failed_writes += 1
            case Found(job=Purchase() as purchase):
                self._count_order(purchase, event.finding)
            case _:
                pass

    def _forget_too_few(self) -> None:
        """By the credits that were read before; what Kie said has an end of its own."""
        before = self.result.closures.get(GateName.CREDITS)
        if before is not None and before.until is None:
            del self.result.closures[GateName.CREDITS]

    def _count_move(self, event: Moved) -> None:
        if event.track_id in self._where:
            self._touched[self._where.pop(event.track_id)] -= 1
        if event.state is not None:
            self._where[event.track_id] = where = event.state, event.reason
            self._touched[where] += 1

    def _count_write(self, event: Wrote) -> None:
        if event.outcome is not Commit.COMMITTED:
            self.result.conflicts += event.outcome.is_conflict
            self.result.failed_writes += not event.outcome.is_conflict
            return
        self.result.writes += 1
        if event.write.how is not None:
            self.result.resolved[event.write.how] += 1

    def _count_order(self, purchase: Purchase, finding: Finding) -> None:
        if isinstance(finding, NothingMade) and not finding.sent:
            return
        self.result.purchases += 1
        self.result.repeats += purchase.repeat_of is not None
        self.result.unknown += isinstance(finding, AnswerLost)
        if isinstance(finding, Accepted):
            self.result.accepted += 1
            self.result.credits_spent += purchase.price
