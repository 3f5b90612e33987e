"""Leases: one owner at a time, fencing, interruptions, and commits that are whole or not at all."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.domain.actions import Write
from reconciler.domain.attempts import Attempt
from reconciler.domain.model import Memory, Outcome, Purchase, Task, TaskState, Verdict
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing
from reconciler.domain.states import How, Reason, State
from reconciler.ports import Change, Commit, Ending, Held, Lease, RowWrite, Step
from tests.database.conftest import REFUSALS

STUCK = Standing(State.MISSING, Reason.DUE, None)
URL = "https://covers.example/new.jpg"


def purchase(token: str, at: datetime, **more: Any) -> Purchase:
    return Purchase(token, "a", "m", "s", "p", 5.0, at, at, at, **more)


def row_write(held: Held, otherwise: Change | None = None) -> RowWrite:
    assert held.track is not None
    write = Write(URL, "2048x1152", How.GENERATED)
    return RowWrite(write, held.track, held.now, otherwise or Change(held.memory, STUCK))


def lease(leases: Any, track_id: str = "a") -> Held:
    held = leases.lease(track_id)
    assert isinstance(held, Held)
    return held


def begun(leases: Any, lease: Lease, step: Step = Step.PICTURE) -> bool:
    """Whether the lease goes on, for this step."""
    (outcome,) = leases.commit_all([Ending(lease, None, then=step)])
    return isinstance(outcome, Lease)


def test_a_track_has_one_owner_at_a_time(app: Any) -> None:
    app.put("a")
    app.put("b")
    one, other = app.leases("one"), app.leases("other")
    held = lease(one)
    assert (held.lease.owner, held.lease.generation, held.lease.until) == ("one", 1, app.clock() + Policy().lease)
    assert held.memory == Memory("a", first_seen=app.clock())
    assert one.lease("a") is None
    assert other.lease("a") is None
    assert lease(other, "b").track == other.peek("b").track
    assert one.commit(held.lease, Change(held.memory, STUCK)) is Commit.COMMITTED
    assert lease(other).lease.generation == 2


@pytest.mark.postgres
def test_a_new_track_that_another_leased_first_is_not_leased_too(app: Any) -> None:
    """Nothing of it could be locked: there was nothing yet."""
    app.put("a")
    app.put("b")
    slow, quick = app.leases("slow"), app.leases("quick")

    def late(held: Held) -> Step:
        if held.lease.track_id == "b":
            lease(quick, "b")
        return Step.LOOK

    held = slow.lease_all(["a", "b"], late)
    assert list(held) == ["a"]
    owners = "SELECT track_id, lease_owner FROM reconciler_memory ORDER BY track_id"
    assert app.sql(owners) == [("a", "slow"), ("b", "quick")]


def test_a_lease_ends_once(app: Any) -> None:
    app.put("a")
    leases = app.leases()
    held = lease(leases)
    change = Change(held.memory, STUCK)
    assert leases.commit(held.lease, change) is Commit.COMMITTED
    assert leases.commit_all([Ending(held.lease, change, row_write(held))]) == [Commit.LEASE_LOST]
    assert not begun(leases, held.lease)
    assert app.row()["image_url"] is None


def test_one_that_was_overtaken_saves_and_writes_nothing(app: Any) -> None:
    app.put("a")
    slow, quick = app.leases("slow"), app.leases("quick")
    old = lease(slow)
    app.clock.at = old.lease.until
    new = lease(quick)
    change = Change(replace(old.memory, listed=True, purchases=(purchase("p", old.now),)), STUCK)
    assert slow.commit_all([Ending(old.lease, change, row_write(old))]) == [Commit.LEASE_LOST]
    assert not begun(slow, old.lease)
    assert quick.peek("a").memory == new.memory
    assert app.row()["image_url"] is None
    assert begun(quick, new.lease)
    assert quick.commit(new.lease, Change(new.memory, STUCK)) is Commit.COMMITTED


def test_the_same_name_does_not_make_the_same_owner(app: Any) -> None:
    app.put("a")
    leases = app.leases()
    old = lease(leases)
    app.clock.at = old.lease.until
    lease(leases)
    assert leases.commit(old.lease, Change(old.memory, STUCK)) is Commit.LEASE_LOST


def test_what_was_paid_for_is_saved_even_late(app: Any) -> None:
    app.put("a")
    leases = app.leases()
    held = lease(leases)
    app.clock.on(days=1)
    change = Change(replace(held.memory, purchases=(purchase("p", held.now),)), STUCK)
    assert leases.commit(held.lease, change) is Commit.COMMITTED
    assert leases.peek("a").memory.purchases[0].token == "p"


def ordered(leases: Any) -> Held:
    """A lease whose order was sent; its memory holds the answer, which nobody saved yet."""
    held = lease(leases)
    sent = replace(held.memory, purchases=(purchase("p", held.now),))
    assert leases.commit(held.lease, Change(sent, STUCK)) is Commit.COMMITTED
    held = lease(leases)
    heard = replace(held.memory.purchases[0], outcome=Outcome.ACCEPTED, task_id="task", answered_at=held.now)
    return replace(held, memory=held.memory.with_purchase(heard))


def test_the_answer_to_an_order_is_saved_though_another_has_taken_the_track_over(app: Any) -> None:
    app.put("a")
    slow, quick = app.leases("slow"), app.leases("quick")
    old = ordered(slow)
    app.clock.at = old.lease.until
    new, later = lease(quick), replace(STUCK, due_at=app.clock() + timedelta(hours=1), held="shape")
    assert quick.commit(new.lease, Change(new.memory, later)) is Commit.COMMITTED
    assert slow.commit(old.lease, Change(old.memory, STUCK)) is Commit.LEASE_LOST
    assert quick.peek("a").memory.purchases == old.memory.purchases
    assert app.finder().due(9) == ("a",), "and it is looked at again at once"


def test_the_answer_to_an_order_that_the_database_has_forgotten_is_saved_with_it(app: Any) -> None:
    """A standby took the server's place that had not heard of it."""
    app.put("a")
    leases = app.leases()
    held = ordered(leases)
    app.sql("DELETE FROM reconciler_purchase")
    app.sql("DELETE FROM reconciler_memory")
    assert leases.commit(held.lease, Change(held.memory, STUCK)) is Commit.LEASE_LOST
    assert leases.peek("a").memory.purchases == held.memory.purchases


