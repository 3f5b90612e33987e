"""What an operator says is heard by every track that waits for it: pause, resume, one more try, a host released."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from reconciler.database import Where, open_database
from reconciler.database.hosts import release_suspects
from reconciler.database.tables import ANEW
from reconciler.domain.actions import Write
from reconciler.domain.gate import Closure, GateName
from reconciler.domain.model import Purchase, Verdict
from reconciler.domain.policy import Policy
from reconciler.domain.standing import Standing
from reconciler.domain.states import How, Reason, State
from reconciler.ports import Change, Commit, Ending, Held, RowWrite
from tests.database.test_finder import Desk
from tests.database.test_gate import Till, refused

HOUR = timedelta(hours=1)
PAUSED = Standing(State.MISSING, Reason.PAUSED, None, GateName.PAUSED)


@pytest.fixture
def desk(app: Any) -> Desk:
    return Desk(app)


@pytest.fixture
def till(app: Any) -> Till:
    return Till(app)


def where(app: Any, track_id: str, *names: str) -> Any:
    (row,) = app.sql(f"SELECT {', '.join(names)} FROM reconciler_memory WHERE track_id = ?", track_id)
    return row


# -- pause and resume --------------------------------------------------------------------------------------------------


def test_it_is_told_whether_a_word_changed_anything(till: Till) -> None:
    said = [till.gate.pause(paused=paused) for paused in (False, True, True, False, False)]
    assert said == [False, True, False, True, False]


def test_who_was_held_back_by_a_pause_is_woken_when_it_ends_and_nobody_else(app: Any, desk: Desk) -> None:
    gate = app.gate()
    gate.pause(paused=True)
    for name in ("held", "for budget", "later"):
        app.put(name)
    desk.look("held", State.FETCHING, reason=Reason.PAUSED, held=GateName.PAUSED)
    desk.look("for budget", State.MISSING, reason=Reason.BUDGET, held="shape")
    desk.look("later", State.BACKING_OFF, reason=Reason.PROVIDER_FAILED, due_in=HOUR)
    app.clock.on(minutes=1)
    assert desk.finder.due(9) == ()
    gate.pause(paused=True)
    assert desk.finder.due(9) == (), "said twice it is still a pause"
    gate.pause(paused=False)
    assert desk.finder.due(9) == ("held",)
    assert desk.finder.held_back(GateName.PAUSED, 9) == ()
    assert desk.finder.held_back("shape", 9) == ("for budget",)


@pytest.mark.parametrize("paused", [True, False])
def test_where_tracks_stand_is_judged_anew_but_for_the_good_ones(app: Any, desk: Desk, paused: bool) -> None:
    gate = app.gate()
    gate.pause(paused=not paused)
    until = app.clock() + HOUR
    for name, state in (("ok", State.OK), ("fetching", State.FETCHING), ("out of scope", None)):
        app.put(name)
        desk.look(name, state, stands_until=until)
    app.clock.on(minutes=1)
    gate.pause(paused=paused)
    anew, later = (at.isoformat(timespec="microseconds") for at in (ANEW, until))
    found = dict(app.sql("SELECT track_id, stands_until FROM reconciler_memory"))
    assert found == {"ok": later, "fetching": anew, "out of scope": later}


def write_of(held: Held) -> RowWrite:
    assert held.track is not None
    write = Write("https://covers.example/new.jpg", "2048x1152", How.GENERATED)
    return RowWrite(write, held.track, held.now, Change(held.memory, PAUSED))


def test_a_write_after_a_pause_saves_nothing_and_the_lease_holds(app: Any, desk: Desk) -> None:
    app.put("a")
    held = desk.leases.lease("a")
    assert held is not None
    before = app.row(), where(app, "a", "*")
    app.gate().pause(paused=True)
    change = Change(replace(held.memory, listed=True), Standing(State.OK, None, None))
    assert desk.leases.commit_all([Ending(held.lease, change, write_of(held))]) == [Commit.PAUSED]
    assert (app.row(), where(app, "a", "*")) == before
    assert app.sql("SELECT * FROM reconciler_attempt") == []
    assert desk.leases.lease("a") is None, "it is still ours"
    assert desk.leases.commit(held.lease, Change(held.memory, PAUSED)) is Commit.COMMITTED, "memory may be saved"
    assert where(app, "a", "reason", "held") == ("paused", "paused")
    again = desk.leases.lease("a")
    assert again is not None
    assert again.memory.paused
    app.gate().pause(paused=False)
    assert desk.leases.commit_all([Ending(again.lease, change, write_of(again))]) == [Commit.COMMITTED]
    assert app.row()["image_url"] == "https://covers.example/new.jpg"


def test_a_lost_lease_is_told_before_a_pause(app: Any, desk: Desk) -> None:
    app.put("a")
    held = desk.leases.lease("a")
    assert held is not None
    app.gate().pause(paused=True)
    stale = replace(held.lease, generation=0)
    assert desk.leases.commit_all([Ending(stale, Change(held.memory, PAUSED), write_of(held))]) == [Commit.LEASE_LOST]


def test_who_looked_during_a_pause_that_is_over_by_now_does_not_wait_for_its_end(app: Any, desk: Desk) -> None:
    """The word to go on was said while the step was under way: nobody says it again."""
    app.put("a")
    gate = app.gate()
    gate.pause(paused=True)
    held = desk.leases.lease("a")
    assert held is not None
    app.clock.on(minutes=1)
    gate.pause(paused=False)
    desk.leases.commit(held.lease, Change(held.memory, PAUSED))
    assert desk.finder.due(9) == ("a",)
    assert where(app, "a", "held", "stands_until") == (None, ANEW.isoformat(timespec="microseconds"))


# -- one more try ------------------------------------------------------------------------------------------------------


@pytest.fixture
def rejected(app: Any, till: Till) -> Till:
    """Kie called the request wrong for `shape`, and for another one."""
    for shape in ("shape", "other"):
        till.gate.close(Closure(GateName.REQUEST_REJECTED, app.clock(), None, "no such field", shape))
    refused(till.order(), Reason.REQUEST_REJECTED)
    return till


def test_only_what_kie_called_wrong_can_be_tried_once(rejected: Till) -> None:
    before = rejected.gate.view().closures
    rejected.gate.try_once("never closed")
    assert rejected.gate.view().closures == before
    rejected.gate.close(Closure(GateName.RATE_LIMIT, rejected.app.clock(), None, "slow", "slow"))
    rejected.gate.try_once("slow")
    refused(rejected.order(shape="slow"), Reason.GATE_CLOSED)


def test_one_order_is_let_through_and_then_none_until_its_answer(rejected: Till) -> None:
    rejected.gate.try_once("shape")
    view = rejected.gate.view()
    assert [closure.shape for closure in view.closures if closure.active(view.now)] == ["other"]
    refused(rejected.order("b", shape="other"), Reason.REQUEST_REJECTED)
    assert isinstance(rejected.order("a"), Purchase)
    refused(rejected.order("b"), Reason.REQUEST_REJECTED)
    assert {closure.shape for closure in rejected.gate.view().closures} == {"shape", "other"}


def test_another_shape_does_not_use_the_try_up(rejected: Till) -> None:
    rejected.gate.try_once("shape")
    assert isinstance(rejected.order("a", shape="open"), Purchase)
    assert isinstance(rejected.order("b"), Purchase)


def test_an_order_that_is_refused_otherwise_does_not_use_the_try_up(rejected: Till) -> None:
    rejected.gate.try_once("shape")
    rejected.gate.pause(paused=True)
    refused(rejected.order("a"), Reason.PAUSED)
    rejected.gate.pause(paused=False)
    assert isinstance(rejected.order("a"), Purchase)


def test_a_second_refusal_closes_it_and_it_may_be_tried_again(app: Any, rejected: Till) -> None:
    rejected.gate.try_once("shape")
    rejected.gate.close(Closure(GateName.REQUEST_REJECTED, app.clock(), None, "still none", "shape"))
    refused(rejected.order(), Reason.REQUEST_REJECTED)
    rejected.gate.try_once("shape")
    rejected.gate.try_once("shape")  # asked twice it is still one
    assert isinstance(rejected.order("a"), Purchase)
    refused(rejected.order("b"), Reason.REQUEST_REJECTED)


def test_a_granted_try_lets_one_more_result_be_refused(till: Till) -> None:
    for name in "abc":
        till.answered(till.bought(name), verdict=Verdict.REJECTED)
    refused(till.order("d"), Reason.MODEL_UNPROVEN)
    till.gate.grant("shape")
    till.answered(till.bought("d"), verdict=Verdict.REJECTED)
    refused(till.order("e"), Reason.MODEL_UNPROVEN)


# -- hosts under suspicion ---------------------------------------------------------------------------------------------


def lose(desk: Desk, host: str, times: int) -> None:
    for _ in range(times):
        desk.leases.host_lost(host)


def test_released_hosts_are_suspected_no_more_and_those_who_waited_are_due(app: Any, desk: Desk) -> None:
    for name, url in (("a", "https://bad.example/a.png"), ("b", "https://Bad.example/b.png"), ("c", "https://c/c.png")):
        app.put(name, image_url=url)
    lose(desk, "bad.example", 21)
    lose(desk, "few.example", 20)
    desk.look("a", State.MISSING, reason=Reason.HOST_SUSPECT)
    desk.look("b", State.BELOW_TARGET, reason=Reason.HOST_SUSPECT)
    desk.look("c", State.MISSING, reason=Reason.BUDGET, held="shape")
    app.clock.on(minutes=1)
    database = open_database(Where(app.url), Policy(), app.clock)
    desk.look("c", State.MISSING, reason=Reason.BUDGET, held="shape")  # opening has everything looked at once
    assert desk.leases.peek("a").memory.host_suspect
    assert database.release_suspects() == 2
    assert set(desk.finder.due(9)) == {"a", "b"}
    anew = ANEW.isoformat(timespec="microseconds")
    assert [where(app, name, "stands_until")[0] for name in "abc"] == [anew, anew, None]
    assert not desk.leases.peek("a").memory.host_suspect
    assert app.sql("SELECT host, lost FROM reconciler_host") == [("few.example", 20)], "a count is no suspicion"
    database.close()


def test_who_was_worked_while_its_host_was_released_does_not_wait_for_ever(app: Any, desk: Desk) -> None:
    app.put("a", image_url="https://bad.example/a.png")
    lose(desk, "bad.example", 21)
    held = desk.leases.lease("a")
    assert held is not None
    suspected = Change(held.memory, Standing(State.MISSING, Reason.HOST_SUSPECT, None))
    desk.leases.commit(held.lease, suspected)
    assert where(app, "a", "due_at") == (None,), "while the suspicion lasts it waits"
    again = desk.leases.lease("a")
    assert again is not None
    release_suspects(app.connect())
    desk.leases.commit(again.lease, suspected)
    assert desk.finder.due(9) == ("a",)


def test_a_released_host_is_suspected_again_only_after_as_many_losses_more(app: Any, desk: Desk) -> None:
    app.put("a", image_url="https://bad.example/a.png")
    lose(desk, "bad.example", 25)
    database = open_database(Where(app.url), Policy(), app.clock)
    assert database.release_suspects() == 0
    lose(desk, "bad.example", 20)
    assert not desk.leases.peek("a").memory.host_suspect
    lose(desk, "bad.example", 1)
    assert desk.leases.peek("a").memory.host_suspect
    database.close()
