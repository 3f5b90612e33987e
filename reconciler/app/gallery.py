"""Thumbnails for the status page: made once, a few at a time, and kept in memory while the page shows them."""

from collections.abc import Callable, Iterable
from itertools import islice
from threading import Event

from reconciler.domain import urls
from reconciler.domain.findings import Flawed, Refused
from reconciler.domain.policy import Policy
from reconciler.images.thumbnail import Small, thumbnail
from reconciler.page.values import Shown, Thumbnail
from reconciler.ports import Pictures, StoreError, StoreReader

AT_A_TIME = 8
"""Made in one run of the job."""

_ASKED = frozenset({urls.Kind.KIE_FILE, urls.Kind.SUNO_COVER, urls.Kind.PUBLIC})


class Gallery:
    """Made by one thread, read by others: what they read is swapped whole.

    `trouble`: of the store, when it was last asked; None: none.
    """

    def __init__(self, store: Callable[[], StoreReader], pictures: Callable[[], Pictures], policy: Policy) -> None:
        self._store, self._pictures, self._policy = store, pictures, policy
        self._smalls: dict[str, Small | str] = {}
        self._files: dict[str, bytes] = {}
        self._stopped = Event()
        self.shown: Shown = {}
        self.trouble: str | None = None

    def stop(self) -> None:
        """Safe in a signal handler."""
        self._stopped.set()

    def file(self, name: str) -> bytes | None:
        return self._files.get(name)

    def make(self, wanted: Iterable[str]) -> None:
        """Those that are new; what is not wanted any more is forgotten. Raises StoreError."""
        wanted = tuple(dict.fromkeys(wanted))
        self._smalls = {key: small for key, small in self._smalls.items() if key in wanted}
        self.trouble = None
        try:
            for key in islice((key for key in wanted if key not in self._smalls), AT_A_TIME):
                if self._stopped.is_set():
                    break
                self._smalls[key] = self._small(key)
        except StoreError as error:
            self.trouble = str(error)
            raise
        finally:
            self._swap()

    def _swap(self) -> None:
        """The files first: what is shown can be had."""
        smalls = dict(self._smalls)
        self._files = {small.name: small.data for small in smalls.values() if isinstance(small, Small)}
        self.shown = {key: _shown(small) for key, small in smalls.items()}

    def _small(self, key: str) -> Small | str:
        """A thumbnail, or why there is none."""
        data = self._fetched(key) if "://" in key else self._store().get(key)
        if data is None:
            return "gone from the store"
        made = thumbnail(data) if isinstance(data, bytes) else data
        return "not shown: " + made.flaw.replace("_", " ") if isinstance(made, Flawed) else made

    def _fetched(self, url: str) -> bytes | Flawed | str | None:
        """Over the web, once: where it cannot be had now, words have to do."""
        kind = urls.kind_of(url, self._policy)
        ours = self._policy.key_of(url) if kind is urls.Kind.OURS else None
        if ours is not None and self._policy.keeps:
            return self._store().get(ours)
        if kind not in _ASKED:
            return "a link that is not asked"
        got = self._pictures().fetch(url, bound=False)
        if isinstance(got, bytes | Flawed):
            return got
        return "gone" if isinstance(got, Refused) else "it could not be had"


def _shown(small: Small | str) -> Thumbnail | str:
    return small if isinstance(small, str) else Thumbnail(small.name, small.width, small.height)