def taken_over(app: Any) -> tuple[Any, Held, Any, Held]:
    """Who has the answer to an order and not its lease, and who has the lease and not the answer."""
    app.put("a")
    slow, quick = app.leases("slow"), app.leases("quick")
    old = ordered(slow)
    app.clock.at = old.lease.until
    return slow, old, quick, lease(quick)


def test_who_has_taken_a_track_over_does_not_undo_an_answer_that_came_since(app: Any) -> None:
    slow, old, quick, new = taken_over(app)
    assert slow.commit(old.lease, Change(old.memory, STUCK)) is Commit.LEASE_LOST
    assert quick.commit(new.lease, Change(new.memory, STUCK)) is Commit.COMMITTED
    assert quick.peek("a").memory.purchases == old.memory.purchases
    assert slow.commit(old.lease, Change(new.memory, STUCK)) is Commit.LEASE_LOST, "nor does who knows less"
    assert quick.peek("a").memory.purchases == old.memory.purchases


def test_an_answer_that_comes_late_does_not_undo_what_has_become_of_the_order(app: Any) -> None:
    slow, old, quick, new = taken_over(app)
    good = replace(old.memory.purchases[0], verdict=Verdict.GOOD, ended_at=new.now)
    assert quick.commit(new.lease, Change(new.memory.with_purchase(good), STUCK)) is Commit.COMMITTED
    assert slow.commit(old.lease, Change(old.memory, STUCK)) is Commit.LEASE_LOST
    assert quick.peek("a").memory.purchases == (good,)


def test_who_gives_an_order_up_does_not_undo_an_answer_that_came_since(app: Any) -> None:
    slow, old, quick, new = taken_over(app)
    given_up = replace(new.memory.purchases[0], verdict=Verdict.LOST, ended_at=new.now)
    assert slow.commit(old.lease, Change(old.memory, STUCK)) is Commit.LEASE_LOST
    assert quick.commit(new.lease, Change(new.memory.with_purchase(given_up), STUCK)) is Commit.COMMITTED
    assert quick.peek("a").memory.purchases == old.memory.purchases


def test_whom_an_answer_came_for_while_another_worked_it_is_looked_at_again(app: Any) -> None:
    slow, old, quick, new = taken_over(app)
    later = replace(STUCK, due_at=app.clock() + timedelta(hours=1))
    assert slow.commit(old.lease, Change(old.memory, STUCK)) is Commit.LEASE_LOST
    assert quick.commit(new.lease, Change(new.memory, later)) is Commit.COMMITTED
    assert app.finder().due(9) == ("a",)


def test_a_row_is_not_written_under_a_lease_that_ran_out(app: Any) -> None:
    app.put("a")
    leases = app.leases()
    held = lease(leases)
    app.clock.at = held.lease.until
    change = Change(replace(held.memory, purchases=(purchase("p", held.now),)), STUCK)
    assert leases.commit_all([Ending(held.lease, change, row_write(held))]) == [Commit.EXPIRED]
    assert app.row()["image_url"] is None
    assert leases.peek("a").memory.purchases == ()
    assert leases.commit(held.lease, change) is Commit.COMMITTED, "it still is this one's to end"


