"""Pictures in a bucket of any server that speaks S3, with a marker as a directory has.

The only module that imports obstore, which is an extra: imported only where a bucket is wanted.
"""

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import TYPE_CHECKING

import certifi
import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import S3Store as Client

from reconciler.domain.keys import is_key, is_of
from reconciler.images import marker
from reconciler.images.disk import FileMissing
from reconciler.images.download import MAX_BYTES
from reconciler.images.keys import folder_of, key_of
from reconciler.images.proof import LARGE, StoreProof
from reconciler.images.s3_asking import Access, Asking, S3Error, StoreAsked, unheard
from reconciler.images.s3_errors import Failure, Operation, Outcome
from reconciler.ports import Prepared, StoreError
from reconciler.transport import USER_AGENT

if TYPE_CHECKING:
    from obstore.store import S3Credential

CACHING = "public, max-age=31536000, immutable"
"""The bytes under a key never change."""
PROBE = "tracks/.reconciler-probe"
"""Written over and over, since not every key may delete."""
_PROBE_CACHING = "no-store"
"""What lies between would give back an older one."""
_SMALL = 16
"""Bytes of a probe: as few as nobody has by chance."""
_NO_MARKER = Failure(Outcome.MALFORMED, marker.GARBLED, marker.RESTORE)
DEFAULT_REGION = "us-east-1"
"""What servers without regions expect in a signature."""
_OVERHEARD = re.compile(r"AWS_.*|(https?|all)_proxy", re.IGNORECASE)
"""Variables that obstore goes by on its own, and nothing else of the program."""


class S3Reader:
    """ports.StoreReader over a bucket. `known`: see marker.expected. `marked`: as of a directory."""

    def __init__(
        self,
        access: Access,
        heard: StoreAsked = unheard,
        *,
        sleep: Callable[[float], None] = time.sleep,
        known: str | None = None,
        marked: bool = True,
    ) -> None:
        self._access, self._heard, self._sleep, self._known, self._marked = access, heard, sleep, known, marked
        self._client = _client(access)

    def check(self) -> str:
        return self._check(self._asking())

    def marker(self) -> str | None:
        """The marker's id; None when there is surely none."""
        return self._marker(self._asking())

    def get(self, key: str) -> bytes | None:
        call = self._asking()
        data = self._read(call, "read a picture", key) if is_key(key) else None
        if data is None or not is_of(key, data):
            self._check(call)  # else it is the store that is absent, or something else answers in its place
        return data

    def keys(self, track_id: str) -> list[str]:
        call = self._asking()
        self._check(call)
        folder = f"tracks/{folder_of(track_id)}"
        found = call.ask(Operation.LIST, "list pictures", folder, lambda: obstore.list(self._client, folder).collect())
        ages = {each["path"]: each["last_modified"] for each in found if is_key(each["path"])}
        return sorted(ages, key=lambda key: (ages[key], key), reverse=True)

    def _asking(self, calls: int = 1) -> Asking:
        return Asking(self._access, self._heard, self._sleep, calls)

    def _check(self, call: Asking) -> str:
        return marker.expected(self._found(call), self._known, self._access.place) if self._marked else ""

    def _found(self, call: Asking) -> str:
        found = self._marker(call)
        if found is None:
            todo = "set storage.bucket to the bucket with the pictures, or put the marker back"
            raise FileMissing(f"read the store's marker: {self._access.place}, {marker.NAME}: there is none; {todo}")
        return found

    def _marker(self, call: Asking) -> str | None:
        what = "read the store's marker"
        data = self._read(call, what, marker.NAME)
        found = marker.id_in(data) if data is not None else None
        if data is not None and found is None:
            raise S3Error(what, f"{self._access.place}, {marker.NAME}", _NO_MARKER)
        return found

    def _read(self, call: Asking, what: str, path: str) -> bytes | None:
        """None only where the server says that it has the bucket and no such file."""
        try:
            return call.ask(Operation.GET, what, path, lambda: self._whole(path))
        except S3Error as error:
            if error.failure.code == "NoSuchKey":
                return None
            raise

    def _whole(self, path: str) -> bytes:
        """No more than a picture of ours may have, which is enough to see that it is none."""
        data = bytearray()
        for chunk in obstore.get(self._client, path):
            data += chunk
            if len(data) > MAX_BYTES:
                break
        return bytes(data)


