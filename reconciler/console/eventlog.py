"""The events of a run as log lines. What concerns everybody is said once an hour, with what to do about it.

Names of events: moved, step, purchase, accepted, order_refused, order_failed, answer_lost, trouble, written, conflict,
locked, refused, lease_lost, expired, unwritten, recognised, overwritten, gate_closed, breaker, credits,
credits_untold, mistake. A purchase is an order that goes out; one of the four behind it tells what came of it.
"""

import time
import traceback
from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Any, assert_never

from loguru import logger

from reconciler.domain import urls
from reconciler.domain.advice import advice, gate_advice, to_do
from reconciler.domain.attempts import attempt
from reconciler.domain.breaker import Breaker, Stage
from reconciler.domain.findings import Accepted, AnswerLost, Call, Fault, NothingMade, Refusal, Trouble
from reconciler.domain.gate import Closure, GateName
from reconciler.domain.model import Purchase
from reconciler.domain.states import Reason, State
from reconciler.domain.texts import moment, plain
from reconciler.engine.events import (
    BreakerMoved,
    CreditsRead,
    CreditsUntold,
    Event,
    Found,
    GateClosed,
    Mistake,
    Moved,
    Ordered,
    Overwritten,
    Recognised,
    Unwritten,
    Wrote,
)
from reconciler.ports import Commit

SAID_AGAIN_AFTER = timedelta(hours=1)


class Said:
    """What was said already and need not be said again for an hour. Safe to share between threads."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._said: dict[Hashable, float] = {}

    def fresh(self, *cause: Hashable) -> bool:
        """It is to be said now, and then is said."""
        now = self._monotonic()
        if cause in self._said and now - self._said[cause] < SAID_AGAIN_AFTER.total_seconds():
            return False
        self._said[cause] = now
        return True


class EventLog:
    """A listener for one run. `sweep`: its id, which every line bears. `said`: shared with other runs, if given. `kie`:
    the URL at which Kie is asked."""

    def __init__(self, sweep: str = "", said: Said | None = None, kie: str = "") -> None:
        self._sweep, self._said, self._kie = sweep or None, said or Said(), kie

    def __call__(self, event: Event) -> None:
        with logger.contextualize(sweep=self._sweep):
            self._tell(event)

    def _tell(self, event: Event) -> None:
        match event:
            case Found():
                self._found(event)
            case Moved(track_id=track_id, state=state, reason=reason):
                say("DEBUG", "moved", track=track_id, state=state, reason=reason)
            case Wrote():
                _wrote(event, self._said)
            case Unwritten(track_id=track_id):
                say("WARNING", "unwritten", track=track_id, todo="Nothing: it is written when the database is back.")
            case Recognised(track_id=track_id):
                say("INFO", "recognised", track=track_id)
            case Overwritten(track_id=track_id):
                say("WARNING", "overwritten", track=track_id, todo=to_do(Reason.WRITE_CONFLICT))
            case Ordered(purchase=purchase):
                _ordered(purchase)
            case GateClosed(closure=closure):
                self._closed(closure)
            case BreakerMoved(breaker=breaker):
                _breaker(breaker)
            case CreditsRead() | CreditsUntold():
                self._credits(event)
            case Mistake():
                self._mistake(event)
            case _:  # pragma: no cover
                assert_never(event)

    def _found(self, event: Found) -> None:
        tried = attempt(event.job, event.finding)
        say("DEBUG", "step", track=event.track_id, step=tried.step, answer=tried.came, detail=tried.detail or None)
        match event.job, event.finding:
            case Purchase(), Accepted(task_id=task_id):
                say("INFO", "accepted", track=event.track_id, task=task_id)
            case Purchase(), NothingMade():
                self._not_made(event, event.finding)
            case Purchase(), AnswerLost(call=call):
                self._ended("answer_lost", call, event, advice(State.UNKNOWN, Reason.UNKNOWN_PURCHASE))
            case _, Trouble(call=call, refusal=Refusal.KEY):
                self._trouble("trouble", call, event, gate_advice(GateName.KEY))
            case _, Trouble(call=Call.UNAUTHORIZED as call):
                self._trouble("trouble", call, event, "Put a valid key into kie.suno_api_key.")
            case _, Trouble(call=call):
                self._trouble("trouble", call, event, "Nothing: it is asked again later.")
            case _, Fault(reason=Reason.STORAGE_FAILED):
                self._trouble("trouble", Reason.STORAGE_FAILED, event, to_do(Reason.STORAGE_FAILED))
            case _:
                pass

    def _not_made(self, event: Found, nothing: NothingMade) -> None:
        """An order of which nothing came. Where a gate closes for it, that is said by itself."""
        detail = _detail(nothing)
        match nothing.refusal:
            case Refusal.CONTENT | Refusal.STOPPED:
                say("INFO", "order_refused", track=event.track_id, cause=nothing.refusal, detail=detail)
            case Refusal.STORE:
                self._ended("order_failed", Reason.STORAGE_FAILED, event, to_do(Reason.STORAGE_FAILED))
            case _:
                self._ended("order_failed", nothing.call, event, "It is ordered again later; nothing was charged.")

    def _ended(self, name: str, cause: Hashable, event: Found, todo: str) -> None:
        """An order in vain, each of which was told when it went out."""
        level = "WARNING" if self._said.fresh(name, cause) else "INFO"
        say(level, name, track=event.track_id, cause=cause, detail=_detail(event.finding), todo=todo)

    def _trouble(self, name: str, cause: Hashable, event: Found, todo: str) -> None:
        if self._said.fresh(name, cause):
            say("WARNING", name, track=event.track_id, cause=cause, detail=_detail(event.finding), todo=todo)

    def _closed(self, closure: Closure) -> None:
        if self._said.fresh("gate_closed", closure.name, closure.shape):
            say(
                "WARNING",
                "gate_closed",
                gate=closure.name,
                shape=closure.shape,
                until=moment(closure.until),
                detail=closure.detail,
                todo=gate_advice(closure.name),
            )

    def _credits(self, event: CreditsRead | CreditsUntold) -> None:
        if isinstance(event, CreditsRead):
            say("DEBUG", "credits", balance=event.balance)
            return
        trouble = event.trouble
        level = "WARNING" if self._said.fresh("credits_untold", trouble.call) else "DEBUG"
        todo = "It is asked again by itself. If it lasts, see kie.base_url, or run `reconciler check`."
        host, detail = urls.host_of(self._kie) or None, _detail(trouble)
        say(level, "credits_untold", cause=trouble.call, host=host, detail=detail, todo=todo)

    def _mistake(self, event: Mistake) -> None:
        error = event.error
        if not self._said.fresh("mistake", type(error).__name__, place_of(error)):
            return
        todo = "Please report it; --log-level DEBUG shows the traceback."
        say("ERROR", "mistake", track=event.track_id, error=type(error).__name__, place=place_of(error), todo=todo)
        logger.opt(exception=error).debug("mistake")


def place_of(error: BaseException) -> str:
    """The file and line that raised, and nothing of what was worked on."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "reconciler" in frame.filename] or frames
    return f"{ours[-1].filename.rpartition('reconciler/')[2]}:{ours[-1].lineno}" if ours else "unknown"