def test_several_are_leased_and_ended_together_each_by_itself(app: Any) -> None:
    for name in "abcd":
        app.put(name)
    one, other = app.leases("one"), app.leases("other")
    taken = lease(other, "b")
    held = one.lease_all(["c", "b", "a", "d", "c"])
    assert list(held) == ["c", "a", "d"]
    mine = [each for each in held.values() if isinstance(each, Held)]
    app.sql("UPDATE tracks SET image_url = 'by another' WHERE id = 'd'")
    endings = [Ending(each.lease, Change(each.memory, STUCK), row_write(each)) for each in mine]
    lost = Ending(taken.lease, Change(taken.memory, STUCK))
    outcomes = one.commit_all([*endings[:1], lost, *endings[1:]])
    assert outcomes == [Commit.COMMITTED, Commit.COMMITTED, Commit.COMMITTED, Commit.CONFLICT]
    assert one.commit_all(endings) == [Commit.LEASE_LOST] * 3
    assert one.commit_all([]) == []
    assert one.lease_all([]) == {}


def test_what_is_begun_is_named_together_with_what_is_saved_of_others(app: Any) -> None:
    for name in "abc":
        app.put(name)
    leases, other = app.leases(), app.leases("other")
    begun, ended, lost = lease(leases, "a"), lease(leases, "b"), lease(leases, "c")
    app.clock.at = lost.lease.until
    lease(other, "c")
    going_on = [Ending(held.lease, None, then=Step.PICTURE) for held in (begun, lost)]
    outcomes = leases.commit_all([going_on[0], Ending(ended.lease, Change(ended.memory, STUCK)), going_on[1]])
    assert outcomes == [begun.lease, Commit.COMMITTED, Commit.LEASE_LOST]
    steps = app.sql("SELECT lease_step, generation FROM reconciler_memory ORDER BY track_id")
    assert steps == [("picture", 1), (None, 1), ("look", 2)]
    assert leases.commit(begun.lease, Change(begun.memory, STUCK)) is Commit.COMMITTED, "it went on"


def test_a_memory_that_cannot_be_read_costs_the_others_nothing(app: Any) -> None:
    app.put("a")
    app.put("b")
    leases = app.leases()
    for name in "ab":
        leases.commit(lease(leases, name).lease, Change(leases.peek(name).memory, STUCK))
    app.sql("UPDATE reconciler_memory SET doc = 'broken' WHERE track_id = 'a'")
    held = leases.lease_all(["a", "b"])
    assert isinstance(held["a"], ValueError)
    assert isinstance(held["b"], Held)
    with pytest.raises(ValueError, match=r"doc|json|JSON"):
        leases.lease("a")
    with pytest.raises(ValueError, match=r"doc|json|JSON"):
        leases.peek("a")


def test_a_memory_that_cannot_be_read_is_put_off_as_it_is(app: Any) -> None:
    app.put("a")
    leases, finder = app.leases(), app.finder()
    held = lease(leases)
    leases.commit(held.lease, Change(held.memory, STUCK))
    app.clock.at = lease(leases).lease.until
    app.sql("UPDATE reconciler_memory SET doc = 'broken', seen = '', held = 'shape'")
    leases.put_off("a")
    later = app.clock() + Policy().retry_max
    assert (finder.due(9), finder.held_back("shape", 9), finder.next_due()) == ((), (), later)
    assert app.sql("SELECT doc, generation FROM reconciler_memory") == [("broken", 2)]
    app.clock.at = later
    assert finder.due(9) == ("a",)


def test_who_is_worked_by_somebody_else_is_not_put_off(app: Any) -> None:
    app.put("a")
    lease(app.leases("other"))
    before = app.sql("SELECT * FROM reconciler_memory")
    app.leases().put_off("a")
    assert app.sql("SELECT * FROM reconciler_memory") == before


@pytest.mark.parametrize("how", REFUSALS)
def test_a_row_that_the_app_refuses_is_a_conflict_of_that_track_alone(app: Any, how: str) -> None:
    for name in "abc":
        app.put(name)
    leases = app.leases()
    app.refuse("b", how)
    held = [each for each in leases.lease_all(["a", "b", "c"]).values() if isinstance(each, Held)]
    endings = [
        Ending(
            each.lease,
            Change(each.memory, STUCK),
            row_write(
                each, Change(each.memory, STUCK, (Attempt("measure", "", "good"), Attempt("write", "", "conflict")))
            ),
        )
        for each in held
    ]
    assert leases.commit_all(endings) == [Commit.COMMITTED, Commit.REFUSED, Commit.COMMITTED]
    assert [app.row(name)["image_url"] is None for name in "abc"] == [False, True, False]
    (measured, wrote) = app.sql("SELECT came FROM reconciler_attempt ORDER BY id")
    assert measured == ("good",)
    assert re.match(r"refused: .*\((not this one|malformed JSON)\)", wrote[0])


