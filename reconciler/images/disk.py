"""Files that are there after a power cut, and errors that say what to do."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.ports import StoreError

ALLOWED = (
    "let the reconciler's user read and write there, and search the directories above; under systemd see "
    "SupplementaryGroups=, ReadWritePaths= and ProtectHome="
)
_ADVICE = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room, or raise the quota",
    errno.EACCES: ALLOWED,
    errno.EPERM: ALLOWED,
    errno.EROFS: "mount it writable",
    errno.ENOENT: "see whether the volume is mounted",
    errno.ENOTDIR: "move away the file that stands where a directory should be",
    errno.EIO: "check the disk",
    errno.ESTALE: "mount it again",
}
_AWAY = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN})


class FileMissing(StoreError):
    """There is no such file."""


class DiskAway(StoreError):
    """What the file lies on does not answer now."""


@contextmanager
def explained(what: str, where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "check storage.path and the disk")
        raise _kind(error)(f"{what}: {where}: {error.strerror or error}; {advice}") from error


def _kind(error: OSError) -> type[StoreError]:
    if isinstance(error, FileNotFoundError):
        return FileMissing
    return DiskAway if error.errno in _AWAY else StoreError


def is_shut(folder: Path) -> bool:
    """It is there, and no picture can be put into it, by what its rights say: nothing is tried."""
    return not os.access(folder, os.R_OK | os.W_OK | os.X_OK) and folder.is_dir()


def write_new(path: Path, data: bytes) -> None:
    """Readable for the web server, as far as the umask allows."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
