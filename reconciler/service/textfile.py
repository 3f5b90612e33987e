"""A textfile for node_exporter, who is another user: readable for all, and whole at any time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EISDIR
from pathlib import Path


def try_textfile(path: Path) -> None:
    """Raises OSError, which names `path`, where none can be put there."""
    with _beside(path) as made:
        made.touch()


def write_textfile(path: Path, content: bytes) -> None:
    """Replaced atomically. Raises OSError, which names `path` and leaves what was there."""
    with _beside(path) as made:
        made.write_bytes(content)
        made.chmod(0o644)
        made.replace(path)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Where to make what is to be `path`. What is there in the end is removed."""
    if path.is_dir():
        raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(path))
    made = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        yield made
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            made.unlink()
