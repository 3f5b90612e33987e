"""`run`: the daemon, one sweep, or a look at what would be done."""

from datetime import timedelta
from functools import partial
from itertools import takewhile
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.face import (
    DONE,
    FAILED,
    WORK_REMAINS,
    AsJson,
    able_to_buy,
    complain,
    configured,
    log_by,
    refuse,
    settings_of,
    warn,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.text import Text

    from reconciler.app.once import Narrowed
    from reconciler.config import Settings
    from reconciler.console.forecast import Seen
    from reconciler.engine.events import Result
    from reconciler.service.metrics import Metrics

AFTER_THE_LAST_CALL = timedelta(seconds=3)
"""Which may take `kie.request_timeout`: time for what it brought to be saved."""
LEFT = "It was to end and had to wait for too long: see what holds the database or the store"


def run(
    ctx: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="One sweep and one audit pass, then exit.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be done, and its price.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="With --dry-run: without asking the network.")] = False,
    track: Annotated[list[str] | None, typer.Option(metavar="ID", help="Only this track; may be repeated.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Work at most so many tracks.")] = None,
    max_purchases: Annotated[int | None, typer.Option(min=0, help="Buy at most so many pictures.")] = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="End after this long, such as 90s or 2h; else after 10m.")
    ] = None,
    due_only: Annotated[bool, typer.Option("--due-only", help="Leave the audit of all rows out.")] = False,
    metrics_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            readable=False,  # it is replaced
            help="Write the metrics (all but process_*) there at the end, for a textfile collector.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Repair what is stuck: find, adopt or buy pictures, verify, store and write them. Without options: the daemon."""
    narrowing = {
        "--offline": offline,
        "--track": track,
        "--limit": limit,
        "--max-purchases": max_purchases is not None,
        "--timeout": timeout,
        "--due-only": due_only,
        "--metrics-file": metrics_file,
        "--json": as_json,
    }
    if not (once or dry_run):
        if named := ", ".join(option for option, value in narrowing.items() if value):
            why = "goes with --once or --dry-run only: the daemon works whatever is due, until it is stopped"
            refuse(f"{named} {why}")
        raise typer.Exit(_serve(ctx))
    if offline and not dry_run:
        refuse("--offline goes with --dry-run only: nothing can be repaired without the network")
    if metrics_file is not None and dry_run:
        refuse("--metrics-file goes with --once only: a dry run counts nothing")
    if metrics_file == Path():  # an empty text too
        refuse("--metrics-file names no file: name one, or leave it out")
    if metrics_file is not None:
        _try_metrics(metrics_file)
    narrowed = _narrowed(timeout, track, limit, max_purchases, due_only=due_only)
    if dry_run:
        raise typer.Exit(_preview(ctx, narrowed, offline=offline, as_json=as_json))
    raise typer.Exit(_run_once(ctx, narrowed, metrics_file, as_json=as_json))


def _narrowed(
    timeout: str | None, track: list[str] | None, limit: int | None, max_purchases: int | None, *, due_only: bool
) -> "Narrowed":
    from reconciler.app.once import Narrowed

    return Narrowed(
        **({"timeout": _duration(timeout)} if timeout is not None else {}),
        only=tuple(dict.fromkeys(track)) if track else None,
        limit=limit,
        max_purchases=max_purchases,
        audit=not due_only,
    )


def _duration(text: str) -> "timedelta":
    from reconciler.config import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--timeout") from None


def _serve(ctx: typer.Context) -> int:
    """The daemon. Ends by a signal, with 0."""
    import faulthandler
    from contextlib import suppress

    from reconciler.app.counted import metrics_of
    from reconciler.app.daemon import serve
    from reconciler.app.sweeping import Ears
    from reconciler.console.eventlog import EventLog, Said
    from reconciler.console.servicelog import ServiceLog
    from reconciler.console.stopping import stopping

    with suppress(OSError, RuntimeError):  # stderr may be no file, or closed
        faulthandler.enable()  # systemd's watchdog ends a process that hangs by SIGABRT: its stacks go to the journal
    with stopping() as stop:
        settings = configured(ctx)
        able_to_buy(settings)
        metrics = metrics_of(settings)
        log_by(ctx, settings, count=metrics.logged)
        warn(settings)
        ears = Ears(ServiceLog(), partial(EventLog, said=Said(), kie=settings.kie.base_url), metrics)
        serve(settings, ears, lambda daemon: stop.on_stop(daemon.stop))
    return DONE