def _wrote(event: Wrote, said: Said) -> None:
    write = event.write
    url = urls.redact(write.url) if write.url is not None else None
    match event.outcome:
        case Commit.COMMITTED:
            say("INFO", "written", track=event.track_id, url=url, resolution=write.resolution, how=write.how)
        case Commit.CONFLICT:
            detail = "the row was changed meanwhile and left as it is, or the app put another picture for ours at once"
            say("INFO", "conflict", track=event.track_id, detail=detail)
        case Commit.LOCKED:
            todo = "The row is written once the transaction that has it locked is over: end that if it stays open."
            say("WARNING" if said.fresh("locked") else "INFO", "locked", track=event.track_id, todo=todo)
        case Commit.REFUSED:
            todo = "`reconciler explain` tells why: a rule or a trigger of the app's table, or a right, is in the way."
            say("WARNING", "refused", track=event.track_id, todo=todo)
        case Commit.LEASE_LOST:
            todo = "Whoever took it over goes on. If it comes often, steps take too long, or the clock jumps."
            say("WARNING" if said.fresh("lease_lost") else "INFO", "lease_lost", track=event.track_id, todo=todo)
        case Commit.EXPIRED:
            say("WARNING", "expired", track=event.track_id, detail="the lease ran out before the row was written")
        case Commit.PAUSED:  # pragma: no cover - the desk never tells it
            pass
        case _:  # pragma: no cover
            assert_never(event.outcome)


def _breaker(breaker: Breaker) -> None:
    if breaker.stage is Stage.OPEN:
        until, todo = moment(breaker.retry_at), gate_advice(GateName.BREAKER)
        say("WARNING", "breaker", stage=breaker.stage, until=until, todo=todo)
    else:
        say("INFO", "breaker", stage=breaker.stage)


def _ordered(purchase: Purchase) -> None:
    """It goes out now: what came of it is told by itself."""
    repeat = True if purchase.repeat_of is not None else None
    say("INFO", "purchase", track=purchase.track_id, model=purchase.model, price=purchase.price, repeat=repeat)


def _detail(finding: object) -> str | None:
    return plain(getattr(finding, "detail", "")) or None


def say(level: str, name: str, **fields: Any) -> None:
    shown = {key: plain(value) if isinstance(value, str) else value for key, value in fields.items()}
    logger.bind(**shown).log(level, name)
