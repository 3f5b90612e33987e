"""A daemon whose page has something to show: a small cast on a real database, with Kie simulated over HTTP."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.database.datetimes import own
from reconciler.kie.simulated import CONTENT_REFUSED_AT_ONCE, LOST, AnswerPicture, Refuse, Stall, Succeed
from tests.cli.conftest import Install, installed
from tests.daemons import QUICK, Inside, eventually, inside

SCENES = {
    "Paper Boats": "paper boats on a canal at dusk",
    "North of Nowhere": "a lonely road under northern lights",
    "Glass Elevator": "a glass elevator rising through clouds",
    "Copper Rain": "warm rain on copper roofs",
    "Slow Carousel": "an empty carousel in the fog",
    "Tidal": "a lighthouse above a breaking wave",
    "The Last Tram": "the last tram of the night",
}
HOSTILE = "</title></style><svg onload=hack()><img src=x onerror=hack()><script>hack()</script>\"'{{7*7}}"
"""What runs it if it is taken for anything but text."""


@contextmanager
def daemon_on(install: Install, settled: int, **changes: Any) -> Iterator[Inside]:
    """Once so many tracks have a picture or are given up, and the page tells of all."""
    install.kie.script.when(Succeed(width=640, height=360, run=timedelta(0)))
    install.configure(**{**QUICK, "target__width": "640", "target__height": "360", **changes})
    with pytest.MonkeyPatch.context() as patch, inside(install, patch) as daemon:
        eventually(lambda: len(written(install)) >= settled)
        later = datetime.now(UTC)
        status = daemon.daemon._jobs.status
        eventually(lambda: status._seen is not None and status._seen.taken > later)
        eventually(lambda: status.gallery.shown.keys() >= wanted(daemon))
        yield daemon


def wanted(daemon: Inside) -> set[str]:
    seen = daemon.daemon._jobs.status._seen
    return {recovery.key for recovery in seen.recoveries if recovery.key} if seen is not None else set()


def written(install: Install) -> list[dict[str, Any]]:
    return install.sql("SELECT * FROM reconciler_attempt WHERE step = 'write' AND came = 'committed'")


def picture(install: Install, name: str, scene: str) -> str:
    return install.kie.add_file(f"covers/{name}", text=scene, size=(360, 360))


@contextmanager
def repaired(folder: Path) -> Iterator[Inside]:
    """Pictures that were found, bought and refused, and tracks stuck in several ways."""
    with installed(folder) as install:
        kie = install.kie.script
        kie.when(LOST, operation="create", prompt_contains="silence")
        kie.when(CONTENT_REFUSED_AT_ONCE, operation="create", prompt_contains="entry")
        kie.when(Stall(), prompt_contains="waiting")
        for number, (title, scene) in enumerate(SCENES.items()):
            kie.when(AnswerPicture(), operation="create", prompt_contains=scene)
            old = picture(install, f"{number}.jpg", scene) if number % 2 else None
            columns = {"title": title, "extended_prompt_image": scene, "image_url": old}
            install.add(f"track-{number:04}", **columns, **lately())
        install.add("track-1001", title="No Entry", extended_prompt_image="an entry that is refused")
        install.add("track-1002", title="Silence", extended_prompt_image="silence")
        install.add("track-1003", title="Almost There", extended_prompt_image="waiting for ever")
        install.add("track-1004", title="Untitled", extended_prompt_image=None)
        with daemon_on(install, len(SCENES)) as daemon:
            bought_before(install)
            recounted(daemon)
            yield daemon


def lately() -> dict[str, str]:
    """So that a sweep sees to it, whatever picture it has."""
    return dict.fromkeys(("created_at", "updated_at"), (datetime.now(UTC) - timedelta(hours=2)).isoformat())


def bought_before(install: Install) -> None:
    """Purchases over the day, of tracks that are gone."""
    (known, *_) = install.sql("SELECT * FROM reconciler_purchase WHERE verdict = 'good'")
    for hour, (good, failed) in enumerate(
        zip((3, 7, 9, 4, 2, 1, 0, 5, 8, 6), (0, 1, 2, 0, 1, 0, 0, 3, 1, 1), strict=True)
    ):
        at = own(datetime.now(UTC) - timedelta(hours=2 * hour + 2))
        for number, verdict in enumerate(("good",) * good + ("failed",) * failed):
            copy = {"token": f"{hour}-{number}", "verdict": verdict, "at": at, "over_at": at, "track_id": "gone"}
            insert(install, "reconciler_purchase", {**known, **copy})


def insert(install: Install, table: str, row: Mapping[str, Any]) -> None:
    install.sql(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", *row.values())


def recounted(daemon: Inside) -> None:
    """A snapshot that began by now was taken."""
    begun, status = datetime.now(UTC), daemon.daemon._jobs.status
    eventually(lambda: status._seen is not None and status._seen.taken > begun)


@contextmanager
def attacked(folder: Path) -> Iterator[Inside]:
    """Every text of the app's and of Kie's is hostile, and so are the places of database and store."""
    home = folder / "<img src=x onerror=hack()>"
    home.mkdir()
    with installed(home) as install:
        refused = Refuse(400, f"flagged as sensitive {HOSTILE}")
        install.kie.script.when(AnswerPicture(), operation="create", prompt_contains="pictured")
        install.kie.script.when(refused, operation="create")
        texts = dict.fromkeys(("title", "prompt", "mood", "vibe", "extended_prompt_image", "resolution"), HOSTILE)
        columns = {row["name"] for row in install.sql("PRAGMA table_info(tracks)")}
        hostile = {name: text for name, text in texts.items() if name in columns} | lately()
        install.add(f"a{HOSTILE}", **{**hostile, "extended_prompt_image": f"{HOSTILE} pictured"})
        install.add(f"b{HOSTILE}", **hostile, image_url=f"https://covers.example/{HOSTILE}")
        install.add(f"c{HOSTILE}", **{**hostile, "extended_prompt_image": f"pictured {HOSTILE}"}, task_id=HOSTILE)
        install.add(f"d{HOSTILE}", **hostile)
        install.add("e" * 300, **{**hostile, "title": "W" * 300}, image_url=HOSTILE)
        # What backs off is due again at once elsewhere, and stands as unverified from then on.
        patient = {"schedule__retry_min": '"1h"', "schedule__retry_max": '"1h"'}
        with daemon_on(install, 2, **patient) as daemon:
            eventually(lambda: at_rest(install) == 5)
            spoil(install)
            recounted(daemon)
            yield daemon


def at_rest(install: Install) -> int:
    """Tracks that were looked at, and have nothing to do at once."""
    waits = "lease_owner IS NULL AND (due_at IS NULL OR due_at > ?)"
    found = install.sql(f"SELECT 1 FROM reconciler_memory WHERE state IS NOT NULL AND {waits}", own(datetime.now(UTC)))
    return len(found)


def spoil(install: Install) -> None:
    """What we keep ourselves, as if it had come so."""
    now = own(datetime.now(UTC))
    install.sql("UPDATE reconciler_attempt SET detail = ? || detail WHERE step = 'write'", HOSTILE)
    install.sql("UPDATE reconciler_task SET detail = ?", HOSTILE)
    install.sql("UPDATE reconciler_purchase SET detail = ?", HOSTILE)
    closure = {"name": "rate_limit", "shape": "", "at": now, "until": None, "detail": HOSTILE, "trial": 0}
    insert(install, "reconciler_closure", closure)
