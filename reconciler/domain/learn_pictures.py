"""What is learned from measuring, fetching and listing pictures."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from reconciler.domain import urls
from reconciler.domain.actions import RowImage, Source, StoredKey, SunoCover, TaskResult
from reconciler.domain.case import Case
from reconciler.domain.findings import Fault, Finding, Flawed, Listing, Refused, Sized, Stored
from reconciler.domain.look import shown
from reconciler.domain.model import Ailment, Kept, Memory, Sighting
from reconciler.domain.states import Flaw, How, Reason

REFUSALS_TO_DIE = 3
REFUSED_FOR = timedelta(hours=24)
"""A URL that should last is dead after so many clear refusals over so long a time."""

TRIES_OF_BROKEN_BYTES = 3
"""Truncated or undecodable bytes may be the transfer's fault: so many tries before the picture is called broken."""


def learn_picture(case: Case, source: Source, finding: Finding) -> Memory:
    match finding:
        case Sized():
            return _sighted(case, source, finding).without_ailments(source.name)
        case Stored(key=key):
            return _kept(case, source, finding).without_ailments(source.name, StoredKey(key).name)
        case Flawed():
            return case.memory.with_ailment(source.name, _flawed(case, source, finding))
        case Refused():
            return case.memory.with_ailment(source.name, _refused(case, source, finding))
        case Fault():
            return case.memory.with_ailment(source.name, _faulted(case, source, finding))
        case _:
            raise TypeError(f"a picture step cannot come back with {type(finding).__name__}")


def learn_listing(case: Case, finding: Finding) -> Memory:
    """Pictures found in the store by name only: their bytes are read before they are used, a lost one's too."""
    memory = case.memory
    if isinstance(finding, Fault):
        return memory.with_ailment("store", faulted(case, memory.ailing("store"), "store", finding))
    if not isinstance(finding, Listing):
        raise TypeError(f"a listing cannot come back with {type(finding).__name__}")
    known = {kept.key for kept in memory.kept}
    found = tuple(
        Kept(key, 0, 0, "", How.RESTORED, memory.song_id, case.now, None) for key in finding.keys if key not in known
    )
    memory = replace(memory.without_ailments("store"), listed=True, listed_at=case.now, kept=(*memory.kept, *found))
    for key in finding.keys:
        memory = _back(case, memory, StoredKey(key))
    return memory


def _back(case: Case, memory: Memory, source: StoredKey) -> Memory:
    """What the store names may have been lost, and was put back."""
    known = memory.ailing(source.name)
    if not known.dead:
        return memory
    place = shown(case.track, memory, case.policy)
    sighting = None if place is not None and place.name == source.name else memory.sighting
    return replace(memory, sighting=sighting).with_ailment(source.name, known.doubted())


def _faulted(case: Case, source: Source, fault: Fault) -> Ailment:
    """Whether a dead one lives again is not asked more often for that."""
    ailment = faulted(case, case.memory.ailing(source.name), source.name, fault)
    return replace(ailment, retry_at=case.now + case.policy.retry_max) if ailment.dead else ailment


def faulted(case: Case, ailment: Ailment, name: str, fault: Fault) -> Ailment:
    faults = ailment.faults + 1
    return replace(
        ailment,
        faults=faults,
        first_fault=case.failing_since(ailment.first_fault, ailment.retry_at),
        retry_at=case.now + case.pause(faults, name),
        reason=fault.reason,
        detail=fault.detail,
        hosts=case.policy.hosts if fault.reason is Reason.HOST_REFUSED else (),
    )


def _sighted(case: Case, source: Source, size: Sized) -> Memory:
    identity, before = case.track.image.identity, case.memory.sighting
    first = before.first_at if before is not None and before.identity == identity else case.now
    key = source.key if isinstance(source, StoredKey) else None
    return replace(case.memory, sighting=Sighting(identity, size.width, size.height, case.now, first, key))


