"""The command line: parse, call, print.

Exit codes: 0 done and at rest; 3 done, but work remains, or a dry run found work; 1 failed; 2 usage; 78 configuration,
schema or store unfit. A first SIGINT or SIGTERM ends a run in order (its result is printed, exit 0 or 3), a second one
at once (130 or 143).
"""

import os
import sys
from collections.abc import Iterable
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
    from reconciler.engine.events import Event, Listener

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
    from reconciler.app import NoSuchTrack, StoreUnfit
    from reconciler.config import ConfigError
    from reconciler.database.errors import DatabaseError, DatabaseMissing, SchemaError

    match error:
        case ConfigError(problems=problems):
            return _complain(map(str, problems), UNFIT)
        case SchemaError() | DatabaseMissing() | StoreUnfit():
            return _complain([str(error)], UNFIT)
        case DatabaseError() | NoSuchTrack():
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
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Tell the version.")
    ] = False,
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
        result = run_once(
            settings,
            narrowed,
            _each(EventLog(), shown),
            lambda sweep: stop.on_stop(sweep.stop, shown.stopping),
        )
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


def _each(*listeners: "Listener") -> "Listener":
    def tell(event: "Event") -> None:
        for listener in listeners:
            listener(event)

    return tell


@app.command()
def check(
    ctx: typer.Context,
    offline: Annotated[bool, typer.Option("--offline", help="Without asking Kie.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at everything that a run rests on; changes nothing in the database."""
    from reconciler import checks
    from reconciler.console import outline, output

    lines = list(checks.check(_settings(ctx, quiet=True), offline=offline))
    rows = [(line.outcome, line.what, line.said) for line in lines]
    if as_json:
        output.show_json([{"outcome": outcome, "what": what, "said": said} for outcome, what, said in rows])
    else:
        output.show(*outline.checked(rows), soft_wrap=True)
    raise typer.Exit(checks.exit_code(lines))


@app.command()
def explain(
    ctx: typer.Context, track: Annotated[str, typer.Argument(metavar="TRACK")], as_json: AsJson = False
) -> None:
    """Tell all that is known of one track, what will be done next, and what would change that."""
    from reconciler import explaining
    from reconciler.console import outline, output

    known = explaining.explain(_settings(ctx, quiet=True), track)
    if as_json:
        output.show_json(known)
    else:
        output.show_text("".join(f"{line}\n" for line in outline.outline(known)))


@app.command()
def schema(
    ctx: typer.Context,
    dialect: Annotated[Dialect, typer.Option(help="Of which database.")] = Dialect.SQLITE,
    apply: Annotated[bool, typer.Option("--apply", help="Create or migrate the own tables.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the SQL of the reconciler's own tables, and of an index on the app's table that helps."""
    if dialect is Dialect.POSTGRES:
        _refuse("PostgreSQL is not built yet: use --dialect sqlite")
    from reconciler.app import opened, own_schema
    from reconciler.console import output

    settings = _settings(ctx, quiet=True)
    if apply:
        with opened(settings):
            pass
    tables, index = own_schema(settings)
    if as_json:
        output.show_json({"tables": tables, "index": index, "applied": apply})
    elif apply:
        output.show(
            f"The own tables in {settings.database.place} are there and of this program's version.", soft_wrap=True
        )
    else:
        output.show_text(f"{tables}\n-- Optional, on the app's table; the reconciler never creates it:\n{index}\n")


@app.command()
def demo(
    tracks: Annotated[int | None, typer.Option(min=1, help="Add so many plain stuck tracks.")] = None,
    directory: Annotated[Path | None, typer.Option("--dir", help="Where it all is put.")] = None,
) -> None:
    """The whole job on an empty machine, against a simulated Kie: nothing is bought for money."""
    from reconciler import demo as show
    from reconciler.console import output

    raise typer.Exit(show.run(tracks, directory, output.out()))


def main() -> None:
    """The program. Ends the process."""
    from reconciler.console.stopping import leave

    try:
        app(prog_name="reconciler")
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else FAILED)


if __name__ == "__main__":  # pragma: no cover
    main()
