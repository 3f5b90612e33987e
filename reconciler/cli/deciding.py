"""Commands by which an operator decides: `retry`, `adopt`, `resolve`, `ignore`, `pause`, `resume`."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.face import AsJson, Track, refuse, settings_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.deciding import Decided, Decisions
    from reconciler.domain.states import Reason


class Retried(StrEnum):
    """The reasons that `retry --reason` takes; a test holds them to those that tracks are given up or held for."""

    ATTEMPTS_SPENT = "attempts_spent"
    CONTENT_REJECTED = "content_rejected"
    DOWNLOAD_FAILED = "download_failed"
    HOST_REFUSED = "host_refused"
    HOST_SUSPECT = "host_suspect"
    IMAGE_REJECTED = "image_rejected"
    MODEL_UNPROVEN = "model_unproven"
    NO_PROMPT = "no_prompt"
    PROVIDER_FAILED = "provider_failed"
    REQUEST_REJECTED = "request_rejected"
    UNKNOWN_PURCHASE = "unknown_purchase"
    WRITE_CONFLICT = "write_conflict"


def retry(
    ctx: typer.Context,
    tracks: Annotated[list[str] | None, typer.Argument(metavar="TRACK...")] = None,
    reason: Annotated[Retried | None, typer.Option(metavar="REASON", help="All that are given up for this.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """Re-open tracks that are given up, and grant each one purchase beyond its limit."""
    if bool(tracks) is (reason is not None):
        refuse("name tracks, or a reason with --reason: one of the two")
    from reconciler.deciding import GATES, deciding
    from reconciler.domain.states import Reason

    why = Reason(reason) if reason is not None else None
    with deciding(settings_of(ctx, quiet=True)) as decisions:
        named = tuple(dict.fromkeys(tracks)) if tracks else decisions.waiting(why) if why is not None else ()
        decisions.known(named)
        if why in GATES and why is not None:
            _let_through(decisions, why, len(named), yes=yes, as_json=as_json)
            return
        if named and not yes:
            _confirm(f"{len(named)} tracks are tried again; each may buy one picture more", decisions, len(named))
        _show([decisions.retry(track_id) for track_id in named], as_json=as_json)


def _let_through(decisions: "Decisions", reason: "Reason", waiting: int, *, yes: bool, as_json: bool) -> None:
    from reconciler.console import output
    from reconciler.domain.states import Reason

    of_hosts = reason is Reason.HOST_SUSPECT
    if waiting and not yes:
        what = "what is dead there may be replaced" if of_hosts else "one order is let through"
        _confirm(f"{waiting} tracks wait; {what}", decisions, waiting if of_hosts else 1)
    count = decisions.let_through(reason)
    said = f"{count} tracks go on" if of_hosts else f"{count} models may be ordered from once more"
    if as_json:
        output.show_json({"reason": reason, "waiting": waiting, "let_through": count})
    else:
        output.show(f"{waiting} tracks waited for {reason}: {said}.")


def _confirm(what: str, decisions: "Decisions", purchases: int) -> None:
    from reconciler.console.text import amount

    price = f"at most {amount(decisions.price(purchases))} credits, within the budgets"
    if not sys.stdin.isatty():
        refuse(f"{what}, for {price}. Say --yes to do it; nothing was changed")
    typer.confirm(f"{what}, for {price}. Do it?", abort=True, err=True)


def adopt(
    ctx: typer.Context,
    track: Track,
    task: Annotated[str, typer.Argument(metavar="TASK")],
    force: Annotated[bool, typer.Option("--force", help="Even if it seems to be another track's.")] = False,
    as_json: AsJson = False,
) -> None:
    """Hand over the id of an image task that exists already, so that its picture is taken and none bought."""
    from reconciler import adopting
    from reconciler.deciding import deciding

    with deciding(settings_of(ctx, quiet=True)) as decisions:
        _show([adopting.adopt(decisions, track, task, force=force)], as_json=as_json)


def resolve(
    ctx: typer.Context,
    track: Track,
    not_created: Annotated[bool, typer.Option("--not-created", help="Kie made no task of it.")] = False,
    task: Annotated[str | None, typer.Option(metavar="ID", help="It is this task.")] = None,
    as_json: AsJson = False,
) -> None:
    """Settle a purchase whose answer was lost."""
    if not_created is (task is not None):
        refuse("say what became of it: --not-created or --task ID, one of the two")
    from reconciler import adopting
    from reconciler.deciding import deciding

    with deciding(settings_of(ctx, quiet=True)) as decisions:
        if task is not None:
            decided = adopting.resolve_as(decisions, track, task)
        else:
            decided = adopting.resolve_as_nothing(decisions, track)
        _show([decided], as_json=as_json)


def ignore(
    ctx: typer.Context,
    track: Track,
    undo: Annotated[bool, typer.Option("--undo", help="Back into scope.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take a track out of scope: nothing is measured, written or bought for it any more."""
    from reconciler.deciding import deciding

    with deciding(settings_of(ctx, quiet=True)) as decisions:
        _show([decisions.ignore(track, undo=undo)], as_json=as_json)


def pause(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Stop purchases and writes to rows; asking, downloading and storing go on, since results die."""
    _pause(ctx, paused=True, as_json=as_json)


def resume(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Let purchases and writes go on."""
    _pause(ctx, paused=False, as_json=as_json)


def _pause(ctx: typer.Context, *, paused: bool, as_json: bool) -> None:
    from reconciler.console import output
    from reconciler.deciding import deciding

    with deciding(settings_of(ctx, quiet=True)) as decisions:
        changed = decisions.pause(paused=paused)
    if as_json:
        output.show_json({"paused": paused, "changed": changed})
        return
    word = "Paused: nothing is bought or written" if paused else "Not paused: purchases and writes go on"
    output.show(f"{word}{'' if changed else ', as it was before'}.")


def _show(decided: "Sequence[Decided]", *, as_json: bool) -> None:
    from reconciler.console import decisions, output

    if as_json:
        output.show_json(decisions.document(decided))
    else:
        output.show(*decisions.render(decided))
