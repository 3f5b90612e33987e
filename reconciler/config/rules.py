"""Settings that are each fine and together cannot be meant."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from reconciler.config.durations import format_duration
from reconciler.config.policy import policy_of
from reconciler.config.problems import Problem
from reconciler.config.settings import Settings
from reconciler.domain.catalogue import MODELS
from reconciler.domain.urls import host_of, is_loopback

ACCOUNT_LIMIT, ACCOUNT_WINDOW = 20, timedelta(seconds=10)
"""What Kie grants an account: creations per stretch of time."""
PICTURE_ASPECT = 16 / 9
"""The only shape that is asked of Kie."""


@dataclass(frozen=True, slots=True)
class Clash:
    """`keys` that do not go together; the first is the one to look at."""

    keys: tuple[str, ...]
    what: str
    fix: str


def clashes(settings: Settings) -> Iterator[Clash]:
    """Every contradiction. Texts name values only where those are no secrets."""
    for rule in _RULES:
        yield from rule(settings)


def without_key(settings: Settings) -> Problem | None:
    """Of a run that is to buy: it would close the gate for the others, who have a key."""
    if settings.budget.per_day == 0 or settings.kie.api_key.get_secret_value():
        return None
    fix = "Set it, the credential kie_api_key or RECONCILER_KIE__API_KEY; or [budget] per_day = 0 to buy nothing"
    return Problem("kie.api_key", "is empty, so nothing could be bought or asked for", fix)


def _models(s: Settings) -> Iterator[Clash]:
    fix = f"Known models: {', '.join(MODELS)}"
    if s.kie.model not in MODELS:
        yield Clash(("kie.model",), "is no model that the reconciler knows how to ask", fix)
    if any(model not in MODELS for model in s.kie.fallback_models):
        yield Clash(("kie.fallback_models",), "holds a model that the reconciler does not know how to ask", fix)
    if s.kie.model in s.kie.fallback_models:
        yield Clash(("kie.fallback_models", "kie.model"), "holds the model itself", "Leave it out")
    if len(set(s.kie.fallback_models)) < len(s.kie.fallback_models):
        yield Clash(("kie.fallback_models",), "holds a model twice", "Leave one out")


def _shape(s: Settings) -> Iterator[Clash]:
    keys = ("target.height", "target.width", "target.aspect_tolerance", "budget.per_day")
    width, height, tolerance = s.target.width, s.target.height, s.target.aspect_tolerance
    if not s.budget.per_day:
        return
    if abs(width / height - PICTURE_ASPECT) > tolerance * PICTURE_ASPECT:
        what = f"with width {width} gives another shape than the 16:9 that pictures are bought in"
        yield Clash(keys, what, f"Use {round(width / PICTURE_ASPECT)}, or set [budget] per_day = 0 to buy none")
        return
    models = [MODELS[name] for name in (s.kie.model, *s.kie.fallback_models) if name in MODELS]
    if short := [model.name for model in models if not model.reaches(policy_of(s).target)]:
        what = f"with width {width} is more than can be had of {', '.join(short)}"
        yield Clash(
            (*keys, "kie.model"), what, "Lower both, use another model, or set [budget] per_day = 0 to buy none"
        )


def _provider(s: Settings) -> Iterator[Clash]:
    host = host_of(s.kie.base_url)
    if host in s.kie.allow_insecure_hosts:
        return
    if not s.kie.base_url.startswith("https:"):
        yield Clash(
            ("kie.base_url", "kie.allow_insecure_hosts"),
            "would send the key unencrypted",
            f'Use https, or for a local simulator add "{host}" to allow_insecure_hosts',
        )
    if s.kie.purchase_limit * ACCOUNT_WINDOW > ACCOUNT_LIMIT * s.kie.purchase_window:
        yield Clash(
            ("kie.purchase_window", "kie.purchase_limit"),
            f"with purchase_limit {s.kie.purchase_limit} allows more than the account's {ACCOUNT_LIMIT} in 10s",
            "Lengthen it or lower purchase_limit",
        )


def _deadlines(s: Settings) -> Iterator[Clash]:
    if s.kie.task_timeout <= s.kie.request_timeout:
        yield Clash(
            ("kie.task_timeout", "kie.request_timeout"), "must be longer than request_timeout", "The default is 6h"
        )
    least = policy_of(s).lease + s.kie.request_timeout
    if s.budget.hold_unknown <= least:
        yield Clash(
            ("budget.hold_unknown", "kie.request_timeout"),
            "must be longer than a lease and a call, or a lost purchase could be repeated while it is still being sent",
            f"Use more than {format_duration(least)}, or a shorter [kie] request_timeout",
        )


def _order(s: Settings) -> Iterator[Clash]:
    if s.schedule.retry_min > s.schedule.retry_max:
        yield Clash(("schedule.retry_min", "schedule.retry_max"), "is longer than retry_max", "Swap or change them")
    if s.database.grace > s.database.stale_after:
        yield Clash(
            ("database.grace", "database.stale_after"), "is longer than stale_after", "Shorten it; the default is 25m"
        )
    if s.budget.per_track > s.budget.attempts_per_track:
        yield Clash(
            ("budget.per_track", "budget.attempts_per_track"),
            "is more than attempts_per_track, which counts failures too",
            f"Use at most {s.budget.attempts_per_track}",
        )


def _scope(s: Settings) -> Iterator[Clash]:
    keys = ("database.excluded_statuses", "database.statuses")
    if both := set(s.database.statuses) & set(s.database.excluded_statuses):
        yield Clash(
            keys, f"has in common with statuses: {', '.join(sorted(both))}", "A status can be in one of them only"
        )
    if s.database.restore_archived and "archived" in s.database.excluded_statuses:
        yield Clash(
            (keys[0], "database.restore_archived"),
            "holds archived although restore_archived is true",
            "Leave one of them out",
        )
    names = list(s.database.columns.model_dump().values())
    if twice := sorted({name for name in names if names.count(name) > 1}):
        fields = (field for field, name in s.database.columns.model_dump().items() if name in twice)
        yield Clash(
            tuple(f"database.columns.{field}" for field in fields),
            f"the column {twice[0]} is named twice",
            "Name each column once",
        )


def _bucket(s: Settings) -> Iterator[Clash]:
    if s.storage.kind != "s3":
        return
    for name in ("bucket", "endpoint", "access_key", "secret_key"):
        if getattr(s.storage, name) == getattr(_DEFAULTS.storage, name):
            yield Clash((f"storage.{name}", "storage.kind"), "is needed with kind = s3", "Set it")
    host = host_of(s.storage.endpoint)
    if s.storage.endpoint.startswith("http:") and host not in s.kie.allow_insecure_hosts:
        yield Clash(
            ("storage.endpoint", "kie.allow_insecure_hosts"),
            "would send pictures unencrypted",
            f'Use https, or for a server on this machine add "{host}" to [kie] allow_insecure_hosts',
        )
    if s.storage.public_url == _DEFAULTS.storage.public_url:
        yield Clash(
            ("storage.public_url", "storage.kind"),
            "is the daemon's own address, which serves no bucket",
            "Set it to the URL at which anybody can read the bucket",
        )


def _shown(s: Settings) -> Iterator[Clash]:
    host = host_of(s.storage.public_url)
    written = s.storage.kind != "none" and host not in s.kie.allow_insecure_hosts
    if written and not s.database.is_sqlite and is_loopback(host):
        yield Clash(
            ("storage.public_url", "database.url", "kie.allow_insecure_hosts"),
            "is on this machine only, and would be written into a database that others read",
            f'Use the address the app sees, or add "{host}" to [kie] allow_insecure_hosts',
        )


def _callbacks(s: Settings) -> Iterator[Clash]:
    host = host_of(s.callback.public_url)
    if s.callback.public_url.startswith("http:") and host not in s.kie.allow_insecure_hosts:
        yield Clash(
            ("callback.public_url", "kie.allow_insecure_hosts"),
            "would have the tokens of orders sent unencrypted",
            f'Use https, or for a local simulator add "{host}" to [kie] allow_insecure_hosts',
        )
    if s.callback.hmac_key.get_secret_value() and not s.callback.public_url:
        yield Clash(
            ("callback.hmac_key", "callback.public_url"),
            "checks nothing without public_url, since no order asks for a callback",
            "Set public_url too, or leave both out",
        )


_DEFAULTS = Settings()
_RULES: tuple[Callable[[Settings], Iterator[Clash]], ...] = (
    _models,
    _shape,
    _provider,
    _deadlines,
    _order,
    _scope,
    _bucket,
    _shown,
    _callbacks,
)
