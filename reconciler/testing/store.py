"""A store in memory."""

from collections.abc import Callable
from hashlib import sha256
from threading import RLock

from reconciler.domain.keys import is_key
from reconciler.images.keys import folder_of, key_of
from reconciler.images.marker import expected
from reconciler.images.proof import StoreProof
from reconciler.ports import Prepared, StoreError

_PROBE = "probe"


class MemoryStore:
    """ports.Store. Set `trouble` to have every method fail with that text; set `marker` to None to lose the marker.

    `known`: see images.marker.expected.
    """

    def __init__(self, marker: str | None = "memory", *, known: str | None = None) -> None:
        self.marker, self._known = marker, known
        self.trouble: str | None = None
        self.pictures: dict[str, bytes] = {}
        """By key, oldest first. Damage and remove them at will."""
        self.writes = 0
        self.on_call: Callable[[str], None] = lambda _: None
        """Hears each method's name before it is done, of `prove` where nothing is proven; what it raises is raised."""
        self._lock, self._proof = RLock(), StoreProof()

    def check(self) -> str:
        self.on_call("check")
        return self._marker()

    def adopt(self, marker: str | None) -> str:
        self.on_call("adopt")
        with self._lock:
            self.marker = self.marker or marker or "memory"
            return self._found()

    def put(self, track_id: str, picture: Prepared) -> str:
        key = key_of(track_id, picture)
        with self._proof.needed(len(picture.data)):
            self.on_call("put")
            self._put(key, picture)
        return key

    def prove(self, track_id: str) -> None:
        self._proof.renew(self._try)

    def get(self, key: str) -> bytes | None:
        self.on_call("get")
        with self._lock:
            self._marker()
            return self.pictures.get(key) if is_key(key) else None

    def keys(self, track_id: str) -> list[str]:
        self.on_call("keys")
        prefix = f"tracks/{folder_of(track_id)}/"
        with self._lock:
            self._marker()
            return [key for key in reversed(self.pictures) if key.startswith(prefix)]

    def _put(self, key: str, picture: Prepared) -> None:
        with self._lock:
            self._marker()
            if sha256(picture.data).hexdigest() != picture.sha256:
                raise StoreError(f"store a picture: {key}: what is read back is not what was written; check the disk")
            if self.pictures.get(key) != picture.data:
                self._keep(key, picture.data)
                self.writes += 1

    def _try(self, _size: int) -> None:
        self.on_call("prove")
        with self._lock:
            self._marker()
            self._keep(_PROBE, b"probe")
            del self.pictures[_PROBE]

    def _keep(self, key: str, data: bytes) -> None:
        self.pictures.pop(key, None)
        self.pictures[key] = data
        if self.pictures.get(key) != data:
            raise StoreError(f"store a picture: {key}: what is read back is not what was written; check the disk")

    def _marker(self) -> str:
        return expected(self._found(), self._known, "memory")

    def _found(self) -> str:
        if self.trouble is not None:
            raise StoreError(self.trouble)
        if self.marker is None:
            raise StoreError("read the store's marker: memory: there is none; see whether the volume is mounted")
        return self.marker
