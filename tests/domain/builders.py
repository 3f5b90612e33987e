"""Short ways to say what is known of a track. Everything is as on an ordinary day unless said otherwise."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from reconciler.domain.actions import Action
from reconciler.domain.case import Case
from reconciler.domain.catalogue import MODELS
from reconciler.domain.model import (
    Ailment,
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
    Verdict,
)
from reconciler.domain.plan import plan
from reconciler.domain.policy import Policy
from reconciler.domain.states import How, Reason

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))
LONG_AGO = NOW - 20 * DAY
POLICY = Policy()
SHAPE = MODELS[POLICY.model].shape(POLICY.target)

SONG = "5" * 32
DURABLE = "https://ref.supabase.co/storage/v1/object/public/images/a.jpg"
COVER = "https://cdn2.suno.ai/image_1.jpeg"
RESULT = "https://tempfile.aiquickdraw.com/r/1.png"
OTHER_RESULT = "https://tempfile.aiquickdraw.com/r/2.png"
INLINE = "data:image/png;base64,iVBORw0KGgo="
KEY = "tracks/t1/aaaaaaaaaaaaaaaa.jpg"
OURS = POLICY.url_of(KEY)
TASK = "task_bytedance_1"
OTHER_TASK = "task_bytedance_2"


def track(url: str | None = None, **changes: Any) -> Track:
    """A finished song, months after its last change, whose prompts are known."""
    usual: dict[str, Any] = {
        "status": "completed",
        "task_id": SONG,
        "title": "Lantern Street",
        "mood": "calm",
        "vibe": "synthwave",
        "extended_prompt_image": "a lighthouse at dusk, oil on canvas",
        "audio_url": "https://cdn1.suno.ai/a.mp3",
        "created_at": LONG_AGO,
        "updated_at": LONG_AGO,
    }
    return Track("t1", Cell(url, len(url or "")), **{**usual, **changes})


def memory(**changes: Any) -> Memory:
    """Known for an hour: the store was listed, the music task asked, nothing found."""
    usual: dict[str, Any] = {
        "first_seen": NOW - HOUR,
        "needy_since": NOW - HOUR,
        "song_id": SONG,
        "song": Song(SONG, final=True),
        "listed": True,
    }
    return Memory("t1", **{**usual, **changes})


def seen(url: str, width: int = 2048, height: int = 1152, **changes: Any) -> Sighting:
    """Measured twice, two days apart, an hour ago for the last time."""
    usual: dict[str, Any] = {"at": NOW - HOUR, "first_at": NOW - 2 * DAY}
    return Sighting(url, width, height, **{**usual, **changes})


def kept(key: str = KEY, width: int = 2048, height: int = 1152, **changes: Any) -> Kept:
    """In our store, made for the song, its bytes compared just now."""
    usual: dict[str, Any] = {"sha256": "aa" * 32, "how": How.GENERATED, "song": SONG, "at": NOW, "checked_at": NOW}
    return Kept(key, width, height, **{**usual, **changes})


def task(name: str = TASK, state: TaskState = TaskState.RUNNING, **changes: Any) -> Task:
    """Seen a minute ago for the first time, to be asked in a minute."""
    usual: dict[str, Any] = {"first_seen": NOW - MINUTE, "created_at": NOW - MINUTE}
    if state is TaskState.RUNNING:
        usual["next_poll"] = NOW + MINUTE
    return Task(name, state=state, **{**usual, **changes})


def done_task(*urls: str, name: str = TASK) -> Task:
    return task(name, TaskState.SUCCEEDED, urls=urls, completed_at=NOW - MINUTE)


def tasks(*known: Task) -> dict[str, Task]:
    return {one.id: one for one in known}


def purchase(token: str = "p1", at: datetime = NOW - 2 * MINUTE, **changes: Any) -> Purchase:
    """Open: intended at `at`, its answer is lost 45 seconds later."""
    usual: dict[str, Any] = {
        "model": POLICY.model,
        "shape": SHAPE,
        "prompt": "a lighthouse at dusk, oil on canvas",
        "price": 5,
        "at": at,
        "send_before": at + 15 * SECOND,
        "deadline": at + 45 * SECOND,
        "song": SONG,
    }
    return Purchase(token, "t1", **{**usual, **changes})


def accepted(token: str = "p1", task_id: str | None = TASK, **changes: Any) -> Purchase:
    one = purchase(token, **changes)
    return replace(one, outcome=Outcome.ACCEPTED, task_id=task_id, answered_at=one.at)


def failed(token: str, verdict: Verdict = Verdict.FAILED, ended: datetime = NOW - DAY, **changes: Any) -> Purchase:
    usual: dict[str, Any] = {"at": ended - MINUTE, "verdict": verdict, "ended_at": ended}
    return accepted(token, f"task_{token}", **{**usual, **changes})


def nothing(token: str, why: Reason | None, at: datetime = NOW - DAY) -> Purchase:
    return purchase(token, at, outcome=Outcome.NOTHING, refusal=why, answered_at=at, ended_at=at)


def lost(token: str = "p1", at: datetime = NOW - 2 * HOUR, **changes: Any) -> Purchase:
    """The answer never came; held for an hour from the deadline on."""
    return purchase(token, at, outcome=Outcome.UNKNOWN, **changes)


def faulty(since: timedelta = HOUR, wait: timedelta = MINUTE, why: Reason = Reason.DOWNLOAD_FAILED) -> Ailment:
    """Nothing but faults for so long; the next try is due after `wait`."""
    return Ailment(faults=3, first_fault=NOW - since, retry_at=NOW + wait, reason=why)


def case(the_track: Track | None = None, the_memory: Memory | None = None, **policy: Any) -> Case:
    return Case(the_track or track(), the_memory or memory(), replace(POLICY, **policy), NOW)


def planned(the_track: Track | None = None, the_memory: Memory | None = None, **policy: Any) -> Action:
    return plan(case(the_track, the_memory, **policy))