WITHOUT_KEY = """
    CREATE TABLE tracks (id TEXT, status TEXT, image_url TEXT, title TEXT, prompt TEXT, created_at TIMESTAMP,
        updated_at TIMESTAMP)
"""


@pytest.mark.parametrize("image", [None, "https://x/old.png"])
def test_a_row_is_left_alone_once_another_one_has_its_id(make_app: Callable[..., Any], image: str | None) -> None:
    app = make_app(WITHOUT_KEY)
    for name in "ab":
        app.put(name)
    leases = app.leases()
    held = [lease(leases, name) for name in "ab"]
    endings = [Ending(each.lease, Change(each.memory, STUCK), row_write(each)) for each in held]
    app.put("a", image_url=image)
    before = app.rows("SELECT * FROM tracks WHERE id = 'a' ORDER BY image_url")
    assert leases.commit_all(endings) == [Commit.CONFLICT, Commit.COMMITTED]
    assert app.rows("SELECT * FROM tracks WHERE id = 'a' ORDER BY image_url") == before


@pytest.mark.postgres
@pytest.mark.parametrize("image", [None, "https://x/old.png"])
def test_though_that_one_came_as_it_was_written(make_app: Callable[..., Any], image: str | None) -> None:
    app = make_app(WITHOUT_KEY)
    app.put("a")
    leases = app.leases()
    held, write_rows = lease(leases), leases._write_rows

    def late(*arguments: Any) -> Any:
        app.put("a", image_url=image)
        leases._write_rows = write_rows
        return write_rows(*arguments)

    leases._write_rows = late
    assert leases.commit_all([Ending(held.lease, Change(held.memory, STUCK), row_write(held))]) == [Commit.REFUSED]
    assert app.sql("SELECT image_url FROM tracks") == [(None,), (image,)]


@pytest.mark.parametrize("kept", ["'https://x/of-the-app.png'", "'data:' || NEW.image_url"])
def test_a_picture_that_the_app_puts_another_for_at_once_is_a_conflict(app: Any, kept: str) -> None:
    for name in "abc":
        app.put(name)
    app.undo("b", kept)
    leases = app.leases()
    held = [each for each in leases.lease_all(["a", "b", "c"]).values() if isinstance(each, Held)]
    otherwise = [Change(replace(each.memory, conflicts=1), STUCK) for each in held]
    endings = [
        Ending(each.lease, Change(each.memory, STUCK), row_write(each, change))
        for each, change in zip(held, otherwise, strict=True)
    ]
    assert leases.commit_all(endings) == [Commit.COMMITTED, Commit.CONFLICT, Commit.COMMITTED]
    assert [lease(leases, name).memory.conflicts for name in "abc"] == [0, 1, 0]


@pytest.mark.parametrize("image", [None, "https://x/old.png", "data:" + "x" * 9000])
@pytest.mark.parametrize("others", [{}, {"updated_at": "'2026-11-01 11:59:59'"}])
def test_of_a_write_whose_picture_the_app_takes_back_nothing_is_left(
    app: Any, image: str | None, others: dict[str, str]
) -> None:
    for name in "abc":
        app.put(name, image_url=image, resolution="64x36", status="archived")
    before = app.row("b")
    app.undo("b", **others)
    leases = app.leases()
    held = [each for each in leases.lease_all(["a", "b", "c"]).values() if isinstance(each, Held)]
    told = (Attempt("write", "", "conflict"),)
    otherwise = [Change(replace(each.memory, conflicts=1), STUCK, told) for each in held]
    rows = [row_write(each, change) for each, change in zip(held, otherwise, strict=True)]
    rows = [replace(row, write=replace(row.write, revive=True)) for row in rows]
    endings = [Ending(each.lease, Change(each.memory, STUCK), row) for each, row in zip(held, rows, strict=True)]
    assert leases.commit_all(endings) == [Commit.COMMITTED, Commit.REFUSED, Commit.COMMITTED]
    assert app.row("b") == before
    assert [app.row(name)["status"] for name in "ac"] == ["completed", "completed"]
    assert [lease(leases, name).memory.conflicts for name in "abc"] == [0, 1, 0]
    assert app.sql("SELECT came FROM reconciler_attempt") == [("refused: the row keeps the picture that it had",)]


