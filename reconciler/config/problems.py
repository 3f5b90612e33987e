"""What is wrong with the configuration: where, what, and what to do. Never with a value that could be a secret."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `where` is a file and key, an environment variable or a credential."""

    where: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.fix}{'' if self.fix.endswith('?') else '.'}"


class ConfigError(Exception):
    """The configuration cannot be used (exit code 78). `problems` holds every mistake found, at least one."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)
