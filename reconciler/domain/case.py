"""One track at one instant: everything a decision may rest on, read once."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from reconciler.domain import urls
from reconciler.domain.actions import Fetch, GiveUp, Source, StoredKey, TaskResult, Wait
from reconciler.domain.backoff import delay, long_faulty, spin_of
from reconciler.domain.look import Look, look_at
from reconciler.domain.model import Ailment, Kept, Memory, Outcome, Purchase, Task, Track
from reconciler.domain.policy import Policy
from reconciler.domain.runs import Runs
from reconciler.domain.scope import in_scope, settles_at
from reconciler.domain.states import Flaw, How, Reason, State

NOBODY_KNOWS = "another row's"
"""Which song it was, made for a row before this one."""


def tasks_named(track: Track, memory: Memory, policy: Policy) -> tuple[str, ...]:
    """Ids of image tasks: in the place of the row's URL, handed over for it, noted behind its prompt."""
    text = track.image.text or ""
    bare = (text,) if urls.kind_of(text, policy) is urls.Kind.TASK_ID else ()
    return (*bare, *memory.handed, *urls.image_task_ids(track.extended_prompt))


@dataclass(frozen=True)
class Case:
    track: Track
    memory: Memory
    policy: Policy
    now: datetime
    runs: Runs = field(default_factory=Runs)

    @cached_property
    def look(self) -> Look:
        return look_at(self.track, self.memory, self.policy)

    @cached_property
    def in_scope(self) -> bool:
        return in_scope(self.track, self.memory, self.policy, self.now)

    @cached_property
    def settles_at(self) -> datetime | None:
        return settles_at(self.track, self.memory, self.policy, self.now)

    @cached_property
    def own_tasks(self) -> dict[str, str | None]:
        """Our own image tasks, newest first, with the song that each was bought for."""
        accepted = (p for p in reversed(self.memory.purchases) if p.outcome is Outcome.ACCEPTED)
        return {p.task_id: self.song_of(p) for p in accepted if p.task_id is not None}

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """Every image task that may hold a picture for this track: our own, and those named for it."""
        names = (*self.own_tasks, *tasks_named(self.track, self.memory, self.policy))
        return tuple(self.memory.task(name, self.now) for name in dict.fromkeys(names))

    @property
    def bought(self) -> tuple[Task, ...]:
        return tuple(task for task in self.tasks if task.id in self.own_tasks)

    def song_of(self, purchase: Purchase) -> str | None:
        """The song that it was bought for; None where that had no id yet and the row is still the same."""
        return purchase.song or (NOBODY_KNOWS if purchase.token in self.memory.orders_before else None)

    def for_this_song(self, song: str | None) -> bool:
        """A picture made for another song is not used; one made before the song's id was known is."""
        return song in (None, self.track.task_id, self.memory.song_id)

    def how(self, task_id: str) -> How:
        return How.GENERATED if task_id in self.own_tasks else How.ADOPTED

    def pursue(self, source: Source, *, interim: bool = False) -> Fetch | Wait | GiveUp | None:
        """Get this source's picture; None when it is known to hold none that we take, or we hold it already."""
        ailment = self.memory.ailing(source.name)
        taken = ailment.flaw is None or (interim and ailment.flaw in (Flaw.TOO_SMALL, Flaw.ASPECT))
        if ailment.dead or not taken or self.holds(source, interim=interim):
            return None
        result = isinstance(source, TaskResult) and ailment.reason in (Reason.DOWNLOAD_FAILED, Reason.STORAGE_FAILED)
        waiting = self.later(ailment, State.FETCHING if result else State.BACKING_OFF)
        return self.hopeless(ailment) or waiting or Fetch(source, interim=interim)

    @cached_property
    def kept(self) -> tuple[Kept, ...]:
        """What we keep, as far as it is kept in the way that is configured now."""
        return tuple(kept for kept in self.memory.kept if self.policy.knows(kept.key))

    def holds(self, source: Source, *, interim: bool = False) -> bool:
        """Our store has this source's picture; of a picture in the store itself: one that was fitted from it.

        A stand-in counts where one is wanted. What was fitted to a smaller target does not: the source may have more.
        """
        copies = (kept for kept in self.kept if source.name in kept.origins and self.intact(kept))
        return any((interim and kept.interim) or self.meets(kept) for kept in copies)

    def meets(self, kept: Kept) -> bool:
        """The target of today, as it is or once it is fitted, whatever it was kept as."""
        return self.policy.target.usable(kept.width, kept.height)

    def is_stand_in(self, kept: Kept) -> bool:
        return kept.interim and not self.meets(kept)

    def intact(self, kept: Kept) -> bool:
        ailment = self.memory.ailing(StoredKey(kept.key).name)
        return not ailment.dead and ailment.flaw is None

    def pause(self, tries: int, *words: object) -> timedelta:
        """After so many in vain; another for each track and for other words, so that nobody comes in a crowd."""
        return delay(tries, self.policy.retry_min, self.policy.retry_max, spin_of(self.track.id, *words, tries))

    def later(self, ailment: Ailment, state: State | None = State.BACKING_OFF) -> Wait | None:
        if ailment.retry_at is None or ailment.retry_at <= self.now:
            return None
        return Wait(ailment.retry_at, state, ailment.reason if state is not None else None)

    def hopeless(self, ailment: Ailment) -> GiveUp | None:
        return GiveUp(ailment.reason) if ailment.reason is not None and ailment.hopeless(self.now) else None

    def long_faulty(self, since: datetime | None, due: datetime | None) -> bool:
        return long_faulty(since, due, self.now)

    def failing_since(self, first: datetime | None, due: datetime | None) -> datetime:
        """Since when what failed just now has failed without a lull; it was `due`, and at `first` it began to."""
        if first is None or (due is not None and self.now - due > self.policy.lull):
            return self.now
        return first
