"""What everybody may rely on behind the Kie port: the client, in process and over HTTP, against the simulated Kie."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.domain.catalogue import MODELS
from reconciler.domain.findings import (
    Accepted,
    AnswerLost,
    Call,
    Credits,
    Failed,
    NotFound,
    NothingMade,
    Refusal,
    Running,
    SongFinal,
    SongPending,
    Succeeded,
    Trouble,
)
from reconciler.domain.policy import Target
from reconciler.kie import simulated as sim
from reconciler.kie.client import KieClient
from reconciler.ports import Kie, Order
from reconciler.testing.handler import handler_for
from reconciler.transport import Transport

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
LONG, SHORT = timedelta(seconds=20), timedelta(milliseconds=600)
LATER = timedelta(minutes=5)
MUSIC_KEY = "music-key"


@dataclass
class Heard:
    calls: list[tuple[str, Call]] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)

    def called(self, operation: str, call: Call, seconds: float) -> None:
        assert seconds >= 0
        self.calls.append((operation, call))

    def unexpected(self, kind: str) -> None:
        self.odd.append(kind)


@dataclass
class World:
    """A Kie behind its port, and the hand that moves it."""

    simulated: sim.SimulatedKie
    connect: Callable[[timedelta, str, str], Kie]
    heard: Heard
    time: list[datetime]

    @property
    def kie(self) -> Kie:
        return self.connect(LONG, sim.API_KEY, "")

    @property
    def hasty(self) -> Kie:
        return self.connect(SHORT, sim.API_KEY, "")

    def buy(self, prompt: str = "Mist over a lake", kie: Kie | None = None) -> object:
        return (kie or self.kie).create(order(prompt, self.time[0]))

    def bought(self, prompt: str = "Mist over a lake") -> str:
        made = self.buy(prompt)
        assert isinstance(made, Accepted)
        assert made.task_id is not None
        return made.task_id

    def passes(self, length: timedelta) -> None:
        self.time[0] += length


def order(prompt: str, now: datetime, model: str = sim.DEFAULT_MODEL, callback_url: str | None = None) -> Order:
    return Order(model, prompt, Target(), now + timedelta(seconds=15), callback_url)


@pytest.fixture(params=["in process", "over HTTP"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    time, heard = [NOW], Heard()
    simulated = sim.SimulatedKie(lambda: time[0], seed=7, settings=sim.Settings(api_keys=(sim.API_KEY, MUSIC_KEY)))
    with ExitStack() as stack:
        server = stack.enter_context(sim.KieServer(simulated)) if request.param == "over HTTP" else None
        transport = Transport(
            user_agent="reconciler/test",
            clock=lambda: time[0],
            handler=None if server else handler_for(simulated),
        )
        stack.callback(transport.close)
        base_url = server.base_url if server else "https://api.kie.ai"

        def connect(timeout: timedelta, key: str, suno_key: str) -> Kie:
            return KieClient(
                transport,
                base_url=base_url,
                api_key=key,
                suno_api_key=suno_key,
                request_timeout=timeout,
                observer=heard,
            )

        yield World(simulated, connect, heard, time)
        assert simulated.book.errors == []


# -- buying --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_a_purchase_is_accepted_and_paid_once(world: World, model: str) -> None:
    made = world.kie.create(order("Mist", NOW, model, "https://ops.example/callback/token"))
    assert isinstance(made, Accepted)
    (line,) = world.simulated.book.creations
    assert (line.task_id, line.prompt, line.model) == (made.task_id, "Mist", model)
    assert line.price == MODELS[model].price
    assert line.call_back_url == "https://ops.example/callback/token"
    assert world.heard.calls == [("create", Call.OK)]


def test_a_picture_may_come_at_once(world: World) -> None:
    world.simulated.script.next("create", sim.AnswerPicture(with_task_id=False), sim.AnswerPicture())
    first, second = world.buy("one"), world.buy("two")
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert (first.task_id, len(first.urls), len(second.urls)) == (None, 1, 1)
    assert second.task_id is not None


@pytest.mark.parametrize(
    ("answer", "refusal", "call"),
    [
        (sim.CONTENT_REFUSED_AT_ONCE, Refusal.CONTENT, Call.REJECTED),
        (sim.Refuse(500, "This field is required"), Refusal.REQUEST, Call.REJECTED),
        (sim.FEATURE_DISABLED, Refusal.REQUEST, Call.REJECTED),
        (sim.NO_CREDITS, Refusal.CREDITS, Call.NO_CREDITS),
        (sim.Refuse(429, sim.NO_CREDITS.message), Refusal.CREDITS, Call.NO_CREDITS),
        (sim.KEY_CAPPED, Refusal.KEY_CAP, Call.NO_CREDITS),
        (sim.UNAUTHORIZED, Refusal.KEY, Call.UNAUTHORIZED),
        (sim.TOO_FREQUENT, Refusal.RATE, Call.RATE_LIMITED),
        (sim.RATE_LIMITED, Refusal.RATE, Call.RATE_LIMITED),
        (sim.page(429), Refusal.RATE, Call.RATE_LIMITED),
        (sim.MAINTENANCE, Refusal.OUTAGE, Call.SERVER_ERROR),
        (sim.SERVER_ERROR, Refusal.OUTAGE, Call.SERVER_ERROR),
        (sim.QUEUE_FULL, Refusal.OUTAGE, Call.SERVER_ERROR),
    ],
)
def test_a_refused_purchase_makes_nothing(world: World, answer: sim.Refuse, refusal: Refusal, call: Call) -> None:
    world.simulated.script.next("create", answer)
    made = world.buy()
    assert isinstance(made, NothingMade)
    assert (made.refusal, made.call, made.sent) == (refusal, call, True)
    assert world.heard.calls == [("create", call)]


@pytest.mark.parametrize("made", [True, False])
@pytest.mark.parametrize(
    ("fault", "call"),
    [
        (sim.Fault.CUT, Call.CONNECT_ERROR),
        (sim.Fault.CUT_HALF, Call.CONNECT_ERROR),
        (sim.Fault.HANG, Call.TIMEOUT),
        (sim.Fault.DRIP, Call.TIMEOUT),
    ],
)
def test_a_lost_answer_leaves_a_purchase_unknown(world: World, fault: sim.Fault, call: Call, made: bool) -> None:
    world.simulated.script.next("create", sim.Break(fault, done=made))
    answer = world.buy(kie=world.hasty if call is Call.TIMEOUT else None)
    assert isinstance(answer, AnswerLost)
    assert answer.call is call
    assert len(world.simulated.book.creations) == 1


@pytest.mark.parametrize(
    ("answer", "call"),
    [
        (sim.page(502, done=True), Call.SERVER_ERROR),
        (sim.page(502), Call.SERVER_ERROR),
        (sim.page(504), Call.TIMEOUT),
        (sim.page(200, done=True), Call.MALFORMED),
        (sim.Reply(200, b"x" * 2_000_000, done=True), Call.MALFORMED),
        (sim.OmitTaskId(), Call.MALFORMED),
        (sim.OmitTaskId(made=False), Call.MALFORMED),
    ],
)
def test_an_answer_that_says_nothing_leaves_a_purchase_unknown(world: World, answer: sim.Reply, call: Call) -> None:
    world.simulated.script.next("create", answer)
    made = world.buy()
    assert isinstance(made, AnswerLost)
    assert made.call is call


def test_a_purchase_is_not_sent_after_its_time(world: World) -> None:
    late = order("Mist", NOW)
    world.passes(timedelta(seconds=16))
    made = world.kie.create(late)
    assert isinstance(made, NothingMade)
    assert (made.refusal, made.sent) == (Refusal.OUTAGE, False)
    assert world.simulated.book.creations == ()


def test_an_unknown_model_is_not_sent(world: World) -> None:
    made = world.kie.create(order("Mist", NOW, model="imagen4"))
    assert isinstance(made, NothingMade)
    assert (made.refusal, made.sent) == (Refusal.REQUEST, False)
    assert world.heard.calls == []


def test_without_a_key_nothing_is_asked(world: World) -> None:
    kie = world.connect(LONG, "", "")
    made, asked = kie.create(order("Mist", NOW)), kie.credit()
    assert isinstance(made, NothingMade)
    assert isinstance(asked, Trouble)
    assert (made.refusal, made.sent, asked.call) == (Refusal.KEY, False, Call.UNAUTHORIZED)
    assert "kie.api_key" in made.detail
    assert world.simulated.book.visits == ()


# -- asking for a task ---------------------------------------------------------------------------------------------


def test_a_task_runs_and_succeeds(world: World) -> None:
    task = world.bought("Mist")
    assert world.kie.task(task) == Running(NOW)
    world.passes(LATER)
    answer = world.kie.task(task)
    assert isinstance(answer, Succeeded)
    assert (answer.created_at, answer.prompt, len(answer.urls)) == (NOW, "Mist", 1)
    assert answer.completed_at is not None
    assert world.heard.calls[1:] == [("record", Call.OK)] * 2
    assert world.heard.odd == []


@pytest.mark.parametrize("form", sim.ResultForm)
def test_every_form_of_a_result_is_read(world: World, form: sim.ResultForm) -> None:
    world.simulated.script.when(sim.Succeed(result=form, count=2))
    task = world.bought()
    world.passes(LATER)
    answer = world.kie.task(task)
    assert isinstance(answer, Succeeded)
    empty = form.name.startswith(("NULL", "EMPTY"))
    assert len(answer.urls) == (0 if empty else 2)
    assert world.heard.odd == (["shape"] if empty else [])


@pytest.mark.parametrize(
    ("outcome", "refusal"),
    [
        (sim.CONTENT_REFUSED, Refusal.CONTENT),
        (sim.SENSITIVE_WORD, Refusal.CONTENT),
        (sim.COPYRIGHT, Refusal.CONTENT),
        (sim.UPSTREAM_OUTAGE, Refusal.OUTAGE),
        (sim.FAILED_AT_ONCE, Refusal.OUTAGE),
        (sim.TASK_SERVER_ERROR, Refusal.OUTAGE),
        (sim.Fail(code="500", message="image_size is not within the range of allowed options"), Refusal.REQUEST),
        (sim.Fail(code=None, message=None), None),
    ],
)
def test_a_failed_task_tells_what_was_refused(world: World, outcome: sim.Fail, refusal: Refusal | None) -> None:
    world.simulated.script.when(outcome)
    task = world.bought()
    world.passes(LATER)
    answer = world.kie.task(task)
    assert isinstance(answer, Failed)
    assert (answer.refusal, answer.created_at) == (refusal, NOW)


def test_the_state_decides_over_a_url(world: World) -> None:
    world.simulated.add_task("stalled", prompt="Mist", behaviour=sim.Stall(state="paused", with_url=True))
    assert world.kie.task("stalled") == Running(NOW)
    assert world.heard.odd == ["state"]


@pytest.mark.parametrize("face", sim.Face)
def test_every_face_of_not_found_is_seen(world: World, face: sim.Face) -> None:
    world.simulated.script.when(sim.NotFound(face))
    for asked in (world.kie.task, world.kie.song):
        assert isinstance(asked("nowhere"), NotFound)
    assert world.heard.calls == [("record", Call.NOT_FOUND), ("suno_record", Call.NOT_FOUND)]


@pytest.mark.parametrize("task_id", ["a/b?c=d&e#f", "ü b", "..", "%00", "\ud800"])
def test_an_odd_id_is_asked_for_as_it_is(world: World, task_id: str) -> None:
    if task_id != "\ud800":
        world.simulated.add_task(task_id, prompt="Mist", behaviour=sim.Stall())
        assert world.kie.task(task_id) == Running(NOW)
    else:
        assert isinstance(world.kie.task(task_id), NotFound)


@pytest.mark.parametrize(
    ("answer", "call"),
    [
        (sim.Break(sim.Fault.CUT), Call.CONNECT_ERROR),
        (sim.Break(sim.Fault.CUT_HALF), Call.CONNECT_ERROR),
        (sim.Break(sim.Fault.HANG), Call.TIMEOUT),
        (sim.Break(sim.Fault.DRIP), Call.TIMEOUT),
        (sim.page(502), Call.SERVER_ERROR),
        (sim.page(404), Call.MALFORMED),
        (sim.page(200), Call.MALFORMED),
        (sim.Reply(200, b"\xff\x00"), Call.MALFORMED),
        (sim.Reply(200, b"x" * 2_000_000), Call.MALFORMED),
        (sim.UNAUTHORIZED, Call.UNAUTHORIZED),
        (sim.NO_CREDITS, Call.NO_CREDITS),
        (sim.RATE_LIMITED, Call.RATE_LIMITED),
        (sim.MAINTENANCE, Call.SERVER_ERROR),
        (sim.Refuse(777, "what is this"), Call.SERVER_ERROR),
    ],
)
def test_trouble_is_neither_presence_nor_absence(world: World, answer: sim.Refuse, call: Call) -> None:
    """The task, the song and the balance are there all the while."""
    task = world.bought()
    world.simulated.add_song("song")
    world.simulated.script.when(answer)
    kie = world.hasty if call is Call.TIMEOUT else world.kie
    for found in (kie.task(task), kie.song("song"), kie.credit()):
        assert isinstance(found, Trouble)
        assert found.call is call
        assert "\n" not in found.detail
    assert world.heard.calls[1:] == [(operation, call) for operation in ("record", "suno_record", "credit")]


# -- songs and credits ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("snake_case", [True, False])
def test_a_song_is_pending_and_then_final(world: World, snake_case: bool) -> None:
    world.simulated.add_song("song", sim.Song(ready_after=LATER, snake_case=snake_case))
    assert world.kie.song("song") == SongPending()
    world.passes(LATER)
    answer = world.kie.song("song")
    assert isinstance(answer, SongFinal)
    assert len(answer.urls) == 2


def test_a_lost_song_is_final_and_a_half_done_one_is_not(world: World) -> None:
    world.simulated.add_song("lost", sim.LOST_SONG)
    world.simulated.add_song("half", sim.Song(status="FIRST_SUCCESS"))
    assert world.kie.song("lost") == SongFinal()
    assert world.kie.song("half") == SongPending()


def test_songs_are_asked_for_with_their_own_key(world: World) -> None:
    world.simulated.add_song("song", sim.Song(api_key=MUSIC_KEY))
    assert isinstance(world.connect(LONG, sim.API_KEY, MUSIC_KEY).song("song"), SongFinal)
    assert isinstance(world.kie.song("song"), NotFound)


def test_credits_are_a_number(world: World) -> None:
    world.bought()
    assert world.kie.credit() == Credits(995.0)
    assert world.heard.calls[-1] == ("credit", Call.OK)
