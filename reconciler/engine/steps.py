"""Steps of tracks: leased, looked at, planned; then settled at once, or handed to the crew and finished later."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

from reconciler.domain.actions import (
    Action,
    AskSong,
    AskTask,
    Buy,
    Fetch,
    GiveUp,
    Job,
    ListStore,
    Measure,
    RowImage,
    Wait,
    Write,
)
from reconciler.domain.attempts import attempt
from reconciler.domain.callbacks import announced
from reconciler.domain.case import Case
from reconciler.domain.findings import AnswerLost, Call, Fault, Finding, NotFound, Trouble
from reconciler.domain.following import goes_on_at, list_before_buying
from reconciler.domain.gate import NotNow
from reconciler.domain.learn import learn, notice, noticed
from reconciler.domain.look import Good, Unmeasured, is_undone
from reconciler.domain.model import Cell, Memory, Purchase, Track
from reconciler.domain.plan import farewell, plan
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing, standing
from reconciler.domain.states import Reason
from reconciler.engine.desk import After, Attempts, Desk
from reconciler.engine.effects import whole
from reconciler.engine.events import Found, Listener, Mistake, Ordered, Overwritten, Recognised
from reconciler.engine.lines import Lines
from reconciler.engine.parts import Parts
from reconciler.engine.purse import Purse
from reconciler.ports import DatabaseError, Held, Lease, Step

INLINE_AT_ONCE = 128 * 1024 * 1024
"""Letters of pictures in rows that are worked at the same time. They are held, and decoded, until each is stored."""


@dataclass(frozen=True, slots=True)
class Flight:
    """A step that the crew is at."""

    lease: Lease
    case: Case
    job: Job
    gone: bool = False
    tried: Attempts = ()
    """What was tried under this lease and is not saved yet."""
    kept: Memory | None = None
    """What is saved of the track, where the case knows more."""

    @property
    def risky(self) -> bool:
        """Its picture once took the process down with it."""
        return isinstance(self.job, Measure | Fetch) and self.case.memory.interruptions > 0

    @property
    def letters(self) -> int:
        """Of the picture that is read from the row."""
        source = self.job.source if isinstance(self.job, Measure | Fetch) else None
        return self.case.track.image.length if isinstance(source, RowImage) and source.inline else 0


class Steps:
    """`flights`: what the crew is at. `unsaved`: what came back while the database failed. `alone`: tracks to be taken
    while nothing else is. `called`: those whose turn to buy has come. `may_go_on` tells whether anything more may
    be begun; it is asked in other threads too.
    """

    def __init__(
        self, parts: Parts, purse: Purse, lines: Lines, listener: Listener, may_go_on: Callable[[], bool]
    ) -> None:
        self._leases, self._hands, self._crew, self._lately = parts.leases, parts.hands, parts.crew, parts.lately
        self._policy, self._clock, self._purse, self._tell = parts.policy, parts.clock, purse, listener
        self._lines, self._may_go_on, self._begun_at = lines, may_go_on, parts.clock()
        self.desk = Desk(parts, purse, lines, listener, next_step=self._next_step, goes_on=self._go_on)
        self.flights: dict[str, Flight] = {}
        self.unsaved: deque[tuple[Flight, Finding]] = deque()
        self.alone: deque[str] = deque()
        self.called: set[str] = set()
        self._waiting_for_task: dict[str, list[str]] = {}
        self._pictures: deque[Flight] = deque()
        self._undecided: dict[str, Held | Exception] = {}
        self._planned: dict[str, tuple[Case, Action]] = {}

    @property
    def about_to_buy(self) -> int:
        """So many whose turn has come look into the store first."""
        return sum(isinstance(self.flights[track_id].job, ListStore) for track_id in self.called & self.flights.keys())

    # -- beginning ---------------------------------------------------------------------------------------------

    def start(self, track_ids: Sequence[str]) -> None:
        """Lease, look and plan; begin what each wants, and save what is settled at once."""
        self._planned = {}
        self._undecided = dict(self._lease(track_ids))
        if len(self._undecided) < len(track_ids):
            self.desk.soonest = self._clock()  # somebody else has one of them: until when is to be found out
        while self._undecided:
            track_id, held = next(iter(self._undecided.items()))
            try:
                self._look(_whole(held))
            except DatabaseError:
                raise
            except Exception as error:  # noqa: BLE001 - one bad track stops nobody
                self.desk.mishap(track_id, error, *_leased(held))
            del self._undecided[track_id]
        self._begin_pictures()
        self.desk.flush()

    def _lease(self, track_ids: Sequence[str]) -> Mapping[str, Held | Exception]:
        """Where several cannot be leased together, each is tried alone: one bad track stops nobody."""
        try:
            return self._leases.lease_all(track_ids, self._step_of)
        except DatabaseError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            if len(track_ids) == 1:
                return {track_ids[0]: error}
        alone = (self._lease([track_id]) for track_id in track_ids)
        return {track_id: held for found in alone for track_id, held in found.items()}

    def _step_of(self, held: Held) -> Step:
        """What may be a death of this process is named with the lease. A track that cannot be planned is met again."""
        if held.track is None or held.memory.interruptions > 0:
            return Step.LOOK
        with suppress(Exception):
            _, action = self._planned[held.track.id] = _planned(held.track, held, self._policy)
            return Step.PICTURE if isinstance(action, Measure | Fetch) else Step.LOOK
        return Step.LOOK

    def _look(self, held: Held) -> None:
        track = held.track
        if track is None:
            self._start_gone(held)
            return
        if is_undone(track, held.memory, self._policy):
            self._tell(Overwritten(track.id))
        known = self._planned.get(track.id)
        case, action = known if known is not None else _planned(track, held, self._policy)
        self._take(held.lease, case, action)

    def _start_gone(self, held: Held) -> None:
        """The row is deleted: nothing is written or bought any more, tasks that run are followed to their end."""
        action = farewell(held.memory, held.now, asks=self._policy.asks_tasks)
        nobody = Case(Track(held.lease.track_id, Cell(None)), held.memory, self._policy, held.now)
        if isinstance(action, AskTask):
            self._dispatch(Flight(held.lease, nobody, action, gone=True))
        else:
            self.desk.part(held.lease, held.memory, held.now)

    def _take(self, lease: Lease, case: Case, action: Action) -> None:
        match action:
            case Wait() | GiveUp():
                self.desk.settle(lease, case, action)
            case Write():
                self.desk.write(lease, case, action)
            case Buy():
                self._buy(lease, case, action)
            case AskTask() | AskSong():
                self._ask(lease, case, action)
            case Measure() | Fetch():
                self._pictures.append(Flight(lease, case, action))
            case ListStore():
                self._dispatch(Flight(lease, case, action))

    def _buy(self, lease: Lease, case: Case, order: Buy, tried: Attempts = ()) -> None:
        """In turn: tracks whose tasks fail again and again must not spend what others wait for. Who waits asks on for
        an overdue task: it may end after all."""
        in_turn = order.repeat_of is not None or case.track.id in self.called
        is_open = self._purse.refusal(order.shape, order.price) is None
        if is_open and not in_turn and (self.desk.has_in_line(order.shape) or self._lines.waits(order.shape)):
            where = standing(case, order, self._purse.view())
            self.desk.stand(lease, case.memory, replace(where, held=order.shape, due_at=goes_on_at(case)), tried)
            return
        first = list_before_buying(case, self._begun_at) if is_open else None
        if isinstance(first, ListStore):
            self._dispatch(Flight(lease, case, first, tried=tried))
            return
        if first is not None:
            self.desk.settle(lease, case, first, tried)
            return
        self.called.discard(case.track.id)
        reserved = self._purse.reserve(Held(lease, case.track, case.memory, case.now), order)
        if isinstance(reserved, Purchase):
            self._tell(Ordered(reserved))
            ordered = replace(case, memory=case.memory.with_purchase(reserved))
            self._dispatch(Flight(lease, ordered, reserved, tried=tried))
        else:
            self.desk.stand(lease, case.memory, self._not_yet(case, order, reserved), tried)

    def _not_yet(self, case: Case, order: Buy, refused: NotNow) -> Standing:
        """Where the gate is shut the track waits for it; where it is open, and only this order refused, by itself."""
        where = standing(case, order, self._purse.view())
        if where.due_at != case.now:
            return where
        if self._purse.refusal(order.shape, order.price) is not None:
            return replace(where, reason=refused.reason, held=order.shape, due_at=goes_on_at(case))
        pause = case.now + self._policy.purchase_window
        return replace(where, due_at=max(refused.until or pause, pause))

    def _ask(self, lease: Lease, case: Case, action: AskTask | AskSong) -> None:
        """Two tracks that name one task are served by one question; nobody is asked with a key that is refused."""
        task_id = action.task_id if isinstance(action, AskTask) else None
        if self._purse.key_refused_until is not None:
            self.desk.settle(lease, case, action)
        elif task_id in self._waiting_for_task:
            self._waiting_for_task[task_id].append(case.track.id)
            self.desk.put_off(lease, case, action, case.now + self._policy.request_timeout)
        else:
            self._dispatch(Flight(lease, case, action))
            if task_id is not None:
                self._waiting_for_task[task_id] = []

    def _begin_pictures(self) -> None:
        """A picture that once took the process down with it is tried again only while nothing else is at risk, and that
        it is begun is named anew. One for which there is no room now waits until there is."""
        is_alone = not self.flights and len(self._pictures) == 1
        while self._pictures:
            flight = self._pictures.popleft()
            if not flight.risky and self._has_room_for(flight):
                self._dispatch(flight)
            elif is_alone:
                after = After(partial(self._dispatch, flight), partial(self._put_off, flight))
                self.desk.begin(flight.lease, Step.PICTURE, after)
            else:
                self.alone.append(flight.case.track.id)
                self._put_off(flight)

    def _has_room_for(self, flight: Flight) -> bool:
        held = sum(other.letters for other in self.flights.values())
        return not held or held + flight.letters <= INLINE_AT_ONCE

    def _put_off(self, flight: Flight) -> None:
        case = flight.case
        self.desk.put_off(flight.lease, case, plan(case), case.now + self._policy.lease)

    def _dispatch(self, flight: Flight) -> None:
        track_id, case = flight.case.track.id, flight.case
        try:
            job = whole(flight.job, self._inline(track_id, flight.job))
        except DatabaseError:
            self._undecided[track_id] = Held(flight.lease, case.track, case.memory, case.now)
            raise
        except Exception as error:  # noqa: BLE001 - one bad track stops nobody
            self.desk.mishap(track_id, error, flight.lease, case.memory)
            return
        self._crew.submit(track_id, lambda: self._hands.perform(track_id, job, self._may_go_on))
        self.flights[track_id] = flight

    def _inline(self, track_id: str, job: Job) -> str | None:
        """An inline picture is read from the row only now."""
        source = job.source if isinstance(job, Measure | Fetch) else None
        return self._leases.inline_image(track_id) if isinstance(source, RowImage) and source.inline else None

    # -- finishing ---------------------------------------------------------------------------------------------

    def can_wait(self, came: Sequence[str]) -> bool:
        """What came back for these tracks may be learned a little later: no order is among them, and there are pictures
        enough."""
        orders = any(isinstance(flight.job, Purchase) for tag, flight in self.flights.items() if tag in came)
        return not orders and self.pictures_suffice(came)

    def pictures_suffice(self, came: Sequence[str] = ()) -> bool:
        """Half of all hands have one that has not come back, which is more than there are processors."""
        pictures = sum(isinstance(flight.job, Fetch) for tag, flight in self.flights.items() if tag not in came)
        return 2 * pictures >= self._crew.size

    def finish(self, answers: Sequence[tuple[str, Finding | Exception]]) -> None:
        """Learn from what came back. Raises DatabaseError when something could not be saved: it is kept."""
        failed: list[DatabaseError] = []
        for track_id, answer in answers:
            flight = self.flights.pop(track_id)
            if isinstance(flight.job, AskTask):
                self.desk.ready.extend(self._waiting_for_task.pop(flight.job.task_id, ()))
            try:
                self._hear(flight, answer)
            except DatabaseError as error:
                failed.append(error)
            except Exception as error:  # noqa: BLE001 - one bad track stops nobody
                self.desk.mishap(track_id, error, flight.lease, flight.case.memory)
        self.desk.flush()
        if failed:
            raise failed[0]

    def _hear(self, flight: Flight, answer: Finding | Exception) -> None:
        if isinstance(answer, Exception):
            self._tell(Mistake(flight.case.track.id, answer))
        finding = told(flight.job, answer, provider_fails=self._provider_fails())
        self._tell(Found(flight.case.track.id, flight.job, finding, _asked(flight)))
        self._lately.hear(finding, announced=_announced(flight))
        self._learn(flight, finding)

    def _provider_fails(self) -> bool:
        """Where it cannot be told, what is not found is not believed."""
        try:
            return self._purse.provider_fails
        except DatabaseError:
            return True

    def save_again(self) -> None:
        """Save one answer that could not be saved when it came: it may have been paid for."""
        if self.unsaved:
            self._learn(*self.unsaved.popleft())
        self.desk.flush()

    def _learn(self, flight: Flight, finding: Finding) -> None:
        try:
            self._conclude(flight, finding)
        except DatabaseError:
            self.unsaved.append((flight, finding))
            raise

    def _conclude(self, flight: Flight, finding: Finding) -> None:
        case = replace(flight.case, now=self._clock(), runs=self._lately.runs)
        memory, tried = learn(case, flight.job, finding), (*flight.tried, attempt(flight.job, finding))
        failed = partial(self.unsaved.append, (flight, finding))
        if flight.gone:
            after = After(partial(self._learned, flight, finding, memory), failed)
            self.desk.part(flight.lease, memory, case.now, tried, after)
            return
        case = replace(case, memory=notice(memory, case.track, self._policy, case.now))

        def saved() -> None:
            if isinstance(flight.case.look, Unmeasured) and isinstance(case.look, Good):
                self._tell(Recognised(case.track.id))
            self._learned(flight, finding, memory)

        self._proceed(flight, finding, case, tried, After(saved, failed))

    def _learned(self, flight: Flight, finding: Finding, memory: Memory) -> None:
        """It is saved: what it says of the picture's host and of the gate."""
        self.desk.watch_host(flight.case, flight.job, memory)
        self._purse.learned(flight.kept or flight.case.memory, memory)
        self._teach_gate(flight.job, finding, memory)

    # -- going on --------------------------------------------------------------------------------------------------

    def _proceed(self, flight: Flight, finding: Finding, case: Case, tried: Attempts, after: After) -> None:
        """What cost nothing to learn may be saved with what comes next, under the same lease."""
        action = plan(case)
        match flight.job, action:
            case ListStore(), Buy() if self._may_go_on_under(flight.lease) and self._is_open(action):
                self._buy(flight.lease, case, action, tried)
            case AskTask(task_id), Fetch() if self._may_go_on_under(flight.lease) and _is_its_own(task_id, case.memory):
                fetch = Flight(flight.lease, case, action, tried=tried, kept=flight.case.memory)

                def begun() -> None:
                    self._dispatch(fetch)
                    self._teach_gate(flight.job, finding, case.memory)

                end = partial(self.desk.conclude, flight.lease, case, action, tried, after)
                self.desk.begin(flight.lease, Step.PICTURE, After(begun, end))
            case _:
                self.desk.conclude(flight.lease, case, action, tried, after)

    def _may_go_on_under(self, lease: Lease) -> bool:
        """While it lasts for a whole step more."""
        return lease.until - self._clock() >= self._policy.step_deadline and self._may_go_on()

    def _is_open(self, order: Buy) -> bool:
        return self._purse.refusal(order.shape, order.price) is None

    def _next_step(self, case: Case, action: Action) -> Step | None:
        """What the track is to be leased anew for as its step ends, None if it is not."""
        match action:
            case Measure() | Fetch() if self._may_go_on() and case.memory.interruptions == 0:
                return Step.PICTURE
            case AskTask() | AskSong() | ListStore() if self._may_go_on():
                return Step.LOOK
            case _:
                return None

    def _go_on(self, lease: Lease, case: Case, action: Action) -> None:
        try:
            if not self._may_go_on():
                self.desk.settle(lease, case, action)
            elif isinstance(action, Measure | Fetch):
                self._dispatch(Flight(lease, case, action))
            else:
                self._take(lease, case, action)
        except DatabaseError:
            self._undecided[case.track.id] = Held(lease, case.track, case.memory, case.now)
            raise
        except Exception as error:  # noqa: BLE001 - one bad track stops nobody
            self.desk.mishap(case.track.id, error, lease, case.memory)

    def hand_back(self) -> None:
        """Give up what the crew is still at, who was put off for it, and who was not got to: the next run goes on at
        once."""
        for flight, _ in self.unsaved:
            # Its picture did come back: who takes the track over must not think that it killed this process.
            self.desk.begin(flight.lease, Step.LOOK)
        self.desk.flush()
        for flight in (*self.flights.values(), *self._pictures):
            self.desk.settle(flight.lease, flight.case, plan(flight.case), flight.tried)
        self.flights.clear()
        put_off = (*self.alone, *chain(*self._waiting_for_task.values()))
        for held in (*self._undecided.values(), *self._leases.lease_all(put_off).values()):
            if isinstance(held, Held) and held.track is not None:
                case = Case(held.track, held.memory, self._policy, held.now)
                self.desk.settle(held.lease, case, plan(case))
        self.desk.flush()

    def _teach_gate(self, job: Job, finding: Finding, memory: Memory) -> None:
        match job:
            case Purchase():
                self._purse.heard(finding, job)
            case AskTask(task_id):
                self._purse.heard(finding, next((p for p in memory.purchases if p.task_id == task_id), None))
            case AskSong():
                self._purse.heard(finding)
            case _:
                pass


