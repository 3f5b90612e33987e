"""What each place says, key by key, before any of it is checked: file, environment, credentials."""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from reconciler.config.mistakes import mistake_in
from reconciler.config.problems import Problem
from reconciler.config.reference import CREDENTIALS, ENV_PREFIX, Key, keys, sections

CONFIG_VARIABLE = "RECONCILER_CONFIG"
_KEYS: Mapping[str, Key] = {key.path: key for key in keys()}
_SECTIONS = tuple(name for name, _, _ in sections())
_ENV: Mapping[str, Key] = {key.env: key for key in _KEYS.values()}


@dataclass(slots=True)
class Layer:
    """Values by dotted path, where each came from, and what was wrong with the form of the rest."""

    values: dict[str, Any] = field(default_factory=dict, repr=False)
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def over(self, below: "Layer") -> "Layer":
        return Layer(below.values | self.values, below.origins | self.origins, below.problems + self.problems)


def file_place(source: Path, path: str) -> str:
    """The place of a known key in a file: `config.toml: [kie] purchase_limit`."""
    section, _, key = path.rpartition(".")
    return _in_file(source, section, key)


def _in_file(source: Path, section: str, key: str) -> str:
    return f"{source}: [{section}] {key}" if section else f"{source}: {key}"


def file_layer(source: Path) -> Layer:
    layer = Layer()
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        layer.problems.append(Problem(str(source), f"cannot be read: {why}", "Name a readable TOML file"))
        return layer
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, fix = mistake_in(text, str(error))
        layer.problems.append(Problem(str(source), f"is not TOML: {what}", fix))
    else:
        _walk(layer, source, "", document)
    return layer


def environment_layer(environ: Mapping[str, str]) -> Layer:
    layer = Layer()
    for name, text in sorted(environ.items()):
        if not name.startswith(ENV_PREFIX) or name == CONFIG_VARIABLE:
            continue
        where = f"environment {name}"
        if key := _ENV.get(name):
            layer.values[key.path], layer.origins[key.path] = _typed(text, key.kind), where
        else:
            layer.problems.append(Problem(where, "sets no known key", _meant(name, _ENV) or "Unset it"))
    return layer


def credentials_layer(directory: str | None) -> Layer:
    layer = Layer()
    for name, path in CREDENTIALS.items() if directory else ():
        where = f"credential {name}"
        try:
            text = Path(directory or "", name).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError):
            layer.problems.append(Problem(where, "cannot be read", "Check the file in $CREDENTIALS_DIRECTORY"))
            continue
        if text:
            layer.values[path], layer.origins[path] = text, where
        else:
            layer.problems.append(Problem(where, "is empty", "Fill it or remove it from $CREDENTIALS_DIRECTORY"))
    return layer


def _walk(layer: Layer, source: Path, prefix: str, table: Mapping[str, Any]) -> None:
    for name, value in table.items():
        path = prefix + name
        if path in _SECTIONS and isinstance(value, dict):
            _walk(layer, source, f"{path}.", value)
        elif path in _SECTIONS:
            fix = f"Write [{path}] and its keys below it"
            layer.problems.append(Problem(file_place(source, path), "must be a section", fix))
        elif path in _KEYS and "." not in name:
            layer.values[path], layer.origins[path] = value, file_place(source, path)
        else:
            layer.problems.append(_unknown(source, prefix, name, value))


def _unknown(source: Path, prefix: str, name: str, value: object) -> Problem:
    """A key or section that is not ours: what was meant, where it belongs, or what there is."""
    section = prefix.rstrip(".")
    siblings = [path.removeprefix(prefix) for path in (*_KEYS, *_SECTIONS) if path.rpartition(".")[0] == section]
    homes = [key.section for key in _KEYS.values() if key.key == name]
    fix = _meant(name, siblings) or (f"It belongs in [{homes[0]}]" if homes else f"Known here: {', '.join(siblings)}")
    if isinstance(value, dict):
        return Problem(f"{source}: [{prefix}{name}]", "is no known section", fix)
    return Problem(_in_file(source, section, name), "is no known key", fix)


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {close[0]}?" if close else ""


def _typed(text: str, kind: type) -> Any:
    """An environment variable's text as the file would have given it; what cannot be read so is left to the check."""
    if kind in {str, SecretStr, timedelta}:
        return text
    if kind is tuple and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return tomllib.loads(f"value = {text.lower() if kind is bool else text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
