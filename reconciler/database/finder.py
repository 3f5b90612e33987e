"""Finding work: by indexes where something is stuck, and by walking the app's table by key where it may be."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache, reduce
from itertools import count
from typing import Any, NamedTuple

from peewee import JOIN, SQL, Case, Select, fn

from reconciler.database.app_tracks import stamp
from reconciler.database.connection import Connection
from reconciler.database.dialect import and_then, flag
from reconciler.database.handing import unseen
from reconciler.database.memories import LONGEST_TASK_ID
from reconciler.database.schema import AppTable
from reconciler.database.scope_sql import TRUE, in_scope, unfinished_with_audio
from reconciler.database.statements import Slot, Statement
from reconciler.database.tables import HandedOver, Remembered
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Stood
from reconciler.domain.states import AT_REST, Reason, State
from reconciler.domain.unswept import lines, new_for
from reconciler.ports import Ahead, AuditPage

R = Remembered
NOW = Slot("now")
IN_SCOPE = R.state.is_null(False)
"""Remembered in scope."""

TOGETHER = 2000
"""Ids that are read at once."""

Only = Sequence[str] | None


class _Seen(NamedTuple):
    """One row of the walk. Flags are 0, 1, or None where SQL could not tell."""

    in_scope: int | None
    unfinished: int | None
    """May come into scope by time alone."""
    remembered: int
    """And, as far as that was seen, there ever since."""
    state: State | None
    due: int | None
    changed: int

    @property
    def stands(self) -> bool:
        """As it was when last looked at. Who was given up or cannot be worked is looked at again: not all of a row is
        compared here."""
        return self.state not in (None, State.FAILED, State.INVALID) and not self.due and not self.changed

    @property
    def wants_a_look(self) -> bool:
        if self.in_scope:
            return not self.stands
        return self.state is not None or bool(self.unfinished and not self.remembered)


class SqlFinder:
    def __init__(self, connection: Connection, app: AppTable, policy: Policy) -> None:
        self.connection, self.app, self.policy = connection, app, policy
        self._urgent = lru_cache(maxsize=8)(self._by_urgency)
        self._holding = lru_cache(maxsize=8)(self._held)
        self._coming = lru_cache(maxsize=8)(self._ahead)
        self._walking = lru_cache(maxsize=8)(self._walk)
        self._rowless, self._end = lru_cache(maxsize=8)(self._without_row), self._spell_end()

    def due(self, limit: int, only: Only = None, *, new: bool = True, anew: bool = False) -> Sequence[str]:
        """`anew`: as if every remembered track were due."""
        urgent = self._urgent(_fixed(only), new, anew)
        _, (found,) = self.connection.asking(lambda now: [urgent.given(**self._times(now), now=now, limit=limit)])
        return tuple(dict.fromkeys(str(key) for (key,) in found.rows))

    def held_back(self, shape: str, limit: int, only: Only = None) -> Sequence[str]:
        holding = self._holding(_fixed(only))
        _, (found,) = self.connection.asking(lambda now: [holding.given(shape=shape, now=now, limit=limit)])
        return tuple(str(key) for (key,) in found.rows)

    def next_due(self) -> datetime | None:
        return self.ahead(()).due_at

    def ahead(self, shapes: Sequence[str], only: Only = None) -> Ahead:
        coming, lines = self._coming(_fixed(only), len(shapes)), dict(zip(map(_line, count()), shapes, strict=False))
        _, (found,) = self.connection.asking(lambda now: [coming.given(now=now, **lines)])
        free, leased, *waits = found.rows[0]
        soonest = min((time for time in (free, leased) if time is not None), default=None)
        return Ahead(soonest, frozenset(shape for shape, is_held in zip(shapes, waits, strict=True) if is_held))

    def page(
        self, after: str | None, limit: int, only: Only = None, *, until: str | None = None, anew: bool = False
    ) -> AuditPage:
        """`anew`: as if every remembered track were due."""
        walk = self._walking(after is None, until is None, _fixed(only), anew)
        keys = {"after": after and self.app.parse_id(after), "until": until and self.app.parse_id(until)}
        with self.connection.snapshot() as now:
            asked = walk.given(**self._times(now), **keys, now=now, limit=limit)
            (found,) = self.connection.ask(asked)
            rows = [(str(key), _Seen(*facts)) for key, *facts in found.rows]
            work = [key for key, seen in rows if seen.wants_a_look]
            if len(rows) == limit:
                return AuditPage(tuple(work), rows[-1][0])
        return AuditPage((*work, *(self._gone(_fixed(only)) if until is None else ())), None)

    def _gone(self, only: Only) -> Iterator[str]:
        """Remembered tracks that the app deleted since they were last looked at, a stretch of keys at a time."""
        low: str | None = ""
        while low is not None:
            with self.connection.reading():
                (high,) = (self._end.one(low=low) if only is None else None) or (None,)
                gone = self._rowless(only, high is None).rows(low=low, high=high)
            yield from (str(key) for (key,) in gone)
            low = high

    def standing(self, state: State, reason: Reason) -> Sequence[str]:
        """Ids of remembered tracks that stand so, longest in need first."""
        with self.connection.reading():
            query = R.select(R.track_id).where((R.state == state) & (R.reason == reason))
            found = self.connection.rows(query.order_by(R.needy_since, R.track_id))
            return tuple(str(track_id) for (track_id,) in found)

    def rows_after(self, after: str | None) -> int:
        """How many rows an audit still has to walk."""
        with self.connection.reading():
            query = self.app.table.select(fn.count(SQL("*")))
            if after is not None:
                query = query.where(self.app.id > self.app.parse_id(after))
            return int(self.connection.one(query)[0])

    def tally(self, only: Only = None) -> Mapping[Stood, int]:
        """A track that somebody has in hand for the first time is not judged yet."""
        with self.connection.snapshot() as now:
            kept = (R.state, R.reason, R.wants, R.repeats)
            known = R.state.is_null(False) | (R.lease_until > now)
            query = R.select(*kept, fn.count(R.track_id)).where(known & _among(only)).group_by(*kept)
            tally: Counter[Stood] = Counter()
            for state, *stood, count in self.connection.rows(query):
                tally[Stood(state or State.UNVERIFIED, *stood)] += count
            return tally

    def restless(self) -> Iterator[str]:
        """Ids of those that `tally` counts elsewhere than at rest, a page at a time."""
        after: str | None = ""
        while after is not None:
            with self.connection.snapshot() as now:
                known = R.state.not_in(AT_REST) | (R.state.is_null() & (R.lease_until > now))
                query = R.select(R.track_id).where(known & (R.track_id > after)).order_by(R.track_id).limit(TOGETHER)
                found = [str(track_id) for (track_id,) in self.connection.rows(query)]
            yield from found
            after = found[-1] if len(found) == TOGETHER else None

    # -- due: statements with slots for limits, keys and times, spelled once -------------------------------------------

    def _times(self, now: datetime) -> dict[str, datetime | str | int]:
        stale = now - self.policy.stale_after
        oldest = now - new_for(self.policy)
        day = (oldest - timedelta(days=1)).date().isoformat()
        return {"stale": stale, "oldest": oldest, "day": day, "second": int(oldest.timestamp())}

    def _ahead(self, only: Only, lines: int) -> Statement:
        # By the owner, which has no index: SQLite would take that of `lease_until`, in which nearly all are NULL.
        free = R.select(fn.min(R.due_at)).where(R.lease_owner.is_null() & _among(only))
        leased = R.select(fn.min(R.lease_until)).where(R.lease_until.is_null(False) & _among(only))
        waits = (flag(fn.exists(self._in_line(_line(number), only))) for number in range(lines))
        return self.connection.statement(Select(columns=[free, leased, *waits]), R.due_at, R.due_at, *[None] * lines)

    def _held(self, only: Only) -> Statement:
        """Who was never tried first; that is a part of its own, since NULLs are not everywhere first in an index."""
        line = self._in_line("shape", only)
        untried, tried = line.where(R.tried_at.is_null()), line.where(R.tried_at.is_null(False))
        return self._first_of(untried, tried.order_by(R.tried_at))

    def _in_line(self, name: str, only: Only) -> Any:
        held = self.connection.dialect.by_index(R.held == Slot(name))
        return R.select(R.track_id).where(held & _free(NOW) & _among(only))

    def _by_urgency(self, only: Only, new: bool, anew: bool) -> Statement:
        """What expires, then what was never tried, then what waited longest."""
        is_due = IN_SCOPE if anew else R.due_at <= NOW
        due = R.select(R.track_id).where(is_due & _free(NOW) & _among(only))
        # Few are due of many that were tried: not by the index of `tried_at`, which SQLite would take for the order.
        tried_at = fn.coalesce(R.tried_at, R.tried_at)
        queries = (
            due.where(R.expires_at.is_null(False)).order_by(R.expires_at),
            due.where(R.expires_at.is_null() & R.tried_at.is_null()).order_by(R.due_at),
            *(self._new(only) if new else ()),
            due.where(R.expires_at.is_null() & tried_at.is_null(False)).order_by(tried_at),
            # Looked at later than now: the clock was set back, and their times mean nothing any more.
            R.select(R.track_id).where((R.tried_at > NOW) & _free(NOW) & _among(only)).order_by(R.tried_at),
        )
        return self._first_of(*queries)

    def _first_of(self, *queries: Any) -> Statement:
        """One statement: a database goes on to the next only while there is room for more."""
        parts: list[Any] = [Select([query.limit(Slot("limit"))], [SQL("*")]) for query in queries]
        return self._spelled(reduce(Select.union_all, parts))

    def _spelled(self, query: Any, columns: int = 1) -> Statement:
        return self.connection.statement(query.limit(Slot("limit")), *[None] * columns)

    @property
    def _image(self) -> Any:
        return self.app.column("image_url")

    def _handed_over(self, only: Only) -> Any:
        """Tracks with a task that can be asked for and that nobody looked at yet."""
        track_id = self.app.spelled(HandedOver.track_id)
        usable = self.app.dialect.is_printable(HandedOver.task_id, LONGEST_TASK_ID)
        among = TRUE if only is None else track_id.in_(list(only))
        query = unseen(track_id, so=usable & among & self.app.has_row_written_so(track_id))
        query = query.join(R, JOIN.LEFT_OUTER, on=(R.track_id == track_id)).where(_free(NOW))
        return query.order_by(HandedOver.created_at)

    def _new(self, only: Only) -> list[Any]:
        """What the app did since."""
        absent = (self._without_picture(absent, only) for absent in (self._image.is_null(), self._image == ""))
        return [self._handed_over(only), *self._created(only), *absent]

    def _created(self, only: Only) -> list[Any]:
        """Rows that came into scope lately, whatever picture they have."""
        if not self.app.has("created_at"):
            return []
        created, declared = self.app.raw("created_at"), self.app.types["created_at"]
        recent = self.app.dialect.instant(self.app.column("created_at")) >= Slot("oldest")
        parts = self.app.dialect.since(created, declared, Slot("day"), Slot("second"))
        return [self._rows(part, R.state.is_null(), recent, only).order_by(created) for part in parts]

    def _without_picture(self, absent: Any, only: Only) -> Any:
        """Rows not remembered, or remembered as out of scope or with a picture."""
        news = R.state.is_null() | (R.seen != "")
        return self._rows(absent, news, TRUE, only)

    def _rows(self, found: Any, new: Any, so: Any, only: Only) -> Any:
        """Ids of rows in scope that nobody holds. Most that are `found` by an index are not `new`: what takes time to
        find out is asked of those that are."""
        on = R.track_id == self.app.dialect.as_text(self.app.id)
        query = self.app.table.select(self.app.dialect.as_text(self.app.id)).join(R, JOIN.LEFT_OUTER, on=on)
        usable = self.app.dialect.usable_id(self.app.column("id"))
        wanted = in_scope(self.app, self.policy, Slot("stale")) & usable & so
        return query.where(found & self._rows_among(only) & and_then(new & _free(NOW), wanted))

    # -- audit -----------------------------------------------------------------------------------------------------

    def _walk(self, from_start: bool, to_end: bool, only: Only, anew: bool) -> Statement:
        """Every row with a usable id between the keys, with what `_Seen` tells."""
        on = R.track_id == self.app.dialect.as_text(self.app.id)
        query = self.app.table.select(self.app.told_id, *self._facts(anew)).join(R, JOIN.LEFT_OUTER, on=on)
        query = query.where(self.app.dialect.usable_id(self.app.column("id")) & self._rows_among(only))
        if not from_start:
            query = query.where(self.app.id > Slot("after"))
        if not to_end:
            query = query.where(self.app.id <= Slot("until"))
        return self._spelled(query.order_by(self.app.id), 1 + len(_Seen._fields))

    def _facts(self, anew: bool) -> list[Any]:
        dialect = self.app.dialect
        changed = dialect.differ(R.stamp, stamp(self.app)) | dialect.differ(R.seen, dialect.identity(self._image))
        return [
            in_scope(self.app, self.policy, Slot("stale")),
            unfinished_with_audio(self.app, self.policy),
            R.track_id.is_null(False) & R.gone_since.is_null(),
            R.state,
            flag(IN_SCOPE) if anew else (R.due_at <= NOW) | (R.tried_at > NOW) | is_astray(self.policy),
            # Long pictures are hashed to be compared: only where it matters.
            Case(None, [(R.state.is_null(), 0)], flag(changed)),
        ]

    def _without_row(self, only: Only, is_last: bool) -> Statement:
        gone = R.gone_since.is_null() & ~self.app.has_row(R.track_id)
        within = (R.track_id > Slot("low")) & (TRUE if is_last else R.track_id <= Slot("high"))
        query = R.select(R.track_id).where(gone & within & _among(only)).order_by(R.track_id)
        return self.connection.statement(query, None)

    def _spell_end(self) -> Statement:
        last = self.connection.dialect.stretch - 1
        query = R.select(R.track_id).where(R.track_id > Slot("low")).order_by(R.track_id).limit(1).offset(last)
        return self.connection.statement(query, None)

    # -- common ----------------------------------------------------------------------------------------------------

    def _rows_among(self, only: Only) -> Any:
        return TRUE if only is None else self.app.id.in_([self.app.parse_id(track_id) for track_id in only])


def is_astray(policy: Policy) -> Any:
    """It waits in a line that is none by this policy: see `domain.unswept`."""
    return R.held.is_null(False) & R.held.not_in(lines(policy))


def _line(number: int) -> str:
    return f"line_{number}"


def _free(now: Any) -> Any:
    return R.lease_until.is_null() | (R.lease_until <= now)


def _fixed(only: Only) -> Only:
    return None if only is None else tuple(only)


def _among(only: Only) -> Any:
    return TRUE if only is None else R.track_id.in_(list(only))
