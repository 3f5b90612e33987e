"""Finding, reading and checking the configuration; every mistake is reported, all at once."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from stat import S_ISREG
from typing import Any

from pydantic import ValidationError

from reconciler.config.layers import (
    CONFIG_VARIABLE,
    Layer,
    credentials_layer,
    environment_layer,
    file_layer,
    file_place,
)
from reconciler.config.problems import ConfigError, Problem
from reconciler.config.reference import keys
from reconciler.config.rules import clashes
from reconciler.config.settings import Settings

PLACES = (Path("config.toml"), Path("/etc/reconciler/config.toml"))
"""Where a file is looked for when none is named."""


def load(path: Path | None, environ: Mapping[str, str], places: Sequence[Path] = PLACES) -> Settings:
    """Checked settings from `path` (`--config`), else what `environ` or the usual `places` name. Raises ConfigError."""
    source = _source(path, environ, places)
    layer = environment_layer(environ).over(file_layer(source))
    layer = credentials_layer(environ.get("CREDENTIALS_DIRECTORY")).over(layer)
    settings, invalid = _checked(layer, source)
    problems = [*layer.problems, *invalid.values(), *_contradictions(settings, layer, source, invalid)]
    if problems:
        raise ConfigError(problems)
    return settings


def _source(path: Path | None, environ: Mapping[str, str], places: Sequence[Path]) -> Path:
    named = path or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    if named is None:
        for place in places:
            if _is_file(place, "configuration"):
                return place
        looked = f"looked for {', '.join(map(str, places))}; neither --config nor ${CONFIG_VARIABLE} names one"
        raise ConfigError(
            [Problem("configuration", f"no file was found ({looked})", "Name one, or copy the reference config.toml")]
        )
    by = "--config" if path else f"environment {CONFIG_VARIABLE}"
    if not _is_file(named, by):
        raise ConfigError([Problem(by, f"there is no file {str(named)!r}", "Name one that exists")])
    return named


def _is_file(path: Path, by: str) -> bool:
    """Raises ConfigError where nobody can tell."""
    try:
        return S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as error:
        fix = _SEARCHED if isinstance(error, PermissionError) else "Name another with --config"
        raise ConfigError([Problem(by, f"{path} cannot be looked at: {error.strerror}", fix)]) from error


def _checked(layer: Layer, source: Path) -> tuple[Settings, dict[str, Problem]]:
    """Settings with the defaults in place of what is invalid, and a problem for each key that is."""
    values, invalid = dict(layer.values), dict[str, Problem]()
    try:
        return Settings.model_validate(_nested(values)), invalid
    except ValidationError as error:
        for path, what in _mistakes(error):
            invalid.setdefault(path, Problem(_place(layer, source, path), what, f"The default is {_DEFAULTS[path]}"))
    return Settings.model_validate(_nested({path: values[path] for path in values.keys() - invalid.keys()})), invalid


def _mistakes(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Key and words. The words are taken from pydantic without the value, which may be a secret."""
    for mistake in error.errors(include_url=False, include_context=False, include_input=False):
        path = ".".join(str(part) for part in mistake["loc"] if isinstance(part, str))
        words = _WORDS.get(mistake["type"]) or mistake["msg"].removeprefix("Value error, ")
        yield path, words.replace("Input should", "must").replace("must be a valid", "must be a")


def _contradictions(
    settings: Settings, layer: Layer, source: Path, invalid: Mapping[str, Problem]
) -> Iterator[Problem]:
    for clash in clashes(settings):
        if invalid.keys().isdisjoint(clash.keys):
            yield Problem(_place(layer, source, clash.keys[0]), clash.what, clash.fix)


def _place(layer: Layer, source: Path, path: str) -> str:
    return layer.origins.get(path) or file_place(source, path)


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *parents, name = path.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[name] = value
    return tree


_SEARCHED = (
    "Let the reconciler's user search its directory and those above (under systemd see SupplementaryGroups= and "
    "ProtectHome=), or name another with --config"
)
_DEFAULTS = {key.path: key.default for key in keys()}
_WORDS = {
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "greater_than": "must be longer than 0s",
    "int_type": "must be a whole number",
    "string_too_short": "must not be empty",
    "string_type": "must be a text in quotes",
    "too_short": "must not be empty",
    "tuple_type": "must be a list",
}
