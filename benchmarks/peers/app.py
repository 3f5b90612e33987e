"""The app's table and its pictures, as both peers use them: where they are is told by the environment."""

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.job import SIZE, PlainKie

DATABASE, IMAGES = Path(os.environ["APP_DATABASE"]), Path(os.environ["IMAGES"])
POLL_S = 1
"""Between two questions about a task; the first is asked at once."""
kie = PlainKie(os.environ["KIE_URL"])


def stuck() -> dict[str, str]:
    """Prompts by track."""
    return dict(_sql("SELECT id, extended_prompt_image FROM tracks WHERE status = 'completed' AND image_url IS NULL"))


def keep(track_id: str, picture: bytes) -> None:
    (IMAGES / f"{track_id}.jpg").write_bytes(picture)
    _sql(
        "UPDATE tracks SET image_url = ?, resolution = ?, updated_at = ? WHERE id = ?",
        f"https://pictures.example/{track_id}.jpg",
        f"{SIZE[0]}x{SIZE[1]}",
        datetime.now(UTC).replace(tzinfo=None).isoformat(" "),
        track_id,
    )


def _sql(statement: str, *values: str) -> list[Any]:
    with closing(sqlite3.connect(DATABASE, timeout=30)) as connection, connection:
        return connection.execute(statement, values).fetchall()
