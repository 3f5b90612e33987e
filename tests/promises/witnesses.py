"""Those who look on: the app's rows and Kie's book are compared with what was promised, whatever happened between."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any

from PIL import Image

from reconciler.kie.simulated.book import Creation
from reconciler.testing.store import MemoryStore
from reconciler.testing.world import World

Row = dict[str, Any]
Size = tuple[int, int]
OURS = {"image_url", "resolution", "updated_at"}


class RowWitness:
    """Promises 2 and 3: the program writes nothing but pictures that are there, and none that is worse."""

    def __init__(self, world: World, store: MemoryStore) -> None:
        self._world, self._store = world, store
        self.sizes: dict[str, Size] = {}
        """Of pictures at others' URLs, as long as they live."""
        self._seen = self._rows()

    @contextmanager
    def others_write(self) -> Iterator[None]:
        """What was written until now is the program's, and what is written within is not."""
        self.look()
        yield
        self._seen = self._rows()

    def look(self) -> None:
        rows = self._rows()
        assert rows.keys() == self._seen.keys()
        for key, row in rows.items():
            self._compare(self._seen[key], row)
        self._seen = rows

    def _rows(self) -> dict[int, Row]:
        return {row["rowid"]: row for row in self._world.sql("SELECT rowid, * FROM tracks")}

    def _compare(self, before: Row, after: Row) -> None:
        changed = {name for name, value in after.items() if value != before[name]}
        if self._world.policy.restore_archived and (before["status"], after["status"]) == ("archived", "completed"):
            changed.discard("status")
        assert changed <= OURS, (before, after)
        if "image_url" in changed:
            self._judge_picture(before, after)
        elif "resolution" in changed:
            assert after["resolution"] == _spelled(self._size(after["image_url"])), after

    def _judge_picture(self, before: Row, after: Row) -> None:
        size, policy = self._size(after["image_url"]), self._world.policy
        assert size is not None, ("it is not in our store", after)
        if size == (policy.target.width, policy.target.height):
            assert after["resolution"] == _spelled(size), after
        else:
            old = self._size(before["image_url"])
            assert policy.interim_thumbnail, (before, after)
            assert old is None or old[0] < size[0], (before, after)
            assert after["resolution"] == before["resolution"], "a stand-in does not pass for more"

    def _size(self, url: str | None) -> Size | None:
        key = self._world.policy.key_of(url or "")
        if key is None:
            return self.sizes.get(url or "")
        if key not in self._store.pictures:
            return None
        with Image.open(BytesIO(self._store.pictures[key])) as picture:
            picture.load()
            return picture.size


def _spelled(size: Size | None) -> str | None:
    return size and "{}x{}".format(*size)


@dataclass(frozen=True)
class Intent:
    prompt: str
    track_id: str
    repeat_of: str | None
    task_id: str | None


class MoneyWitness:
    """Promises 1 and 5, by Kie's book: one order for each intent at most, one live task for each track, the limits.

    A clock that is set forward hides from the program how little time went by: what was bought before is not counted
    then. Nor is it where an operator had a track tried again.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._intents: dict[str, Intent] = {}
        self._judged = 0
        self._since = world.clock.true()
        self._retried: dict[str, datetime] = {}

    def clock_was_set_forward(self) -> None:
        self.look()
        self._since = self._world.clock.true()

    def retried(self, track_id: str) -> None:
        self.look()
        self._retried[track_id] = self._world.clock.true()

    def look(self) -> None:
        """The policy has been the same since the last look."""
        self._read_intents()
        book = self._world.kie.book
        fresh = book.creations[self._judged :]
        if fresh:
            ordered = Counter(creation.prompt for creation in book.creations)
            intended = Counter(intent.prompt for intent in self._intents.values())
            assert ordered <= intended, "an order without an intent of its own"
        for creation in fresh:
            self._judge(creation)
        self._judged = len(book.creations)
        assert not book.errors

    def _read_intents(self) -> None:
        for row in self._world.sql("SELECT token, prompt, track_id, repeat_of, task_id FROM reconciler_purchase"):
            token = row.pop("token")
            self._intents[token] = Intent(**row)
        repeats = Counter(intent.repeat_of for intent in self._intents.values() if intent.repeat_of)
        assert all(times == 1 for times in repeats.values()), "an attempt was repeated twice"

    def _judge(self, creation: Creation) -> None:
        policy, at = self._world.policy, creation.arrived_at
        earlier = [
            c for c in self._world.kie.book.creations if self._since <= c.arrived_at and c.number < creation.number
        ]
        in_window = sum(at - c.arrived_at < policy.purchase_window for c in earlier)
        assert in_window < policy.purchase_limit, "the window"
        if creation.task_id is None:
            return
        bought = [c for c in earlier if c.task_id is not None]
        for length, limit in ((timedelta(hours=1), policy.per_hour), (timedelta(days=1), policy.per_day)):
            assert sum(at - c.arrived_at < length for c in bought) < limit, ("a budget", length, limit)
        self._judge_track(creation, bought)

    def _judge_track(self, creation: Creation, bought: list[Creation]) -> None:
        track_id = self._owner(creation)
        since = self._retried.get(track_id or "", self._since)
        for other in bought if track_id is not None else []:
            if self._owner(other) == track_id and other.arrived_at > since:
                assert self._may_follow(other, creation), (track_id, other, creation)

    def _owner(self, creation: Creation) -> str | None:
        """Whose it is, as far as it can be told: the softest words are the same for all."""
        of_task = {i.track_id for i in self._intents.values() if i.task_id == creation.task_id}
        tracks = of_task or {i.track_id for i in self._intents.values() if i.prompt == creation.prompt}
        return next(iter(tracks)) if len(tracks) == 1 else None

    def _may_follow(self, other: Creation, creation: Creation) -> bool:
        """It had ended, was overdue, or was held as lost for its time and is repeated now."""
        policy, age = self._world.policy, creation.arrived_at - other.arrived_at
        assert other.task_id is not None
        ended = self._world.kie.ends_at(other.task_id)
        if (ended is not None and ended <= creation.arrived_at) or age >= policy.task_timeout:
            return True
        repeats = any(i.prompt == creation.prompt and i.repeat_of for i in self._intents.values())
        return repeats and age >= policy.hold_unknown


def most(times: Sequence[datetime], length: timedelta) -> int:
    """The most within any half-open span of this length, by brute force."""
    return max((sum(start <= time < start + length for time in times) for start in times), default=0)
