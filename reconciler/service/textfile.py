"""A textfile for node_exporter, who is another user: readable for all, and whole at any time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EINVAL, EISDIR
from pathlib import Path
from stat import S_ISDIR, S_ISREG


def try_textfile(path: Path) -> None:
    """Raises OSError, which names `path`, where none can be put there."""
    with _beside(path) as made:
        made.touch()


def write_textfile(path: Path, content: bytes) -> None:
    """Replaced atomically. Raises OSError, which names `path` and leaves what was there."""
    with _beside(path) as made:
        made.write_bytes(content)
        made.chmod(0o644)
        made.replace(_real(path))


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Where to make what is to be `path`. What is there in the end is removed."""
    _refuse_what_is_no_file(path)
    real = _real(path)
    made = real.with_name(f"{real.name}.{os.getpid()}")
    try:
        yield made
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            made.unlink()


def _real(path: Path) -> Path:
    """Where links lead: they stay."""
    return Path(os.path.realpath(path))


def _refuse_what_is_no_file(path: Path) -> None:
    """A device or a pipe would be gone for all who use it."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if S_ISDIR(mode):
        raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(path))
    if not S_ISREG(mode):
        raise OSError(EINVAL, "Not a regular file", str(path))
