"""Tracks and memories as they may be found: any mix of what the parts can leave behind, at any time."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from reconciler.domain.breaker import Breaker, Stage
from reconciler.domain.gate import Closure, GateName, GateView, Proof, Usage
from reconciler.domain.model import (
    Ailment,
    Callback,
    Cell,
    Kept,
    Memory,
    Outcome,
    Purchase,
    Sighting,
    Song,
    Task,
    TaskState,
    Track,
    Written,
)
from reconciler.domain.policy import Fit, Policy, Target
from reconciler.domain.purchases import judged
from reconciler.domain.states import Flaw, How, Reason
from tests.domain.builders import (
    COVER,
    DURABLE,
    HOUR,
    INLINE,
    KEY,
    LONG_AGO,
    NOW,
    OTHER_RESULT,
    OTHER_TASK,
    OURS,
    POLICY,
    RESULT,
    SECOND,
    SHAPE,
    SONG,
    TASK,
)

OLD_HOME = "https://old.example/images/" + KEY
OTHER_KEY = "tracks/t1/bbbbbbbbbbbbbbbb.jpg"
URLS = (DURABLE, COVER, RESULT, OTHER_RESULT, INLINE, OURS, POLICY.url_of(OTHER_KEY), OLD_HOME)
TEXTS = (None, None, None, COVER, *URLS, TASK, "http://plain.example/a.png", "nonsense")
SONGS = (SONG, "6" * 32)
SIZES = ((2048, 1152), (2560, 1440), (360, 360), (1344, 768))
KEPT = ((), (), (KEY,), (KEY, OTHER_KEY), (RESULT,), (KEY, RESULT))
"""A URL is the key of what was kept while nothing was stored."""
WRITTEN = ((OLD_HOME, KEY), (RESULT, RESULT))
STORE_NAMES = ("store", f"store:{KEY}", f"store:{OTHER_KEY}")

ages = st.sampled_from((0, 1, 5, 12, 23, 25, 47, 100, 160, 170, 400, 900))
moments = ages.map(lambda hours: NOW - hours * HOUR)
odd_moments = st.one_of(moments, st.just(NOW + 9000 * HOUR))
soon = st.sampled_from((-40, -1, 0, 1, 7)).map(lambda hours: NOW + hours * HOUR)


def rarely(strategy: st.SearchStrategy[Any], usual: Any = None) -> st.SearchStrategy[Any]:
    return st.integers(0, 7).flatmap(lambda n: strategy if n == 7 else st.just(usual))


policies = st.builds(
    Policy,
    target=st.builds(Target, fit=st.sampled_from(Fit)),
    interim_thumbnail=st.booleans(),
    restore_archived=st.booleans(),
    per_track=st.integers(1, 3),
    attempts_per_track=st.integers(3, 6),
    keeps=rarely(st.just(False), True),
).map(lambda policy: policy if policy.keeps else replace(policy, target=Target(fit=Fit.KEEP)))

tracks = st.builds(
    Track,
    st.just("t1"),
    st.sampled_from(TEXTS).map(lambda text: Cell(text, len(text or ""))),
    status=rarely(st.sampled_from(("pending", None, "archived", "failed", "odd")), "completed"),
    task_id=rarely(st.sampled_from((*SONGS, None)), SONG),
    title=st.sampled_from((None, "", "Lantern Street")),
    prompt=st.sampled_from((None, "Generated Vibe", "a slow waltz")),
    extended_prompt=rarely(st.sampled_from((None, f"x | Visual: a red kite | image_task_id: {OTHER_TASK}"))),
    extended_prompt_image=rarely(st.none(), "a lighthouse at dusk"),
    audio_url=rarely(st.none(), "https://cdn1.suno.ai/a.mp3"),
    resolution=st.sampled_from((None, "2048x1152", "2K")),
    has_resolution=st.booleans(),
    created_at=rarely(st.one_of(st.none(), odd_moments), LONG_AGO),
    updated_at=rarely(st.one_of(st.none(), odd_moments), LONG_AGO),
    flaw=rarely(rarely(st.just("its id cannot be used"))),
)


@st.composite
def ailments(draw: st.DrawFn) -> Ailment:
    kind = draw(st.sampled_from(("fault", "refused", "dead", "flawed")))
    if kind == "dead":
        return Ailment(refusals=3, dead=True, reason=Reason.DOWNLOAD_FAILED)
    if kind == "flawed":
        flaw, size = draw(st.sampled_from(Flaw)), draw(st.sampled_from((None, *SIZES)))
        is_of_size = flaw in (Flaw.TOO_SMALL, Flaw.ASPECT)
        return Ailment(faults=1, flaw=flaw, reason=Reason.IMAGE_REJECTED, size=size if is_of_size else None)
    why = draw(st.sampled_from((Reason.DOWNLOAD_FAILED, Reason.STORAGE_FAILED, Reason.HOST_REFUSED)))
    first = draw(moments)
    if kind == "refused":
        return Ailment(refusals=1, first_refused=first, retry_at=draw(soon), reason=Reason.DOWNLOAD_FAILED)
    return Ailment(faults=2, first_fault=first, retry_at=draw(soon), reason=why)


store_ailments = st.one_of(
    st.builds(Ailment, faults=st.just(1), first_fault=moments, retry_at=soon, reason=st.just(Reason.STORAGE_FAILED)),
    st.builds(Ailment, refusals=st.just(3), dead=st.just(True), reason=st.just(Reason.STORAGE_FAILED)),
)


@st.composite
def sightings(draw: st.DrawFn, identity: str) -> Sighting:
    first = draw(moments)
    return Sighting(identity, *draw(st.sampled_from(SIZES)), draw(st.sampled_from((first, NOW - HOUR, NOW))), first)


@st.composite
def keepsakes(draw: st.DrawFn, key: str) -> Kept:
    read = draw(st.booleans())
    width, height = draw(st.sampled_from(SIZES)) if read else (0, 0)
    interim = read and (width, height) == (360, 360)
    full = RESULT, DURABLE, INLINE, f"store:{KEY}" if key != KEY else ""
    origins = ("", COVER, *(() if interim else full)) if read else ("",)  # of what was only listed nobody knows it
    return Kept(
        key,
        width,
        height,
        "aa" * 32,
        draw(st.sampled_from(How)),
        draw(rarely(st.sampled_from((*SONGS, None)), SONG)),
        draw(moments),
        draw(st.sampled_from((NOW, NOW - HOUR))) if read else None,
        interim=interim,
        was_written=draw(st.booleans()),
        origin=draw(st.sampled_from(origins)),
    )


@st.composite
def image_tasks(draw: st.DrawFn, name: str) -> Task:
    state = draw(st.sampled_from(TaskState))
    first_seen = draw(moments)
    created = draw(st.one_of(st.none(), st.just(first_seen)))
    if state is TaskState.RUNNING:
        fault = draw(rarely(moments))
        return Task(
            name, first_seen, created, next_poll=draw(st.one_of(st.none(), soon)), first_fault=fault, faults=bool(fault)
        )
    urls = draw(st.sampled_from(((RESULT,), (RESULT, OTHER_RESULT)))) if state is TaskState.SUCCEEDED else ()
    failure = draw(st.sampled_from((Reason.PROVIDER_FAILED, Reason.CONTENT_REJECTED, Reason.REQUEST_REJECTED)))
    return Task(name, first_seen, created, state, urls, failure if state is TaskState.FAILED else None)


@st.composite
def purchases(draw: st.DrawFn, number: int, before: tuple[Purchase, ...]) -> Purchase:
    at = NOW - timedelta(days=20 - number) if draw(st.booleans()) else NOW - draw(st.sampled_from((HOUR, SECOND)))
    outcome = draw(st.sampled_from(Outcome))
    repeatable = [p.token for p in before if p.outcome is Outcome.UNKNOWN and p.repeat_of is None]
    task_id = draw(st.sampled_from((TASK, OTHER_TASK, None))) if outcome is Outcome.ACCEPTED else None
    nothing = outcome is Outcome.NOTHING
    refusals = (None, Reason.CONTENT_REJECTED, Reason.PROVIDER_FAILED, Reason.STORAGE_FAILED)
    return Purchase(
        f"p{number}",
        "t1",
        POLICY.model,
        SHAPE,
        draw(st.sampled_from(("a lighthouse at dusk", "a red kite"))),
        5,
        at,
        at + 15 * SECOND,
        at + 45 * SECOND,
        repeat_of=draw(st.sampled_from((None, *repeatable))),
        song=draw(rarely(st.sampled_from((*SONGS, None)), SONG)),
        answered_at=None if outcome is Outcome.OPEN else at,
        outcome=outcome,
        task_id=task_id,
        urls=(RESULT,) if outcome is Outcome.ACCEPTED and task_id is None else (),
        refusal=draw(st.sampled_from(refusals)) if nothing else None,
        ended_at=at if nothing else None,
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[Purchase, ...]:
    bought: tuple[Purchase, ...] = ()
    for number in range(draw(st.sampled_from((0, 0, 1, 2, 3, 5)))):
        bought = (*bought, draw(purchases(number, bought)))
    return tuple(sorted(bought, key=lambda p: (p.at, p.token)))


callbacks = st.builds(Callback, st.sampled_from(("p0", "p1", "p2")), st.sampled_from((TASK, OTHER_TASK, "")))


@st.composite
def memories(draw: st.DrawFn, track: Track) -> Memory:
    """Of this track, judged up to date."""
    identity = track.image.identity
    names = draw(st.lists(st.sampled_from((*URLS, identity)), max_size=2, unique=True))
    store_names = draw(st.lists(st.sampled_from(STORE_NAMES), max_size=1))
    ill = {name: draw(ailments()) for name in names} | {name: draw(store_ailments) for name in store_names}
    if draw(rarely(st.just(True), False)):
        ill["write"] = Ailment(retry_at=draw(soon), reason=Reason.WRITE_CONFLICT)
    first_seen = draw(moments)
    known = [draw(image_tasks(name)) for name in draw(st.sampled_from(((), (), (TASK,), (TASK, OTHER_TASK))))]
    found = Memory(
        "t1",
        first_seen,
        song_id=draw(rarely(st.none(), track.task_id)),
        needy_since=draw(st.sampled_from((None, first_seen, NOW))),
        sighting=draw(st.one_of(st.none(), sightings(identity), sightings(identity))),
        kept=tuple(draw(keepsakes(key)) for key in draw(st.sampled_from(KEPT))),
        written=draw(rarely(st.sampled_from([Written(url, key, NOW - HOUR, NOW - HOUR) for url, key in WRITTEN]))),
        restores=tuple(draw(st.lists(moments, max_size=4))),
        ailments=ill,
        song=draw(
            rarely(st.one_of(st.none(), songs, st.just(Song(SONG, final=True, urls=(COVER,)))), Song(SONG, final=True))
        ),
        handed=draw(st.sampled_from(((), (), (OTHER_TASK,)))),
        tasks={task.id: task for task in known},
        purchases=draw(histories()),
        callbacks=draw(rarely(st.lists(callbacks, max_size=3, unique=True).map(tuple), ())),
        heeded=draw(rarely(st.lists(callbacks, max_size=2, unique=True).map(tuple), ())),
        listed=draw(rarely(st.just(False), True)),
        conflicts=6 if draw(rarely(st.just(True), False)) and "write" in ill else 0,
        interruptions=draw(rarely(st.sampled_from((0, 1, 3)), 0)),
        interrupted_at=draw(rarely(moments, None)),
        orders_before=draw(rarely(st.sampled_from((("p0",), ("p0", "p1"))), ())),
        granted=draw(rarely(st.just(1), 0)),
        ignored=draw(rarely(rarely(st.just(True), False), False)),
        host_suspect=draw(rarely(rarely(st.just(True), False), False)),
    )
    return judged(found, POLICY, NOW)


@st.composite
def _songs(draw: st.DrawFn) -> Song:
    fault = draw(rarely(moments))
    return Song(SONG, asked=1, first_asked=NOW - HOUR, next_ask=draw(soon), faults=bool(fault), first_fault=fault)


songs = _songs()


@st.composite
def known(draw: st.DrawFn) -> tuple[Track, Memory, Policy]:
    track = draw(tracks)
    keys = {name: draw(rarely(st.just(False), True)) for name in ("asks_tasks", "asks_songs")}
    return track, draw(memories(track)), replace(draw(policies), **keys)


def _after(now: datetime) -> st.SearchStrategy[datetime]:
    return st.sampled_from((1, 9, 700, 7000)).map(lambda seconds: now + seconds * SECOND)


gates = st.builds(
    GateView,
    st.just(NOW),
    paused=rarely(st.just(True), False),
    closures=st.lists(
        st.builds(Closure, st.sampled_from(GateName), st.just(NOW), _after(NOW), st.just(""), st.just(None)), max_size=1
    ).map(tuple),
    breaker=rarely(st.builds(Breaker, st.sampled_from(Stage), retry_at=rarely(soon)), Breaker()),
    balance=st.sampled_from((None, 10, 1000)),
    balance_at=st.just(NOW),
    window=st.lists(_after(NOW), max_size=11).map(lambda times: tuple(sorted(times))),
    hour=st.builds(Usage, st.sampled_from((0, 30)), _after(NOW)),
    proofs=st.dictionaries(st.just(SHAPE), st.builds(Proof, st.booleans(), st.integers(0, 3), st.integers(0, 3))),
)
