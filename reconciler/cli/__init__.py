"""The command line: parse, call, print.

Exit codes: 0 done and at rest; 3 done, but work remains, or a dry run found work; 1 failed; 2 usage; 78 configuration,
schema or store unfit. A first SIGINT, SIGTERM or SIGHUP ends a run in order (its result is printed, exit 0 or 3; the
daemon ends with 0), a second SIGINT or SIGTERM at once (130 or 143).
"""

import gc
import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import deciding, looking, running
from reconciler.cli.face import FAILED, Command, Face, Given, Level, collect_again

app = typer.Typer(
    cls=Face,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Finds tracks whose cover picture is missing or too small and repairs them, at the least cost.",
)

for command in (
    running.run,
    *(looking.check, looking.status, looking.explain),
    *(deciding.retry, deciding.adopt, deciding.resolve, deciding.ignore, deciding.pause, deciding.resume),
    looking.schema,
):
    app.command(cls=Command)(command)


def _show_version(wanted: bool) -> None:
    if wanted:
        from reconciler import __version__

        typer.echo(f"reconciler {__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    config: Annotated[
        str | None,
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


@app.command(cls=Command)
def demo(
    tracks: Annotated[int | None, typer.Option(min=1, max=100_000, help="Add so many plain stuck tracks.")] = None,
    directory: Annotated[Path | None, typer.Option("--dir", readable=False, help="Where it all is put.")] = None,
) -> None:
    """The whole job on an empty machine, against a simulated Kie: nothing is bought for money."""
    from reconciler import demo as show
    from reconciler.console import output

    collect_again()
    raise typer.Exit(show.run(tracks, directory, output.out()))


def main() -> None:
    """The program. Ends the process."""
    gc.disable()  # what is imported stays: to look through it again and again takes a fifth of the time to start
    if sys.stderr is None:  # closed: what is told there is told to nobody, and all else is done
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 - for good
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr is: titles hold every letter there is
    from reconciler.console.stopping import leave

    try:
        app(prog_name="reconciler")
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else FAILED)