def test_a_size_alone_is_written_whatever_the_app_does_to_pictures(app: Any) -> None:
    app.put("a", image_url="https://x/y.png")
    app.undo("a")
    leases = app.leases()
    held = lease(leases)
    row = row_write(held)
    row = replace(row, write=replace(row.write, url=None))
    assert leases.commit_all([Ending(held.lease, Change(held.memory, STUCK), row)]) == [Commit.COMMITTED]


@pytest.mark.parametrize(("step", "count"), [(None, 0), (Step.LOOK, 0), (Step.PICTURE, 1)])
def test_a_death_with_a_picture_is_counted(app: Any, step: Step | None, count: int) -> None:
    app.put("a")
    dead, alive = app.leases("dead"), app.leases("alive")
    held = lease(dead)
    if step is not None:
        assert begun(dead, held.lease, step)
    app.clock.at = held.lease.until
    assert lease(alive).memory.interruptions == count
    assert alive.peek("a").memory.interruptions == count, "counted at once, so that the next death adds to it"
    assert alive.peek("a").memory.interrupted_at == (app.clock() if count else None)


def test_a_picture_that_the_living_could_not_give_back_is_no_death(app: Any) -> None:
    """The database was away when its run ended."""
    app.put("a")
    held = lease(app.leases("alive"))
    assert begun(app.leases("alive"), held.lease)
    app.clock.at = held.lease.until
    assert lease(app.leases("alive")).memory.interruptions == 0


def test_a_step_that_ends_is_no_interruption(app: Any) -> None:
    app.put("a")
    leases = app.leases()
    held = lease(leases)
    begun(leases, held.lease)
    leases.commit(held.lease, Change(held.memory, STUCK))
    assert lease(leases).memory.interruptions == 0


IN_LINE = Standing(State.MISSING, Reason.BUDGET, None, held="shape", wants="shape")


def line(app: Any) -> tuple[str, ...]:
    return tuple(app.finder().held_back("shape", 9))


def waiting(app: Any, leases: Any, *names: str) -> None:
    """These stand in line, one after the other."""
    for name in names:
        app.put(name)
        held = lease(leases, name)
        app.clock.on(seconds=1)
        assert leases.commit(held.lease, Change(held.memory, IN_LINE)) is Commit.COMMITTED
    app.clock.on(minutes=1)


@pytest.mark.parametrize("between", [IN_LINE, replace(IN_LINE, held=None, due_at=datetime(2026, 11, 1, tzinfo=UTC))])
def test_who_is_worked_while_it_waits_in_line_keeps_its_place(app: Any, between: Standing) -> None:
    leases = app.leases()
    waiting(app, leases, "b", "a")
    for stands in (between, IN_LINE):
        held = lease(leases, "b")
        leases.commit(held.lease, Change(replace(held.memory, listed=True), stands))
    assert line(app) == ("b", "a")


@pytest.mark.parametrize(
    ("between", "memory"),
    [
        (replace(IN_LINE, held=None, due_at=datetime(2027, 1, 1, tzinfo=UTC)), {}),
        (replace(IN_LINE, held="other", wants="other"), {}),
        (STUCK, {}),
        (IN_LINE, {"purchases": (purchase("p", datetime(2026, 11, 1, tzinfo=UTC)),)}),
    ],
    ids=["refused by itself", "another line", "something else", "it has bought"],
)
def test_who_did_anything_else_goes_to_the_end_of_the_line(app: Any, between: Standing, memory: dict[str, Any]) -> None:
    leases = app.leases()
    waiting(app, leases, "b", "a")
    for stands in (between, IN_LINE):
        held = lease(leases, "b")
        leases.commit(held.lease, Change(replace(held.memory, **memory), stands))
    assert line(app) == ("a", "b")


def test_a_place_in_line_from_before_the_clock_was_set_back_is_none(app: Any) -> None:
    leases = app.leases()
    waiting(app, leases, "b", "a")
    app.clock.on(days=-1)
    held = lease(leases, "a")
    leases.commit(held.lease, Change(held.memory, IN_LINE))
    assert line(app) == ("a", "b")


