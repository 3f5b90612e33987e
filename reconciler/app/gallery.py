"""Thumbnails for the status page: made once, a few at a time, and kept in memory while the page shows them."""

from collections.abc import Callable, Iterable
from itertools import islice
from threading import Event

from reconciler.domain import urls
from reconciler.domain.findings import Flawed, Refused
from reconciler.domain.policy import Policy
from reconciler.images.thumbnail import Miniature, thumbnail
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
        self._miniatures: dict[str, Miniature | str] = {}
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
        self._miniatures = {key: made for key, made in self._miniatures.items() if key in wanted}
        self.trouble = None
        try:
            for key in islice((key for key in wanted if key not in self._miniatures), AT_A_TIME):
                if self._stopped.is_set():
                    break
                self._miniatures[key] = self._miniature(key)
        except StoreError as error:
            self.trouble = str(error)
            raise
        finally:
            self._swap()

    def _swap(self) -> None:
        """The files first: what is shown can be had."""
        miniatures = dict(self._miniatures)
        self._files = {each.name: each.data for each in miniatures.values() if isinstance(each, Miniature)}
        self.shown = {key: _shown(made) for key, made in miniatures.items()}

    def _miniature(self, key: str) -> Miniature | str:
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


def _shown(made: Miniature | str) -> Thumbnail | str:
    return made if isinstance(made, str) else Thumbnail(made.name, made.width, made.height)
