"""What a finding teaches about a track: a total function of the case, the effect and what it came back with."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import assert_never

from reconciler.domain import urls
from reconciler.domain.actions import AskSong, AskTask, Fetch, Job, ListStore, Measure, RowImage, StoredKey, Write
from reconciler.domain.altered import altered
from reconciler.domain.callbacks import woken
from reconciler.domain.case import Case
from reconciler.domain.clock_jumps import not_ahead
from reconciler.domain.findings import Finding
from reconciler.domain.learn_kie import learn_confirmation, learn_creation, learn_song, learn_task
from reconciler.domain.learn_pictures import learn_listing, learn_picture
from reconciler.domain.look import Absent, Dying, Good, Huge, Small, look_at, shown
from reconciler.domain.model import Ailment, Memory, Purchase, Sighting, Track, Written
from reconciler.domain.policy import Policy
from reconciler.domain.purchases import judged, to_be_judged_anew
from reconciler.domain.states import Reason
from reconciler.domain.writing import CONFLICTS


def learn(case: Case, job: Job, finding: Finding) -> Memory:
    match job:
        case Measure(source=source) | Fetch(source=source):
            memory = altered(learn_picture(case, source, finding), interruptions=0)
        case AskTask(task_id=task_id, order=token) if token is not None:
            memory = learn_confirmation(case, task_id, token, finding)
        case AskTask(task_id=task_id):
            memory = learn_task(case, task_id, finding)
        case AskSong(song_id=song_id):
            memory = learn_song(case, song_id, finding)
        case ListStore():
            memory = learn_listing(case, finding)
        case Purchase():
            memory = learn_creation(case, job, finding)
        case _:  # pragma: no cover
            assert_never(job)
    return judged(memory, case.policy, case.now)


def notice(memory: Memory, track: Track, policy: Policy, now: datetime) -> Memory:
    """The memory after a look at the row: another row, another song, another picture, in need or not."""
    memory = _by_this_target(_by_these_hosts(not_ahead(memory, policy, now), policy), policy)
    if _is_another_row(memory, track, policy):
        memory = _for_another_row(memory, now)
    if memory.song_id is not None and track.task_id is not None and track.task_id != memory.song_id:
        memory = _for_another_song(memory)
    if memory.seen not in (None, track.image.identity):
        memory = altered(memory, interruptions=0)
    elif memory.stamp not in (None, track.stamp):
        memory = _doubted(memory, track, policy)
    song_id, seen = track.task_id or memory.song_id, track.image.identity
    born = track.created_at or memory.created_at
    memory = altered(woken(memory), song_id=song_id, seen=seen, stamp=track.stamp, created_at=born, gone_since=None)
    sound = isinstance(look_at(track, memory, policy), Good | Dying)
    needy_since = None if sound else memory.needy_since or now
    return judged(altered(memory, needy_since=needy_since), policy, now)


def _by_these_hosts(memory: Memory, policy: Policy) -> Memory:
    """What was refused for its host by other hosts than those of today may be had by now."""
    barred = ((name, ill.hosts) for name, ill in memory.ailments.items() if ill.reason is Reason.HOST_REFUSED)
    return _to_be_had(memory, [name for name, hosts in barred if hosts != policy.hosts])


def _by_this_target(memory: Memory, policy: Policy) -> Memory:
    """A picture that was of a wrong size by another target is none that was refused, once its size is right."""
    sizes = ((name, ailment.size) for name, ailment in memory.ailments.items())
    fit = [name for name, size in sizes if size is not None and policy.target.usable(*size)]
    return _to_be_had(memory, fit)


def _to_be_had(memory: Memory, pictures: Sequence[str]) -> Memory:
    return to_be_judged_anew(memory.without_ailments(*pictures), pictures) if pictures else memory


def _is_another_row(memory: Memory, track: Track, policy: Policy) -> bool:
    """Made under the same id, after the one that was first seen was deleted. A date that has long been there may be of
    a clock ahead of ours; nor does the first one that is known tell anything, nor any of a row of the same song: some
    apps write it anew whenever they touch the row."""
    born, known = track.created_at, memory.created_at
    is_same_song = track.task_id is not None and track.task_id == memory.song_id
    if is_same_song or born is None or known is None or born == known:
        return False
    return born > memory.first_seen + policy.grace


def _for_another_row(memory: Memory, now: datetime) -> Memory:
    """Nothing of the one before is held against it, nor given to it."""
    before = tuple(purchase.token for purchase in memory.purchases)
    memory = _for_another_song(memory.without_ailments("write"))
    return replace(
        memory, first_seen=now, orders_before=before, song_id=None, needy_since=None, conflicts=0, interruptions=0
    )


def _for_another_song(memory: Memory) -> Memory:
    """What the store holds was made for the song before, so it is not listed."""
    return replace(memory, song=None, kept=(), written=None, restores=(), listed=True, listed_at=None)


def _doubted(memory: Memory, track: Track, policy: Policy) -> Memory:
    """Somebody wrote the row, and may have put another picture where one was found wanting."""
    source = shown(track, memory, policy)
    is_elsewhere = isinstance(source, RowImage) and urls.kind_of(source.url, policy) is not urls.Kind.INLINE
    if source is None or not is_elsewhere or not isinstance(look_at(track, memory, policy), Small | Huge | Absent):
        return memory
    known = memory.ailing(source.name)
    memory = replace(memory.without_ailments(source.name), sighting=None)
    return memory.with_ailment(source.name, known.doubted()) if known.dead else memory


def noticed(track: Track, memory: Memory, policy: Policy, now: datetime) -> Case:
    """The case after a look at the row."""
    return Case(track, notice(memory, track, policy, now), policy, now)


def after_write(case: Case, write: Write) -> Memory:
    """The memory once the write is committed together with it."""
    memory = replace(case.memory.without_ailments("write"), conflicts=0)
    url = write.url or case.track.image.text or ""
    memory = replace(memory, written=Written(url, write.key or _own_key(case), case.now, case.now))
    kept = next((k for k in memory.kept if k.key == write.key), None)
    if write.url is None or kept is None:
        return memory
    return replace(
        memory,
        seen=url,
        kept=tuple(replace(k, was_written=True) if k is kept else k for k in memory.kept),
        sighting=Sighting(url, kept.width, kept.height, case.now, case.now, kept.key),
        restores=(*memory.restores[-9:], case.now) if write.restore else memory.restores,
        needy_since=memory.needy_since if kept.interim else None,
    )


def _own_key(case: Case) -> str | None:
    """The key of the row's picture where that lies in our store."""
    source = case.look.source if isinstance(case.look, Good) else None
    return source.key if isinstance(source, StoredKey) else None


def after_conflict(case: Case) -> Memory:
    """Somebody changed the row between our look and our write: look again, later each time."""
    conflicts = case.memory.conflicts + 1
    return _written_later(replace(case.memory, conflicts=conflicts), case, conflicts)


def after_lock(case: Case) -> Memory:
    """Somebody is about to change the row, or only keeps it locked: look again soon each time, and never give up."""
    return _written_later(replace(case.memory, conflicts=min(case.memory.conflicts, CONFLICTS - 1)), case, 1)


def _written_later(memory: Memory, case: Case, failures: int) -> Memory:
    ailment = Ailment(retry_at=case.now + case.pause(failures), reason=Reason.WRITE_CONFLICT)
    return memory.with_ailment("write", ailment)