def _planned(track: Track, held: Held, policy: Policy) -> tuple[Case, Action]:
    case = noticed(track, held.memory, policy, held.now)
    return case, plan(case)


def _whole(held: Held | Exception) -> Held:
    if isinstance(held, Exception):
        raise held
    return held


def _leased(held: Held | Exception) -> tuple[Lease | None, Memory | None]:
    return (held.lease, held.memory) if isinstance(held, Held) else (None, None)


def _asked(flight: Flight) -> int:
    """How often its image task was asked, this time included."""
    if not isinstance(flight.job, AskTask):
        return 0
    task = flight.case.memory.tasks.get(flight.job.task_id)
    return 1 if task is None else task.polls + 1


def _announced(flight: Flight) -> bool | None:
    return announced(flight.case.memory, flight.job.task_id) if isinstance(flight.job, AskTask) else None


def told(job: Job, answer: Finding | Exception, *, provider_fails: bool) -> Finding:
    """What a worker came back with. One that raised is a mistake of ours: what it did is then not known."""
    if isinstance(answer, NotFound) and provider_fails:
        return Trouble(Call.SERVER_ERROR, "not found, by a provider that fails: not believed")
    if not isinstance(answer, Exception):
        return answer
    detail = type(answer).__name__
    match job:
        case Purchase():
            return AnswerLost(Call.MALFORMED, detail)
        case AskTask() | AskSong():
            return Trouble(Call.MALFORMED, detail)
        case _:
            return Fault(Reason.DOWNLOAD_FAILED, detail)


def _is_its_own(task_id: str, memory: Memory) -> bool:
    """Nobody else waits to know what became of the task; and no picture of the track has taken the process down."""
    return memory.interruptions == 0 and any(purchase.task_id == task_id for purchase in memory.purchases)