def _kept(case: Case, source: Source, stored: Stored) -> Memory:
    """The picture joins what we keep; one known already keeps its history, but for a song that is not the row's: bought
    for this one it may have come with the very same bytes."""
    before = next((kept for kept in case.memory.kept if kept.key == stored.key), None)
    how, song, origin = _provenance(case, source, stored)
    origins = tuple(dict.fromkeys(filter(None, (*(before.origins if before else ()), origin))))
    kept = Kept(
        key=stored.key,
        width=stored.width,
        height=stored.height,
        sha256=stored.sha256,
        how=before.how if before else how,
        song=before.song if before and case.for_this_song(before.song) else song,
        at=before.at if before else case.now,
        checked_at=case.now,
        interim=stored.interim,
        was_written=before.was_written if before else False,
        origin=origins[0] if origins else "",
        also_from=origins[1:],
    )
    return replace(case.memory, kept=(*(k for k in case.memory.kept if k.key != stored.key), kept))


def _provenance(case: Case, source: Source, stored: Stored) -> tuple[How, str | None, str]:
    """A picture in the store that came back under another key was fitted to another target."""
    match source:
        case StoredKey(key=key, song=song):
            return How.RESTORED, song, "" if key == stored.key else source.name
        case RowImage():
            return How.REHOSTED, case.track.task_id, source.name
        case TaskResult(how=how, song=song):
            return how, song, source.name
        case SunoCover(song_id=song_id):
            return How.SUNO, song_id, source.name
        case _:  # pragma: no cover
            assert_never(source)


def _flawed(case: Case, source: Source, flawed: Flawed) -> Ailment:
    before = case.memory.ailing(source.name)
    tries = before.faults + 1 if before.reason is Reason.IMAGE_REJECTED else 1
    transient = flawed.flaw in (Flaw.TRUNCATED, Flaw.UNDECODABLE) and not _at_hand(source)
    final = not transient or tries >= TRIES_OF_BROKEN_BYTES
    return Ailment(
        faults=tries,
        first_fault=case.failing_since(before.first_fault, before.retry_at),
        retry_at=None if final else case.now + case.pause(tries, source.name),
        reason=Reason.IMAGE_REJECTED,
        detail=f"{flawed.flaw}: {flawed.detail}",
        flaw=flawed.flaw if final else None,
        size=flawed.size,
    )


def _at_hand(source: Source) -> bool:
    return isinstance(source, RowImage) and source.inline


def _refused(case: Case, source: Source, refused: Refused) -> Ailment:
    """One clear refusal more. Past its known life one is enough, else it takes three over a day."""
    before = case.memory.ailing(source.name)
    count, first = before.refusals + 1, before.first_refused or case.now
    ends = _known_life(case, source)
    past = ends is not None and case.now > ends
    dead = past or (count >= REFUSALS_TO_DIE and case.now - first >= REFUSED_FOR)
    stored = isinstance(source, StoredKey) and case.policy.keeps
    reason = Reason.STORAGE_FAILED if stored else Reason.DOWNLOAD_FAILED
    retry_at = case.now + (case.policy.retry_max if dead else case.pause(count, source.name))
    return Ailment(
        refusals=count, first_refused=first, retry_at=retry_at, reason=reason, detail=refused.detail, dead=dead
    )


def lost_on(case: Case, source: Source, after: Memory) -> str | None:
    """The host on which the row's picture was just found dead although it was to last longer, or None."""
    if not isinstance(source, RowImage) or case.memory.ailing(source.name).dead or not after.ailing(source.name).dead:
        return None
    ends = _known_life(case, source)
    return urls.host_of(source.url) if ends is None or case.now <= ends else None


def _known_life(case: Case, source: Source) -> datetime | None:
    match source:
        case StoredKey(key=url):
            since = None if case.policy.keeps else next((k.at for k in case.kept if k.key == url), None)
        case TaskResult(url=url, task_id=task_id):
            task = case.memory.tasks.get(task_id)
            since = (task.completed_at or task.created_at) if task is not None else None
        case RowImage(url=url) | SunoCover(url=url):
            since = case.track.newest()
        case _:  # pragma: no cover
            assert_never(source)
    return urls.known_life(urls.kind_of(url, case.policy), url, since)
