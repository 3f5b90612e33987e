"""The command line: parse, call, print.

Exit codes: 0 done and at rest; 3 done, but work remains, or a dry run found work; 1 failed; 2 usage; 78 configuration,
schema or store unfit. A first SIGINT or SIGTERM ends a run in order (its result is printed, exit 0 or 3), a second one
at once (130 or 143).
"""

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from datetime import timedelta

    from reconciler.app import Narrowed
    from reconciler.config import Settings

FAILED, USAGE, WORK_REMAINS, UNFIT = 1, 2, 3, 78


class Level(StrEnum):
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class Dialect(StrEnum):
    SQLITE = "sqlite"
    POSTGRES = "postgres"


@dataclass(slots=True)
class Given:
    """The options before the command."""

    config: Path | None = None
    level: Level | None = None


class Face(TyperGroup):
    """Turns what commands raise into lines on stderr and exit codes."""

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
    if isinstance(error, BrokenPipeError) or type(error).__module__.startswith("typer"):
        return None
    from reconciler.app import StoreUnfit
    from reconciler.config import ConfigError
    from reconciler.database.errors import DatabaseError, DatabaseMissing, SchemaError

    match error:
        case ConfigError(problems=problems):
            return _complain(map(str, problems), UNFIT)
        case SchemaError() | DatabaseMissing() | StoreUnfit():
            return _complain([str(error)], UNFIT)
        case DatabaseError():
            return _complain([str(error)], FAILED)
        case _:
            return _unexpected(error, given)


def _complain(lines: Iterable[str], code: int) -> int:
    from reconciler.console.text import plain

    for line in lines:
        sys.stderr.write(f"reconciler: {plain(line, 2000)}\n")
    return code


def _unexpected(error: Exception, given: Given) -> int:
    """Where it happened, and no text of the error, which may hold values."""
    from reconciler.console.eventlog import place_of

    debug = given.level is Level.DEBUG
    hint = "" if debug else "; run it again with --log-level DEBUG for the traceback"
    _complain([f"unexpected {type(error).__name__} at {place_of(error)}{hint}. Please report it."], FAILED)
    if debug:
        import traceback

        traceback.print_exception(error)
    return FAILED


app = typer.Typer(
    cls=Face,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Finds tracks whose cover picture is missing or too small and repairs them, at the least cost.",
)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        from reconciler import __version__

        typer.echo(f"reconciler {__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Else $RECONCILER_CONFIG, else ./config.toml, else /etc/reconciler/config.toml.",
        ),
    ] = None,
    log_level: Annotated[Level | None, typer.Option(case_sensitive=False, help="Over [log] level.")] = None,
    _version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True)] = False,
) -> None:
    ctx.obj = Given(config, log_level)


def _settings(ctx: typer.Context, *, quiet: bool = False) -> "Settings":
    """The configuration, with logging set up by it. `quiet`: only warnings, unless a level was asked for."""
    from reconciler.config import load
    from reconciler.console import log

    given = ctx.find_object(Given) or Given()
    settings = load(given.config, os.environ).settings
    level = given.level or settings.log.level
    if quiet and given.level is None and level in (Level.DEBUG, Level.INFO):
        level = Level.WARNING
    log.set_up(level, settings.log.format)
    return settings


def _refuse(sentence: str) -> NoReturn:
    raise typer.Exit(_complain([sentence], USAGE))


@app.command()
def run(
    ctx: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="One sweep and one audit pass, then exit.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be done, and its price.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="With --dry-run: without asking the network.")] = False,
    track: Annotated[list[str] | None, typer.Option(metavar="ID", help="Only this track; may be repeated.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Work at most so many tracks.")] = None,
    max_purchases: Annotated[int | None, typer.Option(min=0, help="Buy at most so many pictures.")] = None,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="End after this long, such as 90s or 2h.")] = "10m",
    due_only: Annotated[bool, typer.Option("--due-only", help="Leave the audit of all rows out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Repair what is stuck: find, adopt or buy pictures, verify, store and write them."""
    if not once:
        _refuse("the daemon is not built yet: use `reconciler run --once`, for example from cron")
    if offline and not dry_run:
        _refuse("--offline goes with --dry-run only: nothing can be repaired without the network")
    from reconciler.app import Narrowed

    narrowed = Narrowed(
        timeout=_duration(timeout),
        only=tuple(dict.fromkeys(track)) if track else None,
        limit=limit,
        max_purchases=max_purchases,
        audit=not due_only,
    )
    if dry_run:
        raise typer.Exit(_preview(ctx, narrowed, offline=offline, as_json=as_json))
    raise typer.Exit(_run_once(ctx, narrowed, as_json=as_json))


def _duration(text: str) -> "timedelta":
    from reconciler.config import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--timeout") from None


def _run_once(ctx: typer.Context, narrowed: "Narrowed", *, as_json: bool) -> int:
    from reconciler.app import run_once
    from reconciler.console import output, summary
    from reconciler.console.eventlog import EventLog
    from reconciler.console.progress import progress
    from reconciler.console.stopping import stopping

    console = output.err()
    settings = _settings(ctx, quiet=console.is_terminal)
    with stopping() as stop, progress(console) as shown:
        listeners = (EventLog(), shown)
        result = run_once(settings, narrowed, _each(listeners), lambda sweep: stop.on_stop(sweep.stop))
    if as_json:
        output.show_json(summary.document(result))
    else:
        output.show(*summary.render(result))
    return 0 if result.at_rest else WORK_REMAINS


def _preview(ctx: typer.Context, narrowed: "Narrowed", *, offline: bool, as_json: bool) -> int:
    from reconciler.app import preview
    from reconciler.console import forecast, output

    settings = _settings(ctx)
    with preview(settings, narrowed, offline=offline) as seen:
        found = list(seen.forecasts)
    if as_json:
        output.show_json(forecast.document(found, remembers=seen.remembers))
    else:
        output.show(*forecast.render(found, remembers=seen.remembers))
    return WORK_REMAINS if any(each.is_work for each in found) else 0


def _each(listeners: Iterable[Callable[[Any], None]]) -> Callable[[Any], None]:
    def tell(event: Any) -> None:
        for listener in listeners:
            listener(event)

    return tell


def main() -> None:
    """The program. Ends the process."""
    from reconciler.console.stopping import leave

    try:
        app(prog_name="reconciler")
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else FAILED)


if __name__ == "__main__":  # pragma: no cover
    main()
