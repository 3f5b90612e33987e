"""Commands that only look: `check`, `status`, `explain`; and `schema`, which prints what the database needs, or with
`--apply` makes the own tables."""

from enum import StrEnum
from typing import Annotated

import typer

from reconciler.cli.face import FAILED, UNFIT, AsJson, Track, refuse, settings_of


class Dialect(StrEnum):
    SQLITE = "sqlite"
    POSTGRES = "postgres"


def check(
    ctx: typer.Context,
    offline: Annotated[bool, typer.Option("--offline", help="Without asking Kie.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at everything that a run rests on; changes nothing in the database."""
    from reconciler.commands import checking
    from reconciler.commands.checking.lines import Outcome
    from reconciler.console import outline, output
    from reconciler.console.stopping import unwinding

    with unwinding():
        lines = list(checking.check(settings_of(ctx, quiet=True), offline=offline))
    rows = [(line.outcome, line.what, line.said) for line in lines]
    if as_json:
        output.show_json([{"outcome": outcome, "what": what, "said": said} for outcome, what, said in rows])
    else:
        output.show(*outline.checked(rows), soft_wrap=True)
    if any(line.is_unfit for line in lines):
        raise typer.Exit(UNFIT)
    if any(line.outcome is Outcome.FAILED for line in lines):
        raise typer.Exit(FAILED)


def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Tell where all tracks stand, what is spent, what is due next, and who works."""
    from reconciler.app.inside import looked_into
    from reconciler.config import policy_of
    from reconciler.console import census, output

    settings = settings_of(ctx, quiet=True)
    with looked_into(settings) as reader:
        overview, remembers, outdated = reader.overview(), reader.remembers, reader.would_look_again()
    policy = policy_of(settings)
    if as_json:
        output.show_json(census.document(overview, policy, remembers=remembers, outdated=outdated))
    else:
        output.show(*census.render(overview, policy, remembers=remembers, outdated=outdated))


def explain(ctx: typer.Context, track: Track, as_json: AsJson = False) -> None:
    """Tell all that is known of one track, what will be done next, and what would change that."""
    from reconciler.commands import explaining
    from reconciler.console import outline, output

    known = explaining.explain(settings_of(ctx, quiet=True), track)
    if as_json:
        output.show_json(known)
    else:
        output.show_text("".join(f"{line}\n" for line in outline.outline(known)))


def schema(
    ctx: typer.Context,
    dialect: Annotated[
        Dialect | None, typer.Option(help="Of which database; by default of the configured one.")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Create or migrate the own tables.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the SQL of the reconciler's own tables, and of an index on the app's table that helps."""
    from reconciler.app.inside import opened, own_schema
    from reconciler.console import output

    settings = settings_of(ctx, quiet=True)
    configured = Dialect.SQLITE if settings.database.is_sqlite else Dialect.POSTGRES
    if apply and dialect not in (None, configured):
        refuse(f"--apply works on the configured database, which is {configured}: leave --dialect {dialect} out")
    if apply:
        with opened(settings, works=False):
            pass
    tables, index = own_schema(settings, dialect or configured)
    if as_json:
        output.show_json({"tables": tables, "index": index, "applied": apply})
    elif apply:
        output.show(
            f"The own tables in {settings.database.place} are there and of this program's version.", soft_wrap=True
        )
    else:
        output.show_text(f"{tables}\n-- Optional, on the app's table; the reconciler never creates it:\n{index}\n")
