"""`check` of the store: it is ours, it takes and gives a file, and `public_url` serves it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from reconciler.app.errors import StoreUnfit
from reconciler.app.keeping import bucket_probe
from reconciler.app.outside import Served, served
from reconciler.commands.checking.lines import Line, ok, unfit, warning
from reconciler.config import Settings
from reconciler.domain.urls import host_of, is_loopback
from reconciler.images import marker
from reconciler.images.disk import ALLOWED, explained, write_new
from reconciler.images.local_store import shut_folders, try_in
from reconciler.ports import StoreError

if TYPE_CHECKING:
    from reconciler.images.s3_store import S3Probe


def check_storage(settings: Settings, known: str | None) -> Iterator[Line]:
    """`known`: the marker's id in the database."""
    if settings.storage.warning is not None:
        yield warning("storage", settings.storage.warning)
        return
    try:
        yield from _bucket(settings, known) if settings.storage.kind == "s3" else _directory(settings, known)
    except (StoreError, StoreUnfit) as error:
        yield unfit("storage", str(error))


def _marked(place: str, found: str | None, known: str | None) -> Line:
    if known is None:
        return ok("storage", f"{place} is {'a store' if found else 'no store yet: the first `run` makes it one'}")
    if found == known:
        return ok("storage", f"{place} is the store that the database knows")
    said = f"{place} is {'another store than' if found else 'no store, and not the one that'} the database knows"
    return unfit("storage", f"{said}: name or mount the right one")


def _given_back(settings: Settings, data: bytes, back: bytes | None, through: Served) -> Iterator[Line]:
    place = settings.storage.place
    if back == data:
        yield ok("storage", f"{place} takes a file and gives it back")
    else:
        yield unfit("storage", f"{place}: what is read back is not what was written; check the disk")
    yield _public(settings, through, data)


def _public(settings: Settings, through: Served, data: bytes) -> Line:
    url = settings.storage.public_url
    if through.status == 200 and through.data == data:
        return ok("public_url", f"{url} serves what is stored")
    if through.status is None and through.asked and is_loopback(host_of(url)):
        return warning("public_url", f"{url}: nothing listens there now ({through.detail}); {_so_far(settings)}")
    said = f"{through.detail} with something else" if through.status == 200 else through.detail
    return unfit("public_url", f"{url} does not serve {settings.storage.place}: {said}")


def _so_far(settings: Settings) -> str:
    port = settings.http.port
    if settings.storage.kind != "local" or urlsplit(settings.storage.public_url).port in (port, None):
        return "pictures are not seen yet"
    return f"the daemon will listen on port {port} (http.port), so see that storage.public_url leads there"


def _trial() -> tuple[str, bytes]:
    """A key and bytes that nobody has."""
    return f"tracks/reconciler-check/{token_hex(8)}.png", f"reconciler check {token_hex(16)}".encode()


# -- a directory ---------------------------------------------------------------------------------------------------


def _directory(settings: Settings, known: str | None) -> Iterator[Line]:
    root = Path(settings.storage.path)
    if known is None and not _is_there(root):
        yield _can_be_made(root)
        return
    yield _marked(str(root), marker.read(root) if known or _is_there(root / marker.NAME) else None, known)
    key, data = _trial()
    with _file(root / key, data):
        try_in((root / key).parent)
        back, through = (root / key).read_bytes(), served(settings, key)
        shut = shut_folders(root / "tracks")
    yield from _given_back(settings, data, back, through)
    yield from _shut(shut)


def _shut(folders: Sequence[Path]) -> Iterator[Line]:
    """As one that was made while the reconciler was run by another user."""
    if folders:
        more = f" and {len(folders) - 1} more" if len(folders) > 1 else ""
        yield unfit("storage", f"{min(folders)}{more} cannot be written: {ALLOWED}")


def _is_there(path: Path) -> bool:
    with explained("look for the store", path):
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


def _can_be_made(root: Path) -> Line:
    parent = next(folder for folder in root.absolute().parents if _is_there(folder))
    if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
        return ok("storage", f"{root} is not there yet: the first `run` creates it")
    return unfit("storage", f"{root} cannot be made in {parent}: let the reconciler's user write there")


@contextmanager
def _file(path: Path, data: bytes) -> Iterator[None]:
    """There as pictures will be, and gone again with the folders that were made for it."""
    with explained("write a probe", path):
        made = [folder for folder in (path.parent, path.parent.parent) if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_new(path, data)
            yield
        finally:
            path.unlink(missing_ok=True)
            for folder in made:
                with suppress(OSError):  # somebody stores a picture there meanwhile
                    folder.rmdir()


# -- a bucket ------------------------------------------------------------------------------------------------------


def _bucket(settings: Settings, known: str | None) -> Iterator[Line]:
    bucket = bucket_probe(settings)
    yield _marked(settings.storage.place, bucket.marker(), known)
    key, data = _trial()
    try:
        bucket.write(key, data)
        back, through = bucket.read(key), served(settings, key)
    finally:
        yield from _left(bucket, key)
    yield from _given_back(settings, data, back, through)


def _left(bucket: "S3Probe", key: str) -> Iterator[Line]:
    try:
        bucket.remove(key)
    except StoreError as error:
        yield warning("storage", f"{error}. Nothing else needs that right: if the file is there, remove it yourself")
