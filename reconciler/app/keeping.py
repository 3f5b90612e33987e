"""The store that the settings name, and whether it is the one that the database knows."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from reconciler.app.clock import utc_now
from reconciler.app.errors import StoreAway, StoreUnfit
from reconciler.config import Settings
from reconciler.database import MARKER, Database
from reconciler.images.disk import DiskAway, FileMissing
from reconciler.images.local_store import LocalReader, LocalStore
from reconciler.images.marker import AnotherStore
from reconciler.images.proof import StoreProof
from reconciler.images.s3_asking import Access, S3Error, StoreAsked, unheard
from reconciler.images.s3_errors import Outcome
from reconciler.ports import Prepared, Store, StoreError, StoreReader

if TYPE_CHECKING:
    from reconciler.images.s3_store import S3Probe

_LOST = (
    ". The database knows a store with pictures, and this is not it: mount that one. Daemons on several hosts need a "
    'directory that all of them mount, or storage.kind = "s3"'
)


class EmptyReader:
    """A store that holds nothing, and is never away."""

    def check(self) -> str:
        return ""

    def get(self, key: str) -> bytes | None:  # noqa: ARG002
        return None

    def keys(self, track_id: str) -> Sequence[str]:  # noqa: ARG002
        return ()


class NoStore(EmptyReader):
    """For storage.kind = none. Nobody asks it to store, since the policy then keeps nothing."""

    def adopt(self, marker: str | None) -> str:  # noqa: ARG002
        return ""

    def put(self, track_id: str, picture: Prepared) -> str:  # noqa: ARG002
        raise StoreError('store a picture: storage.kind = "none" stores nothing; set it to "local" or "s3"')

    def prove(self, track_id: str) -> None:
        """Nothing is to be stored."""


def store_of(settings: Settings, heard: StoreAsked, proof: StoreProof | None, known: str | None) -> Store:
    """`known`: the marker that the database knows; where another is found, all that is asked fails.

    Raises StoreUnfit where the program lacks what it takes.
    """
    match settings.storage.kind:
        case "s3":
            store: Store = _s3().S3Store(access_of(settings), heard, proof=proof, known=known)
            return store
        case "local":
            return LocalStore(Path(settings.storage.path), now=utc_now, proof=proof, known=known)
        case "none":
            return NoStore()


def reader_of(settings: Settings, known: str | None, *, marked: bool = True) -> StoreReader:
    """The same, unable to write. `marked`: see LocalReader."""
    match settings.storage.kind:
        case "s3":
            reader: StoreReader = _s3().S3Reader(access_of(settings), known=known, marked=marked)
            return reader
        case "local":
            return LocalReader(Path(settings.storage.path), known=known, marked=marked)
        case "none":
            return EmptyReader()


def found_by(settings: Settings, known: str | None) -> StoreReader:
    """What a run would find. Where neither the database nor the place knows a store, it would make the place one, with
    all that lies there."""
    reader = reader_of(settings, known)
    try:
        if known is None:
            reader.check()
    except FileMissing:
        return reader_of(settings, None, marked=False)
    except StoreError:
        pass  # each track that asks it is told
    return reader


def bucket_probe(settings: Settings) -> "S3Probe":
    probe: S3Probe = _s3().S3Probe(access_of(settings))
    return probe


def open_store(
    settings: Settings, database: Database, heard: StoreAsked = unheard, proof: StoreProof | None = None
) -> Store:
    """The store that the database knows by its marker; one that neither knows is adopted.

    Raises StoreUnfit, or StoreAway where the same may do better a little later.
    """
    if settings.storage.kind == "none":
        return NoStore()  # the marker that the database knows is that of a store which may be wanted again
    notes = database.notes
    known = notes.get(MARKER)
    try:
        if known is None:
            found = store_of(settings, heard, proof, None).adopt(None)
            known = notes.get(MARKER)  # another host may have begun a store of its own just now
            if known is None:
                notes.put(MARKER, known := found)
        store = store_of(settings, heard, proof, known)
        store.check()
    except StoreError as error:
        if _may_end(error, was_well=known is not None):
            raise StoreAway(f"{_key(settings)}: {error}") from error
        lost = known is not None and _is_another(error)
        raise StoreUnfit(f"{_key(settings)}: {error}{_LOST if lost else ''}") from error
    return store


def _may_end(error: StoreError, *, was_well: bool) -> bool:
    if isinstance(error, S3Error):
        return error.failure.may_end(was_well=was_well)
    return isinstance(error, DiskAway)


def _is_another(error: StoreError) -> bool:
    """What is there is no store, or not the one that is known."""
    if isinstance(error, S3Error):
        return error.failure.outcome is Outcome.NOT_FOUND
    return isinstance(error, FileMissing | AnotherStore)


def tidy(settings: Settings, may_go_on: Callable[[], bool]) -> None:
    """It reads many directories: now and then, and while nobody waits."""
    if settings.storage.kind == "local":
        LocalStore(Path(settings.storage.path), now=utc_now).clean(may_go_on)


def access_of(settings: Settings) -> Access:
    storage = settings.storage
    return Access(
        storage.place,
        storage.endpoint,
        storage.bucket,
        storage.access_key.get_secret_value(),
        storage.secret_key.get_secret_value(),
        settings.kie.request_timeout,
        storage.region,
    )


def _key(settings: Settings) -> str:
    return "storage.bucket" if settings.storage.kind == "s3" else "storage.path"


def _s3() -> ModuleType:
    try:
        from reconciler.images import s3_store  # noqa: PLC0415 - what it rests on is an extra
    except ImportError as error:
        raise StoreUnfit(
            'storage.kind: s3 needs obstore, which is not installed; pip install "reconciler[s3]"'
        ) from error
    return s3_store
