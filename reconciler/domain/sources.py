"""Where a better picture for a track could come from without paying, cheapest first."""

from collections.abc import Sequence

from reconciler.domain.actions import StoredKey, SunoCover, TaskResult
from reconciler.domain.case import Case
from reconciler.domain.model import Kept, Outcome, Song, TaskState, Verdict
from reconciler.domain.purchases import results_of
from reconciler.domain.states import How
from reconciler.domain.urls import Kind, kind_of


def copies(case: Case) -> Sequence[Kept]:
    """What our store holds for this song and the row does not show; not what is lost or was fitted anew."""
    mine = [k for k in case.kept if case.for_this_song(k.song) and case.intact(k)]
    shown = case.track.image.text
    ours = case.policy.key_of(shown or "") if kind_of(shown, case.policy) is Kind.OURS else None
    elsewhere = [k for k in mine if k.key != ours and case.policy.url_of(k.key) != shown]
    return [k for k in elsewhere if not case.holds(StoredKey(k.key))] if case.policy.keeps else elsewhere


def task_results(case: Case) -> Sequence[TaskResult]:
    found = []
    for task in case.tasks:
        song = case.own_tasks.get(task.id)
        if task.state is TaskState.SUCCEEDED and case.for_this_song(song):
            found += [TaskResult(url, task.id, case.how(task.id), song) for url in task.urls]
    return found + immediate_results(case)


def immediate_results(case: Case) -> list[TaskResult]:
    """Results that came in the creation's own answer."""
    made = [(p, case.song_of(p)) for p in reversed(case.memory.purchases) if p.urls]
    mine = [(p, song) for p, song in made if case.for_this_song(song)]
    return [TaskResult(url, p.task_id or p.token, How.GENERATED, song) for p, song in mine for url in p.urls]


def paid_results(case: Case) -> Sequence[TaskResult]:
    """Results of our purchases, whichever song they were for, of which none was judged yet."""
    accepted = (p for p in reversed(case.memory.purchases) if p.outcome is Outcome.ACCEPTED)
    pending = (p for p in accepted if p.verdict is Verdict.PENDING)
    return [
        TaskResult(url, p.task_id or p.token, How.GENERATED, case.song_of(p))
        for p in pending
        for url in results_of(p, case.memory)
    ]


def suno_covers(song: Song) -> Sequence[SunoCover]:
    """The pictures that came with a song whose record is final."""
    return [SunoCover(url, song.id) for url in song.urls]