class S3Store(S3Reader):
    """ports.Store over a bucket. A file under a key is whole, since the server names it only when it has all of it."""

    def __init__(
        self,
        access: Access,
        heard: StoreAsked = unheard,
        *,
        sleep: Callable[[float], None] = time.sleep,
        proof: StoreProof | None = None,
        known: str | None = None,
    ) -> None:
        super().__init__(access, heard, sleep=sleep, known=known)
        self._proof = proof or StoreProof()

    def adopt(self, wanted: str | None) -> str:
        call = self._asking(2)
        found = self._marker(call)
        if found is not None:
            return found
        self._make_marker(call, marker.bytes_of(wanted or token_hex(16)))
        return self._found(call)  # of two at once, both return what is there in the end

    def put(self, track_id: str, picture: Prepared) -> str:
        key = key_of(track_id, picture)
        with self._proof.needed(len(picture.data)):
            self._put(self._asking(2), key, picture)
        return key

    def prove(self, track_id: str) -> None:  # noqa: ARG002 - a bucket has no folders
        self._proof.renew(self._try)

    def _try(self, size: int) -> None:
        """A small file, but once a picture was refused one as large: a bucket may be full, or take no large ones."""
        call, data = self._asking(2), token_bytes(max(min(size, LARGE), _SMALL))
        self._check(call)
        # Twice: in between another process may write its own.
        if not any(self._gives_back(call, data) for _ in range(2)):
            raise self._not_kept("write a probe", PROBE)

    def _gives_back(self, call: Asking, data: bytes) -> bool:
        self._write(call, "write a probe", PROBE, data, "image/png", _PROBE_CACHING)
        return self._read(call, "read the probe", PROBE) == data

    def _put(self, call: Asking, key: str, picture: Prepared) -> None:
        self._check(call)
        if not self._holds(call, key, picture):
            self._write(call, "store a picture", key, picture.data, picture.content_type)
            if not self._holds(call, key, picture):
                raise self._not_kept("store a picture", key)

    def _not_kept(self, what: str, path: str) -> StoreError:
        where = f"{self._access.place}, {path}"
        return StoreError(f"{what}: {where}: what is read back is not what was written; see its server")

    def _holds(self, call: Asking, key: str, picture: Prepared) -> bool:
        data = self._read(call, "store a picture", key)
        return data is not None and sha256(data).hexdigest() == picture.sha256

    def _write(
        self, call: Asking, what: str, path: str, data: bytes, content_type: str, caching: str = CACHING
    ) -> None:
        attributes = {"Content-Type": content_type, "Cache-Control": caching}
        call.ask(
            Operation.PUT,
            what,
            path,
            lambda: obstore.put(self._client, path, data, attributes=attributes, use_multipart=False),
        )

    def _make_marker(self, call: Asking, data: bytes) -> None:
        what = "make the store's marker"
        try:
            call.ask(Operation.PUT, what, marker.NAME, lambda: self._create(marker.NAME, data))
        except S3Error as error:
            if error.failure.code != "NotImplemented":
                raise
            self._write(call, what, marker.NAME, data, "application/json")

    def _create(self, path: str, data: bytes) -> None:
        """Never over another's, where the server knows conditions."""
        attributes = {"Content-Type": "application/json"}
        with suppress(AlreadyExistsError):
            obstore.put(self._client, path, data, attributes=attributes, mode="create")


class S3Probe(S3Store):
    """What `check` tries a bucket with: the only one that removes."""

    def write(self, key: str, data: bytes) -> None:
        """A file as pictures will be."""
        self._write(self._asking(), "write a probe", key, data, "image/png")

    def read(self, key: str) -> bytes | None:
        return self._read(self._asking(), "read the probe", key)

    def remove(self, key: str) -> None:
        self._asking().ask(Operation.PUT, "remove the probe", key, lambda: obstore.delete(self._client, key))


@cache
def authorities() -> bytes:
    """Those that the rest of the program trusts. Where a machine has none of its own, obstore would not even begin."""
    return Path(certifi.where()).read_bytes()


def _forget_environment() -> None:
    """For good: to put a variable back is not safe while other threads look for theirs."""
    for name in filter(_OVERHEARD.fullmatch, tuple(os.environ)):
        os.environ.pop(name, None)


def _client(access: Access) -> Client:
    _forget_environment()
    keys: S3Credential = {
        "access_key_id": access.access_key,
        "secret_access_key": access.secret_key,
        "token": None,
        "expires_at": None,
    }
    return Client(
        access.bucket,
        endpoint=access.endpoint,
        region=access.region or DEFAULT_REGION,
        credential_provider=lambda: keys,
        virtual_hosted_style_request=False,
        conditional_put="etag",
        disable_bulk_delete=True,
        client_options={
            "allow_http": access.endpoint.startswith("http:"),
            "timeout": access.request_timeout,
            "connect_timeout": access.request_timeout / 2,
            "root_certificate": authorities(),
            "user_agent": USER_AGENT,
        },
        retry_config={"max_retries": 0, "retry_timeout": timedelta(0)},
    )