def test_memory_and_standing_are_saved(app: Any) -> None:
    app.put("a")
    leases = app.leases()
    held = lease(leases)
    soon = held.now + timedelta(hours=1)
    memory = replace(held.memory, seen="", needy_since=held.now, ignored=True, granted=2, listed=True)
    standing = Standing(State.BACKING_OFF, Reason.PROVIDER_FAILED, soon, "shape", soon, soon)
    leases.commit(held.lease, Change(memory, standing))
    assert leases.peek("a").memory == memory
    columns = "state, reason, held, seen, ignored, lease_owner, due_at = settles_at AND due_at = expires_at, tried_at"
    (row,) = app.sql(f"SELECT {columns} FROM reconciler_memory")
    saved = ("backing_off", "provider_failed", "shape", "", 1, None, 1, "2026-11-01T12:00:00.000000+00:00")
    assert row == saved


def test_row_and_memory_are_written_together(app: Any) -> None:
    app.put("a")
    leases = app.leases()
    held = lease(leases)
    change = Change(replace(held.memory, listed=True), STUCK)
    assert leases.commit_all([Ending(held.lease, change, row_write(held))]) == [Commit.COMMITTED]
    assert app.row()["image_url"] == URL
    assert leases.peek("a").memory.listed


def test_a_conflict_saves_the_other_memory_and_leaves_the_row(app: Any) -> None:
    app.put("a")
    leases = app.leases()
    held = lease(leases)
    app.sql("UPDATE tracks SET image_url = 'https://x/theirs.png'")
    before = app.row()
    otherwise = Change(replace(held.memory, conflicts=1), Standing(State.BACKING_OFF, Reason.WRITE_CONFLICT, held.now))
    change = Change(replace(held.memory, listed=True), STUCK)
    assert leases.commit_all([Ending(held.lease, change, row_write(held, otherwise))]) == [Commit.CONFLICT]
    assert app.row() == before
    assert leases.peek("a").memory == otherwise.memory
    assert app.sql("SELECT state, lease_owner FROM reconciler_memory") == [("backing_off", None)]


def test_a_row_that_is_gone(app: Any) -> None:
    app.put("a")
    leases = app.leases()
    held = lease(leases)
    leases.commit(held.lease, Change(replace(held.memory, listed=True), STUCK))
    app.sql("DELETE FROM tracks")
    gone = lease(leases)
    assert gone.track is None
    assert gone.memory.listed
    assert leases.commit(gone.lease, Change(gone.memory, STUCK)) is Commit.COMMITTED


def test_an_id_that_nobody_knows_is_not_remembered(app: Any) -> None:
    leases = app.leases()
    held = lease(leases, "who")
    assert held.track is None
    assert app.sql("SELECT count(*) FROM reconciler_memory") == [(0,)]
    assert leases.commit(held.lease, Change(held.memory, STUCK)) is Commit.LEASE_LOST


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("declared", "given", "shown"),
    [
        ("INTEGER PRIMARY KEY", 42, "42"),
        ("INTEGER PRIMARY KEY", -1, "-1"),
        ("uuid PRIMARY KEY", "ab-12", "ab-12"),
        ("", 7, "7"),
    ],
)
def test_ids_of_every_kind(make_app: Any, declared: str, given: object, shown: str) -> None:
    app = make_app(f"CREATE TABLE tracks (id {declared}, status TEXT, image_url TEXT)")
    app.sql("INSERT INTO tracks VALUES (?, 'completed', NULL)", given)
    leases = app.leases()
    held = lease(leases, shown)
    assert leases.commit_all([Ending(held.lease, Change(held.memory, STUCK), row_write(held))]) == [Commit.COMMITTED]
    assert app.sql("SELECT id, image_url FROM tracks") == [(given, URL)]


def test_a_text_is_no_number(make_app: Any) -> None:
    app = make_app("CREATE TABLE tracks (id INTEGER PRIMARY KEY, status TEXT, image_url TEXT)")
    app.sql("INSERT INTO tracks VALUES (1, 'completed', NULL)")
    for text in ("one", "1x", "", "²", str(2**70)):
        assert lease(app.leases(), text).track is None


def test_tasks_come_from_wherever_they_are_named(app: Any) -> None:
    app.put("a", image_url="task_abc", extended_prompt="v | Visual: x | image_task_id: named")
    leases = app.leases()
    app.sql("INSERT INTO reconciler_image_task VALUES ('a', 'early', '2026-01-01'), ('a', 'late', '2026-02-01')")
    app.sql("INSERT INTO reconciler_image_task VALUES ('a', '', NULL), ('a', 'b\x07d', NULL), ('b', 'theirs', NULL)")
    held = lease(leases)
    assert held.memory.handed == ("late", "early")
    assert held.memory.tasks == {}
    names = ("task_abc", "named", "late", "early", "bought", "unrelated")
    tasks = {name: Task(name, held.now, polls=1) for name in names}
    bought = purchase("p", held.now, task_id="bought")
    leases.commit(held.lease, Change(replace(held.memory, tasks=tasks, purchases=(bought,)), STUCK))
    assert set(leases.peek("a").memory.tasks) == set(names) - {"unrelated"}


