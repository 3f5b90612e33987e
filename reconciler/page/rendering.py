"""The page as HTML, with the policy under which a browser may show it: no script, no style but its own, by its hash."""

from base64 import b64encode
from collections.abc import Callable
from datetime import datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from reconciler.domain.advice import MEANINGS
from reconciler.domain.policy import Policy
from reconciler.page import charts, svg, view, words
from reconciler.page.values import Thumbnail, Told

_FILTERS: dict[str, Callable[..., object]] = {
    "grouped": words.grouped,
    "credits": words.credits,
    "length": words.length,
    "clock": words.clock,
    "coded": words.coded,
    "iso": words.iso,
    "spaced": words.spaced,
    "titled": words.title,
    "named": words.named,
    "line": words.line,
}


def render(told: Told, policy: Policy, here: datetime) -> bytes:
    """`here`: the time by this machine's clock."""
    context: dict[str, Any] = {
        "health": told.health,
        "policy": policy,
        "here": here,
        "css": Markup(_css()),  # noqa: S704 - our own
        "verdict": view.verdict(told),
        "troubles": list(view.troubles(told, policy, here)),
        "seen": view.view(told.seen, told.shown, policy, here) if told.seen is not None else None,
    }
    return str(_template().render(context)).encode(errors="replace")


@cache
def content_policy() -> str:
    digest = b64encode(sha256(_css().encode()).digest()).decode()
    sources = ["default-src 'none'", f"style-src 'sha256-{digest}'", "img-src 'self'"]
    return "; ".join([*sources, "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"])


@cache
def _css() -> str:
    return files(__package__).joinpath("status.css").read_text(encoding="utf-8").strip()


@cache
def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(_FILTERS)
    environment.tests["thumbnail"] = lambda value: isinstance(value, Thumbnail)
    environment.tests["words"] = lambda value: isinstance(value, str)
    environment.globals.update(age=words.age, counted=words.counted, charts=charts, svg=svg, meanings=MEANINGS)
    return environment.from_string(files(__package__).joinpath("status.html").read_text(encoding="utf-8"))
