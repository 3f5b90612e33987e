"""One sweep: find what is due, lease it, plan, act, learn, commit, until nothing is due within the time given.

- Tracks come from the finder (what is due), from the audit's walk over the whole table, and from the gate (held back).
- Each is leased for one step: looked at, planned, and either settled at once or handed to the crew.
- What comes back is learned, the next step planned anew, and all of it committed, with the row where the plan says so;
  a next step that can be taken at once is leased in the same transaction. What cost nothing to learn before an order,
  or before the picture of one, is saved with what follows it under the same lease.
- This thread alone talks to the database; the crew alone talks to the world.
"""

from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.domain.catalogue import offers
from reconciler.domain.findings import Credits
from reconciler.domain.gate import GateName
from reconciler.domain.states import Place
from reconciler.engine.crew import Answer, Done
from reconciler.engine.events import Listener, Result
from reconciler.engine.lines import Lines
from reconciler.engine.parts import Parts
from reconciler.engine.purse import Purse
from reconciler.engine.steps import Steps
from reconciler.engine.tally import Tally
from reconciler.ports import DatabaseError

PAGE = 200
CREDIT_CALL = ""
"""The one job of the crew that belongs to no track."""

LOOKS = 25
"""So many tracks are begun at most before what has come back is seen to."""

NOT_AGAIN_FOR = timedelta(seconds=1)
"""Whatever the database says, a track is not looked at again sooner: no mistake of ours may keep it busy."""

TOGETHER = timedelta(milliseconds=50)
"""Those who are due within so short a time are looked for once, and what comes back is saved together while there are
pictures enough for all hands."""

A_MOMENT = timedelta(milliseconds=500)
"""An order that may just still be sent is sent a little later, and may then take a call's time."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a run may go.

    `until`: nothing is begun after, by the steady clock. `waits`: for whatever will be due before that; else the run
    ends once nothing can be done at once. `patience`: how long steps under way may take when it ends; by default a
    call's time. `only`: these tracks; `limit`: so many. `tries_key`: a key that was refused is tried at once. `due`:
    find what is due. `audit`: walk the table, from the key `audit_from` on: all round, or no more than `audit_rows` up
    to its end.
    """

    until: timedelta
    only: tuple[str, ...] | None = None
    limit: int | None = None
    max_purchases: int | None = None
    tries_key: bool = True
    due: bool = True
    audit: bool = True
    audit_from: str | None = None
    audit_rows: int | None = None
    waits: bool = True
    patience: timedelta | None = None

    @property
    def is_one_of_many(self) -> bool:
        """A slice of the audit, or a sweep that others follow: only who was looked at is counted, since to count
        all takes time for each track that is remembered."""
        return not (self.due and (self.audit or self.waits))


