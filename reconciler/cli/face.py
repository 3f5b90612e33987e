"""What all commands share: the options before them, the settings, and errors as lines on stderr with an exit code."""

import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from reconciler.config import Settings

DONE, FAILED, USAGE, WORK_REMAINS, UNFIT = 0, 1, 2, 3, 78

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Track = Annotated[str, typer.Argument(metavar="TRACK")]


class Level(StrEnum):
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


@dataclass(slots=True)
class Given:
    """The options before the command."""

    config: str | None = None
    level: Level | None = None


@contextmanager
def _options_read() -> Iterator[None]:
    """Meanwhile --help and --version are told: nothing but stdout can fail."""
    try:
        yield
    except BrokenPipeError as error:  # who read it has seen enough
        raise typer.Exit(DONE) from error
    except OSError as error:
        raise typer.Exit(complain([f"stdout: {error.strerror}"], FAILED)) from error


class Command(TyperCommand):
    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _options_read():
            return super().make_context(*args, **extra)


class Face(TyperGroup):
    """Turns what commands raise into lines on stderr and exit codes."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _options_read():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            code = _tell(error, ctx.find_object(Given) or Given())
            if code is None:
                raise
            raise typer.Exit(code) from error


def _tell(error: Exception, given: Given) -> int | None:
    """The exit code; None for what the command line library tells itself."""
    if type(error).__module__.startswith("typer"):
        return None
    from reconciler.app.errors import AuthoritiesUnfit, HttpAway, MemoryUnread, NoSuchTrack, StoreAway, StoreUnfit
    from reconciler.commands.deciding import Declined
    from reconciler.config import ConfigError
    from reconciler.console.output import Unheard
    from reconciler.database.errors import DatabaseError, DatabaseUnfit
    from reconciler.engine.amend import Busy

    match error:
        case ConfigError(problems=problems):
            return complain(map(str, problems), UNFIT)
        case DatabaseUnfit() | StoreUnfit() | AuthoritiesUnfit():
            return complain([str(error)], UNFIT)
        case StoreAway():
            return complain([f"{error}. Where nothing starts this again, run it again yourself"], FAILED)
        case DatabaseError() | NoSuchTrack() | MemoryUnread() | HttpAway() | Declined() | Busy() | Unheard():
            return complain([str(error)], FAILED)
        case _:
            return _unexpected(error, given)


def complain(lines: Iterable[str], code: int) -> int:
    from reconciler.console.log import in_journal
    from reconciler.domain.texts import plain

    error = "<3>" if in_journal() else ""
    with suppress(OSError):
        for line in lines:
            sys.stderr.write(f"{error}reconciler: {plain(line, 2000)}\n")
    return code


def refuse(sentence: str) -> NoReturn:
    raise typer.Exit(complain([sentence], USAGE))


def _unexpected(error: Exception, given: Given) -> int:
    """Where it happened, and no text of the error, which may hold values."""
    from reconciler.console.eventlog import place_of

    debug = given.level is Level.DEBUG
    hint = "" if debug else "; run it again with --log-level DEBUG for the traceback"
    complain([f"unexpected {type(error).__name__} at {place_of(error)}{hint}. Please report it."], FAILED)
    if debug:
        import traceback

        traceback.print_exception(error)
    return FAILED


def settings_of(ctx: typer.Context, *, quiet: bool = False) -> "Settings":
    """The configuration, with logging set up by it. `quiet`: only warnings, unless a level was asked for."""
    settings = configured(ctx)
    log_by(ctx, settings, quiet=quiet)
    return settings


def configured(ctx: typer.Context) -> "Settings":
    """The configuration, before anything is logged. What a command needs is imported by now."""
    from reconciler.config import ConfigError, load
    from reconciler.config.problems import Problem

    given = ctx.find_object(Given) or Given()
    collect_again()
    if given.config == "":
        raise ConfigError([Problem("--config", "is empty", "Name a file, or leave it out")])
    return load(Path(given.config) if given.config is not None else None, os.environ)


def collect_again() -> None:
    """After `main`: garbage is looked for, but not among what the program is made of."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def able_to_buy(settings: "Settings") -> None:
    """Refuses a run that is to buy and has no key."""
    from reconciler.config import ConfigError, without_key

    if (problem := without_key(settings)) is not None:
        raise ConfigError([problem])


def warn(settings: "Settings") -> None:
    """What is not wrong and will be regretted."""
    from reconciler.console.eventlog import say

    if settings.storage.warning is not None:
        say("WARNING", "nothing_is_stored", why=settings.storage.warning)


def log_by(
    ctx: typer.Context, settings: "Settings", *, quiet: bool = False, count: Callable[[str], None] = lambda _: None
) -> None:
    """`count` is told the level of each message."""
    from reconciler.console import log

    given = ctx.find_object(Given) or Given()
    level = given.level or settings.log.level
    if quiet and given.level is None and level in (Level.DEBUG, Level.INFO):
        level = Level.WARNING
    log.set_up(level, settings.log.format, count)
