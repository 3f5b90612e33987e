"""Commands by which an operator decides: `retry`, `adopt`, `resolve`, `ignore`, `pause`, `resume`."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.face import FAILED, AsJson, Track, complain, refuse, settings_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.commands.deciding import Decided, Decisions
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
    from reconciler.commands.deciding import GATES, deciding
    from reconciler.domain.states import Reason

    why = Reason(reason) if reason is not None else None
    with deciding(settings_of(ctx, quiet=True)) as decisions:
        if why is not None and why in GATES:
            _let_through(decisions, why, yes=yes, as_json=as_json)
            return
        named = decisions.known(tracks or ()) if why is None else decisions.given_up_for(why)
        _reopen(decisions, named, yes=yes, as_json=as_json)


def _reopen(decisions: "Decisions", named: "Sequence[str]", *, yes: bool, as_json: bool) -> None:
    from rich.text import Text

    from reconciler.console import output
    from reconciler.console.progress import living

    given_up = None if yes else decisions.given_up(named)
    if given_up is not None and (number := given_up.to_be_tried):
        what = f"{_tracks(number)} given up, to be tried again; {_may_buy(number, given_up.orders)}"
        _confirm(what, decisions, given_up.orders, besides=_to_be_mended(given_up.to_be_mended))
    decided: list[Decided] = []
    try:
        with living(output.err(), shown := Text("re-opening")):
            for track_id in named:
                decided.append(decisions.retry(track_id))
                shown.plain = f"{len(decided)} of {len(named)} seen to"
    except Exception:
        if decided:  # those before are re-opened, whatever befell the next
            _show(decided, as_json=as_json)
        raise
    _show(decided, as_json=as_json)


def _let_through(decisions: "Decisions", reason: "Reason", *, yes: bool, as_json: bool) -> None:
    from reconciler.console import output
    from reconciler.domain.states import Reason

    of_hosts, waiting = reason is Reason.HOST_SUSPECT, decisions.held_for(reason)
    orders = waiting * (max(decisions.policy.per_track, 1) + 1) if of_hosts else len(decisions.closed(reason))
    if orders and not yes:
        what = _may_buy(waiting, orders) if of_hosts else f"{_orders(orders)} let through to see"
        _confirm(f"{_tracks(waiting)} held back for {reason}; {what}", decisions, orders)
    count = (decisions.release_hosts() if of_hosts else decisions.let_through(reason)) if orders else 0
    if as_json:
        output.show_json({"reason": reason, "waiting": waiting, "let_through": count})
    elif not orders:
        output.show(f"Nothing is held back for {reason}, so nothing was changed.")
    else:
        done = "what is dead there may be replaced now" if of_hosts else f"{_orders(orders)} let through now"
        output.show(f"{_tracks(waiting)} held back for {reason}; {done}.")


def _tracks(number: int) -> str:
    return "1 track is" if number == 1 else f"{number} tracks are"


def _may_buy(tracks: int, orders: int) -> str:
    if orders > tracks:
        return f"as many as {orders} pictures may be bought, if what comes is not taken or an answer is lost"
    return f"{'it' if tracks == 1 else 'each'} may buy one picture more"


def _to_be_mended(number: int) -> str:
    match number:
        case 0:
            return ""
        case 1:
            return "; 1 more stays given up, since its row itself must be mended"
        case _:
            return f"; {number} more stay given up, since their rows themselves must be mended"


def _orders(number: int) -> str:
    return "one order is" if number == 1 else f"one order each of {number} models is"


def _confirm(what: str, decisions: "Decisions", purchases: int, besides: str = "") -> None:
    from reconciler.domain.texts import amount

    price = f"at most {amount(decisions.price(purchases))} credits in all, within the budgets{besides}"
    if sys.stdin is None or not sys.stdin.isatty():
        refuse(f"{what}, for {price}. Nothing was changed, since nobody can be asked here: say --yes to do it")
    if not typer.confirm(f"{what}, for {price}. Do it?", err=True):
        raise typer.Exit(complain(["nothing was changed"], FAILED))


def adopt(
    ctx: typer.Context,
    track: Track,
    task: Annotated[str, typer.Argument(metavar="TASK")],
    force: Annotated[bool, typer.Option("--force", help="Even if it seems to be another track's.")] = False,
    as_json: AsJson = False,
) -> None:
    """Hand over the id of an image task that exists already, so that its picture is taken and none bought."""
    from reconciler.commands import adopting
    from reconciler.commands.deciding import deciding

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
    from reconciler.commands import adopting
    from reconciler.commands.deciding import deciding

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
    from reconciler.commands.deciding import deciding

    with deciding(settings_of(ctx, quiet=True)) as decisions:
        _show([decisions.ignore(track, undo=undo)], as_json=as_json)


def pause(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Stop purchases and writes to rows; asking, downloading and storing go on, since results die."""
    _pause(ctx, paused=True, as_json=as_json)


def resume(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Let purchases and writes go on."""
    _pause(ctx, paused=False, as_json=as_json)


def _pause(ctx: typer.Context, *, paused: bool, as_json: bool) -> None:
    from reconciler.commands.deciding import deciding
    from reconciler.console import output

    with deciding(settings_of(ctx, quiet=True)) as decisions:
        changed = decisions.pause(paused=paused)
    if as_json:
        output.show_json({"paused": paused, "changed": changed})
    elif paused:
        output.show(
            f"{'Paused' if changed else 'Paused already'}: nothing is bought or written until `reconciler resume`."
        )
    else:
        output.show(f"{'Resumed' if changed else 'It was not paused'}: purchases and writes go on.")


def _show(decided: "Sequence[Decided]", *, as_json: bool) -> None:
    from reconciler.console import decisions, output

    if as_json:
        output.show_json(decisions.document(decided))
    else:
        output.show(*decisions.render(decided))
