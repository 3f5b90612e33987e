"""Follows the run, and ends it when every track is where its story ends."""

from collections.abc import Callable, Iterable
from datetime import datetime

from reconciler.demo.story import Story
from reconciler.domain.states import How, Reason, State
from reconciler.engine.events import Event, Moved, Recognised, Wrote
from reconciler.ports import Clock, Commit


class Watch:
    """A listener. `how`: by which source each track was resolved; `moved_at`: when it was last told where it stands."""

    def __init__(self, stories: Iterable[Story], clock: Clock) -> None:
        self.how: dict[str, How] = {}
        self.moved_at: dict[str, datetime] = {}
        self._clock = clock
        self.stop: Callable[[], None] = lambda: None
        endings = {story.id: story.ending for story in stories if story.ending.state is not None}
        self._ends: dict[str, tuple[State | None, Reason | None]] = {
            track_id: (ending.state, ending.reason) for track_id, ending in endings.items()
        }
        self._elsewhere = set(self._ends)

    def __call__(self, event: Event) -> None:
        match event:
            case Moved(track_id=track_id, state=state, reason=reason) if track_id in self._ends:
                self._moved(track_id, (state, reason))
            case Recognised(track_id=track_id):
                self.how[track_id] = How.ALREADY_GOOD
            case Wrote(track_id=track_id, write=write, outcome=Commit.COMMITTED) if write.how is not None:
                self.how[track_id] = write.how
            case _:
                pass

    def _moved(self, track_id: str, where: tuple[State | None, Reason | None]) -> None:
        self.moved_at[track_id] = self._clock()
        if where == self._ends[track_id]:
            self._elsewhere.discard(track_id)
        else:
            self._elsewhere.add(track_id)
        if not self._elsewhere:
            self.stop()