def _run_once(ctx: typer.Context, narrowed: "Narrowed", metrics_file: Path | None, *, as_json: bool) -> int:
    from reconciler.app.beside import Left, beside
    from reconciler.app.counted import each, metrics_of
    from reconciler.app.once import run_once
    from reconciler.console import output, summary
    from reconciler.console.eventlog import EventLog
    from reconciler.console.progress import progress
    from reconciler.console.stopping import stopping

    console = output.err()
    settings = configured(ctx)
    able_to_buy(settings)
    metrics = metrics_of(settings)
    log_by(ctx, settings, quiet=console.is_terminal, count=metrics.logged)
    warn(settings)
    with stopping() as stop, progress(console) as shown:

        def work() -> "Result":
            told = each(EventLog(kie=settings.kie.base_url), shown)
            return run_once(settings, narrowed, metrics, told, lambda sweep: stop.on_stop(sweep.stop, shown.stopping))

        try:
            result = beside(work, lambda: stop.asked, settings.kie.request_timeout + AFTER_THE_LAST_CALL)
        except Left:
            return complain([f"{LEFT}. What it left is taken up by the next run"], FAILED)
    code = DONE if result.at_rest else WORK_REMAINS
    try:
        if as_json:
            output.show_json(summary.document(result))
        else:
            output.show(*summary.render(result))
    finally:
        if metrics_file is not None:
            code = _write_metrics(settings, metrics, metrics_file) or code
    return code


def _try_metrics(path: Path) -> None:
    from reconciler.service.textfile import try_textfile

    try:
        try_textfile(path)
    except OSError as error:
        refuse(f"--metrics-file {path}: {error.strerror or error}. Nothing was done")


def _write_metrics(settings: "Settings", metrics: "Metrics", path: Path) -> int:
    from reconciler.app.once import write_metrics

    try:
        write_metrics(settings, metrics, path)
    except OSError as error:
        why = f"{path}: {error.strerror or error}"
        return complain([f"--metrics-file {why}. No metrics were written; the run itself is done"], FAILED)
    return DONE


def _preview(ctx: typer.Context, narrowed: "Narrowed", *, offline: bool, as_json: bool) -> int:
    from rich.text import Text

    from reconciler.app.beside import Left, beside
    from reconciler.console import forecast, output
    from reconciler.console.progress import living
    from reconciler.console.stopping import stopping

    settings = settings_of(ctx)
    if not offline:
        able_to_buy(settings)
    warn(settings)
    shown, ends = Text("looking"), monotonic() + narrowed.timeout.total_seconds()

    def stop_shown() -> None:
        shown.plain = f"stopping (once more: at once) · {shown.plain}"

    with stopping() as stop, living(output.err(), shown):
        stop.on_stop(stop_shown)

        def ended() -> bool:
            return stop.asked or monotonic() >= ends

        named = None if as_json else forecast.TOGETHER
        look = partial(_look, settings, narrowed, ended, shown, offline=offline, named=named)
        try:
            seen = beside(look, ended, settings.kie.request_timeout + AFTER_THE_LAST_CALL)
        except Left:
            return complain([f"{LEFT}. Nothing was changed"], FAILED)
    if as_json:
        output.show_json(forecast.document(seen, narrowed.max_purchases))
    else:
        output.show(*forecast.render(seen, narrowed.max_purchases))
    complain(seen.unheard, DONE)
    if seen.cut_short:
        why = "stopped" if stop.asked else "--timeout is over"
        return complain([f"{why}: whatever was not looked at until then is missing here"], WORK_REMAINS)
    return WORK_REMAINS if seen.is_work else DONE


def _look(
    settings: "Settings",
    narrowed: "Narrowed",
    ended: "Callable[[], bool]",
    shown: "Text",
    *,
    offline: bool,
    named: int | None,
) -> "Seen":
    """`named`: so many at most of those that are not due; None: all."""
    from reconciler.app.dry import preview
    from reconciler.console.forecast import Line, Seen

    lines = []
    with preview(settings, narrowed, ended, offline=offline) as found:
        for each in found.forecasts:
            lines.append(Line.of(each))
            shown.plain = f"{len(lines)} looked at"
        not_due = [] if ended() else found.not_due()
        remembered = takewhile(lambda _: not ended(), found.remembered(not_due[:named]))
        waiting = [Line.of(each) for each in remembered]
        unheard = tuple(found.unheard)
        return Seen(lines, waiting, len(not_due), unheard, remembers=found.remembers, cut_short=ended())
