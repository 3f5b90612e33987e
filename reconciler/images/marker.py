"""The file that tells our store from an empty mount point, another host's disk or another bucket."""

import json
from pathlib import Path
from secrets import token_hex

from reconciler.images.disk import explained, sync, write_new
from reconciler.ports import StoreError

NAME = ".reconciler-store"
GARBLED, RESTORE = 'not of the form {"id": "…"}', "put it back from a backup"


class AnotherStore(StoreError):
    """It has a marker, and not the one that is known."""


def expected(found: str, known: str | None, place: str) -> str:
    """The id found; AnotherStore where another is known."""
    if known not in (None, found):
        raise AnotherStore(
            f"{place} is another store than the database knows (marker {found}, expected {known}); name or mount the "
            "right one"
        )
    return found


def read(root: Path) -> str:
    """The store's id; StoreError where there is none."""
    path = root / NAME
    with explained("read the store's marker", path):
        data = path.read_bytes()
    found = id_in(data)
    if found is None:
        raise StoreError(f"read the store's marker: {path}: {GARBLED}; {RESTORE}")
    return found


def bytes_of(wanted: str) -> bytes:
    return json.dumps({"id": wanted}).encode()


def id_in(data: bytes) -> str | None:
    """None where it is no marker."""
    try:
        found = json.loads(data)["id"]
    except (ValueError, KeyError, TypeError):
        found = None
    return found if isinstance(found, str) and found else None


def ensure(root: Path, wanted: str) -> str:
    """The id found or, where there is no marker, made. Of two at once, one makes it and both return that."""
    path = root / NAME
    with explained("make the store's marker", path):
        root.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make(path, wanted)
    return read(root)


def _make(path: Path, wanted: str) -> None:
    part = path.with_name(f"{NAME}.{token_hex(8)}.part")
    try:
        write_new(part, bytes_of(wanted))
        _name(part, path)
        sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _name(part: Path, path: Path) -> None:
    """A link, unlike a rename, is never made over another's marker; some file systems have none."""
    try:
        path.hardlink_to(part)
    except FileExistsError:
        pass
    except OSError:
        part.replace(path)
