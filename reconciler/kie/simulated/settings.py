"""How the simulated Kie behaves where no rule says otherwise."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from reconciler.kie.simulated.behaviour import Face

API_KEY: Final = "simulated-key"


class TwoK(StrEnum):
    """What seedream v4 makes of "2K" at 16:9."""

    KIE = "2048x1152"
    MAKER = "2560x1440"
    EITHER = "either"  # by chance, the same for the same prompt


class Expired(StrEnum):
    """How a file that has died is answered."""

    HTML_404 = "html_404"
    XML_403 = "xml_403"
    EMPTY_200 = "empty_200"


class IdPlace(StrEnum):
    """Where a callback tells its task."""

    DATA = "data.taskId"
    DATA_SNAKE = "data.task_id"
    TOP = "taskId"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Times are simulated ones, counted by the clock given to the core."""

    api_keys: tuple[str, ...] | None = (API_KEY,)  # None: any key that is not empty
    credits: float = 1000.0
    min_run: timedelta = timedelta(seconds=12)
    max_run: timedelta = timedelta(seconds=128)
    running_state: str = "waiting"
    creation_limit: int = 20
    creation_window: timedelta = timedelta(seconds=10)
    limit_code: int = 430  # or 429
    max_running: int = 100
    queries_per_second: int | None = None  # per task; the real one allows 3
    visible_after: timedelta = timedelta(0)
    record_life: timedelta = timedelta(days=60)
    not_found: Face = Face.JOBS
    newer_records: bool = True  # the keys added in September 2026
    file_life: timedelta = timedelta(days=14)
    expired: Expired = Expired.HTML_404
    two_k: TwoK = TwoK.EITHER
    honour_range: bool = True
    refused_words: tuple[str, ...] = ("mickey mouse", "gore", "nude")  # the task fails, refunded
    refused_at_creation: tuple[str, ...] = ("forbidden-at-once",)
    webhook_key: str = ""  # callbacks are signed with it
    callback_id: IdPlace = IdPlace.DATA
    callback_retries: int = 3
    callback_spacing: timedelta = timedelta(seconds=5)
    files_url: str = ""  # where result URLs point; the server sets its own when empty
    drip_interval: timedelta = timedelta(milliseconds=200)  # real time: used by the server alone
