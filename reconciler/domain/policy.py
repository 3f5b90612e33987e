"""What the operator decided, as the core needs it: values only, no secrets."""

import re
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from reconciler.domain.keys import is_key


class Fit(StrEnum):
    EXACT = "exact"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Target:
    """The picture every track should have: pixels, relative aspect tolerance, JPEG quality."""

    width: int = 2048
    height: int = 1152
    aspect_tolerance: float = 0.01
    fit: Fit = Fit.EXACT
    quality: int = 92

    @property
    def resolution(self) -> str:
        return f"{self.width}x{self.height}"

    def covers(self, width: int, height: int) -> bool:
        """Both edges are long enough."""
        return width >= self.width and height >= self.height

    def shaped(self, width: int, height: int) -> bool:
        """The aspect is the target's, within tolerance."""
        wanted = self.width / self.height
        return height > 0 and abs(width / height - wanted) <= self.aspect_tolerance * wanted

    def met_by(self, width: int, height: int) -> bool:
        """Nothing is left to do to a picture of this size."""
        if self.fit is Fit.EXACT:
            return (width, height) == (self.width, self.height)
        return self.usable(width, height)

    def usable(self, width: int, height: int) -> bool:
        """The picture meets the target as it is, or can be cropped and scaled down to it."""
        return self.covers(width, height) and self.shaped(width, height)


@dataclass(frozen=True, slots=True)
class Policy:
    """Every decision's parameters. Lengths of time are timedeltas, money is purchases and credits."""

    target: Target = field(default_factory=Target)
    interim_thumbnail: bool = False

    statuses: tuple[str, ...] = ("completed",)
    excluded_statuses: tuple[str, ...] = ("failed", "callback_inserted")
    restore_archived: bool = False
    stale_after: timedelta = timedelta(days=1)
    grace: timedelta = timedelta(minutes=25)

    model: str = "bytedance/seedream-v4-text-to-image"
    fallback_models: tuple[str, ...] = ("seedream/4.5-text-to-image",)
    purchase_limit: int = 10
    purchase_window: timedelta = timedelta(seconds=10)
    max_concurrent_tasks: int = 50
    task_timeout: timedelta = timedelta(hours=6)
    request_timeout: timedelta = timedelta(seconds=30)
    asks_tasks: bool = True
    asks_songs: bool = True
    """False: there is no key to ask Kie with, nor is anything bought. With `asks_tasks` songs are asked too."""
    file_hosts: tuple[str, ...] = ("aiquickdraw.com", "redpandaai.co", "kie.ai", "suno.ai", "api.box")
    insecure_hosts: tuple[str, ...] = ()

    per_hour: int = 30
    per_day: int = 100
    per_track: int = 3
    attempts_per_track: int = 6
    min_credits: float = 50.0
    hold_unknown: timedelta = timedelta(hours=1)

    audit_interval: timedelta = timedelta(hours=6)
    reverify_after: timedelta = timedelta(days=30)
    retry_min: timedelta = timedelta(minutes=1)
    retry_max: timedelta = timedelta(hours=6)

    public_url: str = "http://127.0.0.1:9464/images"
    callback_url: str = ""
    """Under which Kie can call when a task has ended; empty: it cannot."""
    keeps: bool = True
    """False: nothing is stored. A picture that was fetched and verified is written with its own URL, its key."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """What decides whether a host may be asked for a picture."""
        return (*self.file_hosts, *self.insecure_hosts)

    @property
    def budget_of_none(self) -> str | None:
        """The budget under which nothing is ever bought, as it is set."""
        return next((f"budget.{key} = 0" for key in ("per_day", "per_hour") if getattr(self, key) == 0), None)

    @property
    def send_within(self) -> timedelta:
        """How long after its intent a purchase may still be sent."""
        return self.request_timeout / 2

    @property
    def step_deadline(self) -> timedelta:
        """No step of work takes longer: a download, a decode, a store and a read-back each have their call's time."""
        return 4 * self.request_timeout

    @property
    def lull(self) -> timedelta:
        """What was due for longer and not tried, while nobody ran or nobody could, did not fail meanwhile."""
        return self.retry_max + timedelta(days=2)

    @property
    def lease(self) -> timedelta:
        """Longer than any step, so a lease is never renewed."""
        return self.step_deadline + self.request_timeout

    def callback_of(self, token: str) -> str | None:
        """Where Kie is to call about this order."""
        return f"{self.callback_url.rstrip('/')}/callback/{token}" if self.callback_url else None

    def url_of(self, key: str) -> str:
        return f"{self.public_url.rstrip('/')}/{key}" if self.keeps else key

    def key_of(self, url: str) -> str | None:
        """The key under which a store has what lies at this URL, whatever query is put behind it, else None. Others may
        have pictures under `public_url` too."""
        prefix = self.public_url.rstrip("/") + "/"
        if not self.keeps or not url.startswith(prefix):
            return None
        key = re.split("[?#]", url[len(prefix) :], maxsplit=1)[0]
        return key if is_key(key) else None

    def knows(self, key: str) -> bool:
        """The key was made by a policy that keeps as this one does: in the store, or a URL."""
        return ("://" in key) is not self.keeps
