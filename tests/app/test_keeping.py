"""Which store a run works with: a bucket as well as a directory, and no other than the one the database knows."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import obstore
import pytest
from obstore.exceptions import GenericError

from reconciler import images
from reconciler.app.counted import metrics_of
from reconciler.app.errors import StoreUnfit
from reconciler.app.inside import opened
from reconciler.app.keeping import open_store
from reconciler.app.outside import provider
from reconciler.app.work import parts_of
from reconciler.config import load
from reconciler.database import MARKER
from reconciler.engine.crew import Threads
from reconciler.engine.lately import Lately
from reconciler.images import s3_asking
from reconciler.images.local_store import LocalStore
from reconciler.images.s3_store import S3Probe, S3Reader
from reconciler.ports import Prepared, StoreError
from tests.cli.conftest import Install, clean_environment
from tests.daemons import inside, small
from tests.s3 import LOOKER, LOOKERS_SECRET, OWNER, OWNERS_SECRET, Server, server

RUN = ("run", "--once", "--timeout", "30s")


@pytest.fixture
def real() -> Server:
    return server()


@pytest.fixture
def bucket(real: Server) -> str:
    return real.empty_bucket()


def in_bucket(real: Server, bucket: str, **changes: str) -> dict[str, Any]:
    return {
        "storage__kind": '"s3"',
        "storage__bucket": f'"{bucket}"',
        "storage__endpoint": f'"{real.endpoint}"',
        "storage__access_key": f'"{OWNER}"',
        "storage__secret_key": f'"{OWNERS_SECRET}"',
        "storage__public_url": f'"{real.public_url(bucket)}"',
        **changes,
    }


def said(install: Install, what: str) -> list[tuple[str, str]]:
    found = json.loads(install.call("check", "--json", "--offline").stdout)
    return [(line["outcome"], line["said"]) for line in found if line["what"] == what]


# -- a bucket ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_whole_job_with_a_bucket(install: Install, real: Server, bucket: str) -> None:
    install.configure(**in_bucket(real, bucket))
    install.add("a")
    install.add("b")
    metrics = install.folder / "metrics.prom"
    result = install.call(*RUN, "--metrics-file", str(metrics))
    assert result.exit_code == 0, result.output
    rows = {row["id"]: row for row in install.rows()}
    for row in rows.values():
        assert row["image_url"].startswith(f"{real.public_url(bucket)}/tracks/{row['id']}/")
        assert row["resolution"] == "2048x1152"
        with urlopen(row["image_url"], timeout=10) as answer:
            assert answer.headers["Content-Type"] == "image/jpeg"
    counted = metrics.read_text()
    put = 'reconciler_storage_requests_total{operation="put",outcome="ok"}'
    assert any(f"{put} {1 + probes + 2}.0" in counted for probes in (1, 2)), "two orders at once may each try first"
    assert 'reconciler_storage_requests_total{operation="put",outcome="timeout"} 0.0' in counted
    assert OWNERS_SECRET not in result.output + counted
    install.sql("UPDATE tracks SET image_url = NULL, resolution = NULL")
    assert install.call("run", "--dry-run").exit_code == 3
    assert json.loads(install.call("explain", "a", "--json").stdout)["kept"]
    assert install.call(*RUN).exit_code == 0
    assert [row["image_url"] for row in install.rows()] == [row["image_url"] for row in rows.values()]
    assert len(install.kie.book.purchases) == 2


@pytest.mark.slow
@pytest.mark.parametrize("marked", [True, False])
def test_a_dry_run_without_our_tables_looks_into_a_bucket_that_a_run_would_adopt(
    install: Install, real: Server, bucket: str, marked: bool
) -> None:
    install.configure(**in_bucket(real, bucket))
    install.add("a")
    install.call(*RUN)
    if not marked:
        obstore.delete(real.client(bucket), ".reconciler-store")
    install.sql("UPDATE tracks SET image_url = NULL, resolution = NULL, updated_at = created_at")
    for table in install.sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'reconciler%'"):
        install.sql(f"DROP TABLE {table['name']}")
    (told,) = json.loads(install.call("run", "--dry-run", "--json").stdout)["tracks"]
    assert told["next"] == "fetch and store the picture from our store"
    assert marked is any(each["path"] == ".reconciler-store" for each in obstore.list(real.client(bucket)).collect())


@pytest.mark.slow
def test_check_tries_a_bucket_and_leaves_nothing_there(install: Install, real: Server, bucket: str) -> None:
    install.configure(**in_bucket(real, bucket))
    place = f"bucket {bucket} at {real.endpoint.removeprefix('http://')}"
    new = ("ok", f"{place} is no store yet: the first `run` makes it one")
    takes = ("ok", f"{place} takes a file and gives it back")
    assert said(install, "storage") == [new, takes]
    assert said(install, "public_url") == [("ok", f"{real.public_url(bucket)} serves what is stored")]
    assert obstore.list(real.client(bucket)).collect() == []
    install.call(*RUN)
    assert said(install, "storage") == [("ok", f"{place} is the store that the database knows"), takes]


@pytest.mark.slow
def test_check_removes_what_cannot_be_read_back(
    install: Install, real: Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = S3Probe._whole

    def slow(probe: S3Probe, path: str) -> bytes:
        if path.endswith(".png"):
            raise TimeoutError("TimedOut")
        return whole(probe, path)

    monkeypatch.setattr(s3_asking, "PAUSES_S", ())
    monkeypatch.setattr(S3Probe, "_whole", slow)
    install.configure(**in_bucket(real, bucket))
    assert [outcome for outcome, _ in said(install, "storage")] == ["ok", "failed"]
    assert obstore.list(real.client(bucket)).collect() == []


@pytest.mark.slow
def test_check_removes_what_a_signal_leaves_behind_that_came_while_it_was_written(
    install: Install, real: Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = S3Probe.write

    def ended(probe: S3Probe, key: str, data: bytes) -> None:
        write(probe, key, data)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(S3Probe, "write", ended)
    install.configure(**in_bucket(real, bucket))
    assert install.call("check", "--offline").exit_code == 143
    assert obstore.list(real.client(bucket)).collect() == []


@pytest.mark.slow
def test_check_tells_what_is_wrong_with_a_bucket(install: Install, real: Server, bucket: str) -> None:
    wrong = {
        "the signature does not match; set storage.secret_key": {"storage__secret_key": '"another"'},
        "there is no such bucket": {"storage__bucket": '"nowhere"'},
        "access is denied": {"storage__access_key": f'"{LOOKER}"', "storage__secret_key": f'"{LOOKERS_SECRET}"'},
    }
    for words, changes in wrong.items():
        install.configure(**in_bucket(real, bucket, **changes))
        assert install.call("check", "--offline").exit_code == 78
        outcome, text = said(install, "storage")[-1]
        assert outcome == "failed"
        assert words in text
    install.configure(**in_bucket(real, bucket, storage__public_url=f'"{real.endpoint}/elsewhere"'))
    ((outcome, text),) = said(install, "public_url")
    assert (outcome, "does not serve bucket" in text) == ("failed", True)


@pytest.mark.slow
def test_a_bucket_that_refuses_is_no_reason_to_buy_again(install: Install, real: Server, bucket: str) -> None:
    install.configure(**in_bucket(real, bucket))
    install.add("a")
    assert install.call(*RUN, "--max-purchases", "0", "--timeout", "1s").exit_code == 3
    install.configure(
        **in_bucket(real, bucket, storage__access_key=f'"{LOOKER}"', storage__secret_key=f'"{LOOKERS_SECRET}"')
    )
    assert install.call("run", "--once", "--timeout", "5s").exit_code == 3
    told = install.call("explain", "a", "--json").stdout
    assert "storage_failed" in told
    assert "access is denied; let the owner of storage.access_key read, write and list" in told
    assert LOOKERS_SECRET not in told
    install.configure(**in_bucket(real, bucket))
    assert install.call(*RUN).exit_code == 0
    assert len(install.kie.book.purchases) == 1


def test_a_bucket_needs_the_extra(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install.configure(**in_bucket(Server("http://127.0.0.1:1"), "b"))
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.delitem(sys.modules, "reconciler.images.s3_store", raising=False)
    monkeypatch.delattr(images, "s3_store", raising=False)
    for command in (("run", "--once"), ("check", "--offline")):
        result = install.call(*command)
        assert result.exit_code == 78
        assert 'pip install "reconciler[s3]"' in result.output


@pytest.mark.slow
def test_a_directory_needs_no_extra(install: Install) -> None:
    install.add("a")
    program = 'import sys\nsys.modules["obstore"] = None\nfrom reconciler.cli import main\nmain()'
    command = [sys.executable, "-c", program, "--config", str(install.config), *RUN]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert len(install.pictures()) == 1


# -- no store ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_storing_nothing_is_warned_of_loudly_and_buys_no_picture_twice(install: Install) -> None:
    install.configure(storage__kind='"none"', kie__file_hosts='["127.0.0.1"]')
    install.add("a")
    loud = "stores nothing: rows get the provider's own URLs"
    for _ in range(2):
        result = install.call(*RUN)
        assert result.exit_code == 3
        assert result.stderr.count(loud) == 1
        (row,) = install.rows()
        assert row["image_url"].startswith(install.base_url)
        assert row["resolution"] == "2560x1440"
        assert len(install.kie.book.purchases) == 1
    (counted,) = json.loads(install.call("status", "--json").stdout)["states"]
    assert counted == {"state": "expiring", "reason": None, "tracks": 1}
    assert loud in install.call("run", "--dry-run").stderr
    ((outcome, text),) = said(install, "storage")
    assert (outcome, loud in text) == ("warning", True)
    assert install.call("check", "--offline").exit_code == 0
    assert not install.store.exists()
    row_of_note = install.sql("SELECT value FROM reconciler_note WHERE name = 'store_marker'")
    assert row_of_note == []


# -- no other than the one that is known ---------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [False, True])
def test_another_host_with_a_directory_of_its_own_is_refused(install: Install, begun: bool) -> None:
    """They share a database. `begun`: the other's directory is a store already."""
    install.add("a")
    install.call(*RUN)
    row, tracks = install.rows(), len(install.kie.book.purchases)
    other = install.folder / "other-host"
    if begun:
        LocalStore(other).adopt(None)
    install.configure(storage__path=f'"{other}"')
    install.add("b")
    for command in (RUN, ("run",)):
        result = install.call(*command)
        assert result.exit_code == 78
        what = "" if begun else "read the store's marker: "
        assert f"storage.path: {what}{other}" in result.stderr
        assert 'a directory that all of them mount, or storage.kind = "s3"' in result.stderr
    assert install.rows()[:1] == row
    assert install.rows()[1]["image_url"] is None
    assert len(install.kie.book.purchases) == tracks
    assert not list(other.glob("tracks/*"))
    assert "failed" in {outcome for outcome, _ in said(install, "storage")}


