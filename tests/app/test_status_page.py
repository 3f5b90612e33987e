"""The status page as the daemon serves it: from what its jobs brought, whatever fails meanwhile."""

import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from reconciler.app import status as module
from reconciler.app.clock import utc_now
from reconciler.app.status import Status
from reconciler.images.local_store import LocalStore
from reconciler.kie.simulated import AnswerPicture
from reconciler.service.events import JobFailed
from tests.cli.conftest import Install
from tests.daemons import Inside, eventually, inside, small

Patch = pytest.MonkeyPatch


@pytest.fixture
def quick(install: Install) -> Install:
    small(install, schedule__snapshot_interval='"200ms"')
    install.kie.script.when(AnswerPicture(), operation="create")
    install.add("a", title="Overture <1>")
    return install


@pytest.fixture
def daemon(quick: Install, monkeypatch: Patch) -> Iterator[Inside]:
    with inside(quick, monkeypatch) as daemon:
        yield daemon


def asked(daemon: Inside, path: str) -> tuple[dict[str, str], str]:
    with closing(HTTPConnection(urlsplit(daemon.url).netloc, timeout=10)) as link:
        link.request("GET", path)
        answer = link.getresponse()
        return dict(answer.headers.items()), answer.read().decode("latin-1")


def test_it_shows_what_was_recovered_and_serves_its_thumbnail(daemon: Inside) -> None:
    (name,) = eventually(lambda: set(re.findall(r"/thumbnails/\w+\.jpg", daemon.says("/")[1])))
    headers, body = asked(daemon, name)
    assert headers["Content-Type"] == "image/jpeg"
    assert body.startswith("\xff\xd8")
    assert "Overture &lt;1&gt;" in daemon.says("/")[1]
    eventually(lambda: '<h1 id="verdict">All is well</h1>' in daemon.says("/")[1])


def test_its_only_style_is_the_one_that_the_policy_names(daemon: Inside) -> None:
    headers, body = asked(daemon, "/")
    (style,) = re.findall(r"<style>(.*?)</style>", body, re.DOTALL)
    digest = b64encode(sha256(style.encode("latin-1")).digest()).decode()
    assert headers["Content-Security-Policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    assert "style=" not in body
    assert "<script" not in body


def test_a_page_that_cannot_be_taken_leaves_the_gauges_alone(quick: Install, monkeypatch: Patch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a mistake")

    monkeypatch.setattr(module, "look", broken)
    with inside(quick, monkeypatch) as daemon:
        (failed, *_) = eventually(lambda: daemon.of(JobFailed))
        assert (failed.job, failed.mistake) == ("status page", True)
        eventually(lambda: daemon.gauges()["reconciler_tracks{state=ok}"] == 1)
        assert daemon.says("/readyz") == (200, "ok\n")
        assert daemon.gauges()["reconciler_snapshot_failures_total"] == 0
        assert "It has only just started" in daemon.says("/")[1]


def test_it_is_there_with_the_database_away_and_says_so(daemon: Inside, quick: Install) -> None:
    eventually(lambda: {"All is well", "Overture"} <= set(re.findall("All is well|Overture", daemon.says("/")[1])))
    quick.database.rename(quick.folder / "elsewhere.db")
    # Whoever is at work just then fails of something else first.
    eventually(lambda: "there is no such file" in daemon.says("/")[1])
    status, page = daemon.says("/")
    assert status == 200
    assert '<h1 id="verdict">Something fails</h1>' in page
    assert "Overture" in page


@pytest.mark.parametrize("another", [False, True])
def test_a_store_that_cannot_be_read_is_told(daemon: Inside, quick: Install, another: bool) -> None:
    """`another`: below the mount point lies an older one."""
    eventually(lambda: "/thumbnails/" in daemon.says("/")[1])
    (quick.store / ".reconciler-store").unlink()
    if another:
        quick.store.rename(quick.store.with_name("volume"))
        LocalStore(quick.store).adopt("older")
        assert daemon.get("/images/tracks/a/0123456789abcdef.jpg")[0] == 503
    daemon.daemon._jobs.status.gallery._miniatures = {}
    assert "cannot be read" in eventually(lambda: (page := daemon.says("/")[1]) * ("cannot be read" in page))
    eventually(lambda: "thumbnails" in {failed.job for failed in daemon.of(JobFailed)})


def test_it_is_made_once_for_each_thing_to_tell(daemon: Inside, monkeypatch: Patch) -> None:
    eventually(lambda: "All is well" in daemon.says("/")[1])
    daemon.rest()
    status, made = daemon.daemon._jobs.status, list[object]()
    whole = Status._rendered

    def counted(self: Status, *known: object) -> bytes:
        made.append(known)
        return whole(self, *known)  # type: ignore[arg-type]

    monkeypatch.setattr(Status, "_rendered", counted)
    monkeypatch.setattr(status, "look", lambda *_: None)
    now = utc_now()
    monkeypatch.setattr("reconciler.app.status.utc_now", lambda: now)
    monkeypatch.setattr(status, "illustrate", lambda: None)
    status.swept_at = None
    pages = {status.page((), ()) for _ in range(3)}
    assert (len(pages), len(made)) == (1, 1)
    status.page(("it hangs",), ())
    assert len(made) == 2
