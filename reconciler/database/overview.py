"""Where every track in scope stands, counted by one grouped query over what was judged when each was last looked at.

What cannot be told that way is judged anew, by `classify` itself: tracks that are worked now, whose row changed since,
that were handed a task, that somebody who decided otherwise left in a line of theirs, or whose time has come. Of these
`JUDGED` at most; the others count as they last stood.

The table is read a stretch of keys at a time, each in a transaction of its own. In SQLite they are short: it lets
nobody commit while somebody reads, and the app is not to wait.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache, reduce
from operator import and_, or_
from typing import Any, NamedTuple

from peewee import JOIN, SQL, Case, Field, Select, fn

from reconciler.database.app_tracks import stamp_differs
from reconciler.database.connection import Connection
from reconciler.database.dialect import Key, bindable, flag
from reconciler.database.finder import SqlFinder, is_astray
from reconciler.database.gate_view import GateReader
from reconciler.database.handing import unseen
from reconciler.database.hosts import SUSPECT
from reconciler.database.leases import Peek
from reconciler.database.schema import AppTable
from reconciler.database.scope_sql import FALSE, TRUE, has_flaw, in_scope
from reconciler.database.statements import Slot, Statement
from reconciler.database.tables import HandedOver, LosingHost, Remembered
from reconciler.domain.gate import GateView
from reconciler.domain.learn import noticed
from reconciler.domain.look import is_picture
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Stood, classify, is_waiting, newcomer
from reconciler.domain.states import Place, Reason, State
from reconciler.domain.unswept import is_unswept, new_for
from reconciler.ports import Held, Overview, Working

R = Remembered
NOW = Slot("now")

JUDGED = 5000
LOOKED_AT = 100
"""Tracks that are judged anew are looked at so many at a time."""


class _Row(NamedTuple):
    """What rows are grouped by. All but `unsettled` and `unusable` tell of remembered tracks, or of new ones."""

    unusable: int
    """Its id cannot be named."""
    unsettled: int
    """Remembered, and where it stands must be judged anew."""
    state: State | None
    reason: Reason | None
    wants: str | None
    repeats: bool | None
    flawed: int
    settles: int
    noticed: int
    """Of a new row: a sweep sees it, whatever picture it has."""
    head: str | bytes | None
    """Of a new row: the beginning of what it has for a picture."""

    @property
    def is_new(self) -> bool:
        return self.state is None and not self.unsettled

    @property
    def is_unswept(self) -> bool:
        """As `domain.unswept` tells it of one that is judged."""
        return self.is_new and bool(self.head) and not self.noticed


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows that count as one. `key`: the id of one that stands alone, to be judged anew."""

    row: _Row
    key: Any
    count: int
    since: datetime | None
    expires: datetime | None


_Ends = tuple[bool, bool]
"""Whether a stretch has a lower and an upper end."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Keys above `low`, `high` included; None: no end on that side."""

    low: object
    high: object

    @property
    def ends(self) -> _Ends:
        return self.low is not None, self.high is not None


@dataclass(slots=True)
class _Sums:
    tracks: Counter[Place]
    oldest_stuck: datetime | None = None
    earliest_expiry: datetime | None = None
    unseen_settling: int = 0
    for_audit: int = 0

    def add(self, state: State, reason: Reason | None, count: int, since: datetime, expires: datetime | None) -> None:
        self.tracks[state, reason] += count
        if state.stuck:
            self.oldest_stuck = min(self.oldest_stuck or since, since)
        if state is State.EXPIRING and expires is not None:
            self.earliest_expiry = min(self.earliest_expiry or expires, expires)