def test_of_two_hosts_that_begin_at_once_with_a_directory_each_one_is_refused(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(install.config, {})
    adopt = LocalStore.adopt

    def adopt_late(store: LocalStore, wanted: str | None) -> str:
        database.notes.put(MARKER, "of-the-other-host")
        return adopt(store, wanted)

    monkeypatch.setattr(LocalStore, "adopt", adopt_late)
    with opened(settings) as database:
        with pytest.raises(StoreUnfit, match="another store than the database knows"):
            open_store(settings, database)
        assert database.notes.get(MARKER) == "of-the-other-host"


@pytest.mark.parametrize("begun", [False, True])
def test_a_volume_that_goes_while_it_is_open_and_shows_an_older_store_has_lost_no_picture(
    install: Install, begun: bool
) -> None:
    """`begun`: the database knew its store already."""
    install.configure()
    settings, key = load(install.config, {}), "tracks/a/0123456789abcdef.jpg"
    with opened(settings) as database:
        store = open_store(settings, database)
        if begun:
            store = open_store(settings, database)
        assert store.get(key) is None
        (install.store / ".reconciler-store").write_text('{"id": "older"}')
        with pytest.raises(StoreError, match=f"{install.store} is another store than the database knows"):
            store.get(key)


def test_a_dry_run_takes_no_other_store_for_the_one_that_is_known(install: Install) -> None:
    assert install.call(*RUN).exit_code == 0
    (install.store / ".reconciler-store").write_text('{"id": "older"}')
    install.add("a")
    (told,) = json.loads(install.call("run", "--dry-run", "--json").stdout)["tracks"]
    assert (told["state"], told["reason"]) == ("backing_off", "storage_failed")


def known(install: Install) -> None:
    """A store of which the database knows."""
    with opened(load(install.config, {})) as database:
        database.notes.put(MARKER, "of-a-bucket")


@pytest.mark.parametrize("command", [("run",), ("run", "--once")], ids=" ".join)
@pytest.mark.parametrize("begun", [False, True])
def test_a_bucket_that_does_not_answer_is_no_wrong_one(
    install: Install, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], begun: bool
) -> None:
    """systemd does not start again what ended with 78."""
    monkeypatch.setattr(s3_asking, "PAUSES_S", ())
    install.configure(**in_bucket(Server("http://127.0.0.1:1"), "b"))
    install.add("a")
    if begun:
        known(install)
    result = install.call(*command)
    assert result.exit_code == 1
    assert "storage.bucket: read the store's marker: bucket b at 127.0.0.1:1" in result.stderr
    assert "nothing listens there; check storage.endpoint. Where nothing starts this again, run it" in result.stderr
    assert "this is not it" not in result.stderr
    assert install.kie.book.purchases == ()


