"""Finding work: what is found, in which order, by which index; and a walk that misses nothing."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from peewee import Value

from reconciler.database import finder
from reconciler.database.finder import SqlFinder
from reconciler.domain.actions import Write
from reconciler.domain.catalogue import offers
from reconciler.domain.gate import GateName
from reconciler.domain.learn import notice
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing, Stood
from reconciler.domain.states import How, Reason, State
from reconciler.ports import Change, Commit, Ending, RowWrite

OLD = "2026-06-01T00:00:00+00:00"
HOUR = timedelta(hours=1)
SHAPE = offers(Policy())[0][0]
INLINE = "data:image/png;base64," + "A" * 9000


class Desk:
    """A process that looks at tracks and leaves them standing somewhere."""

    def __init__(self, app: Any, policy: Policy | None = None) -> None:
        self.app, self.policy = app, policy or Policy()
        self.leases = app.leases("desk", self.policy)
        self.finder: SqlFinder = app.finder(self.policy)

    def look(
        self, track_id: str, state: State | None = State.OK, *, due_in: timedelta | None = None, **more: Any
    ) -> None:
        held = self.leases.lease(track_id)
        memory = held.memory
        if held.track is not None:
            memory = notice(memory, held.track, self.policy, held.now)
        else:
            memory = replace(memory, gone_since=held.now)
        due_at = None if due_in is None else held.now + due_in
        reason = more.pop("reason", None)
        memory = replace(memory, **{k: more.pop(k) for k in ("ignored",) if k in more})
        self.leases.commit(held.lease, Change(memory, Standing(state, reason, due_at, **more)))

    def walk(self, limit: int = 100, only: list[str] | None = None) -> list[str]:
        work: list[str] = []
        after: str | None = None
        for _ in range(1000):
            page = self.finder.page(after, limit, only)
            work += page.work
            after = page.last
            if after is None:
                return work
        raise AssertionError("the walk has no end")


@pytest.fixture
def desk(app: Any) -> Desk:
    return Desk(app)


# -- due ---------------------------------------------------------------------------------------------------------------


def test_rows_without_a_picture_are_found_before_anybody_looked(app: Any, desk: Desk) -> None:
    app.put("null")
    app.put("empty", image_url="")
    app.put("good", image_url="https://x/y.png")
    app.put("failed", status="failed")
    app.put("archived", status="archived", audio_url="https://x/a.mp3")
    app.put("left behind", status="pending", audio_url="https://x/a.mp3")
    app.put("no audio", status=None)
    assert sorted(desk.finder.due(99)) == ["empty", "left behind", "null"]
    assert desk.leases.lease("null") is not None
    assert sorted(desk.finder.due(99)) == ["empty", "left behind"], "somebody has it"


def test_rows_made_lately_are_found_whatever_they_show(app: Any, desk: Desk) -> None:
    forms = (
        "2026-11-01T11:00:00Z",
        "2026-11-01 11:00:00",
        "2026-11-01T16:00:00+05:00",
        "2026-11-01T11:00:00.123456+00:00",
    )
    for number, form in enumerate(forms):
        app.put(f"new {number}", image_url="https://x/y.png", created_at=form)
    app.put("future", image_url="https://x/y.png", created_at="2026-12-24 00:00:00")
    app.put("older", image_url="https://x/y.png", created_at="2026-10-31 11:00:00")
    app.put("pending", image_url="https://x/y.png", created_at=forms[0], status="pending", audio_url="a")
    assert sorted(desk.finder.due(99)) == ["future", "new 0", "new 1", "new 2", "new 3"]
    desk.look("new 0")
    assert "new 0" not in desk.finder.due(99)


def test_what_is_new_is_left_out_where_nobody_asks_for_it(app: Any, desk: Desk) -> None:
    for name in ("due", "handed", "new"):
        app.put(name, image_url="https://x/y.png")
    app.put("null")
    app.put("made lately", image_url="https://x/y.png", created_at="2026-11-01 11:00:00")
    app.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('handed', 't')")
    desk.look("due", State.MISSING, due_in=HOUR, reason=Reason.DUE)
    app.clock.at += HOUR
    assert sorted(desk.finder.due(9)) == ["due", "handed", "made lately", "null"]
    assert desk.finder.due(9, new=False) == ("due",)
    assert desk.finder.due(9, ["null"], new=False) == ()


def test_a_row_is_found_when_it_comes_into_scope_by_age(app: Any, desk: Desk) -> None:
    app.put("a", image_url="https://x/y.png", created_at="2026-11-01 11:00:00", status="pending", audio_url="a")
    assert desk.finder.due(9) == ()
    app.clock.at += 23 * HOUR
    assert desk.finder.due(9) == ("a",)


NOON = 1793534400


@pytest.mark.sqlite
@pytest.mark.parametrize("declared", ["INTEGER", "DATETIME", "TIMESTAMP", "REAL", "TEXT", ""])
@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000], ids=["seconds", "milliseconds", "microseconds"])
@pytest.mark.parametrize("kind", [int, str])
def test_rows_made_lately_are_found_where_times_are_numbers(
    make_app: Any, declared: str, unit: int, kind: type[int | str]
) -> None:
    app = make_app(f"CREATE TABLE tracks (id INTEGER PRIMARY KEY, status TEXT, image_url TEXT, created_at {declared})")
    for track_id, time in enumerate((NOON, NOON - 86_000, NOON - 864_000, 200_000_000)):
        app.sql("INSERT INTO tracks VALUES (?, 'completed', 'https://x/y.png', ?)", track_id, kind(time * unit))
    desk = Desk(app)
    assert sorted(desk.finder.due(9)) == ["0", "1"]
    assert desk.walk() == ["0", "1", "2", "3"]


def test_remembered_tracks_are_due_at_their_time(app: Any, desk: Desk) -> None:
    app.put("a")
    app.put("given up")
    desk.look("a", State.MISSING, due_in=HOUR, reason=Reason.DUE)
    desk.look("given up", State.FAILED, reason=Reason.NO_PROMPT)
    assert desk.finder.due(9) == ()
    assert desk.finder.next_due() == app.clock() + HOUR
    app.clock.at += HOUR
    assert desk.finder.due(9) == ("a",)
    held = desk.leases.lease("a")
    assert desk.finder.due(9) == ()
    assert desk.finder.next_due() == held.lease.until
    app.clock.at = held.lease.until
    assert desk.finder.due(9) == ("a",)


def test_a_picture_that_vanished_is_found(app: Any, desk: Desk) -> None:
    app.put("a", image_url="https://x/y.png")
    desk.look("a", due_in=30 * 24 * HOUR)
    assert desk.finder.due(9) == ()
    app.sql("UPDATE tracks SET image_url = NULL")
    assert desk.finder.due(9) == ("a",)
    desk.look("a", State.MISSING, due_in=HOUR, reason=Reason.DUE)
    assert desk.finder.due(9) == ()


def test_a_row_that_became_complete_is_found(app: Any, desk: Desk) -> None:
    app.put("a", status="processing", created_at="2026-11-01 11:59:00")
    desk.look("a", None)
    assert desk.finder.due(9) == ()
    app.sql("UPDATE tracks SET status = 'completed'")
    assert desk.finder.due(9) == ("a",)


def test_an_ignored_track_is_left_alone(app: Any, desk: Desk) -> None:
    app.put("a")
    desk.look("a", None, ignored=True)
    assert desk.finder.due(9) == ()
    assert desk.walk() == []


def test_a_handed_over_task_wakes_its_track(app: Any, desk: Desk) -> None:
    for name in ("a", "b", "gone"):
        app.put(name, image_url="https://x/y.png")
        desk.look(name)
    app.sql("DELETE FROM tracks WHERE id = 'gone'")
    app.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('b', 't'), ('gone', 't'), ('a', 'no\x07id')")
    assert desk.finder.due(9) == ("b",)
    desk.look("b")
    assert desk.finder.due(9) == (), "seen once, it is remembered"


def test_the_most_urgent_come_first(app: Any, desk: Desk) -> None:
    for name in ("late", "later", "dying", "dies first"):
        app.put(name, image_url="https://x/y.png")
    desk.look("later", due_in=4 * HOUR)
    app.clock.on(minutes=-1)
    desk.look("late", due_in=4 * HOUR)
    desk.look("dying", State.EXPIRING, due_in=2 * HOUR, expires_at=app.clock() + 9 * HOUR)
    desk.look("dies first", State.EXPIRING, due_in=3 * HOUR, expires_at=app.clock() + 8 * HOUR)
    app.put("never tried")
    app.clock.at += 5 * HOUR
    order = ("dies first", "dying", "never tried", "late", "later")
    assert desk.finder.due(99) == order
    assert desk.finder.due(3) == order[:3]


def test_as_if_all_that_are_remembered_were_due(app: Any, desk: Desk) -> None:
    for name in ("tried", "dying", "held", "in hand"):
        app.put(name, image_url="https://x/y.png")
    app.put("ignored")
    desk.look("ignored", None, ignored=True)
    desk.look("tried")
    app.clock.on(minutes=1)
    desk.look("held", State.BELOW_TARGET, due_in=9 * HOUR, held="shape", reason=Reason.BUDGET)
    desk.look("dying", State.EXPIRING, due_in=9 * HOUR, expires_at=app.clock() + 9 * HOUR)
    desk.look("in hand")
    desk.leases.lease("in hand")
    app.put("new")
    assert desk.finder.due(9) == ("new",)
    assert desk.finder.due(9, anew=True) == ("dying", "new", "tried", "held")
    assert desk.finder.due(9, ["tried"], anew=True) == ("tried",)
    assert desk.finder.page(None, 9, anew=True).work == ("dying", "held", "in hand", "new", "tried")


def test_the_hopeless_do_not_hide_the_next(app: Any, desk: Desk) -> None:
    for number in range(60):
        app.put(f"t{number:02}")
        desk.look(f"t{number:02}", State.FAILED, reason=Reason.NO_PROMPT)
    app.put("one more")
    assert desk.finder.due(5) == ("one more",)


@pytest.mark.sqlite
def test_ids_that_cannot_be_named_harm_nobody(make_app: Any) -> None:
    app = make_app("CREATE TABLE tracks (id, status TEXT DEFAULT 'completed', image_url TEXT)")
    app.sql("INSERT INTO tracks (id) VALUES (NULL), (''), (x'00ff'), (1.5), (CAST(x'68ff' AS TEXT)), ('a'), (7)")
    desk = Desk(app)
    assert sorted(desk.finder.due(9)) == ["7", "a"]
    assert desk.walk(limit=1) == ["7", "a"]


def test_who_is_not_at_rest_is_found_a_page_at_a_time(app: Any, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finder, "TOGETHER", 2)
    states = {"c": State.FAILED, "good": State.OK, "a": State.AWAITING, "young": State.SETTLING, "d": State.MISSING}
    for name, state in (states | {"ignored": None}).items():
        app.put(name)
        desk.look(name, state)
    app.put("b")
    desk.leases.lease("b")
    assert list(desk.finder.restless()) == ["a", "b", "c", "d"]
    app.clock.on(hours=1)
    assert list(desk.finder.restless()) == ["a", "c", "d"], "nobody has it in hand any more"


def test_narrowed(app: Any, desk: Desk) -> None:
    for name in "abc":
        app.put(name)
    desk.look("c", State.MISSING, due_in=HOUR, held=SHAPE, reason=Reason.BUDGET)
    assert desk.finder.due(9, ["b", "nobody"]) == ("b",)
    assert desk.finder.ahead((), ["b"]).due_at is None
    assert desk.finder.ahead((), ["c"]).due_at == app.clock() + HOUR
    assert desk.finder.held_back(SHAPE, 9, ["b"]) == ()
    assert desk.finder.tally(["b"]) == {}
    assert desk.walk(only=["b", "c"]) == ["b"]
    app.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('c', 't')")
    assert desk.finder.due(9, ["c"]) == ("c",)
    assert desk.finder.due(9, []) == ()


def test_who_waits_for_the_gate_and_is_due_is_found_as_both(app: Any, desk: Desk) -> None:
    app.put("a")
    desk.look("a", State.MISSING, due_in=HOUR, held="shape", reason=Reason.BUDGET)
    assert desk.finder.due(9) == ()
    app.clock.on(hours=1)
    assert desk.finder.due(9) == desk.finder.held_back("shape", 9) == ("a",)


def test_those_that_wait_for_the_gate(app: Any, desk: Desk) -> None:
    for name in "abcd":
        app.put(name)
        desk.look(name, State.MISSING, reason=Reason.BUDGET, held="other" if name == "d" else "shape")
        app.clock.on(seconds=-1)
    assert desk.finder.held_back("shape", 9) == ("c", "b", "a")
    assert desk.finder.held_back("shape", 1) == ("c",)
    desk.leases.lease("c")
    assert desk.finder.held_back("shape", 9) == ("b", "a")


def test_who_waits_in_a_line_that_is_none_of_ours_is_found_by_an_audit(app: Any, desk: Desk) -> None:
    for name, line in {"a": SHAPE, "b": "somebody else's", "c": GateName.KEY}.items():
        app.put(name)
        desk.look(name, State.MISSING, reason=Reason.BUDGET, held=line)
    assert desk.finder.due(9) == ()
    assert desk.walk() == ["b"]


def test_counting(app: Any, desk: Desk) -> None:
    for name in "abcd":
        app.put(name)
    desk.look("a", State.MISSING, reason=Reason.BUDGET)
    desk.look("b", State.MISSING, reason=Reason.BUDGET)
    desk.look("c", State.OK)
    desk.look("d", None)
    stood = {(State.MISSING, Reason.BUDGET, None, False): 2, (State.OK, None, None, False): 1}
    assert desk.finder.tally() == stood


def test_counting_what_another_process_has_just_begun(app: Any, desk: Desk) -> None:
    app.put("new")
    assert desk.leases.lease("new") is not None
    assert desk.finder.tally() == {Stood(State.UNVERIFIED, None, None, repeats=False): 1}
    app.put("known")
    desk.look("known", State.UNVERIFIED)
    assert desk.finder.tally() == {Stood(State.UNVERIFIED, None, None, repeats=False): 2}
    app.sql("DELETE FROM reconciler_memory WHERE track_id = 'known'")
    app.clock.on(hours=1)
    assert desk.finder.tally() == {}


# -- audit -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_a_walk_finds_each_row_once(app: Any, desk: Desk, limit: int) -> None:
    for number in range(7):
        app.put(f"t{number}", image_url="https://x/y.png")
    desk.look("t3", due_in=HOUR)
    assert desk.walk(limit) == [f"t{n}" for n in range(7) if n != 3]


def test_numbers_are_walked_as_numbers(make_app: Any) -> None:
    app = make_app("CREATE TABLE tracks (id INTEGER PRIMARY KEY, status TEXT DEFAULT 'completed', image_url TEXT)")
    app.sql("INSERT INTO tracks (id) VALUES (-3), (9), (10), (100)")
    assert Desk(app).walk(limit=1) == ["-3", "9", "10", "100"]
    first, last = (Desk(app).finder.page(after, 2, until="10") for after in (None, "9"))
    assert (first.work, first.last) == (("-3", "9"), "9")
    assert (last.work, last.last) == (("10",), None)


def test_a_walk_up_to_a_key_tells_of_no_deleted_rows(app: Any, desk: Desk) -> None:
    app.put("a", image_url="https://x/a.png")
    desk.look("a")
    app.sql("DELETE FROM tracks")
    assert desk.finder.page(None, 9, until="b").work == ()
    assert desk.finder.page(None, 9).work == ("a",)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("https://x/a.png", "https://x/b.png"),
        ("https://x/a.png", None),
        (None, "https://x/a.png"),
        (INLINE, INLINE[:-1] + "B"),
        (INLINE, INLINE + "A"),
        (INLINE, ""),
    ],
)
def test_a_changed_picture_is_looked_at_again(app: Any, desk: Desk, before: str | None, after: str | None) -> None:
    app.put("a", image_url=before)
    app.put("b", image_url=before)
    desk.look("a", due_in=HOUR)
    desk.look("b", due_in=HOUR)
    assert desk.walk() == []
    app.sql("UPDATE tracks SET image_url = ? WHERE id = 'a'", after)
    assert desk.walk() == ["a"]


def test_the_good_are_left_alone_and_the_given_up_are_looked_at_again(app: Any, desk: Desk) -> None:
    app.put("ok", image_url="https://x/a.png")
    app.put("stuck")
    app.put("due", image_url="https://x/a.png")
    desk.look("ok", due_in=2 * HOUR)
    desk.look("stuck", State.FAILED, reason=Reason.NO_PROMPT)
    desk.look("due", due_in=HOUR)
    assert desk.walk() == ["stuck"]
    app.clock.at += HOUR
    assert desk.walk() == ["due", "stuck"]


def test_rows_that_left_are_told_once(app: Any, desk: Desk) -> None:
    for name in ("a", "b", "c"):
        app.put(name, image_url="https://x/a.png")
        desk.look(name)
    app.sql("UPDATE tracks SET status = 'failed' WHERE id = 'a'")
    app.sql("DELETE FROM tracks WHERE id = 'b'")
    assert desk.walk(limit=1) == ["a", "b"]
    desk.look("a", None)
    desk.look("b", None)
    assert desk.walk() == []


def test_who_is_gone_is_told_once_and_again_when_it_came_back_and_went(app: Any, desk: Desk) -> None:
    app.put("a", image_url="https://x/a.png")
    desk.look("a")
    app.sql("DELETE FROM tracks")
    assert desk.walk() == ["a"]
    assert desk.walk() == ["a"], "until somebody looks"
    desk.look("a", None)
    assert desk.walk() == []
    app.put("a", image_url="https://x/a.png")
    assert desk.walk() == ["a"]
    desk.look("a")
    assert desk.walk() == []
    app.sql("DELETE FROM tracks")
    assert desk.walk() == ["a"]


@pytest.mark.parametrize("rows", [1, 2, 5, 50])
def test_who_is_gone_is_found_a_stretch_at_a_time(
    app: Any, desk: Desk, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    for name in "abcde":
        app.put(name, image_url="https://x/a.png")
        desk.look(name)
    app.sql("DELETE FROM tracks WHERE id IN ('a', 'd', 'e')")
    monkeypatch.setattr(type(desk.finder.connection.dialect), "stretch", rows)
    desk.finder = app.finder(desk.policy)
    assert desk.walk() == ["a", "d", "e"]
    assert desk.walk(only=["b", "d"]) == ["d"]


@pytest.mark.parametrize(
    "change",
    [
        "updated_at = '2026-11-01 12:00:01'",
        "updated_at = NULL",
        "task_id = 'another song'",
        "task_id = NULL",
        "title = 'New', updated_at = '2026-11-01 12:00:01'",
    ],
)
@pytest.mark.parametrize("state", [State.OK, State.MISSING, State.BACKING_OFF])
def test_a_row_that_changed_beside_its_picture_is_looked_at_again(
    app: Any, desk: Desk, change: str, state: State
) -> None:
    for name in "ab":
        app.put(name, image_url="https://x/a.png", task_id=f"song of {name}")
        desk.look(name, state, due_in=HOUR)
    assert desk.walk() == []
    app.sql(f"UPDATE tracks SET {change} WHERE id = 'a'")
    assert desk.walk() == ["a"]
    desk.look("a", state, due_in=HOUR)
    assert desk.walk() == []


def test_our_own_write_is_no_change(app: Any, desk: Desk) -> None:
    app.put("a", task_id="song")
    held = desk.leases.lease("a")
    assert held is not None
    assert held.track is not None
    memory = replace(notice(held.memory, held.track, desk.policy, held.now), seen="https://x/new.jpg")
    change = Change(memory, Standing(State.OK, None, held.now + HOUR))
    row = RowWrite(Write("https://x/new.jpg", "2048x1152", How.GENERATED), held.track, held.now, change)
    assert desk.leases.commit_all([Ending(held.lease, change, row)]) == [Commit.COMMITTED]
    assert desk.walk() == []


def test_a_table_without_times_is_walked_as_well(make_app: Any) -> None:
    app = make_app("CREATE TABLE tracks (id INTEGER PRIMARY KEY, status TEXT DEFAULT 'completed', image_url TEXT)")
    app.sql("INSERT INTO tracks (id, image_url) VALUES (1, 'https://x/a.png')")
    desk = Desk(app)
    desk.look("1")
    assert desk.walk() == []


def test_rows_that_a_walk_has_yet_to_see(app: Any, desk: Desk) -> None:
    for name in "abcd":
        app.put(name, status="failed" if name == "d" else "completed")
    assert [desk.finder.rows_after(key) for key in (None, "", "a", "c", "d", "z")] == [4, 4, 3, 1, 0, 0]


def test_rows_to_be_walked_are_counted_as_numbers_where_ids_are(make_app: Any) -> None:
    app = make_app("CREATE TABLE tracks (id INTEGER PRIMARY KEY, status TEXT, image_url TEXT)")
    app.sql("INSERT INTO tracks (id) VALUES (-3), (9), (10), (100)")
    finder = app.finder()
    assert [finder.rows_after(key) for key in (None, "-3", "9", "10", "100")] == [4, 3, 2, 1, 0]


@pytest.mark.sqlite
def test_rows_that_time_will_bring_into_scope_are_remembered(app: Any, desk: Desk) -> None:
    app.put("a", status="pending", audio_url="a", created_at="no time at all")
    app.put("b", status="pending")
    assert desk.walk() == ["a"]
    desk.look("a", None, due_in=24 * HOUR)
    assert desk.walk() == []
    app.clock.at += 24 * HOUR
    assert desk.finder.due(9) == ("a",)


def test_so_are_those_that_were_gone_and_came_back(app: Any, desk: Desk) -> None:
    unfinished = {"status": "pending", "audio_url": "a", "created_at": "2026-11-01 11:00:00"}
    app.put("a", **unfinished)
    desk.look("a", None, due_in=24 * HOUR)
    app.sql("DELETE FROM tracks")
    assert desk.walk() == ["a"]
    desk.look("a", None)
    assert desk.walk() == []
    app.put("a", **unfinished)
    assert desk.walk() == ["a"]
    desk.look("a", None, due_in=24 * HOUR)
    assert desk.walk() == []


# -- cost --------------------------------------------------------------------------------------------------------------


def queries_of(finder: SqlFinder, call: Any) -> list[str]:
    seen: list[str] = []
    connection = finder.connection.db.connection()
    connection.set_trace_callback(seen.append)
    call()
    connection.set_trace_callback(None)
    return [sql for sql in seen if sql.startswith("SELECT")]


@pytest.mark.sqlite
def test_a_page_is_one_query(app: Any, desk: Desk) -> None:
    for name in "abc":
        app.put(name)
    assert len(queries_of(desk.finder, lambda: desk.finder.page(None, 2))) == 1
    gone = ["where a stretch ends", "who of it has no row"]
    assert len(queries_of(desk.finder, lambda: desk.finder.page("b", 2))) == 1 + len(gone)


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("raw", "usable"),
    [
        (b"a", 1),
        (b"a b~", 1),
        ("é".encode(), 1),
        (b"a\x00b", 1),
        (b"", 0),
        (b"a\xff", 0),
        (b"a\x00\xff", 0),
        (b"\t", 1),
    ],
)
def test_an_id_can_be_named_if_it_is_a_text(app: Any, desk: Desk, raw: bytes, usable: int) -> None:
    dialect, db = desk.finder.app.dialect, desk.finder.connection.db
    sql, params = db.get_sql_context().sql(dialect.usable_id(Value(raw).cast("TEXT"))).query()
    assert db.execute_sql(f"SELECT {sql}", params).fetchone() == (usable,)