class SqlOverview:
    """For one thread, beside whatever works."""

    def __init__(self, connection: Connection, app: AppTable, policy: Policy) -> None:
        self.connection, self.app, self.policy = connection, app, policy
        self._finder = SqlFinder(connection, app, policy)
        self._peek, self._gate = Peek(connection, app, policy), GateReader(connection, policy)
        self._counted = cache(self._spell_counted)
        self._grouped, self._unsettled = cache(self._spell_grouped), cache(self._spell_unsettled)
        self._told, self._end = self._spell_told(), cache(self._spell_end)

    def overview(self) -> Overview:
        with self.connection.snapshot() as at:
            gate, working, told = self._gate.view(at), self._working(at), self._told.one() == (1,)
        sums, may_judge = _Sums(Counter()), JUDGED
        for stretch in self._stretches():
            may_judge -= self._add(stretch, gate, sums, may_judge, told=told)
        soonest = sums.oldest_stuck, sums.earliest_expiry
        unseen = sums.unseen_settling, sums.for_audit
        return Overview(at, sums.tracks, *soonest, gate, self._finder.next_due(), working, *unseen)

    def _add(self, stretch: _Stretch, gate: GateView, sums: _Sums, may_judge: int, *, told: bool) -> int:
        """Count a stretch; return how many of its tracks were judged anew. `told`: see `_spell_told`."""
        with self.connection.snapshot() as now:
            given = self._times(now) | {"low": stretch.low, "high": stretch.high}
            ((whole, good),) = self._counted(stretch.ends).rows(**given)
            if good:
                sums.add(State.OK, None, int(good), now, None)
            if good == whole:
                return 0
            groups, unsettled = self._elsewhere(stretch.ends, given, int(whole - good), may_judge, told=told)
        judged = Counter(unsettled.values())
        for group in groups:
            left = 0 if group.key is not None else group.count - judged[group.row]
            if left > 0:
                state, reason = self._stands(group.row, gate)
                sums.add(state, reason, left, min(group.since or now, now), group.expires)
                settles = group.row.is_new and state is State.SETTLING
                sums.unseen_settling += left * settles
                sums.for_audit += left * (group.row.is_unswept and (settles or is_waiting(state, reason)))
        for first in range(0, len(unsettled), LOOKED_AT):
            for track_id, held in self._peek.peek_all([*unsettled][first : first + LOOKED_AT]).items():
                if isinstance(held, Held):
                    self._judge(held, gate, sums)
                else:  # its memory cannot be read: it counts where it stood
                    sums.add(*self._stands(unsettled[track_id], gate), 1, now, None)
        return len(unsettled)

    def _elsewhere(
        self, ends: _Ends, given: dict[str, Any], rows: int, may_judge: int, *, told: bool
    ) -> tuple[list[_Group], dict[str, _Row]]:
        """The groups of rows that are not good, `rows` in all; and who of them is to be judged anew, with the fields
        that each counts in."""
        one_by_one = rows <= may_judge
        found = self._grouped(ends, told, one_by_one).rows(**given)
        groups = [_Group(_Row(*facts), key, count, since, expires) for *facts, key, count, since, expires in found]
        if one_by_one:
            return groups, {str(group.key): group.row for group in groups if group.key is not None}
        if not any(group.row.unsettled for group in groups):
            return groups, {}
        unsettled = self._unsettled(ends, told).rows(**given, limit=may_judge)
        return groups, {str(key): _Row(*facts) for key, *facts in unsettled}

    def _stretches(self) -> Iterator[_Stretch]:
        """All keys, in order. Those that nothing compares with end a table: the first stretch takes NULL, the last all
        that follows a key that cannot be named."""
        low = None
        while True:
            high = self._end_of_stretch(low)
            yield _Stretch(low, high)
            if high is None:
                return
            low = high

    def _end_of_stretch(self, low: object) -> object:
        """Where it is known that there is none, the table is not looked through for it."""
        if self.app.key is Key.UNTYPED:
            return None
        with self.connection.reading():
            if self.app.dialect.is_short(self.connection.db, self.app.qualified, self.app.dialect.stretch):
                return None
            found = self._end(low is None).one(low=low)
        return found[0] if found is not None and bindable(found[0]) else None

    # -- where a group stands ----------------------------------------------------------------------------------------

    def _stands(self, row: _Row, gate: GateView) -> Place:
        if row.unusable:
            return State.INVALID, Reason.INVALID_ROW
        if row.state is None:
            has_picture = is_picture(_text(row.head), self.policy)
            return newcomer(flawed=bool(row.flawed), settles=bool(row.settles), has_picture=has_picture)
        return Stood(row.state, row.reason, row.wants, bool(row.repeats)).stands(gate, self.policy)

    def _judge(self, held: Held, gate: GateView, sums: _Sums) -> None:
        if held.track is None:
            return
        case = noticed(held.track, held.memory, self.policy, held.now)
        where = classify(case, gate)
        if where.state is not None:
            sums.add(where.state, where.reason, 1, case.memory.needy_since or held.now, where.expires_at)
            unswept = is_unswept(held.track, held.memory, self.policy, held.now, held.left)
            sums.for_audit += unswept and is_waiting(where.state, where.reason)

    # -- queries: spelled once, with slots for times ------------------------------------------------------------------

    def _times(self, now: datetime) -> dict[str, Any]:
        stale, cut = now - self.policy.stale_after, now - self.policy.grace
        return {"now": now, "stale": stale, "cut": cut, "oldest": now - new_for(self.policy)}

    def _spell_end(self, is_first: bool) -> Statement:
        key = self.app.column("id")
        query = self.app.table.select(key).where(TRUE if is_first else key > Slot("low"))
        return self.connection.statement(query.order_by(key).limit(1).offset(self.app.dialect.stretch - 1), None)

    def _spell_counted(self, ends: _Ends) -> Statement:
        """How many rows, and how many of them are good, as nearly all are: to group these takes twice as long."""
        query = self._rows(ends, fn.count(SQL("*")), fn.coalesce(fn.sum(self._is_good), 0))
        return self.connection.statement(query, None, None)

    def _spell_told(self) -> Statement:
        """Whether other tables tell of any track that it must be judged anew."""
        told = fn.exists(LosingHost.select(LosingHost.host).where(SUSPECT)) | fn.exists(self._handed_over)
        return self.connection.statement(Select(columns=[flag(told)]), None)

    def _spell_grouped(self, ends: _Ends, told: bool, one_by_one: bool) -> Statement:
        """Of the rest, the fields of a `_Row`, for how many rows they stand, since when the first is in need, and what
        expires first. `one_by_one`: each that must be judged anew stands alone, with its id behind its fields."""
        facts = self._facts(told)
        key = Case(None, [(self._is_unsettled(told), self.app.told_id)], None) if one_by_one else SQL("NULL")
        query = self._rows(ends, *facts, key, fn.count(SQL("*")), fn.min(R.needy_since), fn.min(R.expires_at))
        # By position: the same expression with other parameters counts as another one.
        places = len(facts) + one_by_one
        query = query.where(self._is_good == 0).group_by(*(SQL(str(place + 1)) for place in range(places)))
        return self.connection.statement(query, *_read_as(facts), None, None, R.needy_since, R.expires_at)

    def _spell_unsettled(self, ends: _Ends, told: bool) -> Statement:
        """Ids, with the fields of the `_Row` that each counts in. A good one is counted, whatever it was handed."""
        facts, anew = self._facts(told), self._is_unsettled(told) & (self._is_good == 0)
        query = self._rows(ends, self.app.told_id, *facts).where(anew).limit(Slot("limit"))
        return self.connection.statement(query, None, *_read_as(facts))

    def _rows(self, ends: _Ends, *columns: Any) -> Any:
        mine = self.app.dialect.is_named(self.app.column("id"), self.app.key, R.track_id)
        query = self.app.table.select(*columns).join(R, JOIN.LEFT_OUTER, on=mine)
        return query.where(in_scope(self.app, self.policy, Slot("stale")) & self._within(ends))

    def _within(self, ends: _Ends) -> Any:
        key, (has_low, has_high) = self.app.column("id"), ends
        above = key > Slot("low") if has_low else TRUE
        below = key <= Slot("high") if has_high else TRUE
        return above & below if has_low else key.is_null() | below

    def _facts(self, told: bool) -> list[Any]:
        """As `_Row` names them."""
        new = R.track_id.is_null()
        return [
            flag(new & ~self.app.dialect.usable_id(self.app.column("id"))),
            flag(self._is_unsettled(told)),
            *(R.state, R.reason, R.wants, R.repeats),
            flag(new & has_flaw(self.app)),
            flag(new & self._settles),
            flag(new & self._is_noticed(told)),
            Case(None, [(new, self.app.dialect.shown(self.app.column("image_url")))], None),
        ]

    @property
    def _is_good(self) -> Any:
        """1 or 0: settled and `ok`. What tasks it was handed does not matter then, so no other table is asked: a server
        would not share the work among its processes any more."""
        elsewhere = R.state.is_null() | (R.state != State.OK) | R.reason.is_null(False) | R.wants.is_null(False)
        return Case(None, [(elsewhere, 0), (self._is_changed | has_flaw(self.app), 0)], 1)

    def _is_unsettled(self, told: bool) -> Any:
        """Other tables are asked only where they have something to tell: see `_is_good`."""
        spoiled = (R.state != State.INVALID) & has_flaw(self.app)
        moved = R.state.is_null() | self._is_changed | spoiled | is_astray(self.policy)
        if told:
            moved = moved | self._is_suspect_since() | R.track_id.in_(self._handed_over)
        return R.track_id.is_null(False) & moved

    @property
    def _is_changed(self) -> Any:
        """What is found out soonest comes first: nearly all rows are asked all of it."""
        image, dialect = self.app.column("image_url"), self.app.dialect
        # A picture that is as it was remembered need not be measured.
        picture = dialect.differ(R.seen, image) & dialect.differ(R.seen, dialect.identity(image))
        over = R.lease_owner.is_null(False) | (R.stands_until <= NOW) | (R.tried_at > NOW)
        return over | picture | stamp_differs(self.app, R.stamp)

    @property
    def _settles(self) -> Any:
        """Of a row that nobody looked at yet: `domain.scope.settles_at`."""
        if not self.policy.grace:
            return FALSE
        times = [self.app.dialect.instant(self.app.column(name)) for name in ("created_at", "updated_at")]
        untold = reduce(and_, (time.is_null() for time in times))
        return reduce(or_, (fn.coalesce(time > Slot("cut"), FALSE) for time in times)) | untold

    def _is_noticed(self, told: bool) -> Any:
        """Of a row that nobody looked at yet: see `SqlFinder.due`."""
        created = self.app.dialect.instant(self.app.column("created_at"))
        young = fn.coalesce(created >= Slot("oldest"), FALSE)
        return young | self.app.told_id.in_(self._handed_over) if told else young

    def _is_suspect_since(self) -> Any:
        """Of a suspect host, and last seen about to buy, or as waiting for the store to do so."""
        would_buy = R.wants.is_null(False) | (R.state == State.BACKING_OFF)
        named = self.app.dialect.contains(fn.lower(R.seen), LosingHost.host)
        return would_buy & fn.exists(LosingHost.select(LosingHost.host).where(SUSPECT & named))

    @property
    def _handed_over(self) -> Any:
        """Tracks with an image task that nobody looked at yet."""
        track_id = self.app.spelled(HandedOver.track_id)
        return unseen(track_id, so=track_id.is_null(False))

    def _working(self, now: datetime) -> tuple[Working, ...]:
        held = R.lease_until.is_null(False) & (R.lease_until > now)
        columns = (R.track_id, R.lease_owner, R.lease_step, R.lease_until)
        found = self.connection.rows(R.select(*columns).where(held).order_by(R.lease_until).limit(200))
        return tuple(Working(*row) for row in found)


def _read_as(facts: list[Any]) -> list[Any]:
    return [fact if isinstance(fact, Field) else None for fact in facts]


def _text(head: str | bytes | None) -> str:
    return head.decode("utf-8", "replace") if isinstance(head, bytes) else head or ""
