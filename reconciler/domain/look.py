"""What the row's picture is worth, as far as it was measured."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from reconciler.domain import urls
from reconciler.domain.actions import RowImage, RowPicture, StoredKey
from reconciler.domain.model import Ailment, Memory, Sighting, Track
from reconciler.domain.policy import Policy
from reconciler.domain.states import Flaw

SECOND_LOOK = timedelta(days=1)
"""A picture measured for the first time is measured again after this long."""

LONGEST_INLINE = 64 * 1024 * 1024 * 4 // 3
"""Letters in the row: base64 of the most that is downloaded of any picture."""


@dataclass(frozen=True, slots=True)
class Absent:
    """No picture, a text that is none, or one that is dead."""


@dataclass(frozen=True, slots=True)
class Unmeasured:
    source: RowPicture
    ailment: Ailment


@dataclass(frozen=True, slots=True)
class Small:
    """Present, not good enough, and no fitting helps."""


@dataclass(frozen=True, slots=True)
class Huge:
    """Present, and more than we take, at a place that lasts: nobody knows that it is not good."""


@dataclass(frozen=True, slots=True)
class Larger:
    """Of the right shape and larger than the exact target: a crop and a downscale away from good."""

    source: RowPicture


@dataclass(frozen=True, slots=True)
class Dying:
    """Good, but inline or at a URL that dies, from `expires_at` on, where that is known: the sooner of what is said.

    `good`: as what it stays where nothing is stored; None: our store is to have it.
    """

    source: RowPicture
    expires_at: datetime | None
    good: "Good | None" = None


@dataclass(frozen=True, slots=True)
class Good:
    """Good and durable; to be measured again at `measure_at`."""

    source: RowPicture
    ailment: Ailment
    resolution: str
    measure_at: datetime


Look = Absent | Unmeasured | Small | Huge | Larger | Dying | Good


_NO_PICTURE = (urls.Kind.NOTHING, urls.Kind.TASK_ID, urls.Kind.UNUSABLE)


def is_picture(text: str, policy: Policy) -> bool:
    """An `image_url` that may name or hold a picture."""
    return urls.kind_of(text, policy) not in _NO_PICTURE


def look_at(track: Track, memory: Memory, policy: Policy) -> Look:
    kind = urls.kind_of(track.image.text, policy)
    source = shown(track, memory, policy)
    if source is None or memory.ailing(source.name).dead:
        return Absent()
    ailment = memory.ailing(source.name)
    if isinstance(source, RowImage) and not urls.dies(kind) and _is_huge(track, ailment, source):
        return Huge()
    if ailment.flaw is not None:
        return Small()
    sighting = memory.sighting
    if sighting is None or sighting.identity != track.image.identity:
        return Unmeasured(source, ailment)
    if not policy.target.met_by(sighting.width, sighting.height):
        return Larger(source) if policy.target.usable(sighting.width, sighting.height) else Small()
    good = Good(source, ailment, f"{sighting.width}x{sighting.height}", _measure_at(sighting, policy))
    if not _dies(kind, source):
        return good
    ends = urls.urgency(kind, track.image.text or "", track.newest())
    return Dying(source, ends, None if policy.keeps else replace(good, measure_at=_while_it_lives(sighting, ends)))


def shown(track: Track, memory: Memory, policy: Policy) -> RowPicture | None:
    """Where the row's picture is, if it names or holds one."""
    kind, text = urls.kind_of(track.image.text, policy), track.image.text or ""
    key = policy.key_of(text) if kind is urls.Kind.OURS else _known_key(track, memory)
    if key is not None and policy.keeps and policy.knows(key):
        return StoredKey(key, memory.song_id)
    if kind in _NO_PICTURE:
        return None
    return RowImage(text, inline=_is_cut(track, kind), identity=track.image.identity)


def is_undone(track: Track, memory: Memory, policy: Policy) -> bool:
    """The picture that we wrote last stood when the row was last looked at, and stands no more. One of the app's, of
    which we wrote no more than the resolution, is its to change."""
    if memory.written is None or memory.written.key is None:
        return False
    ours = _picture_at(memory.written.url, policy)
    return _picture_at(memory.seen or "", policy) == ours != _picture_at(track.image.identity, policy)


def _picture_at(url: str, policy: Policy) -> str:
    """In our store the same, whatever query is put behind its URL."""
    key = policy.key_of(url) if urls.kind_of(url, policy) is urls.Kind.OURS else None
    return key or url


def _is_huge(track: Track, ailment: Ailment, source: RowImage) -> bool:
    """Told of one in the row before it is read."""
    return ailment.flaw is Flaw.TOO_LARGE or (source.inline and track.image.length > LONGEST_INLINE)


def _known_key(track: Track, memory: Memory) -> str | None:
    """Under which the row's picture lies in our store, though `public_url` moved since it was measured or written."""
    sighting, written = memory.sighting, memory.written
    if sighting is not None and sighting.key is not None and sighting.identity == track.image.identity:
        return sighting.key
    return written.key if written is not None and written.url == track.image.text else None


def _is_cut(track: Track, kind: urls.Kind) -> bool:
    """The row holds more than the head that was read: a picture itself, or a very long URL."""
    return kind is urls.Kind.INLINE or track.image.digest is not None


def _dies(kind: urls.Kind, source: RowPicture) -> bool:
    """A URL of our store dies when `public_url` moved away from it; an inline picture is to be a URL."""
    if isinstance(source, StoredKey):
        return kind is not urls.Kind.OURS
    return kind is urls.Kind.INLINE or urls.dies(kind)


def _measure_at(sighting: Sighting, policy: Policy) -> datetime:
    if sighting.at - sighting.first_at < SECOND_LOOK:
        return sighting.first_at + SECOND_LOOK
    return sighting.at + policy.reverify_after


def _while_it_lives(sighting: Sighting, ends: datetime | None) -> datetime:
    """Every day, and when it is said to end."""
    daily = sighting.at + SECOND_LOOK
    return min(daily, ends) if ends is not None and ends > sighting.at else daily
