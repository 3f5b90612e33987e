"""The configuration: a TOML file, the environment over it, credential files over both, all checked before use."""

from reconciler.config.durations import format_duration, parse_duration
from reconciler.config.loading import load
from reconciler.config.policy import policy_of
from reconciler.config.problems import ConfigError, Problem
from reconciler.config.reference import keys, reference
from reconciler.config.rules import without_key
from reconciler.config.settings import Settings

__all__ = [
    "ConfigError",
    "Problem",
    "Settings",
    "format_duration",
    "keys",
    "load",
    "parse_duration",
    "policy_of",
    "reference",
    "without_key",
]