def refused(status: int, code: str = "") -> Callable[..., bytes]:
    def raises(*_: object) -> bytes:
        told = f"<Error><Code>{code}</Code></Error>" if code else "<html>blocked</html>"
        raise GenericError(f"Server returned non-2xx status code: {status}: {told}")

    return raises


@pytest.mark.parametrize(
    ("answer", "new", "begun"),
    [
        (lambda *_: b"<html>We will be back soon</html>", 78, 1),
        (refused(403), 78, 1),
        (refused(404), 78, 1),
        (refused(403, "RequestTimeTooSkewed"), 1, 1),
        (refused(403, "AccessDenied"), 78, 78),
        (refused(400, "AuthorizationHeaderMalformed"), 78, 78),
    ],
    ids=["a page", "an edge that blocks", "a route that is not there", "the clock", "rights", "region"],
)
def test_what_is_not_said_by_the_bucket_that_was_there_passes(
    install: Install, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., bytes], new: int, begun: int
) -> None:
    """systemd does not start again what ended with 78."""
    install.configure(**in_bucket(Server("http://127.0.0.1:1"), "b"))
    install.add("a")
    monkeypatch.setattr(S3Reader, "_whole", answer)
    assert install.call(*RUN).exit_code == new
    known(install)
    result = install.call(*RUN)
    assert result.exit_code == begun
    assert "storage.bucket: read the store's marker: bucket b at 127.0.0.1:1" in result.stderr
    assert ("run it again yourself" in result.stderr) is (begun == 1)
    assert "this is not it" not in result.stderr
    assert install.kie.book.purchases == ()


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.EIO, 1), (errno.ESTALE, 1), (errno.ETIMEDOUT, 1), (errno.ENOTCONN, 1), (errno.EACCES, 78)],
    ids=["a disk", "a file server that was started anew", "a file server", "a mount", "rights"],
)
def test_a_directory_that_does_not_answer_is_no_wrong_one(
    install: Install, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    def unread(path: Path) -> bytes:
        raise OSError(number, os.strerror(number), str(path))

    assert install.call(*RUN).exit_code == 0
    monkeypatch.setattr(Path, "read_bytes", unread)
    result = install.call(*RUN)
    assert result.exit_code == code
    assert f"storage.path: read the store's marker: {install.store}" in result.stderr
    assert os.strerror(number) in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "says", "is_another"),
    [
        ({"storage__secret_key": '"another"'}, "the signature does not match", False),
        ({"storage__bucket": '"nowhere"'}, "there is no such bucket", True),
    ],
    ids=["key", "bucket"],
)
def test_a_wrong_key_is_no_wrong_bucket(
    install: Install, real: Server, bucket: str, changes: dict[str, str], says: str, is_another: bool
) -> None:
    install.configure(**in_bucket(real, bucket, **changes))
    known(install)
    result = install.call(*RUN)
    assert result.exit_code == 78
    assert says in result.stderr
    assert ("this is not it" in result.stderr) is is_another


