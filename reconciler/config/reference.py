"""The list of all keys, and `config.toml` made from it."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from reconciler.config.durations import format_duration
from reconciler.config.settings import Settings

ENV_PREFIX = "RECONCILER_"
CREDENTIALS = {
    "kie_api_key": "kie.api_key",
    "database_url": "database.url",
    "storage_secret_key": "storage.secret_key",
    "kie_suno_api_key": "kie.suno_api_key",
    "callback_hmac_key": "callback.hmac_key",
}
"""Files in $CREDENTIALS_DIRECTORY and the keys that they set."""

_HEAD = """\
# The reconciler's configuration: every key, at its default. Leave out what you do not change.
#
# Looked for: --config FILE, else $RECONCILER_CONFIG, else ./config.toml, else /etc/reconciler/config.toml.
# The environment goes over this file (RECONCILER_ + section + __ + key, e.g. RECONCILER_KIE__API_KEY), and files in
# $CREDENTIALS_DIRECTORY (such as kie_api_key) go over both.
# Durations: "250ms", "90s", "20m", "6h", "14d". Relative paths are relative to the working directory, not to this file.
"""


@dataclass(frozen=True, slots=True)
class Key:
    """One key: `section` is dotted (database.columns), `default` is its TOML literal, `kind` its Python type."""

    section: str
    key: str
    default: str
    comment: str
    kind: type

    @property
    def path(self) -> str:
        return f"{self.section}.{self.key}"

    @property
    def env(self) -> str:
        return ENV_PREFIX + self.path.upper().replace(".", "__")


def keys() -> tuple[Key, ...]:
    """Every key, in the order of `config.toml`."""
    return tuple(key for section, model, _ in sections() for key in _keys_of(section, model))


def sections() -> tuple[tuple[str, type[BaseModel], str], ...]:
    """Every section with its model and comment; one inside another comes after it."""
    return tuple(_sections("", Settings))


def reference() -> str:
    """The text of `config.toml`."""
    blocks = [_HEAD]
    for section, model, comment in sections():
        lines = [*_commented(comment), f"[{section}]"]
        for key in _keys_of(section, model):
            lines += ["", *_commented(key.comment)] if key.comment else []
            lines.append(f"{key.key} = {key.default}")
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def literal(value: object) -> str:
    """As it is written in TOML."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return f"{value:g}"
        case timedelta():
            return f'"{format_duration(value)}"'
        case SecretStr():
            return literal(value.get_secret_value())
        case tuple():
            return f"[{', '.join(map(literal, value))}]"
        case _:
            text = str(value).replace("\\", "\\\\").replace('"', '\\"')
            return f'"{text}"'


def _sections(prefix: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel], str]]:
    for name, field in model.model_fields.items():
        if inner := _section_of(field):
            yield prefix + name, inner, " ".join((inner.__doc__ or "").split())
            yield from _sections(f"{prefix}{name}.", inner)


def _keys_of(section: str, model: type[BaseModel]) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        if not _section_of(field):
            yield Key(
                section, field.alias or name, literal(field.default), field.description or "", type(field.default)
            )


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    annotation: Any = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _commented(text: str) -> list[str]:
    return textwrap.wrap(text, 110, initial_indent="# ", subsequent_indent="# ", break_long_words=False)