class Sweep:
    def __init__(self, parts: Parts, bounds: Bounds, listener: Listener) -> None:
        self._finder, self._crew, self._clock, self._policy = parts.finder, parts.crew, parts.clock, parts.policy
        self._hands, self._lately, self._steady, self._bounds = parts.hands, parts.lately, parts.steady, bounds
        self._tally = Tally(listener)
        self._purse = Purse(
            parts.gate,
            parts.policy,
            parts.clock,
            self._tally,
            bounds.max_purchases,
            tries_key=bounds.tries_key,
            lately=parts.lately,
        )
        lines = GateName.KEY, *(shape for shape, _ in offers(parts.policy))
        self._lines = Lines(parts.finder, parts.clock, self._only, lines)
        self._steps = Steps(parts, self._purse, self._lines, self._tally, self._may_go_on)
        self._desk = self._steps.desk
        self._queue: deque[str] = deque()
        self._due_meanwhile: deque[str] = deque()
        self._turns = [self._due_meanwhile, self._queue]
        self._looked_at = parts.clock()
        self._next_to_buy: deque[str] = deque()
        self._walked_to = self._resume_at = bounds.audit_from
        self._walk_over = not bounds.audit or bounds.audit_rows == 0
        self._rows_left = bounds.audit_rows
        goes_round = bounds.audit_from is not None and bounds.audit_rows is None
        self._walk_ends = deque([None, bounds.audit_from] if goes_round else [None])
        self._credit_asked_at: datetime | None = None
        self._shut: set[str] = set()
        self._begun: dict[str, datetime] = {}
        self._stop = self._is_called = self._winding_down = False

    @property
    def audit_key(self) -> str | None:
        """Where the next run's walk resumes: what this one found there and did not begin is found again."""
        return self._resume_at if self._queue else self._walked_to

    def stop(self) -> None:
        """Take no more work; finish or hand back what is under way. Safe in a signal handler."""
        self._stop = True
        self._crew.wake()

    def look_again(self) -> None:
        """Somebody made a track due: it is to be found at once. Safe in any thread."""
        self._is_called = True
        self._crew.wake()

    def run(self) -> Result:
        """Raises DatabaseError, once the answers that were under way are saved as far as they can be."""
        try:
            at_rest = self._work()
        except Exception:
            self._walked_to = self._resume_at  # the row in hand is found again
            self._lately.all_known_at = None
            with suppress(Exception):
                self._wind_down()
            raise
        if not at_rest:
            self._wind_down()
        return self._result(stopped=not at_rest)

    def _work(self) -> bool:
        """False when it was ended before everything was done that can be done in time."""
        while not self.is_over:
            more = self._fill()
            wake_at = self._clock() if more else self._wake_at()
            if not self._busy() and (wake_at is None or (wake_at > self._clock() and not self._bounds.waits)):
                return True
            self._await(wake_at)
        return False

    # -- taking work -------------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """It was asked to end, or its time is up: nothing is begun any more."""
        return self._stop or self._left() <= timedelta(0)

    def _left(self) -> timedelta:
        return self._bounds.until - self._steady()

    def _may_go_on(self) -> bool:
        return not (self._winding_down or self.is_over)

    def _busy(self) -> bool:
        return bool(self._steps.flights) or self._credit_asked_at is not None

    def _has_room(self) -> bool:
        """For several at once while there are pictures enough: what is begun together is saved together. A picture that
        once took the process down with it is worked while nothing else is."""
        flights = self._steps.flights
        risky = self._steps.alone or any(flight.risky for flight in flights.values())
        several = max(1, self._crew.size // 3) if self._steps.pictures_suffice() else 1
        return not flights or (len(flights) + several <= self._crew.size and not risky)

    def _fill(self) -> bool:
        """Begin what can be begun, most urgent first. True: there may be more."""
        self._ask_credits()
        if self._credit_asked_at is not None and self._purse.key_refused_until is not None:
            return False
        begun = 0
        while begun < LOOKS:
            if self.is_over or not self._has_room():
                return False
            found = self._several()
            if not found:
                return not self._walk_over
            self._steps.start(found)
            begun += len(found)
        return True

    def _several(self) -> list[str]:
        """Tracks to begin together: no more than there are free hands, and a risky one alone. Who was found is begun
        before more are looked for, lest somebody else is faster."""
        found: list[str] = []
        met: set[str] = set()
        while len(found) < self._crew.size - len(self._steps.flights):
            is_risky = bool(self._steps.alone)
            if found and (is_risky or not any((*self._turns, self._desk.ready, self._next_to_buy))):
                break
            track_id = self._next()
            if track_id is None or track_id in met:
                break  # whose lease ran out on the way is in line again and again, until it comes back
            met.add(track_id)
            if track_id not in self._steps.flights:
                found.append(track_id)
                self._note(track_id)
            if is_risky:
                break
        return found

    def _note(self, track_id: str) -> None:
        self._begun[track_id] = self._clock()
        if self._full():
            self._next_to_buy.clear()
        if self._full() and any(self._turns):
            self._walked_to = self.audit_key
            for found in self._turns:
                found.clear()
            self._desk.soonest = self._clock()

    def _full(self) -> bool:
        return self._bounds.limit is not None and len(self._begun) >= self._bounds.limit

    def _only(self) -> Sequence[str] | None:
        """Which tracks may be worked; None: any. With `limit`, from the last on, none but those begun."""
        return tuple(self._begun) if self._full() else self._bounds.only

    def _next(self) -> str | None:
        if self._steps.alone:
            return self._steps.alone.popleft()
        if self._lines.is_used:
            self._next_to_buy.extend(self._buyers())
        for first in (self._next_to_buy, self._desk.ready):
            if first:
                return first.popleft()
        if any(self._turns):
            self._look_meanwhile()
        else:
            self._resume_at = self._walked_to
            self._queue.extend(self._look_for_due() or self._walk() or self._held_by_key() or self._buyers())
        return self._in_turn()

    def _look_meanwhile(self) -> None:
        """Who becomes due while many are in the queue need not wait for all of these: a task that ended and is not
        asked for keeps others from buying. Nor does who is new wait for all that are due."""
        now = self._clock()
        if all(self._turns) or not self._may_be_due(now) or timedelta(0) <= now - self._looked_at < TOGETHER:
            return
        known = {*self._due_meanwhile, *self._queue}
        found = self._due(now, new=not self._queue and self._lately.looks_for_new(now))
        (self._due_meanwhile if self._queue else self._queue).extend(one for one in found if one not in known)

    def _in_turn(self) -> str | None:
        """While there are both, one of those who became due meanwhile and one of the queue."""
        first = next(filter(None, self._turns), None)
        self._turns.reverse()
        return first.popleft() if first else None

    def _look_for_due(self) -> list[str]:
        """Asks the database only when something can have become due since it was last asked."""
        now = self._clock()
        if self._is_called:
            self._is_called, self._desk.soonest = False, now
        if not self._may_be_due(now):
            return []
        found = self._due(now, new=self._lately.looks_for_new(now))
        self._desk.soonest = now if found else self._due_again(now)
        return found

    def _may_be_due(self, now: datetime) -> bool:
        return self._bounds.due and self._desk.soonest is not None and self._desk.soonest <= now

    def _due(self, now: datetime, *, new: bool) -> list[str]:
        """All that is new is known for a while once less than a page was found."""
        only = self._only()
        found, self._looked_at = self._finder.due(PAGE, only, new=new), now
        if new and only is None:
            self._lately.all_known_at = now if len(found) < PAGE else None
        return [track_id for track_id in found if self._is_free(track_id, now)]

    def _due_again(self, now: datetime) -> datetime | None:
        """When to look again where none was found that may be begun. Who is due by now and was not among them may be a
        mistake of ours."""
        again = self._lines.next_due()
        return again if again is None else max(again, now + (TOGETHER if again > now else NOT_AGAIN_FOR))

    def _is_free(self, track_id: str, now: datetime) -> bool:
        """Whoever has been at it for longer than its lease is still at it."""
        begun = self._begun.get(track_id)
        rested = begun is None or not now - NOT_AGAIN_FOR < begun <= now
        return rested and track_id not in self._steps.flights

    def _walk(self) -> Sequence[str]:
        """The next page's work, which may be none."""
        self._walk_over = self._walk_over or self._full()
        if self._walk_over:
            return ()
        rows = PAGE if self._rows_left is None else min(PAGE, self._rows_left)
        page = self._finder.page(self._walked_to, rows, self._bounds.only, until=self._walk_ends[0])
        self._walked_to = page.last
        if page.last is None:
            self._walk_ends.popleft()
        if self._rows_left is not None:
            self._rows_left -= rows
        self._walk_over = not self._walk_ends or self._rows_left == 0
        return page.work

    def _held_by_key(self) -> Sequence[str]:
        """Those who wait for a key that is there, and taken by now."""
        if not (self._bounds.due and self._policy.asks_tasks) or self._lines.is_empty(GateName.KEY):
            return ()
        if self._purse.key_refused_until is not None:
            return ()
        return self._lines.take(GateName.KEY, PAGE)

    def _buyers(self) -> Sequence[str]:
        """Who waits longest to buy, where the gate is open: before all else, since a place in the window that nobody
        takes is lost. No more than there are places and hands for, since who is refused loses its place in the line."""
        if not self._bounds.due or self._next_to_buy:
            return ()
        self._shut.clear()
        free, about_to = self._crew.size - len(self._steps.flights), self._steps.about_to_buy
        for shape, price in self._shapes_in_turn():
            if self._lines.is_empty(shape):
                continue
            if self._purse.refusal(shape, price) is not None:
                self._shut.add(shape)
            else:
                places = self._purse.places(shape, price, free + about_to) - about_to
                held = self._lines.take(shape, places) if places > 0 else ()
                self._steps.called.update(held)
                if held:
                    self._lately.served = shape
                    return held
        return ()

    def _shapes_in_turn(self) -> Sequence[tuple[str, float]]:
        """After the one that was served last: while many wait for one model, those who wait for another are not to wait
        for all of them."""
        known = offers(self._policy)
        first = next((place for place, (shape, _) in enumerate(known, 1) if shape == self._lately.served), 0)
        return *known[first:], *known[:first]

    def _ask_credits(self) -> None:
        if self._credit_asked_at is None and self._purse.wants_credit_call():
            self._credit_asked_at = self._clock()
            self._crew.submit(CREDIT_CALL, self._hands.kie.credit)

    # -- waiting and finishing ---------------------------------------------------------------------------------

    def _wake_at(self) -> datetime | None:
        """When something can be done again, or None: not within this run, or not before something comes back."""
        if not self._has_room():
            return None
        soon = self._next_at()
        return soon if soon is not None and soon - self._clock() < self._left() else None

    def _next_at(self) -> datetime | None:
        """When something can be done again, as far as is known."""
        times = [self._next_due(), self._gate_opens_at()] if self._bounds.due else []
        return min((at for at in times if at is not None), default=None)

    def _next_due(self) -> datetime | None:
        """What was noted while steps were under way may be the end of a lease of our own, which has ended since."""
        if self._desk.soonest is not None and self._begun and not self._steps.flights:
            again = self._lines.next_due()
            self._desk.soonest = max(self._desk.soonest, again) if again is not None else None
        return self._desk.soonest

    def _gate_opens_at(self) -> datetime | None:
        opens: list[datetime] = []
        if self._lines.waits(GateName.KEY) and (key_until := self._purse.key_refused_until) is not None:
            opens.append(key_until)
        for shape, price in offers(self._policy):
            if not self._lines.waits(shape):
                continue
            at = self._purse.opens_at(shape, price)
            if shape in self._shut and self._purse.refusal(shape, price) is None:
                at = self._clock()  # it opened since it was last tried
            if at is not None:
                opens.append(at)
        return min(opens, default=None)

    def _await(self, wake_at: datetime | None) -> None:
        wait = self._left() if wake_at is None else wake_at - self._clock()
        ends = self._steady() + wait
        done = self._crew.finished(wait)
        if done is not None:
            self._finish([*self._gathered(done, min(ends, self._steady() + TOGETHER)), *self._crew.others()])

    def _gathered(self, first: Done, until: timedelta) -> list[Done]:
        """With what comes soon after, while nobody runs short of work meanwhile; the answer to an order is saved at
        once."""
        found = [first]
        while self._steps.can_wait([done.tag for done in found]) and (left := until - self._steady()) > timedelta(0):
            another = self._crew.finished(min(left, TOGETHER))
            if another is None:
                break
            found.append(another)
        return found

    def _finish(self, several: Sequence[Done]) -> None:
        """What an order was answered may have been paid for: it is saved though another answer could not be."""
        of_tracks = (done for done in several if done.tag in self._steps.flights)
        answers = [(done.tag, done.answer) for done in of_tracks if not isinstance(done.answer, Credits)]
        try:
            for done in several:
                if done.tag == CREDIT_CALL:
                    self._learn_credits(done.answer)
        finally:
            self._steps.finish(answers)

    def _learn_credits(self, answer: Answer | Exception) -> None:
        """Before all else that came: it tells whether somebody may buy."""
        asked_at, self._credit_asked_at = self._credit_asked_at, None
        if asked_at is not None:
            self._purse.credit_answer(answer, asked_at)

    def _wind_down(self) -> None:
        """Let the steps that are out come back, in a call's time at most where a signal hurries; hand back the rest."""
        begun, self._winding_down = self._steady(), True
        failed: list[Exception] = []
        while (self._busy() or self._steps.unsaved) and self._steady() < (give_up_at := begun + self._patience()):
            left = give_up_at - self._steady()
            done = self._crew.finished(min(left, NOT_AGAIN_FOR) if self._steps.unsaved else left)
            try:
                if done is not None:
                    self._finish([done, *self._crew.others()])
                else:
                    self._steps.save_again()
            except DatabaseError as error:
                failed.append(error)
        self._steps.hand_back()
        if failed:
            raise failed[0]

    def _patience(self) -> timedelta:
        patience = self._bounds.patience
        return self._policy.request_timeout + A_MOMENT if self._stop or patience is None else patience

    def _result(self, *, stopped: bool) -> Result:
        result = self._tally.result
        result.states = self._tally.touched() if self._left_some_out() else self._states()
        result.stopped = stopped
        result.purse_spent = self._purse.spent
        result.refuses_key = self._purse.is_key_refused
        result.keeps = self._policy.keeps
        if self._begun:
            self._lines.forget()
        if self._queue:
            self._lately.all_known_at = None
        result.next_at = self._clock() if self._desk.ready else self._next_at()
        return result

    def _left_some_out(self) -> bool:
        """Tracks that were named are spoken of, though a limit or their time kept this run from them."""
        return self._bounds.is_one_of_many or (self._full() and self._bounds.only is None)

    def _states(self) -> Counter[Place]:
        """Where the tracks stand by what this run learned of the gate last."""
        self._purse.forget_view()
        states: Counter[Place] = Counter()
        for stood, count in self._finder.tally(self._bounds.only).items():
            states[self._purse.stands(stood)] += count
        return states