def test_a_handed_over_task_is_remembered_once_it_was_seen(app: Any) -> None:
    app.put("a")
    leases = app.leases()
    app.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('a', 'seen')")
    held = lease(leases)
    app.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES ('a', 'later')")
    leases.commit(held.lease, Change(held.memory, STUCK))
    assert leases.peek("a").memory.tasks == {"seen": Task("seen", first_seen=held.now)}


RUNNING, DONE = TaskState.RUNNING, TaskState.SUCCEEDED


@pytest.mark.parametrize(
    ("known", "brought", "kept"),
    [
        ((DONE, 3), (RUNNING, 9), (DONE, 3)),
        ((RUNNING, 3), (DONE, 1), (DONE, 1)),
        ((RUNNING, 3), (RUNNING, 2), (RUNNING, 3)),
        ((RUNNING, 3), (RUNNING, 4), (RUNNING, 4)),
        ((DONE, 3), (TaskState.GONE, 4), (DONE, 3)),
    ],
)
def test_what_another_track_learned_of_a_task_is_not_undone(app: Any, known: Any, brought: Any, kept: Any) -> None:
    leases = app.leases()
    for track_id, (state, polls) in (("a", known), ("b", brought)):
        app.put(track_id, extended_prompt="image_task_id: t")
        held = lease(leases, track_id)
        tasks = {"t": Task("t", held.now, state=state, polls=polls)}
        leases.commit(held.lease, Change(replace(held.memory, tasks=tasks), STUCK))
    task = leases.peek("a").memory.tasks["t"]
    assert (task.state, task.polls) == kept


def test_a_host_that_lost_more_than_twenty_pictures_is_suspect(app: Any) -> None:
    app.put("a", image_url="https://Bad.example/x.png")
    app.put("b", image_url="https://good.example/x.png")
    leases = app.leases()
    for _ in range(20):
        leases.host_lost("bad.example")
    assert not leases.peek("a").memory.host_suspect
    leases.host_lost("bad.example")
    app.clock.on(days=9)
    leases.host_lost("good.example")
    assert leases.peek("a").memory.host_suspect
    assert not leases.peek("b").memory.host_suspect


def test_a_suspicion_outlasts_the_time_in_which_losses_are_counted(app: Any) -> None:
    app.put("a", image_url="https://bad.example/x.png")
    leases = app.leases()
    for _ in range(21):
        leases.host_lost("bad.example")
    app.clock.at += 2 * Policy().audit_interval
    leases.host_lost("bad.example")
    assert leases.peek("a").memory.host_suspect


def test_a_few_losses_are_forgotten(app: Any) -> None:
    app.put("a", image_url="https://bad.example/x.png")
    leases = app.leases()
    for _ in range(30):
        leases.host_lost("bad.example")
        app.clock.at += Policy().audit_interval / 10
    assert not leases.peek("a").memory.host_suspect


def test_a_few_losses_are_forgotten_though_the_clock_was_set_back_after_the_first(app: Any) -> None:
    app.put("a", image_url="https://bad.example/x.png")
    leases = app.leases()
    app.clock.on(days=400)
    leases.host_lost("bad.example")
    app.clock.on(days=-400)
    for _ in range(30):
        leases.host_lost("bad.example")
        app.clock.at += Policy().audit_interval / 10
    assert not leases.peek("a").memory.host_suspect


def test_a_dead_process_leaves_the_track_due(app: Any) -> None:
    app.put("a")
    leases, finder = app.leases(), app.finder()
    held = lease(leases)
    leases.commit(held.lease, Change(replace(held.memory, seen=""), Standing(State.FAILED, Reason.NO_PROMPT, None)))
    again = lease(leases)
    assert finder.due(9) == ()
    assert finder.next_due() == again.lease.until
    app.clock.at = again.lease.until
    assert finder.due(9) == ("a",)


# -- going on ------------------------------------------------------------------------------------------------------


def going_on(leases: Any, held: Held, *, then: Step = Step.PICTURE, **memory: Any) -> Any:
    change = Change(replace(held.memory, **memory), STUCK)
    (outcome,) = leases.commit_all([Ending(held.lease, change, then=then)])
    return outcome


