"""The status page: jobs bring what it shows, and a request finds it made already, or makes it of what is there."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache, partial
from threading import Lock

from reconciler import __version__
from reconciler.app.clock import utc_now
from reconciler.app.gallery import Gallery
from reconciler.app.keeping import reader_of
from reconciler.app.looking import look, wanted
from reconciler.app.outside import Provider
from reconciler.database import Reader
from reconciler.page.values import Health, Seen, Shown, Told
from reconciler.ports import Overview, StoreReader

FRESH_FOR = timedelta(seconds=5)
"""A page is sent again for so long, unless something changed: ages in it are no older."""

Lines = Sequence[str]
_Known = tuple[Seen | None, Shown, Health]


class Status:
    """`swept_at`: when the last sweep that went well ended. `called_at`: when the last callback was taken."""

    def __init__(self, outside: Provider) -> None:
        self._settings, self._policy = outside.settings, outside.policy
        self._reader = lru_cache(1)(partial(reader_of, outside.settings))
        self._marker: str | None = None
        self.gallery = Gallery(self._store, outside.pictures, outside.policy)
        self._seen: Seen | None = None
        self._made: tuple[_Known, datetime, bytes] | None = None
        self._making = Lock()
        self.swept_at: datetime | None = None
        self.called_at: datetime | None = None

    def look(self, reader: Reader, overview: Overview, at: datetime) -> None:
        """For the snapshot's thread. Raises DatabaseError; what was seen before stays."""
        self._marker = reader.known_store()
        self._seen = look(reader, overview, self._policy, at)

    def illustrate(self) -> None:
        """For a thread of its own. Raises StoreError."""
        seen = self._seen
        self.gallery.make(wanted(seen.recoveries) if seen is not None else ())

    def picture(self, key: str) -> bytes | None:
        """As the store holds it. Raises StoreError."""
        return self._store().get(key)

    def page(self, hangs: Lines, fails: Lines) -> tuple[bytes, str]:
        """HTML, and the policy that goes with it. Asks neither the database nor the network."""
        from reconciler.page.rendering import content_policy  # noqa: PLC0415 - takes a while, and few ask for it

        known, now = (self._seen, self.gallery.shown, self._health(hangs, fails)), utc_now()
        with self._making:
            if self._made is None or not self._is_fresh(known, now):
                self._made = known, now, self._rendered(known, now)
            return self._made[2], content_policy()

    def _store(self) -> StoreReader:
        return self._reader(self._marker)

    def _is_fresh(self, known: _Known, now: datetime) -> bool:
        (seen, shown, health), at, _ = self._made or (known, now, b"")
        same = seen is known[0] and shown is known[1] and health == known[2]
        return same and timedelta(0) <= now - at < FRESH_FOR

    def _rendered(self, known: _Known, now: datetime) -> bytes:
        from reconciler.page.rendering import render  # noqa: PLC0415 - see above

        seen, shown, health = known
        return render(Told(seen, health, shown), self._policy, now)

    def _health(self, hangs: Lines, fails: Lines) -> Health:
        schedule = self._settings.schedule
        return Health(
            __version__,
            tuple(hangs),
            tuple(fails),
            self.swept_at,
            schedule.sweep_interval,
            schedule.snapshot_interval,
            self._settings.database.place,
            self._settings.storage.place,
            self.gallery.trouble,
            bool(self._policy.callback_url),
            self.called_at,
        )
