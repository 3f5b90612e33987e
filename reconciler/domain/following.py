"""The rungs that ask and fetch what exists already, without paying: our store, image tasks, the music task."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from reconciler.domain import purchases
from reconciler.domain.actions import Action, AskSong, AskTask, GiveUp, ListStore, Wait
from reconciler.domain.callbacks import confirmations
from reconciler.domain.case import Case
from reconciler.domain.look import Absent
from reconciler.domain.model import Song, Task, TaskState
from reconciler.domain.sources import paid_results, suno_covers, task_results
from reconciler.domain.states import Reason, State


def polls(tasks: Iterable[Task], now: datetime) -> Action | None:
    """Ask the first running task that is due, or wait for the next."""
    running = [task for task in tasks if task.state is TaskState.RUNNING]
    due = next((task for task in running if task.next_poll is None or task.next_poll <= now), None)
    if due is not None:
        return AskTask(due.id)
    later = min((task.next_poll for task in running if task.next_poll is not None), default=None)
    return Wait(later) if later is not None else None


def list_store(case: Case) -> Action | None:
    return None if case.memory.listed else _list(case)


def list_before_buying(case: Case, begun_at: datetime) -> ListStore | Wait | None:
    """The last look into the store is old, or older than this run: memory may have been restored from a backup since,
    the store was not."""
    at = case.memory.listed_at
    since = max(begun_at, case.now - case.policy.step_deadline)
    return None if at is None or at >= min(since, case.now) else _list(case)


def _list(case: Case) -> ListStore | Wait:
    return case.later(case.memory.ailing("store")) or ListStore()


def confirm_callbacks(case: Case) -> Action | None:
    return _first(confirmations(case))


def follow_tasks(case: Case) -> Action | None:
    """Fetch what is finished, ask what runs, wait for what cannot be asked yet; overdue tasks hold nobody up."""
    fetches = [case.pursue(result) for result in task_results(case)]
    return any_of([*fetches, *(_follow(case, task) for task in case.tasks)])


def late_results(case: Case) -> Action | None:
    """A paid task that runs or may be found, or a result of one that was not fetched yet: it goes into the store."""
    results = (case.pursue(result) for result in paid_results(case))
    return _first([*results, late_answers(case)])


def late_answers(case: Case) -> Action | None:
    """A paid task that runs or may be found."""
    return _first([*confirmations(case), polls(case.bought, case.now)])


def goes_on_at(case: Case) -> datetime | None:
    """When a task that still runs is asked again, or a paid result that did not arrive is fetched, whatever else the
    track waits for."""
    polled = (task.next_poll for task in case.tasks if task.state is TaskState.RUNNING)
    fetched = (case.pursue(result) for result in paid_results(case))
    times = (*polled, *(action.until for action in fetched if isinstance(action, Wait)))
    return min((at for at in times if at is not None and at > case.now), default=None)


def any_of(actions: Sequence[Action | None]) -> Action | None:
    """As long as there is hope for one of them none is given up."""
    return _first(actions) or next((a for a in actions if isinstance(a, GiveUp)), None)


def _first(actions: Iterable[Action | None]) -> Action | None:
    """The first thing to do, else the shortest wait."""
    possible = [a for a in actions if a is not None and not isinstance(a, GiveUp)]
    waits = [(a.until, a) for a in possible if isinstance(a, Wait) and a.until is not None]
    doing = next((a for a in possible if not isinstance(a, Wait)), None)
    return doing or min(waits, key=lambda wait: wait[0], default=(None, None))[1]


def _follow(case: Case, task: Task) -> Action | None:
    if task.state is not TaskState.RUNNING:
        return None
    if task.next_poll is None or task.next_poll <= case.now:
        return AskTask(task.id)
    if case.long_faulty(task.first_fault, task.next_poll):
        return GiveUp(Reason.PROVIDER_FAILED)
    if purchases.overdue(task, case.policy, case.now):
        return None
    return Wait(task.next_poll, State.AWAITING, Reason.IN_FLIGHT)


def follow_music(case: Case) -> Action | None:
    """Ask for the pictures that came with the music, once it is final, while the row has none."""
    if not isinstance(case.look, Absent) or not case.track.task_id:
        return None
    song = case.memory.song
    if song is None or song.id != case.track.task_id:
        return AskSong(case.track.task_id)
    if not song.final:
        return _ask_again(case, song)
    return any_of([case.pursue(cover, interim=case.policy.interim_thumbnail) for cover in suno_covers(song)])


def _ask_again(case: Case, song: Song) -> Action:
    if song.next_ask is None or song.next_ask <= case.now:
        return AskSong(song.id)
    if case.long_faulty(song.first_fault, song.next_ask):
        return GiveUp(Reason.PROVIDER_FAILED, recheck=song.next_ask)
    if song.faults:
        return Wait(song.next_ask, State.BACKING_OFF, Reason.PROVIDER_FAILED)
    return Wait(song.next_ask)