def test_a_step_that_another_one_follows_is_saved_and_the_track_leased_anew(app: Any) -> None:
    app.put("a")
    leases = app.leases()
    held = lease(leases)
    app.clock.on(seconds=9)
    anew = going_on(leases, held, listed=True)
    assert anew == Lease("a", "one", 2, app.clock() + Policy().lease)
    assert leases.peek("a").memory.listed
    assert app.rows("SELECT lease_step, state FROM reconciler_memory") == [
        {"lease_step": "picture", "state": "missing"}
    ]
    assert app.leases("other").lease("a") is None
    assert leases.commit(held.lease, Change(held.memory, STUCK)) is Commit.LEASE_LOST, "the old one is over"
    assert leases.commit(anew, Change(held.memory, STUCK)) is Commit.COMMITTED
    assert lease(leases).lease.generation == 3


def test_who_dies_at_the_step_that_follows_is_known_to_have_died_at_a_picture(app: Any) -> None:
    app.put("a")
    dying, alive = app.leases("dying"), app.leases("alive")
    for then, deaths in ((Step.PICTURE, 1), (Step.LOOK, 1)):
        anew = going_on(dying, lease(dying), then=then)
        app.clock.at = anew.until
        held = lease(alive)
        assert held.memory.interruptions == deaths
        alive.commit(held.lease, Change(held.memory, STUCK))


def test_one_that_was_overtaken_does_not_go_on(app: Any) -> None:
    app.put("a")
    slow, quick = app.leases("slow"), app.leases("quick")
    old = lease(slow)
    app.clock.at = old.lease.until
    new = lease(quick)
    assert going_on(slow, old) is Commit.LEASE_LOST
    assert going_on(quick, new) == replace(new.lease, generation=3)


@pytest.mark.parametrize(
    ("meanwhile", "memory"),
    [
        ("UPDATE reconciler_gate SET paused = true", {}),
        ("UPDATE reconciler_gate SET paused = false", {"paused": True}),
    ],
)
def test_where_a_pause_began_or_ended_meanwhile_it_is_looked_at_again(
    app: Any, meanwhile: str, memory: dict[str, Any]
) -> None:
    app.put("a")
    leases = app.leases()
    held = lease(leases)
    app.sql(meanwhile)
    assert going_on(leases, held, **memory) is Commit.COMMITTED
    assert lease(leases).lease.generation == 2


def test_where_kie_called_meanwhile_it_is_looked_at_again(app: Any) -> None:
    app.put("a")
    leases = app.leases(policy=Policy(callback_url="https://app.example/callback/"))
    held = ordered(leases)
    app.sql("INSERT INTO reconciler_callback (token, task_id, track_id, at) VALUES ('p', 'task', 'a', ?)", "2026-01-01")
    assert going_on(leases, held) is Commit.COMMITTED
    assert app.finder().due(9) == ("a",)


def test_purchases_that_are_saved_as_they_are_are_not_written_again(app: Any) -> None:
    app.put("a")
    leases = app.leases()
    held = ordered(leases)
    app.sql("UPDATE reconciler_purchase SET detail = 'by somebody else'")
    anew = going_on(leases, replace(held, memory=leases.peek("a").memory))
    assert anew.saved[0].detail == "by somebody else"
    leases.commit(anew, Change(held.memory, STUCK))
    (saved,) = leases.peek("a").memory.purchases
    assert (saved.outcome, saved.detail) == (Outcome.ACCEPTED, "")
    held = lease(leases)
    app.sql("UPDATE reconciler_purchase SET detail = 'by somebody else'")
    leases.commit(held.lease, Change(held.memory, STUCK))
    assert leases.peek("a").memory.purchases[0].detail == "by somebody else"


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("learned", "stays"),
    [
        ({"state": TaskState.SUCCEEDED, "urls": ("https://tempfile.aiquickdraw.com/p.png",)}, True),
        ({"polls": 3}, True),
        ({}, False),
    ],
)
def test_what_another_learned_of_a_task_that_neither_knew_is_not_undone(
    app: Any, learned: dict[str, Any], stays: bool
) -> None:
    first, second = app.leases("first"), app.leases("second")
    for name in "ab":
        app.put(name)
        app.sql("INSERT INTO reconciler_image_task (track_id, task_id) VALUES (?, 'shared')", name)
    task = Task("shared", first_seen=app.clock(), polls=1)
    ours, theirs = replace(task, detail="ours", **learned), replace(task, detail="theirs")
    mine, other, end = lease(first, "a"), lease(second, "b"), second._end

    def late(*arguments: Any) -> Any:
        change = Change(replace(mine.memory, tasks={"shared": ours}), STUCK)
        assert first.commit(mine.lease, change) is Commit.COMMITTED
        return end(*arguments)

    second._end = late
    change = Change(replace(other.memory, tasks={"shared": theirs}), STUCK)
    assert second.commit(other.lease, change) is Commit.COMMITTED
    assert first.peek("a").memory.tasks == {"shared": ours if stays else theirs}