# -- whether it takes what is to be bought ---------------------------------------------------------------------------


def test_each_sweep_tries_it_anew_and_knows_what_it_did_not_take(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(LocalStore, "_try", lambda _, size: sizes.append(size))
    monkeypatch.setattr("reconciler.images.local_store.write_new", full)
    install.configure()
    settings = load(install.config, {})
    picture = Prepared(b"picture", "jpg", "image/jpeg", 2048, 1152, sha256(b"picture").hexdigest())
    with provider(settings) as outside, opened(settings) as database, closing(Threads()) as crew:
        for sweep in range(3):
            parts = parts_of(database, outside, crew, metrics_of(settings), Lately())
            for _ in range(2):
                parts.hands.store.prove("a")
            if sweep == 0:
                with pytest.raises(StoreError):
                    parts.hands.store.put("a", picture)
    assert sizes == [0, 7, 7]


# -- what is left half written ---------------------------------------------------------------------------------------


def test_what_a_killed_process_left_is_removed_each_day(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install.add("a")
    assert install.call(*RUN).exit_code == 0
    parts = [install.store / "tracks" / "a" / f".x.jpg.{name}.part" for name in ("young", "old")]
    for part in parts:
        part.write_bytes(b"")
    os.utime(parts[1], (0, 0))
    small(install)
    with inside(install, monkeypatch) as daemon:
        daemon.daemon._jobs.prune()
    assert [part.exists() for part in parts] == [True, False]


# -- from one to another -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_pictures_are_moved_into_a_bucket_as_the_runbook_says(install: Install, real: Server, bucket: str) -> None:
    for track_id in "abc":
        install.add(track_id)
    assert install.call(*RUN).exit_code == 0
    before = {row["id"]: row["image_url"] for row in install.rows()}
    files = [path for path in install.store.rglob("*") if path.is_file()]
    for path in files:
        obstore.put(real.client(bucket), str(path.relative_to(install.store)), path)
    assert len(files) == 4
    install.configure(**in_bucket(real, bucket))
    assert {outcome for what in ("storage", "public_url") for outcome, _ in said(install, what)} == {"ok"}
    assert install.call("run", "--once", "--timeout", "1m").exit_code == 0
    after = {row["id"]: row["image_url"] for row in install.rows()}
    assert after == {
        track_id: url.replace("http://127.0.0.1:1/images", real.public_url(bucket)) for track_id, url in before.items()
    }
    assert len(install.kie.book.purchases) == 3


@pytest.mark.slow
def test_a_bucket_without_the_marker_is_refused_and_nothing_is_bought(
    install: Install, real: Server, bucket: str
) -> None:
    install.add("a")
    install.call(*RUN)
    install.configure(**in_bucket(real, bucket))
    result = install.call(*RUN)
    assert result.exit_code == 78
    assert "there is none; set storage.bucket to the bucket with the pictures, or put the marker back" in result.stderr
    assert "this is not it" in result.stderr
    assert len(install.kie.book.purchases) == 1
