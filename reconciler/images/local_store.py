"""Pictures as files under a directory with a marker, so that an unmounted volume is not taken for an empty store."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import takewhile
from pathlib import Path
from secrets import randbelow, token_bytes, token_hex
from time import monotonic

from reconciler.domain.keys import is_key
from reconciler.images import marker
from reconciler.images.disk import explained, is_shut, sync, write_new
from reconciler.images.keys import folder_of, is_folder, key_of
from reconciler.images.proof import LARGE, StoreProof
from reconciler.ports import Prepared, StoreError

_LEFTOVER_AGE = timedelta(days=1)
_PART = ".part"
CLEANING_S, LOOKING_S = 30.0, 10.0


class LocalReader:
    """ports.StoreReader over a directory. `known`: see marker.expected. `marked`: False where it has no marker yet, and
    what lies there is read all the same."""

    def __init__(self, root: Path, *, known: str | None = None, marked: bool = True) -> None:
        self.root, self._known, self._marked = root, known, marked

    def check(self) -> str:
        return marker.expected(marker.read(self.root), self._known, str(self.root)) if self._marked else ""

    def get(self, key: str) -> bytes | None:
        self.check()
        if not is_key(key):
            return None
        with explained("read a picture", self.root / key):
            try:
                return (self.root / key).read_bytes()
            except FileNotFoundError:
                self.check()  # again: the volume may have gone between the two
                return None

    def keys(self, track_id: str) -> list[str]:
        self.check()
        folder = self.root / "tracks" / folder_of(track_id)
        ages: dict[str, int] = {}
        with explained("list pictures", folder), self._unless_gone():
            for path in folder.iterdir():
                key = path.relative_to(self.root).as_posix()
                if is_key(key):
                    with self._unless_gone():
                        ages[key] = path.stat().st_mtime_ns
        return sorted(ages, key=lambda key: (ages[key], key), reverse=True)

    @contextmanager
    def _unless_gone(self) -> Iterator[None]:
        """What is not there is passed over, as long as the volume is."""
        try:
            yield
        except FileNotFoundError:
            self.check()


class LocalStore(LocalReader):
    """ports.Store over a directory of any file system that renames atomically.

    A file under its final name is whole: it is written under another name, synced and renamed.
    """

    def __init__(
        self,
        root: Path,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        proof: StoreProof | None = None,
        known: str | None = None,
    ) -> None:
        super().__init__(root, known=known)
        self._now, self._proof = now, proof or StoreProof()

    def adopt(self, wanted: str | None) -> str:
        found = marker.ensure(self.root, wanted or token_hex(16))
        with explained("prepare the store", self.root):
            self._make_tracks()
        return found

    def put(self, track_id: str, picture: Prepared) -> str:
        key = key_of(track_id, picture)
        path = self.root / key
        with self._proof.needed(len(picture.data)), explained("store a picture", path):
            self.check()
            self.make_folder(path.parent)
            if not self.holds(path, picture):
                part = path.parent / f".{path.name}.{token_hex(8)}{_PART}"
                self.write(part, picture)
                self.rename(part, path)
            # Also for a file that was there: who renamed it may have died before this.
            self.settle(path.parent)
            self.compare(path, picture)
        return key

    def prove(self, track_id: str) -> None:
        self._proof.renew(self._try)
        folder = self.root / "tracks" / folder_of(track_id)
        with explained("store a picture", folder):
            if is_shut(folder):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def _try(self, _size: int) -> None:
        self.check()
        tracks = self.root / "tracks"
        with explained("write a probe", tracks):
            self._make_tracks()
        try_in(tracks)

    def _make_tracks(self) -> None:
        (self.root / "tracks").mkdir(exist_ok=True)
        sync(self.root)

    def clean(self, may_go_on: Callable[[], bool] = lambda: True) -> None:
        """Remove what dead processes left half written, as far as that may be done. Nobody writes for so long.

        It ends in time in the largest store: where it begins is left to chance, so that all is reached some day.
        """
        oldest, ends = (self._now() - _LEFTOVER_AGE).timestamp(), monotonic() + CLEANING_S
        with suppress(OSError):
            tracks = self.root / "tracks"
            folders = sorted(tracks.iterdir())
            first = randbelow(len(folders) or 1)
            order = tracks, *folders[first:], *folders[:first]
            for folder in takewhile(lambda _: may_go_on() and monotonic() < ends, order):
                _clean(folder, oldest)

    # -- the steps of `put`, in order: a crash between any two leaves no half picture under a final name ---------------

    def make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(exist_ok=True)
        except FileNotFoundError:
            self.check()  # again: a volume that has gone has no folder of all pictures either
            self._make_tracks()
            folder.mkdir(exist_ok=True)

    def holds(self, path: Path, picture: Prepared) -> bool:
        try:
            return sha256(path.read_bytes()).hexdigest() == picture.sha256
        except FileNotFoundError:
            return False

    def write(self, part: Path, picture: Prepared) -> None:
        _write(part, picture.data)

    def rename(self, part: Path, path: Path) -> None:
        part.replace(path)

    def settle(self, folder: Path) -> None:
        sync(folder)
        sync(folder.parent)

    def compare(self, path: Path, picture: Prepared) -> None:
        if not self.holds(path, picture):
            raise _not_kept("store a picture", path)


def try_in(folder: Path) -> None:
    """Raises StoreError where no file as pictures are is taken and given back, of bytes that no file system makes
    smaller."""
    part, data = folder / f".{token_hex(8)}{_PART}", token_bytes(LARGE)
    with explained("write a probe", part):
        _write(part, data)
        given_back = part.read_bytes()
        part.unlink()
    if given_back != data:
        raise _not_kept("write a probe", part)


def shut_folders(tracks: Path) -> list[Path]:
    """Of tracks, those that take no picture, as far as that can be seen in LOOKING_S."""
    ends = monotonic() + LOOKING_S
    with explained("look at the folders of tracks", tracks):
        folders = takewhile(lambda _: monotonic() < ends, tracks.iterdir())
        return [folder for folder in folders if is_folder(folder.name) and is_shut(folder)]


def _not_kept(what: str, path: Path) -> StoreError:
    return StoreError(f"{what}: {path}: what is read back is not what was written; check the disk")


def _clean(folder: Path, oldest: float) -> None:
    with suppress(OSError):
        for part in folder.glob(f".*{_PART}"):
            if part.stat().st_mtime < oldest:
                part.unlink()


def _write(part: Path, data: bytes) -> None:
    """Whole, or not there."""
    try:
        write_new(part, data)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise
